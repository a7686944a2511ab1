package policy

import (
	"math/bits"

	"meridian/health"
)

// yield is what a member that is a pool gives: run.given[from:to].
type yield struct {
	asked    bool
	failOpen bool
	said     Outcome // of one that gives nobody and says itself what becomes of that; else Chosen
	from, to int
}

// gives says whether a member gives anybody. One that is a pool is asked, once a run. If it gives
// nobody and says itself what becomes of the answer, it is heard while nobody else is given.
func (r *run) gives(k Pick, first bool) bool {
	m := k.Member()
	child := r.pool.seats[m].child
	if child == 0 {
		return true
	}
	y := &r.yields[m]
	if !y.asked {
		var v verdict
		made := r.decide(&v, r.world.Pools[r.pool.more.children[child-1]], r.depth+1, r.failOpen, asMember)
		*y = yield{asked: true, failOpen: v.failOpen, from: len(r.given)}
		if made && v.outcome == Chosen {
			r.given = append(r.given, v.picks...)
		} else if made {
			y.said = v.outcome
		}
		y.to = len(r.given)
	}
	if first && y.said != Chosen {
		r.said = y.said
	}
	return y.from < y.to
}

// settle puts everybody in order and cuts the list where the answer would hold too much. It says whether
// anybody is left.
func (r *run) settle() bool {
	if !r.pool.nested && r.draw == 0 && len(r.picks) <= maxGiven/health.MaxAddrs {
		return true
	}
	if r.draw != 0 && r.ranked {
		r.rank()
	}
	o := r.order()
	r.draw = 0
	if r.pool.nested {
		return r.settleNested(&o)
	}
	count := 0
	for i := range r.picks {
		o.next(r.picks, i)
		if count += bits.OnesCount16(r.picks[i].Addrs()); count > maxGiven {
			r.cut, r.picks = len(r.picks)-i, r.picks[:i]
			break
		}
	}
	return true
}

// settleNested puts in the place of members that are pools what they give.
func (r *run) settleNested(o *order) bool {
	for i := range r.picks {
		o.next(r.picks, i)
		k := r.picks[i]
		if !r.gives(k, len(r.leaves) == 0) {
			if r.said != Chosen {
				return false
			}
			continue
		}
		if r.pool.seats[k.Member()].child == 0 {
			r.leaves = append(r.leaves, k.of(r.visit))
		} else {
			y := &r.yields[k.Member()]
			r.leaves, r.opened = append(r.leaves, r.given[y.from:y.to]...), r.opened || y.failOpen
		}
	}
	count := 0
	for i, k := range r.leaves {
		if count += bits.OnesCount16(k.Addrs()); count > maxGiven {
			r.cut, r.leaves = len(r.leaves)-i, r.leaves[:i]
			break
		}
	}
	return len(r.leaves) > 0
}
