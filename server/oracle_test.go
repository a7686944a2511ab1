package server

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// oracle answers from a plain list of records: slowly, and obviously as RFC 1034 §4.3.2 says.
type oracle []entry

type entry struct {
	owner string
	zone  string // the apex of the deepest zone that holds it
	rr    dns.RR
}

func newOracle(rrs []dns.RR) oracle {
	var o oracle
	for _, rr := range rrs {
		o = append(o, entry{owner: dns.CanonicalName(rr.Header().Name), rr: rr})
	}
	for i := range o {
		o[i].zone = o.zone(o[i].owner)
	}
	return o
}

// zone returns the apex of the deepest zone that holds name, "" for none.
func (o oracle) zone(name string) (apex string) {
	for _, e := range o {
		if e.rr.Header().Rrtype == dns.TypeSOA && dns.IsSubDomain(e.owner, name) && len(e.owner) > len(apex) {
			apex = e.owner
		}
	}
	return apex
}

// set returns the RRset of a name, with as its owner; TypeANY stands for all types.
func (o oracle) set(name string, typ uint16, as string) (set []dns.RR) {
	for _, e := range o {
		if e.owner == name && (typ == dns.TypeANY || e.rr.Header().Rrtype == typ) {
			rr := dns.Copy(e.rr)
			rr.Header().Name = as
			set = append(set, rr)
		}
	}
	return set
}

// exists says whether there is anything at name or below it in its zone (RFC 8020).
func (o oracle) exists(zone, name string) bool {
	return slices.ContainsFunc(o, func(e entry) bool {
		return e.zone == zone && dns.IsSubDomain(name, e.owner)
	})
}

// cut returns the topmost delegation at name or above it, "" for none.
func (o oracle) cut(zone, name string) (cut string) {
	for _, e := range o {
		if e.rr.Header().Rrtype == dns.TypeNS && e.zone == zone && e.owner != zone &&
			dns.IsSubDomain(e.owner, name) && (cut == "" || len(e.owner) < len(cut)) {
			cut = e.owner
		}
	}
	return cut
}

// hosts returns the addresses, in the zone, of the hosts that rrs name; those that a cut hides as glue
// alone.
func (o oracle) hosts(zone string, rrs []dns.RR, glue bool) (addrs []dns.RR) {
	seen := map[string]bool{}
	for _, rr := range rrs {
		host := ""
		switch rr := rr.(type) {
		case *dns.NS:
			host = dns.CanonicalName(rr.Ns)
		case *dns.MX:
			host = dns.CanonicalName(rr.Mx)
		case *dns.SRV:
			host = dns.CanonicalName(rr.Target)
		}
		if host != "" && !seen[host] && o.zone(host) == zone && (glue || o.cut(zone, host) == "") {
			seen[host] = true
			addrs = append(append(addrs, o.set(host, dns.TypeA, host)...), o.set(host, dns.TypeAAAA, host)...)
		}
	}
	return addrs
}

func (o oracle) soa(zone string) []dns.RR {
	set := o.set(zone, dns.TypeSOA, zone)
	soa := set[0].(*dns.SOA)
	soa.Hdr.Ttl = min(soa.Hdr.Ttl, soa.Minttl)
	return set
}

func parent(name string) string {
	at, end := dns.NextLabel(name, 0)
	if end {
		return "."
	}
	return name[at:]
}

func (o oracle) reply(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.CheckingDisabled = q.CheckingDisabled
	name, typ := dns.CanonicalName(q.Question[0].Name), q.Question[0].Qtype
	seen := map[string]bool{}
	for len(seen) < 16 && !seen[name] {
		zone := o.zone(name)
		if zone == "" {
			if len(seen) == 0 {
				m.Rcode = dns.RcodeRefused
			}
			return m
		}
		m.Authoritative = true
		if cut := o.cut(zone, name); cut != "" {
			m.Authoritative = len(seen) > 0
			m.Ns = o.set(cut, dns.TypeNS, cut)
			m.Extra = o.hosts(zone, m.Ns, true)
			return m
		}
		seen[name] = true
		at := name
		if !o.exists(zone, name) {
			encloser := name
			for !o.exists(zone, encloser) {
				encloser = parent(encloser)
			}
			if at = "*." + encloser; len(o.set(at, dns.TypeANY, at)) == 0 {
				m.Rcode = dns.RcodeNameError
				m.Ns = o.soa(zone)
				return m
			}
		}
		if set := o.set(at, typ, name); typ != dns.TypeANY && len(set) > 0 {
			m.Answer = append(m.Answer, set...)
			m.Extra = o.hosts(zone, set, false)
			return m
		}
		cname := o.set(at, dns.TypeCNAME, name)
		switch {
		case typ == dns.TypeANY && len(o.set(at, dns.TypeANY, at)) > 0:
			m.Answer = append(m.Answer, &dns.HINFO{
				Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeHINFO, Class: dns.ClassINET, Ttl: 3600}, Cpu: "RFC8482"})
			return m
		case len(cname) == 0:
			m.Ns = o.soa(zone)
			return m
		}
		m.Answer = append(m.Answer, cname...)
		name = dns.CanonicalName(cname[0].(*dns.CNAME).Target)
	}
	return m
}

// text spells what two replies must have in common. Names that are compressed into the question
// have its case.
func text(m *dns.Msg) string {
	m = m.Copy()
	for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			rr.Header().Name = strings.ToLower(rr.Header().Name)
			rr.Header().Rdlength = 0
		}
	}
	m.Compress = false
	return m.String()
}

// TestOracle asks random questions of the wire path and of the oracle.
func TestOracle(t *testing.T) {
	o := newOracle(content)
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	var names []string
	for _, rr := range content {
		for name := dns.CanonicalName(rr.Header().Name); name != "."; name = parent(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	names = append(slices.Compact(names), ".", "example.org.", "www.example.org.")
	types := []uint16{dns.TypeA, dns.TypeA, dns.TypeA, dns.TypeAAAA, dns.TypeTXT, dns.TypeMX, dns.TypeNS, dns.TypeSOA,
		dns.TypeCNAME, dns.TypeSRV, dns.TypeHTTPS, dns.TypeANY, dns.TypeNone, 666, 65535}

	udp, tcp := testWorker(false), testWorker(true)
	results := map[string]int{}
	for range 10000 {
		name := names[random.IntN(len(names))]
		if prefix := pick("", "", "", "x.", "*.", "a.b.", "www."); len(prefix)+len(name) < 250 {
			name = strings.TrimSuffix(prefix+name, "..")
		}
		if !strings.HasSuffix(name, ".") {
			name += "."
		}
		name = strings.Map(func(r rune) rune {
			if random.IntN(4) == 0 {
				return []rune(strings.ToUpper(string(r)))[0]
			}
			return r
		}, name)
		q := new(dns.Msg).SetQuestion(name, types[random.IntN(len(types))])
		q.Id = uint16(random.Uint32())
		q.RecursionDesired, q.CheckingDisabled = random.IntN(2) == 0, random.IntN(2) == 0
		limit := minUDP
		if random.IntN(2) == 0 {
			offered := []uint16{0, 512, 700, 1232, 4096, 65535}[random.IntN(6)]
			limit = min(max(int(offered), minUDP), maxUDP)
			q.SetEdns0(offered, random.IntN(2) == 0)
		}
		msg := must(q.Pack())

		whole := new(dns.Msg)
		wire := ask(tcp, msg)
		if err := whole.Unpack(wire); err != nil {
			t.Fatalf("reply over TCP to\n%v\ndoes not unpack: %v", q, err)
		}
		if opt := whole.IsEdns0(); (opt != nil) != (q.IsEdns0() != nil) ||
			opt != nil && (opt.Do() != q.IsEdns0().Do() || opt.Version() != 0 || opt.UDPSize() != maxUDP) {
			t.Fatalf("query\n%v\nhas the OPT record\n%v", q, opt)
		}
		results[dns.RcodeToString[whole.Rcode]]++
		whole.Extra = slices.DeleteFunc(whole.Extra, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeOPT })
		if got, want := text(whole), text(o.reply(q)); got != want {
			t.Fatalf("reply\n%s\nthe oracle says\n%s", got, want)
		}

		short := ask(udp, msg)
		switch truncated := short[2]&flagTC != 0; {
		case len(short) > limit:
			t.Fatalf("a reply of %d bytes where %d are allowed to\n%v", len(short), limit, q)
		case !truncated && !bytes.Equal(short, wire):
			t.Fatalf("UDP and TCP differ for\n%v", q)
		case truncated:
			results["TC"]++
			m := new(dns.Msg)
			if err := m.Unpack(short); err != nil || len(m.Answer)+len(m.Ns) > 0 || len(wire) <= limit {
				t.Fatalf("truncated at %d, %d bytes over TCP, error %v:\n%v", limit, len(wire), err, m)
			}
		}
	}
	for _, r := range []string{"NOERROR", "NXDOMAIN", "REFUSED", "TC"} {
		if results[r] < 50 {
			t.Errorf("only %d questions of 10000 ended as %s", results[r], r)
		}
	}
}
