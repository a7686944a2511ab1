//go:build faults

package main

import (
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var faultKills = flag.Int("kills", 24, "how many backends TestFaultDeath kills")

// death is a way for a backend to end. It returns when that was, and what brings it back.
type death struct {
	name string
	can  func(*service) bool
	do   func(*bench, *service) (at time.Time, revive func())
}

var deaths = []death{
	{"process killed", func(*service) bool { return true }, func(b *bench, s *service) (time.Time, func()) {
		s.kill()
		return time.Now(), s.start
	}},
	{"machine cut off", func(*service) bool { return true }, func(b *bench, s *service) (time.Time, func()) {
		heal := b.wire.cut(s.nets(), everywhere)
		return time.Now(), heal
	}},
	{"HTTP 500", func(s *service) bool { return s.pool != fmt.Sprintf("p%d", poolTCP) }, func(b *bench, s *service) (time.Time, func()) {
		s.status.Store(http.StatusInternalServerError)
		return time.Now(), func() { s.status.Store(http.StatusOK) }
	}},
	{"certificate expired", func(s *service) bool { return s.signs != nil }, func(b *bench, s *service) (time.Time, func()) {
		at := time.Now().Add(3 * time.Second).Truncate(time.Second)
		s.expireAt(at)
		time.Sleep(time.Until(at))
		return at, func() { s.kill(); s.start() }
	}},
}

// deadAtOnce is how many may be dead at once: less than half of all, so that it is no mass.
const deadAtOnce = 6

// TestFaultDeath: backends die, at any time and in every way. Each leaves the answers of all servers in time, and
// nobody else does. Three sites vote.
func TestFaultDeath(t *testing.T) {
	b := newBench(t)
	b.up(`,"from":["site:ams","site:fra","site:nyc"]`, "--checker-sentinel", b.sentinels())
	var (
		mu    sync.Mutex
		took  = map[string][]time.Duration{}
		dying sync.WaitGroup
	)
	turns := make(chan bool, deadAtOnce)
	free := slices.Clone(b.services)
	for i := range *faultKills {
		turns <- true
		mu.Lock()
		d := deaths[i%len(deaths)]
		b.random.Shuffle(len(free), func(x, y int) { free[x], free[y] = free[y], free[x] })
		at := slices.IndexFunc(free, d.can)
		if at < 0 { // all that could are dead
			d, at = deaths[0], 0
		}
		s := free[at]
		free = slices.Delete(free, at, at+1)
		phase := time.Duration(b.random.Int64N(int64(b.check.interval)))
		mu.Unlock()
		dying.Go(func() {
			b.letPass(phase)
			last := b.die(d, s)
			mu.Lock()
			took[d.name] = append(took[d.name], last)
			free = append(free, s)
			mu.Unlock()
			<-turns
		})
	}
	dying.Wait()
	var all []time.Duration
	for _, d := range deaths {
		t.Logf("figure: Death: %s: %s", d.name, percentiles(took[d.name]))
		all = append(all, took[d.name]...)
	}
	b.result("from the end to the last wrong answer of three servers: "+percentiles(all), b.wire.counted().String())
}

// die ends a backend, waits until it has left the answers, and brings it back. It returns how long after its end
// the last answer with it came.
func (b *bench) die(d death, s *service) (last time.Duration) {
	b.oracle.leaves(s.addrs, time.Now().Add(time.Hour)) // until it is known when it is due
	at, revive := d.do(b, s)
	due := at.Add(b.check.leaves())
	b.oracle.leaves(s.addrs, due)
	for !b.oracle.everywhere(s.addrs, false) && time.Now().Before(due.Add(time.Second)) {
		b.letPass(20 * time.Millisecond)
	}
	last = b.oracle.last(s.addrs).Sub(at)
	b.say("%s/%s: %s, last given %v after that", s.pool, s.name, d.name, last.Round(time.Millisecond))
	revive()
	back := time.Now().Add(b.check.returns())
	b.oracle.returns(s.addrs, back)
	for !b.oracle.everywhere(s.addrs, true) && time.Now().Before(back.Add(time.Second)) {
		b.letPass(20 * time.Millisecond)
	}
	return max(0, last)
}

// percentiles are those of some times in words.
func percentiles(list []time.Duration) string {
	if len(list) == 0 {
		return "none"
	}
	slices.Sort(list)
	of := func(p float64) time.Duration { return list[int(p*float64(len(list)-1)+0.5)].Round(time.Millisecond) }
	return strings.Join([]string{
		fmt.Sprintf("p50 %v", of(0.5)), fmt.Sprintf("p99 %v", of(0.99)), fmt.Sprintf("most %v of %d", of(1), len(list)),
	}, ", ")
}
