package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// startChecker runs one in this process, with the etcd of an instance; stop ends it and waits.
func startChecker(t *testing.T, in *instance, id, site string, change func(*Config)) (told checking, stop func()) {
	t.Helper()
	cfg := checkerConfig(in, id, site)
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	up, ended := make(chan checking, 1), make(chan error, 1)
	go func() {
		ended <- runChecker(ctx, cfg, slog.New(slog.NewTextHandler(io.Discard, nil)), func(c checking) { up <- c })
	}()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("checker %s: %v", id, err)
		}
	}
	t.Cleanup(stop)
	select {
	case told = <-up:
	case err := <-ended:
		stopped = true
		t.Fatalf("checker %s: %v", id, err)
	}
	return told, stop
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

func checkerConfig(in *instance, id, site string) Config {
	return Config{Site: site, Checker: CheckerConfig{ID: id, Allow: loopback}, Etcd: EtcdConfig{Endpoints: in.endpoints, Prefix: "/gslb"}}
}

// A checker beside a server that keeps the registry itself has to be allowed the loopback all the same.
func TestCheckerLoopback(t *testing.T) {
	in := startInstance(t, t.TempDir())
	in.web(`{"http":{},"interval":"100ms"}`)
	for _, test := range []struct {
		allow []netip.Prefix
		want  string
	}{
		{nil, `"unknown":3`},
		{loopback, `"up":3`},
	} {
		id := fmt.Sprintf("fra-%d", len(test.allow))
		_, stop := startChecker(t, in, id, "fra", func(c *Config) {
			c.Etcd.Listen, c.Etcd.Endpoints = c.Etcd.Endpoints[0], nil
			c.Checker.Allow = test.allow
		})
		for start := time.Now(); ; time.Sleep(50 * time.Millisecond) {
			said := in.liveKey("/gslb-live/checker/"+id, true)
			if strings.Contains(said, test.want) {
				break
			}
			if time.Since(start) > patience {
				t.Fatalf("allowed %v: no %s in %s", test.allow, test.want, said)
			}
		}
		stop()
	}
}

// explains waits until /explain of www holds a text.
func (in *instance) explains(want string) {
	in.t.Helper()
	for start := time.Now(); ; {
		_, body := in.get("/explain?name=www.example.com&type=A&format=text")
		if strings.Contains(body, want) {
			return
		}
		if time.Since(start) > patience {
			in.t.Fatalf("no %q in\n%s", want, body)
		}
	}
}

// web puts a pool of three backends, which all checkers can reach, and returns them.
func (in *instance) web(check string) (members []*backend) {
	in.put("check/web", check)
	in.put("pool/web/policy", `{"policy":"multivalue","check":"web"}`) // before the members: without it they are up unseen
	for i := range 3 {
		b := startBackendAt(in.t, fmt.Sprintf("127.0.0.%d:0", 31+i))
		members = append(members, b)
		in.put(fmt.Sprintf("pool/web/member/m%d", i), fmt.Sprintf(`{"addr":[%q],"port":%d}`, b.addr.Addr(), b.addr.Port()))
	}
	in.put("zone/example.com/soa", `{"ns":["ns1.example.net."]}`)
	in.put("zone/example.com/name/www/steer", `{"pool":"web"}`)
	return members
}

func (in *instance) givesAll(want ...string) {
	in.t.Helper()
	in.awaitAnswer("www.example.com.", dns.TypeA, func(r *dns.Msg) bool { return slices.Equal(addresses(r), want) })
}

// A server that does not check itself believes the checkers of three sites: what most of them say, whatever one
// of them lies, and, when all have gone, what they said last.
func TestCheckers(t *testing.T) {
	in := startInstanceWith(t, t.TempDir(), func(c *Config) { c.Checker.Enabled = false })
	members := in.web(`{"http":{},"interval":"1s","rise":1,"fall":3}`)
	all := []string{"127.0.0.31", "127.0.0.32", "127.0.0.33"}
	var stops []func()
	for _, site := range []string{"ams", "fra", "nyc"} {
		_, stop := startChecker(t, in, site+"-1", site, nil)
		stops = append(stops, stop)
	}
	in.awaitMetric(`meridian_pool_members{pool="web",state="up"} 3`)
	in.awaitMetric("meridian_health_checkers 3")
	in.awaitMetric("meridian_health_stale 0")
	in.givesAll(all...)

	// What it takes is measured, too.
	var rtts map[string]map[string]float64
	if err := json.Unmarshal([]byte(in.liveKey("/gslb-live/rtt/fra-1/web", true)), &rtts); err != nil || len(rtts) != 3 || rtts["m0"][all[0]] <= 0 {
		t.Errorf("round-trip times %v, %v", rtts, err)
	}

	// A liar, at a fourth site. Two of four say up after one has gone, which is no quorum either.
	var lie strings.Builder
	for i := range members {
		fmt.Fprintf(&lie, `,"m%d":{%q:{"state":"down","since":"2026-11-23T12:00:00Z","reason":"it lies"}}`, i, all[i])
	}
	in.measure("checker/liar", `{"site":"lon"}`)
	in.measure("report/liar/web", "{"+lie.String()[1:]+"}")
	in.awaitMetric("meridian_health_disputed 3")
	in.explains("up (ams, fra, nyc say up; lon says down: it lies)")
	in.givesAll(all...)
	in.unmeasure("report/liar/web", "checker/liar")
	in.awaitMetric("meridian_health_disputed 0")

	// A backend dies. The last wrong answer is that before the first without it.
	died := time.Now()
	members[0].srv.Close()
	in.givesAll(all[1:]...)
	t.Logf("kill to last wrong answer (interval 1s, fall 3, three sites): %v", time.Since(died))
	in.awaitMetric(`meridian_pool_members{pool="web",state="down"} 1`)
	in.explains("say down: ")

	// All checkers stop: what they said last stays, and is marked.
	for _, stop := range stops {
		stop()
	}
	in.awaitMetric("meridian_health_checkers 0")
	in.awaitMetric("meridian_health_stale 3")
	in.awaitMetric(`meridian_pool_members{pool="web",state="up"} 2`)
	in.explains("up (stale: no checker reports it, so that the last state stays)")
	in.givesAll(all[1:]...)
	if _, body := in.get("/readyz"); !strings.Contains(body, "3 targets stale: ") {
		t.Errorf("readyz does not tell:\n%s", body)
	}
	for _, dir := range []string{"checker/", "report/", "rtt/"} {
		left, err := in.etcd.Get(t.Context(), "/gslb-live/"+dir, clientv3.WithPrefix())
		if err != nil || len(left.Kvs) != 0 {
			t.Errorf("%s: %v, %v is left", dir, err, left.Kvs)
		}
	}
}

// unmeasure deletes live keys.
func (in *instance) unmeasure(keys ...string) {
	in.t.Helper()
	for _, key := range keys {
		if _, err := in.etcd.Delete(in.t.Context(), "/gslb-live/"+key); err != nil {
			in.t.Fatal(err)
		}
	}
}

// The server's own checker is one vote among those of other sites.
func TestCheckersBesideServer(t *testing.T) {
	in := startInstance(t, t.TempDir())
	in.web(`{"http":{},"interval":"100ms","rise":1,"fall":100}`)
	in.awaitMetric(`meridian_pool_members{pool="web",state="up"} 3`)
	down := `{"m0":{"127.0.0.31":{"state":"down","since":"2026-11-23T12:00:00Z","reason":"timed out after 1s"}}}`
	in.measure("checker/a", `{"site":"ams"}`)
	in.measure("report/a/web", down)
	in.explains("up (here says up; ams says down: timed out after 1s; 2 of 2 sites are needed)")
	in.givesAll("127.0.0.31", "127.0.0.32", "127.0.0.33")
	in.measure("report/b/web", down) // of nobody yet
	in.measure("checker/b", `{"site":"bos"}`)
	in.explains("down (ams, bos say down: timed out after 1s; here says up)")
	in.givesAll("127.0.0.32", "127.0.0.33")
	// Two at one site are at odds: the site has no vote, and what was stays.
	in.measure("checker/b2", `{"site":"bos"}`)
	in.measure("report/b2/web", strings.ReplaceAll(down, `"down"`, `"up"`))
	in.explains("down (ams says down: timed out after 1s; here says up; 2 of 3 sites are needed)")
	in.unmeasure("checker/b")
	in.givesAll("127.0.0.31", "127.0.0.32", "127.0.0.33")
}

// A checker none of whose sentinels answers in a family reports nothing there.
func TestCheckerAbstains(t *testing.T) {
	in := startInstanceWith(t, t.TempDir(), func(c *Config) { c.Checker.Enabled = false })
	four, six := startBackendAt(t, "127.0.0.31:0"), startBackendAt(t, "[::1]:0")
	in.put("pool/web/member/four", fmt.Sprintf(`{"addr":["127.0.0.31"],"port":%d}`, four.addr.Port()))
	in.put("pool/web/member/six", fmt.Sprintf(`{"addr":["::1"],"port":%d}`, six.addr.Port()))
	in.put("check/web", `{"http":{},"interval":"100ms","rise":1,"fall":1}`)
	in.put("pool/web/policy", `{"check":"web"}`)
	in.put("zone/example.com/soa", `{"ns":["ns1.example.net."]}`)
	in.put("zone/example.com/name/www/steer", `{"pool":"web"}`)

	alive, dead := startBackendAt(t, "127.0.0.1:0"), startBackendAt(t, "[::1]:0")
	dead.srv.Close()
	told, _ := startChecker(t, in, "fra-1", "fra", func(c *Config) {
		c.HTTPListen = "127.0.0.1:0"
		c.Checker.Sentinels = []netip.AddrPort{alive.addr, dead.addr}
	})
	checker := &instance{t: t, running: running{http: netip.MustParseAddrPort(told.http)}}
	checker.awaitMetric(`meridian_checker_abstains{family="ipv6"} 1`)
	checker.awaitMetric(`meridian_checker_abstains{family="ipv4"} 0`)
	checker.awaitMetric(`meridian_check_targets{state="up"} 2`)
	in.awaitMetric(`meridian_pool_members{pool="web",state="up"} 1`)
	in.awaitMetric(`meridian_pool_members{pool="web",state="unknown"} 1`)
	report := func() (s map[string]map[string]struct{ State, Since string }) {
		if err := json.Unmarshal([]byte(in.liveKey("/gslb-live/report/fra-1/web", true)), &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := report(); len(s) != 1 || s["four"]["127.0.0.31"].State != "up" {
		t.Errorf("report %v", s)
	}

	// The sentinel comes back.
	startBackendAt(t, dead.addr.String())
	checker.awaitMetric(`meridian_checker_abstains{family="ipv6"} 0`)
	in.awaitMetric(`meridian_pool_members{pool="web",state="up"} 2`)
	if s := report(); len(s) != 2 || s["six"]["::1"].State != "up" {
		t.Errorf("report %v", s)
	}

	// Its network goes before a member does: it is not believed, and the last state stays.
	alive.srv.Close()
	four.srv.Close()
	checker.awaitMetric(`meridian_checker_abstains{family="ipv4"} 1`)
	in.awaitMetric("meridian_health_stale 1")
	in.awaitMetric(`meridian_pool_members{pool="web",state="up"} 2`)

	status, body := checker.get("/status")
	var s checkerStatus
	if err := json.Unmarshal([]byte(body), &s); err != nil || status != http.StatusOK || s.Checker != "fra-1" || s.Site != "fra" ||
		!s.Ready || !slices.Equal(s.Abstains, []string{"ipv4"}) || s.Written.IsZero() {
		t.Errorf("status %d %s %v", status, body, err)
	}
	if status, _ := checker.get("/explain"); status != http.StatusNotFound {
		t.Errorf("explain: %d, expected none", status)
	}
}

// What stops a checker is said, with what to do.
func TestCheckerErrors(t *testing.T) {
	in := startInstanceWith(t, t.TempDir(), func(c *Config) { c.Checker.Enabled = false })
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	in.measure("checker/by-hand", `{}`)
	lease, err := in.etcd.Grant(t.Context(), 6)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.etcd.Put(t.Context(), "/gslb-live/checker/fra-1", `{"site":"fra","version":"1","started":"2026-11-23T12:00:00Z"}`, clientv3.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
	renewed, err := in.etcd.KeepAlive(t.Context(), lease.ID)
	if err != nil {
		t.Fatal(err)
	}
	go func() { // another that is live
		for range renewed {
		}
	}()
	for _, c := range []struct{ name, id, site, http, want string }{
		{"no site", "a", "", "", "site: not said, expected the site at which this checker stands, such as --site fra"},
		{"no name", "a", "-", "", `site: "-" is not a name: expected 1 to 63 small letters, digits, dots, hyphens and underscores, a letter or digit at both ends`},
		{"HTTP", "a", "fra", taken.Addr().String(), "http.listen: listen on " + taken.Addr().String() + " (HTTP): the port is in use"},
		{"written by hand", "by-hand", "fra", "", "checker.id: live key checker/by-hand is there, though no checker has written it: delete it, or take another --id"},
		{"another of its id", "fra-1", "ams", "", "checker.id: checker fra-1 is live already, at site fra since 2026-11-23T12:00:00Z: take another --id"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := checkerConfig(in, c.id, c.site)
			cfg.HTTPListen = c.http
			err := runChecker(t.Context(), cfg, slog.New(slog.DiscardHandler), nil)
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%v, expected %s", err, c.want)
			}
		})
	}
}
