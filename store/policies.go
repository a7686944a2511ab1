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
	serving *object[policy.Spec] // the claim's policy, or else the last one if it still can be, or nil
	err     *spec.Error          // why it is not the claim's; nil if it is
	awaits  string               // what that policy refers to and is not there: the reason of err
}

// takePolicies brings the policies up to date, all together: pools refer to each other, and of
// policies that close a circle the one written later is wrong, on every server alike. So every
// policy is judged again, in the order in which they were written.
func (b *batch) takePolicies() {
	if len(b.queue[kindPolicy]) == 0 {
		return
	}
	before := map[string]*object[policy.Spec]{}
	for name, p := range b.pools {
		before[name] = p.policy
	}
	claims := b.policyClaims(before)
	slices.SortStableFunc(claims, func(x, y policyClaim) int {
		return cmp.Or(cmp.Compare(x.policy.revision, y.policy.revision), strings.Compare(x.key.text, y.key.text))
	})
	for _, p := range b.pools {
		p.policy = nil
	}
	for _, c := range claims {
		v := b.judgePolicy(c)
		b.pools[c.key.name].policy = v.serving
		switch {
		case v.err == nil && !c.stale:
			b.faults.clear(c.key.text)
		case v.awaits != "":
			b.await(c.entry, v.err.Field, v.awaits, servingOf(v.serving))
		case v.err != nil:
			b.reject(c.entry, v.err, servingOf(v.serving))
			b.faults.byKey[c.key.text].entry = c.entry // to be judged again
		}
	}
	for name, p := range b.pools {
		if p.policy != before[name] {
			b.dirty[name] = true
		}
	}
}

// policyClaims gathers the policies of this batch and those there were before.
func (b *batch) policyClaims(before map[string]*object[policy.Spec]) (claims []policyClaim) {
	mentioned := map[string]bool{}
	take := func(k key, e Entry) {
		mentioned[k.text] = true
		last := before[k.name]
		if last != nil && last.revision == e.Revision && b.faults.byKey[k.text] == nil {
			claims = append(claims, policyClaim{k, e, last, last, false})
			return
		}
		n := &object[policy.Spec]{revision: e.Revision}
		if err := decode(e.Value, &n.value); err != nil {
			b.reject(e, err, servingOf(last))
			if last != nil {
				claims = append(claims, policyClaim{k, e, last, last, true})
			}
			return
		}
		claims = append(claims, policyClaim{k, e, n, last, false})
	}
	for _, e := range b.queue[kindPolicy] {
		k := b.keys[e.Key]
		if e.Deleted {
			mentioned[k.text] = true
			b.faults.clear(k.text)
			if p := b.pools[k.name]; p != nil {
				p.claimed, b.dirty[k.name] = false, true
			}
			continue
		}
		b.pool(k.name).claimed, b.dirty[k.name] = true, true
		b.wake("pool/" + k.name)
		take(k, e)
	}
	for _, text := range slices.Sorted(maps.Keys(b.faults.byKey)) {
		f := b.faults.byKey[text]
		if k, err := parseKey(text); err == nil && k.kind == kindPolicy && !mentioned[text] && f.entry.Value != nil {
			take(k, f.entry)
		}
	}
	for name, last := range before {
		k, _ := parseKey("pool/" + name + "/policy")
		if last != nil && !mentioned[k.text] {
			stale := b.faults.byKey[k.text] != nil
			claims = append(claims, policyClaim{k, Entry{Key: k.text, Revision: last.revision}, last, last, stale})
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
	if c.last != nil && b.circle(c.key.name, c.last.value) == nil {
		if missing, _ := b.missingReference(c.last, c.last); missing == nil {
			v.serving = c.last
		}
	}
	return v
}

// missingReference says what a policy refers to that is not there. For the last policy of a pool it
// is enough that what it refers to is still served.
func (b *batch) missingReference(o, last *object[policy.Spec]) (err *spec.Error, awaits string) {
	missing := func(field, target string) (*spec.Error, string) {
		return spec.Errorf(field, "%s is not there yet", target), target
	}
	if check := o.value.Check; check != "" && b.checks[check] == nil {
		return missing("check", "check/"+check)
	}
	for i, name := range o.value.FallbackPools() {
		served := o == last && b.pools[name] != nil
		if name != "" && !b.pools[name].there() && !served {
			return missing(fmt.Sprintf("on_empty[%d]", i), "pool/"+name)
		}
	}
	return nil, ""
}

// circle says what is wrong where a pool with this policy would fall back to itself.
func (b *batch) circle(pool string, s policy.Spec) *spec.Error {
	for i, name := range s.FallbackPools() {
		if name == "" {
			continue
		}
		if path := b.pathTo(pool, name, nil); path != nil {
			return spec.Errorf(fmt.Sprintf("on_empty[%d]", i), "pools must not fall back in a circle: %s → %s",
				pool, strings.Join(path, " → "))
		}
	}
	return nil
}

// pathTo returns the pools by which from falls back to target, nil if it does not.
func (r *Registry) pathTo(target, from string, before []string) []string {
	path := append(slices.Clone(before), from)
	if from == target {
		return path
	}
	p := r.pools[from]
	if p == nil || p.policy == nil || slices.Contains(before, from) {
		return nil
	}
	for _, name := range p.policy.value.FallbackPools() {
		if name == "" {
			continue
		}
		if found := r.pathTo(target, name, path); found != nil {
			return found
		}
	}
	return nil
}
