package policy

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
)

// weighted leaves the order to chance, or to what follows from the client.
func (r *run) weighted(st *Step, random uint64) {
	r.draw, r.ranked = drawOf(random), st.sticky()
	if !r.ranked {
		return
	}
	if len(r.scores) < len(r.words) {
		r.scores = make([]float64, len(r.words))
	}
	for _, k := range r.picks {
		r.scores[k.Member()] = score(mix(r.draw, r.pool.more.hashes[k.Member()], 0), k.weight())
	}
}

// score is a member's in weighted rendezvous: the lowest goes first, each with a chance by its weight, and
// where one leaves or comes the order of the others stays. Those of weight 0 come after all.
func score(random, weight uint64) float64 {
	far := -math.Log((float64(random>>11) + 0.5) / (1 << 53)) // of an exponential distribution, 0 to 37
	if weight == 0 {
		return 100 + far
	}
	return far / float64(weight)
}

// rank puts everybody in order, by score.
func (r *run) rank() {
	slices.SortFunc(r.picks, func(j, k Pick) int { return cmp.Compare(r.scores[j.Member()], r.scores[k.Member()]) })
	r.draw = 0
}

// Prefixes that clients of one network are in for all draws that follow from the client.
const (
	sticky4 = 24
	sticky6 = 56
)

// stick has all draws follow from the client's network, if a step says so of this query.
func (r *run) stick() {
	for i := range r.pool.Steps {
		st := &r.pool.Steps[i]
		if st.sticky() && (st.When == nil || r.fits(st.When.condition)) {
			r.seed = r.network()
			return
		}
	}
}

// network is a hash of the network that the client is in.
func (r *run) network() uint64 {
	at := r.place()
	length := sticky6
	if at.addr.Is4() {
		length = sticky4
	}
	at.add(uint8(length))
	net, _ := at.addr.Prefix(length)
	b := net.Addr().As16()
	return mix(binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:]), length)
}

// order is what a weighted step leaves to chance.
type order struct {
	draw    uint64     // run.draw
	undrawn uint64     // weight of those not drawn yet
	scores  *[]float64 // run.scores; nil: it is chance
}

// drawOf makes a random number the seed of draws, which is not 0.
func drawOf(random uint64) uint64 { return random | 1 }

func (r *run) order() order {
	o := order{draw: r.draw}
	switch {
	case o.draw == 0:
	case r.ranked:
		o.scores = &r.scores
	default:
		for _, k := range r.picks {
			o.undrawn += k.weight()
		}
	}
	return o
}

// next brings the pick that comes i-th into place i, where a weighted step left that open: drawn by
// weight among those not drawn yet; weight 0 only when nothing else is left.
func (o *order) next(picks []Pick, i int) {
	if o.draw == 0 {
		return
	}
	rest := picks[i:]
	if o.scores != nil {
		o.lowest(rest)
		return
	}
	random := mix(o.draw, 0, i)
	if o.undrawn == 0 {
		j := below(random, uint64(len(rest)))
		rest[0], rest[j] = rest[j], rest[0]
		return
	}
	at := below(random, o.undrawn)
	for j := range rest {
		w := rest[j].weight()
		if at < w {
			rest[0], rest[j] = rest[j], rest[0]
			o.undrawn -= w
			return
		}
		at -= w
	}
}

// lowest brings the pick with the lowest score to the front.
func (o *order) lowest(rest []Pick) {
	first, scores := 0, *o.scores
	for j := range rest {
		if scores[rest[j].Member()] < scores[rest[first].Member()] {
			first = j
		}
	}
	rest[0], rest[first] = rest[first], rest[0]
}

// mix makes of one random number another one for each pool and step, or draw (the finalizer of
// splitmix64), so that one step's draw moves no other's.
func mix(random, seed uint64, i int) uint64 {
	x := random ^ seed + uint64(i+1)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// below maps a random number to 0…n−1 evenly.
func below(random, n uint64) uint64 {
	hi, _ := bits.Mul64(random, n)
	return hi
}
