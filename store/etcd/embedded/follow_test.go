package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"meridian/store"
	"meridian/store/etcd"
)

// open makes a registry with the prefix /gslb.
func open(t *testing.T, endpoint string, cfg etcd.Config, log *slog.Logger) *etcd.Registry {
	t.Helper()
	cfg.Endpoints, cfg.Prefix = []string{endpoint}, "/gslb"
	r, err := etcd.Open(t.Context(), cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// silent is a logger of nothing.
var silent = slog.New(slog.DiscardHandler)

// follower takes what Follow sends.
type follower struct {
	t       *testing.T
	updates chan store.Update
	again   chan struct{}
	have    map[string]string // what all of it comes to
}

func follow(t *testing.T, r *etcd.Registry) *follower {
	t.Helper()
	f := &follower{t: t, updates: make(chan store.Update), again: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		r.Follow(ctx, f.updates, f.again)
		close(done)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return f
}

// next is the next update.
func (f *follower) next() store.Update {
	f.t.Helper()
	select {
	case u := <-f.updates:
		if u.Full {
			f.have = map[string]string{}
		}
		for _, e := range u.Entries {
			if e.Deleted {
				delete(f.have, e.Key)
			} else {
				f.have[e.Key] = string(e.Value)
			}
		}
		return u
	case <-time.After(limit):
		f.t.Fatal("no update")
		panic("unreachable")
	}
}

// expect takes updates until they come to want.
func (f *follower) expect(want map[string]string) {
	f.t.Helper()
	for !maps.Equal(f.have, want) {
		f.next()
	}
}

// show is an update as text: "full", revision relative to base, then the entries with theirs.
func show(u store.Update, base int64) string {
	var s strings.Builder
	if u.Full {
		s.WriteString("full ")
	}
	fmt.Fprintf(&s, "+%d:", u.Revision-base)
	for _, e := range u.Entries {
		if e.Deleted {
			fmt.Fprintf(&s, " %s gone+%d", e.Key, e.Revision-base)
		} else {
			fmt.Fprintf(&s, " %s=%s+%d", e.Key, e.Value, e.Revision-base)
		}
	}
	return s.String()
}

func put(t *testing.T, c *clientv3.Client, keyValues ...string) (revision int64) {
	t.Helper()
	var ops []clientv3.Op
	for kv := range slices.Chunk(keyValues, 2) {
		ops = append(ops, clientv3.OpPut(kv[0], kv[1]))
	}
	return txn(t, c, ops...)
}

func txn(t *testing.T, c *clientv3.Client, ops ...clientv3.Op) (revision int64) {
	t.Helper()
	var err error
	for ops := range slices.Chunk(ops, 128) {
		var done *clientv3.TxnResponse
		if done, err = c.Txn(t.Context()).Then(ops...).Commit(); err != nil {
			t.Fatal(err)
		}
		revision = done.Header.Revision
	}
	return revision
}

func TestRead(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Dir: t.TempDir()})
	c := dial(t, s)
	r := open(t, s.Addr().String(), etcd.Config{}, silent)

	u, err := r.Read(t.Context())
	if err != nil || !u.Full || len(u.Entries) != 0 || u.Revision != 1 {
		t.Errorf("an empty registry reads as %+v, %v", u, err)
	}
	var keys []string
	var ops []clientv3.Op
	for i := range 2500 { // three pages
		keys = append(keys, fmt.Sprintf("zone/example.com/name/n%04d/A", i))
		ops = append(ops, clientv3.OpPut("/gslb/"+keys[i], "192.0.2.1"))
	}
	txn(t, c, ops...)
	last := put(t, c, "/gslb", "x", "/gslb-live/a", "x", "/gslb0", "x", "/gslba", "x", "/gslb/!", "first")
	u, err = r.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if u.Revision != last || !u.Full {
		t.Errorf("revision %d, full %v, expected %d, true", u.Revision, u.Full, last)
	}
	var got []string
	for _, e := range u.Entries {
		got = append(got, e.Key)
	}
	if !slices.Equal(got, append([]string{"!"}, keys...)) {
		t.Errorf("%d keys, expected %d in order", len(got), 1+len(keys))
	}
	if e := u.Entries[0]; string(e.Value) != "first" || e.Revision != last || e.Deleted {
		t.Errorf("first entry %+v", e)
	}
}

// The pages of a read are of one revision, whatever is written meanwhile.
func TestReadAtOneRevision(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Dir: t.TempDir()})
	c := dial(t, s)
	r := open(t, s.Addr().String(), etcd.Config{}, silent)
	ops := []clientv3.Op{clientv3.OpPut("/gslb/a", "0"), clientv3.OpPut("/gslb/z", "0")}
	for i := range 1200 {
		ops = append(ops, clientv3.OpPut(fmt.Sprintf("/gslb/k%04d", i), ""))
	}
	txn(t, c, ops...)
	ctx, cancel := context.WithCancel(t.Context())
	written := make(chan struct{})
	go func() {
		defer close(written)
		for i := 1; ctx.Err() == nil; i++ {
			v := fmt.Sprint(i)
			c.Txn(ctx).Then(clientv3.OpPut("/gslb/a", v), clientv3.OpPut("/gslb/z", v)).Commit()
		}
	}()
	defer func() { cancel(); <-written }()
	for range 20 {
		u, err := r.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if a, z := u.Entries[0], u.Entries[len(u.Entries)-1]; string(a.Value) != string(z.Value) || a.Revision > u.Revision {
			t.Fatalf("at revision %d the first key is %s, the last %s", u.Revision, a.Value, z.Value)
		}
	}
}

func TestFollow(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Dir: t.TempDir()})
	c := dial(t, s)
	base := put(t, c, "/gslb/a", "0")
	log, entries := recorded(slog.LevelInfo)
	r := open(t, s.Addr().String(), etcd.Config{}, log)
	f := follow(t, r)
	check := func(want string) {
		t.Helper()
		if got := show(f.next(), base); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	check("full +0: a=0+0")
	put(t, c, "/gslb/a", "1")
	check("+1: a=1+1")
	put(t, c, "/gslb-live/a", "1", "/gslb0", "1")
	txn(t, c, clientv3.OpPut("/gslb/b", "1"), clientv3.OpDelete("/gslb/a"), clientv3.OpPut("/gslb/c", "1"))
	check("+3: b=1+3 a gone+3 c=1+3")
	txn(t, c, clientv3.OpDelete("/gslb/", clientv3.WithPrefix()))
	check("+4: b gone+4 c gone+4")
	put(t, c, "/gslb/empty", "")
	check("+5: empty=+5")

	if got := entries(); len(got) != 1 || got[0] != fmt.Sprintf("INFO registry found revision=%d", base) {
		t.Errorf("logged %q", got)
	}
	if got := r.Contact(); !got.InReach || got.Since.IsZero() || got.Last.Before(got.Since) {
		t.Errorf("contact %+v", got)
	}
}

// Without zones the rest is followed as ever.
func TestFollowNoZones(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Dir: t.TempDir()})
	c := dial(t, s)
	base := put(t, c, "/gslb/pool/web/member/a", "0", "/gslb/zone/example.com/soa", "0")
	f := follow(t, open(t, s.Addr().String(), etcd.Config{NoZones: true}, silent))
	check := func(want string) {
		t.Helper()
		if got := show(f.next(), base); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	check("full +0: pool/web/member/a=0+0")
	put(t, c, "/gslb/zone/example.com/name/www/A", "1")
	txn(t, c, clientv3.OpPut("/gslb/zone/example.com/name/www/A", "2"), clientv3.OpPut("/gslb/site/fra", "2"))
	check("+2: site/fra=2+2")
	txn(t, c, clientv3.OpDelete("/gslb/", clientv3.WithPrefix()))
	check("+3: pool/web/member/a gone+3 site/fra gone+3")
}

// A receiver that takes its time gets all changes in order, and no revision in two pieces.
func TestFollowSlowly(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Dir: t.TempDir()})
	c := dial(t, s)
	f := follow(t, open(t, s.Addr().String(), etcd.Config{AskEvery: 200 * time.Millisecond}, silent))
	base := f.next().Revision
	value := strings.Repeat("x", 1000) // so that not all of it is in flight
	const revisions, keys = 400, 5
	for range revisions {
		var kv []string
		for k := range keys {
			kv = append(kv, fmt.Sprintf("/gslb/%d", k), value)
		}
		put(t, c, kv...)
	}
	for next := base + 1; next <= base+revisions; {
		u := f.next()
		if u.Full {
			t.Fatal("reads all again instead of waiting for the receiver")
		}
		if len(u.Entries)%keys != 0 {
			t.Fatalf("%d entries at revision %d", len(u.Entries), u.Revision)
		}
		for of := range slices.Chunk(u.Entries, keys) {
			for _, e := range of {
				if e.Revision != next {
					t.Fatalf("revision %d, expected %d", e.Revision, next)
				}
			}
			next++
		}
		if u.Revision != next-1 {
			t.Fatalf("update of revision %d ends with %d", u.Revision, next-1)
		}
	}
}

// While the line is cut the registry moves on, and forgets how.
func TestFollowAfterCompaction(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Dir: t.TempDir()})
	c := dial(t, s)
	line := newProxy(t, s.Addr().String())
	log, entries := recorded(slog.LevelInfo)
	f := follow(t, open(t, line.addr, etcd.Config{}, log))
	put(t, c, "/gslb/goes", "1", "/gslb/stays", "1")
	f.expect(map[string]string{"goes": "1", "stays": "1"})

	line.cut(true)
	txn(t, c, clientv3.OpDelete("/gslb/goes"))
	for i := range 10 {
		put(t, c, "/gslb/comes", fmt.Sprint(i))
	}
	at := put(t, c, "/gslb/comes", "last")
	if _, err := c.Compact(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	line.cut(false)
	u := f.next()
	if !u.Full || u.Revision != at {
		t.Errorf("after a gap got revision %d, full %v, expected %d, true", u.Revision, u.Full, at)
	}
	f.expect(map[string]string{"stays": "1", "comes": "last"})
	put(t, c, "/gslb/goes", "2")
	f.expect(map[string]string{"stays": "1", "comes": "last", "goes": "2"})
	lostOnce(t, entries())
}

// lostOnce checks that a log tells of one loss, with its reason, and one return.
func lostOnce(t *testing.T, entries []string) {
	t.Helper()
	var got []string
	for _, e := range entries {
		if strings.HasPrefix(e, "DEBUG") {
			continue
		}
		got = append(got, strings.Join(strings.Fields(e)[:3], " "))
	}
	if want := []string{"INFO registry found", "WARN registry lost", "INFO registry regained"}; !slices.Equal(got, want) {
		t.Errorf("logged %q, expected %q", entries, want)
	}
}

func TestFollowAcrossRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, Config{Dir: dir})
	put(t, dial(t, s), "/gslb/a", "1")
	log, entries := recorded(slog.LevelDebug)
	r := open(t, s.Addr().String(), etcd.Config{}, log)
	f := follow(t, r)
	f.expect(map[string]string{"a": "1"})

	s.Close()
	until(t, func() bool { // a read is tried again five times by the client: it has failed thrice
		failed := 0
		for _, e := range entries() {
			if strings.HasPrefix(e, "DEBUG retrying of unary invoker failed") {
				failed++
			}
		}
		return failed > 10
	})
	if r.Contact().InReach {
		t.Error("contact says in reach")
	}
	s = start(t, Config{Dir: dir, Listen: s.Addr().String()})
	put(t, dial(t, s), "/gslb/b", "1")
	f.expect(map[string]string{"a": "1", "b": "1"})
	put(t, dial(t, s), "/gslb/b", "2")
	f.expect(map[string]string{"a": "1", "b": "2"})
	lostOnce(t, entries())
	if !r.Contact().InReach {
		t.Error("contact says out of reach")
	}
}

// until waits for what tells of itself by no event.
func until(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("has not come")
		}
	}
}

// An etcd that comes back as another one, or empty, is told of, and sent as what it is.
func TestFollowAnotherCluster(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Dir: t.TempDir()})
	log, entries := recorded(slog.LevelInfo)
	r := open(t, s.Addr().String(), etcd.Config{}, log)
	f := follow(t, r)
	put(t, dial(t, s), "/gslb/a", "1", "/gslb/b", "1")
	f.expect(map[string]string{"a": "1", "b": "1"})
	s.Close()
	start(t, Config{Dir: t.TempDir(), Listen: s.Addr().String()})
	if u := f.next(); !u.Full || u.Revision != 1 || len(u.Entries) != 0 {
		t.Errorf("got %+v, expected an empty registry at revision 1", u)
	}
	if !slices.ContainsFunc(entries(), func(e string) bool {
		return strings.HasPrefix(e, "WARN registry is of another etcd cluster than before revision=1 cluster=")
	}) {
		t.Errorf("logged %q", entries())
	}
}

// An etcd that was restored from a backup has a lower revision.
func TestFollowBackup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, Config{Dir: dir + "/a"})
	put(t, dial(t, s), "/gslb/a", "1")
	backup(t, dir+"/a", dir+"/b")
	log, entries := recorded(slog.LevelInfo)
	f := follow(t, open(t, s.Addr().String(), etcd.Config{}, log))
	put(t, dial(t, s), "/gslb/b", "1")
	f.expect(map[string]string{"a": "1", "b": "1"})
	s.Close()
	start(t, Config{Dir: dir + "/b", Listen: s.Addr().String()})
	f.expect(map[string]string{"a": "1"})
	if !slices.Contains(entries(), "WARN registry is older than it was revision=2 before=3") {
		t.Errorf("logged %q", entries())
	}
}

// A line that stands still without an error is noticed, and one on which nothing happens is not
// taken for it.
func TestFollowFrozen(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Dir: t.TempDir()})
	line := newProxy(t, s.Addr().String())
	log, entries := recorded(slog.LevelInfo)
	r := open(t, line.addr, etcd.Config{AskEvery: 50 * time.Millisecond}, log)
	f := follow(t, r)
	f.next()
	for range 3 * 4 { // of what loses a line that does not answer
		last := r.Contact().Last
		until(t, func() bool { return r.Contact().Last.After(last) })
	}
	if len(entries()) != 1 {
		t.Fatalf("an idle etcd: logged %q", entries())
	}
	line.freeze(true)
	until(t, func() bool { return !r.Contact().InReach })
	if want := "WARN registry lost reason=etcd has not answered for 150ms"; entries()[1] != want {
		t.Errorf("logged %q, expected %q", entries()[1], want)
	}
	line.freeze(false)
	f.next()
	put(t, dial(t, s), "/gslb/a", "1")
	f.expect(map[string]string{"a": "1"})
	lostOnce(t, entries())
}

// Now and then everything is read again without cause, which is nothing to talk about.
func TestFollowResync(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Dir: t.TempDir()})
	put(t, dial(t, s), "/gslb/a", "1")
	log, entries := recorded(slog.LevelInfo)
	f := follow(t, open(t, s.Addr().String(), etcd.Config{ResyncEvery: 20 * time.Millisecond}, log))
	for range 5 {
		if u := f.next(); !u.Full || len(u.Entries) != 1 {
			t.Errorf("got %+v, expected all", u)
		}
	}
	if len(entries()) != 1 {
		t.Errorf("logged %q", entries())
	}
}
