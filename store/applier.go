package store

import (
	"context"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"meridian/health"
	"meridian/policy/geo"
	"meridian/zones"
)

// Applier is the one goroutine that turns changes of the registry and of health into what is
// served. Readers load Snapshot, and nothing else.
type Applier struct {
	Snapshot atomic.Pointer[zones.Snapshot] // nil until the registry, or its image, was read once

	// SetTargets, SetFaults, SetStatus and SetLatches, where not nil, are called by Run when what they are given
	// has changed. They must not block.
	SetTargets func([]health.Target)
	SetFaults  func([]Fault)
	SetStatus  func(Status)
	SetLatches func(map[string]health.Latch) // see Registry.Unwritten

	// SetReports, where not nil, is called by Run when what its own checker reports has changed: the values of the
	// live keys report/<checker>/<pool>, by pool. It must not block, nor change them.
	SetReports func(map[string]string)

	// SetRTTs is SetReports, of the live keys rtt/<checker>/<pool>.
	SetRTTs func(map[string]string)

	// SetUtilizations, where not nil, is called by Run with the values of the live keys utilization/<checker>/<pool>,
	// by pool, when some of them are to be written: anew, though they be the same. It must not block, nor change them.
	// Where it is nil, what the own checker hears of loads counts here.
	SetUtilizations func(all map[string]string, anew []string)

	// Voter is the own checker. Lapsed, where not nil, says whether live keys have been out of reach for longer
	// than a lease. Both are set before Run.
	Voter  health.Voter
	Lapsed func() bool

	// Earlier, where not nil, finds the value that a key had just before a revision; ok is false where
	// nobody knows.
	Earlier func(ctx context.Context, key string, before int64) (e Entry, ok bool, err error)

	log      *slog.Logger
	registry *Registry
	image    atomic.Pointer[zones.Snapshot] // restored, and served where etcd does not answer in time; nil once anything is served
	ready    chan struct{}                  // closed once queries are answered as well as they will be
	again    chan struct{}                  // of size one: the registry is to be read again
	changed  chan struct{}                  // of size one: there is something new for an image
	images   chan chan *Image
	geo      atomic.Pointer[geo.Database] // that was set last
	located  chan struct{}                // of size one: it is another
	recalled chan recalled
	live     chan Update
	rtts     roundTrips
	heard    heardLoads

	mu      sync.Mutex
	status  Status
	at      time.Time // of the last snapshot
	updates int64     // taken in
	measure LiveStats

	// Of Run alone.
	published bool              // there was a snapshot
	reading   bool              // former values are
	told      map[string]string // see SetUtilizations
	asked     map[string]int64  // wrong keys whose former values were asked for, and of which revision
}

const (
	// firstRound is how long the first round of checks may delay readiness.
	firstRound = 2 * time.Second

	// Patience is how long etcd may take at the start before the disk image is served.
	Patience = 300 * time.Millisecond
)

// NewApplier returns an applier whose Run has not begun.
func NewApplier(log *slog.Logger) *Applier {
	return &Applier{
		log: log, registry: NewRegistry(log),
		ready: make(chan struct{}), again: make(chan struct{}, 1), changed: make(chan struct{}, 1), located: make(chan struct{}, 1),
		images: make(chan chan *Image), recalled: make(chan recalled), live: make(chan Update), asked: map[string]int64{},
	}
}

// Restore has the applier know what the image does. It is called before Run.
func (a *Applier) Restore(img *Image) {
	a.registry.SetGeo(a.geo.Load())
	a.image.Store(a.registry.Restore(img))
}

// SetGeo has what is served know where clients are. Any goroutine may call it. What is set before Restore and
// Run is there from the first answer on.
func (a *Applier) SetGeo(d *geo.Database) {
	a.geo.Store(d)
	signal(a.located)
}

// ServeImage has queries answered from the disk image, if there is one, and nothing else yet. Any goroutine
// may call it, also before Run, which else does so where etcd has not answered within Patience.
func (a *Applier) ServeImage() {
	if s := a.image.Load(); s != nil && a.Snapshot.CompareAndSwap(nil, s) {
		a.log.Warn("etcd does not answer: serving the disk image", "revision", s.Revision, "names", s.Names)
	}
}

// Live takes updates of live keys: those of LiveDirs.
func (a *Applier) Live() chan<- Update { return a.live }

// Again receives when all there is should be read again.
func (a *Applier) Again() <-chan struct{} { return a.again }

// Changed receives when an image would not be what it was.
func (a *Applier) Changed() <-chan struct{} { return a.changed }

// Image is what is to be known after a restart, nil before the first snapshot and once Run has ended.
func (a *Applier) Image(ctx context.Context) *Image {
	answer := make(chan *Image, 1)
	select {
	case a.images <- answer:
		return <-answer
	case <-ctx.Done():
		return nil
	}
}

// LastImage is Image after Run has ended.
func (a *Applier) LastImage() *Image { return a.registry.Image() }

// Run takes updates until ctx is done, and the reports of health whenever checked says that there
// are some.
func (a *Applier) Run(ctx context.Context, updates <-chan Update, checked <-chan struct{}, take func() []health.Report) {
	r := a.registry
	r.targets.self = a.Voter
	var reported, measured map[string]string
	if a.SetReports != nil {
		r.Report()
	}
	a.locate()
	compared := make(chan Update)
	go a.compare(ctx, updates, compared)
	serveImage := time.After(Patience)
	var late <-chan time.Time // when the first round of checks has taken long enough
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	rereads := rereads{}
	for settled, overdue := false, false; ; {
		first := !a.published
		select {
		case <-ctx.Done():
			return
		case u := <-compared:
			a.apply(ctx, u)
		case <-serveImage:
			a.ServeImage()
			if s := a.image.Load(); s != nil {
				a.publish(s)
			}
		case <-checked:
			reports := take()
			for _, report := range reports {
				r.targets.report(report)
			}
			if len(reports) > 0 {
				signal(a.changed)
			}
		case u := <-a.live:
			r.TakeLive(u)
		case former := <-a.recalled:
			a.recall(former)
		case <-a.located:
			a.locate()
		case answer := <-a.images:
			answer <- r.Image()
		case <-tick.C:
			a.lapse()
			if s := r.Lift(); s != nil {
				a.publish(s)
			}
			if r.CountDue(); a.Lapsed != nil && a.Lapsed() {
				r.StandAlone()
			}
			r.Return()
			if a.SetRTTs != nil {
				if now, changed := r.RTTs(&a.rtts, measured); changed {
					measured = now
					a.SetRTTs(now)
				}
			}
			a.tellLoads()
			a.age()
			if rereads.due(r.refused != nil) {
				signal(a.again)
			}
		case <-late:
			overdue = true
		}
		if r.Believe(); len(r.rehealed) > 0 {
			signal(a.changed)
			r.Relatch()
			a.lapse()
		}
		if r.relatched {
			a.tellLatches()
		}
		if now, changed := r.Reports(reported); changed {
			reported = now
			a.SetReports(now)
		}
		if first && a.published {
			late = time.After(firstRound)
		}
		if !settled && a.published && (overdue || r.targets.unknown() == 0 && !a.reading) {
			settled = true
			r.targets.firstOver()
			close(a.ready)
			a.tell()
		}
	}
}

// compare looks ahead through what was read anew.
func (a *Applier) compare(ctx context.Context, updates <-chan Update, compared chan<- Update) {
	for {
		select {
		case <-ctx.Done():
			return
		case u := <-updates:
			a.inTurn(u, func() { u.compare(a.Snapshot.Load()) })
			select {
			case compared <- u:
			case <-ctx.Done():
				return
			}
		}
	}
}

// inTurn does what an update asks for: at leisure where it is much and queries are answered meanwhile.
func (a *Applier) inTurn(u Update, f func()) {
	if len(u.Entries) < manyKeys || a.Snapshot.Load() == nil {
		f()
		return
	}
	atLeisure(f)
}

// apply takes an update in.
func (a *Applier) apply(ctx context.Context, u Update) {
	start, first := time.Now(), !a.published
	var s *zones.Snapshot
	a.inTurn(u, func() { s = a.registry.Apply(u) })
	if a.registry.WantsRead() {
		signal(a.again)
	}
	a.publish(s)
	a.log.Debug("snapshot published", "revision", s.Revision, "keys", len(u.Entries), "took", time.Since(start))
	if first {
		a.log.Info("registry read", "revision", s.Revision, "zones", s.Zones(), "names", s.Names,
			"pools", len(a.registry.pools), "faults", len(a.registry.faults.byKey), "took", time.Since(start))
	}
	if u.Full {
		a.askFormer(ctx)
		a.registry.relatched = a.registry.relatched || len(a.registry.latched) > 0 // what was written may not be there
	}
}

// lapse lets go of the members that linger no more.
func (a *Applier) lapse() {
	if deletes := a.registry.Lapsed(); len(deletes) > 0 {
		a.publish(a.registry.take(Update{Revision: a.registry.snapshot.Revision, Entries: deletes}))
	}
}

// age has what was measured grow old, and what waits for a time go on.
func (a *Applier) age() {
	r := a.registry
	r.ExpireLoads()
	r.Relatch()
	measure, votes := r.liveStats(), r.voteStats()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.measure = measure
	a.status.VoteStats = votes
	a.status.Ignored, a.status.Unplaced = measure.Wrong, measure.Unplaced
	a.status.Warnings, a.status.Warned = r.targets.warnings.told()
	a.status.Differ = maps.Clone(r.targets.differing)
}

// tellLatches passes on which failbacks this server holds.
func (a *Applier) tellLatches() {
	a.registry.relatched = false
	signal(a.changed)
	if a.SetLatches != nil {
		a.SetLatches(a.registry.Unwritten())
	}
}

// locate serves what is served, with the geography that was set last.
func (a *Applier) locate() {
	s := a.registry.SetGeo(a.geo.Load())
	if s == nil {
		return
	}
	if a.image.Load() != nil {
		a.image.Store(s)
	}
	if a.Snapshot.Load() != nil {
		a.Snapshot.Store(s)
	}
}

// rereads says when to look again at an etcd that is not obeyed: soon at first.
type rereads struct {
	next time.Time
	wait time.Duration
}

func (r *rereads) due(refused bool) bool {
	now := time.Now()
	switch {
	case !refused:
		*r = rereads{}
		return false
	case r.next.IsZero(): // it was read just now
		r.wait = time.Second
		r.next = now.Add(r.wait)
		return false
	case now.Before(r.next):
		return false
	}
	r.wait = min(2*r.wait, 30*time.Second)
	r.next = now.Add(r.wait)
	return true
}

// publish serves a snapshot and passes on what changed beside it.
func (a *Applier) publish(s *zones.Snapshot) {
	first := !a.published
	a.Snapshot.Store(s)
	a.published = true
	a.image.Store(nil)
	a.mu.Lock()
	a.updates++
	a.at = time.Now()
	a.mu.Unlock()
	if a.registry.targets.changed && a.SetTargets != nil {
		a.SetTargets(a.registry.Targets())
	}
	if f := a.registry.faults; f.changed || first {
		f.changed = false
		list := f.list()
		a.mu.Lock()
		a.status.Rejected, a.status.Pending = 0, 0
		for _, one := range list {
			switch {
			case one.Awaits != "":
				a.status.Pending++
			case !strings.HasPrefix(one.Error, leaseEnded) && one.Key != acceptKey:
				a.status.Rejected++
			}
		}
		a.mu.Unlock()
		if a.SetFaults != nil {
			a.SetFaults(list)
		}
	}
	signal(a.changed)
	a.tell()
}

// tell brings the status up to date.
func (a *Applier) tell() {
	s, r := a.Snapshot.Load(), a.registry
	ok, _ := a.Ready()
	a.mu.Lock()
	st := &a.status
	st.Ready, st.Revision, st.Changed, st.Zones, st.Names, st.Pools = ok, s.Revision, r.newest, s.Zones(), s.Names, len(r.pools)
	st.Image, st.Refused, st.Held, st.Drift, st.Unregistered = r.fromImage, r.Refused(), r.Held(), r.drift, len(r.unregistered)
	st.Overrides = r.inForce()
	told := *st
	a.mu.Unlock()
	if a.SetStatus != nil {
		a.SetStatus(told)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Settled is closed once queries are answered as well as they will be: the registry was read, and
// the first round of checks is over or has taken two seconds.
func (a *Applier) Settled() <-chan struct{} { return a.ready }

// Ready says whether Settled is closed, and if not, what is missing. Once ready it stays so.
func (a *Applier) Ready() (ok bool, why string) {
	select {
	case <-a.ready:
		return true, "ready"
	default:
	}
	if a.Snapshot.Load() == nil {
		return false, "the registry has not been read yet"
	}
	return false, "the first round of health checks is under way"
}

// Status is what the applier knows of how the server stands. Any goroutine may call it.
func (a *Applier) Status() Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.status
}

// Stats are figures of the applier.
type Stats struct {
	Rejected int64     // keys not served as they stand
	Pending  int64     // keys that wait for what they refer to
	Updates  int64     // taken in
	Changed  time.Time // when the last was
	Live     LiveStats
}

// Stats may be called by any goroutine.
func (a *Applier) Stats() Stats {
	a.mu.Lock()
	defer a.mu.Unlock()
	return Stats{Rejected: int64(a.status.Rejected), Pending: int64(a.status.Pending), Updates: a.updates, Changed: a.at, Live: a.measure}
}
