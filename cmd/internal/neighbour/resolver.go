package neighbour

import (
	"net/netip"
	"sync"
	"time"
)

// How often a next hop is asked for. A question goes to everybody as long as
// the hop is unknown or has not answered for attempts questions in a row.
const (
	retry    = time.Second
	attempts = 3
	giveUp   = 10 * time.Second // between questions for a hop that stays silent
	refresh  = 30 * time.Second
)

// Hop is a next hop that ports use.
type Hop struct {
	VLAN uint16
	IP   netip.Addr
}

// Resolver knows the MAC of each next hop. The kernel's own neighbour tables
// hold 1,024 entries over all namespaces, so the daemon resolves each hop once
// for all ports that use it, and follows when it moves. All methods may be
// called from any goroutine.
type Resolver struct {
	send    func(frame []byte) error
	changed func(Hop, MAC)

	mu   sync.Mutex
	hops map[Hop]*hop
}

type hop struct {
	users map[string]Identity
	mac   MAC // zero: unknown
	next  time.Time
	tries int // questions since the last sign of life
}

// NewResolver returns a Resolver that asks through send and tells changed each
// new MAC. Neither is called with a lock held; changed may call back.
func NewResolver(send func(frame []byte) error, changed func(Hop, MAC)) *Resolver {
	return &Resolver{send: send, changed: changed, hops: map[Hop]*hop{}}
}

// Use says that the port named user reaches others through h and may be named
// as the one who asks. It returns the MAC if that is known, else the zero MAC,
// and asks at once.
func (r *Resolver) Use(h Hop, user string, asker Identity, now time.Time) MAC {
	r.mu.Lock()
	e := r.hops[h]
	if e == nil {
		e = &hop{users: map[string]Identity{}, next: now}
		r.hops[h] = e
	}
	e.users[user] = asker
	mac := e.mac
	r.mu.Unlock()
	r.Tick(now)
	return mac
}

// Leave takes back what Use said.
func (r *Resolver) Leave(h Hop, user string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.hops[h]; e != nil {
		if delete(e.users, user); len(e.users) == 0 {
			delete(r.hops, h)
		}
	}
}

// Users names the ports that use h.
func (r *Resolver) Users(h Hop) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.hops[h]
	if e == nil {
		return nil
	}
	names := make([]string, 0, len(e.users))
	for name := range e.users {
		names = append(names, name)
	}
	return names
}

// MAC is where h is, as far as that is known.
func (r *Resolver) MAC(h Hop) (mac MAC, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.hops[h]; e != nil {
		mac = e.mac
	}
	return mac, mac != MAC{}
}

// Saw records that h was seen at mac; a hop that nobody uses is forgotten at
// once.
func (r *Resolver) Saw(h Hop, mac MAC, now time.Time) {
	r.mu.Lock()
	e := r.hops[h]
	moved := false
	if e != nil {
		moved = e.mac != mac
		e.mac, e.tries, e.next = mac, 0, now.Add(refresh)
	}
	r.mu.Unlock()
	if moved {
		r.changed(h, mac)
	}
}

// Forget makes every hop unknown to be asked for anew: the wire is another one.
func (r *Resolver) Forget(now time.Time) {
	r.mu.Lock()
	for _, e := range r.hops {
		e.tries, e.next = attempts, now
	}
	r.mu.Unlock()
	r.Tick(now)
}

// Tick asks for whom it is time to ask. Call it about once a second.
func (r *Resolver) Tick(now time.Time) {
	for _, frame := range r.due(now) {
		_ = r.send(frame) // a NIC that is away: the next tick asks again
	}
}

func (r *Resolver) due(now time.Time) (frames [][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for h, e := range r.hops {
		if now.Before(e.next) {
			continue
		}
		if frame, err := Question(e.asker(), h.IP, e.to()); err == nil {
			frames = append(frames, frame)
		}
		e.asked(now)
	}
	return frames
}

// asker is any one of the users: the answer comes back to its address, and so
// to a worker of ours.
func (e *hop) asker() Identity {
	for _, id := range e.users {
		return id
	}
	return Identity{}
}

func (e *hop) to() MAC {
	if e.tries >= attempts {
		return MAC{}
	}
	return e.mac
}

func (e *hop) asked(now time.Time) {
	e.tries++
	if e.tries < 2*attempts {
		e.next = now.Add(retry)
	} else {
		e.next = now.Add(giveUp)
	}
}
