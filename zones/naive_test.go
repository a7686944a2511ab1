package zones

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// naiveZone is a zone as a list of records, gone through from end to end for every question.
type naiveZone struct {
	apex string // with a final dot
	rrs  []dns.RR
}

// exists says whether a name has records, or a name below it has.
func (z *naiveZone) exists(name string) bool {
	return slices.ContainsFunc(z.rrs, func(rr dns.RR) bool { return dns.IsSubDomain(name, rr.Header().Name) })
}

// at are the records of a name and type; of every type for 0.
func (z *naiveZone) at(name string, typ uint16) (found []dns.RR) {
	for _, rr := range z.rrs {
		if rr.Header().Name == name && (typ == 0 || rr.Header().Rrtype == typ) {
			found = append(found, rr)
		}
	}
	return found
}

// naiveAnswer is what naiveResolve finds.
type naiveAnswer struct {
	outcome    Outcome
	aa         bool
	answer     []string
	authority  []string
	additional []string
}

func (a *naiveAnswer) add(section *[]string, owner string, rrs []dns.RR) {
	for _, rr := range rrs {
		rr = dns.Copy(rr)
		rr.Header().Name = owner
		*section = append(*section, strings.ToLower(rr.String()))
	}
}

func (a *naiveAnswer) negative(outcome Outcome, z *naiveZone) {
	soa := dns.Copy(z.at(z.apex, dns.TypeSOA)[0]).(*dns.SOA)
	soa.Hdr.Ttl = min(soa.Hdr.Ttl, soa.Minttl) // RFC 2308 §5
	a.outcome = outcome
	a.add(&a.authority, z.apex, []dns.RR{soa})
}

// hosts adds the addresses in z of the hosts that rrs name: of name servers whatever z has, of others
// what it answers with authority.
func (a *naiveAnswer) hosts(all []naiveZone, z *naiveZone, rrs []dns.RR, glue bool) {
	done := map[string]bool{}
	for _, rr := range rrs {
		host := ""
		switch rr := rr.(type) {
		case *dns.NS:
			host = rr.Ns
		case *dns.MX:
			host = rr.Mx
		case *dns.SRV:
			host = rr.Target
		}
		host = strings.ToLower(host)
		if host == "" || done[host] || !dns.IsSubDomain(z.apex, host) || !glue && (z.hidden(host) || inChild(all, z, host)) {
			continue
		}
		done[host] = true
		a.add(&a.additional, host, z.at(host, dns.TypeA))
	}
}

// inChild says whether the name lies in a zone of ours below z.
func inChild(all []naiveZone, z *naiveZone, name string) bool {
	return slices.ContainsFunc(all, func(o naiveZone) bool {
		return o.apex != z.apex && dns.IsSubDomain(z.apex, o.apex) && dns.IsSubDomain(o.apex, name)
	})
}

// hidden says whether a cut at or above the name, or a DNAME above it, keeps z from answering it.
func (z *naiveZone) hidden(name string) bool {
	for owner := name; owner != z.apex; {
		if len(z.at(owner, dns.TypeNS)) > 0 {
			return true
		}
		_, end := dns.NextLabel(owner, 0)
		if end {
			owner = "."
		} else {
			next, _ := dns.NextLabel(owner, 0)
			owner = owner[next:]
		}
		if len(z.at(owner, dns.TypeDNAME)) > 0 {
			return true
		}
	}
	return false
}

// naiveResolve is RFC 1034 §4.3.2 word by word, with RFC 4592 for its step 3c.
func naiveResolve(zones []naiveZone, name string, typ uint16) (a naiveAnswer) {
	name = strings.ToLower(name)
	been := map[string]bool{}
	for hop := 0; ; hop++ {
		been[name] = true
		// 2: the zone which is the nearest ancestor.
		var z *naiveZone
		for i := range zones {
			if typ == dns.TypeDS && zones[i].apex == name && slices.ContainsFunc(zones, func(o naiveZone) bool {
				return o.apex != name && dns.IsSubDomain(o.apex, name)
			}) {
				continue // the parent's side
			}
			if dns.IsSubDomain(zones[i].apex, name) && (z == nil || dns.CountLabel(zones[i].apex) > dns.CountLabel(z.apex)) {
				z = &zones[i]
			}
		}
		if z == nil {
			if hop == 0 {
				a.outcome = Refused
			}
			return a
		}
		if hop == 0 {
			a.aa = true
		}
		// 3: match down, label by label.
		owner := z.apex // where the records stand
		redirected := ""
		for owner != name {
			if dname := z.at(owner, dns.TypeDNAME); len(dname) > 0 {
				a.add(&a.answer, owner, dname)
				target := dname[0].(*dns.DNAME).Target
				prefix := name[:len(name)-len(strings.TrimSuffix(owner, "."))-1]
				if owner == "." {
					prefix = name
				}
				if redirected = prefix + strings.ToLower(target); target == "." {
					redirected = prefix
				}
				a.add(&a.answer, name, []dns.RR{&dns.CNAME{
					Hdr:    dns.RR_Header{Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: dname[0].Header().Ttl},
					Target: redirected,
				}})
				break
			}
			labels := dns.SplitDomainName(name)
			next := dns.Fqdn(strings.Join(labels[len(labels)-dns.CountLabel(owner)-1:], "."))
			if !z.exists(next) {
				// c: no match; is there an "*" below the closest encloser?
				next = strings.TrimSuffix("*."+owner, ".") + "."
				if owner == "." {
					next = "*."
				}
				if !z.exists(next) {
					a.negative(NXDomain, z)
					return a
				}
				owner = next
				break
			}
			owner = next
			if ns := z.at(owner, dns.TypeNS); len(ns) > 0 && !(typ == dns.TypeDS && owner == name) {
				// b: out of the authoritative data.
				a.outcome = Referral
				a.aa = a.aa && hop > 0
				a.add(&a.authority, owner, ns)
				a.hosts(zones, z, ns, true)
				return a
			}
		}
		if redirected != "" {
			name = redirected
			if been[name] || hop == 15 || typ == dns.TypeCNAME {
				return a
			}
			continue
		}
		// a: the whole of QNAME is matched.
		if rrs := z.at(owner, typ); len(rrs) > 0 {
			a.add(&a.answer, name, rrs)
			a.hosts(zones, z, rrs, false)
			return a
		}
		if typ == dns.TypeANY && len(z.at(owner, dns.TypeCNAME)) > 0 { // RFC 8482 §4.2
			a.add(&a.answer, name, z.at(owner, dns.TypeCNAME))
			return a
		}
		if typ == dns.TypeANY && len(z.at(owner, 0)) > 0 {
			a.add(&a.answer, name, []dns.RR{&dns.HINFO{Hdr: dns.RR_Header{Rrtype: dns.TypeHINFO, Class: dns.ClassINET, Ttl: 3600}, Cpu: "RFC8482"}})
			return a
		}
		cname := z.at(owner, dns.TypeCNAME)
		if len(cname) == 0 {
			a.negative(NoData, z)
			return a
		}
		a.add(&a.answer, name, cname)
		name = strings.ToLower(cname[0].(*dns.CNAME).Target)
		if been[name] || hop == 15 {
			return a
		}
	}
}

// randomZones makes zones small enough that random questions hit everything.
func randomZones(t *testing.T, choose func(n int) int) []naiveZone {
	label := func() string { return []string{"a", "b", "*", "c"}[choose(4)] }
	names := func(apex string) string {
		name := apex
		for range choose(4) {
			name = label() + "." + strings.TrimPrefix(name, ".")
		}
		return name
	}
	var zones []naiveZone
	for _, apex := range [][]string{{"example."}, {"example.", "a.example."}, {"example.", "b.a.example.", "a.example."}, {".", "example."}, {"example.", "net."}}[choose(5)] {
		z := naiveZone{apex: apex}
		add := func(format string, args ...any) {
			rr, err := dns.NewRR(fmt.Sprintf(format, args...))
			if err != nil {
				t.Fatal(err)
			}
			same := func(other dns.RR) bool { return rr.String() == other.String() }
			owner, typ := rr.Header().Name, rr.Header().Rrtype
			isCNAME := typ == dns.TypeCNAME
			if slices.ContainsFunc(z.rrs, same) || isCNAME && len(z.at(owner, 0)) > 0 || !isCNAME && len(z.at(owner, dns.TypeCNAME)) > 0 {
				return
			}
			if set := z.at(owner, typ); len(set) > 0 {
				rr.Header().Ttl = set[0].Header().Ttl
			}
			z.rrs = append(z.rrs, rr)
		}
		add("%s %d SOA ns. hostmaster. 7 1 2 3 %d", apex, choose(100), choose(100))
		add("%s 60 NS ns.", apex)
		for range 4 + choose(20) {
			owner := names(apex)
			target := names([]string{"example.", "a.example.", "net.", "."}[choose(4)])
			if choose(4) == 0 {
				target = strings.ToUpper(target)
			}
			switch k := choose(10); {
			case k < 4:
				add("%s %d A 192.0.2.%d", owner, choose(100), choose(3))
			case k == 4:
				add("%s %d TXT x%d", owner, choose(100), choose(3))
			case k == 5 && owner != apex:
				add("%s %d NS %s", owner, choose(100), target)
			case k == 6:
				add("%s %d MX %d %s", owner, choose(100), choose(2), target)
			case k == 7 && len(z.at(owner, dns.TypeDNAME)) == 0 && choose(2) == 0:
				add("%s %d DNAME %s", owner, choose(100), target)
			case k == 8 && owner != apex && choose(2) == 0:
				add("%s %d DS 1 13 2 00", owner, choose(100))
			case owner != apex:
				add("%s %d CNAME %s", owner, choose(100), target)
			}
		}
		zones = append(zones, z)
	}
	return zones
}

// snapshotOf puts the records of zones into a snapshot.
func snapshotOf(t *testing.T, zones []naiveZone) *Snapshot {
	e := New().Edit()
	for _, z := range zones {
		apex := mustName(t, strings.TrimSuffix(z.apex, ".")+strings.Repeat(".", max(0, 2-len(z.apex))))
		sets := map[string][][]byte{}
		var order []dns.RR
		for _, rr := range z.rrs {
			wire := make([]byte, 512)
			end, err := dns.PackRR(rr, wire, 0, nil, false)
			if err != nil {
				t.Fatal(err)
			}
			owner, _ := new(Name).Read(wire)
			key := fmt.Sprint(rr.Header().Name, rr.Header().Rrtype)
			if sets[key] == nil {
				order = append(order, rr)
			}
			sets[key] = append(sets[key], wire[owner+10:end])
		}
		for _, rr := range order {
			n := new(Name)
			wire := make([]byte, 255)
			if _, err := dns.PackDomainName(rr.Header().Name, wire, 0, nil, false); err != nil {
				t.Fatal(err)
			}
			n.Read(wire)
			h := rr.Header()
			e.Put(Owner{n, int(apex.labels)}, StaticPart(h.Rrtype, h.Ttl, sets[fmt.Sprint(h.Name, h.Rrtype)], 1))
		}
	}
	return e.Commit(1)
}

// checkResolve says where Resolve and its naive twin disagree.
func checkResolve(t *testing.T, s *Snapshot, zones []naiveZone, name string, typ uint16, a *Answer) Outcome {
	t.Helper()
	q := question(t, strings.TrimSuffix(name, ".")+strings.Repeat(".", max(0, 2-len(name))), typ)
	ask(t, s, q, a)
	got := naiveAnswer{outcome: a.Outcome, aa: a.AA}
	lines := a.Text(q)
	for _, set := range a.Sets {
		for range set.Count {
			line := strings.ToLower(lines[0])
			lines = lines[1:]
			switch set.Section {
			case AnswerSection:
				got.answer = append(got.answer, line)
			case AuthoritySection:
				got.authority = append(got.authority, line)
			case AdditionalSection:
				got.additional = append(got.additional, line)
			}
		}
	}
	want := naiveResolve(zones, name, typ)
	if got.outcome != want.outcome || got.aa != want.aa || !slices.Equal(got.answer, want.answer) || !slices.Equal(got.authority, want.authority) ||
		!slices.Equal(got.additional, want.additional) {
		t.Fatalf("%v\n%s %s: Resolve finds\n%+v\nits twin\n%+v", zones, name, dns.Type(typ), got, want)
	}
	return a.Outcome
}

// randomQuestion asks for a name of the labels that random zones use.
func randomQuestion(choose func(n int) int) (name string, typ uint16) {
	name = []string{"example.", "a.example.", "example.", "a.example.", "net.", "."}[choose(6)]
	for range choose(4) {
		name = []string{"a", "b", "*", "c", "A", "B", "x"}[choose(7)] + "." + strings.TrimPrefix(name, ".")
	}
	return name, []uint16{dns.TypeA, dns.TypeA, dns.TypeTXT, dns.TypeCNAME, dns.TypeNS, dns.TypeSOA, dns.TypeMX, dns.TypeANY, dns.TypeDS, dns.TypeDNAME}[choose(10)]
}

// Random zones, random questions: Resolve answers what its naive twin answers.
func TestResolveTwin(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	registries := 700
	if testing.Short() || raceEnabled {
		registries = 100
	}
	outcomes := map[Outcome]int{}
	hops := 0
	var a Answer
	for range registries {
		zones := randomZones(t, random.IntN)
		s := snapshotOf(t, zones)
		for range 60 {
			name, typ := randomQuestion(random.IntN)
			outcomes[checkResolve(t, s, zones, name, typ, &a)]++
			for _, set := range a.Sets {
				hops = max(hops, int(set.Hop))
			}
		}
	}
	for _, o := range []Outcome{Found, NoData, NXDomain, Referral, Refused} {
		if outcomes[o] < registries {
			t.Errorf("%v came up %d times only: %v", o, outcomes[o], outcomes)
		}
	}
	if hops < 2 {
		t.Errorf("the longest chain of CNAMEs had %d", hops)
	}
}

func FuzzResolve(f *testing.F) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		choices := make([]byte, 120)
		for i := range choices {
			choices[i] = byte(random.Uint32())
		}
		f.Add(choices)
	}
	f.Fuzz(func(t *testing.T, choices []byte) {
		choose := func(n int) int {
			if len(choices) == 0 {
				return 0
			}
			c := int(choices[0]) % n
			choices = choices[1:]
			return c
		}
		zones := randomZones(t, choose)
		s := snapshotOf(t, zones)
		var a Answer
		for range 20 {
			name, typ := randomQuestion(choose)
			checkResolve(t, s, zones, name, typ, &a)
		}
	})
}
