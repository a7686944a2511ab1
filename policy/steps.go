package policy

import "slices"

// up keeps the addresses that are up; while none is known to be, those of which nothing is known
// yet stand in.
func (r *run) up() effect {
	n := 0
	for _, pick := range r.picks {
		if pick = pick.only(r.words[pick.Member()].Up()); pick.Addrs() != 0 {
			r.picks[n] = pick
			n++
		}
	}
	if n == 0 {
		return r.unknown()
	}
	r.picks = r.picks[:n]
	return done
}

// unknown keeps the addresses of which nothing is known.
func (r *run) unknown() effect {
	n := 0
	for _, pick := range r.picks {
		if pick = pick.only(r.words[pick.Member()].Unknown()); pick.Addrs() != 0 {
			r.picks[n] = pick
			n++
		}
	}
	if !r.kept(n) {
		return emptied
	}
	return done
}

// kept leaves the first n. If there are none it changes nothing and says so.
func (r *run) kept(n int) bool {
	if n == 0 {
		return false
	}
	r.picks = r.picks[:n]
	return true
}

// tier keeps the lowest tier present, or, by the chance of trickle, the next one. Tiers below the
// latch do not count while others are there.
func (r *run) tier(t *Tier, random uint64) effect {
	const none = 1 << 16
	latch := 0
	if t.latches() {
		latch = int(r.pool.more.latch.Load())
	}
	lowest, next, below := none, none, none
	for i := range r.picks {
		switch t := int(r.pool.seats[r.picks[i].Member()].tier); {
		case t < latch:
			below = min(below, t)
		case t < lowest:
			lowest, next = t, lowest
		case t > lowest && t < next:
			next = t
		}
	}
	if lowest == none {
		lowest = below
	}
	if next != none && random < t.trickle {
		lowest = next
	}
	n := 0
	for _, pick := range r.picks {
		if int(r.pool.seats[pick.Member()].tier) == lowest {
			r.picks[n] = pick
			n++
		}
	}
	r.picks = r.picks[:n]
	return done
}

// shed takes members off, each by a chance of its own.
func (r *run) shed(shed *Shed, random uint64) effect {
	n := 0
	for _, pick := range r.picks {
		m := pick.Member()
		if mix(random, r.pool.more.hashes[m], 0) >= shed.chance(r.words[m]) {
			r.picks[n] = pick
			n++
		}
	}
	if !r.kept(n) {
		return emptied
	}
	return done
}

// take keeps the first N in order that yield, at most one a site if they are to be distinct. A member
// without a site is like no other.
func (r *run) take(take *Take) effect {
	o := r.order()
	r.sites = r.sites[:0]
	kept := 0
	for i := 0; i < len(r.picks) && kept < take.N; i++ {
		o.next(r.picks, i)
		site := r.pool.seats[r.picks[i].Member()].site
		if take.Distinct != "" && site != 0 && slices.Contains(r.sites, site) || r.pool.nested && !r.gives(r.picks[i], kept == 0) {
			if r.said != Chosen {
				return strictly
			}
			continue
		}
		r.sites = append(r.sites, site)
		if kept != i {
			r.picks[kept], r.picks[i] = r.picks[i], r.picks[kept]
		}
		kept++
	}
	r.draw = 0
	if kept == 0 {
		return strictly
	}
	r.picks = r.picks[:kept]
	return done
}
