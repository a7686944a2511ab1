package store

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"meridian/policy"
	"meridian/policy/geo"
	"meridian/spec"
)

// geoMap is what the keys of one map say.
type geoMap struct {
	name     string
	parts    map[string]*object[geo.Part] // none where deleted
	compiled *geo.Map
	deleted  bool // all its keys are gone, but it is still referred to

	lastParts map[string]*object[geo.Part] // what compiled was made of, where deleted
}

// served are the parts that compiled is made of.
func (m *geoMap) served() map[string]*object[geo.Part] {
	if m.deleted {
		return m.lastParts
	}
	return m.parts
}

func partKey(name, part string) string { return "map/" + name + "/" + part }

// partClaim is a value that wants to be a part of a map.
type partClaim struct {
	key   key
	entry Entry
	part  *object[geo.Part]
	last  *object[geo.Part] // that was the map's until now, nil if none was
	stale bool              // part is last: the key's own value is wrong, and reported
}

// takeMaps brings the maps up to date, all keys of one together.
func (b *batch) takeMaps() {
	byMap := map[string][]Entry{}
	for _, e := range b.queue[kindMap] {
		name := b.keys[e.Key].name
		byMap[name] = append(byMap[name], e)
	}
	for _, name := range slices.Sorted(maps.Keys(byMap)) {
		m := b.maps[name]
		if m == nil {
			m = &geoMap{name: name}
			b.maps[name] = m
		}
		b.takeMap(m, byMap[name])
	}
}

// takeMap brings a map up to date. Its parts are judged in the order in which they were written, so that
// of two that contradict each other the later one is wrong, on every server alike.
func (b *batch) takeMap(m *geoMap, entries []Entry) {
	claims, served := b.partClaims(m, entries), m.served()
	slices.SortFunc(claims, func(x, y partClaim) int {
		return cmp.Or(cmp.Compare(x.entry.Revision, y.entry.Revision), strings.Compare(x.key.text, y.key.text))
	})
	parts := map[string]*object[geo.Part]{}
	var refused []refusedPart
	agreement := m.agreement(claims)
	for _, c := range claims {
		if conflict := agreement.Add(c.key.child, &c.part.value); conflict != nil {
			refused = append(refused, refusedPart{c, conflict})
			continue
		}
		parts[c.key.child] = c.part
		if !c.stale {
			b.faults.clear(c.key.text)
		}
	}
	takeLast(parts, refused)
	for _, c := range refused {
		if c.stale {
			changed := *b.faults.byKey[c.key.text]
			changed.Serving = 0
			b.faults.set(&changed)
			continue
		}
		err := spec.Errorf(c.why.Field, "%q here, %q in %s, which was written earlier", c.why.Here, c.why.There, partKey(m.name, c.why.With))
		err.Line = lineOf(c.entry.Value, err.Field)
		b.reject(c.entry, err, servingOf(parts[c.key.child]))
		b.faults.byKey[c.key.text].entry = c.entry // to be judged again
	}
	b.setParts(m, parts, served)
}

// partClaims gathers the parts of this batch and those there were before.
func (b *batch) partClaims(m *geoMap, entries []Entry) (claims []partClaim) {
	served := m.served()
	mentioned := map[string]bool{}
	take := func(k key, e Entry) {
		mentioned[k.text] = true
		last := served[k.child]
		n := &object[geo.Part]{text: e.Value, revision: e.Revision}
		if err := decode(e.Value, &n.value); err != nil {
			b.reject(e, err, servingOf(last))
			if last != nil {
				claims = append(claims, partClaim{k, Entry{Key: k.text, Revision: last.revision}, last, last, true})
			}
			return
		}
		claims = append(claims, partClaim{k, e, n, last, false})
	}
	for _, e := range entries {
		k := b.keys[e.Key]
		if e.Deleted {
			mentioned[k.text] = true
			if f := b.faults.byKey[k.text]; f != nil && !f.standing() {
				b.faults.clear(k.text)
			}
			continue
		}
		take(k, e)
	}
	for text, f := range b.faults.byKey {
		if !strings.HasPrefix(text, partKey(m.name, "")) || mentioned[text] || f.entry.Value == nil {
			continue
		}
		if k, err := parseKey(text); err == nil {
			take(k, f.entry)
		}
	}
	for part, last := range m.parts {
		k, _ := parseKey(partKey(m.name, part))
		if !mentioned[k.text] {
			stale := b.faults.byKey[k.text] != nil
			claims = append(claims, partClaim{k, Entry{Key: k.text, Value: last.text, Revision: last.revision}, last, last, stale})
		}
	}
	return claims
}

// refusedPart is a claim that contradicts one that was taken.
type refusedPart struct {
	partClaim
	why *geo.Conflict
}

// agreement is of no parts yet, and good for all claims. Parts that stood side by side agree: to look through
// a large map again would take long.
func (m *geoMap) agreement(claims []partClaim) *geo.Agreement {
	if len(claims) == 1 {
		return geo.NewAgreement()
	}
	var mentions []*geo.Part
	for _, c := range claims {
		if m.parts[c.key.child] != c.part {
			mentions = append(mentions, &c.part.value)
		}
	}
	return geo.NewAgreement(mentions...)
}

// takeLast has refused keys serve on what they were, where that agrees with the parts that were taken.
func takeLast(parts map[string]*object[geo.Part], refused []refusedPart) {
	refused = slices.DeleteFunc(slices.Clone(refused), func(c refusedPart) bool { return c.last == nil || c.last == c.part })
	if len(refused) == 0 {
		return
	}
	var mentions []*geo.Part
	for _, c := range refused {
		mentions = append(mentions, &c.last.value)
	}
	agreement := geo.NewAgreement(mentions...)
	for name, o := range parts {
		agreement.Add(name, &o.value)
	}
	for _, c := range refused {
		if agreement.Add(c.key.child, &c.last.value) == nil {
			parts[c.key.child] = c.last
		}
	}
}

// setParts compiles a map anew if it was served with other parts. One without parts keeps what it was until
// it is known whether anything refers to it.
func (b *batch) setParts(m *geoMap, parts, served map[string]*object[geo.Part]) {
	switch {
	case len(parts) == 0 && len(served) == 0:
		delete(b.maps, m.name)
		return
	case len(parts) == 0:
		m.deleted, m.parts, m.lastParts = true, nil, served
		return
	}
	for part := range m.lastParts {
		b.mended(partKey(m.name, part))
	}
	m.deleted, m.parts, m.lastParts = false, parts, nil
	if maps.Equal(parts, served) {
		return
	}
	values := make(map[string]geo.Part, len(parts))
	for part, o := range parts {
		values[part] = o.value
	}
	m.compiled = geo.NewMap(m.name, values)
	b.changed["map/"+m.name] = true
}

// settleMaps drops maps that have no keys and to which nothing refers any more.
func (b *batch) settleMaps() {
	var deleted []*geoMap
	for _, m := range b.maps {
		if m.deleted {
			deleted = append(deleted, m)
		}
	}
	if len(deleted) == 0 {
		return
	}
	referrers := b.referrers((*pool).maps)
	for _, m := range deleted {
		by := referrers["map/"+m.name]
		for part := range m.lastParts {
			b.dangling(partKey(m.name, part), by)
		}
		if by == "" {
			delete(b.maps, m.name)
		}
	}
}

// maps is sites for the maps that the pool's members serve by.
func (p *pool) maps() map[string]string {
	used := map[string]string{}
	for name, m := range p.values() {
		by := "pool/" + p.name + "/member/" + name
		for _, served := range m.value.Maps() {
			key := "map/" + served
			if used[key] == "" || by < used[key] {
				used[key] = by
			}
		}
	}
	return used
}

// mapsOf are the maps that the pool's members serve tags of, as far as they are there.
func (r *Registry) mapsOf(p *pool) map[string]*geo.Map {
	var of map[string]*geo.Map
	for _, o := range p.values() {
		for _, name := range o.value.Maps() {
			if m := r.maps[name]; m != nil {
				if of == nil {
					of = map[string]*geo.Map{}
				}
				of[name] = m.compiled
			}
		}
	}
	return of
}

// missingTag is the fault of a member that serves a tag which is not there, without its key: the first such;
// nil if there is none. The member does without the term meanwhile.
func (r *Registry) missingTag(o *object[policy.MemberSpec]) *Fault {
	for i, text := range o.value.Serves {
		t, err := policy.ParseTerm(text)
		if err != nil || t.Kind != policy.TermMap {
			continue
		}
		missing, m := "map/"+t.Map+" is", r.maps[t.Map]
		if m != nil && m.compiled.Tag(t.Tag) != 0 {
			continue
		}
		if m != nil {
			missing = fmt.Sprintf("tag %q of map/%s is", t.Tag, t.Map)
		}
		return &Fault{
			Revision: o.revision, Field: fmt.Sprintf("serves[%d]", i), Awaits: "map/" + t.Map,
			Error: missing + " not there yet: until then it matches nobody",
		}
	}
	return nil
}

// pend records a fault that is no value's, since what it awaits is all that is wrong.
func (b *batch) pend(f *Fault) {
	if old := b.faults.byKey[f.Key]; old == nil || old.standing() {
		b.faults.set(&fault{Fault: *f})
	}
}

// partInTheWay is inTheWay for a part of a map.
func (r *Registry) partInTheWay(k key, e Entry) bool {
	o := &object[geo.Part]{}
	if decode(e.Value, &o.value) != nil {
		return true
	}
	m := r.maps[k.name]
	if m == nil {
		return false
	}
	agreement := geo.NewAgreement(&o.value)
	for name, other := range m.parts {
		if name != k.child {
			agreement.Add(name, &other.value)
		}
	}
	return agreement.Add(k.child, &o.value) != nil
}
