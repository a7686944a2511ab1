package store

import (
	"fmt"
	"strings"
	"time"
)

// lag is how long an etcd may be behind what it told before, and be believed when it has caught up: a
// member that was cut off. One that takes longer has lost something.
const lag = time.Minute

// refusal is why what etcd holds is not obeyed.
type refusal struct {
	reason string
	accept int64 // what acceptKey must hold there, at least
	since  time.Time
	behind bool // it is at an older revision than what is served
}

func (f *refusal) String() string {
	return fmt.Sprintf("%s: not obeyed, what was read before serves on. If it is right, put %d into %s there", f.reason, f.accept, acceptKey)
}

// obey says whether an update is to be taken in. What etcd holds is not obeyed where it cannot be what
// it held before with some changes: when it is another cluster, is empty, or older.
func (r *Registry) obey(u Update) bool {
	if r.snapshot == nil || r.trusting {
		return true
	}
	if !u.Full {
		if f := r.refused; f != nil {
			// A word, a key put again, a member that has caught up: worth a look at all there is.
			for _, e := range u.Entries {
				r.wantsRead = r.wantsRead || e.Key == acceptKey || !e.Deleted && !f.behind
			}
			r.wantsRead = r.wantsRead || f.behind && u.Revision >= r.snapshot.Revision
			return false
		}
		return true
	}
	accepted, keys := int64(0), 0
	for _, e := range u.Entries {
		if e.Key == acceptKey {
			accepted, _ = parseAccept(e)
		}
		if !strings.HasPrefix(e.Key, "control/") {
			keys++
		}
	}
	f := r.doubts(u, keys)
	switch {
	case f == nil:
		r.believe()
		return true
	case r.refused == nil || r.refused.reason != f.reason:
		f.since = r.now()
		if old := r.refused; old != nil {
			f.since = old.since
			if old.behind == f.behind {
				f.accept = old.accept
			}
		}
	default:
		f.since, f.accept = r.refused.since, r.refused.accept
	}
	if accepted >= f.accept {
		r.log.Warn("registry accepted by "+acceptKey, "reason", f.reason, "revision", u.Revision)
		r.believe()
		r.forget()
		return true
	}
	if r.refused == nil {
		r.log.Error("registry not obeyed", "reason", f.reason, "revision", u.Revision, "serving", r.snapshot.Revision, "accept", f.accept)
	}
	r.refused = f
	r.state(acceptKey, "", f.String(), u.Revision)
	return false
}

// doubts says why all there is cannot be what there was with some changes, nil if it can.
func (r *Registry) doubts(u Update, keys int) *refusal {
	nothing := r.snapshot.Names == 0 && len(r.pools) == 0
	switch {
	case nothing:
		return nil
	case keys == 0:
		return &refusal{reason: "etcd has no keys", accept: u.Revision}
	case r.cluster != 0 && u.Cluster != r.cluster && r.fromImage && !r.losesTooMuch(u):
		r.log.Warn("disk image discarded: it is of another etcd cluster", "cluster", fmt.Sprintf("%x", u.Cluster), "image", fmt.Sprintf("%x", r.cluster))
		r.forget()
		return nil
	case r.cluster != 0 && u.Cluster != r.cluster:
		return &refusal{reason: fmt.Sprintf("etcd is of cluster %x and was %x", u.Cluster, r.cluster), accept: u.Revision}
	case u.Revision < r.snapshot.Revision:
		return &refusal{reason: fmt.Sprintf("etcd is behind revision %d", r.snapshot.Revision), accept: u.Revision, behind: true}
	case r.refused != nil && r.refused.behind && r.now().Sub(r.refused.since) > lag:
		return &refusal{reason: fmt.Sprintf("etcd was behind revision %d for long", r.snapshot.Revision), accept: r.refused.accept, behind: true}
	}
	return nil
}

// believe ends a refusal.
func (r *Registry) believe() {
	if r.refused == nil {
		return
	}
	r.log.Warn("registry obeyed again", "after", r.now().Sub(r.refused.since).Round(time.Second))
	r.refused = nil
	if f := r.faults.byKey[acceptKey]; f != nil && f.standing() {
		r.faults.clear(acceptKey)
	}
}

// forget has the next update be taken for what it is, since its revisions are not those of the
// registry that is served. What is known of the health of addresses stays, and serials do not go back.
func (r *Registry) forget() {
	next := NewRegistry(r.log)
	next.now, next.trusting = r.now, r.trusting
	next.faults, next.targets = r.faults, r.targets
	next.before = r.snapshot
	next.drift = r.drift
	for key := range next.faults.byKey {
		next.faults.forget(key)
	}
	next.faults.changed = true
	next.targets.forget()
	*r = *next
}

// losesTooMuch says whether obeying a registry that was read whole would take away what the guard
// would hold back.
func (r *Registry) losesTooMuch(u Update) bool {
	names, members := r.count(r.missing(u, false))
	return r.nameKeys() >= guardedFrom && 2*names > r.nameKeys() || r.memberKeys() >= guardedFrom && 2*members > r.memberKeys()
}

// WantsRead says whether all there is should be read again, once.
func (r *Registry) WantsRead() bool {
	wants := r.wantsRead
	r.wantsRead = false
	return wants
}

// Refused is why what etcd holds is not obeyed, "" while it is.
func (r *Registry) Refused() string {
	if r.refused == nil {
		return ""
	}
	return r.refused.String()
}
