package store

import (
	"fmt"
	"strings"
)

// dangling reports a key that was deleted although another refers to what it held.
func (b *batch) dangling(text, referrer string) {
	if referrer == "" {
		b.mended(text)
		return
	}
	b.standing(text, "", fmt.Sprintf("deleted, but %s refers to it: its last value serves on", referrer))
}

// standing records a fault that no value has caused, of the revision at which it was first seen.
func (b *batch) standing(text, awaits, message string) {
	b.state(text, awaits, message, b.update.Revision)
}

func (r *Registry) state(text, awaits, message string, revision int64) {
	if old := r.faults.byKey[text]; old != nil && (old.Error == clip(message) || !old.standing()) {
		return
	}
	r.faults.set(&fault{Fault: Fault{Key: text, Revision: revision, Awaits: awaits, Error: message}})
}

// mended takes a standing fault back.
func (b *batch) mended(text string) {
	if f := b.faults.byKey[text]; f != nil && f.standing() {
		b.faults.clear(text)
	}
}

// finish compiles what changed and settles what was deleted.
func (b *batch) finish() {
	b.markUsers()
	b.compileAll()
	for b.displaced {
		b.displaced = false
		b.judgeAll()
		b.compileAll()
	}
	b.judgeNamed()
	b.settlePools()
	b.targets.settle()
	settle(b, b.sites, "site/", (*pool).sites)
	settle(b, b.checks, "check/", b.checksOf)
	b.settleParts()
	b.settleMeasured()
	b.settleMaps()
	b.settleOverrides()
	b.settleZones()
	b.settleGuard()
}

// markUsers marks the pools that refer to a site, a check or a map that changed.
func (b *batch) markUsers() {
	if len(b.changed) == 0 {
		return
	}
	for name, p := range b.pools {
		for _, users := range []func(*pool) map[string]string{(*pool).sites, b.checksOf, (*pool).maps} {
			for key := range users(p) {
				if b.changed[key] {
					b.dirty[name] = true
				}
			}
		}
	}
}

// sites returns the keys of the sites that the pool's members stand at, each with a key that says so.
func (p *pool) sites() map[string]string {
	used := map[string]string{}
	for name, m := range p.values() {
		key, by := "site/"+m.value.Site, "pool/"+p.name+"/member/"+name
		if m.value.Site != "" && (used[key] == "" || by < used[key]) {
			used[key] = by
		}
	}
	return used
}

// checksOf is sites for the check that watches the pool, and those that it is made of.
func (r *Registry) checksOf(p *pool) map[string]string {
	chain := p.chain()
	if chain == nil || chain.value.Check == "" || p.waits == "check/"+chain.value.Check {
		return nil
	}
	name := chain.value.Check
	used := map[string]string{"check/" + name: "pool/" + p.name + "/policy"}
	for _, part := range r.check(name).Parts() {
		used["check/"+part] = "check/" + name
	}
	return used
}

// referrers names, for all that pools refer to, one that does: the first by key.
func (b *batch) referrers(uses func(*pool) map[string]string) map[string]string {
	referrers := map[string]string{}
	for _, p := range b.pools {
		for key, by := range uses(p) {
			if referrers[key] == "" || by < referrers[key] {
				referrers[key] = by
			}
		}
	}
	return referrers
}

// settle drops deleted objects to which nothing refers any more. uses tells what a pool refers to.
func settle[T any](b *batch, objects map[string]*object[T], prefix string, uses func(*pool) map[string]string) {
	var deleted []string
	for name, o := range objects {
		if o.deleted {
			deleted = append(deleted, name)
		}
	}
	if len(deleted) == 0 {
		return
	}
	referrers := b.referrers(uses)
	for _, name := range deleted {
		by := referrers[prefix+name]
		b.dangling(prefix+name, by)
		if by == "" {
			delete(objects, name)
			b.changed[prefix+name] = true
		}
	}
}

// settleParts reports the checks that are made of such as are made of others. Neither of the two keys tells it alone.
func (b *batch) settleParts() {
	touched := false
	for key := range b.changed {
		touched = touched || strings.HasPrefix(key, "check/")
	}
	if !touched {
		return
	}
	for name, o := range b.checks {
		if o.deleted {
			continue // what is to be said of that is said
		}
		key, nested := "check/"+name, ""
		for _, part := range o.value.Parts() {
			if c := b.checks[part]; c != nil && c.value.Parts() != nil {
				nested = part
			}
		}
		if nested == "" {
			b.mended(key)
			continue
		}
		b.state(key, "", fmt.Sprintf("check/%s, of which it is made, is made of others itself: that cannot be looked at", nested), o.revision)
	}
}
