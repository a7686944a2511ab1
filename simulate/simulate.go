// Package simulate asks one question for many clients, with the code that answers queries, and counts who is
// given: a pure function of snapshots, clients and a seed.
package simulate

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/miekg/dns"

	"meridian/health"
	"meridian/policy"
	"meridian/policy/geo"
	"meridian/zones"
)

// Question is asked for all clients.
type Question struct {
	Name    zones.Name
	Type    uint16
	Clients []Client
	Draws   int    // times that clients ask, about: each at least once, and as often as it weighs
	Seed    uint64 // of the random numbers: the same draws the same

	// Moves has each client listed that a registry compared sends elsewhere.
	Moves bool

	// Progress is told, from several goroutines, how many times clients have asked since it was told; may be nil.
	Progress func(times int)
}

// Times is how many times clients ask.
func (q *Question) Times() int {
	total, per := 0, q.weightPerDraw()
	for i := range q.Clients {
		total += q.Clients[i].draws(per)
	}
	return total
}

// weightPerDraw is what a client asks once for, about.
func (q *Question) weightPerDraw() float64 {
	total := 0.0
	for i := range q.Clients {
		total += q.Clients[i].Weight
	}
	return total / float64(max(1, q.Draws))
}

func (c *Client) draws(per float64) int { return max(1, int(c.Weight/per+0.5)) }

// Registry is what the clients ask.
type Registry struct {
	Snapshot *zones.Snapshot
	Sites    map[string]geo.Point // places of sites, as far as they are known
}

// AllUp has every address that is checked, and of which nothing is known, be up.
func AllUp(s *zones.Snapshot) {
	derived := map[*policy.Pool]bool{}
	for _, p := range s.Pools {
		if p != nil {
			allUp(s, p, derived)
		}
	}
}

// allUp is AllUp for p, the pools within it first.
func allUp(s *zones.Snapshot, p *policy.Pool, done map[*policy.Pool]bool) {
	if done[p] {
		return
	}
	done[p] = true
	for i := range p.Members {
		m := &p.Members[i]
		if m.Pool != "" {
			allUp(s, s.Pools[m.Child], done)
			before := p.Health(i)
			p.Derive(i, s.Pools[m.Child])
			p.SetWord(i, withUp(p.Health(i), before)) // one that a person holds up stays so
			continue
		}
		addrs := len(m.Addrs)
		if m.CNAME != "" {
			addrs = 1
		}
		for a := range addrs {
			if w := p.Health(i); w.State(a) == health.Unknown {
				p.SetWord(i, w.With(a, health.Up))
			}
		}
	}
}

// withUp is w with the families that are up in before.
func withUp(w, before health.Word) health.Word {
	for _, f := range []policy.Family{policy.IPv4, policy.IPv6} {
		if before.State(int(f)) == health.Up {
			w = w.With(int(f), health.Up)
		}
	}
	return w
}

const (
	maxChunk = 256  // clients that a worker takes at once
	tellEach = 4096 // draws after which it says how far it is, and looks whether to go on
)

// Run asks q of now, and of then, if there is one, with the same clients and the same random numbers. Errors
// say that no pool answers, or that ctx is done.
func Run(ctx context.Context, q Question, now, then *Registry) (*Report, error) {
	x := newIndex()
	registries := []*numbered{x.number(now)}
	if then != nil {
		registries = append(registries, x.number(then))
	}
	workers := make([]*worker, max(1, min(runtime.GOMAXPROCS(0), len(q.Clients))))
	chunk := max(1, min(maxChunk, len(q.Clients)/(4*len(workers))))
	var next atomic.Int64
	var running sync.WaitGroup
	for i := range workers {
		w := newWorker(ctx, &q, x, registries)
		workers[i] = w
		running.Go(func() {
			defer w.tell()
			for {
				from := int(next.Add(int64(chunk))) - chunk
				if from >= len(q.Clients) {
					return
				}
				for i := from; i < min(from+chunk, len(q.Clients)); i++ {
					if !w.ask(i) {
						return
					}
				}
			}
		})
	}
	running.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	all := workers[0]
	for _, w := range workers[1:] {
		all.add(w)
	}
	r := report(&q, x, all)
	for _, t := range all.tallies {
		if len(t.asked) > 0 {
			return r, nil
		}
	}
	return nil, noPool(&q, r)
}

// noPool says what answers in place of a pool.
func noPool(q *Question, r *Report) error {
	what := fmt.Sprintf("%s %s: no pool answers it", q.Name.String(), dns.Type(q.Type))
	if len(r.Now.Outcomes) == 1 && r.Now.Outcomes[0].Name != zones.Found.String() {
		return fmt.Errorf("%s, it is %s for everybody", what, r.Now.Outcomes[0].Name)
	}
	return errors.New(what + ", it is the same for everybody")
}

// worker asks for some of the clients.
type worker struct {
	ctx     context.Context
	q       *Question
	perDraw float64
	random  rand.PCG
	draws   int
	told    int // of them
	query   zones.Query
	tallies []*tally // of each registry

	moved   map[[2]int32]float64 // weight, by from and to
	clients []clientMove
	own     map[[2]int32]float64 // of the client that asks now, if they are listed
}

// clientMove is what of a client's weight goes elsewhere.
type clientMove struct {
	client   int // its place in Question.Clients
	from, to int32
	weight   float64
}

func newWorker(ctx context.Context, q *Question, x *index, registries []*numbered) *worker {
	w := &worker{ctx: ctx, q: q, perDraw: q.weightPerDraw(), moved: map[[2]int32]float64{}, own: map[[2]int32]float64{}}
	w.query.Name, w.query.Type = q.Name, q.Type
	for _, r := range registries {
		w.tallies = append(w.tallies, newTally(r, len(x.names)))
	}
	return w
}

// ask asks for client i: as often as it weighs, each time with an address of its network by chance. Its random
// numbers follow from the seed and its place alone. It says whether to go on.
func (w *worker) ask(i int) bool {
	c := &w.q.Clients[i]
	draws := c.draws(w.perDraw)
	weight := c.Weight / float64(draws)
	w.random.Seed(w.q.Seed, uint64(i))
	for range draws {
		w.query.Client = policy.Client{Addr: address(c.Net, &w.random)}
		w.query.Random = w.random.Uint64()
		from := w.place()
		for _, t := range w.tallies {
			t.ask(&w.query, weight, from)
		}
		if len(w.tallies) == 2 {
			w.compare(weight)
		}
		if w.draws++; w.draws%tellEach == 0 {
			if w.tell(); w.ctx.Err() != nil {
				return false
			}
		}
	}
	if len(w.own) > 0 {
		w.list(i)
	}
	return true
}

// tell says how far the worker has come.
func (w *worker) tell() {
	if w.q.Progress != nil {
		w.q.Progress(w.draws - w.told)
	}
	w.told = w.draws
}

// place is where the client is, not valid where that is not known.
func (w *worker) place() geo.Point {
	d := w.tallies[0].Snapshot.Geo
	if d == nil {
		return geo.Point{}
	}
	addr, _ := geo.Fold(w.query.Client.Addr)
	at, _, _ := d.Location(addr)
	return at
}

// compare counts who is given less by the second registry as sent on to those who are given more.
func (w *worker) compare(weight float64) {
	before, after := w.tallies[0].given, w.tallies[1].given
	if len(before) == 1 && len(after) == 1 && before[0].to == after[0].to {
		return
	}
	gained := 0.0
	for _, a := range after {
		gained += max(0, a.share-before.of(a.to))
	}
	if gained < 1e-9 {
		return
	}
	for _, b := range before {
		lost := b.share - after.of(b.to)
		if lost <= 0 {
			continue
		}
		for _, a := range after {
			if more := a.share - before.of(a.to); more > 0 {
				w.move(b.to, a.to, weight*lost*more/gained)
			}
		}
	}
}

func (w *worker) move(from, to int32, weight float64) {
	w.moved[[2]int32{from, to}] += weight
	if w.q.Moves {
		w.own[[2]int32{from, to}] += weight
	}
}

// list takes down where client i has gone.
func (w *worker) list(i int) {
	for pair, weight := range w.own {
		w.clients = append(w.clients, clientMove{i, pair[0], pair[1], weight})
	}
	clear(w.own)
}

// add counts what v has counted as w's.
func (w *worker) add(v *worker) {
	w.draws += v.draws
	for i, t := range w.tallies {
		t.add(v.tallies[i])
	}
	for pair, weight := range v.moved {
		w.moved[pair] += weight
	}
	w.clients = append(w.clients, v.clients...)
}
