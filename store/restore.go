package store

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"meridian/policy"
	"meridian/zones"
)

// Image is what a registry started anew has to know to serve on. Prefix is left to who knows it.
func (r *Registry) Image() *Image {
	if r.snapshot == nil {
		return nil
	}
	img := &Image{
		Cluster: r.cluster, Revision: r.snapshot.Revision, Names: r.snapshot, Saved: r.now(),
		Unregistered: maps.Clone(r.unregistered),
		Held:         slices.Collect(maps.Values(r.guard.held.byKey)),
		Deleted:      r.guard.recent.list(),
		Health:       r.targets.reports(),
	}
	if r.fromImage {
		img.Saved = r.saved // what is written meanwhile is no younger
	}
	for _, p := range r.poolIDs {
		name := ""
		if p != nil {
			name = p.name
		}
		img.Pools = append(img.Pools, name)
	}
	for name, o := range r.sites {
		img.add("site/"+name, o.text, o.revision, 0, o.deleted)
	}
	for name, o := range r.checks {
		img.add("check/"+name, o.text, o.revision, 0, o.deleted)
	}
	for _, m := range r.maps {
		for part, o := range m.served() {
			img.add(partKey(m.name, part), o.text, o.revision, 0, m.deleted)
		}
	}
	for key, o := range r.overrides {
		img.add(key, o.text, o.revision, o.lease, false)
	}
	for key, o := range r.latches {
		img.add(key, o.text, o.revision, o.lease, false)
	}
	r.latchesInto(img)
	for _, p := range r.pools {
		chain, members := p.chain(), p.members
		if p.deleted {
			members = p.lastMembers
		}
		switch {
		case chain != nil:
			img.add("pool/"+p.name+"/policy", chain.text, chain.revision, 0, p.deleted)
		case p.claimed || len(members) == 0: // a policy that was never right makes a pool too
			img.add("pool/"+p.name+"/policy", nil, 0, 0, p.deleted)
		}
		for name, m := range members {
			if last := p.before[name]; last != nil && !p.deleted {
				img.add("pool/"+p.name+"/member/"+name, last.text, last.revision, last.lease, false)
			}
			img.add("pool/"+p.name+"/member/"+name, m.text, m.revision, m.lease, p.deleted)
		}
	}
	return img
}

func (img *Image) add(key string, text []byte, revision, lease int64, deleted bool) {
	img.Objects = append(img.Objects, Entry{Key: key, Value: text, Revision: revision, Lease: lease, Deleted: deleted})
}

// Restore makes r, which has read nothing, what it was when the image was made, and returns what it
// serves. Faults are not in an image: what is wrong in etcd is found when that is read.
func (r *Registry) Restore(img *Image) *zones.Snapshot {
	r.snapshot, r.cluster = img.Names, img.Cluster
	for id, name := range img.Pools {
		var p *pool
		if name != "" {
			p = &pool{name: name, id: policy.ID(id), members: map[string]*object[policy.MemberSpec]{}}
			r.pools[name] = p
		} else {
			r.freeIDs = append(r.freeIDs, policy.ID(id))
		}
		r.poolIDs = append(r.poolIDs, p)
	}
	for _, report := range img.Health {
		r.targets.known[report.TargetID] = report
	}
	r.snapshot.Each(func(o zones.Owner, p zones.Part) {
		if madeBySOA(o, p.Type) {
			return
		}
		zone := o.ZoneText()
		if r.countKeys(zone, 1); r.keysOf[zone] == 1 {
			r.orphans[zone] = o.Top()
		}
	})
	puts, deletes := Update{Revision: img.Revision}, Update{Revision: img.Revision}
	left := Update{Revision: img.Revision} // values of members that are left out
	for _, e := range sortedEntries(img.Objects) {
		if r.relatchFrom(e) {
			continue
		}
		put := e
		put.Deleted = false
		if n := len(puts.Entries); n > 0 && puts.Entries[n-1].Key == e.Key {
			left.Entries = append(left.Entries, put)
		} else {
			puts.Entries = append(puts.Entries, put)
		}
		if e.Deleted {
			deletes.Entries = append(deletes.Entries, Entry{Key: e.Key, Deleted: true, Revision: e.Revision})
		}
	}
	trusting := r.trusting
	r.trusting = true
	r.take(puts)
	r.take(left)
	r.take(deletes)
	r.trusting, r.fromImage, r.saved = trusting, true, img.Saved
	for _, e := range img.Held {
		r.guard.held.add(e, img.Saved, r.standsFor(e.Key))
	}
	for _, key := range slices.SortedFunc(maps.Keys(img.Deleted), func(x, y string) int { return img.Deleted[x].Compare(img.Deleted[y]) }) {
		r.guard.recent.ask(key, img.Deleted[key], r.standsFor(key))
		r.guard.recent.make(key, r.standsFor(key))
	}
	b := r.begin(Update{Revision: img.Revision})
	for key, since := range img.Unregistered {
		if p, _ := r.memberOf(key); p != nil {
			r.unregistered[key], b.dirty[p.name] = since, true
		}
	}
	for _, f := range r.faults.byKey {
		if f.Awaits == "" && !f.standing() {
			f.Revision = 0 // to be judged again when the key is read
		}
	}
	// An image of a server that took what this one does not: its names must not lead nowhere.
	for id := range img.Names.Referred() {
		if int(id) >= len(b.snapshot.Pools) || b.snapshot.Pools[id] == nil {
			b.edit.SetPool(id, policy.New(fmt.Sprintf("pool %d of the disk image", id), policy.Spec{}, nil, policy.Surroundings{}))
		}
	}
	return b.commit()
}

// Former is what a key said before it was wrong.
type Former struct {
	Now, Before Entry
}

// Recall gives keys that are wrong, and of which no good value is known, the value that they had
// before: a registry that is read for the first time has seen no other. It returns nil where nothing
// came of it.
func (r *Registry) Recall(keys []Former) *zones.Snapshot {
	before, now := Update{Revision: r.snapshot.Revision}, Update{Revision: r.snapshot.Revision}
	for _, k := range keys {
		f := r.faults.byKey[k.Now.Key]
		if f != nil && f.Revision == k.Now.Revision && f.Serving == 0 && !r.guard.held.has(k.Now.Key) && !r.inTheWay(k.Before) {
			before.Entries = append(before.Entries, k.Before)
			now.Entries = append(now.Entries, k.Now)
		}
	}
	if len(before.Entries) == 0 {
		return nil
	}
	r.take(before)
	return r.take(now)
}

// inTheWay says whether a former value cannot stand beside what is served: being older it would win.
func (r *Registry) inTheWay(e Entry) bool {
	k, err := parseKey(e.Key)
	if err != nil {
		return true
	}
	if k.kind == kindPolicy {
		var p policy.Spec
		return decode(e.Value, &p) != nil || r.begin(Update{}).circle(k.name, p) != nil
	}
	if k.kind == kindMember {
		return r.memberInTheWay(k, e)
	}
	if k.kind == kindMap {
		return r.partInTheWay(k, e)
	}
	if k.kind != kindName {
		return false
	}
	c := r.begin(Update{}).claim(k.owner, e)
	if c.err != nil && c.awaits == "" {
		return true
	}
	var others []zones.Part
	for _, p := range r.snapshot.Parts(k.owner) {
		if p.Type != c.part.Type {
			others = append(others, p)
		}
	}
	_, conflict := zones.Conflict(others, c.part)
	return conflict
}

// memberInTheWay is inTheWay for a member that is left out now.
func (r *Registry) memberInTheWay(k key, e Entry) bool {
	m, err := decodeMember(e.Value)
	p := r.pools[k.name]
	switch {
	case err != nil:
		return true
	case p == nil || p.compiled == nil:
		return false
	case m.Pool != "" && r.exclude(within{k.name, k.child, &object[policy.MemberSpec]{value: m}}) != nil:
		return true
	}
	c := r.member(k.child, &object[policy.MemberSpec]{value: m})
	is := r.kindOf(&c)
	return is != "" && len(p.compiled.Members) > 0 && p.compiled.OfNames != (is == ofNames)
}

// leftOut says whether a key is that of a member which is left out of its pool.
func (r *Registry) leftOut(k key) bool {
	p := r.pools[k.name]
	return k.kind == kindMember && p != nil && (p.excluded[k.child] != nil || p.odd[k.child] != nil)
}

// Forgotten lists the faults of which no good value is known and that a former one might mend.
func (r *Registry) Forgotten() (list []Fault) {
	for key, f := range r.faults.byKey {
		if f.Serving != 0 || key == acceptKey {
			continue
		}
		if k, err := parseKey(key); err == nil && (!f.standing() || r.leftOut(k)) {
			list = append(list, f.Fault)
		}
	}
	slices.SortFunc(list, func(x, y Fault) int { return strings.Compare(x.Key, y.Key) })
	return list
}
