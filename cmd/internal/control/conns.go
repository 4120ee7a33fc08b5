package control

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
)

// budget bounds the connections that are open at once. Those who may only read
// have one of their own, so that they cannot keep the others out.
type budget struct {
	mu   sync.Mutex
	left map[bool]int // by peer.mayChange
}

func newBudget(conns int) *budget {
	return &budget{left: map[bool]int{true: conns, false: max(1, conns/4)}}
}

func (b *budget) take(class bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left[class] == 0 {
		return false
	}
	b.left[class]--
	return true
}

func (b *budget) give(class bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left[class]++
}

// maxRefusing is how many connections at once are told that there are too many;
// beyond that they are hung up on without a word.
const maxRefusing = 64

// listener accepts within the budget. Whoever comes beyond it is told so at once.
type listener struct {
	*net.UnixListener
	budget   *budget
	peerOf   func(*net.UnixConn) peer
	refusing chan struct{} // has room for maxRefusing
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		p := l.peerOf(c)
		if l.budget.take(p.mayChange()) {
			return &conn{UnixConn: c, peer: p, budget: l.budget}, nil
		}
		select {
		case l.refusing <- struct{}{}:
			go func() { refuse(c); <-l.refusing }()
		default:
			c.Close()
		}
	}
}

// conn is a connection that gives its place back when it is closed.
type conn struct {
	*net.UnixConn
	peer   peer
	budget *budget
	once   sync.Once
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.once.Do(func() { c.budget.give(c.peer.mayChange()) })
	return c.UnixConn.Close()
}

// withPeer makes the peer known to the handlers.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	if c, ok := c.(*conn); ok {
		return context.WithValue(ctx, peerKey{}, c.peer)
	}
	return ctx
}

// refusing is how long somebody who is refused may take to see it.
const refusing = time.Second

// refuse answers before anything was asked and hangs up once the other has: one
// who still writes his request would else be told of a broken pipe.
func refuse(c *net.UnixConn) {
	defer c.Close()
	err := api.Errorf(api.CodeBusy, "control socket: too many connections").WithHint("try again in a moment")
	body, _ := json.Marshal(api.ErrorReply{Error: err})
	_ = c.SetDeadline(time.Now().Add(refusing))
	fmt.Fprintf(c, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s",
		http.StatusServiceUnavailable, http.StatusText(http.StatusServiceUnavailable), len(body), body)
	_ = c.CloseWrite()
	_, _ = io.Copy(io.Discard, c)
}
