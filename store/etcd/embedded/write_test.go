package embedded

import (
	"context"
	"errors"
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

func TestCommit(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Dir: t.TempDir()})
	c := dial(t, s)
	r := open(t, s.Addr().String(), etcd.Config{}, silent)
	f := follow(t, r)
	base := f.next().Revision

	rev, err := r.Commit(t.Context(), []store.Change{{Key: "a", Value: []byte("1")}, {Key: "b", Value: []byte("1")}})
	if err != nil || rev != base+1 {
		t.Fatalf("revision %d, %v, expected %d", rev, err, base+1)
	}
	if got, want := show(f.next(), base), "+1: a=1+1 b=1+1"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	put(t, c, "/gslb/b", "2") // by another hand, +2

	for _, tt := range []struct {
		name    string
		changes []store.Change
		want    string
	}{
		{"changed since", []store.Change{{Key: "a", Value: []byte("3"), ReadRevision: base + 1}, {Key: "b", Value: []byte("3"), ReadRevision: base + 1}}, "changed in the meantime: b"},
		{"made since", []store.Change{{Key: "a"}, {Key: "b"}, {Key: "c"}}, "changed in the meantime: a, b"},
		{"gone since", []store.Change{{Key: "c", Delete: true, ReadRevision: base + 1}}, "changed in the meantime: c"},
		{"to delete, changed since", []store.Change{{Key: "b", Delete: true, ReadRevision: base + 1}}, "changed in the meantime: b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := r.Commit(t.Context(), tt.changes)
			var conflict *etcd.ConflictError
			if !errors.As(err, &conflict) || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
	if got, want := show(f.next(), base), "+2: b=2+2"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if rev, err = r.Commit(t.Context(), []store.Change{{Key: "b", Delete: true, ReadRevision: base + 2}, {Key: "a", Value: []byte("2"), ReadRevision: base + 1}}); err != nil || rev != base+3 {
		t.Fatalf("revision %d, %v, expected %d: a conflict has written something", rev, err, base+3)
	}
	f.expect(map[string]string{"a": "2"})

	var many []store.Change
	for i := range etcd.MaxChanges {
		many = append(many, store.Change{Key: fmt.Sprint("many/", i), Value: []byte("1")})
	}
	if _, err := r.Commit(t.Context(), many); err != nil {
		t.Errorf("%d at once: %v", len(many), err)
	}
	_, err = r.Commit(t.Context(), []store.Change{{Key: "large", Value: make([]byte, 1600<<10)}})
	if want := "writing 1 key of 1638400 bytes to the registry: etcdserver: request is too large"; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestUser(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	said, warnings := recorded(slog.LevelWarn)
	s := start(t, Config{Dir: dir, Log: said})
	c := dial(t, s)
	put(t, c, "/gslb/a", "1")
	for _, err := range []error{
		second(c.UserAdd(t.Context(), "root", "secret")),
		second(c.UserGrantRole(t.Context(), "root", "root")),
		second(c.UserAdd(t.Context(), "dns", "secret")),
		second(c.RoleAdd(t.Context(), "gslb")),
		second(c.RoleGrantPermission(t.Context(), "gslb", "/gslb/", "/gslb0", clientv3.PermissionType(clientv3.PermReadWrite))),
		second(c.UserGrantRole(t.Context(), "dns", "gslb")),
		second(c.AuthEnable(t.Context())),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	with := func(user, password string) etcd.Config {
		return etcd.Config{Endpoints: s.Endpoints(), Prefix: "/gslb", Username: user, Password: password}
	}
	if _, err := etcd.Open(t.Context(), with("dns", "wrong"), silent); err == nil || err.Error() != `etcd.username: etcd does not take user "dns" with this password` {
		t.Errorf("a wrong password: %v", err)
	}
	nobody := open(t, s.Addr().String(), etcd.Config{}, silent)
	if _, err := nobody.Read(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "reading the registry: etcd has users, and this is none of them: ") {
		t.Errorf("without a user: %v", err)
	}

	// That a write is refused its client is told, and nobody else.
	if _, err := nobody.Commit(t.Context(), []store.Change{{Key: "a", Value: []byte("2")}}); err == nil {
		t.Error("written without a user")
	}
	if got := warnings(); strings.Contains(strings.Join(got, "\n"), "failed to apply") {
		t.Errorf("logged %q", got)
	}

	// The process begins before etcd does.
	s.Close()
	log, entries := recorded(slog.LevelInfo)
	r, err := etcd.Open(t.Context(), with("dns", "secret"), log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	f := follow(t, r)
	until(t, func() bool { return len(entries()) == 1 })
	start(t, Config{Dir: dir, Listen: s.Addr().String()})
	f.expect(map[string]string{"a": "1"})
	if e := entries(); len(e) != 2 || !strings.HasPrefix(e[0], "WARN registry not found reason=") || !strings.HasPrefix(e[1], "INFO registry regained ") {
		t.Errorf("logged %q", e)
	}
	if _, err := r.Commit(t.Context(), []store.Change{{Key: "b", Value: []byte("1")}}); err != nil {
		t.Error(err)
	}
	f.expect(map[string]string{"a": "1", "b": "1"})
}

func second[T any](_ T, err error) error { return err }

// live waits until what is below /gslb-live/ is as wanted, and returns it.
func live(t *testing.T, c *clientv3.Client, want map[string]string) []*clientKV {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	changed := c.Watch(ctx, "/gslb-live/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	var got map[string]string
	for range changed {
		all, err := c.Get(ctx, "/gslb-live/", clientv3.WithPrefix())
		if err != nil {
			t.Fatal(err)
		}
		var kvs []*clientKV
		got = map[string]string{}
		for _, kv := range all.Kvs {
			key := strings.TrimPrefix(string(kv.Key), "/gslb-live/")
			got[key] = string(kv.Value)
			kvs = append(kvs, &clientKV{key, kv.ModRevision, clientv3.LeaseID(kv.Lease)})
		}
		if maps.Equal(got, want) {
			return kvs
		}
	}
	t.Fatalf("live keys stay %v, expected %v", got, want)
	return nil
}

type clientKV struct {
	key      string
	revision int64
	lease    clientv3.LeaseID
}

// mirror runs a mirror until stop is called.
func mirror(t *testing.T, r *etcd.Registry, dir string) (m *etcd.Mirror, stop func()) {
	t.Helper()
	m = r.Mirror(dir)
	return m, runMirror(t, m)
}

func runMirror(t *testing.T, m *etcd.Mirror) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		m.Run(ctx)
		close(done)
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

func TestMirror(t *testing.T)      { t.Parallel(); testMirror(t, (*etcd.Registry).Mirror) }
func TestPacedMirror(t *testing.T) { t.Parallel(); testMirror(t, (*etcd.Registry).PacedMirror) }

func testMirror(t *testing.T, of func(*etcd.Registry, string) *etcd.Mirror) {
	s := start(t, Config{Dir: t.TempDir()})
	c := dial(t, s)
	r := open(t, s.Addr().String(), etcd.Config{}, silent)
	// Of an earlier process, and of neighbours.
	before := map[string]string{"error/ns1/left": "x", "error/ns1/b": "1", "error/ns10/a": "x", "error/ns0": "x"}
	for key, value := range before {
		put(t, c, "/gslb-live/"+key, value)
	}
	m := of(r, "error/ns1")
	stop := runMirror(t, m)
	_ = live(t, c, before) // nothing is touched before the first Set

	m.Set(map[string]string{"a": "1", "b": "1"})
	neighbours := map[string]string{"error/ns10/a": "x", "error/ns0": "x"}
	with := func(kv ...string) map[string]string {
		want := maps.Clone(neighbours)
		for kv := range slices.Chunk(kv, 2) {
			want["error/ns1/"+kv[0]] = kv[1]
		}
		return want
	}
	first := live(t, c, with("a", "1", "b", "1"))
	for _, kv := range first {
		if ours := strings.HasPrefix(kv.key, "error/ns1/"); ours != (kv.lease != 0) {
			t.Errorf("%s has lease %x", kv.key, kv.lease)
		}
	}
	m.Set(map[string]string{"a": "1", "c": "1"})
	for _, kv := range live(t, c, with("a", "1", "c", "1")) {
		if kv.key == "error/ns1/a" && !slices.ContainsFunc(first, func(f *clientKV) bool { return *f == *kv }) {
			t.Error("a value that is the same is written again")
		}
	}
	for i := range 1000 { // the last counts
		m.Set(map[string]string{"a": fmt.Sprint(i)})
	}
	live(t, c, with("a", "999"))

	many, want := map[string]string{}, maps.Clone(neighbours)
	for i := range 300 { // three transactions
		many[fmt.Sprint("m", i)], want[fmt.Sprint("error/ns1/m", i)] = "1", "1"
	}
	m.Set(many)
	live(t, c, want)
	m.Set(nil)
	live(t, c, neighbours)

	m.Set(map[string]string{"a": "1"})
	live(t, c, with("a", "1"))
	stop()
	all, err := c.Get(t.Context(), "/gslb-live/error/ns1/", clientv3.WithPrefix())
	if err != nil || len(all.Kvs) != 0 {
		t.Errorf("after a stop there is %v, %v", all.Kvs, err)
	}
}

func TestMirrorLosesLease(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Dir: t.TempDir()})
	c := dial(t, s)
	log, entries := recorded(slog.LevelInfo)
	m, _ := mirror(t, open(t, s.Addr().String(), etcd.Config{LeaseTTL: 2 * time.Second}, log), "report/fra1")
	m.Set(map[string]string{"web": "1"})
	want := map[string]string{"report/fra1/web": "1"}
	kvs := live(t, c, want)

	// Noticed by itself, when it is to be renewed.
	if _, err := c.Revoke(t.Context(), kvs[0].lease); err != nil {
		t.Fatal(err)
	}
	live(t, c, map[string]string{})
	kvs = live(t, c, want)
	if want := []string{"INFO lease of live keys is lost, writing them again keys=/gslb-live/report/fra1/"}; !slices.Equal(entries(), want) {
		t.Errorf("logged %q, expected %q", entries(), want)
	}

	// Noticed by a write.
	if _, err := c.Revoke(t.Context(), kvs[0].lease); err != nil {
		t.Fatal(err)
	}
	m.Set(map[string]string{"web": "1", "api": "1"})
	live(t, c, map[string]string{"report/fra1/web": "1", "report/fra1/api": "1"})

	// Kept beyond its time.
	lease := live(t, c, map[string]string{"report/fra1/web": "1", "report/fra1/api": "1"})[0].lease
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if left, err := c.TimeToLive(t.Context(), lease); err != nil || left.TTL < 0 {
			t.Fatalf("lease of 2s is gone before 3s: %v", err)
		}
	}
}

func TestMirrorAcrossRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, Config{Dir: dir})
	log, entries := recorded(slog.LevelInfo)
	m, _ := mirror(t, open(t, s.Addr().String(), etcd.Config{}, log), "report/fra1")
	m.Set(map[string]string{"web": "1"})
	live(t, dial(t, s), map[string]string{"report/fra1/web": "1"})
	s.Close()
	m.Set(map[string]string{"web": "2"})
	until(t, func() bool { return len(entries()) == 1 })
	s = start(t, Config{Dir: dir, Listen: s.Addr().String()})
	live(t, dial(t, s), map[string]string{"report/fra1/web": "2"})
	until(t, func() bool { return len(entries()) == 2 })
	if e := entries(); !strings.HasPrefix(e[0], "WARN live keys cannot be written keys=/gslb-live/report/fra1/ reason=") ||
		e[1] != "INFO live keys are written again keys=/gslb-live/report/fra1/" {
		t.Errorf("logged %q", e)
	}
}

// A mirror of one key has none of its neighbours.
func TestKeyMirror(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Dir: t.TempDir()})
	c := dial(t, s)
	neighbours := map[string]string{"server/ns": "x", "server/ns1/a": "x", "server/ns10": "x"}
	for key, value := range neighbours {
		put(t, c, "/gslb-live/"+key, value)
	}
	put(t, c, "/gslb-live/server/ns1", "left by an earlier process")
	m := open(t, s.Addr().String(), etcd.Config{}, silent).MirrorKey("server/ns1")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		m.Run(ctx)
		close(done)
	}()
	for _, value := range []string{"1", "2"} {
		m.Set(value)
		want := maps.Clone(neighbours)
		want["server/ns1"] = value
		for _, kv := range live(t, c, want) {
			if (kv.key == "server/ns1") != (kv.lease != 0) {
				t.Errorf("%s has lease %x", kv.key, kv.lease)
			}
		}
	}
	cancel()
	<-done
	live(t, c, neighbours)
}
