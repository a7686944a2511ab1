package embedded

import (
	"bytes"
	"slices"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"meridian/store"
	"meridian/store/etcd"
)

// Keys that go with their lease are told from those that somebody deletes.
func TestFollowLeases(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Dir: t.TempDir()})
	c := dial(t, s)
	grant := func(ttl int64) clientv3.LeaseID {
		t.Helper()
		l, err := c.Grant(t.Context(), ttl)
		if err != nil {
			t.Fatal(err)
		}
		return l.ID
	}
	revoked, runs, over := grant(600), grant(600), grant(2)
	txn(t, c,
		clientv3.OpPut("/gslb/a", "1", clientv3.WithLease(revoked)), clientv3.OpPut("/gslb/b", "1", clientv3.WithLease(revoked)),
		clientv3.OpPut("/gslb/c", "1", clientv3.WithLease(runs)), clientv3.OpPut("/gslb/d", "1"),
		clientv3.OpPut("/gslb/e", "1", clientv3.WithLease(over)))
	f := follow(t, open(t, s.Addr().String(), etcd.Config{}, silent))
	check := func(u store.Update, want ...store.Entry) {
		t.Helper()
		if !slices.EqualFunc(u.Entries, want, func(x, y store.Entry) bool {
			return x.Key == y.Key && x.Deleted == y.Deleted && x.Lease == y.Lease && x.Expired == y.Expired && bytes.Equal(x.Value, y.Value)
		}) {
			t.Errorf("got  %+v\nwant %+v", u.Entries, want)
		}
	}
	one := []byte("1")
	all := f.next()
	check(all, store.Entry{Key: "a", Value: one, Lease: int64(revoked)}, store.Entry{Key: "b", Value: one, Lease: int64(revoked)},
		store.Entry{Key: "c", Value: one, Lease: int64(runs)}, store.Entry{Key: "d", Value: one}, store.Entry{Key: "e", Value: one, Lease: int64(over)})
	if all.Cluster == 0 {
		t.Error("no cluster")
	}

	if _, err := c.Revoke(t.Context(), revoked); err != nil {
		t.Fatal(err)
	}
	check(f.next(), store.Entry{Key: "a", Deleted: true, Lease: int64(revoked), Expired: true}, store.Entry{Key: "b", Deleted: true, Lease: int64(revoked), Expired: true})
	for {
		u := f.next()
		if slices.ContainsFunc(u.Entries, func(e store.Entry) bool { return e.Key == "e" }) {
			check(u, store.Entry{Key: "e", Deleted: true, Lease: int64(over), Expired: true})
			break
		}
	}
	txn(t, c, clientv3.OpDelete("/gslb/c"))
	check(f.next(), store.Entry{Key: "c", Deleted: true, Lease: int64(runs)})
	txn(t, c, clientv3.OpDelete("/gslb/d"))
	check(f.next(), store.Entry{Key: "d", Deleted: true})
	txn(t, c, clientv3.OpPut("/gslb/d", "1", clientv3.WithLease(runs)))
	u := f.next()
	check(u, store.Entry{Key: "d", Value: one, Lease: int64(runs)})
	if u.Cluster != all.Cluster {
		t.Errorf("cluster %x, expected %x", u.Cluster, all.Cluster)
	}
}

func TestEarlier(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Dir: t.TempDir()})
	c := dial(t, s)
	r := open(t, s.Addr().String(), etcd.Config{}, silent)
	base := put(t, c, "/gslb/a", "1", "/gslb/ab", "x") - 1
	put(t, c, "/gslb/a", "2")
	txn(t, c, clientv3.OpDelete("/gslb/a"))
	put(t, c, "/gslb/a", "3")
	check := func(key string, before int64, want string, revision int64) {
		t.Helper()
		e, ok, err := r.Earlier(t.Context(), key, base+before)
		if err != nil || ok != (want != "") || string(e.Value) != want || ok && (e.Key != key || e.Revision != base+revision) {
			t.Errorf("before +%d %s was %+v, %v, %v, expected %q of +%d", before, key, e, ok, err, want, revision)
		}
	}
	check("a", 5, "3", 4)
	check("a", 4, "", 0) // deleted
	check("a", 3, "2", 2)
	check("a", 2, "1", 1)
	check("a", 1, "", 0)
	check("ab", 4, "x", 1)
	check("b", 4, "", 0)
	for before := range int64(4) { // etcd takes a revision of 0 for the newest
		check("a", before-base-2, "", 0)
	}
	if _, err := c.Compact(t.Context(), base+2); err != nil {
		t.Fatal(err)
	}
	check("a", 3, "2", 2)
	check("a", 2, "", 0) // compacted away
	if _, ok, err := r.Earlier(t.Context(), "a", base+100); ok || err == nil {
		t.Error("a revision that is yet to come is known")
	}
}

func TestReadLive(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Dir: t.TempDir()})
	c := dial(t, s)
	r := open(t, s.Addr().String(), etcd.Config{}, silent)
	at := put(t, c, "/gslb-live/server/ns1", "1", "/gslb-live/server/ns2", "2", "/gslb-live/servers", "x", "/gslb-live/error/ns1/pool/web/policy", "3", "/gslb/server/ns3", "x")
	for _, tt := range []struct {
		dir  string
		want []string
	}{
		{"server", []string{"ns1", "ns2"}},
		{"error", []string{"ns1/pool/web/policy"}},
		{"report", nil},
		{"", []string{"error/ns1/pool/web/policy", "server/ns1", "server/ns2", "servers"}},
	} {
		entries, revision, err := r.ReadLive(t.Context(), tt.dir)
		var got []string
		for _, e := range entries {
			got = append(got, e.Key)
			if len(e.Value) == 0 || e.Revision != at {
				t.Errorf("%+v, expected a value of revision %d", e, at)
			}
		}
		if err != nil || revision != at || !slices.Equal(got, tt.want) {
			t.Errorf("below %q there is %q at revision %d, %v, expected %q at %d", tt.dir, got, revision, err, tt.want, at)
		}
	}
}
