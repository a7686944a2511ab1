package store

import (
	"log/slog"
	"time"

	"meridian/health"
	"meridian/policy"
	"meridian/policy/geo"
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

	comebacks map[string]*comebacks // by pool
	recalled  map[string]bool       // while believe is at work: pools of which it is taken back that members were down
	live      live
	uncounted map[*target]bool     // that others have reported anew
	rttsTold  map[string]*rttsTold // what this process's own checker has measured, by pool
	loadsTold map[string]*loadsTold

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
	loaded   bool // some member has a load
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
		comebacks:    map[string]*comebacks{},
		recalled:     map[string]bool{},
		live:         newLive(),
		uncounted:    map[*target]bool{},
		rttsTold:     map[string]*rttsTold{},
		loadsTold:    map[string]*loadsTold{},
		within:       map[string]within{},
		wanted:       map[string]map[string]bool{},
		lie:          newLies(),
		fall:         newLies(),
	}
	r.targets.heard = r.hearAll
	r.targets.show, r.targets.recall = r.show, r.recall
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
