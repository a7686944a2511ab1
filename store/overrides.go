package store

import (
	"cmp"
	"maps"
	"slices"

	"meridian/health"
	"meridian/policy"
	"meridian/zones"
)

// takeOverride brings an override or a latch up to date, and has the pools compiled that it is about.
func (b *batch) takeOverride(k key, e Entry) {
	if k.kind == kindLatch {
		if e.Deleted { // by a person, who lifts it: what this server holds beside the key, too
			b.unlatch(k.name)
		}
		takeValue(b, b.latches, k, e)
		if p := b.pools[k.name]; p != nil && p.compiled != nil {
			b.dirty[k.name] = true
		}
		return
	}
	takeValue(b, b.overrides, k, e)
	delete(b.ended, k.text)
	b.markOverridden(k)
}

// takeValue is takeObject for what nothing refers to: deleted, it is gone.
func takeValue[T any](b *batch, objects map[string]*object[T], k key, e Entry) {
	if e.Deleted {
		b.faults.clear(k.text)
		delete(objects, k.text)
		return
	}
	n := &object[T]{text: e.Value, revision: e.Revision, lease: e.Lease}
	if err := decode(e.Value, &n.value); err != nil {
		b.reject(e, err, servingOf(objects[k.text]))
		return
	}
	objects[k.text] = n
	b.faults.clear(k.text)
}

// markOverridden marks the pools that an override is about.
func (b *batch) markOverridden(k key) {
	if k.name != "" {
		if p := b.pools[k.name]; p != nil && p.compiled != nil {
			b.dirty[k.name] = true
		}
		return
	}
	for name, p := range b.pools {
		for _, o := range p.values() {
			if o.value.Site == k.child {
				b.dirty[name] = true
			}
		}
	}
}

// overrideOf is the override of a member, and its key: its own before the pool's before the site's.
func (r *Registry) overrideOf(p *pool, m *policy.Member) (o *health.Override, key string) {
	if len(r.overrides) == 0 {
		return nil, ""
	}
	now := r.now()
	for _, key := range []string{"override/member/" + p.name + "/" + m.Name, "override/pool/" + p.name, "override/site/" + m.Site} {
		if o := r.overrides[key]; o != nil && !o.value.Ended(now) {
			return &o.value, key
		}
	}
	return nil, ""
}

// Overrides are what people say that is in force.
type Overrides struct {
	States map[string]int    `json:"states"` // how many say so, "weight" of those that say a weight alone
	First  map[string]string `json:"first"`  // by key, each in words: the first of them, at most maxOverridesTold
}

// maxOverridesTold keeps the live key of a server small.
const maxOverridesTold = 10

// inForce are the overrides of what is there whose time is not over, nil where there are none.
func (r *Registry) inForce() *Overrides {
	o := &Overrides{map[string]int{}, map[string]string{}}
	for _, key := range slices.Sorted(maps.Keys(r.overrides)) {
		if r.ended[key] || r.missingTarget(key) != "" {
			continue
		}
		value := &r.overrides[key].value
		o.States[cmp.Or(value.State, "weight")]++
		if len(o.First) < maxOverridesTold {
			o.First[key] = value.String()
		}
	}
	if len(o.States) == 0 {
		return nil
	}
	return o
}

// heldUp says whether a person says that a member is up, whatever checks say.
func (r *Registry) heldUp(p *pool, m *policy.Member) bool {
	o, _ := r.overrideOf(p, m)
	return o != nil && o.State == "up"
}

// override gives the members of a pool that was compiled what people say of them.
func (b *batch) override(p *pool) {
	for i := range p.compiled.Members {
		m := &p.compiled.Members[i]
		o, key := b.overrideOf(p, m)
		if o == nil {
			continue
		}
		w := o.Over(p.compiled.Health(i))
		if o.State == "up" {
			for j := range max(len(m.Addrs), 2) { // a pool has two, a name one
				if j < health.MaxAddrs {
					w = w.With(j, health.Up)
				}
			}
		}
		p.compiled.SetWord(i, w)
		p.compiled.SetWithdrawn(i, o.String()+" ("+key+")")
	}
}

// settleOverrides reports what people say of things that are not there yet: it holds as soon as they are.
func (b *batch) settleOverrides() {
	for text, o := range b.overrides {
		b.settleTarget(text, o.revision)
	}
	for text, o := range b.latches {
		if !b.idleLatch(text, o.revision) {
			b.settleTarget(text, o.revision)
		}
	}
}

func (b *batch) settleTarget(text string, revision int64) {
	awaits := b.missingTarget(text)
	if awaits == "" {
		b.mended(text)
		return
	}
	b.pend(&Fault{Key: text, Revision: revision, Awaits: awaits, Error: awaits + " is not there yet"})
}

// missingTarget is the key of what an override or a latch is of, "" where that is there.
func (r *Registry) missingTarget(text string) string {
	k, _ := parseKey(text)
	p := r.pools[k.name]
	switch {
	case k.name == "" && r.sites[k.child] == nil:
		return "site/" + k.child
	case k.name == "":
		return ""
	case p == nil && k.child == "":
		return "pool/" + k.name
	case k.child != "" && (p == nil || p.members[k.child] == nil && p.lastMembers[k.child] == nil):
		return "pool/" + k.name + "/member/" + k.child
	}
	return ""
}

// Lift ends the overrides whose time is over, and returns the snapshot that follows; nil if there were none. One whose
// time is not over after all, since the clock was set back, counts again.
func (r *Registry) Lift() *zones.Snapshot {
	var b *batch
	now := r.now()
	for text, o := range r.overrides {
		over := o.value.Ended(now)
		if over == r.ended[text] {
			continue
		}
		if b == nil {
			b = r.begin(Update{Revision: r.snapshot.Revision})
		}
		k, _ := parseKey(text)
		b.markOverridden(k)
		if over {
			r.ended[text] = true
			r.log.Info("override has ended", "key", text, "was", o.value.String())
		} else {
			delete(r.ended, text)
			r.log.Warn("override has not ended after all: the clock was set back", "key", text, "is", o.value.String())
		}
	}
	if b == nil {
		return nil
	}
	return b.commit()
}
