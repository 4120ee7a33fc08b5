package daemon

import (
	"testing"

	"github.com/xdpdemux/xdpdemux/demux"
	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues"
)

// countedQueue is a queue of which only the counters are asked.
type countedQueue struct {
	queue
	stats queues.Stats
}

func (q *countedQueue) Stats() queues.Stats { return q.stats }

// countedLane is its lane, on which nothing moves.
type countedLane struct {
	demux.Lane
	stats *queues.Stats
}

func (l *countedLane) MaxFrame() int                      { return 1514 }
func (l *countedLane) Offloads() frame.Offload            { return 0 }
func (l *countedLane) Lost() (oversize, malformed uint64) { return l.stats.Oversize, l.stats.Malformed }

// TestQueueCountersAreThePorts: what a port's queue lost, and what went wrong on
// it, stands in the port's counters, and the losses in the sums, too.
func TestQueueCountersAreThePorts(t *testing.T) {
	sw, err := demux.New(demux.Config{Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	q := &countedQueue{stats: queues.Stats{Oversize: 3, Malformed: 4, Errors: 5}}
	lanes := []demux.Lane{&countedLane{stats: &q.stats}}
	if _, err := sw.Attach(demux.PortConfig{Name: "p", MAC: [6]byte{2, 0, 0, 0, 0, 1}, Lanes: lanes}); err != nil {
		t.Fatal(err)
	}
	d := &Daemon{sw: sw, ports: map[string]*port{"p": {queue: q}}}
	all := d.portStats(nil)
	if len(all) != 1 {
		t.Fatalf("%+v", all)
	}
	p, sum := all[0], sw.Stats()
	if p.TxRefused["errors"] != 5 || p.TxRefused["oversize"] != 3 || p.Tx.Received != 7 || p.Tx.Drops["too_big"] != 3 || p.Tx.Drops["malformed"] != 4 || p.Tx.Unaccounted() != 0 {
		t.Errorf("the port says %+v", p)
	}
	if total := flow(&sum.All); total.Received != 7 || total.Dropped() != 7 || total.Unaccounted() != 0 {
		t.Errorf("the total is %+v", total)
	}
}
