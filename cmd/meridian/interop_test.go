//go:build interop

package main

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"meridian/server"
	"meridian/store"
	"meridian/store/zonefile"
	"meridian/zones"
)

// interopSerial is that of every zone of the test, and the revision that they are served at.
const interopSerial = 2026112301

// TestInterop asks NSD, BIND and us the same questions of the same zone files, of which some are
// nested and lead into each other: rcode, AA and every section must be equal. What differs on purpose
// is in expected.
func TestInterop(t *testing.T) {
	dir := t.TempDir()
	files := handMade(t)
	made := sortedKeys(files)
	random := rand.New(rand.NewPCG(20261123, 1))
	for i := 0; len(files) < len(made)+40 && i < 400; i++ {
		zone := fmt.Sprintf("r%d.test", i)
		text := randomZoneFile(zone, random.IntN)
		if out, err := checkZone(t, dir, zone, text); err != nil {
			t.Logf("%s: a zone that they do not take: %s", zone, out)
			continue
		}
		files[zone] = text
	}
	for zone, text := range files {
		if err := os.WriteFile(filepath.Join(dir, zone+".zone"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ours := serveZones(t, files)
	peers := []peer{{"NSD", startNSD(t, dir, files), files}, {"BIND", startBIND(t, dir, files), files}}

	asked, differ := 0, map[string]int{}
	for _, zone := range sortedKeys(files) {
		choose := random.IntN
		if slices.Contains(made, zone) {
			choose = nil
		}
		for _, q := range questions(zone, files[zone], choose) {
			asked++
			us := exchange(t, ours, q)
			for _, p := range peers {
				if wrong := p.wrongAdditional(t, us); wrong != "" {
					t.Errorf("%s %s: %s says otherwise than our additional section: %s", q.Name, dns.Type(q.Qtype), p.name, wrong)
				}
				them := exchange(t, p.addr, q)
				why, equal := compareReplies(us, them)
				if equal {
					continue
				}
				if reason := p.expected(t, q, us, them); reason != "" {
					differ[p.name+": "+reason]++
					continue
				}
				t.Errorf("%s %s: %s\nwe\n%s\n%s\n%s", q.Name, dns.Type(q.Qtype), why, us, p.name, them)
			}
		}
		if t.Failed() {
			t.Fatalf("zone:\n%s", files[zone])
		}
	}
	t.Logf("%d zones, %d questions, to each of NSD and BIND", len(files), asked)
	for _, reason := range sortedKeys(differ) {
		t.Logf("%d × %s", differ[reason], reason)
	}
}

// handMade are the files of testdata/interop, by zone.
func handMade(t *testing.T) map[string]string {
	files := map[string]string{}
	paths, _ := filepath.Glob("../../testdata/interop/*.zone")
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimSuffix(filepath.Base(path), ".zone")] = string(text)
	}
	if files["hand.test"] == "" || files["nest.test"] == "" {
		t.Fatal("testdata/interop is not whole")
	}
	return files
}

// compareReplies compares what a resolver would act on. Additional addresses are compared in
// referrals alone: beside an answer they are a courtesy, on which minimal responses differ, and
// wrongAdditional looks at ours.
func compareReplies(us, them *dns.Msg) (why string, equal bool) {
	switch {
	case us.Rcode != them.Rcode:
		return "rcode", false
	case us.Authoritative != them.Authoritative:
		return "AA", false
	case texts(us.Answer) != texts(them.Answer):
		return "answer", false
	case texts(us.Ns) != texts(them.Ns):
		return "authority", false
	case refers(us) && texts(us.Extra) != texts(them.Extra):
		return "additional", false
	}
	return "", true
}

// refers says whether a reply is, or a chain ends in, a referral.
func refers(m *dns.Msg) bool {
	return slices.ContainsFunc(m.Ns, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeNS })
}

// texts spells a section without order, case of names and OPT.
func texts(rrs []dns.RR) string {
	var lines []string
	for _, rr := range rrs {
		if rr.Header().Rrtype != dns.TypeOPT {
			lines = append(lines, strings.ToLower(rr.String()))
		}
	}
	slices.Sort(lines)
	return strings.Join(slices.Compact(lines), "\n")
}

func exchange(t *testing.T, addr string, q dns.Question) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	m.Id = dns.Id()
	m.Question = []dns.Question{q}
	m.SetEdns0(1232, false)
	c := dns.Client{Net: "tcp", Timeout: 5 * time.Second}
	r, _, err := c.Exchange(m, addr)
	if err != nil {
		t.Fatalf("%s: %s %s: %v", addr, q.Name, dns.Type(q.Qtype), err)
	}
	return r
}

// questions asks for every name of a file, names beside, above and below it: every type, or four that
// choose chooses.
func questions(zone, file string, choose func(int) int) (list []dns.Question) {
	names := map[string]bool{dns.Fqdn(zone): true, "nothere." + dns.Fqdn(zone): true}
	parser := dns.NewZoneParser(strings.NewReader(file), dns.Fqdn(zone), "")
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		name := rr.Header().Name
		names[name], names["x."+name], names["a.b."+name] = true, true, true
		names[strings.Replace(name, "*", "star", 1)] = true
		for dns.IsSubDomain(dns.Fqdn(zone), name) {
			names[name] = true
			next, _ := dns.NextLabel(name, 0)
			name = name[next:]
		}
	}
	types := []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeTXT, dns.TypeNS, dns.TypeMX, dns.TypeCNAME, dns.TypeDNAME, dns.TypeDS, dns.TypeSOA, dns.TypeHTTPS, dns.TypeSRV, dns.TypeANY}
	for _, name := range sortedKeys(names) {
		if len(name) > 250 {
			continue
		}
		for i, typ := range types {
			if choose != nil {
				if i == 4 {
					break
				}
				typ = types[choose(len(types))]
			}
			list = append(list, dns.Question{Name: name, Qtype: typ, Qclass: dns.ClassINET})
		}
	}
	return list
}

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// randomZoneFile makes a zone in which everything gets in the way of everything.
func randomZoneFile(zone string, choose func(int) int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "$ORIGIN %s.\n$TTL 300\n@ %d SOA ns hostmaster %d 7200 900 1209600 %d\n@ NS ns\n@ NS ns.example.net.\nns A 192.0.2.53\n",
		zone, 100+choose(900), interopSerial, 10+choose(1000))
	label := func() string { return []string{"a", "b", "c", "*"}[choose(4)] }
	name := func() string {
		n := label()
		for range choose(3) {
			n = label() + "." + n
		}
		return n
	}
	alone := map[string]bool{} // owners of a CNAME
	used := map[string]bool{}
	for range 5 + choose(20) {
		owner := name()
		if alone[owner] {
			continue
		}
		switch k := choose(12); {
		case k < 4:
			fmt.Fprintf(&b, "%s A 192.0.2.%d\n", owner, choose(3))
		case k == 4:
			fmt.Fprintf(&b, "%s TXT \"t%d\"\n", owner, choose(3))
		case k == 5 && !strings.Contains(owner, "*"):
			target := "ns." + owner
			fmt.Fprintf(&b, "%s NS %s\n%s A 192.0.2.%d\n", owner, target, target, choose(9))
			used[target] = true
		case k == 6:
			fmt.Fprintf(&b, "%s MX 10 %s\n", owner, name())
		case k == 7 && !used[owner] && !strings.Contains(owner, "*"):
			fmt.Fprintf(&b, "%s DNAME %s\n", owner, []string{name(), "example.net."}[choose(2)])
		case k == 8 && !used[owner]:
			fmt.Fprintf(&b, "%s CNAME %s\n", owner, []string{name(), name(), "www.example.net."}[choose(3)])
			alone[owner] = true
		}
		used[owner] = true
	}
	return b.String()
}

func checkZone(t *testing.T, dir, zone, text string) (string, error) {
	t.Helper()
	file := filepath.Join(dir, "check")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("named-checkzone", "-i", "none", "-k", "ignore", zone, file).CombinedOutput()
	if err == nil {
		out, err = exec.Command("nsd-checkzone", zone, file).CombinedOutput()
	}
	return string(out), err
}

// serveZones imports the files and serves them.
func serveZones(t *testing.T, files map[string]string) string {
	u := store.Update{Revision: interopSerial, Full: true}
	for zone, text := range files {
		apex, err := zones.ParseOwner(zone, "@")
		if err != nil {
			t.Fatal(err)
		}
		keys, remarks := zonefile.Read(zone, []byte(text), apex, zonefile.Folder{})
		for _, r := range remarks {
			if r.Refused {
				t.Errorf("import: %s", r)
			}
		}
		for _, k := range keys {
			u.Entries = append(u.Entries, store.Entry{Key: k.Key, Value: k.Value, Revision: interopSerial})
		}
	}
	registry := store.NewRegistry(slog.New(slog.DiscardHandler))
	var view atomic.Pointer[zones.Snapshot]
	view.Store(registry.Apply(u))
	for _, f := range registry.Faults() {
		t.Errorf("fault: %+v", f)
	}
	s := server.New(server.Config{Listen: []string{"127.0.0.1:0"}, TCPMax: 10000, Log: slog.New(slog.DiscardHandler)}, &view)
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	go s.Serve(t.Context())
	return s.Addrs()[0].String()
}
