//go:build faults

package main

import (
	"maps"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestFaultReadme: the two sites of README.md, set up as it says, by the commands that stand there, on hosts that have
// the addresses that stand there. When the backend of one dies, both servers give the other's.
func TestFaultReadme(t *testing.T) {
	t.Parallel()
	needsNamespaces(t)
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "### Two sites, from nothing\n")
	section, _, _ = strings.Cut(section, "\n- **One vote a site.**")
	services := regexp.MustCompile(`(?m)^    meridian (serve|checker) .*$`).FindAllString(section, -1)
	_, commands, _ := strings.Cut(section, "Then, from anywhere")
	commands = strings.Join(regexp.MustCompile(`(?m)^    .*$`).FindAllString(commands, -1), "\n")
	if len(services) != 3 || strings.Count(commands, "etcdctl put") != 11 {
		t.Fatalf("README.md has these services: %q, and these commands:\n%s", services, commands)
	}

	w := newWire(rand.New(rand.NewPCG(*faultSeed, 7)))
	t.Cleanup(w.close)
	hosts := []*host{newHost(t, w, "fra"), newHost(t, w, "nyc"), newHost(t, w, "lon")}
	fra, nyc, lon := hosts[0], hosts[1], hosts[2]
	fra.publish(t, netip.MustParsePrefix("198.51.100.0/24"))
	nyc.publish(t, netip.MustParsePrefix("203.0.113.0/24"))
	w.join(fra, nyc, way{delay: 40 * time.Millisecond, loss: 0.01})
	w.join(fra, lon, way{delay: 6 * time.Millisecond, loss: 0.01})
	w.join(nyc, lon, way{delay: 35 * time.Millisecond, loss: 0.01})
	backends := map[string]*http.Server{}
	for addr, h := range map[string]*host{"198.51.100.10": fra, "203.0.113.10": nyc} {
		l, err := h.listen(netip.AddrPortFrom(netip.MustParseAddr(addr), 80))
		if err != nil {
			t.Fatal(err)
		}
		backends[addr] = &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
		go backends[addr].Serve(l)
		t.Cleanup(func() { backends[addr].Close() })
	}

	dir := t.TempDir()
	tools, err := filepath.Abs("../../bin") // etcdctl
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"PATH=" + filepath.Dir(meridian(t)) + ":" + tools + ":" + os.Getenv("PATH")}
	for i, line := range services {
		home := filepath.Join(dir, hosts[i].name)
		if err := os.Mkdir(home, 0o700); err != nil {
			t.Fatal(err)
		}
		hosts[i].start(t, filepath.Join(dir, hosts[i].name+".log"), nil, append(env, "MERIDIAN_DATA_DIR="+home), "/bin/sh", "-c", "exec "+strings.TrimSpace(line))
	}
	t.Cleanup(func() {
		for _, h := range hosts {
			if said, _ := os.ReadFile(filepath.Join(dir, h.name+".log")); t.Failed() {
				t.Logf("%s said:\n%s", h.name, said)
			}
		}
	})
	await := func(what string, so func() bool) {
		t.Helper()
		for start := time.Now(); !so(); time.Sleep(50 * time.Millisecond) {
			if time.Since(start) > patience {
				t.Fatalf("waited %v: %s is still not so", patience, what)
			}
		}
	}
	typed := func(file, commands string) (said string) {
		p := lon.start(t, filepath.Join(dir, file), nil, env, "/bin/sh", "-e", "-c", commands)
		<-p.exited
		text, _ := os.ReadFile(filepath.Join(dir, file))
		return string(text)
	}
	await("all are up", func() bool {
		live := typed("live.log", "etcdctl --endpoints 10.1.0.1:2379 get --prefix --keys-only /gslb-live/")
		return strings.Contains(live, "/server/ns1\n") && strings.Contains(live, "/server/ns2\n") && strings.Contains(live, "/checker/lon-1\n")
	})
	said := typed("typed.log", commands)
	for _, want := range []string{`"well": true`, `"server": "ns1"`, `"server": "ns2"`, `"checker": "lon-1"`} {
		if !strings.Contains(said, want) {
			t.Errorf("no %s in what the commands say:\n%s", want, said)
		}
	}

	gives := func(server, want string) func() bool {
		return func() bool {
			got := map[string]bool{}
			for range 20 {
				c := dns.Client{Timeout: time.Second}
				var reply *dns.Msg
				conn, err := lon.dial(t.Context(), "udp", server+":53")
				if err != nil {
					t.Fatal(err)
				}
				reply, _, err = c.ExchangeWithConn(new(dns.Msg).SetQuestion("www.two.example.net.", dns.TypeA), &dns.Conn{Conn: conn})
				conn.Close()
				if err == nil {
					for _, rr := range reply.Answer {
						got[rr.(*dns.A).A.String()] = true
					}
				}
			}
			return len(got) > 0 && strings.Join(slices.Sorted(maps.Keys(got)), " ") == want
		}
	}
	both := func(what, want string) {
		t.Helper()
		for _, server := range []string{"198.51.100.1", "203.0.113.1"} {
			await(what+": "+server+" gives "+want, gives(server, want))
		}
	}
	both("all is well", "198.51.100.10 203.0.113.10")
	backends["198.51.100.10"].Close()
	both("Frankfurt's backend is dead", "203.0.113.10")
}
