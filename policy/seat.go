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
	plain  bool    // the steps are up, weighted, take 1, and no member is a pool
	nested bool    // some member is a pool
	sticky bool    // draws of some query at least follow from the client

	OwnEmpty bool // OnEmpty was written, not the default
	Checked  bool // a check watches the members
	OfNames  bool // its members, and those of pools within, are names (CNAME), not addresses
}

// seat is one member: 24 bytes. A member that is a pool has address 0 for IPv4 and address 1 for IPv6, if
// that pool could ever give one, or never gives anybody and says so; a member that is a name has address 0 for both.
type seat struct {
	health health.Cell // one goroutine stores, every worker loads; the weight is in it
	addrs  [2]uint16   // by Family: the set of addresses, bit i for Addrs[i]
	first  [2]uint16   // by Family: how many addresses the members before it have
	tier   uint16
	site   uint16 // equal for members of one site; 0 for none
	child  uint16 // 1 and the place of the pool in more.children; 0: it is none
}

// of is the set of addresses of a family, or of both.
func (s *seat) of(f Family) uint16 {
	addrs := s.addrs[f&1] // which needs no check of bounds
	if f == Any {
		addrs |= s.addrs[IPv6]
	}
	return addrs
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

// place gives every member its seat. up says that those to be checked are up.
func (p *Pool) place(members []Member, up bool, pools []*Pool) {
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
		s.first, s.tier, s.site = count, m.Tier, sites[m.Site]
		word := health.Word(0).WithWeight(m.Weight)
		for j, a := range m.Addrs {
			f := FamilyOf(a)
			s.addrs[f] |= 1 << j
			count[f]++
			if f == IPv4 {
				p.rdata = append(append(p.rdata, 0, 4), a.AsSlice()...)
			} else {
				six = append(append(six, 0, 16), a.AsSlice()...)
			}
			if up {
				word = word.With(j, health.Up)
			}
		}
		switch {
		case m.Pool != "":
			child := pools[m.Child]
			p.nested, p.more.children = true, append(p.more.children, m.Child)
			s.child = uint16(len(p.more.children))
			for f, could := range child.could {
				if could || child.saysNobody() {
					s.addrs[f] = 1 << f
				}
				p.could[f] = p.could[f] || could
			}
		case m.CNAME != "":
			s.addrs = [2]uint16{1, 1}
			if up || m.Checks == 0 {
				word = word.With(0, health.Up)
			}
		}
		s.health.Store(word)
		if m.Pool != "" {
			p.Derive(i, pools[m.Child])
		}
		for f, addrs := range s.addrs {
			p.could[f] = p.could[f] || addrs != 0 && m.Pool == ""
		}
	}
	p.six = uint32(len(p.rdata))
	p.rdata = append(p.rdata, six...)
}

// saysNobody says whether the pool is there to say what becomes of those whom it is for: it could give nobody, and
// has an on_empty of its own.
func (p *Pool) saysNobody() bool { return p.OwnEmpty && !p.CouldGive(Any) }

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

// AppendRData appends the addresses of family f that were chosen, in order: for each uint16
// length (network order) and RDATA. One that two members share is given once (RFC 2181 §5).
func (d *Decision) AppendRData(b []byte, f Family) (out []byte, count int) {
	p, shared := d.Pool, d.Pool.shared
	start := len(b)
	for _, k := range d.Picks {
		if d.Pools != nil {
			p, shared = d.Of(k), true
		}
		seat := &p.seats[k.Member()]
		set := k.Addrs() & seat.addrs[f] // of both families where Any was asked for
		if set == seat.addrs[f] && !shared {
			n := bits.OnesCount16(set)
			b, count = append(b, p.span(f, int(seat.first[f]), n)...), count+n
			continue
		}
		for ; set != 0; set &= set - 1 {
			before := bits.OnesCount16(seat.addrs[f] & (set&-set - 1))
			one := p.span(f, int(seat.first[f])+before, 1)
			if shared && holds(b[start:], one) {
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
		sum = p.seed + uint64(p.seats[0].tier) + uint64(p.seats[n-1].tier) + uint64(p.rdata[0])
	}
	if p.geography != nil {
		sum += uint64(p.geography.size)
	}
	return sum
}
