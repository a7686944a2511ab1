//go:build faults

package main

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// lapses is how long what a checker has said may count after it is cut from etcd: its lease, and what etcd and the
// servers take to see to it.
const lapses = 30*time.Second + 2*time.Second + busy

// awaitCheckers waits until the servers count so many.
func (b *bench) awaitCheckers(n int) {
	b.t.Helper()
	for _, s := range b.servers {
		b.awaitMetricsOf(s, lapses+patience, fmt.Sprintf("meridian_health_checkers %d", n))
	}
}

// TestFaultSitesCut: the machines of two checkers of five lose sight of all backends, which they report, and then of
// all else, until that has lapsed and beyond. They come back believing that all is down. No member leaves.
func TestFaultSitesCut(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.up("")
	b.during("two of five sites are cut from the world", func() {
		cut := append(b.checkers[0].all(), b.checkers[3].all()...)
		see := b.wire.cut(cut, b.backends())
		b.awaitMetrics(fmt.Sprintf("meridian_health_disputed %d", 2*len(b.services)))
		heal := b.wire.cut(cut, everywhere)
		b.awaitCheckers(3)
		heal()
		b.awaitCheckers(5) // they report that all is down, as they see no backend yet
		b.letPass(b.massEffect())
		see()
		b.awaitMetrics("meridian_health_disputed 0")
	})
	b.result(b.wire.counted().String())
}

// TestFaultMostSitesBlind: three checkers of five, which still reach etcd, lose sight of all else for a while, their
// sentinels too. No member leaves then, nor when they see again. There are too few members for a mass.
func TestFaultMostSitesBlind(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.services = b.of("p0", "p1")
	b.up("", "--checker-sentinel", b.sentinels())
	for range 2 {
		b.during("three of five sites see nothing but etcd", func() {
			var blind []netip.Prefix
			for _, n := range b.checkers[:3] {
				blind = append(blind, n.all()...)
			}
			heal := b.wire.cut(blind, append(b.backends(), b.sentinel.all()...))
			for _, n := range b.checkers[:3] {
				b.awaitMetricsOf(n, patience, `meridian_checker_abstains{family="ipv4"} 1`, `meridian_checker_abstains{family="ipv6"} 1`)
			}
			heal()
			for _, n := range b.checkers[:3] {
				b.awaitMetricsOf(n, patience, `meridian_checker_abstains{family="ipv4"} 0`, `meridian_checker_abstains{family="ipv6"} 0`,
					fmt.Sprintf(`meridian_check_targets{state="up"} %d`, 2*len(b.services)))
			}
			b.awaitMetrics("meridian_health_disputed 0")
		})
	}
	b.result()
}

// of are the services of some pools.
func (b *bench) of(pools ...string) (list []*service) {
	for _, s := range b.services {
		for _, p := range pools {
			if s.pool == p {
				list = append(list, s)
			}
		}
	}
	return list
}

// TestFaultCheckersGone: four checkers of five are cut from etcd until what they have said lapses, then the last one
// stops. What was known stays, and is marked.
func TestFaultCheckersGone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.up("")
	var heal func()
	b.during("four of five sites are cut from etcd", func() {
		var cut []netip.Prefix
		for _, n := range b.checkers[1:] {
			cut = append(cut, n.all()...)
		}
		heal = b.wire.cut(cut, b.registry.all())
		b.awaitCheckers(1)
		b.letPass(b.massEffect())
	})
	b.during("all checkers are stopped", func() {
		for _, n := range b.checkers {
			n.process.stop()
		}
		b.awaitCheckers(0)
		b.awaitMetrics(fmt.Sprintf("meridian_health_stale %d", 2*len(b.services)))
		if _, body := b.get(b.servers[0], "/readyz"); !strings.Contains(body, "40 targets stale: ") {
			t.Errorf("readyz does not tell:\n%s", body)
		}
		if _, body := b.get(b.servers[0], "/explain?name=p0.fault.test&format=text"); strings.Count(body, "up (stale: no checker reports it") != 4 {
			t.Errorf("explain does not tell:\n%s", body)
		}
		b.services[0].kill() // which nobody is there to see
		b.letPass(b.massEffect())
	})
	b.during("checkers are there again", func() {
		heal()
		due := time.Now().Add(patience)
		b.oracle.leaves(b.services[0].addrs, due)
		for _, n := range b.checkers {
			b.startChecker(n)
		}
		b.awaitCheckers(5)
		b.awaitMetrics("meridian_health_stale 0")
		b.await("who has died has left", func() bool { return b.oracle.everywhere(b.services[0].addrs, false) })
	})
	b.result()
}

// TestFaultEtcdGone: etcd dies, and then backends do. Each server's own checker sees to it that they leave: once
// what others have said has lapsed, and after that as fast as ever.
func TestFaultEtcdGone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.put(b.keys(""))
	b.startServers()
	for _, n := range b.checkers {
		b.startChecker(n)
	}
	b.ask(len(b.checkers))
	first, second := b.services[0], b.services[7]
	b.during("etcd has gone, and a backend dies", func() {
		b.etcd.kill()
		first.kill()
		b.oracle.leaves(first.addrs, time.Now().Add(lapses))
		b.awaitWithin(lapses+patience, "it has left", func() bool { return b.oracle.everywhere(first.addrs, false) })
	})
	b.during("another dies", func() {
		b.letPass(effect)
		heal := b.wire.cut(second.nets(), everywhere)
		at := time.Now()
		b.oracle.leaves(second.addrs, at.Add(b.check.leaves()))
		b.await("it has left", func() bool { return b.oracle.everywhere(second.addrs, false) })
		b.say("last given %v after that", b.oracle.last(second.addrs).Sub(at).Round(time.Millisecond))
		heal()
		b.oracle.returns(second.addrs, time.Now().Add(b.check.returns()))
		b.await("it is back", func() bool { return b.oracle.everywhere(second.addrs, true) })
	})
	b.during("etcd is back", func() {
		b.startEtcd()
		b.awaitCheckers(5)
		b.awaitMetrics("meridian_health_disputed 0", "meridian_registry_reachable 1")
		b.letPass(effect)
	})
	b.result()
}

// leaseOf are the leases of members that register themselves: etcd's least is about that.
const leaseOf = 5 * time.Second

// TestFaultLeased: the members of a site register themselves, and the site is cut from etcd. They stay while they
// answer checks; one that does not goes, with its key.
func TestFaultLeased(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.put(b.keys(""))
	centre := b.centres[4]
	var ours []*service
	lease, err := b.client.Grant(t.Context(), int64(leaseOf/time.Second))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range b.services {
		if s.host != centre {
			continue
		}
		ours = append(ours, s)
		key := "/gslb/pool/" + s.pool + "/member/" + s.name
		if _, err := b.client.Put(t.Context(), key, b.memberOf(s), clientv3.WithLease(lease.ID)); err != nil {
			t.Fatal(err)
		}
	}
	// Whoever keeps the lease is on a machine of that site.
	renewer := b.clientOf(centre)
	renewed, err := renewer.KeepAlive(t.Context(), lease.ID)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for range renewed {
		}
	}()
	b.startServers("--checker-enabled=false")
	for _, n := range b.checkers {
		b.startChecker(n)
	}
	b.ask(len(b.checkers))
	unregistered := func(n int) string { return fmt.Sprintf("meridian_pool_members_unregistered %d", n) }
	b.during("a lease is kept", func() {
		b.letPass(leaseOf + effect)
		b.awaitMetrics(unregistered(0))
	})
	b.during("the site is cut from etcd", func() {
		b.wire.cut(centre.all(), b.registry.all())
		b.awaitMetrics(unregistered(len(ours)))
		b.letPass(effect)
	})
	b.during("one of them dies", func() {
		b.oracle.leaves(ours[0].addrs, time.Now().Add(b.check.leaves()))
		ours[0].kill()
		b.await("it has left", func() bool { return b.oracle.everywhere(ours[0].addrs, false) })
		b.awaitMetrics(unregistered(len(ours) - 1))
		ours[0].start() // and comes back, but nobody has registered it
		b.letPass(time.Duration(b.check.rise)*b.check.interval + effect)
	})
	b.result()
}
