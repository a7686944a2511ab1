// Package policy chooses among the members of a pool. A policy is a short chain of steps; Select
// runs it and is a pure function of pool, health, client and a random number: no clock, no log,
// no global, no allocation.
package policy

import (
	"cmp"
	"hash/fnv"
	"net/netip"
	"slices"
	"sync/atomic"

	"meridian/health"
	"meridian/policy/geo"
)

// ID is a pool's place in the slice of all pools of a snapshot. It stays the pool's own as long as
// anything refers to it.
type ID uint32

// Family of the addresses that a client asks for.
type Family uint8

const (
	IPv4 Family = iota
	IPv6
	Any // of types that are not of one family: SRV, HTTPS
)

func (f Family) String() string { return [...]string{"IPv4", "IPv6", "IP"}[f] }

// Pool is a set of members and the chain that chooses among them, compiled: all of it is
// immutable but for what is measured of its members.
type Pool struct {
	// What decisions read, side by side.
	seating
	Steps     []Step
	geography *geography // nil: no step looks at it
	more      *more      // nil: no step, and nobody else, looks at it

	// What is written, for those who compile, check and explain.
	Name    string
	Members []Member // sorted by name
	OnEmpty []Fallback
	notes   *[]note // by member
}

// more is what few pools have.
type more struct {
	children []ID                 // of the members that are pools
	hashes   []uint64             // of the members' names, if a step goes by them
	stands   []stand              // by member, if a step goes by distance
	biased   bool                 // some member is nearer or farther than it stands
	rtts     atomic.Pointer[rtts] // nil: nothing is measured
	latch    atomic.Uint32        // see SetLatch
	minUp    MinUp
	scale    int // of the weights in the words; 0 is 1
}

// note is what is said of a member.
type note struct {
	reasons   atomic.Pointer[reasons] // the last check's words
	withdrawn atomic.Pointer[string]  // why it is withdrawn
	load      atomic.Pointer[string]  // who told its load
}

// MaxMembers is how many members a pool may have.
const MaxMembers = 1000

// Surroundings are what a pool is compiled with.
type Surroundings struct {
	OnEmpty []Fallback           // of the spec, compiled; nil: the default
	Maps    map[string]*geo.Map  // of which members serve tags; one that is missing matches nobody
	Sites   map[string]geo.Point // of members; one that is missing is nowhere
	Pools   []*Pool              // of members, by ID
	Scale   int                  // of the weights that words will have: see health.Recovery; 0 is 1
}

// New compiles a pool. Members that no check watches are up, the others unknown. members are sorted
// by name and at most MaxMembers, all addresses and pools of such or all names and pools of such.
func New(name string, spec Spec, members []Member, in Surroundings) *Pool {
	p := newPool(len(members))
	p.Name, p.Members = name, members
	p.OnEmpty, p.OwnEmpty = in.OnEmpty, len(spec.OnEmpty) > 0
	if !p.OwnEmpty && p.OnEmpty == nil {
		p.OnEmpty = defaultOnEmpty
	}
	notes := make([]note, len(members))
	p.notes, p.Checked = &notes, spec.Check != ""
	p.Steps, p.seed = spec.Chain(), hashOf(name)
	isPool := func(m Member) bool { return m.Pool != "" }
	if spec.MinUp != (MinUp{}) || in.Scale > 1 || slices.ContainsFunc(members, isPool) || slices.ContainsFunc(p.Steps, func(s Step) bool { return s.remembers() }) {
		p.more = &more{minUp: spec.MinUp, scale: in.Scale}
	}
	p.place(members, !p.Checked, in.Pools)
	p.plain = slices.Equal(p.Steps, Policies[defaultPolicy]) && !p.nested
	p.OfNames = slices.ContainsFunc(members, func(m Member) bool { // a pool without members is of neither
		return m.CNAME != "" || m.Pool != "" && in.Pools[m.Child].OfNames
	})
	asks := func(ask func(*Step) bool) bool {
		return slices.ContainsFunc(p.Steps, func(s Step) bool { return ask(&s) })
	}
	p.sticky = asks((*Step).sticky)
	if asks((*Step).asks) {
		p.geography = newGeography(members, p.Steps, in.Maps)
	}
	if p.sticky || asks(func(s *Step) bool { return s.Op == OpShed }) {
		p.more.hashes = make([]uint64, len(members))
		for i := range members {
			p.more.hashes[i] = hashOf(members[i].Name)
		}
	}
	if asks(func(s *Step) bool { return s.Op == OpNearest }) {
		p.more.stands = make([]stand, len(members))
		for i := range members {
			p.more.stands[i] = newStand(in.Sites[members[i].Site], members[i].Bias)
			p.more.biased = p.more.biased || members[i].Bias != 0
		}
	}
	return p
}

var defaultOnEmpty = []Fallback{{Kind: FallbackAll}}

func hashOf(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return h.Sum64()
}

// reasons are the words of the last check of each address of a member.
type reasons [health.MaxAddrs]string

// SetHealth sets the state of a member's address, and the words of the check that led to it. Only
// one goroutine calls it; decisions meanwhile see the member before or after, never between.
func (p *Pool) SetHealth(member, addr int, s health.State, reason string) {
	p.SetReason(member, addr, reason)
	p.SetWord(member, p.Health(member).With(addr, s))
}

// SetReason sets why a member's address is in its state. The goroutine of SetHealth calls it.
func (p *Pool) SetReason(member, addr int, reason string) {
	if p.Reason(member, addr) == reason {
		return
	}
	why := new(reasons)
	note := &(*p.notes)[member]
	if old := note.reasons.Load(); old != nil {
		*why = *old
	}
	why[addr] = reason
	note.reasons.Store(why)
}

// Reason is what SetReason set.
func (p *Pool) Reason(member, addr int) string {
	if why := (*p.notes)[member].reasons.Load(); why != nil {
		return why[addr]
	}
	return ""
}

// Scale is what the weights in the words of members are multiplied by, but for those that climb: see
// health.Recovery.
func (p *Pool) Scale() int {
	if p.more == nil || p.more.scale == 0 {
		return 1
	}
	return p.more.scale
}

// Health of a member.
func (p *Pool) Health(member int) health.Word { return p.seats[member].health.Load() }

// SetWord sets all of a member's health. The goroutine of SetHealth calls it.
func (p *Pool) SetWord(member int, w health.Word) { p.seats[member].health.Store(w) }

// SetWithdrawn sets why a member is withdrawn, in words.
func (p *Pool) SetWithdrawn(member int, why string) { (*p.notes)[member].withdrawn.Store(&why) }

func (p *Pool) withdrawn(member int) string {
	if why := (*p.notes)[member].withdrawn.Load(); why != nil && *why != "" {
		return *why
	}
	return "withdrawn"
}

// SetLoad sets a member's load, less than 0 for none, and who told it, in words. The goroutine of SetHealth calls it.
func (p *Pool) SetLoad(member int, load float64, from string) {
	(*p.notes)[member].load.Store(&from)
	p.SetWord(member, p.Health(member).WithLoad(load))
}

// SetLatch has tier steps whose failback is not automatic keep to that tier and those above it; 0 lifts that.
func (p *Pool) SetLatch(tier uint16) {
	if p.more != nil {
		p.more.latch.Store(uint32(tier))
	}
}

// Latch is what SetLatch set.
func (p *Pool) Latch() uint16 {
	if p.more == nil {
		return 0
	}
	return uint16(p.more.latch.Load())
}

// Latches says whether a step of the pool keeps to its latch.
func (p *Pool) Latches() bool {
	return slices.ContainsFunc(p.Steps, func(s Step) bool { return s.Op == OpTier && s.Tier.latches() })
}

// TierState is what is known of a tier.
type TierState struct {
	Tier  uint16
	State health.State // up with any member up, unknown while any may be, and else down, as those withdrawn are
}

// Tiers are the tiers that the pool's members have, the lowest first.
func (p *Pool) Tiers() (tiers []TierState) {
	for i := range p.seats {
		s := &p.seats[i]
		w, state := s.health.Load(), health.Down
		switch {
		case w.Withdrawn():
		case s.of(Any)&w.Up() != 0:
			state = health.Up
		case s.of(Any)&w.Unknown() != 0:
			state = health.Unknown
		}
		at, known := slices.BinarySearchFunc(tiers, s.tier, func(t TierState, tier uint16) int { return cmp.Compare(t.Tier, tier) })
		switch {
		case !known:
			tiers = slices.Insert(tiers, at, TierState{s.tier, state})
		case state == health.Up || state == health.Unknown && tiers[at].State == health.Down:
			tiers[at].State = state
		}
	}
	return tiers
}

// Derive gives a member that is a pool the state of that pool: up while MinUp of its members are, and one at
// least can be given.
func (p *Pool) Derive(member int, child *Pool) (changed bool) {
	before := p.Health(member)
	w := child.Derived(before)
	p.SetWord(member, w)
	return w != before
}

// Derived is w, the word of a member that is the pool p, with its state.
func (p *Pool) Derived(w health.Word) health.Word {
	return w.With(int(IPv4), p.state(IPv4)).With(int(IPv6), p.state(IPv6))
}

// MinUp is how many members have to be up for the pool, as a member of another, to be.
func (p *Pool) MinUp() MinUp {
	if p.more == nil {
		return MinUp{}
	}
	return p.more.minUp
}

// state of the pool as a whole, in one family. Members that are drained count, but give nothing: where no
// other is up, the pool is not, so that its parent goes to the next.
func (p *Pool) state(f Family) health.State {
	all, up, drained, unknown := 0, 0, 0, 0
	for i := range p.seats {
		addrs, w := p.seats[i].addrs[f], p.seats[i].health.Load()
		if addrs == 0 {
			continue
		}
		all++
		switch {
		case w.Drained():
			drained++
		case w.Withdrawn():
		case addrs&w.Up() != 0:
			up++
		case addrs&w.Unknown() != 0:
			unknown++
		}
	}
	switch need := p.MinUp().of(all); {
	case up > 0 && up+drained >= need:
		return health.Up
	case up+unknown > 0 && up+drained+unknown >= need:
		return health.Unknown
	}
	return health.Down
}

// FamilyOf an address that is no IPv4 in IPv6 form.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// CouldGive says whether any member has an address of the family, up or not.
func (p *Pool) CouldGive(f Family) bool {
	return f == Any && (p.could[IPv4] || p.could[IPv6]) || f != Any && p.could[f]
}

// Member returns the index of the member of that name, -1 if there is none.
func (p *Pool) Member(name string) int {
	for i := range p.Members {
		if p.Members[i].Name == name {
			return i
		}
	}
	return -1
}

// Children are the pools within the pool, by the members that they are.
func (p *Pool) Children() []ID {
	if p.more == nil {
		return nil
	}
	return p.more.children
}
