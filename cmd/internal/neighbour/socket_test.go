package neighbour

import (
	"errors"
	"os"
	"testing"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// TestClosedSocketSaysSo: whoever listens must be able to tell the end from a
// NIC that is down for a moment, whether it waits at the close or comes later.
func TestClosedSocketSaysSo(t *testing.T) {
	rig := nictest.New(t, nictest.Config{})
	var s *Socket
	if err := rig.Host.Do(func() (err error) {
		s, err = OpenSocket(rig.Host.Index(t, rig.NIC))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() {
		buf := make([]byte, 2048)
		for range 100 { // what the rig's own stacks say
			if _, _, err := s.Recv(buf); err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	}()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, os.ErrClosed) {
		t.Errorf("Recv under way at Close: %v", err)
	}
	if _, _, err := s.Recv(make([]byte, 64)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Recv after Close: %v", err)
	}
	if err := s.Send(make([]byte, 64)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Send after Close: %v", err)
	}
}
