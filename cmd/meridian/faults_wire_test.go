//go:build faults

package main

import (
	"container/heap"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// wire is the network between hosts: it reads the packets that each of them sends and writes each to the host that
// has its destination, with the delay and the losses of the way between the two. Kernels without the queueing
// discipline netem have nothing of the kind.
type wire struct {
	mu     sync.Mutex
	random *rand.Rand
	hosts  map[int]*host
	public map[netip.Prefix]*host // networks beside those of their numbers
	ways   map[[2]int]way         // by the numbers of two hosts, the lower first; what is not there is an ideal way
	cuts   map[*cut]bool
	queue  packets
	sent   uint64 // packets put into the queue
	more   chan struct{}
	closed chan struct{}
	count  wireCount
}

// way is how packets fare between two hosts, in either direction.
type way struct {
	delay time.Duration
	loss  float64 // 0 to 1
}

// cut is a pair of sets of addresses between which nothing passes.
type cut struct{ a, b []netip.Prefix }

// wireCount is what a wire has done with the packets that it was given.
type wireCount struct {
	delivered, bytes uint64
	lost             uint64 // by the losses of their way
	cut              uint64
	stray            uint64 // to addresses that nobody has
}

func (c wireCount) String() string {
	return fmt.Sprintf("%d packets delivered (%d bytes), %d lost, %d cut", c.delivered, c.bytes, c.lost, c.cut)
}

// packet is one on its way.
type packet struct {
	due  time.Time
	seq  uint64 // those of one way do not overtake each other
	to   io.Writer
	wire []byte
}

func newWire(random *rand.Rand) *wire {
	w := &wire{
		random: random, hosts: map[int]*host{}, public: map[netip.Prefix]*host{}, ways: map[[2]int]way{}, cuts: map[*cut]bool{},
		more: make(chan struct{}, 1), closed: make(chan struct{}),
	}
	go w.deliver()
	return w
}

func (w *wire) close() { close(w.closed) }

// join says that two hosts are so far from each other.
func (w *wire) join(a, b *host, by way) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ways[between(a.number, b.number)] = by
}

func between(a, b int) [2]int { return [2]int{min(a, b), max(a, b)} }

// cut lets nothing pass any more between addresses of the one set and of the other, until heal is called.
func (w *wire) cut(a, b []netip.Prefix) (heal func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := &cut{a, b}
	w.cuts[c] = true
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.cuts, c)
	}
}

// everywhere are all addresses.
var everywhere = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

func holds(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// send takes a packet that a host has sent. The wire keeps it.
func (w *wire) send(from *host, p []byte) {
	src, dst := addressesOf(p)
	w.mu.Lock()
	defer w.mu.Unlock()
	to := w.hosts[hostNumber(dst)]
	for net, h := range w.public {
		if net.Contains(dst) {
			to = h
		}
	}
	if to == nil {
		w.count.stray++
		return
	}
	for c := range w.cuts {
		if holds(c.a, src) && holds(c.b, dst) || holds(c.b, src) && holds(c.a, dst) {
			w.count.cut++
			return
		}
	}
	by := w.ways[between(from.number, to.number)]
	if by.loss > 0 && w.random.Float64() < by.loss {
		w.count.lost++
		return
	}
	w.sent++
	heap.Push(&w.queue, packet{time.Now().Add(by.delay), w.sent, to.tun, p})
	if w.queue[0].seq == w.sent {
		select {
		case w.more <- struct{}{}:
		default:
		}
	}
}

// addressesOf are source and destination of a packet of IPv4 (RFC 791 §3.1) or IPv6 (RFC 8200 §3).
func addressesOf(p []byte) (src, dst netip.Addr) {
	switch {
	case len(p) >= 20 && p[0]>>4 == 4:
		return netip.AddrFrom4([4]byte(p[12:16])), netip.AddrFrom4([4]byte(p[16:20]))
	case len(p) >= 40 && p[0]>>4 == 6:
		return netip.AddrFrom16([16]byte(p[8:24])), netip.AddrFrom16([16]byte(p[24:40]))
	}
	return netip.Addr{}, netip.Addr{}
}

// deliver hands packets over when they are due, until the wire is closed.
func (w *wire) deliver() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		due, next := w.due(time.Now())
		for _, p := range due {
			p.to.Write(p.wire) // a host that is gone takes none
		}
		timer.Reset(next)
		select {
		case <-timer.C:
		case <-w.more:
		case <-w.closed:
			return
		}
	}
}

// due takes the packets that are due, and says how long until the next one is.
func (w *wire) due(now time.Time) (list []packet, next time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.queue) > 0 {
		if wait := w.queue[0].due.Sub(now); wait > 0 {
			return list, wait
		}
		p := heap.Pop(&w.queue).(packet)
		w.count.delivered++
		w.count.bytes += uint64(len(p.wire))
		list = append(list, p)
	}
	return list, time.Hour
}

func (w *wire) counted() wireCount {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.count
}

// packets is a heap, the one due first in front.
type packets []packet

var _ heap.Interface = (*packets)(nil)

func (q packets) Len() int      { return len(q) }
func (q packets) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *packets) Push(x any)   { *q = append(*q, x.(packet)) }

func (q packets) Less(i, j int) bool {
	if !q[i].due.Equal(q[j].due) {
		return q[i].due.Before(q[j].due)
	}
	return q[i].seq < q[j].seq
}

func (q *packets) Pop() any {
	last := len(*q) - 1
	p := (*q)[last]
	(*q)[last] = packet{}
	*q = (*q)[:last]
	return p
}
