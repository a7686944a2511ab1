package policy

import (
	"math"

	"meridian/policy/geo"
)

// kmAMillisecond is how far away is what answers in a millisecond more, where nobody has measured.
const kmAMillisecond = 100

// RTTs are the round-trip times that the checkers at one site measure to the members of a pool.
type RTTs struct {
	Site string
	At   geo.Point
	MS   []float64 // by member, of its nearest address; NaN: not measured
}

// rtts are those of all sites, with what was not measured estimated.
type rtts struct {
	rows      []RTTs
	estimated [][]bool // by site and member
}

// SetRTTs tells what is measured. One goroutine calls it; decisions see all of it or none.
func (p *Pool) SetRTTs(rows []RTTs) {
	t := &rtts{}
	for _, row := range rows {
		if !row.At.IsValid() {
			continue // nobody knows who stands next to it
		}
		ms, estimated := make([]float64, len(p.more.stands)), make([]bool, len(p.more.stands))
		for m := range ms {
			if m < len(row.MS) && !math.IsNaN(row.MS[m]) {
				ms[m] = row.MS[m]
			} else {
				ms[m], estimated[m] = p.more.stands[m].km(row.At)/kmAMillisecond, true
			}
		}
		t.rows, t.estimated = append(t.rows, RTTs{row.Site, row.At, ms}), append(t.estimated, estimated)
	}
	p.more.rtts.Store(t)
}

// stand is where a member stands: its point, not valid where that is not known, and its bias as a factor
// of distance.
type stand struct {
	at    geo.Point
	scale float64
}

// newStand takes bias in Route 53's sense: distance × (1 − bias/100), for negative ÷ (1 + bias/100).
func newStand(at geo.Point, bias int8) stand {
	b := float64(bias) / 100
	if b >= 0 {
		return stand{at, 1 - b}
	}
	return stand{at, 1 / (1 + b)}
}

// km is infinite where nobody knows where the member stands: it ranks last.
func (s *stand) km(from geo.Point) float64 {
	if !s.at.IsValid() {
		return math.Inf(1)
	}
	return s.at.Km(from)
}

// nearest keeps the members next to the client, and those hardly farther away. Where nobody knows where
// the client is, or where any member is, it has nothing to go by.
func (r *run) nearest(n *Nearest) effect {
	at := r.place()
	from, _, length := r.world.Geo.Location(at.addr)
	at.add(length)
	if !from.IsValid() {
		return idle
	}
	rule := r.pool.ruler(n, from)
	r.far = r.far[:0]
	least := math.Inf(1)
	for _, k := range r.picks {
		far := rule.to(k.Member())
		r.far = append(r.far, far)
		least = min(least, far)
	}
	if math.IsInf(least, 1) {
		return idle
	}
	most := rule.within(n, least)
	kept := 0
	for i, k := range r.picks {
		if r.far[i] <= most {
			r.picks[kept] = k
			kept++
		}
	}
	r.picks = r.picks[:kept]
	return done
}

// ruler measures how far members are: in km, or in ms.
type ruler struct {
	stands    []stand
	from      geo.Point
	rtt       bool
	biased    bool
	row       *RTTs  // of the checkers next to the client; nil: there are none
	estimated []bool // of row, by member
}

func (p *Pool) ruler(n *Nearest, from geo.Point) ruler {
	rule := ruler{stands: p.more.stands, from: from, rtt: n.rtt, biased: p.more.biased && !n.rtt}
	if !n.rtt {
		return rule
	}
	least := math.Inf(1)
	if t := p.more.rtts.Load(); t != nil {
		for i := range t.rows {
			if km := t.rows[i].At.Km(from); km < least {
				rule.row, rule.estimated, least = &t.rows[i], t.estimated[i], km
			}
		}
	}
	return rule
}

// to is how far a member is, in the ruler's measure: by distance without biases, or estimates alone, the chord.
func (rule *ruler) to(member int) float64 {
	s := &rule.stands[member]
	switch {
	case rule.row != nil:
		return rule.row.MS[member]
	case !rule.biased && s.at.IsValid():
		return s.at.Chord2(rule.from)
	case rule.rtt:
		return s.km(rule.from)
	}
	return s.km(rule.from) * s.scale
}

// far is how far a member is in km, or ms.
func (rule *ruler) far(member int) float64 {
	far := rule.to(member)
	if rule.row == nil && !rule.biased && !math.IsInf(far, 1) {
		far = geo.KmOf(far)
	}
	if rule.row == nil && rule.rtt {
		far /= kmAMillisecond
	}
	return far
}

// within is how far a member may be to stay, where the best is least away.
func (rule *ruler) within(n *Nearest, least float64) float64 {
	switch {
	case rule.row != nil:
		return n.within(least)
	case n.ratio == 1 && n.more == 0:
		return least
	}
	unit := 1.0
	if rule.rtt {
		unit = kmAMillisecond
	}
	if rule.biased {
		return unit * n.within(least/unit)
	}
	return geo.Chord2Of(unit * n.within(geo.KmOf(least)/unit))
}
