package store

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"meridian/health"
	"meridian/policy"
)

// comebacks is what is remembered of the members of a pool whose policy says recover or ramp.
type comebacks struct {
	health.Recovery
	pool    *policy.Pool // that members are of
	scale   int          // of the weights in the pool's words
	members []*comeback
	next    time.Time // when one of them changes by itself; zero: none does
}

// comeback is what is remembered of one member.
type comeback struct {
	health.Comeback
	of     policy.Member // that it is about: nothing is remembered of one that answers with something else now
	stands health.Word   // states as they are believed, weight as it is written or overridden
	why    []string      // by address: why it is believed
	said   []said        // by address: what the words about it were made of
}

// said is what the words about an address say. They are not made anew each second of a ramp.
type said struct {
	why          string
	shown        health.State
	held, climbs time.Time
}

// scale is that of a pool's weights. The heaviest that a person gives a member counts too.
func (b *batch) scale(p *pool, members []policy.Member) int {
	chain := p.chain()
	if chain == nil {
		return 1
	}
	heaviest := uint16(1)
	for i := range members {
		heaviest = max(heaviest, members[i].Weight)
		if o, _ := b.overrideOf(p, &members[i]); o != nil && o.Weight != nil {
			heaviest = max(heaviest, uint16(*o.Weight))
		}
	}
	return chain.value.Scale(heaviest)
}

// comeBack has the members of a pool that was compiled stand as they come back, where its policy says how. It
// follows override: of a member that a person holds up nothing is remembered.
func (b *batch) comeBack(p *pool) {
	old := b.comebacks[p.name]
	delete(b.comebacks, p.name)
	chain := p.chain()
	if chain == nil || chain.value.Recovery == (health.Recovery{}) {
		return
	}
	known := map[string]*comeback{}
	if old != nil {
		for i, m := range old.members {
			known[old.pool.Members[i].Name] = m
		}
	}
	c := &comebacks{Recovery: chain.value.Recovery, pool: p.compiled, scale: p.compiled.Scale()}
	for i := range p.compiled.Members {
		m := &p.compiled.Members[i]
		it := known[m.Name]
		if it == nil || !it.isOf(m) || b.heldUp(p, m) {
			it = &comeback{of: *m}
		}
		it.stands, it.why, it.said = p.compiled.Health(i), nil, nil
		for j := range max(len(m.Addrs), 2) { // a pool has two
			it.why = append(it.why, p.compiled.Reason(i, j))
		}
		c.members = append(c.members, it)
	}
	b.comebacks[p.name] = c
	c.fold(b.now())
}

// isOf says whether m answers with what it is about.
func (it *comeback) isOf(m *policy.Member) bool {
	return slices.Equal(it.of.Addrs, m.Addrs) && it.of.CNAME == m.CNAME && it.of.Pool == m.Pool
}

// fold brings all members up to date.
func (c *comebacks) fold(now time.Time) (changed bool) {
	c.next = time.Time{}
	for i := range c.members {
		changed = c.show(i, now) || changed
	}
	return changed
}

// show brings one member up to date, and says whether that changes its word.
func (c *comebacks) show(i int, now time.Time) bool {
	m, before := c.members[i], c.pool.Health(i)
	w, next := m.Fold(m.stands, &c.Recovery, c.scale, now)
	if !next.IsZero() && (c.next.IsZero() || next.Before(c.next)) {
		c.next = next
	}
	if m.said == nil {
		m.said = make([]said, len(m.why))
	}
	for j, why := range m.why {
		if now := (said{why, w.State(j), m.Held(j, &c.Recovery), m.Climbs()}); now != m.said[j] {
			m.said[j] = now
			c.pool.SetReason(i, j, c.words(m, w, j, why))
		}
	}
	w = before.Standing(w)
	c.pool.SetWord(i, w)
	return w != before
}

// words say why an address stands as it does in w.
func (c *comebacks) words(m *comeback, w health.Word, addr int, why string) string {
	switch until := m.Held(addr, &c.Recovery); {
	case m.stands.State(addr) != health.Up:
		return why
	case w.State(addr) != health.Up:
		why = fmt.Sprintf("up again, and held back until %s, as recover says; ", until.UTC().Format(time.RFC3339)) + why
	default:
		if since := m.Climbs(); !since.IsZero() {
			why = fmt.Sprintf("up again: its weight climbs until %s, as ramp says; ", since.Add(time.Duration(c.Ramp)).UTC().Format(time.RFC3339)) + why
		}
	}
	return strings.TrimSuffix(why, "; ")
}

// show has a member that is served be in a state, or come back to it.
func (r *Registry) show(ref ref, s health.State, reason string) {
	c := r.comebacks[ref.pool.Name]
	if c == nil {
		ref.pool.SetHealth(ref.member, ref.addr, s, reason)
		return
	}
	m := c.members[ref.member]
	m.stands, m.why[ref.addr] = m.stands.With(ref.addr, s), reason
	c.show(ref.member, r.now())
}

// recall takes back that an address was down; and, until believe is through, that the pools around it were for that.
func (r *Registry) recall(ref ref) {
	r.recalled[ref.pool.Name] = true
	if c := r.comebacks[ref.pool.Name]; c != nil {
		c.members[ref.member].Recall(ref.addr)
	}
}

// deriveWithin has a member that is a pool be in that pool's state, or come back to it, and says whether that changes
// anything.
func (r *Registry) deriveWithin(p *pool, member int, child *policy.Pool) (changed bool) {
	if r.recalled[child.Name] {
		r.recalled[p.name] = true
	}
	c := r.comebacks[p.name]
	if c == nil {
		return p.compiled.Derive(member, child)
	}
	m := c.members[member]
	was := m.stands
	m.stands = child.Derived(was)
	for _, f := range []policy.Family{policy.IPv4, policy.IPv6} {
		if i := int(f); r.recalled[child.Name] && was.State(i) == health.Down && m.stands.State(i) == health.Up {
			m.Recall(i)
		}
	}
	return c.show(member, r.now())
}

// Return has the members come back whose time it is.
func (r *Registry) Return() {
	now := r.now()
	for name, c := range r.comebacks {
		if !c.next.IsZero() && !now.Before(c.next) && c.fold(now) {
			r.derive(name)
		}
	}
}
