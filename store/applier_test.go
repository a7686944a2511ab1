package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"meridian/health"
)

// running is an applier that runs in a synctest bubble, where time passes when nothing else happens.
type running struct {
	*Applier
	updates  chan Update
	checked  chan struct{}
	reports  []health.Report
	statuses []Status
	targets  [][]health.Target
	faults   [][]Fault
	start    time.Time
	cancel   func()
	ctx      context.Context
}

// runApplier runs an applier with an image, which may be nil, until the test ends. Its goroutines must end
// then: synctest sees to that.
func runApplier(t *testing.T, img *Image, earlier func(ctx context.Context, key string, before int64) (Entry, bool, error), change ...func(*Applier)) *running {
	r := &running{Applier: NewApplier(slog.New(slog.NewTextHandler(io.Discard, nil))), updates: make(chan Update), checked: make(chan struct{}, 1), start: time.Now()}
	r.SetStatus = func(s Status) { r.statuses = append(r.statuses, s) }
	r.SetTargets = func(list []health.Target) { r.targets = append(r.targets, list) }
	r.SetFaults = func(list []Fault) { r.faults = append(r.faults, list) }
	r.Earlier = earlier
	for _, c := range change {
		c(r.Applier)
	}
	if img != nil {
		r.Restore(img)
	}
	r.ctx, r.cancel = context.WithCancel(t.Context())
	t.Cleanup(r.cancel)
	go r.Run(r.ctx, r.updates, r.checked, func() []health.Report {
		taken := r.reports
		r.reports = nil
		return taken
	})
	return r
}

// after lets time pass, and all that follows from it happen.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (r *running) send(u Update) {
	r.updates <- u
	synctest.Wait()
}

// report tells that addresses at port 80 have a state, by the check "http".
func (r *running) report(state health.State, addrs ...string) {
	for _, addr := range addrs {
		id := health.TargetID{Check: "http", Addr: netip.AddrPortFrom(netip.MustParseAddr(addr), 80)}
		r.reports = append(r.reports, health.Report{TargetID: id, State: state})
	}
	r.checked <- struct{}{}
	synctest.Wait()
}

func (r *running) isReady() bool {
	ok, _ := r.Ready()
	return ok
}

// all is everything there is, of cluster 1.
func all(revision int64, keys map[string]string) Update {
	u := Update{Revision: revision, Cluster: 1, Full: true}
	for k, v := range keys {
		u.Entries = append(u.Entries, Entry{Key: k, Value: []byte(v), Revision: revision})
	}
	return u
}

var checkedPool = map[string]string{
	"zone/example.com/soa": `{"ns":["ns1"]}`, "zone/example.com/name/a/steer": `{"pool":"p"}`, "check/http": `{"http":{}}`,
	"pool/p/policy": `{"check":"http"}`, "pool/p/member/m": "192.0.2.1", "pool/p/member/n": "192.0.2.2",
}

// imageServing is the disk image of a server that serves these keys; known says that both members are up.
func imageServing(revision int64, keys map[string]string, known bool) *Image {
	r := NewRegistry(slog.New(slog.DiscardHandler))
	r.Apply(all(revision, keys))
	if known {
		for id := range r.targets.byID {
			r.targets.report(health.Report{TargetID: id, State: health.Up})
		}
	}
	return r.Image()
}

func TestApplierServesImage(t *testing.T) {
	t.Run("etcd is silent", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := runApplier(t, imageServing(7, checkedPool, true), nil)
			after(Patience - 1)
			if _, why := r.Ready(); r.Snapshot.Load() != nil || why != "the registry has not been read yet" {
				t.Errorf("too early: served %v, %s", r.Snapshot.Load() != nil, why)
			}
			after(1)
			if s := r.Snapshot.Load(); s == nil || s.Revision != 7 || !r.isReady() || !r.Status().Image || !r.Status().Ready {
				t.Fatalf("not served, or not ready: %+v", r.Status())
			}
			if len(r.targets) != 1 || len(r.targets[0]) != 2 || r.targets[0][0].State != health.Unknown {
				t.Errorf("checked: %v", r.targets)
			}
			r.send(all(9, checkedPool))
			if s := r.Snapshot.Load(); s.Revision != 9 || r.Status().Image {
				t.Errorf("etcd is back: revision %d, %+v", s.Revision, r.Status())
			}
		})
	})
	t.Run("etcd answers", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := runApplier(t, imageServing(7, checkedPool, true), nil)
			after(Patience - 1)
			r.send(all(9, checkedPool))
			after(time.Second)
			for _, s := range r.statuses {
				if s.Revision != 9 || s.Image {
					t.Errorf("was served: %+v", s)
				}
			}
			r.ServeImage()
			if s := r.Snapshot.Load(); s.Revision != 9 {
				t.Errorf("back to revision %d", s.Revision)
			}
		})
	})
	t.Run("etcd is not obeyed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := runApplier(t, imageServing(7, checkedPool, true), nil)
			r.send(all(9, nil))
			if s := r.Snapshot.Load(); s == nil || s.Revision != 7 || !r.isReady() || !r.Status().Image || r.Status().Refused == "" {
				t.Errorf("status %+v", r.Status())
			}
		})
	})
	t.Run("before Run", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := NewApplier(slog.New(slog.DiscardHandler))
			a.ServeImage()
			if a.Snapshot.Load() != nil {
				t.Error("there is nothing to serve")
			}
			a.Restore(imageServing(7, checkedPool, false))
			a.ServeImage()
			if s := a.Snapshot.Load(); s == nil || s.Revision != 7 || a.Status().Revision != 0 {
				t.Fatalf("served %v", s)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go a.Run(ctx, make(chan Update), make(chan struct{}), nil)
			after(Patience)
			if a.Status().Revision != 7 || a.Status().Ready {
				t.Errorf("status %+v", a.Status())
			}
			after(firstRound)
			if !a.Status().Ready {
				t.Errorf("not ready after the first round: %+v", a.Status())
			}
		})
	})
}

// TestApplierReady: the first round of checks delays readiness by two seconds at most.
func TestApplierReady(t *testing.T) {
	for _, tt := range []struct {
		name string
		img  *Image
		do   func(r *running)
		want time.Duration
	}{
		{"checks say nothing", nil, func(r *running) { r.send(all(7, checkedPool)) }, firstRound},
		{"one says nothing", nil, func(r *running) { r.send(all(7, checkedPool)); r.report(health.Up, "192.0.2.1") }, firstRound},
		{"checks are done", nil, func(r *running) {
			r.send(all(7, checkedPool))
			after(time.Second / 2)
			r.report(health.Down, "192.0.2.1", "192.0.2.2")
		}, time.Second / 2},
		{"nothing is checked", nil, func(r *running) { r.send(all(7, other)) }, 0},
		{"nothing is there", nil, func(r *running) { r.send(all(7, nil)) }, 0},
		{"an image knows", imageServing(7, checkedPool, true), func(r *running) { r.send(all(8, checkedPool)) }, 0},
		{"an image does not", imageServing(7, checkedPool, false), func(r *running) { r.send(all(8, checkedPool)) }, firstRound},
		{"an image is all there is", imageServing(7, checkedPool, false), func(*running) {}, Patience + firstRound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := runApplier(t, tt.img, nil)
				tt.do(r)
				<-r.Settled()
				if took := time.Since(r.start); took != tt.want {
					t.Errorf("ready after %v, expected %v", took, tt.want)
				}
				synctest.Wait()
				if last := r.statuses[len(r.statuses)-1]; !last.Ready {
					t.Errorf("told: %+v", last)
				}
			})
		})
	}
}

// TestApplierAgain: an etcd that is not obeyed is looked at again, soon at first, and at once where there
// is cause.
func TestApplierAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runApplier(t, nil, nil)
		r.send(all(7, other))
		var asked []time.Duration
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			for {
				select {
				case <-r.Again():
					asked = append(asked, time.Since(r.start).Round(time.Second))
				case <-ctx.Done():
					return
				}
			}
		}()
		after(10 * time.Second)
		r.send(all(8, nil)) // refused at 10 s, and looked at by the tick of 11 s
		after(110 * time.Second)
		want := []time.Duration{12, 14, 18, 26, 42, 72, 102}
		for i := range want {
			want[i] *= time.Second
		}
		if !slices.Equal(asked, want) {
			t.Errorf("asked at %v, expected %v", asked, want)
		}
		r.send(all(9, other))
		after(time.Minute)
		if len(asked) != len(want) {
			t.Errorf("obeyed again, and asked at %v", asked)
		}
		r.send(all(10, nil))
		after(2500 * time.Millisecond)
		if len(asked) != len(want)+1 {
			t.Errorf("refused again, and asked at %v", asked)
		}
		cancel()
		synctest.Wait()
		r.send(Update{Revision: 11, Cluster: 1, Entries: []Entry{{Key: "site/fra", Value: []byte("{}"), Revision: 11}}})
		select {
		case <-r.Again():
		default:
			t.Error("a key is there again, and nobody looks")
		}
	})
}

// TestApplierFormer: what wrong keys said before is asked for once, and from value to value.
func TestApplierFormer(t *testing.T) {
	const key = "zone/example.com/name/a/A"
	history := map[int64]string{2: "192.0.2.1", 4: "x", 6: "y", 8: "z"} // by revision
	wrong := map[string]string{"zone/example.com/soa": `{"ns":["ns1"]}`, key: "z"}
	type question struct {
		key    string
		before int64
	}
	setup := func(t *testing.T, fail func(n int) bool) (r *running, asked *[]question) {
		asked = &[]question{}
		r = runApplier(t, nil, func(_ context.Context, k string, before int64) (Entry, bool, error) {
			*asked = append(*asked, question{k, before})
			if fail != nil && fail(len(*asked)) {
				return Entry{}, false, errors.New("etcd is out of reach")
			}
			for rev := before - 1; rev > 0; rev-- {
				if v, ok := history[rev]; ok {
					return Entry{Key: k, Value: []byte(v), Revision: rev}, true, nil
				}
			}
			return Entry{}, false, nil
		})
		r.send(all(8, wrong))
		return r, asked
	}
	answer := func(r *running) string {
		s := &scene{served: r.Snapshot.Load()}
		return strings.TrimSpace(s.ask("a.example.com", "A"))
	}
	const good = "found\na.example.com. 300 IN A 192.0.2.1"
	walk := []question{{key, 9}, {key, 8}, {key, 6}, {key, 4}, {key, 2}}

	t.Run("back to the good one", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r, asked := setup(t, nil)
			if got := answer(r); got != good || !r.isReady() {
				t.Errorf("got %s, ready %v", got, r.isReady())
			}
			if !slices.Equal(*asked, walk) {
				t.Errorf("asked %v, expected %v", *asked, walk)
			}
			r.send(all(8, wrong))
			if len(*asked) != len(walk) {
				t.Errorf("asked again: %v", *asked)
			}
		})
	})
	t.Run("never right", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			old := history[2]
			history[2] = "w"
			defer func() { history[2] = old }()
			r, asked := setup(t, nil)
			r.send(all(8, wrong))
			if got := answer(r); got != "servfail" || !slices.Equal(*asked, walk) {
				t.Errorf("got %s, asked %v", got, *asked)
			}
		})
	})
	for n := range walk {
		t.Run(fmt.Sprintf("question %d fails", n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, asked := setup(t, func(i int) bool { return i == n+1 })
				if len(*asked) != n+1 || !r.isReady() {
					t.Fatalf("asked %v, ready %v", *asked, r.isReady())
				}
				r.send(all(8, wrong))
				if got := answer(r); got != good {
					t.Errorf("when all is read again: %s", got)
				}
			})
		})
	}
	t.Run("what is written meanwhile counts", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			r := runApplier(t, nil, func(ctx context.Context, k string, before int64) (Entry, bool, error) {
				<-release
				if before == 9 {
					return Entry{Key: k, Value: []byte("z"), Revision: 8}, true, nil
				}
				return Entry{Key: k, Value: []byte("192.0.2.1"), Revision: 2}, before > 2, nil
			})
			r.send(all(8, wrong))
			if r.isReady() {
				t.Error("ready while former values are looked for")
			}
			r.send(Update{Revision: 9, Cluster: 1, Entries: []Entry{{Key: key, Value: []byte("192.0.2.9"), Revision: 9}}})
			close(release)
			synctest.Wait()
			if got := answer(r); got != "found\na.example.com. 300 IN A 192.0.2.9" {
				t.Errorf("got %s", got)
			}
		})
	})
	t.Run("etcd takes its time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := runApplier(t, nil, func(ctx context.Context, _ string, _ int64) (Entry, bool, error) {
				<-ctx.Done()
				return Entry{}, false, ctx.Err()
			})
			r.send(all(8, wrong))
			after(firstRound - 1)
			if r.isReady() {
				t.Error("ready too early")
			}
			after(1)
			if !r.isReady() {
				t.Error("not ready")
			}
		})
	})
	t.Run("not of an etcd that is not obeyed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := runApplier(t, imageServing(7, wrong, true), func(context.Context, string, int64) (Entry, bool, error) {
				t.Error("asked")
				return Entry{}, false, nil
			})
			r.registry.faults.set(&fault{Fault: Fault{Key: key, Revision: 7}, entry: Entry{Key: key, Revision: 7}})
			r.send(all(9, nil))
		})
	})
}

// TestApplierLapse: a member whose lease has ended goes when its check says down, or when it has lingered
// for long enough, without a change of the registry.
func TestApplierLapse(t *testing.T) {
	for _, tt := range []struct {
		name  string
		do    func(r *running)
		there bool
	}{
		{"up", func(r *running) { after(10*time.Minute - 2*time.Second) }, true},
		{"down", func(r *running) { r.report(health.Down, "192.0.2.1") }, false},
		{"for long", func(r *running) { after(10*time.Minute + time.Second) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := runApplier(t, nil, nil)
				r.send(all(7, checkedPool))
				r.report(health.Up, "192.0.2.1", "192.0.2.2")
				r.send(Update{Revision: 8, Cluster: 1, Entries: []Entry{{Key: "pool/p/member/m", Deleted: true, Expired: true, Lease: 3, Revision: 8}}})
				if n := r.Status().Unregistered; n != 1 {
					t.Fatalf("%d unregistered", n)
				}
				tt.do(r)
				pool := r.Snapshot.Load().Pools[0]
				if there := pool.Member("m") >= 0; there != tt.there || pool.Member("n") < 0 {
					t.Errorf("there: %v, expected %v; the other %d", there, tt.there, pool.Member("n"))
				}
				if n := r.Status().Unregistered; (n == 1) != tt.there || r.Status().Rejected != 0 {
					t.Errorf("status: %+v", r.Status())
				}
				if last := r.faults[len(r.faults)-1]; (len(last) == 1) != tt.there {
					t.Errorf("faults: %v", last)
				}
			})
		})
	}
}

// TestApplierLapseReported: a checker goes on to report a member whose lease has ended when it is down, for as long
// as it may linger.
func TestApplierLapseReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reported map[string]string
		r := runApplier(t, nil, nil, func(a *Applier) { a.SetReports = func(now map[string]string) { reported = now } })
		r.send(all(7, checkedPool))
		r.report(health.Up, "192.0.2.1", "192.0.2.2")
		r.send(Update{Revision: 8, Cluster: 1, Entries: []Entry{{Key: "pool/p/member/m", Deleted: true, Expired: true, Lease: 3, Revision: 8}}})
		r.report(health.Down, "192.0.2.1")
		after(2 * time.Second)
		if last := r.targets[len(r.targets)-1]; len(last) != 2 || !strings.Contains(reported["p"], `"m":{"192.0.2.1":{"state":"down"`) {
			t.Errorf("down: %d targets, reported %v", len(last), reported)
		}
		r.report(health.Up, "192.0.2.2")
		after(10 * time.Minute)
		if last := r.targets[len(r.targets)-1]; len(last) != 1 || strings.Contains(reported["p"], "192.0.2.1") {
			t.Errorf("after its time: %d targets, reported %v", len(last), reported)
		}
	})
}

// TestApplierTells: what others are to know they are told when it has changed, and not else.
func TestApplierTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runApplier(t, nil, nil)
		r.send(all(7, checkedPool))
		if len(r.targets) != 1 || len(r.faults) != 1 || len(r.faults[0]) != 0 || r.Status().Names != 2 || r.Status().Pools != 1 || r.Status().Zones != 1 || r.Status().Changed != 7 {
			t.Errorf("targets %v, faults %v, status %+v", r.targets, r.faults, r.Status())
		}
		put := func(revision int64, key, value string) {
			r.send(Update{Revision: revision, Cluster: 1, Entries: []Entry{{Key: key, Value: []byte(value), Revision: revision}}})
		}
		put(8, "zone/example.com/name/b/A", "192.0.2.1")
		if len(r.targets) != 1 || len(r.faults) != 1 || r.Status().Names != 3 || r.Status().Changed != 8 {
			t.Errorf("a name: targets %v, faults %v, status %+v", r.targets, r.faults, r.Status())
		}
		put(9, "zone/example.com/name/b/A", "x")
		put(10, "zone/example.com/name/c/steer", `{"pool":"late"}`)
		if len(r.faults) != 3 || r.Status().Rejected != 1 || r.Status().Pending != 1 || r.Stats().Rejected != 1 || r.Stats().Pending != 1 || r.Stats().Updates != 4 {
			t.Errorf("faults %v, status %+v", r.faults, r.Status())
		}
		put(11, "pool/p/member/o", "192.0.2.3")
		if len(r.targets) != 2 || len(r.targets[1]) != 3 {
			t.Errorf("targets %v", r.targets)
		}
		if last := r.statuses[len(r.statuses)-1]; !reflect.DeepEqual(last, r.Status()) || last.Revision != 11 {
			t.Errorf("told %+v", last)
		}
		select {
		case <-r.Changed():
		default:
			t.Error("nothing for an image")
		}
		r.report(health.Up, "192.0.2.1")
		select {
		case <-r.Changed():
		default:
			t.Error("health is nothing for an image")
		}
		r.report(health.Up)
		select {
		case <-r.Changed():
			t.Error("no report, and something for an image")
		default:
		}
	})
}

// TestApplierImage: an image can be had while it runs, and after.
func TestApplierImage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runApplier(t, nil, nil)
		if img := r.Image(r.ctx); img != nil {
			t.Errorf("before anything was read: %v", img)
		}
		r.send(all(7, checkedPool))
		r.report(health.Up, "192.0.2.1")
		if img := r.Image(r.ctx); img == nil || img.Revision != 7 || img.Cluster != 1 || len(img.Health) != 1 {
			t.Errorf("while it runs: %+v", img)
		}
		r.cancel()
		synctest.Wait()
		if img := r.Image(r.ctx); img != nil {
			t.Errorf("after its end: %+v", img)
		}
		if img := r.LastImage(); img == nil || img.Revision != 7 {
			t.Errorf("the last: %+v", img)
		}
	})
}
