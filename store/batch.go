package store

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"meridian/policy"
	"meridian/spec"
	"meridian/zones"
)

// batch is one Update on its way into a snapshot.
type batch struct {
	*Registry
	forName
	update    Update
	prev      *zones.Snapshot // the last good values of names; never nil
	edit      *zones.Edit
	queue     [kindName + 1][]Entry  // by kind, in the order in which they are taken
	keys      map[string]key         // of the queues, names apart: they may be a million
	taken     map[string]bool        // those of keys that were taken already
	dirty     map[string]bool        // pools to compile
	compiled  bool                   // the pools are
	flipped   map[policy.ID]bool     // pools that have come to be of names, or are no more
	named     map[string]bool        // names, as their keys begin, whose pools may be of names
	mayName   map[policy.ID]bool     // see mayBeOfNames
	displaced bool                   // a pool that a member was before serves in its place no more
	pooled    bool                   // which pools are there, or members that are pools, may have changed
	steers    map[string]zones.Steer // values of steered names, decoded
	changed   map[string]bool        // keys of sites and checks that were taken, and maps that were compiled, as "map/<map>"
}

// forName is what takeName uses, over and over.
type forName struct {
	name    zones.Name   // of the owner
	parts   []zones.Part // that it is to have
	claimed []claim
	touched struct { // the last
		zone     string
		revision int64
	}
}

// Apply takes an update in and returns the snapshot that follows from it. Keys that are wrong
// become faults and change nothing else. The snapshot is the one there was where what etcd holds is
// not obeyed.
func (r *Registry) Apply(u Update) *zones.Snapshot {
	if !r.obey(u) {
		return r.snapshot
	}
	if u.Cluster != 0 {
		r.cluster = u.Cluster
	}
	for _, e := range u.Entries {
		r.newest = max(r.newest, e.Revision)
	}
	s := r.take(u)
	r.fromImage = false
	return s
}

func (r *Registry) take(u Update) *zones.Snapshot {
	b := r.begin(u)
	for k := range b.queue {
		switch kind(k) {
		case kindMap:
			b.takeMaps()
			continue
		case kindPolicy:
			b.takePolicies()
			continue
		case kindName:
			b.takeNames()
			continue
		}
		// What becomes there may put keys that waited for it behind those not yet taken.
		for i := 0; i < len(b.queue[k]); i++ {
			e := b.queue[k][i]
			b.taken[e.Key] = true
			b.take(b.keys[e.Key], e)
		}
	}
	return b.commit()
}

// commit settles what the changes have left open, and makes the snapshot.
func (b *batch) commit() *zones.Snapshot {
	b.finish()
	b.snapshot = b.edit.Commit(b.update.Revision)
	return b.snapshot
}

func (r *Registry) begin(u Update) *batch {
	b := &batch{Registry: r, update: u, prev: r.snapshot, keys: map[string]key{}, taken: map[string]bool{}, dirty: map[string]bool{}, changed: map[string]bool{},
		flipped: map[policy.ID]bool{}, named: map[string]bool{}, mayName: map[policy.ID]bool{}}
	if b.prev == nil {
		b.prev = zones.New()
	}
	b.edit = b.prev.Edit()
	b.edit.SetGeo(b.geo)
	entries := u.Entries
	if u.Full {
		entries = r.differences(u)
	}
	// Of several changes to a key the last one counts.
	entries = sortByKey(appendInParts(nil, entries...))
	last := entries[:0]
	for i, e := range entries {
		if i+1 == len(entries) || entries[i+1].Key != e.Key {
			last = append(last, e)
		}
	}
	kept := b.guarded(last)
	names := kept[:0]
	for _, e := range kept {
		if ownerPrefix(e.Key) != "" {
			names = append(names, e)
			continue
		}
		k, err := parseKey(e.Key)
		if err == nil {
			b.keys[e.Key] = k
			b.queue[k.kind] = append(b.queue[k.kind], e)
			continue
		}
		b.refuseKey(e, err)
	}
	b.queue[kindName] = names
	return b
}

// sortByKey sorts entries by key, and of one key by revision; those of one revision stay in order.
func sortByKey(entries []Entry) []Entry {
	if slices.IsSortedFunc(entries, byKey) {
		return entries
	}
	// Entries are large, and a stable sort moves them often.
	order := make([]int32, len(entries))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(i, j int32) int { return cmp.Or(byKey(entries[i], entries[j]), cmp.Compare(i, j)) })
	sorted := make([]Entry, len(entries))
	for i, from := range order {
		sorted[i] = entries[from]
	}
	return sorted
}

func byKey(x, y Entry) int {
	return cmp.Or(strings.Compare(x.Key, y.Key), cmp.Compare(x.Revision, y.Revision))
}

// refuseKey rejects an entry for its key. There is nothing that could serve on.
func (b *batch) refuseKey(e Entry, err *spec.Error) {
	if e.Deleted {
		b.faults.clear(e.Key)
	} else {
		b.reject(e, err, 0)
	}
}

// reject makes a fault of an entry. serving is the revision that is served instead, 0 if none.
func (b *batch) reject(e Entry, err *spec.Error, serving int64) {
	b.faults.set(&fault{
		Fault: Fault{Key: e.Key, Revision: e.Revision, Field: err.Field, Line: err.Line, Error: err.Msg, Serving: serving},
		entry: Entry{Key: e.Key, Revision: e.Revision},
	})
}

// await makes a fault of an entry that refers to what is not there yet.
func (b *batch) await(e Entry, field, target string, serving int64) {
	b.faults.set(&fault{
		Fault: Fault{
			Key: e.Key, Revision: e.Revision, Field: field, Serving: serving, Awaits: target,
			Error: fmt.Sprintf("%s is not there yet", target),
		},
	})
	f := b.faults.byKey[e.Key]
	f.entry, f.wake = e, target
	put(b.faults.waiting, target, e.Key)
}

// wake takes the keys that waited for target again.
func (b *batch) wake(target string) {
	for _, text := range slices.Sorted(maps.Keys(b.faults.waiting[target])) {
		f := b.faults.byKey[text]
		if f.part != nil {
			b.named[ownerPrefix(text)] = true
			continue
		}
		if ownerPrefix(text) != "" {
			b.queue[kindName] = appendInParts(b.queue[kindName], f.entry) // a change in this batch is later, and counts
			continue
		}
		if _, queued := b.keys[text]; queued && !b.taken[text] {
			continue // its own change comes later in this batch
		}
		k, _ := parseKey(text)
		b.keys[text], b.taken[text] = k, false
		b.queue[k.kind] = append(b.queue[k.kind], f.entry)
	}
}

// take brings one key other than a name's up to date.
func (b *batch) take(k key, e Entry) {
	switch k.kind {
	case kindSite:
		takeObject(b, b.sites, k, e)
		b.changed[k.text] = true
	case kindCheck:
		takeObject(b, b.checks, k, e)
		b.changed[k.text] = true
	case kindMember:
		b.takeMember(k, e)
	case kindOverride, kindLatch:
		b.takeOverride(k, e)
	case kindSOA:
		b.takeSOA(k, e)
	}
}

// takeObject brings a site or a check up to date.
func takeObject[T any](b *batch, objects map[string]*object[T], k key, e Entry) {
	old := objects[k.name]
	switch {
	case e.Deleted:
		if f := b.faults.byKey[k.text]; f != nil && !f.standing() {
			b.faults.clear(k.text)
		}
		if old != nil {
			old.deleted = true // whether anything refers to it is known when the whole revision is taken in
		}
	default:
		n := &object[T]{text: e.Value, revision: e.Revision}
		if err := decode(e.Value, &n.value); err != nil {
			b.reject(e, err, servingOf(old))
			if old != nil && old.deleted {
				old.deleted = false // the key is back: its last good value is this one's too
				b.wake(k.text)
			}
			return
		}
		objects[k.name] = n
		b.faults.clear(k.text)
		b.wake(k.text)
	}
}

func servingOf[T any](o *object[T]) int64 {
	if o == nil {
		return 0
	}
	return o.revision
}
