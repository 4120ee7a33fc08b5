package main

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/queues/netns"
)

// udpSink reads a UDP socket in each container's network namespace: what a
// program behind the kernel's stack would do.
type udpSink struct {
	poll     *poller
	sockets  []int
	check    *checker
	page     *page
	got      *datagrams
	mode     string
	out      *outgoing
	payloads [][][]byte   // in modeSend and modePass, what each container sends
	to       []netip.Addr // in modePass, to whom
}

// socketBuffer is how many bytes may wait in each container's socket.
const socketBuffer = 1 << 20

func openUDP(o orders, p *page) (s *udpSink, err error) {
	s = &udpSink{check: newChecker(o.Traffic), page: p, got: newDatagrams(), mode: o.Mode, out: newOutgoing()}
	switch o.Mode {
	case modeSend:
		s.payloads = outwardFrames(o.Traffic)
	case modePass:
		s.payloads, _ = passedFrames(o.Traffic)
		for i := range s.payloads {
			s.to = append(s.to, o.Traffic.address((i+1)%o.Traffic.Containers))
		}
	}
	for _, frames := range s.payloads {
		for i := range frames {
			frames[i] = frames[i][payloadAt:]
		}
	}
	if s.poll, err = newPoller(); err != nil {
		return nil, err
	}
	for i, place := range o.Places {
		fd, err := listenIn(place)
		if err == nil {
			s.sockets = append(s.sockets, fd)
			err = s.poll.add(fd, uint32(i), level)
		}
		if err != nil {
			s.close()
			return nil, fmt.Errorf("the socket of container %d: %w", i, err)
		}
	}
	return s, nil
}

// listenIn opens a socket in a namespace.
func listenIn(place string) (fd int, err error) {
	ns, err := netns.Open(place)
	if err != nil {
		return -1, err
	}
	defer ns.Close()
	err = ns.Do(func() error {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return -1, err
	}
	err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer),
		unix.Bind(fd, &unix.SockaddrInet4{Port: drainPort}))
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// sweep is described at sink.
func (s *udpSink) sweep(block bool) error {
	switch s.mode {
	case modeSend:
		return s.send()
	case modePass:
		if err := s.send(); err != nil {
			return err
		}
	}
	timeout := time.Duration(0)
	if block {
		timeout = -1
	}
	ready, err := s.poll.wait(timeout)
	if err != nil {
		return err
	}
	for _, i := range ready {
		if err := s.read(int(i)); err != nil {
			return fmt.Errorf("reading the socket of container %d: %w", i, err)
		}
	}
	return nil
}

// send has each container in turn send a batch.
func (s *udpSink) send() error {
	for i, fd := range s.sockets {
		if s.to != nil {
			s.out.aim(s.to[i], drainPort)
		}
		for j, data := range s.payloads[i] {
			s.out.put(j, data)
		}
		n, err := s.out.send(fd, len(s.payloads[i]))
		if err != nil {
			return fmt.Errorf("sending for container %d: %w", i, err)
		}
		s.page.counter(countSent).Add(uint64(n))
	}
	return nil
}

func (s *udpSink) read(i int) error {
	n, err := s.got.receive(s.sockets[i])
	good := uint64(0)
	for j := range n {
		if s.check.payload(i, s.got.data(j)) {
			good++
		}
	}
	back := 0
	for j := range n {
		if goesBack(s.mode, payloadAt+len(s.got.data(j))) {
			s.out.put(back, s.got.data(j))
			back++
		}
	}
	if _, err := s.out.send(s.sockets[i], back); err != nil {
		return err
	}
	if n > 0 {
		s.page.counter(countFrames).Add(good)
		s.page.counter(countBad).Add(uint64(n) - good)
	}
	return err
}

// wake is described at sink.
func (s *udpSink) wake() { s.poll.wake() }

// close is described at sink.
func (s *udpSink) close() {
	for _, fd := range s.sockets {
		unix.Close(fd)
	}
	s.poll.close()
}
