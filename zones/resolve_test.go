package zones

import (
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// One row a sentence of the RFCs.
func TestResolve(t *testing.T) {
	s := scene(t, `
example.com
  @ A 192.0.2.80
  www A 192.0.2.1
  www A 192.0.2.2
  www AAAA 2001:db8::1
  www 60 TXT "web"
  txt TXT "text"
  alias 120 CNAME www
  chain1 CNAME chain2
  chain2 CNAME Chain3
  chain3 CNAME www
  out CNAME www.example.net.
  across CNAME www.example.org.
  back CNAME home.example.org.
  down CNAME www.child.example.com.
  dangling CNAME nothere
  tonodata CNAME txt
  tocut CNAME host.sub
  towild CNAME x.wild
  toent CNAME ent
  self CNAME self
  loop1 CNAME loop2
  loop2 CNAME LOOP1
  intoloop CNAME loop1
  deep.ent A 192.0.2.3
  *.wild A 192.0.2.4
  *.wild CAA 0 issue "ca.example.net"
  exist.wild TXT "exists"
  deep.ent.wild A 192.0.2.5
  *.cname CNAME www
  *.self CNAME a.self
  below.*.entwild A 192.0.2.6
  sub 3600 NS ns.sub
  sub 3600 NS ns1.example.net.
  sub TXT "occluded"
  ns.sub A 192.0.2.53
  *.sub A 192.0.2.54
  deeper.sub NS ns.elsewhere.example.net.
  *.cutwild A 192.0.2.7
  cut.cutwild NS ns1.example.net.
  www.child A 192.0.2.66
  *.star NS ns1.example.net.
child.example.com
  www A 192.0.2.8
  alias CNAME www.example.com.
example.org
  www A 192.0.2.9
  home CNAME www.example.com.
`)
	tests := []struct {
		rfc  string // and section
		says string
		name string
		typ  uint16
		want string
	}{
		{"1034 §4.3.2 3a", "the whole of QNAME is matched: the RRs which match QTYPE", "txt.example.com", dns.TypeTXT, `
found aa
txt.example.com. 300 TXT "text"`},
		{"1034 §4.3.2 3a", "at the apex too", "example.com", dns.TypeA, `
found aa
example.com. 300 A 192.0.2.80`},
		{"1034 §6.2.1", "authoritative answers have AA set", "www.example.com", dns.TypeTXT, `
found aa
www.example.com. 60 TXT "web"`},
		{"4343 §3", "names compare without regard to case", "WwW.EXAMPLE.com", dns.TypeAAAA, `
found aa
www.example.com. 300 AAAA 2001:db8::1`},
		{"2181 §5", "the RRs of an RRset go out together, at one TTL", "www.example.com", dns.TypeA, `
found aa
www.example.com. 300 A 192.0.2.1
www.example.com. 300 A 192.0.2.2`},
		{"1034 §4.3.2 2", "no zone is an ancestor of QNAME", "www.example.net", dns.TypeA, `
refused (20 )`},
		{"1034 §4.3.2 2", "no zone: the root", ".", dns.TypeNS, `
refused (20 )`},
		{"1034 §4.3.2 2", "a name that ends like a zone's but for a label's border", "notexample.com", dns.TypeA, `
refused (20 )`},
		{"1034 §4.3.2 2", "the zone which is the nearest ancestor to QNAME", "www.child.example.com", dns.TypeA, `
found aa
www.child.example.com. 300 A 192.0.2.8`},
		{"1034 §4.3.2 2", "the nearest ancestor, at its apex", "child.example.com", dns.TypeSOA, `
found aa
child.example.com. 300 SOA`},
		{"1034 §4.3.2 2", "the nearest ancestor says what is not there", "nothere.child.example.com", dns.TypeA, `
nxdomain aa
authority child.example.com. 30 SOA`},

		// CNAME
		{"1034 §3.6.2", "a CNAME restarts the query at its target", "alias.example.com", dns.TypeA, `
found aa
alias.example.com. 120 CNAME www.example.com.
www.example.com. 300 A 192.0.2.1
www.example.com. 300 A 192.0.2.2`},
		{"1034 §3.6.2", "a query for CNAME itself is not restarted", "alias.example.com", dns.TypeCNAME, `
found aa
alias.example.com. 120 CNAME www.example.com.`},
		{"1034 §4.3.2 3a", "go back to step 1, as often as needed", "chain1.example.com", dns.TypeTXT, `
found aa
chain1.example.com. 300 CNAME chain2.example.com.
chain2.example.com. 300 CNAME Chain3.example.com.
Chain3.example.com. 300 CNAME www.example.com.
www.example.com. 60 TXT "web"`},
		{"1034 §4.3.2 3a", "a CNAME out of our zones is all there is to say", "out.example.com", dns.TypeA, `
found aa
out.example.com. 300 CNAME www.example.net.`},
		{"1034 §4.3.2 2", "each restart looks for the zone anew: another of ours", "across.example.com", dns.TypeA, `
found aa
across.example.com. 300 CNAME www.example.org.
www.example.org. 300 A 192.0.2.9`},
		{"1034 §4.3.2 2", "into another zone and back", "back.example.com", dns.TypeAAAA, `
found aa
back.example.com. 300 CNAME home.example.org.
home.example.org. 300 CNAME www.example.com.
www.example.com. 300 AAAA 2001:db8::1`},
		{"1034 §4.3.2 2", "each restart looks for the zone anew: a child", "down.example.com", dns.TypeA, `
found aa
down.example.com. 300 CNAME www.child.example.com.
www.child.example.com. 300 A 192.0.2.8`},
		{"6604 §3", "the RCODE is that of the last name of the chain: NXDOMAIN", "dangling.example.com", dns.TypeA, `
nxdomain aa
dangling.example.com. 300 CNAME nothere.example.com.
authority example.com. 30 SOA`},
		{"2308 §2.2.1", "NODATA at the end of a chain: the CNAME, and the SOA of the last name's zone", "tonodata.example.com", dns.TypeA, `
nodata aa
tonodata.example.com. 300 CNAME txt.example.com.
authority example.com. 30 SOA`},
		{"4592 §2.2.2", "an empty non-terminal at the end of a chain", "toent.example.com", dns.TypeA, `
nodata aa
toent.example.com. 300 CNAME ent.example.com.
authority example.com. 30 SOA`},
		{"1035 §4.1.1", "a chain that ends below a cut: AA is of the first owner, then a referral", "tocut.example.com", dns.TypeA, `
referral aa
tocut.example.com. 300 CNAME host.sub.example.com.
authority sub.example.com. 3600 NS ns.sub.example.com.
authority sub.example.com. 3600 NS ns1.example.net.
additional ns.sub.example.com. 300 A 192.0.2.53`},
		{"4592 §2.2.1", "a chain that ends at a wildcard", "towild.example.com", dns.TypeA, `
found aa
towild.example.com. 300 CNAME x.wild.example.com.
x.wild.example.com. 300 A 192.0.2.4`},
		{"1034 §3.6.2", "a CNAME to itself is given once", "self.example.com", dns.TypeA, `
found aa
self.example.com. 300 CNAME self.example.com.`},
		{"1034 §3.6.2", "a loop of CNAMEs is caught, each given once", "loop1.example.com", dns.TypeA, `
found aa
loop1.example.com. 300 CNAME loop2.example.com.
loop2.example.com. 300 CNAME LOOP1.example.com.`},
		{"1034 §3.6.2", "a chain into a loop", "intoloop.example.com", dns.TypeA, `
found aa
intoloop.example.com. 300 CNAME loop1.example.com.
loop1.example.com. 300 CNAME loop2.example.com.
loop2.example.com. 300 CNAME LOOP1.example.com.`},

		// What is not there
		{"2308 §3", "NXDOMAIN has the SOA, at the lesser of its TTL and MINIMUM", "nothere.example.com", dns.TypeA, `
nxdomain aa
authority example.com. 30 SOA`},
		{"2308 §2.2", "NODATA has the SOA", "www.example.com", dns.TypeMX, `
nodata aa
authority example.com. 30 SOA`},
		{"2308 §2.2", "NODATA at the apex", "example.com", dns.TypeTXT, `
nodata aa
authority example.com. 30 SOA`},
		{"8020 §2", "nothing is below what does not exist", "a.b.nothere.example.com", dns.TypeA, `
nxdomain aa
authority example.com. 30 SOA`},
		{"8020 §3.1", "an empty non-terminal exists", "ent.example.com", dns.TypeA, `
nodata aa
authority example.com. 30 SOA`},
		{"8020 §2", "below an empty non-terminal", "nothere.ent.example.com", dns.TypeA, `
nxdomain aa
authority example.com. 30 SOA`},
		{"8020 §2", "below a name with records", "a.www.example.com", dns.TypeA, `
nxdomain aa
authority example.com. 30 SOA`},

		// Delegation
		{"1034 §4.3.2 3b", "below a cut: NS to authority, not authoritative", "host.sub.example.com", dns.TypeA, `
referral
authority sub.example.com. 3600 NS ns.sub.example.com.
authority sub.example.com. 3600 NS ns1.example.net.
additional ns.sub.example.com. 300 A 192.0.2.53`},
		{"1034 §4.2.1", "the NS at the cut are not authoritative: a referral too", "sub.example.com", dns.TypeNS, `
referral
authority sub.example.com. 3600 NS ns.sub.example.com.
authority sub.example.com. 3600 NS ns1.example.net.
additional ns.sub.example.com. 300 A 192.0.2.53`},
		{"2181 §6.1", "other types at the cut are the child's", "sub.example.com", dns.TypeTXT, `
referral
authority sub.example.com. 3600 NS ns.sub.example.com.
authority sub.example.com. 3600 NS ns1.example.net.
additional ns.sub.example.com. 300 A 192.0.2.53`},
		{"1034 §4.2.1", "glue is not authoritative data", "ns.sub.example.com", dns.TypeA, `
referral
authority sub.example.com. 3600 NS ns.sub.example.com.
authority sub.example.com. 3600 NS ns1.example.net.
additional ns.sub.example.com. 300 A 192.0.2.53`},
		{"1034 §4.3.2 3b", "the cut nearest to the apex is the one", "x.deeper.sub.example.com", dns.TypeA, `
referral
authority sub.example.com. 3600 NS ns.sub.example.com.
authority sub.example.com. 3600 NS ns1.example.net.
additional ns.sub.example.com. 300 A 192.0.2.53`},
		{"1034 §4.3.3", "delegation cancels the wildcard defaults", "nobody.sub.example.com", dns.TypeMX, `
referral
authority sub.example.com. 3600 NS ns.sub.example.com.
authority sub.example.com. 3600 NS ns1.example.net.
additional ns.sub.example.com. 300 A 192.0.2.53`},
		{"4592 §2.2.1", "a cut beside a wildcard", "host.cut.cutwild.example.com", dns.TypeA, `
referral
authority cut.cutwild.example.com. 300 NS ns1.example.net.`},
		{"1034 §4.2.1", "the NS of the apex are the zone's own", "example.com", dns.TypeNS, `
found aa
example.com. 300 NS ns1.example.net.`},

		// Wildcards
		{"4592 §3.3.1", "the source of synthesis answers, owner QNAME", "foo.wild.example.com", dns.TypeA, `
found aa
foo.wild.example.com. 300 A 192.0.2.4`},
		{"4592 §3.3.1", "several labels below the closest encloser", "a.b.wild.example.com", dns.TypeA, `
found aa
a.b.wild.example.com. 300 A 192.0.2.4`},
		{"4592 §3.3.3", "a type the wildcard has not: NODATA", "foo.wild.example.com", dns.TypeMX, `
nodata aa
authority example.com. 30 SOA`},
		{"4592 §2.2.1", "a name that exists is not synthesized", "exist.wild.example.com", dns.TypeA, `
nodata aa
authority example.com. 30 SOA`},
		{"4592 §2.2.1", "nor one below a name that exists", "x.exist.wild.example.com", dns.TypeA, `
nxdomain aa
authority example.com. 30 SOA`},
		{"4592 §2.2.2", "nor at an empty non-terminal", "ent.wild.example.com", dns.TypeA, `
nodata aa
authority example.com. 30 SOA`},
		{"4592 §2.2.2", "nor below one", "x.ent.wild.example.com", dns.TypeA, `
nxdomain aa
authority example.com. 30 SOA`},
		{"4592 §2.2.2", "the name above a wildcard exists", "wild.example.com", dns.TypeA, `
nodata aa
authority example.com. 30 SOA`},
		{"4592 §2.1.1", "the wildcard itself may be asked for", "*.wild.example.com", dns.TypeA, `
found aa
*.wild.example.com. 300 A 192.0.2.4`},
		{"4592 §3.3.1", "* exists: there is nothing to synthesize below it", "x.*.wild.example.com", dns.TypeA, `
nxdomain aa
authority example.com. 30 SOA`},
		{"4592 §4.3", "a CNAME at a wildcard restarts the query", "x.cname.example.com", dns.TypeTXT, `
found aa
x.cname.example.com. 300 CNAME www.example.com.
www.example.com. 60 TXT "web"`},
		{"4592 §4.3", "a CNAME at a wildcard, to a name that it stands in for", "x.self.example.com", dns.TypeA, `
found aa
x.self.example.com. 300 CNAME a.self.example.com.
a.self.example.com. 300 CNAME a.self.example.com.`},
		{"4592 §4.9", "a source of synthesis that is an empty non-terminal: NODATA", "x.entwild.example.com", dns.TypeA, `
nodata aa
authority example.com. 30 SOA`},
		{"4592 §4.9", "also several labels below", "x.y.entwild.example.com", dns.TypeA, `
nodata aa
authority example.com. 30 SOA`},
		{"4592 §4.2", "NS at a wildcard make no cut of what is synthesized", "x.star.example.com", dns.TypeNS, `
found aa
x.star.example.com. 300 NS ns1.example.net.`},

		// ANY
		{"8482 §4.2", "ANY is answered by one HINFO", "www.example.com", dns.TypeANY, `
found aa
www.example.com. 3600 HINFO "RFC8482" ""`},
		{"8482 §4.2", "ANY of a wildcard", "foo.wild.example.com", dns.TypeANY, `
found aa
foo.wild.example.com. 3600 HINFO "RFC8482" ""`},
		{"8482 §4.2", "ANY of a name that does not exist", "nothere.example.com", dns.TypeANY, `
nxdomain aa
authority example.com. 30 SOA`},
		{"8482 §4.2", "ANY of an empty non-terminal", "ent.example.com", dns.TypeANY, `
nodata aa
authority example.com. 30 SOA`},
		{"8482 §4.2", "ANY below a cut", "host.sub.example.com", dns.TypeANY, `
referral
authority sub.example.com. 3600 NS ns.sub.example.com.
authority sub.example.com. 3600 NS ns1.example.net.
additional ns.sub.example.com. 300 A 192.0.2.53`},
	}
	var used Answer
	for _, test := range tests {
		t.Run("RFC "+test.rfc+": "+test.says, func(t *testing.T) {
			q := question(t, test.name, test.typ)
			if got := ask(t, s, q, &used); got != test.want[1:] {
				t.Errorf("%s %s:\n%s\nwant%s", test.name, dns.Type(test.typ), got, test.want)
			}
		})
	}
}

// The example of RFC 4592 §2.2.1, all of its questions.
func TestResolveRFC4592Example(t *testing.T) {
	s := scene(t, `
example
  * TXT "this is a wildcard"
  * MX 10 host1.example.
  sub.* TXT "this is not a wildcard"
  host1 A 192.0.2.1
  _ssh._tcp.host1 SRV 0 0 22 host1
  _ssh._tcp.host2 SRV 0 0 22 host2
  subdel NS ns.example.com.
  subdel NS ns.example.net.
`)
	tests := []struct {
		name string
		typ  uint16
		want string
	}{
		// Synthesized.
		{"host3.example", dns.TypeMX, "found aa\nhost3.example. 300 MX 10 host1.example.\nadditional host1.example. 300 A 192.0.2.1"},
		{"host3.example", dns.TypeA, "nodata aa\nauthority example. 30 SOA"},
		{"foo.bar.example", dns.TypeTXT, "found aa\nfoo.bar.example. 300 TXT \"this is a wildcard\""},
		// Not synthesized.
		{"host1.example", dns.TypeMX, "nodata aa\nauthority example. 30 SOA"},
		{"sub.*.example", dns.TypeMX, "nodata aa\nauthority example. 30 SOA"},
		{"_telnet._tcp.host1.example", dns.TypeSRV, "nxdomain aa\nauthority example. 30 SOA"},
		{"host.subdel.example", dns.TypeA, "referral\nauthority subdel.example. 300 NS ns.example.com.\nauthority subdel.example. 300 NS ns.example.net."},
		{"ghost.*.example", dns.TypeMX, "nxdomain aa\nauthority example. 30 SOA"},
	}
	var used Answer
	for _, test := range tests {
		if got := ask(t, s, question(t, test.name, test.typ), &used); got != test.want {
			t.Errorf("%s %s:\n%s\nwant\n%s", test.name, dns.Type(test.typ), got, test.want)
		}
	}
}

// The root may be a zone of ours like any other.
func TestResolveRoot(t *testing.T) {
	s := scene(t, `
.
  com NS a.gtld-servers.net.
  * TXT "anything"
`)
	tests := []struct {
		name string
		typ  uint16
		want string
	}{
		{".", dns.TypeNS, "found aa\n. 300 NS ns1.example.net."},
		{".", dns.TypeA, "nodata aa\nauthority . 30 SOA"},
		{"www.example.com", dns.TypeA, "referral\nauthority com. 300 NS a.gtld-servers.net."},
		{"org", dns.TypeTXT, "found aa\norg. 300 TXT \"anything\""},
	}
	var used Answer
	for _, test := range tests {
		if got := ask(t, s, question(t, test.name, test.typ), &used); got != test.want {
			t.Errorf("%s %s:\n%s\nwant\n%s", test.name, dns.Type(test.typ), got, test.want)
		}
	}
}

// A chain of CNAMEs is followed 16 times, whatever is behind.
func TestResolveMaxHops(t *testing.T) {
	var b strings.Builder
	b.WriteString("example.com\n")
	for i := range 20 {
		b.WriteString("  c" + string(rune('a'+i)) + " CNAME c" + string(rune('b'+i)) + "\n")
	}
	b.WriteString("  cu A 192.0.2.1\n")
	s := scene(t, b.String())
	tests := []struct{ name, last string }{
		{"ce.example.com", "ct.example.com. 300 CNAME cu.example.com."},
		{"cf.example.com", "cu.example.com. 300 A 192.0.2.1"},
	}
	for _, test := range tests {
		q := question(t, test.name, dns.TypeA)
		var a Answer
		text := strings.Split(ask(t, s, q, &a), "\n")
		if last := text[len(text)-1]; a.Outcome != Found || len(a.Sets) != maxHops || last != test.last {
			t.Errorf("%s: %d sets, the last is %s, want %d, %s", test.name, len(a.Sets), last, maxHops, test.last)
		}
	}
}

// What was never valid answers SERVFAIL for its own types, and no wildcard steps in.
func TestResolveBroken(t *testing.T) {
	s := scene(t, `
example.com
  bad broken A
  half broken A
  half TXT "good"
  cname broken CNAME
  tobad CNAME bad
  * A 192.0.2.1
  sub broken NS
nosoa.example broken soa
  www A 192.0.2.2
  alias CNAME nothere
without.example no soa
  www A 192.0.2.3
`)
	const broken = "servfail (24 the registry's value for this name is not valid)"
	tests := []struct {
		name string
		typ  uint16
		want string
	}{
		{"bad.example.com", dns.TypeA, broken},
		{"bad.example.com", dns.TypeAAAA, "nodata aa\nauthority example.com. 30 SOA"},
		{"x.bad.example.com", dns.TypeA, "nxdomain aa\nauthority example.com. 30 SOA"},
		{"half.example.com", dns.TypeA, broken},
		{"half.example.com", dns.TypeTXT, "found aa\nhalf.example.com. 300 TXT \"good\""},
		{"half.example.com", dns.TypeMX, "nodata aa\nauthority example.com. 30 SOA"},
		{"cname.example.com", dns.TypeCNAME, broken},
		{"cname.example.com", dns.TypeA, broken},
		{"tobad.example.com", dns.TypeA, broken}, // without the CNAME
		{"sub.example.com", dns.TypeA, broken},
		{"x.sub.example.com", dns.TypeA, broken},
		{"nosoa.example", dns.TypeSOA, broken},
		{"nosoa.example", dns.TypeNS, broken},
		{"nosoa.example", dns.TypeA, broken},
		{"www.nosoa.example", dns.TypeA, "found aa\nwww.nosoa.example. 300 A 192.0.2.2"},
		{"www.nosoa.example", dns.TypeTXT, broken},
		{"nothere.nosoa.example", dns.TypeA, broken},
		{"alias.nosoa.example", dns.TypeA, broken},
		{"www.without.example", dns.TypeA, "refused (20 )"},
	}
	var used Answer
	for _, test := range tests {
		if got := ask(t, s, question(t, test.name, test.typ), &used); got != test.want {
			t.Errorf("%s %s:\n%s\nwant\n%s", test.name, dns.Type(test.typ), got, test.want)
		}
	}
}

func TestOutcome(t *testing.T) {
	tests := map[Outcome]struct {
		text  string
		rcode uint8
	}{
		Found:    {"found", 0},
		NoData:   {"nodata", 0},
		NXDomain: {"nxdomain", 3},
		Referral: {"referral", 0},
		Refused:  {"refused", 5},
		ServFail: {"servfail", 2},
	}
	for o, want := range tests {
		if o.String() != want.text || o.Rcode() != want.rcode {
			t.Errorf("%d is %s, %d, want %s, %d", o, o, o.Rcode(), want.text, want.rcode)
		}
	}
}
