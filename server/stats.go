package server

import (
	"sync/atomic"

	"github.com/miekg/dns"

	"meridian/zones"
)

// Result says how a message was answered. The values of zones.Outcome come first, with the same
// numbers.
type Result uint8

const (
	FormErr   = Result(zones.ServFail) + 1 + iota // malformed: FORMERR
	NotImp                                        // an opcode or a type of question that nobody here answers: NOTIMP
	BadVers                                       // an EDNS version other than 0: BADVERS
	NotAuth                                       // signed with a key that is not known: NOTAUTH
	NotServed                                     // a class or a transfer that is not offered: REFUSED
	NotReady                                      // no snapshot yet: REFUSED
	numResults
)

func (r Result) String() string {
	if r < FormErr {
		return zones.Outcome(r).String()
	}
	return [...]string{"formerr", "notimp", "badvers", "notauth", "not_served", "not_ready"}[r-FormErr]
}

// Rcode is the response code that goes with r: twelve bits (RFC 6891 §6.1.3).
func (r Result) Rcode() uint16 {
	switch r {
	case FormErr:
		return dns.RcodeFormatError
	case NotImp:
		return dns.RcodeNotImplemented
	case BadVers:
		return dns.RcodeBadVers
	case NotAuth:
		return dns.RcodeNotAuth
	case NotServed, NotReady:
		return dns.RcodeRefused
	}
	return uint16(zones.Outcome(r).Rcode())
}

// Traffic counts the messages of one transport since the start.
type Traffic struct {
	Results       [numResults]uint64 // replies, by Result
	Dropped       uint64             // messages that got no reply: under 12 bytes, or replies themselves
	EDNS          uint64             // messages with an OPT record
	Subnet        uint64             // messages with a client subnet (RFC 7871)
	Truncated     uint64             // replies with TC
	Panics        uint64             // messages dropped by a fault of ours
	ReceiveErrors uint64
	SendErrors    uint64
}

// Stats is what a Server has counted since the start.
type Stats struct {
	UDP, TCP Traffic
	Accepted uint64 // TCP connections
	Open     int    // TCP connections now

	// TCP connections closed to make room for new ones, of all clients or of the same.
	Evicted, EvictedOfClient uint64
}

// counters are those of one worker, which alone adds to them; the workers of TCP share theirs.
// The spaces keep them in cache lines of their own.
type counters struct {
	_             [64]byte
	results       [numResults]atomic.Uint64
	dropped       atomic.Uint64
	edns          atomic.Uint64
	subnet        atomic.Uint64
	truncated     atomic.Uint64
	panics        atomic.Uint64
	receiveErrors atomic.Uint64
	sendErrors    atomic.Uint64
	_             [64]byte
}

// add adds what t says, which is then nothing. (A worker that added each message by itself would
// spend a tenth of its time on that.)
func (c *counters) add(t *Traffic) {
	for i, n := range t.Results {
		addSome(&c.results[i], n)
	}
	addSome(&c.dropped, t.Dropped)
	addSome(&c.edns, t.EDNS)
	addSome(&c.subnet, t.Subnet)
	addSome(&c.truncated, t.Truncated)
	addSome(&c.panics, t.Panics)
	*t = Traffic{}
}

func addSome(c *atomic.Uint64, n uint64) {
	if n != 0 {
		c.Add(n)
	}
}

func (c *counters) addTo(t *Traffic) {
	for i := range c.results {
		t.Results[i] += c.results[i].Load()
	}
	t.Dropped += c.dropped.Load()
	t.EDNS += c.edns.Load()
	t.Subnet += c.subnet.Load()
	t.Truncated += c.truncated.Load()
	t.Panics += c.panics.Load()
	t.ReceiveErrors += c.receiveErrors.Load()
	t.SendErrors += c.sendErrors.Load()
}

// Stats sums what all workers have counted.
func (s *Server) Stats() Stats {
	var st Stats
	for _, u := range s.udp {
		u.worker.count.addTo(&st.UDP)
	}
	s.tcp.count.addTo(&st.TCP)
	st.Accepted, st.Open = s.tcp.accepted.Load(), s.tcp.openCount()
	st.Evicted, st.EvictedOfClient = s.tcp.evicted.Load(), s.tcp.evictedOfClient.Load()
	return st
}
