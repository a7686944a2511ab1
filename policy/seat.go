package policy

import (
	"bytes"
	"math/bits"
	"net/netip"

	"meridian/health"
)

// seating is what decisions and answers read of the members of a pool.
type seating struct {
	seats  []seat  // by member
	rdata  []byte  // of every address, as AppendRData gives it: all of IPv4, then all of IPv6
	seed   uint64  // mixed into every draw, so that pools draw apart
	six    uint32  // where those of IPv6 begin in rdata
	could  [2]bool // by Family: some member has such an address
	shared bool    // two members have an address in common
	plain  bool    // the steps are up, weighted, take 1
}

// seat is one member: 24 bytes.
type seat struct {
	health health.Cell // one goroutine stores, every worker loads
	addrs  [2]uint16   // by Family: the set of addresses, bit i for Addrs[i]
	first  [2]uint16   // by Family: how many addresses the members before it have
	weight uint16
	tier   uint16
	site   uint16 // equal for members of one site; 0 for none
}

// smallPool is a pool and its seating in one piece. Where many pools are asked in turn, a decision
// waits for memory, and so for fewer places of it. It is 384 bytes: six cache lines.
type smallPool struct {
	seats [few]seat
	rdata [few * (rdata4 + rdata6)]byte
	Pool
}

const few = 4 // members

// Bytes of an address in RRset data: uint16 length and RDATA.
const (
	rdata4 = 2 + 4
	rdata6 = 2 + 16
)

// newPool returns a pool with room for n members.
func newPool(n int) *Pool {
	if n > few {
		return &Pool{seating: seating{seats: make([]seat, n)}}
	}
	small := new(smallPool)
	small.Pool.seats, small.Pool.rdata = small.seats[:0], small.rdata[:0]
	return &small.Pool
}

// place gives every member its seat. up says that their addresses are up.
func (p *seating) place(members []Member, up bool) {
	p.shared = shareAddress(members)
	p.seats = p.seats[:len(members)]
	sites := map[string]uint16{"": 0}
	var count [2]uint16
	var six []byte
	for i := range members {
		m, s := &members[i], &p.seats[i]
		if _, ok := sites[m.Site]; !ok {
			sites[m.Site] = uint16(len(sites))
		}
		s.first, s.weight, s.tier, s.site = count, m.Weight, m.Tier, sites[m.Site]
		for j, a := range m.Addrs {
			f := FamilyOf(a)
			s.addrs[f] |= 1 << j
			count[f]++
			p.could[f] = true
			if f == IPv4 {
				p.rdata = append(append(p.rdata, 0, 4), a.AsSlice()...)
			} else {
				six = append(append(six, 0, 16), a.AsSlice()...)
			}
			if up {
				s.health.Store(s.health.Load().With(j, health.Up))
			}
		}
	}
	p.six = uint32(len(p.rdata))
	p.rdata = append(p.rdata, six...)
}

// shareAddress says whether two of the members have an address in common.
func shareAddress(members []Member) bool {
	seen := map[netip.Addr]bool{}
	for i := range members {
		for _, a := range members[i].Addrs {
			if seen[a] {
				return true
			}
			seen[a] = true
		}
	}
	return false
}

// AppendRData appends the addresses that were chosen, all of family f, in order: for each uint16
// length (network order) and RDATA. One that two members share is given once (RFC 2181 §5).
func (d *Decision) AppendRData(b []byte, f Family) (out []byte, count int) {
	p := d.Pool
	start := len(b)
	for i := range d.Picks {
		set := d.Picks[i].Addrs()
		seat := &p.seats[d.Picks[i].Member()]
		if set == seat.addrs[f] && !p.shared {
			n := bits.OnesCount16(set)
			b, count = append(b, p.span(f, int(seat.first[f]), n)...), count+n
			continue
		}
		for ; set != 0; set &= set - 1 {
			before := bits.OnesCount16(seat.addrs[f] & (set&-set - 1))
			one := p.span(f, int(seat.first[f])+before, 1)
			if p.shared && holds(b[start:], one) {
				continue
			}
			b, count = append(b, one...), count+1
		}
	}
	return b, count
}

// span is n addresses of the family from place i on.
func (p *seating) span(f Family, i, n int) []byte {
	if f == IPv4 {
		return p.rdata[i*rdata4 : (i+n)*rdata4]
	}
	return p.rdata[p.six:][i*rdata6 : (i+n)*rdata6]
}

// holds says whether one is among set, all of one length.
func holds(set, one []byte) bool {
	for ; len(set) > 0; set = set[len(one):] {
		if bytes.Equal(set[:len(one)], one) {
			return true
		}
	}
	return false
}

// Warm reads what a decision will need first: see zones.Warm.
func (p *Pool) Warm() (sum uint64) {
	if n := len(p.seats); n > 0 && len(p.rdata) > 0 {
		sum = p.seed + uint64(p.seats[0].weight) + uint64(p.seats[n-1].weight) + uint64(p.rdata[0])
	}
	if p.geography != nil {
		sum += uint64(p.geography.size)
	}
	return sum
}
