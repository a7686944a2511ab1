package policy

import (
	"net/netip"
	"slices"

	"meridian/health"
	"meridian/policy/geo"
)

// Client is who asks, and for what.
type Client struct {
	Addr   netip.Addr   // of who asks: most often a resolver
	Subnet netip.Prefix // for whom, if that is said, masked: the source prefix (RFC 7871 §6); /0 says nothing, as the zero value
	Type   uint16       // asked for (RFC 1035 §3.2.3)
	Family Family       // of the addresses that answer it
}

// World is what decisions read beside the pool that is asked.
type World struct {
	Pools []*Pool       // by ID; nil where no pool has that ID
	Geo   *geo.Database // nil: nobody knows where clients are
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
//	bits 48–63  of which pool it is: its place in Decision.Pools
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

func (k Pick) weight() uint64 { return uint64(k >> 32 & 0xffff) }

// of is k as one of the pool visited in that place.
func (k Pick) of(visit int) Pick { return k&^(0xffff<<48) | Pick(visit)<<48 }

// Decision is what a policy chose.
type Decision struct {
	Outcome  Outcome
	FailOpen bool    // nobody was up, of the pool or of one within it: given all the same
	Pool     *Pool   // that decided: the pool asked, or one of its on_empty
	Picks    []Pick  // in the order to be given; belongs to the Scratch until its next use
	Pools    []*Pool // whose members Picks are; nil: all are Pool's own

	// Scope is the length of a prefix around Client.Subnet (without one, around Client.Addr) all of
	// whose clients, asking from the same Addr, have the same candidates at every step
	// (RFC 7871 §7.2.1): 0 where no step asked who the client is.
	Scope uint8
}

// Of is the pool whose member k is.
func (d *Decision) Of(k Pick) *Pool {
	if d.Pools == nil {
		return d.Pool
	}
	return d.Pools[k>>48]
}

// Member is who is picked.
func (d *Decision) Member(k Pick) *Member { return &d.Of(k).Members[k.Member()] }

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

// up keeps the addresses that are up; while none is known to be, those of which nothing is known
// yet stand in.
func (r *run) up() effect {
	n := 0
	for _, pick := range r.picks {
		if pick = pick.only(r.words[pick.Member()].Up()); pick.Addrs() != 0 {
			r.picks[n] = pick
			n++
		}
	}
	if n == 0 {
		return r.unknown()
	}
	r.picks = r.picks[:n]
	return done
}

// unknown keeps the addresses of which nothing is known.
func (r *run) unknown() effect {
	n := 0
	for _, pick := range r.picks {
		if pick = pick.only(r.words[pick.Member()].Unknown()); pick.Addrs() != 0 {
			r.picks[n] = pick
			n++
		}
	}
	if !r.kept(n) {
		return emptied
	}
	return done
}

// kept leaves the first n. If there are none it changes nothing and says so.
func (r *run) kept(n int) bool {
	if n == 0 {
		return false
	}
	r.picks = r.picks[:n]
	return true
}

// tier keeps the lowest tier present, or, by the chance of trickle, the next one. Tiers below the
// latch do not count while others are there.
func (r *run) tier(t *Tier, random uint64) effect {
	const none = 1 << 16
	latch := 0
	if t.latches() {
		latch = int(r.pool.more.latch.Load())
	}
	lowest, next, below := none, none, none
	for i := range r.picks {
		switch t := int(r.pool.seats[r.picks[i].Member()].tier); {
		case t < latch:
			below = min(below, t)
		case t < lowest:
			lowest, next = t, lowest
		case t > lowest && t < next:
			next = t
		}
	}
	if lowest == none {
		lowest = below
	}
	if next != none && random < t.trickle {
		lowest = next
	}
	n := 0
	for _, pick := range r.picks {
		if int(r.pool.seats[pick.Member()].tier) == lowest {
			r.picks[n] = pick
			n++
		}
	}
	r.picks = r.picks[:n]
	return done
}

// shed takes members off, each by a chance of its own.
func (r *run) shed(shed *Shed, random uint64) effect {
	n := 0
	for _, pick := range r.picks {
		m := pick.Member()
		if mix(random, r.pool.more.hashes[m], 0) >= shed.chance(r.words[m]) {
			r.picks[n] = pick
			n++
		}
	}
	if !r.kept(n) {
		return emptied
	}
	return done
}

// take keeps the first N in order that yield, at most one a site if they are to be distinct. A member
// without a site is like no other.
func (r *run) take(take *Take) effect {
	o := r.order()
	r.sites = r.sites[:0]
	kept := 0
	for i := 0; i < len(r.picks) && kept < take.N; i++ {
		o.next(r.picks, i)
		site := r.pool.seats[r.picks[i].Member()].site
		if take.Distinct != "" && site != 0 && slices.Contains(r.sites, site) || r.pool.nested && !r.gives(r.picks[i], kept == 0) {
			if r.said != Chosen {
				return strictly
			}
			continue
		}
		r.sites = append(r.sites, site)
		if kept != i {
			r.picks[kept], r.picks[i] = r.picks[i], r.picks[kept]
		}
		kept++
	}
	r.draw = 0
	if kept == 0 {
		return strictly
	}
	r.picks = r.picks[:kept]
	return done
}
