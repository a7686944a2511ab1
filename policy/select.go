package policy

import (
	"math/bits"
	"net/netip"
	"slices"

	"meridian/health"
)

// Client is who asks, and for what.
type Client struct {
	Addr   netip.Addr   // of who asks: most often a resolver
	Subnet netip.Prefix // for whom, if that is said, masked: the source prefix (RFC 7871 §6); /0 says nothing, as the zero value
	Family Family       // of the addresses asked for
}

// Outcome of a decision.
type Outcome uint8

const (
	Chosen   Outcome = iota // Picks holds at least one member
	NoData                  // nobody to give, and the pool says so
	ServFail                // nobody to give, and on_empty wants it known
)

func (o Outcome) String() string { return [...]string{"chosen", "nodata", "servfail"}[o] }

// Pick is a member that may be, or is, given, in one word, since steps move many of them:
//
//	bits  0–15  the member: its index in Pool.Members
//	bits 16–31  the set of its addresses that are given (bit 16+i for Addrs[i])
//	bits 32–47  its weight
type Pick uint64

func newPick(member int, addrs, weight uint16) Pick {
	return Pick(member) | Pick(addrs)<<16 | Pick(weight)<<32
}

// Member is the index of the member in Pool.Members.
func (k Pick) Member() int { return int(k & 0xffff) }

// Addrs is the set of the addresses given: bit i for Addrs[i].
func (k Pick) Addrs() uint16 { return uint16(k >> 16) }

// only is k with the addresses that are in set as well.
func (k Pick) only(set uint16) Pick { return k &^ (Pick(^set) << 16) }

func (k Pick) weight() uint64 { return uint64(k >> 32) }

// Decision is what a policy chose.
type Decision struct {
	Outcome  Outcome
	FailOpen bool   // nothing was up: given all the same
	Pool     *Pool  // whose members Picks are: the pool asked, or one of its on_empty
	Picks    []Pick // in the order to be given; belongs to the Scratch until its next use

	// Scope is the length of a prefix around Client.Subnet (without one, around Client.Addr) all of
	// whose clients, asking from the same Addr, have the same candidates at every step
	// (RFC 7871 §7.2.1): 0 where no step asked who the client is.
	Scope uint8
}

const (
	maxVisits = 64   // pools that one decision looks at
	maxGiven  = 1000 // addresses that one answer holds
)

// Scratch is the memory one worker reuses from decision to decision. It is of no use to two
// goroutines at once.
type Scratch struct {
	picks  []Pick        // who is still in, in order; beyond a pending draw the order is not settled
	words  []health.Word // by member, as they were when the run began
	sites  []uint16      // that take has given
	tags   []uint64      // set of members that serve a tag of the client
	draw   uint64        // of a weighted step: seed of the draws that settle the order; 0 when it is settled
	scope  uint8         // see Decision.Scope
	visits int
}

// Select chooses among the members of p for one client, and fills in d. pools are all of the
// snapshot's, by ID. random is a fresh random number: the same number chooses the same. t may be
// nil; if not, each step is recorded in it.
func Select(d *Decision, p *Pool, pools []*Pool, c *Client, random uint64, s *Scratch, t *Trace) {
	d.Outcome, d.FailOpen, d.Pool, d.Picks = NoData, false, p, nil
	s.visits, s.scope = 0, 0
	s.decide(d, p, pools, c, random, t)
	if d.Outcome == Chosen {
		d.Picks = s.picks
	}
	d.Scope = s.scope
	if t != nil {
		t.decided(d)
	}
}

// decide runs p's chain and, where it leaves nobody, what p says of that. It reports whether the
// decision is made; a pool that is not the root and says nothing of its own leaves it open.
func (s *Scratch) decide(d *Decision, p *Pool, pools []*Pool, c *Client, random uint64, t *Trace) bool {
	if s.visits++; s.visits > maxVisits {
		t.note(p, "not looked at: this decision has visited %d pools", maxVisits)
		return false
	}
	if p.plain && t == nil && s.runPlain(p, c.Family, random) || s.run(p, c, random, false, t) {
		d.Outcome, d.Pool = Chosen, p
		return true
	}
	root := s.visits == 1
	return (root || p.OwnEmpty) && s.empty(d, p, pools, c, random, t)
}

// empty goes through what p says of leaving nobody, and reports whether that makes the decision.
func (s *Scratch) empty(d *Decision, p *Pool, pools []*Pool, c *Client, random uint64, t *Trace) bool {
	for i := range p.OnEmpty {
		f := &p.OnEmpty[i]
		t.fallback(p, f)
		switch f.Kind {
		case FallbackAll:
			if s.run(p, c, random, true, t) {
				d.Outcome, d.Pool, d.FailOpen = Chosen, p, true
				return true
			}
		case FallbackPool:
			if s.decide(d, pools[f.Pool], pools, c, random, t) {
				return true
			}
		case FallbackNoData:
			d.Outcome = NoData
			return true
		case FallbackServFail:
			d.Outcome = ServFail
			return true
		}
	}
	return false
}

// run takes the members of the family through the steps and reports whether anybody is left in
// s.picks. A step that would leave nobody ends the run; with failOpen it is passed over instead,
// unless it is strict.
func (s *Scratch) run(p *Pool, c *Client, random uint64, failOpen bool, t *Trace) bool {
	s.start(p, c.Family)
	if t != nil {
		t.start(p, c, s, failOpen)
	}
	if len(s.picks) == 0 {
		return false
	}
	for i := range p.Steps {
		st := &p.Steps[i]
		if t != nil {
			t.before(s)
		}
		left := true
		switch st.Op {
		case OpUp:
			left = s.up()
		case OpGeo:
			left = s.geo(p.geography, c) || !st.Strict
		case OpTier:
			s.tier(p, st, mix(random, p.seed, i))
		case OpWeighted:
			s.draw = drawOf(mix(random, p.seed, i))
		case OpTake:
			s.take(p, st)
		}
		if t != nil {
			t.after(p, st, s, left, failOpen)
		}
		if !left && (!failOpen || st.Strict) {
			return false
		}
	}
	s.settle()
	return true
}

// runPlain is run for the chain that most pools have, up, weighted, take 1, in one go: 22 ns where the
// steps take 40, of three members. Where nobody is up, or nobody of any weight, it leaves all to the
// steps and says so.
func (s *Scratch) runPlain(p *Pool, f Family, random uint64) bool {
	s.grow(len(p.seats))
	n, picks, weight := 0, s.picks[:len(p.seats)], uint64(0)
	for i := range p.seats {
		seat := &p.seats[i]
		if addrs := seat.addrs[f] & seat.health.Load().Up(); addrs != 0 {
			picks[n] = newPick(i, addrs, seat.weight)
			weight += uint64(seat.weight)
			n++
		}
	}
	if weight == 0 {
		return false
	}
	o := order{draw: drawOf(mix(random, p.seed, 1)), undrawn: weight}
	o.next(picks[:n], 0)
	s.picks = picks[:1]
	return true
}

// grow makes room for n members.
func (s *Scratch) grow(n int) {
	if cap(s.picks) < n {
		s.picks, s.words = make([]Pick, n), make([]health.Word, n)
	}
}

// start puts in everybody who has an address of the family, and reads each member's word: once.
func (s *Scratch) start(p *Pool, f Family) {
	s.grow(len(p.seats))
	n, picks, words := 0, s.picks[:len(p.seats)], s.words[:len(p.seats)]
	for i := range p.seats {
		seat := &p.seats[i]
		words[i] = seat.health.Load()
		if addrs := seat.addrs[f]; addrs != 0 {
			picks[n] = newPick(i, addrs, seat.weight)
			n++
		}
	}
	s.picks, s.words, s.draw = picks[:n], words, 0
}

// up keeps the addresses that are up; while none is known to be, those of which nothing is known
// yet stand in. If all are down it changes nothing and says so.
func (s *Scratch) up() bool {
	n := 0
	for _, pick := range s.picks {
		if pick = pick.only(s.words[pick.Member()].Up()); pick.Addrs() != 0 {
			s.picks[n] = pick
			n++
		}
	}
	if n == 0 {
		return s.unknown()
	}
	s.picks = s.picks[:n]
	return true
}

// unknown keeps the addresses of which nothing is known. If there are none it changes nothing and
// says so.
func (s *Scratch) unknown() bool {
	n := 0
	for _, pick := range s.picks {
		if pick = pick.only(s.words[pick.Member()].Unknown()); pick.Addrs() != 0 {
			s.picks[n] = pick
			n++
		}
	}
	return s.kept(n)
}

// kept leaves the first n. If there are none it changes nothing and says so.
func (s *Scratch) kept(n int) bool {
	if n == 0 {
		return false
	}
	s.picks = s.picks[:n]
	return true
}

// tier keeps the lowest tier present, or, by the chance of trickle, the next one.
func (s *Scratch) tier(p *Pool, st *Step, random uint64) {
	const none = 1 << 16
	lowest, next := none, none
	for i := range s.picks {
		switch t := int(p.seats[s.picks[i].Member()].tier); {
		case t < lowest:
			lowest, next = t, lowest
		case t > lowest && t < next:
			next = t
		}
	}
	if next != none && random < st.trickle {
		lowest = next
	}
	n := 0
	for _, pick := range s.picks {
		if int(p.seats[pick.Member()].tier) == lowest {
			s.picks[n] = pick
			n++
		}
	}
	s.picks = s.picks[:n]
}

// take keeps the first N in order, at most one a site if Distinct. A member without a site is
// like no other.
func (s *Scratch) take(p *Pool, st *Step) {
	o := s.order()
	s.sites = s.sites[:0]
	kept := 0
	for i := 0; i < len(s.picks) && kept < st.N; i++ {
		o.next(s.picks, i)
		if st.Distinct {
			site := p.seats[s.picks[i].Member()].site
			if site != 0 && slices.Contains(s.sites, site) {
				continue
			}
			s.sites = append(s.sites, site)
		}
		if kept != i {
			s.picks[kept], s.picks[i] = s.picks[i], s.picks[kept]
		}
		kept++
	}
	s.picks, s.draw = s.picks[:kept], 0
}

// settle puts everybody in order and cuts the list where the answer would hold too much.
func (s *Scratch) settle() {
	if s.draw == 0 && len(s.picks) <= maxGiven/health.MaxAddrs {
		return
	}
	o := s.order()
	given := 0
	for i := range s.picks {
		o.next(s.picks, i)
		if given += bits.OnesCount16(s.picks[i].Addrs()); given > maxGiven {
			s.picks = s.picks[:i]
			break
		}
	}
	s.draw = 0
}

// order is what a weighted step leaves to chance.
type order struct {
	draw    uint64 // Scratch.draw
	undrawn uint64 // weight of those not drawn yet
}

// drawOf makes a random number the seed of draws, which is not 0.
func drawOf(random uint64) uint64 { return random | 1 }

func (s *Scratch) order() order {
	o := order{draw: s.draw}
	if o.draw != 0 {
		for i := range s.picks {
			o.undrawn += s.picks[i].weight()
		}
	}
	return o
}

// next brings the pick that comes i-th into place i, where a weighted step left that to chance:
// drawn by weight among those not drawn yet; weight 0 only when nothing else is left.
func (o *order) next(picks []Pick, i int) {
	if o.draw == 0 {
		return
	}
	rest, random := picks[i:], mix(o.draw, 0, i)
	if o.undrawn == 0 {
		j := below(random, uint64(len(rest)))
		rest[0], rest[j] = rest[j], rest[0]
		return
	}
	at := below(random, o.undrawn)
	for j := range rest {
		w := rest[j].weight()
		if at < w {
			rest[0], rest[j] = rest[j], rest[0]
			o.undrawn -= w
			return
		}
		at -= w
	}
}

// mix makes of one random number another one for each pool and step, or draw (the finalizer of
// splitmix64), so that one step's draw moves no other's.
func mix(random, seed uint64, i int) uint64 {
	x := random ^ seed + uint64(i+1)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// below maps a random number to 0…n−1 evenly.
func below(random, n uint64) uint64 {
	hi, _ := bits.Mul64(random, n)
	return hi
}
