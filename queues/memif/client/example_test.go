package client_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues/memif"
	"github.com/xdpdemux/xdpdemux/queues/memif/client"
)

// Example sends every frame back to where it came from, as a program in a
// container would. The server of this example delivers one frame and waits for
// it.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	socket, roundTrip, stop := exampleServer()
	defer stop()

	conn, err := client.Dial(ctx, client.Config{Socket: socket, Name: "example"})
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() {
		bufs := client.Buffers(64, 2048)
		for {
			n, err := conn.Ring(0).ReadContext(ctx, bufs)
			if err != nil {
				return // conn.Err says why
			}
			for _, f := range bufs[:n] { // to whom it came from
				var to [6]byte
				copy(to[:], f[6:12])
				copy(f[6:12], f[0:6])
				copy(f[0:6], to[:])
			}
			if _, err := conn.Ring(0).WriteContext(ctx, bufs[:n]); err != nil {
				return
			}
		}
	}()

	fmt.Printf("%q\n", roundTrip("client"+"server"+"hello, shared memory"))
	if err := conn.Close(); err != nil {
		fmt.Println(err)
	}
	fmt.Println(conn.Err())
	// Output:
	// "serverclienthello, shared memory"
	// memif: the connection was closed on this side
}

// A session connects again whenever the server was away.
func ExampleSession() {
	session, err := client.NewSession(client.SessionConfig{
		Config: client.Config{Socket: "/run/xdpdemux/eth0/web/memif.sock"},
		Changed: func(e client.Event) {
			if e.Conn == nil {
				fmt.Printf("%v; next attempt in %v\n", e.Err, e.Next)
			}
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer session.Close()
	for {
		conn, err := session.Conn(context.Background())
		if errors.Is(err, client.ErrClosed) {
			return
		}
		bufs := client.Buffers(64, 2048)
		for err == nil { // until this connection ends
			_, err = conn.Ring(0).ReadContext(context.Background(), bufs)
		}
	}
}

// exampleServer is a queue of this project's own server, what delivers a frame
// to its client and returns the client's answer, and what ends it.
func exampleServer() (socket string, roundTrip func(string) string, stop func()) {
	dir, err := os.MkdirTemp("", "memif-example")
	if err != nil {
		panic(err)
	}
	server, err := memif.NewServer()
	if err != nil {
		panic(err)
	}
	queue, err := server.Open(memif.Config{Directory: filepath.Join(dir, "web"), UID: -1, GID: -1})
	if err != nil {
		panic(err)
	}
	roundTrip = func(data string) string {
		lane := queue.Lane(0)
		for n := 0; n == 0; n, _ = lane.Deliver([]frame.Frame{{Data: []byte(data)}}) {
			time.Sleep(time.Millisecond)
		}
		answer := []frame.Frame{{Data: make([]byte, 2048)}}
		for lane.Collect(answer, 2048) == 0 {
			time.Sleep(time.Millisecond)
		}
		return string(answer[0].Data)
	}
	return queue.SocketPath(), roundTrip, func() {
		server.Close()
		os.RemoveAll(dir)
	}
}
