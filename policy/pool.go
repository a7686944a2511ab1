// Package policy chooses among the members of a pool. A policy is a short chain of steps; Select
// runs it and is a pure function of pool, health, client and a random number: no clock, no log,
// no global, no allocation.
package policy

import (
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
)

func (f Family) String() string { return [...]string{"IPv4", "IPv6"}[f] }

// Member is one backend of a pool.
type Member struct {
	Name   string
	Addrs  []netip.Addr // 1 to health.MaxAddrs
	Weight uint16       // 0: only when nothing else is left
	Tier   uint16       // 1 is the first
	Site   string       // "" when not said
	Serves []Term       // whom the step geo keeps it for; none: everybody
}

// Pool is a set of members and the chain that chooses among them, compiled: all of it is
// immutable but for the health of its members.
type Pool struct {
	// What decisions read, side by side.
	seating
	Steps     []Step
	geography *geography // nil: no step looks at it

	// What is written, for those who compile, check and explain.
	Name     string
	Members  []Member // sorted by name
	OnEmpty  []Fallback
	reasons  []atomic.Pointer[reasons] // one a member: the last check's words
	OwnEmpty bool                      // OnEmpty was written, not the default
	Checked  bool                      // a check watches the members
}

// MaxMembers is how many members a pool may have.
const MaxMembers = 1000

// New compiles a pool. Members that no check watches are up, the others unknown. members are sorted by name and at most MaxMembers.
// maps are those that they serve tags of; one that is missing matches nobody.
func New(name string, spec Spec, onEmpty []Fallback, members []Member, maps map[string]*geo.Map) *Pool {
	h := fnv.New64a()
	h.Write([]byte(name))
	p := newPool(len(members))
	p.Name, p.Members = name, members
	p.OnEmpty, p.OwnEmpty = onEmpty, len(spec.OnEmpty) > 0
	p.Checked = spec.Check != ""
	p.reasons = make([]atomic.Pointer[reasons], len(members))
	p.Steps, p.seed = spec.chain(), h.Sum64()
	p.plain = slices.Equal(p.Steps, Policies[defaultPolicy])
	p.place(members, !p.Checked)
	if slices.ContainsFunc(p.Steps, func(s Step) bool { return s.Op == OpGeo }) {
		p.geography = newGeography(members, maps)
	}
	return p
}

// reasons are the words of the last check of each address of a member.
type reasons [health.MaxAddrs]string

// SetHealth sets the state of a member's address, and the words of the check that led to it. Only
// one goroutine calls it; decisions meanwhile see the member before or after, never between.
func (p *Pool) SetHealth(member, addr int, s health.State, reason string) {
	why := new(reasons)
	if old := p.reasons[member].Load(); old != nil {
		*why = *old
	}
	why[addr] = reason
	p.reasons[member].Store(why)
	seat := &p.seats[member]
	seat.health.Store(seat.health.Load().With(addr, s))
}

// Health of a member.
func (p *Pool) Health(member int) health.Word { return p.seats[member].health.Load() }

func (p *Pool) reason(member, addr int) string {
	if why := p.reasons[member].Load(); why != nil {
		return why[addr]
	}
	return ""
}

// FamilyOf an address that is no IPv4 in IPv6 form.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// CouldGive says whether any member has an address of the family, up or not.
func (p *Pool) CouldGive(f Family) bool { return p.could[f] }

// Member returns the index of the member of that name, -1 if there is none.
func (p *Pool) Member(name string) int {
	for i := range p.Members {
		if p.Members[i].Name == name {
			return i
		}
	}
	return -1
}
