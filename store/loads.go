package store

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"meridian/policy"
	"meridian/spec"
)

// A member's load is what somebody puts under load/, and else what its backend tells the checks that look at it.

// loadLasts is how long a load counts after it came.
const loadLasts = time.Minute

// loadSpec is the value of the live key load/<pool>/<member>.
type loadSpec struct {
	Load *float64 `json:"load"` // 1 where the member is just filled
}

// Validate says what is wrong with l, as a *spec.Error.
func (l *loadSpec) Validate() error {
	switch {
	case l.Load == nil:
		return spec.Errorf("load", "missing, expected a number, 1 where the member is just filled")
	case *l.Load < 0:
		return spec.Errorf("load", "%v is out of range, expected 0 or more", *l.Load)
	}
	return nil
}

// utilizationSpec is the value of the live key utilization/<checker>/<pool>: loads, 1 where it is just filled, by
// member, and address as it is answered.
type utilizationSpec map[string]map[netip.Addr]float64

// Validate says what is wrong with s, as a *spec.Error.
func (s utilizationSpec) Validate() error {
	for _, member := range slices.Sorted(maps.Keys(s)) {
		for addr, load := range s[member] {
			if load < 0 {
				return spec.Errorf(member+"."+addr.String(), "%v is out of range, expected 0 or more", load)
			}
		}
	}
	return nil
}

// load is the value of a load key. It is kept when it counts no more, so that a read of all keys does not take
// it for a new one.
type load struct {
	value    float64
	revision int64
	at       time.Time // when it came: of one that was there before the server, when that was read
	over     bool
}

// told is the value of a utilization key, kept as a load is.
type told struct {
	loads    utilizationSpec
	revision int64
	at       time.Time
	over     bool
}

func (r *Registry) takeLoad(pool, member string, e Entry) *spec.Error {
	l := &r.live
	old := l.loads[pool][member]
	if e.Deleted {
		if delete(l.loads[pool], member); len(l.loads[pool]) == 0 {
			delete(l.loads, pool)
		}
		r.setLoad(pool, member)
		return nil
	}
	var s loadSpec
	if err := decode(e.Value, &s); err != nil {
		return err
	}
	if old != nil && old.revision == e.Revision && old.value == *s.Load {
		return nil
	}
	if l.loads[pool] == nil {
		l.loads[pool] = map[string]*load{}
	}
	l.loads[pool][member] = &load{value: *s.Load, revision: e.Revision, at: r.now()}
	r.setLoad(pool, member)
	return nil
}

func (r *Registry) takeUtilization(checker, pool string, e Entry) *spec.Error {
	if e.Deleted {
		r.tellLoads(checker, pool, nil)
		return nil
	}
	loads := utilizationSpec{}
	if err := decode(e.Value, &loads); err != nil {
		return err
	}
	old := r.live.told[pool][checker]
	if old != nil && old.revision == e.Revision && maps.EqualFunc(old.loads, loads, maps.Equal) {
		return nil
	}
	r.tellLoads(checker, pool, &told{loads: loads, revision: e.Revision, at: r.now()})
	return nil
}

// tellLoads takes in what a checker, "" for the own, tells of a pool's loads now; nil: nothing any more.
func (r *Registry) tellLoads(checker, pool string, t *told) {
	all := r.live.told
	if all[pool] == nil {
		all[pool] = map[string]*told{}
	}
	if all[pool][checker] = t; t == nil {
		if delete(all[pool], checker); len(all[pool]) == 0 {
			delete(all, pool)
		}
	}
	if p := r.pools[pool]; p != nil && p.compiled != nil {
		r.setLoads(p)
	}
}

// setLoad gives a member the load that counts.
func (r *Registry) setLoad(pool, member string) {
	p := r.pools[pool]
	if p == nil || p.compiled == nil {
		return
	}
	if i := p.compiled.Member(member); i >= 0 {
		value, from := r.loadOf(p, &p.compiled.Members[i])
		p.compiled.SetLoad(i, value, from)
	}
}

// setLoads is setLoad for all members of a pool.
func (r *Registry) setLoads(p *pool) {
	if len(r.live.loads[p.name]) == 0 && len(r.live.told[p.name]) == 0 && !p.loaded {
		return
	}
	p.loaded = false
	for i := range p.compiled.Members {
		value, from := r.loadOf(p, &p.compiled.Members[i])
		p.loaded = p.loaded || value != none
		p.compiled.SetLoad(i, value, from)
	}
}

// none is no load.
const none = -1

// loadOf is the load of a member, none where nobody tells one, and who does. What somebody has put wins; of what the
// backend tells it is the median of the checkers, so that one of them that lies, or hears another backend behind the
// same address, moves nothing; and with each of them its fullest address.
func (r *Registry) loadOf(p *pool, m *policy.Member) (value float64, from string) {
	if l := r.live.loads[p.name][m.Name]; l != nil && !l.over {
		return l.value, "put"
	}
	var heard []float64
	for _, t := range r.live.told[p.name] {
		most := float64(none)
		for addr, value := range t.loads[m.Name] {
			if p.has(m, addr) {
				most = max(most, value)
			}
		}
		if most != none && !t.over {
			heard = append(heard, most)
		}
	}
	switch n := len(heard); n {
	case 0:
		return none, ""
	case 1:
		return heard[0], "told to 1 checker"
	default:
		slices.Sort(heard)
		return (heard[(n-1)/2] + heard[n/2]) / 2, fmt.Sprintf("told to %d checkers", n)
	}
}

// ExpireLoads takes away the loads that are too old.
func (r *Registry) ExpireLoads() {
	now := r.now()
	for pool, loads := range r.live.loads {
		for member, l := range loads {
			if !l.over && now.Sub(l.at) >= loadLasts {
				l.over = true
				r.setLoad(pool, member)
			}
		}
	}
	for pool, all := range r.live.told {
		over := false
		for _, t := range all {
			if !t.over && now.Sub(t.at) >= loadLasts {
				t.over, over = true, true
			}
		}
		if p := r.pools[pool]; over && p != nil && p.compiled != nil {
			r.setLoads(p)
		}
	}
}

// measured gives the members of a pool that was compiled what is measured of them.
func (r *Registry) measured(p *pool) {
	r.setLoads(p)
	r.setRTTs(p)
}
