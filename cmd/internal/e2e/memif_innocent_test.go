package e2e

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/nic/nictest"
	"github.com/xdpdemux/xdpdemux/queues/memif/client"
)

// TestMemifNeighboursDoNotSuffer: while one client floods another that never
// reads, and a third comes and goes all the time, and one dies in between, a
// fourth loses not one frame.
func TestMemifNeighboursDoNotSuffer(t *testing.T) {
	r := newReflection(t, nictest.Config{Containers: 1})
	good := r.addMemif("good", a4+"/16")
	echoes(t, good)
	deaf, loud := r.addMemif("deaf", "10.9.3.1/16", "--ring-size", "64"), r.addMemif("loud", "10.9.3.2/16")
	restless, mortal := r.addMemif("restless", "10.9.3.3/16"), r.addMemif("mortal", "10.9.3.4/16")
	listener, err := dialMemif(t, deaf, "")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()

	ctx, cancel := context.WithCancel(t.Context())
	var busy sync.WaitGroup
	var comings atomic.Int64
	busy.Go(func() { floodMemif(ctx, t, loud, deaf) })
	busy.Go(func() { comeAndGo(ctx, t, restless, &comings) })
	defer busy.Wait()
	defer cancel()
	for range 3 {
		p := startPMD(t, r.Containers[0], mortal, pmdConfig{})
		r.awaitClient("mortal")
		r.requireAll(t, good, 32)
		_ = p.Cmd.Process.Kill()
		r.requireAll(t, good, 32)
		r.awaitNoClient("mortal")
	}
	nictest.Eventually(t, "a flood, and a client that came and went", func() bool {
		return total(portStats(t, r.stats(), "deaf").RxDrops) > 1000 && comings.Load() > 10
	})
}

// floodMemif sends from one port to another until ctx ends, as fast as the ring lets.
func floodMemif(ctx context.Context, t *testing.T, from, to api.Endpoint) {
	conn, err := dialMemif(t, from, "")
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	frame := path{src: mac(from.MAC), dst: mac(to.MAC)}.between(from.IPs[0].Addr().String(), to.IPs[0].Addr().String()).udp(t, 32)
	frames := make([][]byte, 64)
	for i := range frames {
		frames[i] = frame
	}
	for ctx.Err() == nil {
		if _, err := conn.Ring(0).WriteContext(ctx, frames); err != nil && ctx.Err() == nil {
			t.Error(err)
			return
		}
	}
}

// comeAndGo connects to a port again and again, and counts how often.
func comeAndGo(ctx context.Context, t *testing.T, to api.Endpoint, times *atomic.Int64) {
	for ctx.Err() == nil {
		conn, err := client.Dial(ctx, clientConfig(to, ""))
		if err == nil {
			times.Add(1)
			err = conn.Close()
		}
		// The server may not yet know that the last one is gone.
		var early *client.RefusedError
		if err != nil && !errors.As(err, &early) && ctx.Err() == nil {
			t.Error(err)
			return
		}
	}
}
