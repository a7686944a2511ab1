package store

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"meridian/health"
	"meridian/zones"
)

// Applier is the one goroutine that turns changes of the registry and of health into what is
// served. Readers load Snapshot, and nothing else.
type Applier struct {
	Snapshot atomic.Pointer[zones.Snapshot] // nil until the registry was read once

	// SetTargets and SetFaults, where not nil, are called by Run when what they are given has
	// changed. They must not block.
	SetTargets func([]health.Target)
	SetFaults  func([]Fault)

	log      *slog.Logger
	registry *Registry
	ready    chan struct{} // closed once queries are answered as well as they will be
	faulty   atomic.Int64
	pending  atomic.Int64
	updates  atomic.Int64
	changed  atomic.Int64 // unix nanoseconds of the last snapshot
}

// firstRound is how long the first round of checks may delay readiness.
const firstRound = 2 * time.Second

// NewApplier returns an applier whose Run has not begun.
func NewApplier(log *slog.Logger) *Applier {
	return &Applier{log: log, registry: NewRegistry(log), ready: make(chan struct{})}
}

// Run takes updates until ctx is done, and the reports of health whenever checked says that there
// are some.
func (a *Applier) Run(ctx context.Context, updates <-chan Update, checked <-chan struct{}, take func() []health.Report) {
	var patience <-chan time.Time // until the first round of checks has taken long enough
	for settled, late := false, false; ; {
		select {
		case <-ctx.Done():
			return
		case u := <-updates:
			start := time.Now()
			first := a.Snapshot.Load() == nil
			s := a.registry.Apply(u)
			a.Snapshot.Store(s)
			a.publish(first)
			a.log.Debug("snapshot published", "revision", s.Revision, "keys", len(u.Entries), "took", time.Since(start))
			if first {
				a.log.Info("registry read", "revision", s.Revision, "zones", s.Zones(), "names", s.Names,
					"pools", len(a.registry.pools), "faults", len(a.registry.faults.byKey), "took", time.Since(start))
				patience = time.After(firstRound)
			}
		case <-checked:
			for _, r := range take() {
				a.registry.targets.report(r)
			}
		case <-patience:
			late = true
		}
		if !settled && a.Snapshot.Load() != nil && (late || a.registry.targets.unknown() == 0) {
			settled = true
			close(a.ready)
		}
	}
}

// publish passes on what an update changed beside the snapshot.
func (a *Applier) publish(first bool) {
	a.updates.Add(1)
	a.changed.Store(time.Now().UnixNano())
	if a.registry.targets.changed && a.SetTargets != nil {
		a.SetTargets(a.registry.Targets())
	}
	if f := a.registry.faults; f.changed || first {
		f.changed = false
		list := f.list()
		waiting := 0
		for _, one := range list {
			if one.Awaits != "" {
				waiting++
			}
		}
		a.faulty.Store(int64(len(list) - waiting))
		a.pending.Store(int64(waiting))
		if a.SetFaults != nil {
			a.SetFaults(list)
		}
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

// Stats are figures of the applier.
type Stats struct {
	Rejected int64     // keys not served as they stand
	Pending  int64     // keys that wait for what they refer to
	Updates  int64     // taken in
	Changed  time.Time // when the last was
}

// Stats may be called by any goroutine.
func (a *Applier) Stats() Stats {
	s := Stats{Rejected: a.faulty.Load(), Pending: a.pending.Load(), Updates: a.updates.Load()}
	if at := a.changed.Load(); at != 0 {
		s.Changed = time.Unix(0, at)
	}
	return s
}
