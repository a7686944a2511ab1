package policy

import (
	"math/bits"
	"net/netip"
	"slices"

	"meridian/health"
)

// Client is who asks, and for what.
type Client struct {
	Addr   netip.Addr // the client's, as far as it is known; no step of this version looks at it
	Family Family     // of the addresses asked for
}

// Outcome of a decision.
type Outcome uint8

const (
	Chosen   Outcome = iota // Picks holds at least one member
	NoData                  // nobody to give, and the pool says so
	ServFail                // nobody to give, and on_empty wants it known
)

func (o Outcome) String() string { return [...]string{"chosen", "nodata", "servfail"}[o] }

// Pick is a member that may be, or is, given, with the set of its addresses (bit i for Addrs[i]).
type Pick struct {
	Member uint16 // index in Pool.Members
	Addrs  uint16
}

// Decision is what a policy chose.
type Decision struct {
	Outcome  Outcome
	FailOpen bool   // nothing was up: given all the same
	Pool     *Pool  // whose members Picks are: the pool asked, or one of its on_empty
	Picks    []Pick // in the order to be given; belongs to the Scratch until its next use
}

const (
	maxVisits = 64   // pools that one decision looks at
	maxGiven  = 1000 // addresses that one answer holds
)

// Scratch is the memory one worker reuses from decision to decision. It is of no use to two
// goroutines at once.
type Scratch struct {
	picks   []Pick        // who is still in, in order; beyond a pending draw the order is not settled
	words   []health.Word // by member
	sites   []uint16      // that take has given
	draw    uint64        // of a weighted step: seed of the draws that settle the order; 0 when it is settled
	undrawn uint64        // weight of those not drawn yet
	visits  int
}

// Select chooses among the members of p for one client. pools are all of the snapshot's, by ID.
// random is a fresh random number: the same number chooses the same. t may be nil; if not, each
// step is recorded in it.
func Select(p *Pool, pools []*Pool, c Client, random uint64, s *Scratch, t *Trace) Decision {
	s.visits = 0
	d := Decision{Outcome: NoData, Pool: p}
	s.decide(&d, p, pools, c, random, true, t)
	if d.Outcome == Chosen {
		d.Picks = s.picks
	}
	t.decided(&d)
	return d
}

// decide runs p's chain and, where it leaves nobody, what p says of that. It reports whether the
// decision is made; a pool that is not the root and says nothing of its own leaves it open.
func (s *Scratch) decide(d *Decision, p *Pool, pools []*Pool, c Client, random uint64, root bool, t *Trace) bool {
	if s.visits++; s.visits > maxVisits {
		t.note(p, "not looked at: this decision has visited %d pools", maxVisits)
		return false
	}
	if s.run(p, c, random, false, t) {
		d.Outcome, d.Pool = Chosen, p
		return true
	}
	if !root && !p.OwnEmpty {
		return false
	}
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
			if s.decide(d, pools[f.Pool], pools, c, random, false, t) {
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
// s.picks. A step that would leave nobody ends the run; with failOpen it is passed over instead.
func (s *Scratch) run(p *Pool, c Client, random uint64, failOpen bool, t *Trace) bool {
	s.start(p, c.Family)
	t.start(p, c, s, failOpen)
	if len(s.picks) == 0 {
		return false
	}
	for i := range p.Steps {
		st := &p.Steps[i]
		t.before(s)
		left := true
		switch st.Op {
		case OpUp:
			left = s.up()
		case OpTier:
			s.tier(p, st, mix(random, p.seed, i))
		case OpWeighted:
			s.draw = mix(random, p.seed, i) | 1
		case OpTake:
			s.take(p, st)
		}
		t.after(p, st, s, left, failOpen)
		if !left && !failOpen {
			return false
		}
	}
	s.settle(p)
	return true
}

// start puts in everybody who has an address of the family, and reads each member's word: once.
func (s *Scratch) start(p *Pool, f Family) {
	picks, words := s.picks[:0], s.words[:0]
	for i := range p.hot {
		words = append(words, p.words[i].Load())
		if addrs := p.hot[i].addrs[f]; addrs != 0 {
			picks = append(picks, Pick{uint16(i), addrs})
		}
	}
	s.picks, s.words, s.draw = picks, words, 0
}

// up keeps the addresses that are up; while none is known to be, those of which nothing is known
// yet stand in. If all are down it changes nothing and says so.
func (s *Scratch) up() bool {
	return s.keep(health.Word.Up) || s.keep(health.Word.Unknown)
}

// keep keeps the addresses that are in a set of their member's word. If none is, it changes
// nothing and says so.
func (s *Scratch) keep(set func(health.Word) uint16) bool {
	n := 0
	for _, pick := range s.picks {
		if addrs := pick.Addrs & set(s.words[pick.Member]); addrs != 0 {
			s.picks[n] = Pick{pick.Member, addrs}
			n++
		}
	}
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
	for _, pick := range s.picks {
		switch t := int(p.hot[pick.Member].tier); {
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
		if int(p.hot[pick.Member].tier) == lowest {
			s.picks[n] = pick
			n++
		}
	}
	s.picks = s.picks[:n]
}

// take keeps the first N in order, at most one a site if Distinct. A member without a site is
// like no other.
func (s *Scratch) take(p *Pool, st *Step) {
	s.weigh(p)
	s.sites = s.sites[:0]
	kept := 0
	for i := 0; i < len(s.picks) && kept < st.N; i++ {
		s.next(p, i)
		if st.Distinct {
			site := p.hot[s.picks[i].Member].site
			if site != 0 && slices.Contains(s.sites, site) {
				continue
			}
			s.sites = append(s.sites, site)
		}
		s.picks[kept], s.picks[i] = s.picks[i], s.picks[kept]
		kept++
	}
	s.picks, s.draw = s.picks[:kept], 0
}

// settle puts everybody in order and cuts the list where the answer would hold too much.
func (s *Scratch) settle(p *Pool) {
	s.weigh(p)
	given := 0
	for i := range s.picks {
		s.next(p, i)
		if given += bits.OnesCount16(s.picks[i].Addrs); given > maxGiven {
			s.picks = s.picks[:i]
			break
		}
	}
	s.draw = 0
}

// weigh prepares for next.
func (s *Scratch) weigh(p *Pool) {
	s.undrawn = 0
	if s.draw == 0 {
		return
	}
	for _, pick := range s.picks {
		s.undrawn += uint64(p.hot[pick.Member].weight)
	}
}

// next brings the pick that comes i-th into place i, where a weighted step left that to chance:
// drawn by weight among those not drawn yet; weight 0 only when nothing else is left.
func (s *Scratch) next(p *Pool, i int) {
	if s.draw == 0 {
		return
	}
	rest, random := s.picks[i:], mix(s.draw, 0, i)
	if s.undrawn == 0 {
		j := below(random, uint64(len(rest)))
		rest[0], rest[j] = rest[j], rest[0]
		return
	}
	at := below(random, s.undrawn)
	for j, pick := range rest {
		w := uint64(p.hot[pick.Member].weight)
		if at < w {
			rest[0], rest[j] = pick, rest[0]
			s.undrawn -= w
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
