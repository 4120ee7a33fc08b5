package main

import (
	"fmt"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux"
	"github.com/xdpdemux/xdpdemux/queues/memif"
)

// A connected memif costs the server these descriptors: two sockets and two
// eventfds.
const memifDescriptors = 4

// memifRefuses and descriptorsRefuse say whether so many are more than a process
// may have.
func memifRefuses(c *testCase) string {
	return descriptorsRefuse("connected clients", c.Containers, memifDescriptors)
}

func descriptorsRefuse(what string, n, each int) string {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return ""
	}
	const others = 500
	if need := uint64(n*each + others); need > limit.Max {
		return fmt.Sprintf("%d %s need %d descriptors, of which this machine allows a process %d (ulimit -Hn)", n, what, need, limit.Max)
	}
	return ""
}

// openMemifs delivers into memifs, whose clients are all in the consumer process.
func openMemifs(b *bed, c *testCase) *stage {
	s := newStage(b, c, false)
	queues, places := memifQueues(b, c.Containers)
	lanes := make([]demux.Lane, len(queues))
	for i, q := range queues {
		lanes[i] = q.Lane(0)
	}
	w := openSwitch(b, s, lanes, false)
	w.block = c.Blocking
	w.drive(b, s)
	o := s.orders(c)
	o.Kind, o.Places = kindMemif, places
	startConsumer(b, o).attend(s)
	for i, q := range queues {
		b.check(q.Watch(doorbells{w.poll, w.ids[i].Token()}))
	}
	return s
}

// memifQueues opens a server with so many queues; the places are their sockets.
func memifQueues(b *bed, n int) (queues []*memif.Queue, places []string) {
	server, err := memif.NewServer()
	b.check(err)
	b.Cleanup(func() { server.Close() })
	dir := b.TempDir()
	for i := range n {
		q, err := server.Open(memif.Config{Directory: filepath.Join(dir, strconv.Itoa(i)), UID: -1, GID: -1, Name: "bench"})
		b.check(err)
		queues, places = append(queues, q), append(places, q.SocketPath())
	}
	return queues, places
}

// doorbells has the worker's poller watch the bells of a memif's client.
type doorbells struct {
	poll  *poller
	token uint32
}

// Add is described at memif.Doorbells.
func (d doorbells) Add(_, fd int) error { return d.poll.add(fd, d.token, edge) }

// Remove is described at memif.Doorbells.
func (d doorbells) Remove(_, fd int) error { return d.poll.remove(fd) }
