package store

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"meridian/health"
)

// tiered is a pool of three tiers.
func tiered(failback string) map[string]string {
	return map[string]string{
		"zone/example.com/soa": `{"ns":["ns1"]}`, "zone/example.com/name/a/steer": `{"pool":"web"}`, "check/http": `{"http":{}}`,
		"pool/web/policy":   `{"steps":["up",{"tier":{"failback":"` + failback + `"}},"weighted",{"take":{"n":1}}],"check":"http"}`,
		"pool/web/member/a": "192.0.2.1", "pool/web/member/b": `{"addr":["192.0.2.2"],"tier":2}`, "pool/web/member/c": `{"addr":["192.0.2.3"],"tier":3}`,
	}
}

// latching is a server whose latches are watched.
type latching struct {
	*running
	t *testing.T

	mu      sync.Mutex
	written []string // what was asked to be written, each time
}

func runLatching(t *testing.T, img *Image, keys map[string]string) *latching {
	l := &latching{running: runApplier(t, img, nil), t: t}
	l.SetLatches = func(list map[string]health.Latch) {
		var said []string
		for _, key := range slices.Sorted(maps.Keys(list)) {
			said = append(said, fmt.Sprintf("%s %d since %v", key, list[key].Tier, list[key].Since.Sub(l.start.UTC().Truncate(time.Second))))
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.written = append(l.written, strings.Join(said, ", "))
	}
	if keys != nil {
		l.send(all(7, keys))
	}
	return l
}

// change is of one key; "" deletes it.
func (l *latching) change(revision int64, key, value string) {
	l.t.Helper()
	l.send(Update{Revision: revision, Cluster: 1, Entries: []Entry{{Key: key, Value: []byte(value), Deleted: value == "", Revision: revision}}})
}

// expect says at which tier failback is held, and what was asked to be written since the last time.
func (l *latching) expect(when string, tier uint16, written ...string) {
	l.t.Helper()
	if got := l.registry.pools["web"].compiled.Latch(); got != tier {
		l.t.Errorf("%s: held at tier %d, expected %d", when, got, tier)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Equal(l.written, written) {
		l.t.Errorf("%s: to be written %q, expected %q", when, l.written, written)
	}
	l.written = nil
}

const first, second, third = "192.0.2.1", "192.0.2.2", "192.0.2.3"

func TestLatchManual(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := runLatching(t, nil, tiered("manual"))
		l.report(health.Up, third)
		l.expect("others are not known yet", 0)
		l.report(health.Up, first, second)
		l.expect("all are up", 0)
		after(time.Minute)
		l.reports = []health.Report{{TargetID: targetAt(first), State: health.Down}, {TargetID: targetAt(second), State: health.Down}}
		l.report(health.Up, second)
		l.expect("a is down, and b was for a moment that nobody saw", 2, "latch/web 2 since 1m0s")
		l.report(health.Up, first)
		l.expect("a is up again", 2)
		l.change(8, "pool/web/member/d", "192.0.2.4")
		l.expect("the pool is compiled anew, and the key is not there yet", 2)
		l.change(9, "latch/web", `{"tier":2,"by":"another"}`)
		l.expect("the key is there", 2, "")
		l.change(10, "pool/web/member/d", "")
		l.expect("the pool is compiled anew", 2)

		l.report(health.Down, first, second)
		l.expect("b is down too", 3, "latch/web 3 since 1m0s")
		l.change(11, "latch/web", `{"tier":3}`)
		l.report(health.Up, second)
		l.expect("b is up again", 3, "")
		l.change(12, "latch/web", `{"tier":2}`)
		l.expect("a person goes half of the way back", 2)
		l.change(13, "latch/web", "")
		l.expect("a person lifts it while a is still down", 2, "latch/web 2 since 1m0s")
		l.change(14, "latch/web", `{"tier":2}`)
		l.report(health.Up, first)
		l.expect("a is up again", 2, "")
		l.change(15, "latch/web", "")
		l.expect("a person lifts it", 0)

		l.change(16, "latch/web", `{"tier":2}`)
		l.report(health.Down, first, second)
		l.expect("higher than the key says", 3, "latch/web 3 since 1m0s")
		l.report(health.Up, first, second)
		l.change(17, "latch/web", "")
		l.expect("a person lifts it before that is written", 0, "")
	})
}

func targetAt(addr string) health.TargetID {
	return health.TargetID{Check: "http", Addr: netip.MustParseAddrPort(addr + ":80")}
}

// What a server holds while etcd is away it has written when that is back; a person who has lifted it meanwhile
// is obeyed.
func TestLatchEtcdAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := tiered("manual")
		l := runLatching(t, nil, keys)
		l.report(health.Up, second)
		l.report(health.Down, first)
		l.expect("a is down", 2, "latch/web 2 since 0s")
		l.report(health.Up, first)
		l.send(all(7, keys))
		l.expect("all is read again, the key is not there", 2, "latch/web 2 since 0s")
		keys["latch/web"] = `{"tier":2}`
		l.send(all(8, keys))
		l.expect("the key is there", 2, "")
		delete(keys, "latch/web")
		l.send(all(9, keys))
		l.expect("lifted meanwhile", 0)
	})
}

// A pool that is deleted, and served on, is held where it was, and its loads stay.
func TestLatchDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := tiered("manual")
		l := runLatching(t, nil, keys)
		l.report(health.Up, first, second, third)
		l.live <- liveKeys(8, "load/web/a", `{"load":0.5}`)
		l.report(health.Down, first)
		l.expect("a is down", 2, "latch/web 2 since 0s")
		u := Update{Revision: 9, Cluster: 1}
		for key := range keys {
			if strings.HasPrefix(key, "pool/web/") {
				u.Entries = append(u.Entries, Entry{Key: key, Deleted: true, Revision: 9})
			}
		}
		l.send(u)
		l.report(health.Up, first)
		l.expect("the pool is deleted, and a up again", 2)
		if load, ok := l.registry.pools["web"].compiled.Health(0).Load(); !ok || load != 0.5 {
			t.Errorf("load %v, %v, expected 0.5", load, ok)
		}
	})
}

func TestLatchForATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := runLatching(t, nil, tiered("5m"))
		l.report(health.Up, third)
		l.report(health.Down, first, second)
		l.expect("a and b are down", 3, "")
		after(10 * time.Minute)
		l.report(health.Up, second)
		after(4 * time.Minute)
		l.report(health.Up, first)
		l.expect("b was up for 4m", 3)
		after(time.Minute + time.Second)
		l.expect("b was up for 5m, a for 1m", 2, "")
		l.report(health.Down, first)
		l.report(health.Up, first)
		after(4*time.Minute + 58*time.Second)
		l.change(8, "pool/web/member/d", `{"addr":["192.0.2.4"],"tier":2}`)
		l.expect("a was down for a moment since", 2)
		after(3 * time.Second)
		l.expect("a was up for 5m without a break", 0, "")
		l.report(health.Down, first)
		l.expect("a is down again", 2, "")
		l.change(9, "pool/web/policy", strings.Replace(tiered("manual")["pool/web/policy"], "5m", "manual", 1))
		l.expect("failback is manual now", 2)
		l.change(10, "pool/web/policy", `{"policy":"failover","check":"http"}`)
		l.expect("failback is automatic now", 0, "")
	})
}

// A server started anew holds what it held; of what a key said, the key decides.
func TestLatchInImage(t *testing.T) {
	for _, failback := range []string{"manual", "5m"} {
		synctest.Test(t, func(t *testing.T) {
			keys := tiered(failback)
			was := runLatching(t, nil, keys)
			was.report(health.Up, second, third)
			was.report(health.Down, first)
			was.report(health.Up, first)
			img := was.Image(context.Background())
			was.cancel()
			synctest.Wait()

			l := runLatching(t, img, nil)
			l.ServeImage()
			if tier := l.registry.pools["web"].compiled.Latch(); tier != 2 {
				t.Errorf("%s: held at tier %d", failback, tier)
			}
			l.send(all(8, keys))
			after(time.Second)
			if tier := l.registry.pools["web"].compiled.Latch(); tier != 2 {
				t.Errorf("%s, etcd is back: held at tier %d", failback, tier)
			}
			if manual := failback == "manual"; slices.Contains(l.written, "latch/web 2 since 0s") != manual {
				t.Errorf("%s: to be written %q", failback, l.written)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		keys := tiered("manual")
		keys["latch/web"] = `{"tier":2}`
		l := runLatching(t, imageServing(7, keys, true), nil)
		l.ServeImage()
		if tier := l.registry.pools["web"].compiled.Latch(); tier != 2 {
			t.Errorf("held at tier %d", tier)
		}
		delete(keys, "latch/web")
		l.send(all(8, keys))
		l.expect("lifted while the server was down", 0)
	})
}

// A latch that does nothing is reported for as long as that is so.
func TestLatchIdle(t *testing.T) {
	keys := tiered("auto")
	keys["latch/web"] = `{"tier":2}`
	r := NewRegistry(slog.New(slog.DiscardHandler))
	r.Apply(all(1, keys))
	want := "it does nothing: pool/web has no step tier whose failback is manual or a time"
	if f := r.Faults(); len(f) != 1 || f[0].Key != "latch/web" || f[0].Error != want || f[0].Revision != 1 {
		t.Errorf("faults %v, expected %s", f, want)
	}
	for i, value := range []string{tiered("manual")["pool/web/policy"], tiered("auto")["pool/web/policy"]} {
		r.Apply(Update{Revision: 2, Cluster: 1, Entries: []Entry{{Key: "pool/web/policy", Value: []byte(value), Revision: int64(2 + i)}}})
		if f := r.Faults(); len(f) != i {
			t.Errorf("%s: faults %v", value, f)
		}
	}
	r.Apply(Update{Revision: 4, Cluster: 1, Entries: []Entry{{Key: "latch/web", Deleted: true, Revision: 4}}})
	if f := r.Faults(); len(f) != 0 {
		t.Errorf("deleted: faults %v", f)
	}
}

func TestLatchYields(t *testing.T) {
	for _, tt := range []struct {
		there, to string
		want      bool
	}{
		{`{"tier":1}`, `{"tier":2}`, true},
		{`{"tier":2}`, `{"tier":2}`, false},
		{`{"tier":3}`, `{"tier":2}`, false},
		{`{"teir":1}`, `{"tier":2}`, false},
		{`{"tier":0}`, `{"tier":2}`, false},
		{``, `{"tier":2}`, false},
	} {
		if got := LatchYields([]byte(tt.there), []byte(tt.to)); got != tt.want {
			t.Errorf("%s to %s: %v", tt.there, tt.to, got)
		}
	}
}
