package store

import (
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"

	"meridian/zones"
)

// lag is how long an etcd may be behind what it told before, and be believed when it has caught up: a
// member that was cut off. One that takes longer has lost something.
const lag = time.Minute

// refusal is why what etcd holds is not obeyed.
type refusal struct {
	reason  string
	cluster uint64 // that is not obeyed
	accept  int64  // what acceptKey must hold there, at least
	since   time.Time
	empty   bool
	behind  bool // it is, or was, at an older revision than what is served
}

func (f *refusal) String() string {
	return fmt.Sprintf("%s: not obeyed, what was read before serves on. If it is right, put %d into %s there", f.reason, f.accept, acceptKey)
}

// obey says whether an update is to be taken in. What etcd holds is not obeyed where it cannot be what
// it held before with some changes: when it is another cluster, is empty, or older.
func (r *Registry) obey(u Update) bool {
	switch {
	case r.snapshot == nil || r.trusting:
		return true
	case !u.Full:
		return r.obeyChanges(u)
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
	if r.discards(u, keys) {
		r.forget()
		return true
	}
	f := r.doubts(u, keys)
	if f == nil {
		r.believe()
		return true
	}
	f.since, f.cluster = r.now(), u.Cluster
	if old := r.refused; old != nil {
		if old.behind == f.behind {
			f.since = old.since
		}
		if old.reason == f.reason && old.cluster == f.cluster { // the number to accept stays what was said
			f.accept = old.accept
		}
	}
	if accepted >= f.accept {
		r.log.Warn("registry accepted by "+acceptKey, "reason", f.reason, "revision", u.Revision)
		r.believe()
		r.forget()
		return true
	}
	if r.refused == nil || r.refused.reason != f.reason {
		r.log.Error("registry not obeyed", "reason", f.reason, "revision", u.Revision, "serving", r.snapshot.Revision, "accept", f.accept)
	}
	r.refused = f
	r.state(acceptKey, "", f.String(), u.Revision)
	return false
}

// obeyChanges is obey for changes to what was read before.
func (r *Registry) obeyChanges(u Update) bool {
	f := r.refused
	if f == nil {
		// A source keeps to one cluster, and does not go back, without reading all again.
		r.wantsRead = r.wantsRead || r.isOther(u) || u.Revision < r.snapshot.Revision
		return !r.wantsRead
	}
	// A word, a key where there was none, a member that has caught up: worth a look at all there is.
	for _, e := range u.Entries {
		r.wantsRead = r.wantsRead || e.Key == acceptKey || f.empty && !e.Deleted
	}
	r.wantsRead = r.wantsRead || f.behind && u.Revision >= r.snapshot.Revision
	return false
}

func (r *Registry) isOther(u Update) bool { return r.cluster != 0 && u.Cluster != r.cluster }

// discards says whether all there is takes the place of what is served, whose revisions have nothing
// to do with its: where nothing is lost by that, or after a start with the disk image of another
// cluster, what the guard would let through.
func (r *Registry) discards(u Update, keys int) bool {
	switch {
	case r.servesNothing():
		return r.isOther(u) || u.Revision < r.snapshot.Revision
	case keys > 0 && r.isOther(u) && r.fromImage && r.refused == nil && !r.losesTooMuch(u):
		r.log.Warn("disk image discarded: it is of another etcd cluster", "cluster", fmt.Sprintf("%x", u.Cluster), "image", fmt.Sprintf("%x", r.cluster))
		return true
	}
	return false
}

func (r *Registry) servesNothing() bool { return r.snapshot.Names == 0 && len(r.pools) == 0 }

// doubts says why all there is cannot be what there was with some changes, nil if it can.
func (r *Registry) doubts(u Update, keys int) *refusal {
	switch {
	case r.servesNothing():
		return nil
	case keys == 0:
		return &refusal{reason: "etcd has no keys", accept: u.Revision, empty: true}
	case r.isOther(u):
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
	r.refused = nil // and so is its fault, as soon as the registry is taken
}

// forget has the next update be taken for what it is, since its revisions are not those of the
// registry that is served. What is known of the health of addresses stays, and serials do not go back.
func (r *Registry) forget() {
	next := NewRegistry(r.log)
	next.now, next.trusting = r.now, r.trusting
	next.faults, next.targets = r.faults, r.targets
	next.live, next.drift = r.live, r.drift
	next.serials = r.serials
	r.snapshot.Each(func(o zones.Owner, p zones.Part) {
		if serial, ok := r.snapshot.Serial(o); ok && o.Apex() && p.Type == dns.TypeSOA {
			next.serials[o.ZoneText()] = serial
		}
	})
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
	var gone tally
	for _, e := range r.missing(u, false) {
		if r.counts(e.Key, nil) {
			gone.add(e.Key, r.standsFor(e.Key))
		}
	}
	names, members := r.there(nil)
	return tooMuch(gone.names, names) || tooMuch(gone.members, members)
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
