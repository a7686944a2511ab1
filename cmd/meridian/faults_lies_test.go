//go:build faults

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// effect is how long queries go on after all servers have heard what ought not to change an answer: it would do so
// within milliseconds.
const effect = 2 * time.Second

// massEffect is effect where it concerns so many that they would be held for a second round first.
func (b *bench) massEffect() time.Duration { return b.check.leavesInMass() - b.check.leaves() + effect }

// TestFaultOneChecker: one checker of five is wrong, in one way after the other. No answer changes.
func TestFaultOneChecker(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	sentinels := b.sentinels()
	b.up("", "--checker-sentinel", sentinels)
	all := fmt.Sprintf("meridian_health_disputed %d", len(b.services)*2)
	nobody := "meridian_health_disputed 0"

	// It does not check any more, and says that all is down.
	b.during("one lies that all is down", func() {
		b.checkers[0].process.stop()
		b.awaitMetrics("meridian_health_checkers 4")
		taken := b.lie(b.checkers[0].site)
		b.awaitMetrics(all)
		b.letPass(b.massEffect())
		taken()
		b.awaitMetrics(nobody)
		b.startChecker(b.checkers[0], "--checker-sentinel", sentinels)
		b.awaitMetrics("meridian_health_checkers 5")
	})

	// It checks, and sees no backend; the sentinels it sees.
	b.during("one has no way to the backends", func() {
		heal := b.wire.cut(b.checkers[1].all(), b.backends())
		b.awaitMetrics(all)
		b.letPass(b.massEffect())
		heal()
		b.awaitMetrics(nobody)
	})

	// IPv6 leads nowhere for one, and no sentinel would tell it so.
	six := fmt.Sprintf("meridian_health_disputed %d", len(b.services))
	lon := b.checkers[2]
	heal := b.wire.cut([]netip.Prefix{lon.net6()}, everywhere)
	b.during("one has IPv6 that leads nowhere", func() {
		lon.process.stop()
		b.startChecker(lon)
		b.awaitMetrics(six)
		b.letPass(effect)
		lon.process.stop()

		// With sentinels it says nothing of IPv6, so that not even a check in which one site is enough is misled.
		// In such a check a busy machine's slowness at any site would be believed too, were it not to last for ten looks.
		b.check.fall = 10
		b.put(b.checkKeys(`,"quorum":"any"`))
		b.startChecker(lon, "--checker-sentinel", sentinels)
		b.awaitMetricsOf(lon, patience, `meridian_checker_abstains{family="ipv6"} 1`, `meridian_checker_abstains{family="ipv4"} 0`,
			fmt.Sprintf(`meridian_check_targets{state="down"} %d`, len(b.services)))
		b.awaitMetrics("meridian_health_checkers 5", nobody)
		b.letPass(effect)
		lon.process.stop()
	})
	heal()

	// Without a route it needs no sentinel for that.
	b.during("one has no IPv6", func() {
		lon.routes(t, "route del ::/0 dev tun0")
		b.startChecker(lon)
		b.awaitMetricsOf(lon, patience, fmt.Sprintf(`meridian_check_targets{state="up"} %d`, len(b.services)),
			fmt.Sprintf(`meridian_check_targets{state="unknown"} %d`, len(b.services)))
		b.awaitMetrics("meridian_health_checkers 5", nobody)
		b.letPass(effect)
	})
	b.result(b.wire.counted().String())
}

// lie reports all members to be down, in the name of a checker that is away, until taken is called.
func (b *bench) lie(site string) (taken func()) {
	b.t.Helper()
	type word struct {
		State  string    `json:"state"`
		Since  time.Time `json:"since"`
		Reason string    `json:"reason"`
	}
	reports := map[string]map[string]map[netip.Addr]word{}
	for _, s := range b.services {
		if reports[s.pool] == nil {
			reports[s.pool] = map[string]map[netip.Addr]word{}
		}
		reports[s.pool][s.name] = map[netip.Addr]word{}
		for _, a := range s.addrs {
			reports[s.pool][s.name][a] = word{"down", time.Now(), "it lies"}
		}
	}
	keys := map[string]string{"checker/" + site + "-1": fmt.Sprintf(`{"site":%q}`, site)}
	for pool, words := range reports {
		text, err := json.Marshal(words)
		if err != nil {
			b.t.Fatal(err)
		}
		keys["report/"+site+"-1/"+pool] = string(text)
	}
	for key, value := range keys {
		if _, err := b.client.Put(b.t.Context(), "/gslb-live/"+key, value); err != nil {
			b.t.Fatal(err)
		}
	}
	return func() {
		for _, dir := range []string{"checker/" + site + "-1", "report/" + site + "-1/"} {
			if _, err := b.client.Delete(b.t.Context(), "/gslb-live/"+dir, clientv3.WithPrefix()); err != nil {
				b.t.Fatal(err)
			}
		}
	}
}

// backends are the networks of all of them.
func (b *bench) backends() (list []netip.Prefix) {
	for _, c := range b.centres {
		list = append(list, c.all()...)
	}
	return list
}

// routes changes a host by commands of ip(8).
func (h *host) routes(t *testing.T, lines ...string) {
	t.Helper()
	var err error
	h.in(func() { err = h.ip(lines...) })
	if err != nil {
		t.Fatal(err)
	}
}

// TestFaultAllDown: all members of a pool are down. They are given all the same, and the answer says so; but not to
// those whom a fence keeps from them.
func TestFaultAllDown(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.put(map[string]string{
		"pool/fence/policy":                `{"steps":[{"geo":{"strict":true}},"up","weighted","take"],"check":"http"}`,
		"zone/fault.test/name/fence/steer": `{"pool":"fence"}`,
	})
	var ours netip.Addr
	var dying []*service
	for _, s := range b.services {
		if s.pool != "p0" {
			continue
		}
		serves := "cidr:192.0.2.0/24"
		if len(dying) == 0 {
			serves, ours = "cidr:"+b.clients.net4().String(), s.addrs[0]
		}
		b.put(map[string]string{"pool/fence/member/" + s.name: fmt.Sprintf(`{"addr":[%q],"port":%d,"serves":[%q]}`, s.addrs[0], s.port, serves)})
		dying = append(dying, s)
	}
	b.up("")
	b.during("all members are down", func() {
		due := time.Now().Add(b.check.leaves())
		for _, s := range dying {
			b.oracle.returns(s.addrs, due) // each has left by then, and all are given
			s.kill()
		}
		b.oracle.opens("p0.fault.test.", due)
		for n, stop := 0, due.Add(effect); time.Now().Before(stop); n++ {
			sent := time.Now()
			r := b.askFence(n)
			addrs, fault := givenBy(r)
			if fault != "" || !slices.Equal(addrs, []netip.Addr{ours}) {
				t.Fatalf("the fence has given %v, %s, expected %v alone", addrs, fault, ours)
			}
			if sent.After(due) && !failsOpen(r) {
				t.Fatalf("no extended error, though all are down:\n%v", r)
			}
			b.letPass(askedEvery)
		}
	})
	b.during("one comes back", func() {
		due := time.Now().Add(b.check.returns())
		for i, s := range dying {
			if i > 0 {
				b.oracle.leaves(s.addrs, due)
			}
		}
		b.oracle.closes("p0.fault.test.", due)
		dying[0].start()
		b.letPass(time.Until(due.Add(effect)))
	})
	b.result()
}

// askFence asks one of the servers for the fenced name.
func (b *bench) askFence(n int) *dns.Msg {
	b.t.Helper()
	var c net.Conn
	r, err := exchange(context.Background(), &c, b.clients, b.servers[n%len(b.servers)].at(53), "fence.fault.test. A")
	if err != nil {
		b.t.Fatal(err)
	}
	c.Close()
	return r
}
