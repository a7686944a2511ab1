package store

import (
	"slices"
	"strings"

	"github.com/miekg/dns"

	"meridian/zones"
)

// found is what a snapshot has of a name's key.
type found uint8

const (
	foundNoName found = iota // it is no name's
	foundNothing
	foundOther // not this value
	foundSame
)

// compare looks up what s has of the names in all there is. It may be called by any goroutine ahead of
// Apply, so that to look through a million names keeps no change waiting.
func (u *Update) compare(s *zones.Snapshot) {
	if !u.Full || s == nil || u.compared == s {
		return
	}
	u.found, u.compared = make([]found, len(u.Entries)), s
	var name zones.Name
	for i, e := range u.Entries {
		u.found[i] = lookUp(s, e, &name)
	}
}

// lookUp says what s has of a name's key. name is for its use.
func lookUp(s *zones.Snapshot, e Entry, name *zones.Name) found {
	_, _, last := cutNameKey(e.Key)
	if last == 0 {
		return foundNoName
	}
	k, err := parseNameKey(e.Key, name)
	if err != nil {
		return foundNothing
	}
	typ, err := parseType(e.Key[last:])
	if err != nil {
		return foundNothing
	}
	part, ok := s.Part(k.owner, typ)
	switch {
	case !ok:
		return foundNothing
	case part.Kind != zones.Broken && part.Revision == e.Revision:
		return foundSame
	}
	return foundOther
}

// differences turns all there is into the changes that lead to it from what is served. Revisions tell
// what has changed: a key that was taken at the revision it has now is left alone.
func (r *Registry) differences(u Update) []Entry {
	if r.snapshot == nil {
		return u.Entries
	}
	u.compare(r.snapshot)
	var changed []Entry
	listed := 0 // keys of zones that have made something
	for i, e := range u.Entries {
		if f := u.found[i]; f == foundOther || f == foundSame || f == foundNoName && r.hasMade(e.Key) {
			listed++
		}
		if !r.guard.held.has(e.Key) && r.taken(e, u.found[i]) {
			continue
		}
		changed = appendInParts(changed, e)
		if e.Revision <= r.snapshot.Revision && !r.fromImage {
			r.drift++
		}
	}
	gone := slices.DeleteFunc(r.missing(u, listed == r.nameKeys+r.snapshot.Zones()), func(e Entry) bool { return r.guard.held.has(e.Key) })
	if u.Revision == r.snapshot.Revision && !r.fromImage {
		r.drift += int64(len(gone))
	}
	return appendInParts(changed, gone...)
}

// hasMade says whether a key of a zone has a part of its own in what is served, good or broken.
func (r *Registry) hasMade(key string) bool {
	if !strings.HasPrefix(key, "zone/") {
		return false
	}
	k, err := parseKey(key)
	if err != nil {
		return false
	}
	typ := dns.TypeSOA
	if k.kind == kindName {
		typ, err = parseType(key[strings.LastIndexByte(key, '/')+1:])
	}
	_, made := r.snapshot.Part(k.owner, typ)
	return made && err == nil
}

// taken says whether the key was taken in, good or bad, with this value. of is what is served of a
// name's key.
func (r *Registry) taken(e Entry, of found) bool {
	if e.Key == acceptKey {
		return r.guard.revision == e.Revision
	}
	if f := r.faults.byKey[e.Key]; f != nil && !f.standing() {
		return f.Revision == e.Revision
	}
	if of != foundNoName {
		return of == foundSame
	}
	k, err := parseKey(e.Key)
	if err != nil {
		return false
	}
	switch k.kind {
	case kindSite:
		o := r.sites[k.name]
		return o != nil && !o.deleted && o.revision == e.Revision
	case kindCheck:
		o := r.checks[k.name]
		return o != nil && !o.deleted && o.revision == e.Revision
	case kindMap:
		m := r.maps[k.name]
		return m != nil && m.parts[k.child] != nil && m.parts[k.child].revision == e.Revision
	case kindPolicy:
		p := r.pools[k.name]
		return p != nil && p.claimed && p.policy != nil && p.policy.revision == e.Revision
	case kindMember:
		p := r.pools[k.name]
		if p == nil || p.members[k.child] == nil {
			return false
		}
		_, lingers := r.unregistered[e.Key]
		return !lingers && p.members[k.child].revision == e.Revision
	case kindOverride:
		o := r.overrides[e.Key]
		return o != nil && o.revision == e.Revision
	case kindLatch:
		o := r.latches[e.Key]
		return o != nil && o.revision == e.Revision
	case kindSOA:
		part, ok := r.snapshot.Part(k.owner, dns.TypeSOA)
		return ok && part.Kind == zones.Static && part.Revision == e.Revision
	}
	return false
}

// missing returns deletes for the keys that are known and that all there is does not list. Where it is
// known that all keys of zones which have made something are listed, the names are not looked through.
func (r *Registry) missing(u Update, allZones bool) (deletes []Entry) {
	entries := u.Entries
	if !allZones && !slices.IsSortedFunc(entries, byKey) {
		entries = sortByKey(appendInParts(nil, entries...))
	}
	few := map[string]bool{} // that are listed, where the names are not looked through
	if allZones {
		for _, e := range entries {
			if !strings.HasPrefix(e.Key, "zone/") || r.faults.byKey[e.Key] != nil {
				few[e.Key] = true
			}
		}
	}
	listed := func(key string) bool {
		if allZones {
			return few[key]
		}
		_, there := slices.BinarySearchFunc(entries, key, func(e Entry, key string) int { return strings.Compare(e.Key, key) })
		return there
	}
	gone := func(key string, lease int64) {
		if !listed(key) {
			deletes = append(deletes, Entry{Key: key, Deleted: true, Revision: u.Revision, Lease: lease, Expired: lease != 0})
		}
	}
	for name, o := range r.sites {
		if !o.deleted {
			gone("site/"+name, 0)
		}
	}
	for name, o := range r.checks {
		if !o.deleted {
			gone("check/"+name, 0)
		}
	}
	for name, m := range r.maps {
		for part := range m.parts {
			gone(partKey(name, part), 0)
		}
	}
	for key, o := range r.overrides {
		gone(key, o.lease)
	}
	for key, o := range r.latches {
		gone(key, o.lease)
	}
	for name, p := range r.pools {
		if p.claimed {
			gone("pool/"+name+"/policy", 0)
		}
		for member, m := range p.members {
			key := "pool/" + name + "/member/" + member
			if _, lingers := r.unregistered[key]; !lingers {
				gone(key, m.lease)
			}
		}
	}
	for key, f := range r.faults.byKey {
		if !f.standing() {
			gone(key, 0)
		}
	}
	if r.guard.revision != 0 {
		gone(acceptKey, 0)
	}
	if !allZones {
		r.eachKey(func(key string) { gone(key, 0) })
	}
	slices.SortFunc(deletes, byKey)
	return slices.CompactFunc(deletes, func(x, y Entry) bool { return x.Key == y.Key })
}

// eachKey calls f with every key of a zone that is served, but for those that are faults. One that a disk
// image knows to be wrong is none yet, and may be gone.
func (r *Registry) eachKey(f func(key string)) {
	if r.snapshot == nil {
		return
	}
	r.snapshot.Each(func(o zones.Owner, p zones.Part) {
		key := zones.KeyOf(o, p.Type)
		switch {
		case o.Apex() && p.Type == dns.TypeNS: // its SOA's
		case p.Kind == zones.Broken && (r.faults.byKey[key] != nil || len(r.faults.byOwner[ownerPrefix(key)]) > 0):
		default:
			f(key)
		}
	})
}
