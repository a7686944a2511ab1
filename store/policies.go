package store

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"meridian/policy"
	"meridian/spec"
)

// policyClaim is a policy that wants to be a pool's.
type policyClaim struct {
	key    key
	entry  Entry
	policy *object[policy.Spec]
	last   *object[policy.Spec] // that was the pool's until now, nil if none was
	stale  bool                 // policy is last: the key's own value is wrong, and reported
}

// verdict is what becomes of a claim.
type verdict struct {
	// The claim's policy, or else the last one if it still can be, or, where it only waits and there is
	// none, the claim's all the same, without what is missing; or nil.
	serving *object[policy.Spec]
	err     *spec.Error // what is wrong with the claim; nil if nothing is
	awaits  string      // what that policy refers to and is not there: the reason of err
}

// takePolicies brings the policies, and the members that are pools, up to date. Pools refer to each other, and
// of those that close a circle the one written later is wrong, on every server alike. So where it comes to that
// every policy is judged again, in the order in which they were written.
func (b *batch) takePolicies() {
	if len(b.queue[kindPolicy]) == 0 && !b.pooled {
		return
	}
	b.notePolicies()
	if b.pooled || !b.takeAlone() {
		b.judgeAll()
	}
}

// takeAlone brings the policies of this batch up to date where neither they nor those before them fall back to
// other pools, so that they are nobody else's business. It says whether that is so.
func (b *batch) takeAlone() bool {
	before := map[string]*object[policy.Spec]{}
	for _, e := range b.queue[kindPolicy] {
		if p := b.pools[b.keys[e.Key].name]; p != nil {
			before[p.name] = p.policy
		}
	}
	claims := b.policyClaims(before)
	if slices.ContainsFunc(slices.Collect(maps.Values(before)), fallsBack) ||
		slices.ContainsFunc(claims, func(c policyClaim) bool { return fallsBack(c.policy) }) {
		return false
	}
	for name := range before {
		b.pools[name].policy = nil
	}
	for _, c := range claims {
		b.takePolicy(c)
	}
	b.markChanged(before)
	return true
}

// judgeAll judges all policies that fall back to pools, and all members that are pools.
func (b *batch) judgeAll() {
	before := map[string]*object[policy.Spec]{}
	claims := b.allClaims(before)
	slices.SortStableFunc(claims, func(x, y policyClaim) int {
		return cmp.Or(cmp.Compare(x.policy.revision, y.policy.revision), strings.Compare(x.key.text, y.key.text))
	})
	for name := range before {
		b.pools[name].policy = nil
	}
	b.lie, b.fall = newLies(), newLies()
	for _, p := range b.deleted {
		b.keepDeleted(p)
	}
	for name := range b.dirty { // one that goes now may serve on
		b.keepDeleted(b.pools[name])
	}
	members := slices.SortedFunc(maps.Values(b.within), func(x, y within) int {
		return cmp.Or(cmp.Compare(x.object.revision, y.object.revision), strings.Compare(x.key(), y.key()))
	})
	for _, c := range claims {
		for len(members) > 0 && members[0].object.revision < c.policy.revision {
			b.judgeWithin(members[0])
			members = members[1:]
		}
		b.takePolicy(c)
	}
	for _, m := range members {
		b.judgeWithin(m)
	}
	b.markChanged(before)
}

// markChanged marks the pools whose policy is not the one before.
func (b *batch) markChanged(before map[string]*object[policy.Spec]) {
	for name, last := range before {
		if b.pools[name].policy != last {
			b.dirty[name] = true
		}
	}
}

// notePolicies notes which pools have a policy key. Where one that others refer to, or wait for, comes or goes
// by that, all are judged again.
func (b *batch) notePolicies() {
	for _, e := range b.queue[kindPolicy] {
		k := b.keys[e.Key]
		p := b.pools[k.name]
		if p == nil {
			if e.Deleted {
				continue
			}
			p = b.pool(k.name)
		}
		if p.claimed == e.Deleted {
			b.pooled = b.pooled || len(b.wanted[p.name])+len(b.lie.up[p.name])+len(b.fall.up[p.name]) > 0
		}
		p.claimed, b.dirty[p.name] = !e.Deleted, true
		if !e.Deleted {
			b.wake("pool/" + p.name)
		}
	}
}

// fallsBack says whether a policy names other pools.
func fallsBack(o *object[policy.Spec]) bool {
	return o != nil && slices.ContainsFunc(o.value.FallbackPools(), func(name string) bool { return name != "" })
}

// keepDeleted has a pool that is deleted lie around others, and fall back to others, as it did.
func (b *batch) keepDeleted(p *pool) {
	if p.there() || p.compiled == nil {
		return
	}
	for _, id := range p.compiled.Children() {
		b.lie.add(p.name, b.poolIDs[id].name)
	}
	for _, f := range p.compiled.OnEmpty {
		if f.Kind == policy.FallbackPool {
			b.fall.add(p.name, f.Name)
		}
	}
}

// takePolicy gives a pool the policy that a claim leads to.
func (b *batch) takePolicy(c policyClaim) {
	v := b.judgePolicy(c)
	p := b.pools[c.key.name]
	p.policy = v.serving
	if v.serving != nil {
		for _, name := range v.serving.value.FallbackPools() {
			if name != "" {
				b.fall.add(p.name, name)
			}
		}
	}
	if waits := v.awaits; v.serving == c.policy && waits != p.waits {
		p.waits, b.dirty[p.name] = waits, true
	} else if v.serving != c.policy {
		p.waits = ""
	}
	switch {
	case c.stale:
		if f := b.faults.byKey[c.key.text]; v.serving == nil && f.Serving != 0 {
			changed := *f
			changed.Serving = 0
			b.faults.set(&changed)
		}
	case v.err == nil:
		b.faults.clear(c.key.text)
	case v.awaits != "":
		serving := servingOf(v.serving)
		if v.serving == c.policy {
			serving = 0
		}
		b.await(c.entry, v.err.Field, v.awaits, serving)
	case v.err != nil:
		b.reject(c.entry, v.err, servingOf(v.serving))
		b.faults.byKey[c.key.text].entry = c.entry // to be judged again
	}
}

// policyClaims gathers the policies of this batch.
func (b *batch) policyClaims(before map[string]*object[policy.Spec]) (claims []policyClaim) {
	for _, e := range b.queue[kindPolicy] {
		if k := b.keys[e.Key]; e.Deleted {
			b.faults.clear(k.text)
		} else if e.Revision > 0 { // else of a disk image, which holds no value that was never right
			claims = b.addClaim(claims, k, e, before[k.name])
		}
	}
	return claims
}

// addClaim adds the claim that a value leads to, if any does. last was the pool's policy until now.
func (b *batch) addClaim(claims []policyClaim, k key, e Entry, last *object[policy.Spec]) []policyClaim {
	if last != nil && last.revision == e.Revision && b.faults.byKey[k.text] == nil {
		return append(claims, policyClaim{k, e, last, last, false})
	}
	n := &object[policy.Spec]{text: e.Value, revision: e.Revision}
	if err := decode(e.Value, &n.value); err != nil {
		b.reject(e, err, servingOf(last))
		if last == nil {
			return claims
		}
		return append(claims, policyClaim{k, e, last, last, true})
	}
	return append(claims, policyClaim{k, e, n, last, false})
}

// allClaims gathers the policies of this batch, and of those there were before the ones that have to be judged
// again: they fall back to pools, or have a fault. Their last values go into before.
func (b *batch) allClaims(before map[string]*object[policy.Spec]) []policyClaim {
	mentioned := map[string]bool{}
	keep := func(name string) {
		if p := b.pools[name]; p != nil {
			before[name] = p.policy
		}
	}
	for _, e := range b.queue[kindPolicy] {
		mentioned[e.Key] = true
		keep(b.keys[e.Key].name)
	}
	claims := b.policyClaims(before)
	for name := range b.fall.down {
		keep(name)
	}
	for text, f := range b.faults.byKey {
		if !strings.HasSuffix(text, "/policy") || mentioned[text] || f.entry.Value == nil {
			continue
		}
		if k, err := parseKey(text); err == nil && k.kind == kindPolicy {
			mentioned[k.text] = true
			keep(k.name)
			claims = b.addClaim(claims, k, f.entry, before[k.name])
		}
	}
	for name, last := range before {
		k := key{kind: kindPolicy, text: "pool/" + name + "/policy", name: name}
		if last != nil && !mentioned[k.text] {
			stale := b.faults.byKey[k.text] != nil
			claims = append(claims, policyClaim{k, Entry{Key: k.text, Value: last.text, Revision: last.revision}, last, last, stale})
		}
	}
	return claims
}

// judgePolicy decides on a claim, given those before it.
func (b *batch) judgePolicy(c policyClaim) (v verdict) {
	v.err = b.circle(c.key.name, c.policy.value)
	if v.err == nil {
		v.err, v.awaits = b.missingReference(c.policy, c.last)
	}
	if v.err == nil {
		v.serving = c.policy
		return v
	}
	if c.last != nil && c.last.revision != c.policy.revision && b.circle(c.key.name, c.last.value) == nil {
		if missing, _ := b.missingReference(c.last, c.last); missing == nil {
			v.serving = c.last
		}
	}
	if v.awaits != "" && v.serving == nil {
		v.serving = c.policy
	}
	return v
}

// missingReference says what a policy refers to that is not there. For the last policy of a pool it
// is enough that what it refers to is still served.
func (b *batch) missingReference(o, last *object[policy.Spec]) (err *spec.Error, awaits string) {
	missing := func(field, target string) (*spec.Error, string) {
		return spec.Errorf(field, "%s is not there yet", target), target
	}
	if name := o.value.Check; name != "" {
		for _, name := range append([]string{name}, b.check(name).Parts()...) {
			if check := b.checks[name]; check == nil || check.deleted && o != last {
				return missing("check", "check/"+name)
			}
		}
	}
	for i, name := range o.value.FallbackPools() {
		served := o == last && b.pools[name] != nil
		if name != "" && !b.pools[name].there() && !served {
			return missing(fmt.Sprintf("on_empty[%d]", i), "pool/"+name)
		}
	}
	return nil, ""
}

// circle says what is wrong where a pool with this policy would fall back to itself, or through too
// many others.
func (b *batch) circle(pool string, s policy.Spec) *spec.Error {
	for i, name := range s.FallbackPools() {
		if name == "" || name != pool && !b.pools[name].there() && !b.pools[pool].fallsTo(b.pools[name]) {
			continue // it will be judged when it comes
		}
		w := walk{registry: b.Registry, target: pool, depth: map[string]int{}}
		all := b.above(pool, map[string]int{}) + w.from(name)
		field := fmt.Sprintf("on_empty[%d]", i)
		switch {
		case w.circle != nil:
			return spec.Errorf(field, "pools must not lead to each other in a circle: %s → %s", pool, strings.Join(w.circle, " → "))
		case all > maxPools:
			return spec.Errorf(field, "%d pools would lead one to the other, expected at most %d", all, maxPools)
		}
	}
	return nil
}

// fallsTo says whether p, as it is served, falls back to another.
func (p *pool) fallsTo(other *pool) bool {
	return p != nil && p.compiled != nil && other != nil &&
		slices.ContainsFunc(p.compiled.OnEmpty, func(f policy.Fallback) bool { return f.Kind == policy.FallbackPool && f.Pool == other.id })
}

// walk goes through all pools that one falls back to, or that lie within it, each once.
type walk struct {
	registry *Registry
	target   string
	path     []string
	depth    map[string]int // of the pools gone through: the longest way down, themselves included
	circle   []string       // the way to target, if one was found
}

func (w *walk) from(name string) (depth int) {
	if depth, been := w.depth[name]; been {
		return depth
	}
	w.depth[name] = 1
	w.path = append(w.path, name)
	defer func() { w.path = w.path[:len(w.path)-1] }()
	if name == w.target {
		w.circle = slices.Clone(w.path)
		return 1
	}
	deepest := 0
	for _, down := range []map[string]bool{w.registry.fall.down[name], w.registry.lie.down[name]} {
		for _, next := range slices.Sorted(maps.Keys(down)) {
			if w.circle == nil {
				deepest = max(deepest, w.from(next))
			}
		}
	}
	w.depth[name] = 1 + deepest
	return 1 + deepest
}
