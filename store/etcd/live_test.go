package etcd

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"meridian/store"
)

// liveFollower follows the live keys below rtt/ of a fake, of which the registry is followed too.
type liveFollower struct {
	t       *testing.T
	etcd    *Registry
	updates chan store.Update // of the registry
	live    chan store.Update
	have    map[string]string
	log     logged
}

func followLive(t *testing.T, fake *fakeEtcd) *liveFollower {
	l := &liveFollower{t: t, updates: make(chan store.Update), live: make(chan store.Update), have: map[string]string{}}
	cfg := Config{Endpoints: []string{"fake:1"}, Prefix: "/gslb"}
	cfg.connect = func(ctx context.Context, _ string) (net.Conn, error) { return fake.line.DialContext(ctx) }
	var err error
	if l.etcd, err = Open(t.Context(), cfg, slog.New(slog.NewTextHandler(&l.log, nil))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{}, 2)
	go func() {
		l.etcd.Follow(ctx, l.updates, nil)
		ended <- struct{}{}
	}()
	go func() {
		l.etcd.FollowLive(ctx, "rtt/", l.live)
		ended <- struct{}{}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		<-ended
		l.etcd.Close()
	})
	return l
}

// next takes an update of the live keys.
func (l *liveFollower) next() store.Update {
	l.t.Helper()
	select {
	case u := <-l.live:
		if u.Below != "rtt/" {
			l.t.Errorf("an update of what is below %q", u.Below)
		}
		if u.Full {
			clear(l.have)
		}
		for _, e := range u.Entries {
			if delete(l.have, e.Key); !e.Deleted {
				l.have[e.Key] = string(e.Value)
			}
		}
		return u
	case <-time.After(limit):
		l.t.Fatalf("no update\n%s", &l.log)
		panic("unreachable")
	}
}

func (l *liveFollower) expect(want map[string]string) {
	l.t.Helper()
	for end := time.Now().Add(limit); !maps.Equal(l.have, want); l.next() {
		if time.Now().After(end) {
			l.t.Fatalf("there is %v, expected %v", l.have, want)
		}
	}
}

// Of the live keys those below the directory are told of, by their names below the prefix, and to the registry they
// are nothing.
func TestFollowLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t, 1)
		f.put("pool/web/policy", "0")
		f.put("/gslb-live/rtt/fra1/web", "1")
		f.put("/gslb-live/report/fra1/web", "2")
		l := followLive(t, f)
		if u := <-l.updates; len(u.Entries) != 1 || u.Below != "" || u.Entries[0].Key != "pool/web/policy" {
			t.Errorf("read of the registry: %+v", u)
		}
		if u := l.next(); !u.Full || len(u.Entries) != 1 || u.Entries[0].Key != "rtt/fra1/web" || u.Entries[0].Revision != 3 {
			t.Fatalf("read: %+v", u)
		}
		synctest.Wait()
		f.put("/gslb-live/report/fra1/web", "3")
		f.put("/gslb-live/load/web/a", "4")
		f.put("/gslb-live/rtt/fra1/shop", "5")
		if u := l.next(); u.Full || len(u.Entries) != 1 || u.Entries[0].Key != "rtt/fra1/shop" {
			t.Errorf("changed: %+v", u)
		}
		f.do(func() { f.commit(op{key: "/gslb-live/rtt/fra1/web"}) })
		l.expect(map[string]string{"rtt/fra1/shop": "5"})
		f.do(func() { f.ending = ending{f.ending.generation + 1, "etcdserver: no leader"} })
		f.put("/gslb-live/rtt/fra1/web", "6")
		l.expect(map[string]string{"rtt/fra1/shop": "5", "rtt/fra1/web": "6"})
	})
}

// A lost etcd changes nothing, and of the live keys that is said once, apart from the registry.
func TestFollowLiveLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t, 1)
		f.put("/gslb-live/rtt/fra1/web", "1")
		l := followLive(t, f)
		<-l.updates
		l.next()
		synctest.Wait()
		f.cut()
		f.put("/gslb-live/rtt/fra1/web", "2")
		<-l.updates
		l.expect(map[string]string{"rtt/fra1/web": "2"})
		for _, said := range []string{`"live keys found"`, `"live keys lost" reason=`, `"live keys regained"`, `"registry lost" reason=`} {
			if n := strings.Count(l.log.String(), "msg="+said); n != 1 {
				t.Errorf("%s is said %d times:\n%s", said, n, &l.log)
			}
		}
		for name, n := range l.etcd.Stats().Reads {
			if want := map[string]int64{"start": 1, "lost": 1}[name]; n != want {
				t.Errorf("%d reads for %s, expected %d", n, name, want)
			}
		}
	})
}
