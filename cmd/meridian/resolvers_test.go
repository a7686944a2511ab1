//go:build interop

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestResolvers builds an Internet of one namespace: a root and a zone "lab" at NSD, "hand.lab"
// delegated to us, and three resolvers that know nothing but the root. Each resolves every name of
// the zone to what we say of it.
func TestResolvers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a network namespace takes root")
	}
	n := newNamespace(t)
	n.run("ip", "link", "set", "lo", "up")
	for _, addr := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.254"} {
		n.run("ip", "addr", "add", addr+"/32", "dev", "lo")
	}
	text, err := os.ReadFile("../../testdata/interop/hand.test.zone")
	if err != nil {
		t.Fatal(err)
	}
	zone := strings.ReplaceAll(string(text), "hand.test", "hand.lab")
	n.write("hand.zone", zone)
	n.write("root.zone", "$TTL 3600\n. SOA a.root. h.lab. 1 2 3 4 60\n. NS a.root.\na.root. A 192.0.2.254\nlab. NS ns.lab.\nns.lab. A 192.0.2.254\n")
	n.write("lab.zone", "$ORIGIN lab.\n$TTL 3600\n@ SOA ns h 1 2 3 4 60\n@ NS ns\nns A 192.0.2.254\nhand NS ns1.hand\nhand NS ns2.hand\nns1.hand A 192.0.2.1\nns2.hand A 192.0.2.2\n")
	n.write("hints", ". 3600 IN NS a.root.\na.root. 3600 IN A 192.0.2.254\n")
	n.write("nsd.conf", n.expand("server:\n ip-address: 192.0.2.254\n username: \"\"\n chroot: \"\"\n zonesdir: \"DIR\"\n database: \"\"\n pidfile: \"DIR/nsd.pid\"\n xfrdfile: \"DIR/x\"\n zonelistfile: \"DIR/zl\"\n xfrdir: \"DIR\"\nremote-control:\n control-enable: no\nzone:\n name: .\n zonefile: root.zone\nzone:\n name: lab\n zonefile: lab.zone\n"))
	n.write("unbound.conf", n.expand("server:\n interface: 127.0.0.1@5301\n do-daemonize: no\n username: \"\"\n chroot: \"\"\n directory: \"DIR\"\n pidfile: \"DIR/ub.pid\"\n root-hints: \"DIR/hints\"\n module-config: \"iterator\"\n use-syslog: no\n do-ip6: no\n"))
	n.write("named.conf", n.expand("options { directory \"DIR\"; pid-file \"DIR/n.pid\"; session-keyfile \"DIR/s.key\"; listen-on port 5302 { 127.0.0.1; }; listen-on-v6 { none; }; recursion yes; dnssec-validation no; empty-zones-enable no; };\ncontrols {};\nzone \".\" { type hint; file \"hints\"; };\n"))
	n.write("kresd.conf", "net.listen('127.0.0.1', 5303)\nnet.ipv6 = false\nmodules = { 'hints' }\nhints.root({ ['a.root.'] = '192.0.2.254' })\ntrust_anchors.remove('.')\ncache.size = 10*MB\n")

	ours := filepath.Join(n.dir, "meridian")
	if out, err := exec.Command("go", "build", "-o", ours, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	n.start(ours, "serve", "--dns-listen", "192.0.2.1:53,192.0.2.2:53", "--data-dir", n.dir, "--log-level", "warn")
	n.start("nsd", "-d", "-c", n.dir+"/nsd.conf")
	n.await("192.0.2.254", "53", "hand.lab", "NS", "NOERROR") // a referral
	n.await("192.0.2.1", "53", "hand.lab", "SOA", "REFUSED")  // as yet
	n.run(ours, "import", filepath.Join(n.dir, "hand.zone"), "--zone", "hand.lab", "--apply")
	n.await("192.0.2.1", "53", "hand.lab", "SOA", "NOERROR")
	n.start("unbound", "-d", "-c", n.dir+"/unbound.conf")
	n.start("named", "-g", "-4", "-n", "1", "-c", n.dir+"/named.conf")
	n.start("kresd", "-n", "-c", n.dir+"/kresd.conf", n.dir)

	asked := 0
	for port, resolver := range map[string]string{"5301": "unbound", "5302": "BIND", "5303": "Knot Resolver"} {
		n.await("127.0.0.1", port, "hand.lab", "SOA", "") // a failure too: it is told below
		for _, q := range zoneRecords(zone, "hand.lab.") {
			want, status := n.dig("192.0.2.1", "53", q[0], q[1])
			got, gotStatus := n.dig("127.0.0.1", port, q[0], q[1])
			asked++
			if status != gotStatus || !slices.Equal(got, want) {
				t.Errorf("%s: %s %s: %s %q, we say %s %q", resolver, q[0], q[1], gotStatus, got, status, want)
			}
		}
	}
	t.Logf("%d questions", asked)
}

// zoneRecords lists the names of a zone that can be resolved to what its server alone says, each with
// its type: what is delegated away, or leads away, cannot.
func zoneRecords(zone, origin string) (list [][2]string) {
	parser := dns.NewZoneParser(strings.NewReader(zone), origin, "")
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		h := rr.Header()
		name := strings.Replace(h.Name, "*", "star", 1)
		away := false
		for _, part := range []string{"sub.", "ssub.", "two.", "loop", "cnout.", "dn2.", "dn3.", "dnout."} {
			away = away || strings.Contains(name, part)
		}
		q := [2]string{name, dns.Type(h.Rrtype).String()}
		if !away && !slices.Contains(list, q) {
			list = append(list, q)
		}
	}
	return append(list, [2]string{"nothere.x." + origin, "MX"}, [2]string{"leaf.dn." + origin, "A"}, [2]string{"chain1." + origin, "A"})
}

// namespace is a network of its own, and the processes in it.
type namespace struct {
	t         *testing.T
	name, dir string
}

func newNamespace(t *testing.T) *namespace {
	n := &namespace{t, fmt.Sprintf("meridian-%d", os.Getpid()), t.TempDir()}
	if out, err := exec.Command("ip", "netns", "add", n.name).CombinedOutput(); err != nil {
		t.Fatalf("ip netns add: %v\n%s", err, out)
	}
	t.Cleanup(func() { exec.Command("ip", "netns", "del", n.name).Run() })
	return n
}

func (n *namespace) expand(text string) string { return strings.ReplaceAll(text, "DIR", n.dir) }

func (n *namespace) write(name, text string) {
	n.t.Helper()
	if err := os.WriteFile(filepath.Join(n.dir, name), []byte(text), 0o644); err != nil {
		n.t.Fatal(err)
	}
}

func (n *namespace) command(args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", n.name}, args...)...)
}

func (n *namespace) run(args ...string) {
	n.t.Helper()
	if out, err := n.command(args...).CombinedOutput(); err != nil {
		n.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func (n *namespace) start(args ...string) {
	n.t.Helper()
	cmd := n.command(args...)
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
}

// await asks until the answer has a status, or for "" until there is any.
func (n *namespace) await(server, port, name, typ, status string) {
	n.t.Helper()
	for start := time.Now(); time.Since(start) < 20*time.Second; time.Sleep(50 * time.Millisecond) {
		out, err := n.command("dig", "@"+server, "-p", port, name, typ, "+time=1", "+tries=1").Output()
		if err == nil && strings.Contains(string(out), "status: "+status) {
			return
		}
	}
	n.t.Fatalf("%s port %s does not answer %s", server, port, status)
}

// dig returns the data of the answer's records, sorted, and the status.
func (n *namespace) dig(server, port, name, typ string) (data []string, status string) {
	n.t.Helper()
	out, err := n.command("dig", "@"+server, "-p", port, name, typ, "+noall", "+comments", "+answer", "+time=5", "+tries=2").Output()
	if err != nil {
		n.t.Fatalf("dig @%s %s %s: %v\n%s", server, name, typ, err, out)
	}
	for line := range strings.Lines(string(out)) {
		if _, rest, ok := strings.Cut(line, "status: "); ok {
			status, _, _ = strings.Cut(rest, ",")
		}
		if f := strings.Fields(line); len(f) > 4 && f[0] != ";;" && !strings.HasPrefix(f[0], ";") {
			data = append(data, strings.ToLower(strings.Join(append(f[:1], f[3:]...), " ")))
		}
	}
	slices.Sort(data)
	return data, status
}
