package store

import (
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"

	"meridian/policy"
	"meridian/policy/geo"
)

// vantage is where something is measured from.
type vantage struct {
	site    string // "": of a checker of which nothing has said yet where it stands
	checker string
}

// measure is the value of an rtt key.
type measure struct {
	ms   rttSpec
	gone bool // there is no such key any more; no other checker of the site has measured since
}

// put takes what is measured now in the place of what was.
func (l *live) put(pool string, from vantage, m *measure) {
	for old, was := range l.rtts[pool] {
		switch {
		case old.checker == from.checker && old.site != from.site && !was.gone:
			l.leave(pool, old, true)
		case old.site == from.site && was.gone:
			delete(l.rtts[pool], old)
		}
	}
	if l.rtts[pool] == nil {
		l.rtts[pool] = map[vantage]*measure{}
	}
	l.rtts[pool][from] = m
}

// leave keeps the last that is known of a site, if that is asked for.
func (l *live) leave(pool string, from vantage, keep bool) {
	for other, m := range l.rtts[pool] {
		if other.site == from.site && other != from && !m.gone {
			keep = false
		}
	}
	if keep && from.site != "" {
		l.rtts[pool][from].gone = true
		return
	}
	if delete(l.rtts[pool], from); len(l.rtts[pool]) == 0 {
		delete(l.rtts, pool)
	}
}

// measuredFor says whether the last that is known of a pool is worth to be kept: pool and site are there, or
// nobody knows yet what is.
func (r *Registry) measuredFor(pool, site string) bool {
	return r.snapshot == nil || r.pools[pool] != nil && r.sites[site] != nil
}

// forget drops what is kept of a pool, or a site, that has gone.
func (l *live) forget(gone func(pool, site string) bool) {
	for pool, measures := range l.rtts {
		maps.DeleteFunc(measures, func(from vantage, m *measure) bool { return m.gone && gone(pool, from.site) })
		if len(measures) == 0 {
			delete(l.rtts, pool)
		}
	}
}

// remeasure tells pools, and those around them, which round-trip times there are now.
func (r *Registry) remeasure(pools map[string]bool) {
	names := slices.Collect(maps.Keys(pools))
	for i := 0; i < len(names); i++ {
		for parent := range r.lie.up[names[i]] {
			if !pools[parent] {
				pools[parent] = true
				names = append(names, parent)
			}
		}
	}
	for _, name := range names {
		if p := r.pools[name]; p != nil && p.compiled != nil {
			r.setRTTs(p)
		}
	}
}

// setRTTs gives a pool, if it asks for round-trip times, a row for each site that they are measured from.
func (r *Registry) setRTTs(p *pool) {
	if !slices.ContainsFunc(p.compiled.Steps, func(s policy.Step) bool { return s.Op == policy.OpNearest && s.Nearest.By == "rtt" }) {
		return
	}
	sites := map[string]bool{}
	r.vantages(p, sites, map[*pool]bool{})
	var rows []policy.RTTs
	for _, site := range slices.Sorted(maps.Keys(sites)) {
		if at := r.pointOf(site); at.IsValid() {
			row := policy.RTTs{Site: site, At: at}
			r.times(p, site, map[*pool]float64{}, &row.MS)
			rows = append(rows, row)
		}
	}
	p.compiled.SetRTTs(rows)
}

// pointOf is where a site is, not valid where nobody knows.
func (r *Registry) pointOf(site string) geo.Point {
	if o := r.sites[site]; o != nil {
		return o.value.Point()
	}
	return geo.Point{}
}

// vantages gathers the sites from which a pool, or one within it, is measured.
func (r *Registry) vantages(p *pool, sites map[string]bool, been map[*pool]bool) {
	been[p] = true
	for from := range r.live.rtts[p.name] {
		sites[from.site] = true
	}
	for _, id := range p.compiled.Children() {
		if child := r.poolIDs[id]; child != nil && child.compiled != nil && !been[child] {
			r.vantages(child, sites, been)
		}
	}
}

// times are the round-trip times from a site to the members of a pool, if row is not nil: of a member's nearest
// address the mean of the checkers there, of one that is a pool that of its nearest member. least is that of the
// nearest, NaN where none is measured. known holds what was found of pools.
func (r *Registry) times(p *pool, site string, known map[*pool]float64, row *[]float64) (least float64) {
	if least, ok := known[p]; ok {
		return least
	}
	least = math.NaN()
	var measured []rttSpec
	for from, m := range r.live.rtts[p.name] {
		if from.site == site {
			measured = append(measured, m.ms)
		}
	}
	for i := range p.compiled.Members {
		m := &p.compiled.Members[i]
		var ms float64
		if m.Pool == "" {
			ms = p.mean(m, measured)
		} else if child := r.poolIDs[m.Child]; child != nil && child.compiled != nil {
			ms = r.times(child, site, known, nil)
		} else {
			ms = math.NaN()
		}
		if row != nil {
			*row = append(*row, ms)
		}
		least = nearer(least, ms)
	}
	known[p] = least
	return least
}

// mean is that of what was measured to the nearest address of a member that is no pool, NaN where nothing was.
func (p *pool) mean(m *policy.Member, measured []rttSpec) float64 {
	sum, n := 0.0, 0
	for _, times := range measured {
		least := math.NaN()
		for addr, ms := range times[m.Name] {
			if p.has(m, addr) {
				least = nearer(least, ms)
			}
		}
		if !math.IsNaN(least) {
			sum, n = sum+least, n+1
		}
	}
	if n == 0 {
		return math.NaN()
	}
	return sum / float64(n)
}

// has says whether an address is a member's now: what it was at another says nothing. Of a name any will do.
func (p *pool) has(m *policy.Member, addr netip.Addr) bool {
	return m.CNAME != "" || slices.Contains(m.Addrs, addr) || p.checkedAt(m.Name, addr)
}

// checkedAt says whether an address is the one that is checked in the place of the member's own.
func (p *pool) checkedAt(member string, addr netip.Addr) bool {
	m := p.members[member]
	return m != nil && m.value.CheckAddr != nil && *m.value.CheckAddr == addr
}

// nearer is the lesser of two times, either of which may be NaN: not measured.
func nearer(x, y float64) float64 {
	if math.IsNaN(x) || y < x {
		return y
	}
	return x
}

// settleMeasured takes in what a batch has made of sites: where measures are from.
func (b *batch) settleMeasured() {
	touched := map[string]bool{}
	for key := range b.changed {
		site, ok := strings.CutPrefix(key, "site/")
		if !ok {
			continue
		}
		if b.sites[site] == nil {
			b.live.forget(func(_, from string) bool { return from == site })
		}
		for pool, measures := range b.live.rtts {
			for from := range measures {
				if from.site == site {
					touched[pool] = true
				}
			}
		}
	}
	if len(touched) > 0 {
		b.remeasure(touched)
	}
}
