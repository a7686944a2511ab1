package etcd

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

var (
	seed   = flag.Uint64("seed", 0, "of the first round of TestPromisesBrokenAtRandom; 0 takes the time")
	rounds = flag.Int("rounds", 8, "of TestPromisesBrokenAtRandom")
)

// An etcd that breaks its promises again and again, in any order, never has more come of it than what
// was true at the revision said, and the truth of now in the end.
func TestPromisesBrokenAtRandom(t *testing.T) {
	first := *seed
	if first == 0 {
		first = uint64(time.Now().UnixNano())
	}
	for i := range *rounds {
		seed := first + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("again with go test ./store/etcd -run TestPromisesBrokenAtRandom -seed %d -rounds 1", seed)
				}
			})
			synctest.Test(t, func(t *testing.T) { newRound(t, seed).play() })
		})
	}
}

// round is one etcd and one who follows it.
type round struct {
	*receiver
	rand   *rand.Rand
	keys   int     // 0 to this many: more than a page holds
	leases []int64 // 0: none
}

func newRound(t *testing.T, seed uint64) *round {
	f := startFake(t, seed)
	r := &round{rand: rand.New(rand.NewPCG(seed, 1)), keys: firstPage + 100, leases: make([]int64, 4)}
	f.do(func() {
		var ops []op
		for i := range r.keys {
			ops = append(ops, op{key: fmt.Sprint("k", i), value: "0"})
		}
		f.commit(ops...)
	})
	r.receiver = follow(t, f, Config{})
	return r
}

func (r *round) play() {
	r.converge()
	for range 6 {
		fault := faults[r.rand.IntN(len(faults))]
		r.t.Log(fault.name)
		fault.make(r, r.fake)
		r.write()
		if r.rand.IntN(3) == 0 {
			continue // one fault into the other
		}
		r.heal()
		r.converge()
	}
	r.heal()
	r.write()
	r.converge()
}

func (r *round) heal() {
	r.fake.do(func() { r.fake.behind, r.fake.paused, r.fake.leaseless = 0, false, false })
}

// write makes some revisions of puts, deletes and leases that end.
func (r *round) write() {
	r.fake.do(func() {
		for range 1 + r.rand.IntN(8) {
			var ops []op
			for _, k := range r.rand.Perm(r.keys)[:1+r.rand.IntN(3)] {
				o := op{key: fmt.Sprint("k", k)}
				if r.rand.IntN(3) > 0 {
					o.value = fmt.Sprint(r.rand.Uint32())
					o.lease = r.leases[r.rand.IntN(len(r.leases))]
				}
				ops = append(ops, o)
			}
			r.fake.commit(ops...)
			if r.rand.IntN(4) == 0 {
				r.renew()
			}
		}
	})
}

// renew ends a lease and takes another in its place. Under fake.mu.
func (r *round) renew() {
	i := 1 + r.rand.IntN(len(r.leases)-1)
	if r.leases[i] != 0 {
		r.fake.expire(r.leases[i])
	}
	r.leases[i] = r.rand.Int64()
	r.fake.leases[r.leases[i]] = true
}

// breaks has the next response of a watch be broken, and sees that there is one.
func breaks(how func(f *fakeEtcd) breaker) func(*round, *fakeEtcd) {
	return func(r *round, f *fakeEtcd) {
		f.do(func() { f.breakers = append(f.breakers, how(f)) })
		r.write()
	}
}

var faults = []struct {
	name string
	make func(r *round, f *fakeEtcd)
}{
	{"nothing", func(*round, *fakeEtcd) {}},
	{"compacted while the watch is away", func(r *round, f *fakeEtcd) {
		f.do(func() { f.ending.generation++; f.paused = true })
		r.write()
		f.do(func() { f.compacted = int64(len(f.changes) - 1); f.paused = false })
	}},
	{"compacted between a read and its watch", func(r *round, f *fakeEtcd) {
		f.do(func() {
			f.beforeNext = func() { f.commit(op{key: "k1", value: "x"}); f.compacted = f.commit(op{key: "k2"}, op{key: "k1"}) }
		})
		f.cut()
	}},
	{"compacted between two pages", func(r *round, f *fakeEtcd) {
		f.do(func() {
			f.beforePage = func() { f.compacted = f.commit(op{key: "k0", value: "x"}, op{key: "k999", value: "x"}) }
			f.ending.generation++
		})
	}},
	{"compacted under a watch that is slow", func(r *round, f *fakeEtcd) {
		f.do(func() { f.paused = true })
		r.write()
		f.do(func() { f.compacted = int64(len(f.changes) - 1); f.paused = false })
	}},
	{"cancelled", func(r *round, f *fakeEtcd) {
		f.do(func() { f.ending = ending{f.ending.generation + 1, "etcdserver: no leader"} })
	}},
	{"closed", func(r *round, f *fakeEtcd) { f.do(func() { f.ending = ending{generation: f.ending.generation + 1} }) }},
	{"cut", func(r *round, f *fakeEtcd) { f.cut() }},
	{"another cluster", func(r *round, f *fakeEtcd) {
		f.do(func() { f.become(f.cluster + 1); f.commit(op{key: "k1", value: "x"}) })
	}},
	{"left out", breaks(func(f *fakeEtcd) breaker { return f.leaveOut })},
	{"twice", breaks(func(f *fakeEtcd) breaker { return f.twice })},
	{"again", breaks(func(f *fakeEtcd) breaker { return f.again })},
	{"out of order", breaks(func(f *fakeEtcd) breaker { return f.swap })},
	{"late", breaks(func(f *fakeEtcd) breaker { return f.late })},
	{"a member that lags", func(r *round, f *fakeEtcd) {
		f.do(func() {
			f.behind = max(1, f.head()-1-r.rand.Int64N(5))
			f.ending.generation++
		})
		for u := r.next(); !u.Full; u = r.next() {
		}
	}},
	{"paused", func(r *round, f *fakeEtcd) {
		f.do(func() { f.paused = true })
		r.write()
		r.lost()
		f.do(func() { f.paused = false })
	}},
	{"leases not told of", func(r *round, f *fakeEtcd) {
		f.do(func() { f.leaseless = true })
		r.write()
		f.do(r.renew)
		r.next()
	}},
	{"a slow receiver", func(r *round, f *fakeEtcd) {
		for range 100 {
			r.write()
		}
	}},
	{"an impatient receiver", func(r *round, f *fakeEtcd) {
		for range 3 {
			select {
			case r.again <- struct{}{}:
			default:
			}
			r.write()
			r.next()
		}
	}},
}
