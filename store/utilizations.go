package store

import (
	"maps"
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"meridian/health"
)

// The side that hears of loads. The newest counts as it is: a backend tells a mean of its own, and to smooth it again
// would have members shed, and take back, later than they should.

const (
	loadMoved   = 0.05             // a load that moved by as much, of 1, is told again
	loadLook    = 5 * time.Second  // from one look at a pool to the next, and so from one time that it is told to the next
	loadRefresh = 15 * time.Second // from when it is told to the look from which it is told again though none moved: in 20 s it is
)

// heardLoads are the loads that backends have told this process's own checker. Any goroutine may add to them.
type heardLoads struct {
	mu    sync.Mutex
	last  map[health.TargetID]heardLoad
	swept time.Time // when what is too old, or of no target, was last dropped
}

type heardLoad struct {
	load float64
	at   time.Time
}

// add takes in what a success said. One that tells no load any more has none.
func (h *heardLoads) add(r health.Report, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.Load == nil {
		delete(h.last, r.TargetID)
		return
	}
	if h.last == nil {
		h.last = map[health.TargetID]heardLoad{}
	}
	h.last[r.TargetID] = heardLoad{*r.Load, at}
}

// loadsTold is what was last told of a pool's loads.
type loadsTold struct {
	loads utilizationSpec
	at    time.Time
	due   time.Time // when to look at them again
}

// Utilizations are the loads to be told now, by pool: those of pools where one has moved, come or gone, or that were told
// long ago and heard since. Empty ones are of pools that have none any more.
func (r *Registry) Utilizations(heard *heardLoads) (tell map[string]utilizationSpec) {
	heard.mu.Lock()
	defer heard.mu.Unlock()
	now := r.now()
	if now.Sub(heard.swept) >= loadLook {
		heard.swept = now
		maps.DeleteFunc(heard.last, func(id health.TargetID, l heardLoad) bool {
			return r.targets.byID[id] == nil || now.Sub(l.at) >= loadLasts
		})
	}
	if len(heard.last) == 0 && len(r.loadsTold) == 0 {
		return nil
	}
	tell = map[string]utilizationSpec{}
	for pool, t := range r.loadsTold {
		if r.targets.byPool[pool] == nil {
			delete(r.loadsTold, pool)
			if len(t.loads) > 0 {
				tell[pool] = nil
			}
		}
	}
	for pool := range r.targets.byPool {
		t := r.loadsTold[pool]
		if t == nil {
			t = &loadsTold{}
			r.loadsTold[pool] = t
		}
		if now.Before(t.due) {
			continue
		}
		loads, newest := r.loadsHeard(pool, heard.last)
		t.due = now.Add(loadLook)
		again := newest.After(t.at) && now.Sub(t.at) >= loadRefresh
		if !again && !loadsMoved(t.loads, loads) {
			continue
		}
		t.loads, t.at = loads, now
		tell[pool] = loads
	}
	return tell
}

// loadsHeard are the loads of a pool's members, to a thousandth, and when the newest was heard.
func (r *Registry) loadsHeard(pool string, last map[health.TargetID]heardLoad) (loads utilizationSpec, newest time.Time) {
	p := r.pools[pool]
	if p == nil || p.compiled == nil {
		return nil, newest
	}
	loads = utilizationSpec{}
	for _, w := range r.targets.byPool[pool] {
		l, ok := last[w.TargetID]
		if !ok {
			continue
		}
		if l.at.After(newest) {
			newest = l.at
		}
		m := &p.compiled.Members[w.member]
		if loads[m.Name] == nil {
			loads[m.Name] = map[netip.Addr]float64{}
		}
		loads[m.Name][answered(m, w.addr, w.Addr)] = math.Round(l.load*1000) / 1000
	}
	return loads, newest
}

// loadsMoved says whether any load is another than it was by loadMoved, or there where it was not, or gone.
func loadsMoved(was, is utilizationSpec) bool {
	n := 0
	for member, addrs := range is {
		for addr, load := range addrs {
			old, there := was[member][addr]
			if !there || math.Round(1000*math.Abs(load-old)) >= 1000*loadMoved {
				return true
			}
			n++
		}
	}
	for _, addrs := range was {
		n -= len(addrs)
	}
	return n != 0
}

// tellLoads has what the own checker has heard of loads written, or else count here.
func (a *Applier) tellLoads() {
	tell := a.registry.Utilizations(&a.heard)
	if len(tell) == 0 {
		return
	}
	if a.SetUtilizations == nil {
		for pool, loads := range tell {
			var t *told
			if len(loads) > 0 {
				t = &told{loads: loads, at: a.registry.now()}
			}
			a.registry.tellLoads("", pool, t)
		}
		return
	}
	now := maps.Clone(a.told)
	if now == nil {
		now = map[string]string{}
	}
	var anew []string
	for pool, loads := range tell {
		if delete(now, pool); len(loads) == 0 {
			continue
		}
		if text, err := json.Marshal(loads, json.Deterministic(true)); err == nil {
			now[pool], anew = string(text), append(anew, pool)
		}
	}
	a.told = now
	a.SetUtilizations(now, anew)
}
