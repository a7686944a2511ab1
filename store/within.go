package store

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"meridian/policy"
)

// within is a member that is a pool: pool has member, which is the pool of its value.
type within struct {
	pool, member string
	object       *object[policy.MemberSpec]
}

func (w *within) key() string { return "pool/" + w.pool + "/member/" + w.member }

// excluded is why a member is left out of its pool, or serves on as it was before.
type excluded struct {
	field  string
	reason string
	awaits string // what is not there yet: the reason
}

// maxPools is how many pools may lie within each other, or fall back one to the other.
const maxPools = 32

// noteWithin keeps the list of members that are pools, and what served before one that may have to be
// left out. Only where pools lie within each other otherwise than before are all judged again.
func (b *batch) noteWithin(p *pool, member string, old *object[policy.MemberSpec]) {
	w := within{p.name, member, p.members[member]}
	wasPool, isPool := old != nil && old.value.Pool != "", w.object != nil && w.object.value.Pool != ""
	came, went := old == nil && len(p.members) == 1, len(p.members) == 0
	b.pooled = b.pooled || wasPool || isPool || (came || went) && len(b.wanted[p.name]) > 0
	switch {
	case w.object == nil:
		delete(p.before, member)
		delete(p.odd, member)
	case old != nil && p.served(member, old) == old && (wasPool || isPool || old.value.CNAME != w.object.value.CNAME):
		if p.before == nil {
			p.before = map[string]*object[policy.MemberSpec]{}
		}
		p.before[member] = old
	}
	if wasPool {
		drop(b.wanted, old.value.Pool, w.key())
	}
	if isPool {
		b.within[w.key()] = w
		put(b.wanted, w.object.value.Pool, w.key())
	} else {
		delete(b.within, w.key())
		delete(p.excluded, member)
	}
}

// served is which value of a member is served, o being the one that is written: its last good one, nil if
// there is none.
func (p *pool) served(member string, o *object[policy.MemberSpec]) *object[policy.MemberSpec] {
	if p.excluded[member] != nil || p.odd[member] != nil {
		return p.before[member]
	}
	return o
}

// serving are the values of the members that are served.
func (p *pool) serving() map[string]*object[policy.MemberSpec] {
	if len(p.excluded)+len(p.odd) == 0 {
		return maps.Clone(p.members)
	}
	serving := map[string]*object[policy.MemberSpec]{}
	for member, o := range p.members {
		if o = p.served(member, o); o != nil {
			serving[member] = o
		}
	}
	return serving
}

// values are what refers to sites and maps: the values of the members, by name, and those that they serve
// on with.
func (p *pool) values() iter.Seq2[string, *object[policy.MemberSpec]] {
	return func(yield func(string, *object[policy.MemberSpec]) bool) {
		members := p.members
		if p.deleted {
			members = p.lastMembers
		}
		for _, of := range []map[string]*object[policy.MemberSpec]{members, p.before} {
			for name, o := range of {
				if !yield(name, o) {
					return
				}
			}
		}
	}
}

// judgeWithin says whether a member that is a pool can be: the pool is there, and does not lead back.
func (b *batch) judgeWithin(w within) {
	p := b.pools[w.pool]
	why := b.exclude(w)
	if why == nil {
		b.lie.add(w.pool, w.object.value.Pool)
	} else if last := p.before[w.member]; last != nil && last.value.Pool != "" && b.exclude(within{w.pool, w.member, last}) == nil {
		b.lie.add(w.pool, last.value.Pool)
	}
	if old := p.excluded[w.member]; (old == nil) != (why == nil) || old != nil && *old != *why {
		b.dirty[w.pool] = true
	}
	if why == nil {
		delete(p.excluded, w.member)
		return
	}
	if p.excluded == nil {
		p.excluded = map[string]*excluded{}
	}
	p.excluded[w.member] = why
}

// exclude says why a member that is a pool cannot be, given those judged before it; nil if it can.
func (r *Registry) exclude(w within) *excluded {
	p, name := r.pools[w.pool], w.object.value.Pool
	target := r.pools[name]
	served := target != nil && p.compiled != nil && slices.Contains(p.compiled.Children(), target.id)
	if !target.there() && !served {
		return &excluded{"pool", fmt.Sprintf("pool/%s is not there yet", name), "pool/" + name}
	}
	way := walk{registry: r, target: w.pool, depth: map[string]int{}}
	below := way.from(name)
	if way.circle != nil {
		return &excluded{field: "pool", reason: "pools must not lead to each other in a circle: " + w.pool + " → " + strings.Join(way.circle, " → ")}
	}
	if all := r.above(w.pool, map[string]int{}) + below; all > maxPools {
		return &excluded{field: "pool", reason: fmt.Sprintf("%d pools would lead one to the other, expected at most %d", all, maxPools)}
	}
	return nil
}

// complain reports a member that is left out.
func (b *batch) complain(p *pool, member string, why *excluded) {
	b.pend(&Fault{
		Key: "pool/" + p.name + "/member/" + member, Revision: p.members[member].revision,
		Field: why.field, Error: why.reason, Serving: servingOf(p.before[member]), Awaits: why.awaits,
	})
}

// leave has members wait for a pool that is no more. They were left out before, or nobody would have dropped it.
func (b *batch) leave(name string) {
	for key := range b.wanted[name] {
		w := b.within[key]
		p := b.pools[w.pool]
		if p == nil || p.excluded[w.member] != nil {
			continue
		}
		if p.excluded == nil {
			p.excluded = map[string]*excluded{}
		}
		p.excluded[w.member] = b.exclude(w)
		b.complain(p, w.member, p.excluded[w.member])
	}
}

// above is how many pools the longest way up from one has, itself included. known are those that were
// counted.
func (r *Registry) above(name string, known map[string]int) int {
	if n, ok := known[name]; ok {
		return n
	}
	known[name] = 1
	highest := 0
	for _, up := range []map[string]bool{r.lie.up[name], r.fall.up[name]} {
		for pool := range up {
			highest = max(highest, r.above(pool, known))
		}
	}
	known[name] = 1 + highest
	return 1 + highest
}

// lies is which pools lie within which, or fall back to which, in both directions.
type lies struct{ down, up map[string]map[string]bool }

func newLies() lies {
	return lies{map[string]map[string]bool{}, map[string]map[string]bool{}}
}

func (l *lies) add(pool, child string) {
	put(l.down, pool, child)
	put(l.up, child, pool)
}

// forget takes out a pool that is no more.
func (l *lies) forget(pool string) {
	for child := range l.down[pool] {
		drop(l.up, child, pool)
	}
	delete(l.down, pool)
}

// compileAll compiles the pools that have changed, each after those within it, and those around them.
func (b *batch) compileAll() {
	names := slices.Collect(maps.Keys(b.dirty))
	for i := 0; i < len(names); i++ {
		for parent := range b.lie.up[names[i]] {
			if !b.dirty[parent] {
				b.dirty[parent] = true
				names = append(names, parent)
			}
		}
	}
	compiled := map[string]bool{}
	var compile func(name string)
	compile = func(name string) {
		if compiled[name] || !b.dirty[name] {
			return
		}
		compiled[name] = true
		for child := range b.lie.down[name] {
			compile(child)
		}
		b.compile(b.pools[name])
	}
	for _, name := range slices.Sorted(maps.Keys(b.dirty)) {
		compile(name)
	}
}

// derive tells the pools around one what has become of it.
func (r *Registry) derive(name string) {
	child := r.pools[name]
	r.rehealed[name] = true
	for parent := range r.lie.up[name] {
		p := r.pools[parent]
		if p == nil || p.compiled == nil {
			continue
		}
		changed := false
		for i := range p.compiled.Members {
			if m := &p.compiled.Members[i]; m.Pool == name && !r.heldUp(p, m) {
				changed = r.deriveWithin(p, i, child.compiled) || changed
			}
		}
		if changed {
			r.derive(parent)
		}
	}
}

// ofKind leaves out the members that are not as the first written one is: all of a pool are addresses, or
// all are names. One that was so before serves on.
func (b *batch) ofKind(p *pool, members []policy.Member) []policy.Member {
	var first *policy.Member
	for i := range members {
		m := &members[i]
		if b.kindOf(m) != "" && (first == nil || p.members[m.Name].revision < p.members[first.Name].revision) {
			first = m
		}
	}
	if first == nil {
		return members
	}
	want, by := b.kindOf(first), first.Name
	kept := members[:0]
	for _, m := range members {
		if is := b.kindOf(&m); is != "" && is != want {
			if p.odd == nil {
				p.odd = map[string]*excluded{}
			}
			p.odd[m.Name] = &excluded{reason: fmt.Sprintf("it is of %s, and member %s, which was written earlier, of %s", is, by, want)}
			var ok bool
			if m, ok = b.lastGood(p, m.Name); !ok || b.kindOf(&m) != want {
				b.dropBefore(p, m.Name)
				continue
			}
		}
		kept = append(kept, m)
	}
	return kept
}

// dropBefore has a member that is left out serve on no more. Where that was a pool, others may come in.
func (b *batch) dropBefore(p *pool, member string) {
	if last := p.before[member]; last != nil {
		b.displaced = b.displaced || last.value.Pool != ""
		delete(p.before, member)
	}
}

// lastGood is what a member that is left out was before, if it still can be that.
func (b *batch) lastGood(p *pool, name string) (m policy.Member, ok bool) {
	last := p.before[name]
	if last == nil || last.value.Pool != "" && !b.lie.down[p.name][last.value.Pool] {
		return policy.Member{Name: name}, false
	}
	return b.member(name, last), true
}

const (
	ofNames     = "names"
	ofAddresses = "addresses"
)

// kindOf is what a member answers with; "" where that is not known yet.
func (r *Registry) kindOf(m *policy.Member) string {
	switch {
	case m.CNAME != "":
		return ofNames
	case m.Pool == "":
		return ofAddresses
	}
	switch child := r.pools[m.Pool].compiled; {
	case len(child.Members) == 0:
		return ""
	case child.OfNames:
		return ofNames
	}
	return ofAddresses
}
