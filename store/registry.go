package store

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"meridian/health"
	"meridian/policy"
	"meridian/policy/geo"
	"meridian/spec"
	"meridian/zones"
)

// Registry holds the last good value of every key and makes snapshots of them. One goroutine uses
// it. The names are in the snapshot alone; sites, checks and pools are few and kept here.
type Registry struct {
	snapshot *zones.Snapshot // the last made; nil before the first
	sites    map[string]*object[policy.Site]
	checks   map[string]*object[health.Check]
	maps     map[string]*geoMap
	pools    map[string]*pool
	poolIDs  []*pool // by policy.ID; nil is free
	freeIDs  []policy.ID
	deleted  map[string]*pool // those of pools that are, by name
	faults   *faults
	targets  *targets
	geo      *geo.Database          // nil: none
	orphans  map[string]zones.Owner // zones that may have names but no soa, by name; their apexes
	keysOf   map[string]int         // by zone, how many keys its names have

	overrides map[string]*object[health.Override] // by key
	ended     map[string]bool                     // those whose time is over, and that count no more
	latches   map[string]*object[health.Latch]    // by key
	latched   map[string]*latched                 // by pool: failbacks that no key says are held
	relatched bool                                // latched has changed
	rehealed  map[string]bool                     // pools whose members have other states since their latch was looked at

	live      live
	uncounted map[*target]bool // that others have reported anew
	rttsTold  map[string]*told // what this process's own checker has measured, by pool

	within map[string]within          // members that are pools, by key
	wanted map[string]map[string]bool // by the pool that they are, the keys of those
	lie    lies                       // which pools do lie within which
	fall   lies                       // which pools do fall back to which

	nameKeys, memberKeys int // how many keys of names, and members, have made something

	log       *slog.Logger
	now       func() time.Time
	trusting  bool   // whatever is asked for is done: a look at what would be
	cluster   uint64 // of the etcd that is obeyed; 0: none yet
	newest    int64  // revision of the newest change that was told of
	guard     guard
	refused   *refusal          // what etcd holds is not obeyed; nil while it is
	wantsRead bool              // all there is should be read again
	fromImage bool              // nothing has been obeyed since the disk image was read
	saved     time.Time         // when that was, where fromImage
	serials   map[string]uint32 // by zone, of registries that were served before another was accepted
	drift     int64             // keys that a full compare found other than they should have been

	unregistered map[string]time.Time // members whose lease has ended and that linger, by key: since when
}

// object is the last good value of a key.
type object[T any] struct {
	value    T
	text     []byte // that value was decoded from
	revision int64
	lease    int64 // that the key is under; 0: none
	deleted  bool  // gone from the registry, but still referred to, so it serves on
}

// pool is what the keys of one pool say.
type pool struct {
	name     string
	id       policy.ID
	claimed  bool // there is a policy key, its value good or not
	policy   *object[policy.Spec]
	waits    string // what policy refers to and is not there, "check/web": it does without meanwhile; "" for nothing
	members  map[string]*object[policy.MemberSpec]
	compiled *policy.Pool
	deleted  bool // all its keys are gone, but it is still referred to

	excluded map[string]*excluded                  // of members, those that are pools and cannot be
	odd      map[string]*excluded                  // those that are names among addresses, or the other way round
	before   map[string]*object[policy.MemberSpec] // what both were before, which serves on

	// What compiled was made of.
	lastPolicy  *object[policy.Spec]
	lastMembers map[string]*object[policy.MemberSpec]
}

// there says whether the pool can be referred to. With a policy that is wrong and was never right it
// is there like one without: a default is better than an outage.
func (p *pool) there() bool { return p != nil && (p.claimed || len(p.members) > 0) }

// NewRegistry returns a registry that has read nothing.
func NewRegistry(log *slog.Logger) *Registry {
	r := &Registry{
		sites:   map[string]*object[policy.Site]{},
		checks:  map[string]*object[health.Check]{},
		maps:    map[string]*geoMap{},
		pools:   map[string]*pool{},
		deleted: map[string]*pool{},
		faults:  newFaults(log),
		targets: newTargets(),
		orphans: map[string]zones.Owner{},
		keysOf:  map[string]int{},
		log:     log,
		now:     time.Now,
		guard:   newGuard(),
		serials: map[string]uint32{},

		unregistered: map[string]time.Time{},
		overrides:    map[string]*object[health.Override]{},
		ended:        map[string]bool{},
		latches:      map[string]*object[health.Latch]{},
		latched:      map[string]*latched{},
		rehealed:     map[string]bool{},
		live:         newLive(),
		uncounted:    map[*target]bool{},
		rttsTold:     map[string]*told{},
		within:       map[string]within{},
		wanted:       map[string]map[string]bool{},
		lie:          newLies(),
		fall:         newLies(),
	}
	r.targets.derive, r.targets.heard = r.derive, r.hearAll
	r.targets.now = func() time.Time { return r.now() }
	return r
}

// Faults are the keys that are not served as they stand, by key.
func (r *Registry) Faults() []Fault { return r.faults.list() }

// Targets are what has to be checked.
func (r *Registry) Targets() []health.Target { return r.targets.list() }

// SetGeo has snapshots from now on know where clients are, and returns the one there is with that; nil where
// there is none.
func (r *Registry) SetGeo(d *geo.Database) *zones.Snapshot {
	r.geo = d
	if r.snapshot != nil && r.snapshot.Geo != d {
		edit := r.snapshot.Edit()
		edit.SetGeo(d)
		r.snapshot = edit.Commit(r.snapshot.Revision)
	}
	return r.snapshot
}

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
	settle(b, b.sites, "site/", (*pool).sites)
	settle(b, b.checks, "check/", b.checksOf)
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
