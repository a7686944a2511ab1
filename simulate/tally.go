package simulate

import (
	"maps"
	"math"
	"math/bits"

	"meridian/policy"
	"meridian/policy/geo"
	"meridian/zones"
)

// index numbers those whom clients can be sent to, alike for all registries: first the outcomes of a query
// without a member, as zones.Outcome has them, then members.
type index struct {
	names []string // "nodata", "web/fra1"
	of    map[string]int32
}

// outcomes is how many zones.Outcome there are.
const outcomes = int(zones.ServFail) + 1

func newIndex() *index {
	x := &index{of: map[string]int32{}}
	for o := range outcomes {
		x.names = append(x.names, zones.Outcome(o).String())
	}
	return x
}

// numbered is a Registry whose members are numbered.
type numbered struct {
	*Registry
	seats map[*policy.Pool][]seat // by the members' places in the pool
	sites map[int32]string        // of members, by index
}

// seat is a member as it is counted.
type seat struct {
	number int32     // by index
	at     geo.Point // not valid where that is not known
}

func (x *index) number(r *Registry) *numbered {
	n := &numbered{r, map[*policy.Pool][]seat{}, map[int32]string{}}
	for _, p := range r.Snapshot.Pools {
		if p == nil {
			continue
		}
		for i := range p.Members {
			m := &p.Members[i]
			name := p.Name + "/" + m.Name
			number, known := x.of[name]
			if !known {
				number = int32(len(x.names))
				x.names = append(x.names, name)
				x.of[name] = number
			}
			n.seats[p] = append(n.seats[p], seat{number, r.Sites[m.Site]})
			n.sites[number] = m.Site
		}
	}
	return n
}

// part is what of an answer is somebody's.
type part struct {
	to    int32 // by index
	share float64
}

type parts []part

func (p parts) of(to int32) (share float64) {
	for _, one := range p {
		if one.to == to {
			share += one.share
		}
	}
	return share
}

// longestKm is half the way around the earth, rounded up.
const longestKm = 20016

// tally counts the answers of one registry. All counts are weights.
type tally struct {
	*numbered
	answer zones.Answer
	given  parts // by the last answer
	asked  map[*policy.Pool]bool
	last   *policy.Pool // of asked, the last

	outcomes [outcomes]float64
	failOpen float64
	members  []float64 // by index
	km       []float64 // of the distances counted, weight × km, by index
	known    []float64 // counted for distances, by index
	by       []float64 // likewise, by km
	noClient float64   // given although nobody knows where the client is
	noSite   float64   // where the client is known, but not the member
}

func newTally(r *numbered, names int) *tally {
	return &tally{
		numbered: r, asked: map[*policy.Pool]bool{},
		members: make([]float64, names), km: make([]float64, names), known: make([]float64, names),
		by: make([]float64, longestKm+1),
	}
}

// ask has q answered for a client of a weight that stands at a place, and counts the answer. One that gives
// several addresses counts for each in equal parts.
func (t *tally) ask(q *zones.Query, weight float64, from geo.Point) {
	a := &t.answer
	zones.Resolve(t.Snapshot, q, a, nil)
	d := &a.Decision
	t.given = t.given[:0]
	t.outcomes[a.Outcome] += weight
	if d.Pool != nil && d.Pool != t.last {
		t.asked[d.Pool], t.last = true, d.Pool
	}
	if a.Outcome != zones.Found || d.Pool == nil || d.Outcome != policy.Chosen {
		t.given = append(t.given, part{int32(a.Outcome), 1})
		return
	}
	if d.FailOpen {
		t.failOpen += weight
	}
	addrs := 0
	for _, k := range d.Picks {
		addrs += bits.OnesCount16(k.Addrs())
	}
	for _, k := range d.Picks {
		s := &t.seats[d.Of(k)][k.Member()]
		share := float64(bits.OnesCount16(k.Addrs())) / float64(addrs)
		t.given = append(t.given, part{s.number, share})
		t.members[s.number] += weight * share
		t.distance(s, weight*share, from)
	}
}

func (t *tally) distance(s *seat, weight float64, from geo.Point) {
	switch {
	case !from.IsValid():
		t.noClient += weight
	case !s.at.IsValid():
		t.noSite += weight
	default:
		km := from.Km(s.at)
		t.km[s.number] += weight * km
		t.known[s.number] += weight
		t.by[int(km+0.5)] += weight
	}
}

// add counts what u has counted as t's.
func (t *tally) add(u *tally) {
	maps.Copy(t.asked, u.asked)
	sum(t.outcomes[:], u.outcomes[:])
	sum(t.members, u.members)
	sum(t.km, u.km)
	sum(t.known, u.known)
	sum(t.by, u.by)
	t.failOpen += u.failOpen
	t.noClient += u.noClient
	t.noSite += u.noSite
}

func sum(to, from []float64) {
	for i, v := range from {
		to[i] += v
	}
}

// percentile is the distance that a share of the weight lies within, in whole km.
func (t *tally) percentile(share float64) float64 {
	all := 0.0
	for _, w := range t.by {
		all += w
	}
	at := 0.0
	for km, w := range t.by {
		if at += w; at >= all*share*(1-1e-12) {
			return float64(km)
		}
	}
	return math.NaN()
}
