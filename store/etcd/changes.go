package etcd

import (
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"meridian/store"
)

// update makes an update of a response, without entries where that tells of no changes. The keys of
// one revision are in one response, since we did not ask etcd to cut large ones up.
func (f *follower) update(m *etcdserverpb.WatchResponse) (u store.Update, err error) {
	switch at := m.GetHeader(); {
	case m.CompactRevision != 0:
		return u, fmt.Errorf("%w: revision %d, with all before %d", errCompacted, f.from, m.CompactRevision)
	case m.Canceled:
		return u, fmt.Errorf("%w: %s", errCancelled, m.CancelReason)
	case at.GetClusterId() != f.cluster:
		return u, fmt.Errorf("%w: %x, after %x", errCluster, at.GetClusterId(), f.cluster)
	case isProgress(m) && at.GetRevision() < f.revision:
		return u, fmt.Errorf("%w: revision %d after %d", errBack, at.GetRevision(), f.revision)
	}
	u.Revision, u.Cluster, u.Below = f.revision, f.cluster, f.below
	for _, ev := range m.Events {
		rev := ev.GetKv().GetModRevision()
		if rev == f.from {
			continue
		}
		e := f.entry(ev)
		before := ev.GetPrevKv().GetModRevision() // 0: none, or compacted away
		switch {
		case f.told.has(e.Key, rev):
			return u, fmt.Errorf("%w: %s at revision %d", errTwice, e.Key, rev)
		case rev < u.Revision, rev == f.revision:
			return u, fmt.Errorf("%w: revision %d after %d", errOrder, rev, u.Revision)
		case before > f.told.since && !f.told.has("", before):
			return u, fmt.Errorf("%w: of %s at revision %d, before that at %d", errMissing, e.Key, before, rev)
		}
		f.told.add(e.Key, rev)
		u.Revision, u.Entries = rev, append(u.Entries, e)
	}
	f.revision = u.Revision
	return u, nil
}

// entry is what an event tells.
func (f *follower) entry(ev *mvccpb.Event) store.Entry {
	kv := ev.GetKv()
	e := store.Entry{Key: strings.TrimPrefix(string(kv.GetKey()), f.base), Revision: kv.GetModRevision()}
	if ev.GetType() == mvccpb.Event_DELETE {
		e.Deleted, e.Lease = true, ev.GetPrevKv().GetLease()
	} else {
		e.Value, e.Lease = kv.GetValue(), kv.GetLease()
	}
	return e
}

// told are the revisions of the changes that a watch has told of, as many as are worth to be kept.
type told struct {
	since     int64           // all later than this are here
	revisions []int64         // in order
	keys      map[string]bool // that the newest of them changed
}

// maxTold is how many revisions are kept, half a megabyte. It can be any number: with fewer, fewer
// changes left out are seen.
const maxTold = 1 << 16

// has says whether a revision was told. Of the newest, which may change many keys, it is asked of one
// key, if that is not "".
func (t *told) has(key string, revision int64) bool {
	i, ok := slices.BinarySearch(t.revisions, revision)
	if ok && i == len(t.revisions)-1 && key != "" {
		return t.keys[key]
	}
	return ok
}

// add takes a change that is later than those before it, or of the same revision.
func (t *told) add(key string, revision int64) {
	if n := len(t.revisions); n == 0 || t.revisions[n-1] != revision {
		if n == maxTold {
			t.since = t.revisions[n/2-1]
			t.revisions = append(t.revisions[:0], t.revisions[n/2:]...)
		}
		t.revisions, t.keys = append(t.revisions, revision), map[string]bool{}
	}
	t.keys[key] = true
}
