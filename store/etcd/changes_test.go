package etcd

import (
	"errors"
	"fmt"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"meridian/store"
)

func TestUpdate(t *testing.T) {
	put := func(key string, revision, before int64) *mvccpb.Event {
		ev := &mvccpb.Event{Type: mvccpb.Event_PUT, Kv: &mvccpb.KeyValue{Key: []byte("/gslb/" + key), Value: []byte("v"), ModRevision: revision, Lease: 7}}
		if before != 0 {
			ev.PrevKv = &mvccpb.KeyValue{Key: ev.Kv.Key, ModRevision: before, Lease: 8}
		}
		return ev
	}
	del := func(key string, revision, before int64) *mvccpb.Event {
		ev := put(key, revision, before)
		ev.Type, ev.Kv.Value, ev.Kv.Lease = mvccpb.Event_DELETE, nil, 0
		return ev
	}
	head := func(revision int64) *etcdserverpb.ResponseHeader {
		return &etcdserverpb.ResponseHeader{ClusterId: 0xc, Revision: revision}
	}
	events := func(evs ...*mvccpb.Event) *etcdserverpb.WatchResponse {
		return &etcdserverpb.WatchResponse{Header: head(30), Events: evs}
	}
	// What was read is of revision 10; changes of b at 15 and of a and b at 20 have been told.
	for _, tt := range []struct {
		name   string
		m      *etcdserverpb.WatchResponse
		broken *reason
		want   string // revision and entries, or the error
	}{
		{"created by a member that lags", &etcdserverpb.WatchResponse{Header: head(9), Created: true}, nil, "20"},
		{"progress", &etcdserverpb.WatchResponse{Header: head(30)}, nil, "20"},
		{"what was read already", events(put("a", 10, 0), put("b", 10, 0)), nil, "20"},
		{"changes", events(put("a", 21, 0), del("b", 21, 20), put("a", 23, 21)), nil, "23 a=v@21/7 b deleted@21/8 a=v@23/7"},
		{"of what was read", events(put("c", 21, 9)), nil, "21 c=v@21/7"},
		{"of what is compacted away", events(del("b", 21, 0)), nil, "21 b deleted@21/0"},

		{"compacted", &etcdserverpb.WatchResponse{Header: head(30), Canceled: true, CompactRevision: 15}, errCompacted,
			"etcd has compacted what was to be watched: revision 10, with all before 15"},
		{"cancelled", &etcdserverpb.WatchResponse{Header: head(30), Created: true, Canceled: true, CancelReason: "etcdserver: permission denied"}, errCancelled,
			"etcd has ended the watch: etcdserver: permission denied"},
		{"another cluster", &etcdserverpb.WatchResponse{Header: &etcdserverpb.ResponseHeader{ClusterId: 0xd, Revision: 30}}, errCluster,
			"etcd has become another cluster: d, after c"},
		{"no header", &etcdserverpb.WatchResponse{}, errCluster, "etcd has become another cluster: 0, after c"},
		{"gone back", &etcdserverpb.WatchResponse{Header: head(19)}, errBack, "etcd has gone back: revision 19 after 20"},
		{"the newest change again", events(put("a", 20, 0)), errTwice, "etcd has sent a change twice: a at revision 20"},
		{"an earlier change again", events(put("a", 21, 20), put("b", 15, 0)), errTwice, "etcd has sent a change twice: b at revision 15"},
		{"a change twice at once", events(put("a", 21, 20), put("b", 21, 20), put("a", 21, 20)), errTwice, "etcd has sent a change twice: a at revision 21"},
		{"out of order", events(put("a", 23, 0), put("a", 22, 0)), errOrder, "etcd has sent changes out of order: revision 22 after 23"},
		{"late", events(put("a", 19, 0)), errOrder, "etcd has sent changes out of order: revision 19 after 20"},
		{"before what was read", events(put("a", 9, 0)), errOrder, "etcd has sent changes out of order: revision 9 after 20"},
		{"a revision in two pieces", events(put("c", 20, 0)), errOrder, "etcd has sent changes out of order: revision 20 after 20"},
		{"nothing in an event", events(&mvccpb.Event{}), errOrder, "etcd has sent changes out of order: revision 0 after 20"},
		{"left out", events(put("d", 23, 22)), errMissing, "etcd has left out a change: of d at revision 22, before that at 23"},
		{"left out before a delete", events(put("a", 21, 20), del("c", 23, 14)), errMissing, "etcd has left out a change: of c at revision 14, before that at 23"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := follower{Registry: &Registry{}, base: "/gslb/", from: 10, revision: 10, cluster: 0xc, told: told{since: 10}}
			if _, err := f.update(events(put("b", 15, 0), put("a", 20, 0), put("b", 20, 15))); err != nil {
				t.Fatal(err)
			}
			u, err := f.update(tt.m)
			if got := show(u, err); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if tt.broken != nil && (!errors.Is(err, tt.broken) || reasonOf(err) != tt.broken) {
				t.Errorf("the reason is %s, expected %s", reasonOf(err).name, tt.broken.name)
			}
			if err == nil && (f.revision != u.Revision || u.Cluster != 0xc) {
				t.Errorf("goes on from revision %d of %x, expected %d of c", f.revision, u.Cluster, u.Revision)
			}
		})
	}
}

func show(u store.Update, err error) string {
	if err != nil {
		return err.Error()
	}
	s := fmt.Sprint(u.Revision)
	for _, e := range u.Entries {
		if e.Deleted {
			s += fmt.Sprintf(" %s deleted@%d/%x", e.Key, e.Revision, e.Lease)
		} else {
			s += fmt.Sprintf(" %s=%s@%d/%x", e.Key, e.Value, e.Revision, e.Lease)
		}
	}
	return s
}

// A watch of any length keeps some revisions alone, and forgets none that it still says it has.
func TestTold(t *testing.T) {
	f := told{since: 10}
	for rev := int64(11); rev < 11+2*maxTold; rev++ {
		f.add("a", rev)
		if len(f.revisions) > maxTold || cap(f.revisions) > 2*maxTold {
			t.Fatalf("at revision %d there are %d, in room for %d", rev, len(f.revisions), cap(f.revisions))
		}
		if n := len(f.revisions); f.revisions[0] != f.since+1 || f.revisions[n-1] != rev || int64(n) != rev-f.since {
			t.Fatalf("at revision %d there are %d since %d, from %d to %d", rev, n, f.since, f.revisions[0], f.revisions[n-1])
		}
	}
	if f.since < 10+maxTold {
		t.Errorf("has all since %d", f.since)
	}
}
