package memif

import "time"

// look does what workers have asked for, and looks once more at the rings of
// doorbells that were armed at least a tick ago.
func (s *Server) look(now time.Time) {
	s.serve()
	if now.Sub(s.ticked) >= tick {
		s.ticked = now
		for _, r := range s.aged {
			s.lookAgain(r)
		}
		clear(s.aged)
		s.aged, s.fresh = s.fresh, s.aged[:0]
	}
	s.ticking.Store(len(s.fresh)+len(s.aged) > 0)
	// Who called while the server was seen ticking did not ring.
	s.serve()
	s.ticking.Store(len(s.fresh)+len(s.aged) > 0)
}

// serve empties the list of calls.
func (s *Server) serve() {
	for x := s.calls.Swap(nil); x != nil; {
		// Behind called nobody may be read: the worker may call again.
		next := x.nextCall.Swap(nil)
		x.called.Store(false)
		s.attend(x)
		x = next
	}
}

func (s *Server) attend(x *session) {
	if x.ended {
		return
	}
	if x.broken() {
		x.end(violation(x.fault.Load()).String(), true)
		return
	}
	s.engage(x)
	for _, r := range x.receivers {
		if r.look.Swap(false) {
			s.fresh = append(s.fresh, r)
		}
	}
}

// lookAgain wakes the worker for frames that came when it armed the doorbell
// and which the client has not rung for. Tail and mask are only asked whether
// it is worth the while: the client could have changed both.
func (s *Server) lookAgain(r *receiver) {
	x := r.client
	if x.ended {
		return
	}
	waiting := false
	touch(x.shake.regions, func() {
		waiting = !r.ring.Masked() && r.ring.Head() != r.ring.Tail()
	})
	if waiting {
		s.ringLater(&r.bell)
	}
}
