package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"meridian/health"
	"meridian/spec"
)

// fake is a backend without a network: it notes when each look at each target began, and answers
// as told.
type fake struct {
	mu     sync.Mutex
	begun  map[health.TargetID][]time.Time
	now    map[health.TargetID]context.Context // of the latest look, until it ends
	answer map[health.TargetID]prober
	hedged bool // looks on a kept connection may have another beside them
}

func newFake() *fake {
	return &fake{
		begun:  map[health.TargetID][]time.Time{},
		now:    map[health.TargetID]context.Context{},
		answer: map[health.TargetID]prober{},
	}
}

// answers sets how id answers from now on; without it, it is well.
func (f *fake) answers(id health.TargetID, p prober) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer[id] = p
}

func (f *fake) prober(*health.Check) prober {
	return func(ctx context.Context, t *target) error {
		f.mu.Lock()
		f.begun[t.TargetID] = append(f.begun[t.TargetID], time.Now())
		other := f.now[t.TargetID]
		f.now[t.TargetID] = ctx
		answer := f.answer[t.TargetID]
		f.mu.Unlock()
		defer func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.now[t.TargetID] == ctx {
				delete(f.now, t.TargetID)
			}
		}()
		if other != nil && other.Err() == nil && !f.hedged {
			panic(fmt.Sprintf("%v is looked at twice at once", t.TargetID))
		}
		if answer == nil {
			return nil
		}
		return answer(ctx, t)
	}
}

func (f *fake) looks(id health.TargetID) []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]time.Time(nil), f.begun[id]...)
}

func refuses(context.Context, *target) error { return errors.New("connection refused") }

func hangs(ctx context.Context, _ *target) error {
	<-ctx.Done()
	return ctx.Err()
}

// takes answers like p, but d later.
func takes(d time.Duration, err error) prober {
	return func(ctx context.Context, _ *target) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(d):
			return err
		}
	}
}

func id(n int) health.TargetID {
	addr := netip.AddrFrom4([4]byte{192, 0, byte(n >> 8), byte(n)})
	return health.TargetID{Check: "web", Addr: netip.AddrPortFrom(addr, 80)}
}

// tcpCheck of rise 2 and fall 3.
func tcpCheck(interval, timeout time.Duration) *health.Check {
	c := &health.Check{TCP: &health.TCP{}, Interval: spec.Duration(interval), Timeout: spec.Duration(timeout)}
	if err := c.Complete(); err != nil {
		panic(err)
	}
	return c
}

func targets(c *health.Check, ids ...health.TargetID) []health.Target {
	var ts []health.Target
	for _, id := range ids {
		ts = append(ts, health.Target{TargetID: id, Spec: c})
	}
	return ts
}

// known are the targets, of which that is known.
func known(s health.State, ts []health.Target) []health.Target {
	for i := range ts {
		ts[i].State = s
	}
	return ts
}

// run calls f with a Runner at work on a fake, in a bubble of its own time.
func run(t *testing.T, f func(r *Runner, backend *fake, logged *bytes.Buffer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		backend := newFake()
		var logged bytes.Buffer
		r := newRunner(slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			},
		})), backend.prober)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { r.Run(ctx) })
		f(r, backend, &logged)
		cancel()
		running.Wait()
	})
}

// sleep lets d pass and all that falls into it happen.
func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func wantReports(t *testing.T, r *Runner, want ...health.Report) {
	t.Helper()
	got := r.Take()
	if len(got) == len(want) && (len(got) == 0 || reflect.DeepEqual(got, want)) {
		return
	}
	t.Errorf("reports %v, want %v", got, want)
}

func TestNewTargetSettlesFast(t *testing.T) {
	tests := []struct {
		interval, gap time.Duration
	}{
		{100 * time.Millisecond, 20 * time.Millisecond},
		{2 * time.Second, 200 * time.Millisecond},
		{10 * time.Second, time.Second},
		{time.Hour, time.Second},
	}
	for _, test := range tests {
		t.Run(test.interval.String(), func(t *testing.T) {
			run(t, func(r *Runner, backend *fake, _ *bytes.Buffer) {
				a := id(1)
				backend.answers(a, refuses)
				start := time.Now()
				r.Set(targets(tcpCheck(test.interval, 0), a))
				sleep(2*test.gap - 1)
				wantReports(t, r, health.Report{TargetID: a, Reason: "connection refused"})
				sleep(joinPace + 1)
				wantReports(t, r, health.Report{TargetID: a, State: health.Down, Reason: "connection refused"})
				looks := backend.looks(a)
				if len(looks) < 3 {
					t.Fatalf("%d looks, want 3", len(looks))
				}
				if d := looks[0].Sub(start); d > joinPace {
					t.Errorf("first look after %v, want at once", d)
				}
				for i := 1; i < 3; i++ {
					if d := looks[i].Sub(looks[i-1]); d != test.gap {
						t.Errorf("look %d follows after %v, want %v", i, d, test.gap)
					}
				}
			})
		})
	}
}

func TestSettledTargetKeepsItsInterval(t *testing.T) {
	run(t, func(r *Runner, backend *fake, _ *bytes.Buffer) {
		a := id(1)
		r.Set(targets(tcpCheck(10*time.Second, time.Second), a))
		sleep(5 * time.Minute)
		looks := backend.looks(a)
		if d := looks[2].Sub(looks[1]); d > 10*time.Second {
			t.Errorf("first look after settling came after %v, want at most the interval", d)
		}
		backend.answers(a, takes(700*time.Millisecond, nil)) // which is not added to the interval
		sleep(5 * time.Minute)
		looks = backend.looks(a)
		if len(looks) < 60 {
			t.Errorf("%d looks in 10 minutes, want 60", len(looks))
		}
		for i := 3; i < len(looks); i++ {
			if d := looks[i].Sub(looks[i-1]); d != 10*time.Second {
				t.Errorf("look %d follows after %v, want 10s", i, d)
			}
		}
	})
}

func TestLooksAreSpread(t *testing.T) {
	const n = 4000
	run(t, func(r *Runner, backend *fake, _ *bytes.Buffer) {
		c := tcpCheck(10*time.Second, time.Second)
		var all []health.TargetID
		for i := range n {
			all = append(all, id(i))
		}
		start := time.Now()
		r.Set(targets(c, all...))
		spread := func(look int, from time.Time, over time.Duration) {
			t.Helper()
			var tenths [10]int
			for _, a := range all {
				at := backend.looks(a)[look].Sub(from)
				if at < 0 || at > over {
					t.Fatalf("look %d after %v, want within %v", look, at, over)
				}
				tenths[min(9, int(10*at/over))]++
			}
			for i, got := range tenths {
				if got < n/10*7/10 || got > n/10*13/10 { // six standard deviations and more
					t.Errorf("look %d: %d of %d targets in tenth %d of %v, want about a tenth", look, got, n, i, over)
				}
			}
		}
		sleep(2 * time.Second)
		spread(0, start, n*joinPace)
		sleep(20 * time.Second)
		// Two looks to settle, the third anywhere in the interval that follows.
		var tenths [10]int
		for _, a := range all {
			looks := backend.looks(a)
			tenths[min(9, looks[2].Sub(looks[1])/time.Second)]++
		}
		for i, got := range tenths {
			if got < n/10*7/10 || got > n/10*13/10 {
				t.Errorf("%d of %d targets in second %d after settling, want about a tenth", got, n, i)
			}
		}
		if got, want := r.Stats().Targets, [3]int{health.Up: n}; got != want {
			t.Errorf("targets by state %v, want %v", got, want)
		}
	})
}

// A process that stood still finds all targets due. It does not look at all of them at once.
func TestLooksAreSpreadAfterAPause(t *testing.T) {
	const n = 1000
	synctest.Test(t, func(t *testing.T) {
		backend := newFake()
		r := newRunner(slog.New(slog.DiscardHandler), backend.prober)
		var all []health.TargetID
		for i := range n {
			all = append(all, id(i))
		}
		r.Set(targets(tcpCheck(time.Second, 0), all...))
		time.Sleep(time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		start := time.Now()
		running.Go(func() { r.Run(ctx) })
		sleep(n * joinPace)
		at := map[time.Duration]int{}
		for _, a := range all {
			looks := backend.looks(a)
			if len(looks) == 0 {
				t.Fatalf("no look at %v within %v", a.Addr, n*joinPace)
			}
			at[looks[0].Sub(start)/(10*time.Millisecond)]++
		}
		for i, got := range at {
			if got > n/5 {
				t.Errorf("%d of %d targets within the same 10ms (%d)", got, n, i)
			}
		}
		cancel()
		running.Wait()
	})
}

func TestSlowTargetDelaysNoOther(t *testing.T) {
	run(t, func(r *Runner, backend *fake, _ *bytes.Buffer) {
		slow, well := id(1), id(2)
		backend.answers(slow, hangs)
		r.Set(targets(tcpCheck(time.Second, time.Second), slow, well))
		sleep(time.Minute)
		looks := backend.looks(well)
		for i := 3; i < len(looks); i++ {
			if d := looks[i].Sub(looks[i-1]); d != time.Second {
				t.Errorf("look %d at the target that is well follows after %v, want 1s", i, d)
			}
		}
		// The fake panics if the slow one is looked at twice at once; nor is it spared.
		looks = backend.looks(slow)
		if len(looks) < 59 {
			t.Errorf("%d looks at the slow target in a minute, want one a second", len(looks))
		}
		got := map[health.TargetID]health.Report{}
		for _, report := range r.Take() {
			got[report.TargetID] = report
		}
		want := map[health.TargetID]health.Report{
			slow: {TargetID: slow, State: health.Down, Reason: "timed out after 1s"},
			well: {TargetID: well, State: health.Up},
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("reports %v, want %v", got, want)
		}
	})
}

// Down within fall times the interval and the timeout, also for a target that hangs.
func TestDownInTime(t *testing.T) {
	for _, fault := range []prober{refuses, hangs} {
		run(t, func(r *Runner, backend *fake, _ *bytes.Buffer) {
			a := id(1)
			r.Set(targets(tcpCheck(2*time.Second, time.Second), a))
			sleep(time.Minute)
			wantReports(t, r, health.Report{TargetID: a, State: health.Up})
			looks := backend.looks(a)
			sleep(time.Until(looks[len(looks)-1].Add(2*time.Second - 1)))
			backend.answers(a, fault)
			sleep(3*2*time.Second + time.Second)
			if got := r.Take(); len(got) != 1 || got[0].State != health.Down {
				t.Errorf("reports %v, want that it is down", got)
			}
		})
	}
}

func TestReportsTransitionsOnly(t *testing.T) {
	run(t, func(r *Runner, backend *fake, logged *bytes.Buffer) {
		a := id(1)
		r.Set(targets(tcpCheck(time.Second, 0), a))
		<-r.Changed()
		wantReports(t, r, health.Report{TargetID: a, State: health.Up})
		sleep(10 * time.Second)
		wantReports(t, r)

		backend.answers(a, refuses)
		<-r.Changed()
		wantReports(t, r, health.Report{TargetID: a, State: health.Down, Reason: "connection refused"})
		backend.answers(a, takes(time.Millisecond, errors.New("status 503, expected 200")))
		sleep(10 * time.Second) // another reason for the same state is told, once, and not logged
		wantReports(t, r, health.Report{TargetID: a, State: health.Down, Reason: "status 503, expected 200"})
		sleep(10 * time.Second)
		wantReports(t, r)

		// What is not taken is the latest only.
		backend.answers(a, nil)
		sleep(10 * time.Second)
		backend.answers(a, hangs)
		sleep(10 * time.Second)
		wantReports(t, r, health.Report{TargetID: a, State: health.Down, Reason: "timed out after 1s"})

		want := strings.TrimLeft(`
level=INFO msg="check changed state" check=web addr=192.0.0.1:80 state=up reason=""
level=INFO msg="check changed state" check=web addr=192.0.0.1:80 state=down reason="connection refused"
level=INFO msg="check changed state" check=web addr=192.0.0.1:80 state=up reason=""
level=INFO msg="check changed state" check=web addr=192.0.0.1:80 state=down reason="timed out after 1s"
`, "\n")
		if got := logged.String(); got != want {
			t.Errorf("logged:\n%swant:\n%s", got, want)
		}
	})
}

func TestSetKeepsWhatStays(t *testing.T) {
	run(t, func(r *Runner, backend *fake, _ *bytes.Buffer) {
		c := tcpCheck(10*time.Second, time.Second)
		a, b := id(1), id(2)
		r.Set(targets(c, a))
		sleep(time.Minute)
		wantReports(t, r, health.Report{TargetID: a, State: health.Up})
		same := *c // equal, as a value decoded anew is
		for range 100 {
			sleep(300 * time.Millisecond)
			r.Set(known(health.Up, targets(c, a, b, a)))
			sleep(300 * time.Millisecond)
			r.Set(known(health.Up, targets(&same, b, a)))
		}
		looks := backend.looks(a)
		for i := 3; i < len(looks); i++ {
			if d := looks[i].Sub(looks[i-1]); d != 10*time.Second {
				t.Errorf("look %d follows after %v, want 10s whatever is set", i, d)
			}
		}
		if len(looks) < 12 {
			t.Errorf("%d looks in 2 minutes, want 12", len(looks))
		}
		wantReports(t, r)
		if got, want := r.Stats().Targets, [3]int{health.Up: 2}; got != want {
			t.Errorf("targets by state %v, want %v", got, want)
		}
	})
}

// What is known of a target is told again to who does not know it, or has not asked for it itself yet.
func TestSetForgotten(t *testing.T) {
	both, a, b := partsOf(t, health.Check{All: []string{"a", "b"}})
	quick := *a.Spec
	quick.Interval /= 2
	other := a
	other.Spec = &quick
	for _, tt := range []struct {
		name        string
		first, then []health.Target
		want        health.TargetID
	}{
		{"it is forgotten", []health.Target{a}, []health.Target{a}, a.TargetID},
		{"it is forgotten, and looked at otherwise", []health.Target{a}, []health.Target{other}, a.TargetID},
		{"it is made of others", []health.Target{both}, []health.Target{both}, both.TargetID},
		{"it was a part", []health.Target{both}, []health.Target{known(health.Up, []health.Target{both})[0], a}, a.TargetID},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run(t, func(r *Runner, backend *fake, _ *bytes.Buffer) {
				backend.answers(b.TargetID, nil)
				r.Set(tt.first)
				sleep(time.Minute)
				r.Take()
				r.Set(tt.then)
				wantReports(t, r, health.Report{TargetID: tt.want, State: health.Up})
				sleep(time.Minute)
				wantReports(t, r)
			})
		})
	}
}

// A state known from before is where a new target begins. Where it still holds, one look says so and
// the interval begins; where it does not, that is found out as fast as where nothing is known.
func TestSetKnownState(t *testing.T) {
	const interval, gap = 10 * time.Second, time.Second
	tests := []struct {
		name    string
		known   health.State
		answer  prober
		looks   int             // until it is settled, gap apart
		reports []health.Report // then
	}{
		{"up", health.Up, nil, 1, nil},
		{"up no more", health.Up, refuses, 3, []health.Report{{State: health.Down, Reason: "connection refused"}}},
		{"down", health.Down, refuses, 1, []health.Report{{State: health.Down, Reason: "connection refused"}}},
		{"down no more", health.Down, nil, 2, []health.Report{{State: health.Up}}},
		{"unknown", health.Unknown, nil, 2, []health.Report{{State: health.Up}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			run(t, func(r *Runner, backend *fake, _ *bytes.Buffer) {
				a, c := id(1), tcpCheck(interval, time.Second)
				for i := range test.reports {
					test.reports[i].TargetID = a
				}
				backend.answers(a, test.answer)
				start := time.Now()
				r.Set([]health.Target{{TargetID: a, Spec: c, State: test.known}})
				want := [3]int{}
				want[test.known] = 1
				if got := r.Stats().Targets; got != want {
					t.Errorf("targets by state %v at first, want %v", got, want)
				}
				sleep(joinPace)
				looks := backend.looks(a)
				if len(looks) != 1 || looks[0].Sub(start) > joinPace {
					t.Fatalf("looks %v, want one at once", looks)
				}
				sleep(time.Duration(test.looks-1) * gap)
				wantReports(t, r, test.reports...)
				settled := time.Now()
				sleep(100 * interval)
				wantReports(t, r)
				looks = backend.looks(a)
				for i := 1; i < test.looks; i++ {
					if d := looks[i].Sub(looks[i-1]); d != gap {
						t.Errorf("look %d follows after %v, want %v", i, d, gap)
					}
				}
				if n := len(looks) - test.looks; n != 100 && n != 101 {
					t.Errorf("%d looks in 100 intervals after %v", n, settled.Sub(start))
				}
				// What is known already is not told anew by who sets the targets.
				other := [...]health.State{health.Up: health.Down, health.Down: health.Up}
				was := r.Stats().Targets
				changed := *c
				changed.Interval *= 2
				for _, c := range []*health.Check{c, &changed} {
					for _, known := range []health.State{test.known, other[max(test.known, health.Up)]} {
						if known == health.Unknown {
							continue // see TestSetForgotten
						}
						r.Set([]health.Target{{TargetID: a, Spec: c, State: known}})
					}
				}
				sleep(100 * interval)
				if got := r.Stats().Targets; got != was {
					t.Errorf("targets by state %v after they were set again, want %v", got, was)
				}
				if len(test.reports) == 0 || test.reports[0].State == health.Up {
					wantReports(t, r)
				}
				r.Set(nil)
				if got := r.Stats().Targets; got != [3]int{} {
					t.Errorf("targets by state %v when all are gone", got)
				}
			})
		})
	}
}

// Targets whose state is known from before are spread over the interval as all others are, though
// their first looks come together.
func TestKnownStatesAreSpread(t *testing.T) {
	const n = 4000
	run(t, func(r *Runner, backend *fake, _ *bytes.Buffer) {
		c := tcpCheck(10*time.Second, time.Second)
		var all []health.Target
		for i := range n {
			all = append(all, health.Target{TargetID: id(i), Spec: c, State: health.Up})
		}
		r.Set(all)
		sleep(20 * time.Second)
		var tenths [10]int
		for _, target := range all {
			looks := backend.looks(target.TargetID)
			tenths[min(9, looks[1].Sub(looks[0])/time.Second)]++
		}
		for i, got := range tenths {
			if got < n/10*7/10 || got > n/10*13/10 {
				t.Errorf("%d of %d targets in second %d after the first look, want about a tenth", got, n, i)
			}
		}
	})
}

// A state that no look has borne out yet stays in doubt when its check becomes another.
func TestKnownStateChangedCheck(t *testing.T) {
	run(t, func(r *Runner, backend *fake, _ *bytes.Buffer) {
		a, c := id(1), tcpCheck(10*time.Second, time.Second)
		backend.answers(a, refuses)
		r.Set([]health.Target{{TargetID: a, Spec: c, State: health.Up}})
		sleep(joinPace)
		changed := *c
		changed.Timeout *= 2
		r.Set(targets(&changed, a))
		sleep(2 * time.Second)
		wantReports(t, r, health.Report{TargetID: a, State: health.Down, Reason: "connection refused"})
	})
}

// A look that this machine could not make bears nothing out.
func TestKnownStateVoidLook(t *testing.T) {
	for _, known := range []health.State{health.Up, health.Down} {
		run(t, func(r *Runner, backend *fake, _ *bytes.Buffer) {
			a := id(1)
			backend.answers(a, func(context.Context, *target) error { return &voidError{syscall.EMFILE} })
			r.Set([]health.Target{{TargetID: a, Spec: tcpCheck(10*time.Second, time.Second), State: known}})
			sleep(5*time.Second + joinPace)
			if got := len(backend.looks(a)); got != 6 {
				t.Errorf("%v: %d looks in 5s, want 6", known, got)
			}
			want := [3]int{}
			want[known] = 1
			if got := r.Stats().Targets; got != want {
				t.Errorf("targets by state %v, want %v", got, want)
			}
		})
	}
}

func TestSetDropsWhatLeft(t *testing.T) {
	run(t, func(r *Runner, backend *fake, _ *bytes.Buffer) {
		c := tcpCheck(time.Second, time.Second)
		c.Fall = 1
		queued, flying := id(1), id(2)
		r.Set(targets(c, queued, flying))
		sleep(10 * time.Second)
		r.Take()
		backend.answers(queued, refuses)
		backend.answers(flying, hangs)
		// Both have something to say, one of them is about to.
		for len(r.Take()) == 0 {
			sleep(time.Millisecond)
		}
		for r.Stats().InFlight == 0 {
			sleep(time.Millisecond)
		}
		backend.answers(queued, nil)
		sleep(500 * time.Millisecond)
		r.Set(nil)
		wantReports(t, r)
		synctest.Wait()
		if got, want := r.Stats().InFlight, 0; got != want {
			t.Errorf("%d looks in flight after their targets left, want %d", got, want)
		}
		before := len(backend.looks(queued)) + len(backend.looks(flying))
		sleep(time.Minute)
		if after := len(backend.looks(queued)) + len(backend.looks(flying)); after != before {
			t.Errorf("%d looks at targets that left", after-before)
		}
		wantReports(t, r)
		if got, want := r.Stats().Targets, [3]int{}; got != want {
			t.Errorf("targets by state %v, want %v", got, want)
		}

		// One that comes back is new.
		backend.answers(flying, nil)
		r.Set(targets(c, flying))
		if got, want := r.Stats().Targets, [3]int{health.Unknown: 1}; got != want {
			t.Errorf("targets by state %v, want %v", got, want)
		}
		sleep(time.Second)
		wantReports(t, r, health.Report{TargetID: flying, State: health.Up})
	})
}

func TestSetChangedCheck(t *testing.T) {
	run(t, func(r *Runner, backend *fake, _ *bytes.Buffer) {
		a := id(1)
		r.Set(targets(tcpCheck(time.Hour, time.Minute), a))
		sleep(time.Minute)
		wantReports(t, r, health.Report{TargetID: a, State: health.Up})

		// The shorter interval counts at once, the state stays.
		quick := tcpCheck(time.Second, time.Second)
		start := time.Now()
		r.Set(known(health.Up, targets(quick, a)))
		sleep(time.Minute)
		looks := backend.looks(a)[2:]
		if len(looks) < 59 || looks[0].Sub(start) > time.Second {
			t.Errorf("%d looks in a minute, want one a second", len(looks))
		}
		wantReports(t, r)
		if got, want := r.Stats().Targets, [3]int{health.Up: 1}; got != want {
			t.Errorf("targets by state %v, want %v", got, want)
		}

		// The failures so far stay too: two of three, then one by another check.
		backend.answers(a, refuses)
		failed := len(backend.looks(a))
		for len(backend.looks(a)) < failed+2 {
			sleep(10 * time.Millisecond)
		}
		wantReports(t, r)
		r.Set(known(health.Up, targets(tcpCheck(2*time.Second, time.Second), a)))
		for len(backend.looks(a)) < failed+3 {
			sleep(10 * time.Millisecond)
		}
		wantReports(t, r, health.Report{TargetID: a, State: health.Down, Reason: "connection refused"})
	})
}

// A look made the old way says nothing of the new, and is not waited for.
func TestSetChangedCheckInFlight(t *testing.T) {
	run(t, func(r *Runner, backend *fake, _ *bytes.Buffer) {
		a := id(1)
		c := tcpCheck(time.Hour, time.Hour)
		c.Rise, c.Fall = 1, 1
		backend.answers(a, hangs)
		r.Set(targets(c, a))
		sleep(time.Second)
		if got := r.Stats().InFlight; got != 1 {
			t.Fatalf("%d looks in flight, want 1", got)
		}
		backend.answers(a, nil)
		changed := *c
		changed.Timeout = spec.Duration(time.Second)
		r.Set(targets(&changed, a))
		synctest.Wait()
		wantReports(t, r, health.Report{TargetID: a, State: health.Up})
		if got, want := r.Stats(), (Stats{Successes: 1, Targets: [3]int{health.Up: 1}}); got != want {
			t.Errorf("stats %+v, want %+v", got, want)
		}
	})
}

// A look that was broken off may have got so far as to keep its connection.
func TestDroppedLookKeepsNoConnection(t *testing.T) {
	run(t, func(r *Runner, backend *fake, _ *bytes.Buffer) {
		a := id(1)
		mine, peer := net.Pipe()
		backend.answers(a, func(ctx context.Context, t *target) error {
			t.idle = &conn{Conn: mine, raw: mine}
			<-ctx.Done()
			return nil
		})
		r.Set(targets(tcpCheck(time.Hour, time.Hour), a))
		sleep(time.Second)
		r.Set(nil)
		peer.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := peer.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the connection reads %v, want that it is closed", err)
		}
	})
}

func TestStats(t *testing.T) {
	run(t, func(r *Runner, backend *fake, _ *bytes.Buffer) {
		well, refusing, hanging := id(1), id(2), id(3)
		backend.answers(refusing, refuses)
		backend.answers(hanging, hangs)
		c := tcpCheck(10*time.Second, 5*time.Second)
		r.Set(targets(c, well, refusing, hanging))
		if got, want := r.Stats(), (Stats{Targets: [3]int{health.Unknown: 3}}); got != want {
			t.Errorf("at first %+v, want %+v", got, want)
		}
		sleep(joinPace * 3)
		want := Stats{Successes: 1, Failures: 1, Targets: [3]int{health.Unknown: 3}, InFlight: 1}
		if got := r.Stats(); got != want {
			t.Errorf("after the first looks %+v, want %+v", got, want)
		}
		sleep(5 * time.Second)
		got := r.Stats()
		if got.Timeouts != 1 || got.InFlight != 1 || got.Targets != [3]int{1, 1, 1} {
			t.Errorf("after the first timeout %+v, want 1 timeout, 1 in flight, 1 target each", got)
		}
	})
}

func TestVoidLookDoesNotCount(t *testing.T) {
	run(t, func(r *Runner, backend *fake, logged *bytes.Buffer) {
		a := id(1)
		r.Set(targets(tcpCheck(time.Second, 0), a))
		sleep(10 * time.Second)
		wantReports(t, r, health.Report{TargetID: a, State: health.Up})
		logged.Reset()
		before := r.Stats()
		backend.answers(a, func(context.Context, *target) error { return &voidError{syscall.EMFILE} })
		sleep(90 * time.Second)
		wantReports(t, r)
		after := r.Stats()
		if got := after.Void; got < 89 || got > 91 {
			t.Errorf("%d void looks in 90s, want 90", got)
		}
		after.Void = 0
		if after != before {
			t.Errorf("stats %+v, want them as before but for Void: %+v", after, before)
		}
		line := `level=WARN msg="check not made" check=web addr=192.0.0.1:80 reason="too many open files"` + "\n"
		if got, want := logged.String(), line+line; got != want { // once a minute
			t.Errorf("logged:\n%swant:\n%s", got, want)
		}
	})
}

// A kept connection that is dead makes the look anew, once, with all of its timeout.
func TestSilentConnectionDoesNotCount(t *testing.T) {
	for _, test := range []struct {
		name  string
		kept  prober // the look on the kept connection
		fresh prober // that on a new one
		at    time.Duration
		want  health.Report
	}{
		{"silent, and the new one answers", hangs, takes(600*time.Millisecond, nil), 934 * time.Millisecond, health.Report{State: health.Up}},
		{"slow, and the new one too", takes(900*time.Millisecond, nil), hangs, 900 * time.Millisecond, health.Report{State: health.Up}},
		{"slow to fail", takes(900*time.Millisecond, errors.New("status 500")), hangs, 900 * time.Millisecond, health.Report{State: health.Down, Reason: "status 500"}},
		{"broken at once", takes(0, errSilent), takes(900*time.Millisecond, nil), 900 * time.Millisecond, health.Report{State: health.Up}},
		{"broken after a while", takes(500*time.Millisecond, errSilent), takes(600*time.Millisecond, nil), 934 * time.Millisecond, health.Report{State: health.Up}},
		{"silent, and the new one is refused", hangs, takes(0, errors.New("connection refused")), time.Second, health.Report{State: health.Down, Reason: "connection refused"}},
		{"both silent: no longer than the timeout", hangs, hangs, time.Second, health.Report{State: health.Down, Reason: "timed out after 1s"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, func(r *Runner, backend *fake, _ *bytes.Buffer) {
				a := id(1)
				c := tcpCheck(10*time.Second, time.Second)
				c.Rise, c.Fall = 1, 1
				backend.hedged = true
				var looks, began atomic.Int64
				backend.answers(a, func(ctx context.Context, t *target) error {
					switch n := looks.Add(1); {
					case n == 1:
						t.idle = io.NopCloser(nil)
						return nil
					case t.idle != nil:
						t.idle = nil
						began.Store(time.Now().UnixNano())
						return test.kept(ctx, t)
					}
					return test.fresh(ctx, t)
				})
				r.Set(targets(c, a))
				sleep(joinPace + time.Millisecond)
				wantReports(t, r, health.Report{TargetID: a, State: health.Up})
				for began.Load() == 0 {
					sleep(time.Millisecond)
				}
				sleep(test.at - time.Since(time.Unix(0, began.Load())) - time.Millisecond)
				if s := r.Stats(); s.Successes+s.Failures+s.Timeouts != 1 {
					t.Errorf("over too early: %+v", s)
				}
				sleep(2 * time.Millisecond)
				if s := r.Stats(); s.Successes+s.Failures+s.Timeouts != 2 {
					t.Errorf("not over after %v: %+v", test.at, s)
				}
				if test.want.State == health.Down {
					test.want.TargetID = a
					wantReports(t, r, test.want)
				}
			})
		})
	}
}

func TestRunEndsLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := newFake()
		r := newRunner(slog.New(slog.DiscardHandler), backend.prober)
		a := id(1)
		backend.answers(a, hangs)
		r.Set(targets(tcpCheck(time.Hour, time.Hour), a))
		ctx, cancel := context.WithCancel(t.Context())
		start := time.Now()
		time.AfterFunc(time.Second, cancel)
		r.Run(ctx)
		if d := time.Since(start); d != time.Second {
			t.Errorf("Run ended after %v, want 1s", d)
		}
		wantReports(t, r)
		if got, want := r.Stats(), (Stats{Targets: [3]int{health.Unknown: 1}}); got != want {
			t.Errorf("stats %+v, want %+v", got, want)
		}
		r.Set(nil) // does no harm
	})
}
