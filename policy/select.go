package policy

import (
	"slices"

	"meridian/health"
)

const (
	maxVisits = 64   // pools that one decision looks at
	maxGiven  = 1000 // addresses that one answer holds
)

// Scratch is the memory one worker reuses from decision to decision. It is of no use to two
// goroutines at once.
type Scratch struct {
	world  *World
	client *Client
	random uint64
	trace  *Trace

	visited []*Pool // in order
	scope   uint8   // see Decision.Scope
	first   run     // of the pool asked, or of one of its on_empty
	within  []*run  // of pools within, by depth
}

// Select chooses among the members of p for one client, and fills in d. random is a fresh random
// number: the same number chooses the same. t may be nil; if not, each step is recorded in it.
func Select(d *Decision, p *Pool, w *World, c *Client, random uint64, s *Scratch, t *Trace) {
	d.Outcome, d.FailOpen, d.Pool, d.Picks, d.Pools, d.Scope = Chosen, false, p, nil, nil, 0
	if p.plain && t == nil && s.first.plain(p, c.Family, random) {
		d.Picks = s.first.picks
		return
	}
	s.world, s.client, s.random, s.trace = w, c, random, t
	s.visited, s.scope = s.visited[:0], 0
	var v verdict
	s.decide(&v, p, 0, false, asked)
	if d.Outcome, d.Scope = v.outcome, s.scope; v.outcome == Chosen {
		d.FailOpen, d.Pool, d.Picks = v.failOpen, v.pool, v.picks
		if v.pool.nested {
			d.Pools = s.visited
		}
	}
	if t != nil {
		t.decided(d)
	}
}

// verdict is what a pool says that was asked. Where it says nothing, who asked goes on as if it were not
// there, and outcome is NoData.
type verdict struct {
	outcome  Outcome
	failOpen bool
	pool     *Pool  // that gave picks
	picks    []Pick // in the order to be given
}

// decide runs p's chain and, where it leaves nobody, does what p says of that: a pool that another
// asked has to say it itself. With failOpen, who asks has found nobody already. It reports whether p says
// anything.
func (s *Scratch) decide(v *verdict, p *Pool, depth int, failOpen bool, why why) bool {
	v.outcome = NoData
	if len(s.visited) == maxVisits {
		s.trace.note(p, depth, "not looked at: this decision has visited %d pools", maxVisits)
		return false
	}
	visit := len(s.visited)
	s.visited = append(s.visited, p)
	return s.run(v, p, depth, visit, failOpen && !p.OwnEmpty, why) ||
		(why == asked || p.OwnEmpty) && s.empty(v, p, depth, visit)
}

// empty goes through what p says of leaving nobody, and reports whether that makes a verdict.
func (s *Scratch) empty(v *verdict, p *Pool, depth, visit int) bool {
	for i := range p.OnEmpty {
		f := &p.OnEmpty[i]
		s.trace.fallback(p, f)
		switch f.Kind {
		case FallbackAll:
			if s.run(v, p, depth, visit, true, failedOpen) {
				return true
			}
		case FallbackPool:
			if s.decide(v, s.world.Pools[f.Pool], depth, false, fallenBackTo) {
				return true
			}
		case FallbackNoData:
			v.outcome = NoData
			return true
		case FallbackServFail:
			v.outcome = ServFail
			return true
		}
	}
	v.outcome = NoData
	return false
}

// at is the run of pools at that depth, whose memory is used again.
func (s *Scratch) at(depth int) *run {
	if depth == 0 {
		return &s.first
	}
	for len(s.within) < depth {
		s.within = append(s.within, new(run))
	}
	return s.within[depth-1]
}

// run takes p's members through its chain, and reports whether that makes a verdict.
func (s *Scratch) run(v *verdict, p *Pool, depth, visit int, failOpen bool, why why) bool {
	r := s.at(depth)
	r.Scratch, r.pool, r.depth, r.visit, r.failOpen = s, p, depth, visit, failOpen
	r.start(why)
	if !r.chain() {
		v.outcome = NoData
		if r.said != Chosen { // by a pool within
			v.outcome = r.said
		}
		return r.said != Chosen
	}
	v.outcome, v.failOpen, v.pool, v.picks = Chosen, failOpen, p, r.picks
	switch {
	case p.nested:
		v.picks, v.failOpen = r.leaves, failOpen || r.opened
	case depth > 0:
		for i := range r.picks {
			r.picks[i] = r.picks[i].of(visit)
		}
	}
	return true
}

// why is why a pool is run.
type why uint8

const (
	asked why = iota
	asMember
	fallenBackTo
	failedOpen
)

// run is one pass of a pool's members through its chain.
type run struct {
	*Scratch
	pool     *Pool
	depth    int
	visit    int // place of pool in visited
	failOpen bool

	picks []Pick        // who is still in, in order; beyond a pending draw the order is not settled
	words []health.Word // by member, as they were when the run began
	at    place         // where the client is, once a step has asked
	draw  uint64        // of a weighted step: seed of the draws that settle the order; 0 when it is settled
	seed  uint64        // of all draws of the chain: the random number, or what follows from the client

	ranked bool      // the draw follows from the client
	scores []float64 // by member, of such a draw: the lowest goes first
	sites  []uint16  // that take has given
	tags   []uint64  // set of members that serve a tag of the client
	far    []float64 // of nearest, by place in picks

	// Of one that is traced.
	line  int    // its place in the trace
	stage []Pick // who was in before the step
	drawn bool   // their order was left open
	cut   int    // how many the answer had no room for

	// Of a pool with pools within.
	yields []yield // by member
	given  []Pick  // what they give
	leaves []Pick  // what is given of them, in the end
	said   Outcome // by one that gives nobody and says so itself; else Chosen
	opened bool    // something is given although nobody was up
}

// start puts in everybody who has an address of the family and is not withdrawn, and reads each
// member's word: once.
func (r *run) start(why why) {
	p := r.pool
	r.grow(len(p.seats))
	n, picks, words, f := 0, r.picks[:len(p.seats)], r.words[:len(p.seats)], r.client.Family
	for i := range p.seats {
		seat := &p.seats[i]
		w := seat.health.Load()
		words[i] = w
		if addrs := seat.of(f); addrs != 0 && !w.Withdrawn() {
			picks[n] = newPick(i, addrs, w.Weight())
			n++
		}
	}
	r.picks, r.words, r.draw, r.seed, r.at.known = picks[:n], words, 0, r.random, false
	r.said, r.opened, r.cut = Chosen, false, 0
	if p.nested {
		r.given, r.leaves, r.yields = r.given[:0], r.leaves[:0], slices.Grow(r.yields[:0], len(p.seats))[:len(p.seats)]
		clear(r.yields)
	}
	if r.trace != nil {
		r.trace.start(r, why)
	}
}

// grow makes room for n members.
func (r *run) grow(n int) {
	if cap(r.picks) < n {
		r.picks, r.words = make([]Pick, n), make([]health.Word, n)
	}
}

// plain is a run of the chain that most pools have, up, weighted, take 1, in one go: 22 ns where the
// steps take 40, of three members. Where nobody is up, or nobody of any weight, it leaves all to the
// steps and says so.
func (r *run) plain(p *Pool, f Family, random uint64) bool {
	if f == Any {
		return false
	}
	r.grow(len(p.seats))
	n, picks, weight := 0, r.picks[:len(p.seats)], uint64(0)
	for i := range p.seats {
		seat := &p.seats[i]
		w := seat.health.Load()
		if addrs := seat.addrs[f&1] & w.Up(); addrs != 0 && !w.Withdrawn() {
			picks[n] = newPick(i, addrs, w.Weight())
			weight += uint64(w.Weight())
			n++
		}
	}
	if weight == 0 {
		return false
	}
	o := order{draw: drawOf(mix(random, p.seed, 1)), undrawn: weight}
	o.next(picks[:n], 0)
	r.picks = picks[:1]
	return true
}

// effect is what a step did.
type effect uint8

const (
	done     effect = iota
	idle            // it had nothing to go by
	undone          // it would leave nobody, which it may not
	emptied         // it leaves nobody: picks are as they were
	strictly        // likewise, and not to be passed over where the pool fails open
	notNow          // the query is none of those that it is for
)

// chain takes the members through the steps, and puts who is left in order. It says whether anybody is.
func (r *run) chain() bool {
	if len(r.picks) == 0 {
		return false
	}
	if r.pool.sticky {
		r.stick()
	}
	for i := range r.pool.Steps {
		st := &r.pool.Steps[i]
		if r.trace != nil {
			r.trace.before(r)
		}
		did := notNow
		if st.When == nil || r.fits(st.When.condition) {
			did = r.step(st, i)
		}
		if r.trace != nil {
			r.trace.after(r, st, did)
		}
		if did == strictly || did == emptied && !r.failOpen {
			return false
		}
	}
	left := r.settle()
	if r.trace != nil {
		r.trace.ended(r)
	}
	return left
}

// step does step i. One that leaves nobody changes nothing.
func (r *run) step(st *Step, i int) effect {
	switch st.Op {
	case OpUp:
		return r.up()
	case OpGeo:
		return r.geo(st)
	case OpNearest:
		return r.nearest(&st.Nearest)
	case OpTier:
		return r.tier(&st.Tier, mix(r.seed, r.pool.seed, i))
	case OpShed:
		return r.shed(&st.Shed, mix(r.seed, r.pool.seed, i))
	case OpWeighted:
		r.weighted(st, mix(r.seed, r.pool.seed, i))
	case OpTake:
		return r.take(&st.Take)
	}
	return done
}
