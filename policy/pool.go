// Package policy chooses among the members of a pool. A policy is a short chain of steps; Select
// runs it and is a pure function of pool, health, client and a random number: no clock, no log,
// no global, no allocation.
package policy

import (
	"hash/fnv"
	"net/netip"
	"sync/atomic"

	"meridian/health"
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
}

// Pool is a set of members and the chain that chooses among them, compiled: all of it is
// immutable but for the health of its members.
type Pool struct {
	Name     string
	Steps    []Step
	Members  []Member // sorted by name
	OnEmpty  []Fallback
	OwnEmpty bool // OnEmpty was written, not the default
	Checked  bool // a check watches the members
	Shared   bool // two members have an address in common

	words   []health.Cell             // one a member: one goroutine stores, every worker loads
	reasons []atomic.Pointer[reasons] // one a member: the last check's words, for traces alone

	seed uint64 // mixed into every draw, so that pools draw apart
	hot  []hot  // what Select reads of each member, close together
}

// hot is the part of a Member that decisions read.
type hot struct {
	addrs  [2]uint16 // by Family: the set of addresses, bit i for Addrs[i]
	weight uint16
	tier   uint16
	site   uint16 // equal for members of one site; 0 for none
}

// MaxMembers is how many members a pool may have.
const MaxMembers = 1000

// New compiles a pool. Members that no check watches are up, the others unknown. members are sorted by name and at most MaxMembers.
func New(name string, spec Spec, onEmpty []Fallback, members []Member) *Pool {
	h := fnv.New64a()
	h.Write([]byte(name))
	p := &Pool{
		Name:     name,
		Steps:    spec.chain(),
		Members:  members,
		OnEmpty:  onEmpty,
		OwnEmpty: len(spec.OnEmpty) > 0,
		Checked:  spec.Check != "",
		Shared:   shareAddress(members),
		words:    make([]health.Cell, len(members)),
		reasons:  make([]atomic.Pointer[reasons], len(members)),
		seed:     h.Sum64(),
		hot:      make([]hot, len(members)),
	}
	sites := map[string]uint16{"": 0}
	for i, m := range members {
		if _, ok := sites[m.Site]; !ok {
			sites[m.Site] = uint16(len(sites))
		}
		p.hot[i] = hot{weight: m.Weight, tier: m.Tier, site: sites[m.Site]}
		for j, a := range m.Addrs {
			p.hot[i].addrs[FamilyOf(a)] |= 1 << j
			if !p.Checked {
				p.words[i].Store(p.words[i].Load().With(j, health.Up))
			}
		}
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
	p.words[member].Store(p.words[member].Load().With(addr, s))
}

// Health of a member.
func (p *Pool) Health(member int) health.Word { return p.words[member].Load() }

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
func (p *Pool) CouldGive(f Family) bool {
	for i := range p.hot {
		if p.hot[i].addrs[f] != 0 {
			return true
		}
	}
	return false
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

// shareAddress says whether two of the members have an address in common.
func shareAddress(members []Member) bool {
	seen := map[netip.Addr]bool{}
	for _, m := range members {
		for _, a := range m.Addrs {
			if seen[a] {
				return true
			}
			seen[a] = true
		}
	}
	return false
}
