//go:build faults

package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

// bench is a world on a wire: an etcd, three servers, a checker at each of five sites, twenty backends, sentinels, and
// those who ask. Between sites it takes longest to 80 ms one way, and a packet in a hundred is lost.
type bench struct {
	trial
	wire  *wire
	check checkTimes

	registry, clients, sentinel *host
	servers                     []*node
	checkers                    []*node
	centres                     []*host // of backends, by site
	services                    []*service

	etcd   *process
	client *clientv3.Client
	oracle *given
	stop   func() // the queries
}

// node is a process of meridian on a host of its own.
type node struct {
	*host
	site string
	args []string

	process *process
}

// benchSites are where all is, servers at every second of them.
var benchSites = []string{"ams", "fra", "lon", "nyc", "sin"}

const (
	benchPools = 5

	leastDelay = 5 * time.Millisecond // of a way between two sites
	mostDelay  = 80 * time.Millisecond
	siteLoss   = 0.01
	siteDelay  = 500 * time.Microsecond // within a site

	// told is what etcd and the servers may need to tell each other of a change.
	told = 500 * time.Millisecond

	// busy is what everything may take longer for, where two cores have more to do than this.
	busy = 1500 * time.Millisecond
)

// checkTimes are those of a check.
type checkTimes struct {
	interval, timeout time.Duration
	rise, fall        int
}

// leaves is how long after its end an address may be given.
func (c checkTimes) leaves() time.Duration {
	return time.Duration(c.fall)*c.interval + c.timeout + told + busy
}

// leavesInMass is leaves for one of so many that it is held for a second round.
func (c checkTimes) leavesInMass() time.Duration {
	return c.leaves() + time.Duration(c.rise)*c.interval + c.timeout
}

// returns is how long it may take until it is given again.
func (c checkTimes) returns() time.Duration {
	return time.Duration(c.rise+1)*c.interval + c.timeout + told + busy
}

func (c checkTimes) String() string {
	return fmt.Sprintf(`"interval":%q,"timeout":%q,"rise":%d,"fall":%d`, c.interval, c.timeout, c.rise, c.fall)
}

// newBench makes the hosts and starts the etcd and the backends. Who is not root skips the test.
func newBench(t *testing.T) *bench {
	t.Helper()
	needsNamespaces(t)
	b := &bench{
		trial: newTrial(t),
		// An https look takes four round trips of up to 160 ms on a new connection, and a lost packet is sent again after 200 ms
		// and a round trip.
		check:  checkTimes{interval: time.Second, timeout: 950 * time.Millisecond, rise: 2, fall: 3},
		oracle: newGiven(),
	}
	t.Cleanup(func() {
		if t.Failed() {
			b.tellLogs()
		}
	})
	b.wire = newWire(rand.New(rand.NewPCG(b.random.Uint64(), b.random.Uint64())))
	t.Cleanup(b.wire.close)
	b.build()
	b.startEtcd()
	b.client = b.clientOf(b.clients)
	b.startServices()
	return b
}

// build makes the hosts and the ways between them.
func (b *bench) build() {
	b.t.Helper()
	sites := map[*host]string{}
	add := func(name, site string) *host {
		h := newHost(b.t, b.wire, name)
		sites[h] = site
		return h
	}
	b.registry, b.clients, b.sentinel = add("etcd", "fra"), add("clients", ""), add("sentinel", "")
	for i, site := range benchSites {
		b.centres = append(b.centres, add("backends-"+site, site))
		b.checkers = append(b.checkers, &node{host: add("checker-"+site, site), site: site})
		if i%2 == 0 {
			name := fmt.Sprintf("ns%d", len(b.servers)+1)
			b.servers = append(b.servers, &node{host: add(name, site), site: site})
		}
	}
	apart := map[[2]string]time.Duration{}
	for i, x := range benchSites {
		for _, y := range benchSites[:i] {
			apart[[2]string{y, x}] = leastDelay + time.Duration(b.random.Int64N(int64(mostDelay-leastDelay)))
		}
	}
	hosts := slices.SortedFunc(maps.Keys(sites), func(x, y *host) int { return x.number - y.number })
	for i, x := range hosts {
		for _, y := range hosts[:i] {
			from, to := min(sites[x], sites[y]), max(sites[x], sites[y])
			switch {
			case from == "" || from == to:
				b.wire.join(x, y, way{delay: siteDelay})
			default:
				b.wire.join(x, y, way{delay: apart[[2]string{from, to}], loss: siteLoss})
			}
		}
	}
}

// etcdPort is where etcd is on its host.
const etcdPort = 2379

func (b *bench) startEtcd() { b.etcd = b.etcdAt(b.registry.starts, "etcd", b.registry.at(etcdPort)) }

// clientOf is a client of etcd on a host.
func (b *bench) clientOf(h *host) *clientv3.Client {
	b.t.Helper()
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{b.registry.at(etcdPort)}, Logger: zap.NewNop(), Context: b.t.Context(),
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return h.dial(ctx, "tcp", addr)
		})},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.Close() })
	return c
}

// startServices starts four backends at each site. Each is of another of the five pools, none of that of the number
// of its site.
func (b *bench) startServices() {
	b.t.Helper()
	signs := newAuthority(b.t, b.path("ca.pem"))
	for i, centre := range b.centres {
		for k, at := 0, 1; k < benchPools; k++ {
			if k == i {
				continue
			}
			s := &service{
				t: b.t, host: centre, name: benchSites[i], pool: fmt.Sprintf("p%d", k),
				addrs: []netip.Addr{centre.addr4(at), centre.addr6(at)}, port: 80,
			}
			if k == poolHTTPS {
				s.port, s.signs = 443, signs
			}
			at++
			s.start()
			b.t.Cleanup(s.kill)
			b.services = append(b.services, s)
		}
	}
}

// Pools whose check is not http.
const (
	poolHTTPS = 1
	poolTCP   = 2
)

// checkKeys are the checks. voting is what they say besides, such as `,"quorum":"any"`.
func (b *bench) checkKeys(voting string) map[string]string {
	return map[string]string{
		"check/http":  fmt.Sprintf(`{"http":{"host":%q},%v%s}`, serviceName, b.check, voting),
		"check/https": fmt.Sprintf(`{"https":{"host":%q},%v%s}`, serviceName, b.check, voting),
		"check/tcp":   fmt.Sprintf(`{"tcp":{},%v%s}`, b.check, voting),
	}
}

// keys are the registry of the bench: a name for each pool, which gives all of its members that are up.
func (b *bench) keys(voting string) map[string]string {
	keys := b.checkKeys(voting)
	keys["zone/fault.test/soa"] = `{"ns":["ns1.fault.test."]}`
	for i, site := range benchSites {
		keys["site/"+site] = fmt.Sprintf(`{"lat":%d,"lon":%d}`, 10*i, 10*i)
	}
	for k := range benchPools {
		check := "http"
		switch k {
		case poolHTTPS:
			check = "https"
		case poolTCP:
			check = "tcp"
		}
		keys[fmt.Sprintf("pool/p%d/policy", k)] = fmt.Sprintf(`{"policy":"multivalue","check":%q}`, check)
		keys[fmt.Sprintf("zone/fault.test/name/p%d/steer", k)] = fmt.Sprintf(`{"pool":"p%d"}`, k)
	}
	for _, s := range b.services {
		keys["pool/"+s.pool+"/member/"+s.name] = b.memberOf(s)
	}
	return keys
}

// memberOf is the value of a backend's key.
func (b *bench) memberOf(s *service) string {
	return fmt.Sprintf(`{"addr":[%q,%q],"port":%d,"site":%q}`, s.addrs[0], s.addrs[1], s.port, s.name)
}

// put puts keys below /gslb/.
func (b *bench) put(keys map[string]string) {
	b.t.Helper()
	for key, value := range keys {
		ctx, cancel := context.WithTimeout(b.t.Context(), patience)
		_, err := b.client.Put(ctx, "/gslb/"+key, value)
		cancel()
		if err != nil {
			b.t.Fatal(err)
		}
	}
}

// startServers starts the servers, and waits for nothing.
func (b *bench) startServers(args ...string) {
	b.t.Helper()
	for _, n := range b.servers {
		n.args = append([]string{"serve", "--server-name", n.name, "--site", n.site,
			"--dns-listen", n.at(53), "--http-listen", n.at(8053),
			"--etcd-endpoints", b.registry.at(etcdPort), "--data-dir", b.path(n.name)}, args...)
		b.start(n)
	}
}

// startChecker starts the checker of a site, and waits for nothing.
func (b *bench) startChecker(n *node, args ...string) {
	b.t.Helper()
	n.args = append([]string{"checker", "--id", n.site + "-1", "--site", n.site, "--http-listen", n.at(8053), "--etcd-endpoints", b.registry.at(etcdPort)}, args...)
	b.start(n)
}

func (b *bench) start(n *node) {
	b.t.Helper()
	n.process = n.host.start(b.t, b.path(n.name+".log"), nil, []string{"SSL_CERT_FILE=" + b.path("ca.pem")}, meridian(b.t), n.args...)
}

// up puts the registry, starts the servers, which leave checking to others, and the checkers, and begins to ask once
// all members are up by the word of them all.
func (b *bench) up(voting string, checkerArgs ...string) {
	b.t.Helper()
	b.put(b.keys(voting))
	b.startServers("--checker-enabled=false") // the checkers start while these read the registry
	for _, n := range b.checkers {
		b.startChecker(n, checkerArgs...)
	}
	b.ask(len(b.checkers))
}

// ask begins to ask once so many checkers are live and all members are up by the word of them all.
func (b *bench) ask(checkers int) {
	b.t.Helper()
	b.awaitMetrics(fmt.Sprintf("meridian_health_checkers %d", checkers), "meridian_health_disputed 0", "meridian_health_stale 0")
	pools := map[string]int{}
	for _, s := range b.services {
		pools[s.pool]++
	}
	for pool, n := range pools {
		b.awaitMetrics(fmt.Sprintf(`meridian_pool_members{pool=%q,state="up"} %d`, pool, n))
	}
	var addrs []string
	for _, n := range b.servers {
		addrs = append(addrs, n.at(53))
	}
	for _, s := range b.services {
		b.oracle.expect(s.pool+".fault.test.", len(addrs), s.addrs...)
	}
	b.stop = b.oracle.ask(b.clients, addrs, b.random.Uint64())
	b.t.Cleanup(b.stop)
	for _, s := range b.services {
		b.await("all are given", func() bool { return b.oracle.everywhere(s.addrs, true) })
		b.oracle.returns(s.addrs, time.Now())
	}
	b.say("all is up: %v", b.wire.counted())
}

// during does something, and tells how the queries have ended meanwhile. A test that does several things one after the
// other on one bench thus says which of them was wrong.
func (b *bench) during(what string, do func()) {
	b.t.Helper()
	b.say("%s", what)
	before := b.oracle.result()
	do()
	after := b.oracle.result()
	after.examples = after.examples[len(before.examples):]
	after.queries -= before.queries
	after.lost -= before.lost
	after.left -= before.left
	after.overdue -= before.overdue
	after.other -= before.other
	b.t.Logf("figure: %s: %s: %s", strings.TrimPrefix(b.t.Name(), "TestFault"), what, after)
	if after.bad() > 0 {
		b.t.Errorf("%s: %d queries ended badly:\n%s", what, after.bad(), strings.Join(after.examples, "\n"))
	}
}

// sentinels are addresses that always answer, as an option has them.
func (b *bench) sentinels() string {
	b.t.Helper()
	var list []string
	for _, a := range []netip.Addr{b.sentinel.addr4(1), b.sentinel.addr6(1)} {
		at := netip.AddrPortFrom(a, 53)
		l, err := b.sentinel.listen(at)
		if err != nil {
			b.t.Fatal(err)
		}
		b.t.Cleanup(func() { l.Close() })
		go func() {
			for c, err := l.Accept(); err == nil; c, err = l.Accept() {
				c.Close()
			}
		}()
		list = append(list, at.String())
	}
	return strings.Join(list, ",")
}

// get asks a node over HTTP. Status 0 is no answer.
func (b *bench) get(n *node, path string) (status int, body string) {
	return b.clients.get("http://" + n.at(8053) + path)
}

// await waits until something is so, and returns how long that took.
func (b *bench) await(what string, so func() bool) time.Duration {
	b.t.Helper()
	return b.awaitWithin(patience, what, so)
}

func (b *bench) awaitWithin(long time.Duration, what string, so func() bool) time.Duration {
	b.t.Helper()
	for start := time.Now(); ; {
		if so() {
			return time.Since(start)
		}
		if time.Since(start) > long {
			b.t.Fatalf("waited %v: %s is still not so", long, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// awaitMetrics waits until all lines are among the metrics of each server.
func (b *bench) awaitMetrics(lines ...string) {
	b.t.Helper()
	for _, n := range b.servers {
		b.awaitMetricsOf(n, patience, lines...)
	}
}

func (b *bench) awaitMetricsOf(n *node, long time.Duration, lines ...string) {
	b.t.Helper()
	b.awaitWithin(long, n.name+" has the metrics "+strings.Join(lines, ", "), func() bool {
		_, body := b.get(n, "/metrics")
		return !slices.ContainsFunc(lines, func(line string) bool { return !strings.Contains(body, "\n"+line+"\n") })
	})
}

// letPass lets queries and checks go on for a while.
func (b *bench) letPass(d time.Duration) {
	select {
	case <-time.After(d):
	case <-b.t.Context().Done():
	}
}

// result ends the queries, prints the figures, and fails if any ended badly.
func (b *bench) result(more ...string) {
	b.t.Helper()
	b.stop()
	c := b.oracle.result()
	b.t.Logf("figure: %s: %s", strings.TrimPrefix(b.t.Name(), "TestFault"), strings.Join(append([]string{c.String()}, more...), ", "))
	if c.bad() > 0 && !b.t.Failed() {
		b.t.Errorf("%d queries ended badly:\n%s", c.bad(), strings.Join(c.examples, "\n"))
	}
	if c.queries == 0 {
		b.t.Error("nothing was asked")
	}
}
