package zones

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// DNAME, the two sides of a cut, and addresses that come along, one row a sentence.
func TestResolveBeyondTheName(t *testing.T) {
	long := strings.Repeat("a", 63) + "." + strings.Repeat("b", 63) + "." + strings.Repeat("c", 63)
	s := scene(t, `
example.com
  old 600 DNAME new
  old TXT "beside a DNAME"
  below.old A 192.0.2.1
  www.new A 192.0.2.2
  *.new TXT "wild"
  far DNAME example.net.
  up DNAME example.com.
  long DNAME `+long+`.example.com.
  ring1 DNAME ring2
  ring2 DNAME ring1
  deleg NS ns.deleg
  deleg NS ns.other
  deleg NS ns.far.example.net.
  deleg DS 1 13 99 00
  ns.deleg A 192.0.2.53
  ns.deleg AAAA 2001:db8::53
  ns.other A 192.0.2.54
  nods NS ns.other
  child NS ns1.child
  ns1.child A 192.0.2.55
  child DS 2 13 99 00
  mail MX 10 mx1
  mail MX 20 MX1
  mail MX 30 mx2.deleg
  mail MX 40 mx.example.net.
  mail MX 50 x.wild
  mail MX 60 www.child
  www.child A 192.0.2.99
  alias CNAME mx1
  mx1 A 192.0.2.25
  mx1 AAAA 2001:db8::25
  mx2.deleg A 192.0.2.26
  *.wild A 192.0.2.27
  _sip._tcp SRV 1 2 3 mx1
  web HTTPS 1 mx1 alpn=h2
  _8443._foo SVCB 1 mx1 port=8443
  _8443._bar SVCB 0 mx1
  self HTTPS 1 . alpn=h2
child.example.com
  www A 192.0.2.56
`)
	tests := []struct {
		rfc, name string
		typ       uint16
		want      string
	}{
		{"6672 §2.3 below a DNAME", "www.old.example.com", dns.TypeA, `
found aa
old.example.com. 600 DNAME new.example.com.
www.old.example.com. 600 CNAME www.new.example.com.
www.new.example.com. 300 A 192.0.2.2`},
		{"6672 §2.3 several labels below, to a wildcard", "a.b.old.example.com", dns.TypeTXT, `
found aa
old.example.com. 600 DNAME new.example.com.
a.b.old.example.com. 600 CNAME a.b.new.example.com.
a.b.new.example.com. 300 TXT "wild"`},
		{"6672 §2.3 the owner itself is not redirected", "old.example.com", dns.TypeTXT, `
found aa
old.example.com. 300 TXT "beside a DNAME"`},
		{"6672 §2.3 the owner has its DNAME", "old.example.com", dns.TypeDNAME, `
found aa
old.example.com. 600 DNAME new.example.com.`},
		{"6672 §2.4 what stands below a DNAME is hidden by it", "below.old.example.com", dns.TypeA, `
nodata aa
old.example.com. 600 DNAME new.example.com.
below.old.example.com. 600 CNAME below.new.example.com.
authority example.com. 30 SOA`},
		{"6672 §3.1 a CNAME asked for itself is not followed", "www.old.example.com", dns.TypeCNAME, `
found aa
old.example.com. 600 DNAME new.example.com.
www.old.example.com. 600 CNAME www.new.example.com.`},
		{"6672 §3.2 to another server's zone", "www.far.example.com", dns.TypeA, `
found aa
far.example.com. 300 DNAME example.net.
www.far.example.com. 300 CNAME www.example.net.`},
		{"6672 §3.2 to a name that does not exist", "nothere.up.example.com", dns.TypeA, `
nxdomain aa
up.example.com. 300 DNAME example.com.
nothere.up.example.com. 300 CNAME nothere.example.com.
authority example.com. 30 SOA`},
		{"6672 §2.2 too long a name", strings.Repeat("d", 63) + ".long.example.com", dns.TypeA, `
name_too_long aa
long.example.com. 300 DNAME ` + long + `.example.com.`},
		{"6672 §2.2 a name of 255 bytes is not too long", strings.Repeat("e", 49) + ".long.example.com", dns.TypeCNAME, `
found aa
long.example.com. 300 DNAME ` + long + `.example.com.
` + strings.Repeat("e", 49) + `.long.example.com. 300 CNAME ` + strings.Repeat("e", 49) + "." + long + `.example.com.`},
		{"6672 §2.2 a name of 256 bytes is", strings.Repeat("e", 50) + ".long.example.com", dns.TypeCNAME, `
name_too_long aa
long.example.com. 300 DNAME ` + long + `.example.com.`},
		{"6672 §5.2 a loop ends", "x.ring1.example.com", dns.TypeA, `
found aa
ring1.example.com. 300 DNAME ring2.example.com.
x.ring1.example.com. 300 CNAME x.ring2.example.com.
ring2.example.com. 300 DNAME ring1.example.com.
x.ring2.example.com. 300 CNAME x.ring1.example.com.`},

		{"9471 §3 glue of servers below the cut, and what else the zone has", "www.deleg.example.com", dns.TypeA, `
referral
authority deleg.example.com. 300 NS ns.deleg.example.com.
authority deleg.example.com. 300 NS ns.other.example.com.
authority deleg.example.com. 300 NS ns.far.example.net.
additional ns.deleg.example.com. 300 A 192.0.2.53
additional ns.deleg.example.com. 300 AAAA 2001:db8::53
additional ns.other.example.com. 300 A 192.0.2.54`},
		{"4035 §3.1.4.1 DS at a cut is the parent's", "deleg.example.com", dns.TypeDS, `
found aa
deleg.example.com. 300 DS 1 13 99 00`},
		{"4035 §3.1.4.1 no DS at a cut is the parent's to say", "nods.example.com", dns.TypeDS, `
nodata aa
authority example.com. 30 SOA`},
		{"4035 §3.1.4.1 DS below a cut is a referral", "x.nods.example.com", dns.TypeDS, `
referral
authority nods.example.com. 300 NS ns.other.example.com.
additional ns.other.example.com. 300 A 192.0.2.54`},
		{"4035 §3.1.4.1 parent and child on one server", "child.example.com", dns.TypeDS, `
found aa
child.example.com. 300 DS 2 13 99 00`},
		{"4035 §3.1.4.1 the child alone", "example.com", dns.TypeDS, `
nodata aa
authority example.com. 30 SOA`},

		{"1035 §3.3.9 MX: addresses of this zone's hosts, once each", "mail.example.com", dns.TypeMX, `
found aa
mail.example.com. 300 MX 10 mx1.example.com.
mail.example.com. 300 MX 20 MX1.example.com.
mail.example.com. 300 MX 30 mx2.deleg.example.com.
mail.example.com. 300 MX 40 mx.example.net.
mail.example.com. 300 MX 50 x.wild.example.com.
mail.example.com. 300 MX 60 www.child.example.com.
additional mx1.example.com. 300 A 192.0.2.25
additional mx1.example.com. 300 AAAA 2001:db8::25`},
		{"8482 §4.2 ANY of an alias is its CNAME", "alias.example.com", dns.TypeANY, `
found aa
alias.example.com. 300 CNAME mx1.example.com.`},
		{"2782 SRV", "_sip._tcp.example.com", dns.TypeSRV, `
found aa
_sip._tcp.example.com. 300 SRV 1 2 3 mx1.example.com.
additional mx1.example.com. 300 A 192.0.2.25
additional mx1.example.com. 300 AAAA 2001:db8::25`},
		{"9460 §4.1 HTTPS", "web.example.com", dns.TypeHTTPS, `
found aa
web.example.com. 300 HTTPS 1 mx1.example.com. alpn="h2"
additional mx1.example.com. 300 A 192.0.2.25
additional mx1.example.com. 300 AAAA 2001:db8::25`},
		{"9460 §4.1 SVCB", "_8443._foo.example.com", dns.TypeSVCB, `
found aa
_8443._foo.example.com. 300 SVCB 1 mx1.example.com. port="8443"
additional mx1.example.com. 300 A 192.0.2.25
additional mx1.example.com. 300 AAAA 2001:db8::25`},
		{"9460 §4.1 SVCB as an alias", "_8443._bar.example.com", dns.TypeSVCB, `
found aa
_8443._bar.example.com. 300 SVCB 0 mx1.example.com.
additional mx1.example.com. 300 A 192.0.2.25
additional mx1.example.com. 300 AAAA 2001:db8::25`},
		{"9460 §2.5.2 the owner itself", "self.example.com", dns.TypeHTTPS, `
found aa
self.example.com. 300 HTTPS 1 . alpn="h2"`},
	}
	var used Answer
	for _, test := range tests {
		t.Run("RFC "+test.rfc, func(t *testing.T) {
			q := question(t, test.name, test.typ)
			if got := ask(t, s, q, &used); got != test.want[1:] {
				t.Errorf("%s %s:\n%s\nwant%s", test.name, dns.Type(test.typ), got, test.want)
			}
			if n := testing.AllocsPerRun(10, func() { Resolve(s, q, &used, nil) }); n > 0 && !raceEnabled {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

// TestRequired: of additional addresses only glue below the cut is required.
func TestRequired(t *testing.T) {
	s := scene(t, `
example.com
  deleg NS ns.deleg
  deleg NS ns.other
  ns.deleg A 192.0.2.53
  ns.other A 192.0.2.54
  mail MX 10 ns.other
`)
	var a Answer
	for _, c := range []struct {
		name string
		typ  uint16
		want []bool
	}{
		{"x.deleg.example.com", dns.TypeA, []bool{true, false}},
		{"mail.example.com", dns.TypeMX, []bool{false}},
	} {
		q := question(t, c.name, c.typ)
		Resolve(s, q, &a, nil)
		var got []bool
		for _, set := range a.Sets {
			if set.Section == AdditionalSection {
				got = append(got, set.Required)
			}
		}
		if len(got) != len(c.want) || got[0] != c.want[0] || len(got) > 1 && got[1] != c.want[1] {
			t.Errorf("%s: required %v, expected %v", c.name, got, c.want)
		}
	}
}

// TestSteeredGlue: a name server below a cut may be steered. Nobody else can tell where it is, so a
// referral has what its pool chooses; where it need not be there, the client asks for it.
func TestSteeredGlue(t *testing.T) {
	s := scene(t, `
example.com
  sub NS ns.sub
  ns.sub steer web
  mixed NS ns.mixed
  ns.mixed AAAA 2001:db8::53
  ns.mixed steer four
  dead NS ns.dead
  ns.dead steer down
  quiet NS ns.quiet
  ns.quiet steer quiet
  other NS ns.sub
  mail MX 10 host
  host steer four
pool web
  a 192.0.2.1+ 2001:db8::1-
  b 192.0.2.2- 2001:db8::2+
pool four
  a 192.0.2.4+
pool down
  a 192.0.2.5-
pool quiet nodata
  a 192.0.2.6-
`)
	e := s.Edit()
	o := mustOwner(t, "example.com", "ns.mixed")
	e.Put(o, SteeredPart(1, 30, []uint16{dns.TypeA}, 1))
	s = e.Commit(2)
	var used Answer
	for _, c := range []struct {
		name string
		typ  uint16
		want string
	}{
		{"www.sub.example.com", dns.TypeA, `
referral
authority sub.example.com. 300 NS ns.sub.example.com.
additional ns.sub.example.com. 30 A 192.0.2.1
additional ns.sub.example.com. 30 AAAA 2001:db8::2`},
		{"ns.sub.example.com", dns.TypeA, `
referral
authority sub.example.com. 300 NS ns.sub.example.com.
additional ns.sub.example.com. 30 A 192.0.2.1
additional ns.sub.example.com. 30 AAAA 2001:db8::2`},
		{"www.mixed.example.com", dns.TypeA, `
referral
authority mixed.example.com. 300 NS ns.mixed.example.com.
additional ns.mixed.example.com. 30 A 192.0.2.4
additional ns.mixed.example.com. 300 AAAA 2001:db8::53`},
		{"www.dead.example.com", dns.TypeA, `
referral
authority dead.example.com. 300 NS ns.dead.example.com.
additional ns.dead.example.com. 10 A 192.0.2.5`},
		{"www.quiet.example.com", dns.TypeA, `
referral
authority quiet.example.com. 300 NS ns.quiet.example.com.`},
		{"www.other.example.com", dns.TypeA, `
referral
authority other.example.com. 300 NS ns.sub.example.com.`},
		{"mail.example.com", dns.TypeMX, `
found aa
mail.example.com. 300 MX 10 host.example.com.`},
	} {
		q := question(t, c.name, c.typ)
		if got := ask(t, s, q, &used); got != c.want[1:] {
			t.Errorf("%s:\n%s\nwant%s", c.name, got, c.want)
		}
		for _, set := range used.Sets {
			if set.Section == AdditionalSection && !set.Required {
				t.Errorf("%s: the glue is not required", c.name)
			}
		}
		if used.Decision.Pool != nil {
			t.Errorf("%s: glue is not the answer, but %s is in the decision", c.name, used.Decision.Pool.Name)
		}
		if n := testing.AllocsPerRun(10, func() { Resolve(s, q, &used, nil) }); n > 0 && !raceEnabled {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
	trace := new(Trace)
	Resolve(s, question(t, "www.sub.example.com", dns.TypeA), &used, trace)
	var said []string
	decisions := 0
	for _, step := range trace.Steps {
		if said = append(said, step.Text); step.Decision != nil {
			decisions++
		}
	}
	if !slices.Contains(said, "ns.sub.example.com is steered: its glue is what the pool chooses") || decisions != 2 {
		t.Errorf("the trace says %q, and has %d decisions", said, decisions)
	}
}

// TestMaxAdditional: of an RRset's hosts the first sixteen have their addresses along; glue has no
// limit (RFC 9471 §3).
func TestMaxAdditional(t *testing.T) {
	var text strings.Builder
	text.WriteString("example.com\n")
	for i := range maxAdditional + 1 {
		fmt.Fprintf(&text, "  mail MX %d h%d\n  sub NS h%d.sub\n  h%d A 192.0.2.%d\n  h%d.sub A 192.0.2.%d\n", i, i, i, i, i, i, i)
	}
	s := scene(t, text.String())
	var a Answer
	for _, c := range []struct {
		name string
		typ  uint16
		want int
	}{{"mail.example.com", dns.TypeMX, maxAdditional}, {"www.sub.example.com", dns.TypeA, maxAdditional + 1}} {
		Resolve(s, question(t, c.name, c.typ), &a, nil)
		got := 0
		for _, set := range a.Sets {
			if set.Section == AdditionalSection {
				got++
			}
		}
		if got != c.want || a.Sets[0].Count != maxAdditional+1 {
			t.Errorf("%s: addresses of %d hosts of %d, expected %d", c.name, got, a.Sets[0].Count, c.want)
		}
	}
}
