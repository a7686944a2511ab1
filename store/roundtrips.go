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

const (
	rttWeight  = 0.25             // of a new measurement, in the mean
	rttMoved   = 0.1              // of what was written: a mean that moved by more is written again
	rttAtOnce  = 2 * time.Second  // from when a pool is there until its first are written
	rttLook    = 5 * time.Second  // from one look at a pool to the next
	rttAtLeast = 30 * time.Second // from one write of a pool to the next
)

// roundTrips are smoothed round-trip times, in ms, exponentially. Any goroutine may add to them.
type roundTrips struct {
	mu sync.Mutex
	ms map[health.TargetID]float64
}

func (t *roundTrips) add(r health.Report) {
	if r.RTT <= 0 {
		return
	}
	ms := float64(r.RTT) / float64(time.Millisecond)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ms == nil {
		t.ms = map[health.TargetID]float64{}
	}
	if old, ok := t.ms[r.TargetID]; ok {
		ms = old + rttWeight*(ms-old)
	}
	t.ms[r.TargetID] = ms
}

// rttsTold is what is written of a pool's round-trip times.
type rttsTold struct {
	rtts rttSpec
	due  time.Time // when to look at them again
}

// RTTs are the values of the live keys rtt/<checker>/<pool> of this process's own checker, by pool, those of before
// where none has moved; ok is false where none has of any.
func (r *Registry) RTTs(measured *roundTrips, before map[string]string) (now map[string]string, ok bool) {
	measured.mu.Lock()
	defer measured.mu.Unlock()
	maps.DeleteFunc(measured.ms, func(id health.TargetID, _ float64) bool { return r.targets.byID[id] == nil })
	now = maps.Clone(before)
	if now == nil {
		now = map[string]string{}
	}
	for pool := range r.rttsTold {
		if r.targets.byPool[pool] == nil {
			delete(r.rttsTold, pool)
			delete(now, pool)
		}
	}
	at := r.now()
	for pool := range r.targets.byPool {
		t := r.rttsTold[pool]
		switch {
		case t == nil:
			r.rttsTold[pool] = &rttsTold{due: at.Add(rttAtOnce)}
			continue
		case at.Before(t.due):
			continue
		}
		rtts := r.rttsOf(pool, measured.ms)
		t.due = at.Add(rttLook)
		if !moved(t.rtts, rtts) {
			continue
		}
		if delete(now, pool); len(rtts) > 0 {
			text, err := json.Marshal(rtts, json.Deterministic(true))
			if err != nil {
				continue
			}
			now[pool] = string(text)
		}
		t.rtts, t.due = rtts, at.Add(rttAtLeast)
	}
	return now, !maps.Equal(before, now)
}

// rttsOf are the round-trip times to the members of a pool, to a microsecond.
func (r *Registry) rttsOf(pool string, ms map[health.TargetID]float64) rttSpec {
	rtts := rttSpec{}
	p := r.pools[pool]
	if p == nil || p.compiled == nil {
		return rtts
	}
	for _, w := range r.targets.byPool[pool] {
		took, ok := ms[w.TargetID]
		if !ok {
			continue
		}
		m := &p.compiled.Members[w.member]
		if rtts[m.Name] == nil {
			rtts[m.Name] = map[netip.Addr]float64{}
		}
		rtts[m.Name][answered(m, w.addr, w.Addr)] = math.Round(took*1000) / 1000
	}
	return rtts
}

// moved says whether any time is another than it was by more than rttMoved, or there where it was not, or gone.
func moved(was, is rttSpec) bool {
	n := 0
	for member, addrs := range is {
		for addr, ms := range addrs {
			old, there := was[member][addr]
			if !there || math.Abs(ms-old) > rttMoved*old {
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

// Measured takes in the round-trip time and the load that the own checker has found. Any goroutine may call it.
func (a *Applier) Measured(r health.Report) {
	if a.SetRTTs != nil {
		a.rtts.add(r)
	}
	a.heard.add(r, time.Now())
}
