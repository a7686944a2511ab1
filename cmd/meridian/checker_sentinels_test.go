package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"meridian/health"
	"meridian/health/check"
)

// network is what sentinels see: which of them answer, and after how long.
type network struct {
	mu    sync.Mutex
	alive map[netip.AddrPort]bool
	takes time.Duration
	asked int
}

func (n *network) dial(ctx context.Context, a netip.AddrPort) error {
	select {
	case <-time.After(n.takes):
	case <-ctx.Done():
		return ctx.Err()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.asked++; n.alive[a] {
		return nil
	}
	return errors.New("no answer")
}

func (n *network) set(a netip.AddrPort, alive bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.alive[a] = alive
}

var (
	sentinelA = netip.MustParseAddrPort("192.0.2.101:53")
	sentinelB = netip.MustParseAddrPort("192.0.2.102:53")
	targetA   = health.TargetID{Check: "web", Addr: netip.MustParseAddrPort("192.0.2.1:80")}
	targetB   = health.TargetID{Check: "web", Addr: netip.MustParseAddrPort("192.0.2.2:80")}
	targetSix = health.TargetID{Check: "web", Addr: netip.MustParseAddrPort("[2001:db8::1]:80")}
)

// watched runs sentinels A and B, of which both answer at first.
func watched(t *testing.T) (*sentinels, *network) {
	n := &network{alive: map[netip.AddrPort]bool{sentinelA: true, sentinelB: true}, takes: 10 * time.Millisecond}
	s := newSentinels([]netip.AddrPort{sentinelA, sentinelB}, check.New(check.Config{Log: slog.New(slog.DiscardHandler)}), slog.New(slog.DiscardHandler))
	s.dial = n.dial
	go s.Run(t.Context())
	time.Sleep(time.Second)
	return s, n
}

func (s *sentinels) sees(id health.TargetID, state health.State) {
	s.fold([]health.Report{{TargetID: id, State: state, Reason: "as said"}})
	synctest.Wait()
}

// expect says what is passed on within a time, by target.
func (s *sentinels) expect(t *testing.T, when string, within time.Duration, want map[health.TargetID]health.State) {
	t.Helper()
	time.Sleep(within)
	synctest.Wait()
	got := map[health.TargetID]health.State{}
	for _, r := range s.Take() {
		got[r.TargetID] = r.State
	}
	if len(got) != len(want) {
		t.Errorf("%s: %v, expected %v", when, got, want)
	}
	for id, state := range want {
		if s, ok := got[id]; !ok || s != state {
			t.Errorf("%s: %v, expected %v", when, got, want)
		}
	}
}

type states = map[health.TargetID]health.State

func TestSentinels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := watched(t)
		s.sees(targetA, health.Up)
		s.sees(targetSix, health.Down)
		s.expect(t, "what is up, and a family without sentinels, at once", 0, states{targetA: health.Up, targetSix: health.Down})
		s.sees(targetA, health.Down)
		s.expect(t, "down, not borne out yet", 0, nil)
		s.expect(t, "a sentinel answers", 10*time.Millisecond, states{targetA: health.Down})
		s.sees(targetA, health.Down)
		s.expect(t, "down for another reason", 0, states{targetA: health.Down})

		// A round that has begun before a target is down says nothing of the time after.
		n.takes = 500 * time.Millisecond
		s.sees(targetB, health.Down)
		time.Sleep(400 * time.Millisecond)
		s.sees(targetA, health.Up)
		s.sees(targetA, health.Down)
		s.expect(t, "the first round", 100*time.Millisecond, states{targetB: health.Down, targetA: health.Up})
		s.expect(t, "the second", 500*time.Millisecond, states{targetA: health.Down})
		n.takes = 10 * time.Millisecond
		s.sees(targetA, health.Up)
		s.Take()

		n.set(sentinelA, false)
		s.sees(targetA, health.Down)
		s.expect(t, "one sentinel is enough", 10*time.Millisecond, states{targetA: health.Down})
		s.sees(targetA, health.Up)
		s.Take()
		n.set(sentinelB, false)
		s.sees(targetA, health.Down)
		s.expect(t, "none answers", 10*time.Millisecond, states{targetA: health.Unknown, targetB: health.Unknown})
		if got := s.Abstains(); got != [...]bool{ipv4: true, ipv6: false} {
			t.Errorf("abstains %v", got)
		}
		s.sees(targetB, health.Up)
		s.sees(targetSix, health.Up)
		s.expect(t, "meanwhile", 3*time.Second, states{targetSix: health.Up})
		n.set(sentinelA, true)
		s.expect(t, "it answers again", sentinelRetry+10*time.Millisecond, states{targetB: health.Up})
		s.expect(t, "down in a second round, which is none for an unknown target", sentinelEvery, states{targetA: health.Down})

		// Without a cause too; and of targets that have gone nothing is passed on.
		s.Set([]health.Target{{TargetID: targetB, Spec: &health.Check{TCP: &health.TCP{}, Interval: 1e9, Timeout: 1e9, Rise: 1, Fall: 1}}})
		n.set(sentinelA, false)
		s.expect(t, "a network goes unnoticed", sentinelEvery+time.Second, states{targetB: health.Unknown})
	})
}

// What was down while no sentinel answered is said to be so once it could have been found up since then.
func TestSentinelsDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := watched(t)
		one := health.Check{TCP: &health.TCP{}, Interval: 1e9, Timeout: 5e8, Rise: 2, Fall: 1}
		s.Set([]health.Target{
			{TargetID: targetA, Spec: &one},
			{TargetID: targetB, Spec: &health.Check{All: []string{"one", "two"}}, Parts: []health.Target{{Spec: &one}, {}}},
		})
		lose := func() {
			t.Helper()
			n.set(sentinelA, false)
			n.set(sentinelB, false)
			s.expect(t, "none answers", sentinelEvery+time.Second, states{targetA: health.Unknown, targetB: health.Unknown})
		}
		s.sees(targetA, health.Up)
		s.sees(targetB, health.Up)
		s.Take()
		lose()
		s.sees(targetA, health.Down)
		s.sees(targetB, health.Down)
		n.set(sentinelA, true)
		s.expect(t, "it answers again", 2*time.Second, nil)
		s.sees(targetA, health.Down)
		s.sees(targetB, health.Up)
		s.expect(t, "one of them is up, and one down for another reason", 0, states{targetB: health.Up})
		s.expect(t, "in time", time.Second, nil)
		s.expect(t, "after that", 2*time.Second, states{targetA: health.Down})

		// Lost again before that: what was doubted stays untold.
		lose()
		s.sees(targetB, health.Down)
		n.set(sentinelA, true)
		time.Sleep(time.Second + 10*time.Millisecond)
		n.set(sentinelA, false)
		s.expect(t, "lost at once", time.Minute, states{targetA: health.Unknown, targetB: health.Unknown})
	})
}

// Sentinels are asked by TCP, and those without a port by ICMP, where that is permitted.
func TestSentinelKinds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	there := netip.MustParseAddrPort(l.Addr().String())
	if err := dialSentinel(t.Context(), there); err != nil {
		t.Errorf("%v: %v", there, err)
	}
	l.Close()
	if err := dialSentinel(t.Context(), there); err == nil {
		t.Errorf("%v, which is closed: it answers", there)
	}
	bare := func(addr string) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(addr), 0) }
	t.Run("by ICMP", func(t *testing.T) {
		if err := check.MayEcho(netip.MustParseAddr("127.0.0.1")); err != nil && os.Geteuid() != 0 {
			t.Skip(err) // who is not root may be forbidden to
		} else if err != nil {
			t.Fatal(err)
		}
		if err := dialSentinel(t.Context(), bare("127.0.0.1")); err != nil {
			t.Errorf("echo of 127.0.0.1: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := dialSentinel(ctx, bare("fe80::1%nowhere")); err == nil {
			t.Error("echo on an interface that is not there: it answers")
		}
	})
	all := []netip.AddrPort{sentinelA, bare("192.0.2.103"), bare("2001:db8::3")}
	list, err := permitted(all, func(a netip.Addr) error {
		if a.Is6() {
			return errors.New("it is not permitted here")
		}
		return nil
	})
	if !slices.Equal(list, all[:2]) || err == nil || err.Error() != "checker.sentinels: 2001:db8::3: it is not permitted here" {
		t.Errorf("permitted are %v, %v", list, err)
	}
}
