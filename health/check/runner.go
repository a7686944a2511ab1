// Package check looks at addresses from here: the probers, one a protocol, and the Runner that
// decides when each target is looked at and what its results come to.
//
// A target costs a place in a queue; only a look in flight has a goroutine. No target is looked
// at twice at once (but a look that was broken off may still be closing its connection when the
// next begins), and none waits for another.
package check

import (
	"container/heap"
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"time"

	"meridian/health"
)

// Runner looks at its targets at their intervals and reports those whose state has changed. What
// is to be reported is kept, the latest of each target, until it is taken: a slow taker delays no
// look, and memory stays bounded by the targets. All methods may be called at the same time.
type Runner struct {
	log       *slog.Logger
	newProber func(*health.Check) prober
	wake      chan struct{} // of size one: what is due first has changed
	changed   chan struct{} // of size one: there are reports to take

	mu      sync.Mutex
	targets map[health.TargetID]*target
	probers map[*health.Check]prober // shared by the targets of one check
	queue   queue                    // the targets without a look in flight
	reports map[health.TargetID]health.Report
	stats   Stats
	warned  time.Time // when a void look was last logged
}

// Stats is what a Runner has counted since it was made, and what it holds now.
type Stats struct {
	Successes, Failures, Timeouts uint64 // looks by result

	// Looks that this machine could not make, for want of descriptors, ports or memory. They say
	// nothing of the target and do not count.
	Void uint64

	Targets  [3]int // by health.State
	InFlight int    // looks
}

// New makes a Runner without targets. A change of state is logged to log.
func New(log *slog.Logger) *Runner { return newRunner(log, newProber) }

func newRunner(log *slog.Logger, newProber func(*health.Check) prober) *Runner {
	return &Runner{
		log:       log,
		newProber: newProber,
		wake:      make(chan struct{}, 1),
		changed:   make(chan struct{}, 1),
		reports:   map[health.TargetID]health.Report{},
	}
}

// Changed receives when there is something to Take.
func (r *Runner) Changed() <-chan struct{} { return r.changed }

// Take returns the targets whose state has changed since the last Take, in no order, each once
// and as it is now.
func (r *Runner) Take() []health.Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := slices.Collect(maps.Values(r.reports))
	clear(r.reports)
	return taken
}

func (r *Runner) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stats
}

// Set replaces the targets. One that stays keeps its schedule and its counter, also if its check
// is another now; the look then in flight, made the old way, is broken off. One that is new begins
// with its State; where that is no longer true it is found out as fast as for one of which nothing
// is known. One that is gone is not reported any more once Set has returned. Of targets with the
// same TargetID the first counts.
func (r *Runner) Set(targets []health.Target) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var (
		now     = time.Now()
		old     = r.targets
		probers = make(map[*health.Check]prober)
		joined  []*target
	)
	r.targets = make(map[health.TargetID]*target, len(targets))
	for _, want := range targets {
		if r.targets[want.TargetID] != nil {
			continue
		}
		was := old[want.TargetID]
		if was != nil && sameCheck(was.Spec, want.Spec) {
			probers[was.Spec] = was.probe
			r.targets[want.TargetID] = was
			continue
		}
		probe := probers[want.Spec]
		if probe == nil {
			probe = r.probers[want.Spec]
		}
		if probe == nil {
			probe = r.newProber(want.Spec)
		}
		probers[want.Spec] = probe
		t := &target{Target: want, probe: probe, due: now.Add(rand.N(firstWithin(len(targets), want.Spec)))}
		t.counter.State = want.State
		if was != nil {
			t.counter, t.State = was.counter, was.State
			t.due = earlier(was.due, now.Add(rand.N(t.interval()))) // at once, if it was in flight
		}
		r.targets[want.TargetID] = t
		joined = append(joined, t)
	}
	for id, was := range old {
		if r.targets[id] != was {
			r.drop(was)
		}
		if r.targets[id] == nil {
			delete(r.reports, id)
		}
	}
	for _, t := range joined {
		r.stats.Targets[t.counter.State]++
		heap.Push(&r.queue, t)
	}
	r.probers = probers
	signal(r.wake)
}

// drop lets go of a target that is gone: its look in flight ends soon and counts no more.
func (r *Runner) drop(t *target) {
	r.stats.Targets[t.counter.State]--
	if t.inFlight() {
		t.cancel() // the look closes its connection itself
		return
	}
	heap.Remove(&r.queue, t.index)
	t.closeIdle()
}

// Run looks at the targets until ctx is done, and returns when no look is in flight and no
// connection open. It is called once.
func (r *Runner) Run(ctx context.Context) {
	var looks sync.WaitGroup
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		timer.Reset(r.startDue(ctx, &looks))
		select {
		case <-ctx.Done():
		case <-r.wake:
		case <-timer.C:
		}
	}
	looks.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.queue {
		t.closeIdle()
	}
}

// startDue starts the looks that are due and returns how long until the next one is.
func (r *Runner) startDue(ctx context.Context, looks *sync.WaitGroup) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for len(r.queue) > 0 {
		t := r.queue[0]
		late := now.Sub(t.due)
		if late < 0 {
			return -late
		}
		if late > t.interval() {
			// The process stood still. All targets are due at once: as at the start.
			t.due = now.Add(rand.N(firstWithin(len(r.targets), t.Spec)))
			heap.Fix(&r.queue, 0)
			continue
		}
		heap.Pop(&r.queue)
		look, cancel := context.WithCancel(ctx)
		t.cancel = cancel
		r.stats.InFlight++
		looks.Go(func() { r.look(look, t) })
	}
	return time.Hour // Set wakes
}

// look makes one look at t and folds its result in. ctx ends when t is dropped or Run ends.
func (r *Runner) look(ctx context.Context, t *target) {
	err := t.attempt(ctx)
	if errors.Is(err, errSilent) {
		err = t.attempt(ctx) // there is no connection left to be silent: it opens one
	}
	if event := r.count(ctx, t, err); event != nil {
		event()
	}
}

// count folds a result into the state of t and puts t back into the queue. It returns what is to
// be logged, which is not done under the lock.
func (r *Runner) count(ctx context.Context, t *target, err error) (event func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.InFlight--
	dropped := ctx.Err() != nil
	t.cancel()
	if dropped {
		t.closeIdle()
		return nil
	}

	now := time.Now()
	before := t.counter.State
	changed, reason := false, ""
	switch void, timeout := (*voidError)(nil), timeoutError(0); {
	case errors.As(err, &void):
		r.stats.Void++
		if now.Sub(r.warned) >= time.Minute {
			r.warned = now
			event = func() {
				r.log.Warn("check not made", "check", t.Check, "addr", t.Addr, "reason", err.Error())
			}
		}
	case err == nil:
		r.stats.Successes++
		changed = t.counter.Add(true, t.Spec.Rise, t.Spec.Fall)
	default:
		if errors.As(err, &timeout) {
			r.stats.Timeouts++
		} else {
			r.stats.Failures++
		}
		reason = err.Error()
		changed = t.counter.Add(false, t.Spec.Rise, t.Spec.Fall)
	}

	after := t.counter.State
	// Why a target is not up may change while it stays so: explain tells the last reason.
	if changed || after != health.Up && reason != "" && reason != t.said {
		t.said = reason
		r.reports[t.TargetID] = health.Report{TargetID: t.TargetID, State: after, Reason: reason}
		signal(r.changed)
	}
	if changed {
		r.stats.Targets[before]--
		r.stats.Targets[after]++
		event = func() {
			r.log.Info("check changed state", "check", t.Check, "addr", t.Addr, "state", after.String(), "reason", reason)
		}
	}
	t.due = t.again(now, before, err)
	heap.Push(&r.queue, t)
	if t.index == 0 {
		signal(r.wake)
	}
	return event
}

// again is when to look at t next, after a look that began in the state before and came to err. A
// state known from before counts as none for the schedule, until a look bears it out.
func (t *target) again(now time.Time, before health.State, err error) time.Time {
	void := (*voidError)(nil)
	switch {
	case t.State == health.Unknown:
		return t.next(now, before)
	case errors.As(err, &void) || t.counter.State == t.State && (err == nil) != (t.State == health.Up):
		unknown := target{Target: t.Target, due: t.due}
		return unknown.next(now, health.Unknown)
	}
	t.State = health.Unknown
	return t.next(now, health.Unknown) // it has settled just now
}

// sameCheck is quick for the usual case, that a check which has not changed is the same one.
func sameCheck(a, b *health.Check) bool { return a == b || reflect.DeepEqual(a, b) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
