package check

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"meridian/health"
)

// partsOf makes checks a and b of an address, and the whole of them.
func partsOf(t *testing.T, c health.Check) (whole health.Target, a, b health.Target) {
	t.Helper()
	if err := c.Complete(); err != nil {
		t.Fatal(err)
	}
	every := tcpCheck(time.Second, 0)
	part := func(name string) health.Target {
		return health.Target{TargetID: health.TargetID{Check: name, Addr: id(1).Addr}, Spec: every}
	}
	a, b = part("a"), part("b")
	return health.Target{TargetID: health.TargetID{Check: "both", Addr: id(1).Addr}, Spec: &c, Parts: []health.Target{a, b}}, a, b
}

func TestWhole(t *testing.T) {
	tests := []struct {
		name  string
		check health.Check
		// what is reported when all are well, when b fails, when both do
		well, one, none health.Report
	}{
		{"all", health.Check{All: []string{"a", "b"}},
			health.Report{State: health.Up},
			health.Report{State: health.Down, Reason: "b: connection refused"},
			health.Report{State: health.Down, Reason: "a: connection refused; b: connection refused"}},
		{"any", health.Check{Any: []string{"a", "b"}},
			health.Report{State: health.Up},
			health.Report{},
			health.Report{State: health.Down, Reason: "a: connection refused; b: connection refused"}},
		{"all, inverted", health.Check{All: []string{"a", "b"}, Invert: true},
			health.Report{State: health.Down, Reason: "the check succeeds, which it is not to (invert)"},
			health.Report{State: health.Up},
			health.Report{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			run(t, func(r *Runner, backend *fake, _ *bytes.Buffer) {
				both, a, b := partsOf(t, test.check)
				want := func(report health.Report) {
					t.Helper()
					if report == (health.Report{}) {
						wantReports(t, r)
						return
					}
					report.TargetID = both.TargetID
					wantReports(t, r, report)
				}
				r.Set([]health.Target{both})
				sleep(10 * time.Second)
				want(test.well)
				backend.answers(b.TargetID, refuses)
				sleep(10 * time.Second)
				want(test.one)
				backend.answers(a.TargetID, refuses)
				sleep(10 * time.Second)
				want(test.none)
				if got, want := r.Stats().Targets, [3]int{health.Down: 2}; got != want { // what is looked at
					t.Errorf("targets by state %v, want %v", got, want)
				}

				// What is asked for itself is reported itself, and looked at once.
				before := len(backend.looks(a.TargetID))
				r.Set([]health.Target{both, a})
				backend.answers(a.TargetID, nil)
				sleep(10 * time.Second)
				found := false
				for _, report := range r.Take() {
					found = found || report == health.Report{TargetID: a.TargetID, State: health.Up}
				}
				if n := len(backend.looks(a.TargetID)) - before; !found || n > 12 {
					t.Errorf("reported = %t, %d looks in 10s", found, n)
				}
				r.Set(nil)
				sleep(10 * time.Second)
				wantReports(t, r)
				if got := r.Stats().Targets; got != [3]int{} {
					t.Errorf("targets by state %v when all are gone", got)
				}
			})
		})
	}
}

// A state that is known from before stays until the parts say something else.
func TestWholeKnownState(t *testing.T) {
	run(t, func(r *Runner, backend *fake, _ *bytes.Buffer) {
		both, a, b := partsOf(t, health.Check{All: []string{"a", "b"}})
		both.State = health.Up
		backend.answers(a.TargetID, func(context.Context, *target) error { return &unableError{"not here"} })
		r.Set([]health.Target{both})
		sleep(10 * time.Second)
		if got := r.Take(); len(got) > 1 || len(got) == 1 && got[0].State != health.Up {
			t.Errorf("reports %v, want that it is up", got)
		}
		backend.answers(b.TargetID, refuses)
		sleep(10 * time.Second)
		wantReports(t, r, health.Report{TargetID: both.TargetID, State: health.Down, Reason: "a: not here; b: connection refused"})
	})
}

// Of a part that is not there nothing is known, and the rest is looked at.
func TestWholeWithoutPart(t *testing.T) {
	run(t, func(r *Runner, backend *fake, _ *bytes.Buffer) {
		both, a, _ := partsOf(t, health.Check{All: []string{"a", "b"}})
		both.Parts[1].Spec = nil
		r.Set([]health.Target{both})
		sleep(10 * time.Second)
		wantReports(t, r, health.Report{TargetID: both.TargetID, Reason: "b: there is no such check, or it is made of others itself"})
		backend.answers(a.TargetID, refuses)
		sleep(10 * time.Second)
		wantReports(t, r, health.Report{TargetID: both.TargetID, State: health.Down,
			Reason: "a: connection refused; b: there is no such check, or it is made of others itself"})
	})
}

// Each success is told with what it measured, of the target and of what it is a part of.
func TestMeasured(t *testing.T) {
	run(t, func(r *Runner, backend *fake, _ *bytes.Buffer) {
		both, a, b := partsOf(t, health.Check{Any: []string{"a", "b"}})
		var mu sync.Mutex
		var told []health.Report
		r.measured = func(report health.Report) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, report)
		}
		half, full := 0.5, 1.0
		backend.answers(a.TargetID, func(_ context.Context, t *target) error {
			t.seen.rtt, t.seen.load = 20*time.Millisecond, &full
			return nil
		})
		backend.answers(b.TargetID, func(_ context.Context, t *target) error {
			t.seen.rtt, t.seen.load = 10*time.Millisecond, &half
			return nil
		})
		r.Set([]health.Target{both, a})
		sleep(10 * time.Second)
		of := map[health.TargetID]int{}
		last := map[health.TargetID]health.Report{}
		for _, report := range told {
			of[report.TargetID]++
			last[report.TargetID] = report
		}
		looks := len(backend.looks(a.TargetID))
		if of[a.TargetID] != looks || of[both.TargetID] != looks+len(backend.looks(b.TargetID)) || of[b.TargetID] != 0 {
			t.Errorf("told %v, looked at a %d and b %d times", of, looks, len(backend.looks(b.TargetID)))
		}
		if got := last[a.TargetID]; got.RTT != 20*time.Millisecond || *got.Load != full || got.State != health.Up {
			t.Errorf("of a: %+v", got)
		}
		if got := last[both.TargetID]; got.RTT != 10*time.Millisecond || *got.Load != full {
			t.Errorf("of both: %+v", got)
		}
		told = nil
		backend.answers(a.TargetID, refuses)
		backend.answers(b.TargetID, refuses)
		sleep(10 * time.Second)
		if len(told) > 0 {
			t.Errorf("failures told: %v", told)
		}
	})
}

// A warning is told when it comes, when it changes and when it goes, and takes nothing down.
func TestWarning(t *testing.T) {
	run(t, func(r *Runner, backend *fake, logged *bytes.Buffer) {
		a := id(1)
		warns := func(text string) prober {
			return func(_ context.Context, t *target) error { t.seen.warning = text; return nil }
		}
		backend.answers(a, warns(""))
		r.Set(targets(tcpCheck(time.Second, 0), a))
		sleep(10 * time.Second)
		wantReports(t, r, health.Report{TargetID: a, State: health.Up})
		logged.Reset()
		for _, text := range []string{"certificate expires soon", "certificate expires sooner", ""} {
			backend.answers(a, warns(text))
			sleep(10 * time.Second)
			wantReports(t, r, health.Report{TargetID: a, State: health.Up, Warning: text})
		}
		want := `level=WARN msg="check warns" check=web addr=192.0.0.1:80 warning="certificate expires soon"
level=WARN msg="check warns" check=web addr=192.0.0.1:80 warning="certificate expires sooner"
`
		if got := logged.String(); got != want {
			t.Errorf("logged:\n%swant:\n%s", got, want)
		}
	})
}

// Where this checker cannot look, nothing is known, whatever was.
func TestUnable(t *testing.T) {
	for _, known := range []health.State{health.Unknown, health.Up, health.Down} {
		run(t, func(r *Runner, backend *fake, _ *bytes.Buffer) {
			a := id(1)
			unable := func(context.Context, *target) error { return &unableError{"not checked from here"} }
			backend.answers(a, unable)
			want := health.Report{TargetID: a, Reason: "not checked from here"}
			r.Set([]health.Target{{TargetID: a, Spec: tcpCheck(10*time.Second, time.Second), State: known}})
			sleep(joinPace)
			wantReports(t, r, want)
			sleep(100 * time.Second)
			wantReports(t, r)
			if n := len(backend.looks(a)); n != 11 {
				t.Errorf("known %v: %d looks in 100s, want 11", known, n)
			}
			if got := r.Stats(); got.Targets != [3]int{1} || got.Void != 11 {
				t.Errorf("known %v: %+v", known, got)
			}
			backend.answers(a, nil)
			sleep(20 * time.Second)
			wantReports(t, r, health.Report{TargetID: a, State: health.Up})
			backend.answers(a, unable)
			sleep(20 * time.Second)
			wantReports(t, r, want)
		})
	}
}

// After the first failure there is a second look soon, once, and its place in the interval stays.
func TestSecondLook(t *testing.T) {
	tests := []struct{ interval, second time.Duration }{
		{10 * time.Second, time.Second},
		{time.Second, 250 * time.Millisecond},
		{100 * time.Millisecond, 25 * time.Millisecond},
	}
	for _, test := range tests {
		t.Run(test.interval.String(), func(t *testing.T) {
			run(t, func(r *Runner, backend *fake, _ *bytes.Buffer) {
				a := id(1)
				r.Set(targets(tcpCheck(test.interval, test.interval), a))
				sleep(10 * test.interval)
				wantReports(t, r, health.Report{TargetID: a, State: health.Up})
				n := len(backend.looks(a))
				last := backend.looks(a)[n-1]
				const takesIt = 10 * time.Millisecond
				backend.answers(a, takes(takesIt, errors.New("connection refused")))
				sleep(2*test.interval + test.second + takesIt)
				looks := backend.looks(a)
				want := []time.Duration{test.interval, test.interval + takesIt + test.second, 2 * test.interval, 3 * test.interval}
				for i := range want {
					if got := backend.looks(a); i < len(got)-n && got[n+i].Sub(last) != want[i] {
						t.Errorf("look %d after %v, want %v", i, got[n+i].Sub(last), want[i])
					}
				}
				if len(looks) < n+3 {
					t.Fatalf("%d looks, want 3", len(looks)-n)
				}
				wantReports(t, r, health.Report{TargetID: a, State: health.Down, Reason: "connection refused"})
			})
		})
	}
}

// A target that hangs for all of its interval leaves no room for a second look beside the next.
func TestSecondLookWithoutRoom(t *testing.T) {
	run(t, func(r *Runner, backend *fake, _ *bytes.Buffer) {
		a := id(1)
		r.Set(targets(tcpCheck(time.Second, time.Second), a))
		sleep(10 * time.Second)
		backend.answers(a, hangs)
		n := len(backend.looks(a))
		sleep(10 * time.Second)
		looks := backend.looks(a)[n:]
		for i := 1; i < len(looks); i++ {
			if d := looks[i].Sub(looks[i-1]); d != time.Second {
				t.Errorf("look %d follows after %v, want 1s", i, d)
			}
		}
	})
}

// A target that flaps is not looked at a second time whenever it fails.
func TestSecondLookOnce(t *testing.T) {
	run(t, func(r *Runner, backend *fake, _ *bytes.Buffer) {
		a := id(1)
		c := tcpCheck(10*time.Second, time.Second)
		c.Rise, c.Fall = 100, 100
		backend.answers(a, refuses)
		r.Set([]health.Target{{TargetID: a, Spec: c, State: health.Unknown}})
		backend.answers(a, nil)
		sleep(200 * time.Second) // up by then
		if got := r.Stats().Targets; got != [3]int{health.Up: 1} {
			t.Fatalf("targets by state %v", got)
		}
		i := 0
		backend.answers(a, func(context.Context, *target) error {
			if i++; i%2 == 0 {
				return nil
			}
			return errors.New("connection refused")
		})
		n := len(backend.looks(a))
		sleep(300 * time.Second)
		if got := len(backend.looks(a)) - n; got < 30 || got > 32 {
			t.Errorf("%d looks in 30 intervals, want one each and one more", got)
		}
	})
}
