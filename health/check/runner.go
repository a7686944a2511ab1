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
	measured  func(health.Report)
	newProber func(*health.Check) prober
	wake      chan struct{} // of size one: what is due first has changed
	changed   chan struct{} // of size one: there are reports to take
	turn      chan struct{} // of size one: held by who counts a look
	commands  chan struct{} // of size maxCommands: held by who runs one

	mu      sync.Mutex
	targets map[health.TargetID]*target
	wholes  map[health.TargetID]*whole
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

// Config is what a Runner needs to know.
type Config struct {
	Networks Networks // which addresses may be touched
	ExecDir  string   // where commands of exec checks are; "": none are run

	// Measured, where it is not nil, is told each success, with its round trip and load. Several
	// goroutines may call it at the same time, and look at nothing meanwhile.
	Measured func(health.Report)

	Log *slog.Logger // is told each change of state
}

// New makes a Runner without targets.
func New(c Config) *Runner {
	r := newRunner(c.Log, newVantage(c.Networks, c.ExecDir).prober)
	r.measured = c.Measured
	return r
}

func newRunner(log *slog.Logger, newProber func(*health.Check) prober) *Runner {
	return &Runner{
		log:       log,
		newProber: newProber,
		wake:      make(chan struct{}, 1),
		changed:   make(chan struct{}, 1),
		turn:      make(chan struct{}, 1),
		commands:  make(chan struct{}, maxCommands),
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
// is known. One that stays and whose State is Unknown though it is known is reported again: who asks
// has forgotten it. One that is gone is not reported any more once Set has returned. Of targets with
// the same TargetID the first counts. Of one whose check is made of others, those are looked at, and
// it alone is reported.
func (r *Runner) Set(targets []health.Target) {
	for _, event := range r.set(targets) {
		event()
	}
}

func (r *Runner) set(targets []health.Target) (events []func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var (
		now     = time.Now()
		old     = r.targets
		probers = make(map[*health.Check]prober)
		joined  []*target
	)
	looked, asked := flat(targets)
	r.targets = make(map[health.TargetID]*target, len(looked))
	for i, want := range looked {
		if same := r.targets[want.TargetID]; same != nil {
			same.asked = same.asked || i < asked
			continue
		}
		was := old[want.TargetID]
		if was != nil && sameCheck(was.Spec, want.Spec) {
			probers[was.Spec] = was.probe
			was.asked, was.wholes = i < asked, nil
			r.targets[want.TargetID] = was
			if was.asked {
				r.tellAgain(want, was.counter.State, was.told)
			}
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
		t := &target{Target: want, probe: probe, due: now.Add(rand.N(firstWithin(len(looked), want.Spec))), asked: i < asked}
		t.counter.State = want.State
		if was != nil {
			t.counter, t.State = was.counter, was.State
			t.due = earlier(was.due, now.Add(rand.N(t.interval()))) // at once, if it was in flight
			if t.asked {
				r.tellAgain(want, t.counter.State, was.told)
			}
		}
		r.targets[want.TargetID] = t
		joined = append(joined, t)
	}
	for id, was := range old {
		if r.targets[id] != was {
			r.drop(was)
		}
	}
	for _, t := range joined {
		r.stats.Targets[t.counter.State]++
		heap.Push(&r.queue, t)
	}
	r.probers = probers
	events = r.setWholes(targets)
	for id := range r.reports {
		if t := r.targets[id]; (t == nil || !t.asked) && r.wholes[id] == nil {
			delete(r.reports, id)
		}
	}
	signal(r.wake)
	return events
}

// tellAgain reports a target that is known to who asks as if it were not.
func (r *Runner) tellAgain(want health.Target, known health.State, told health.Report) {
	if want.State == health.Unknown && known != health.Unknown {
		told.TargetID, told.State = want.TargetID, known
		r.report(told)
	}
}

// flat are the targets that are looked at: those asked for themselves, which are the first of that
// number, and the parts of the others.
func flat(targets []health.Target) (looked []health.Target, asked int) {
	var parts []health.Target
	for _, t := range targets {
		if t.Spec.Parts() == nil {
			looked = append(looked, t)
			continue
		}
		for _, part := range t.Parts {
			if part.Spec != nil {
				parts = append(parts, part)
			}
		}
	}
	return append(looked, parts...), len(looked)
}

// setWholes is Set for the targets whose checks are made of others.
func (r *Runner) setWholes(targets []health.Target) (events []func()) {
	old := r.wholes
	r.wholes = make(map[health.TargetID]*whole)
	for _, want := range targets {
		if want.Spec.Parts() == nil || r.wholes[want.TargetID] != nil {
			continue
		}
		w := &whole{Target: want}
		if was := old[want.TargetID]; was != nil {
			w.State, w.told = was.State, was.told
			r.tellAgain(want, w.State, w.told)
		}
		for _, part := range want.Parts {
			p := r.targets[part.TargetID]
			if part.Spec == nil {
				p = nil
			}
			if p != nil {
				p.wholes = append(p.wholes, w)
			}
			w.parts = append(w.parts, p)
		}
		r.wholes[want.TargetID] = w
		if event := r.settle(w); event != nil {
			events = append(events, event)
		}
	}
	return events
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
			t.due, t.regular = now.Add(rand.N(firstWithin(len(r.targets), t.Spec))), time.Time{}
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
	err := r.lookInTurn(ctx, t)
	// Not all at the lock: where thousands of looks end together on a busy machine, the collector
	// walks all that wait for a sync.Mutex once for each of them.
	r.turn <- struct{}{}
	events := r.count(ctx, t, err)
	<-r.turn
	for _, event := range events {
		event()
	}
}

// count folds a result into the state of t and puts t back into the queue. It returns what is to
// be logged and told, which is not done under the lock.
func (r *Runner) count(ctx context.Context, t *target, err error) (events []func()) {
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
	t.found = t.seen
	events = append(events, r.fold(t, err, now))
	if t.counter.State != before {
		r.stats.Targets[before]--
		r.stats.Targets[t.counter.State]++
	}
	events = append(events, r.tell(t, before, err))
	for _, w := range t.wholes {
		events = append(events, r.settle(w))
	}
	if err == nil {
		events = append(events, r.measure(t)...)
	}
	t.due = t.again(now, before, err)
	heap.Push(&r.queue, t)
	if t.index == 0 {
		signal(r.wake)
	}
	return slices.DeleteFunc(events, func(event func()) bool { return event == nil })
}

// fold counts a result.
func (r *Runner) fold(t *target, err error, now time.Time) (event func()) {
	var void *voidError
	var unable *unableError
	var timeout timeoutError
	switch {
	case errors.As(err, &void):
		r.stats.Void++
		if now.Sub(r.warned) >= time.Minute {
			r.warned = now
			return func() {
				r.log.Warn("check not made", "check", t.Check, "addr", t.Addr, "reason", err.Error())
			}
		}
		return nil
	case errors.As(err, &unable):
		r.stats.Void++
		t.counter = health.Counter{} // what was known from before cannot be borne out
		return nil
	case err == nil:
		r.stats.Successes++
	case errors.As(err, &timeout):
		r.stats.Timeouts++
	default:
		r.stats.Failures++
	}
	t.counter.Add(err == nil, t.Spec.Rise, t.Spec.Fall)
	return nil
}

// tell has t reported where it stands otherwise than was last told, after a look that began in the
// state before and came to err.
func (r *Runner) tell(t *target, before health.State, err error) (event func()) {
	report := health.Report{TargetID: t.TargetID, State: t.counter.State, RTT: t.found.rtt, Load: t.found.load}
	var void *voidError
	switch up := report.State == health.Up; {
	case errors.As(err, &void):
		return nil
	case err != nil:
		report.Reason = err.Error()
		if up {
			report.Warning = t.told.Warning
		}
	case up:
		report.Warning = t.found.warning
	}
	changed := report.State != before
	// Why a target is not up may change while it stays so: explain tells the last reason.
	otherwise := report.State != health.Up && report.Reason != "" && report.Reason != t.told.Reason
	warns := report.State == health.Up && report.Warning != t.told.Warning
	if !changed && !otherwise && !warns {
		return nil
	}
	t.told = report
	if t.asked {
		r.report(report)
	}
	return func() {
		if changed {
			r.logChange(report)
		}
		if warns && report.Warning != "" {
			r.log.Warn("check warns", "check", t.Check, "addr", t.Addr, "warning", report.Warning)
		}
	}
}

// settle has w reported where its parts have come to something else than was last told.
func (r *Runner) settle(w *whole) (event func()) {
	report := w.report()
	changed := report.State != w.State
	w.State = report.State
	if !changed && report.Reason == w.told.Reason && report.Warning == w.told.Warning {
		return nil
	}
	w.told = report
	r.report(report)
	if !changed {
		return nil
	}
	return func() { r.logChange(report) }
}

func (r *Runner) report(report health.Report) {
	r.reports[report.TargetID] = report
	signal(r.changed)
}

func (r *Runner) logChange(report health.Report) {
	r.log.Info("check changed state", "check", report.Check, "addr", report.Addr, "state", report.State.String(), "reason", report.Reason)
}

// measure tells what a success has measured, of t and of what it is a part of.
func (r *Runner) measure(t *target) (events []func()) {
	if r.measured == nil {
		return nil
	}
	if t.asked {
		report := t.told
		report.TargetID, report.State, report.RTT, report.Load = t.TargetID, t.counter.State, t.found.rtt, t.found.load
		events = append(events, func() { r.measured(report) })
	}
	for _, w := range t.wholes {
		report := w.report()
		events = append(events, func() { r.measured(report) })
	}
	return events
}

// again is when to look at t next, after a look that began in the state before and came to err. A
// state known from before counts as none for the schedule, until a look bears it out.
func (t *target) again(now time.Time, before health.State, err error) time.Time {
	var void *voidError
	var unable *unableError
	first := err != nil && t.counter.State == health.Up && t.counter.Failures() == 1 && !errors.As(err, &void)
	switch {
	case errors.As(err, &unable):
		t.State, t.regular = health.Unknown, time.Time{}
		return later(t.due.Add(t.interval()), now) // nothing changes soon
	case t.State == health.Unknown:
		return t.next(now, before, first)
	case errors.As(err, &void) || t.counter.State == t.State && (err == nil) != (t.State == health.Up):
		unknown := target{Target: t.Target, due: t.due}
		return unknown.next(now, health.Unknown, false)
	}
	t.State = health.Unknown
	return t.next(now, health.Unknown, false) // it has settled just now
}

// sameCheck is quick for the usual case, that a check which has not changed is the same one.
func sameCheck(a, b *health.Check) bool { return a == b || reflect.DeepEqual(a, b) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
