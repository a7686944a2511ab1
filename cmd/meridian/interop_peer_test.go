//go:build interop

package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// peer is another server of the same zones.
type peer struct {
	name, addr string
	zones      map[string]string
}

// expected says why a reply may differ, "" if it may not.
func (p peer) expected(t *testing.T, q dns.Question, us, them *dns.Msg) string {
	switch {
	case q.Qtype == dns.TypeANY && minimalAny(us, them):
		return "ANY is answered by one HINFO (RFC 8482 §4.2); they give all that the name has"
	case loops(us.Answer) && loops(them.Answer):
		return "a chain that is a loop ends where each server likes"
	}
	if whole := p.whole(t, q, them); whole != nil && equal(us, whole) {
		return "a chain of CNAMEs that leaves the zone goes on in the next of ours; it leaves that to the resolver, and says the same when asked"
	}
	switch p.name {
	case "BIND":
		if whole := p.beyondDNAME(t, q, them); whole != nil && (equal(us, whole) || minimalAny(us, whole) || loops(us.Answer)) {
			return "ANY below a DNAME follows the CNAME made (RFC 6672 §3.2 has no exception); it does not"
		}
	case "NSD":
		if us.Rcode == dns.RcodeNameError && them.Rcode == dns.RcodeSuccess && texts(us.Answer) == texts(them.Answer) && texts(us.Ns) == texts(them.Ns) && p.elsewhere(q, us) {
			return "a name that another of the zones has, and this one has not, is NXDOMAIN; it takes it for there (one tree of names for all zones)"
		}
	}
	return ""
}

func equal(a, b *dns.Msg) bool {
	_, equal := compareReplies(a, b)
	return equal
}

// minimalAny says whether the replies are alike but for the one HINFO that we give in place of what
// its owner has.
func minimalAny(us, them *dns.Msg) bool {
	n := len(us.Answer) - 1
	if n < 0 {
		return false
	}
	any, ok := us.Answer[n].(*dns.HINFO)
	if !ok || any.Cpu != "RFC8482" {
		return false
	}
	us, them = us.Copy(), them.Copy()
	us.Answer = us.Answer[:n]
	all := len(them.Answer)
	them.Answer = slices.DeleteFunc(them.Answer, func(rr dns.RR) bool { return strings.EqualFold(rr.Header().Name, any.Hdr.Name) })
	return equal(us, them) && len(them.Answer) < all
}

// whole is the reply with what the peer says of the names that the chain leads to in other zones;
// nil if it stays in one.
func (p peer) whole(t *testing.T, q dns.Question, reply *dns.Msg) *dns.Msg {
	name, left := q.Name, false
	for range 16 {
		zone := p.zoneOf(name)
		name = endOf(reply, name)
		if p.zoneOf(name) == zone || p.zoneOf(name) == "" || reply.Rcode != dns.RcodeSuccess {
			break
		}
		left = true
		reply = p.goOn(t, q, reply, name)
	}
	if !left {
		return nil
	}
	return reply
}

// beyondDNAME is the reply to ANY with what the peer says of the name that a DNAME leads to; nil if
// none does.
func (p peer) beyondDNAME(t *testing.T, q dns.Question, reply *dns.Msg) *dns.Msg {
	isDNAME := func(rr dns.RR) bool {
		return rr.Header().Rrtype == dns.TypeDNAME && !strings.EqualFold(rr.Header().Name, q.Name)
	}
	name := endOf(reply, q.Name)
	if q.Qtype != dns.TypeANY || name == q.Name || !slices.ContainsFunc(reply.Answer, isDNAME) {
		return nil
	}
	return p.goOn(t, q, reply, name)
}

// endOf is where the chain of the reply's CNAMEs leads from name.
func endOf(reply *dns.Msg, name string) string {
	for _, rr := range reply.Answer {
		if c, ok := rr.(*dns.CNAME); ok && strings.EqualFold(c.Hdr.Name, name) {
			name = c.Target
		}
	}
	return name
}

// goOn is the reply with the peer's answer for name after its own.
func (p peer) goOn(t *testing.T, q dns.Question, reply *dns.Msg, name string) *dns.Msg {
	q.Name = name
	next := exchange(t, p.addr, q)
	reply = reply.Copy()
	reply.Rcode, reply.Ns, reply.Extra = next.Rcode, next.Ns, next.Extra
	reply.Answer = append(reply.Answer, next.Answer...)
	return reply
}

// elsewhere says whether a zone other than that of the reply's SOA has the name that is not there.
func (p peer) elsewhere(q dns.Question, reply *dns.Msg) bool {
	name := endOf(reply, q.Name)
	for zone, text := range p.zones {
		if len(reply.Ns) != 1 || strings.EqualFold(reply.Ns[0].Header().Name, dns.Fqdn(zone)) {
			continue
		}
		parser := dns.NewZoneParser(strings.NewReader(text), dns.Fqdn(zone), "")
		for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
			if dns.IsSubDomain(dns.CanonicalName(name), dns.CanonicalName(rr.Header().Name)) {
				return true
			}
		}
	}
	return false
}

// wrongAdditional is an RRset beside an answer of ours that the peer, asked for it, has not, or has
// otherwise; "" if there is none.
func (p peer) wrongAdditional(t *testing.T, us *dns.Msg) string {
	sets := map[dns.Question][]dns.RR{}
	for _, rr := range us.Extra {
		if h := rr.Header(); !refers(us) && h.Rrtype != dns.TypeOPT {
			q := dns.Question{Name: dns.CanonicalName(h.Name), Qtype: h.Rrtype, Qclass: h.Class}
			sets[q] = append(sets[q], rr)
		}
	}
	for q, set := range sets {
		if them := exchange(t, p.addr, q); !them.Authoritative || texts(them.Answer) != texts(set) {
			return texts(set)
		}
	}
	return ""
}

// zoneOf is the deepest of the zones that the name lies in.
func (p peer) zoneOf(name string) (zone string) {
	for z := range p.zones {
		if dns.IsSubDomain(dns.Fqdn(z), dns.CanonicalName(name)) && len(z) > len(zone) {
			zone = z
		}
	}
	return zone
}

// loops says whether rrs are a chain of CNAMEs without an end.
func loops(rrs []dns.RR) bool {
	owners := map[string]bool{}
	for _, rr := range rrs {
		owners[strings.ToLower(rr.Header().Name)] = true
	}
	for _, rr := range rrs {
		if c, ok := rr.(*dns.CNAME); ok && !owners[strings.ToLower(c.Target)] {
			return false
		}
	}
	return slices.ContainsFunc(rrs, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeCNAME })
}

func freePort(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func startNSD(t *testing.T, dir string, files map[string]string) string {
	port := freePort(t)
	var c strings.Builder
	fmt.Fprintf(&c, "server:\n server-count: 1\n ip-address: 127.0.0.1@%d\n port: %d\n database: \"\"\n zonesdir: %q\n username: \"\"\n chroot: \"\"\n pidfile: %q\n xfrdfile: %q\n zonelistfile: %q\n xfrdir: %q\n minimal-responses: yes\n rrl-ratelimit: 0\nremote-control:\n control-enable: no\n",
		port, port, dir, dir+"/nsd.pid", dir+"/xfrd.state", dir+"/zone.list", dir)
	for _, zone := range sortedKeys(files) {
		fmt.Fprintf(&c, "zone:\n name: %q\n zonefile: %q\n", zone, zone+".zone")
	}
	conf := filepath.Join(dir, "nsd.conf")
	if err := os.WriteFile(conf, []byte(c.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	return startPeer(t, port, "nsd", "-d", "-c", conf)
}

func startBIND(t *testing.T, dir string, files map[string]string) string {
	port := freePort(t)
	var c strings.Builder
	fmt.Fprintf(&c, "options { directory %q; pid-file %q; session-keyfile %q; listen-on port %d { 127.0.0.1; }; listen-on-v6 { none; }; recursion no; minimal-responses yes; minimal-any no; zero-no-soa-ttl no; dnssec-validation no; check-names master ignore; rrset-order { order fixed; }; };\ncontrols {};\n",
		dir, dir+"/named.pid", dir+"/session.key", port)
	for _, zone := range sortedKeys(files) {
		fmt.Fprintf(&c, "zone %q { type primary; file %q; check-integrity no; check-names ignore; };\n", zone, zone+".zone")
	}
	conf := filepath.Join(dir, "named.conf")
	if err := os.WriteFile(conf, []byte(c.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	return startPeer(t, port, "named", "-g", "-n", "1", "-c", conf)
}

// startPeer starts a server and waits until it answers for all zones.
func startPeer(t *testing.T, port int, name string, args ...string) string {
	t.Helper()
	var log strings.Builder
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (make test-interop installs it)", err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	for start := time.Now(); ; {
		m := new(dns.Msg).SetQuestion("hand.test.", dns.TypeSOA)
		if r, _, err := (&dns.Client{Net: "tcp", Timeout: time.Second}).Exchange(m, addr); err == nil && len(r.Answer) == 1 {
			return addr
		}
		if time.Since(start) > 20*time.Second {
			t.Fatalf("%s does not answer:\n%s", name, log.String())
		}
		time.Sleep(20 * time.Millisecond) // there is no event of another process's to wait for
	}
}
