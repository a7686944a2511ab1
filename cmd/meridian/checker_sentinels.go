package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"meridian/health"
	"meridian/health/check"
)

const (
	sentinelEvery   = 5 * time.Second // how often sentinels are asked without cause
	sentinelRetry   = time.Second     // while none answers
	sentinelTimeout = time.Second
)

// families of addresses, as those of sentinels.
const (
	ipv4 = iota
	ipv6
)

var familyNames = [...]string{ipv4: "ipv4", ipv6: "ipv6"}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return ipv4
	}
	return ipv6
}

// sentinels stand between a Runner and who takes its reports. In a family in which there are sentinels, that a
// target is down is passed on once one of them has answered after that; when none of them does, all that was
// passed on of the family is taken back, by reports of health.Unknown, until one answers again. That a target was
// down by then is not passed on before it has had the time to be found up.
type sentinels struct {
	runner  *check.Runner
	log     *slog.Logger
	dial    func(context.Context, netip.AddrPort) error
	changed chan struct{} // of size one: there are reports to take
	asks    chan int      // families to ask in, each at most once

	mu     sync.Mutex
	family [len(familyNames)]familyView
	rounds map[health.TargetID]time.Duration // of each target, how long it takes to be found up
	seen   map[health.TargetID]health.Report // the last of each target
	taken  map[health.TargetID]health.Report // to be taken
}

// familyView is what is known of one family.
type familyView struct {
	addrs    []netip.AddrPort
	abstains bool
	rounds   int                           // of asking that have begun
	asking   bool                          // one is under way
	wanted   bool                          // one is to begin: it is in asks
	held     map[health.TargetID]int       // targets down, not passed on yet; the rounds before them
	doubted  map[health.TargetID]time.Time // targets that were down when one answered again; when they are held
}

// newSentinels makes some out of their addresses, those without a port for ICMP; without any, all is passed on.
func newSentinels(addrs []netip.AddrPort, runner *check.Runner, log *slog.Logger) *sentinels {
	s := &sentinels{
		runner: runner, log: log, dial: dialSentinel,
		changed: make(chan struct{}, 1), asks: make(chan int, len(familyNames)),
		seen: map[health.TargetID]health.Report{}, taken: map[health.TargetID]health.Report{},
	}
	for f := range s.family {
		s.family[f].held, s.family[f].doubted = map[health.TargetID]int{}, map[health.TargetID]time.Time{}
	}
	for _, a := range addrs {
		f := &s.family[familyOf(a.Addr())]
		f.addrs = append(f.addrs, a)
	}
	return s
}

// permitted are the sentinels that this process may ask, by a word of may on those that are asked by ICMP, and why it
// may not ask another.
func permitted(addrs []netip.AddrPort, may func(netip.Addr) error) (list []netip.AddrPort, err error) {
	for _, a := range addrs {
		if a.Port() == 0 {
			if why := may(a.Addr()); why != nil {
				err = fmt.Errorf("checker.sentinels: %s: %w", sentinelText(a), why)
				continue
			}
		}
		list = append(list, a)
	}
	return list, err
}

// sentinelText is a sentinel as it is configured.
func sentinelText(a netip.AddrPort) string {
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.String()
}

func sentinelTexts(addrs []netip.AddrPort) (list []string) {
	for _, a := range addrs {
		list = append(list, sentinelText(a))
	}
	return list
}

// dialSentinel connects to a sentinel, or awaits its echo.
func dialSentinel(ctx context.Context, a netip.AddrPort) error {
	if a.Port() == 0 {
		return check.Echo(ctx, a.Addr())
	}
	c, err := new(net.Dialer).DialContext(ctx, "tcp", a.String())
	if err == nil {
		c.Close()
	}
	return err
}

// Changed receives when there is something to Take.
func (s *sentinels) Changed() <-chan struct{} { return s.changed }

// Take is Runner.Take, of what is passed on.
func (s *sentinels) Take() []health.Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.Collect(maps.Values(s.taken))
	clear(s.taken)
	return list
}

// Abstains says in which families nothing is passed on.
func (s *sentinels) Abstains() (list [len(familyNames)]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for f := range s.family {
		list[f] = s.family[f].abstains
	}
	return list
}

// Set is Runner.Set.
func (s *sentinels) Set(targets []health.Target) {
	s.runner.Set(targets)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rounds = make(map[health.TargetID]time.Duration, len(targets))
	for _, t := range targets {
		s.rounds[t.TargetID] = secondRound(t)
	}
	gone := func(id health.TargetID) bool { _, there := s.rounds[id]; return !there }
	maps.DeleteFunc(s.seen, func(id health.TargetID, _ health.Report) bool { return gone(id) })
	maps.DeleteFunc(s.taken, func(id health.TargetID, _ health.Report) bool { return gone(id) })
	for f := range s.family {
		maps.DeleteFunc(s.family[f].held, func(id health.TargetID, _ int) bool { return gone(id) })
		maps.DeleteFunc(s.family[f].doubted, func(id health.TargetID, _ time.Time) bool { return gone(id) })
	}
}

// secondRound is how long a target that is well may take to be found up.
func secondRound(t health.Target) (longest time.Duration) {
	for _, part := range t.Parts {
		if part.Spec != nil {
			longest = max(longest, secondRound(part))
		}
	}
	if len(t.Parts) == 0 {
		longest = time.Duration(t.Spec.Rise+1)*time.Duration(t.Spec.Interval) + time.Duration(t.Spec.Timeout)
	}
	return longest
}

// Run passes reports on until ctx is done.
func (s *sentinels) Run(ctx context.Context) {
	var asking sync.WaitGroup
	defer asking.Wait()
	for f := range s.family {
		if len(s.family[f].addrs) > 0 {
			asking.Go(func() { s.watch(ctx, f) })
		}
	}
	tick := time.NewTicker(sentinelRetry)
	defer tick.Stop()
	for {
		select {
		case <-s.runner.Changed():
			s.fold(s.runner.Take())
		case now := <-tick.C:
			s.holdDue(now)
		case n := <-s.asks:
			s.mu.Lock()
			s.family[n].wanted = false
			s.mu.Unlock()
			asking.Go(func() { s.ask(ctx, n) })
		case <-ctx.Done():
			return
		}
	}
}

// watch asks in a family now and then.
func (s *sentinels) watch(ctx context.Context, f int) {
	for {
		s.ask(ctx, f)
		wait := sentinelEvery
		if s.Abstains()[f] {
			wait = sentinelRetry
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// fold takes in what the Runner reports.
func (s *sentinels) fold(reports []health.Report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range reports {
		before := s.seen[r.TargetID].State
		s.seen[r.TargetID] = r
		n := familyOf(r.Addr.Addr())
		f := &s.family[n]
		_, held := f.held[r.TargetID]
		_, doubted := f.doubted[r.TargetID]
		switch {
		case f.abstains, doubted && r.State == health.Down:
		case len(f.addrs) > 0 && r.State == health.Down && (before != health.Down || held):
			if !held {
				f.held[r.TargetID] = f.rounds
				s.want(n)
			}
		default:
			delete(f.held, r.TargetID)
			delete(f.doubted, r.TargetID)
			s.pass(r)
		}
	}
}

// holdDue holds the targets that are still down after the time in which they could have been found up: that they
// are is passed on like that of any other.
func (s *sentinels) holdDue(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := range s.family {
		f := &s.family[n]
		for id, at := range f.doubted {
			if !now.Before(at) {
				delete(f.doubted, id)
				f.held[id] = f.rounds
				s.want(n)
			}
		}
	}
}

// want has the sentinels of a family asked. It does not block: a family is in asks at most once.
func (s *sentinels) want(n int) {
	if !s.family[n].wanted {
		s.family[n].wanted = true
		s.asks <- n
	}
}

func (s *sentinels) pass(r health.Report) {
	s.taken[r.TargetID] = r
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// ask asks the sentinels of a family, and takes in whether any answers. One round is under way at a time.
func (s *sentinels) ask(ctx context.Context, n int) {
	s.mu.Lock()
	f := &s.family[n]
	if f.asking {
		s.mu.Unlock()
		return
	}
	f.asking = true
	f.rounds++
	round := f.rounds
	s.mu.Unlock()
	ok := s.anyAnswers(ctx, f.addrs)
	s.mu.Lock()
	defer s.mu.Unlock()
	f.asking = false
	if ctx.Err() != nil {
		return
	}
	if ok {
		s.answered(n, round)
	} else {
		s.silent(n)
	}
}

// answered passes on what was held, if it came before the round began, and what is up if nothing was passed on.
func (s *sentinels) answered(n, round int) {
	f := &s.family[n]
	if f.abstains {
		f.abstains = false
		s.log.Info("sentinels answer again", "family", familyNames[n])
		for id, r := range s.seen {
			switch {
			case familyOf(id.Addr.Addr()) != n:
			case r.State == health.Down: // which may be the network's doing
				f.doubted[id] = time.Now().Add(s.rounds[id])
			default:
				s.pass(r)
			}
		}
	}
	for id, before := range f.held {
		if before < round {
			delete(f.held, id)
			s.pass(s.seen[id])
		}
	}
	if len(f.held) > 0 {
		s.want(n)
	}
}

// silent takes back what was passed on of a family.
func (s *sentinels) silent(n int) {
	f := &s.family[n]
	clear(f.held)
	clear(f.doubted)
	if f.abstains {
		return
	}
	f.abstains = true
	s.log.Warn("no sentinel answers: nothing is reported of this family", "family", familyNames[n], "sentinels", sentinelTexts(f.addrs))
	for id := range s.seen {
		if familyOf(id.Addr.Addr()) == n {
			s.pass(health.Report{TargetID: id, State: health.Unknown, Reason: "no sentinel of the checker answers"})
		}
	}
}

// anyAnswers asks all of these at once.
func (s *sentinels) anyAnswers(ctx context.Context, addrs []netip.AddrPort) bool {
	ctx, cancel := context.WithTimeout(ctx, sentinelTimeout)
	defer cancel()
	results := make(chan error, len(addrs))
	for _, a := range addrs {
		go func() { results <- s.dial(ctx, a) }()
	}
	for range addrs {
		if <-results == nil {
			return true
		}
	}
	return false
}
