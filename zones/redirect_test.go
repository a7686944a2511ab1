package zones

import (
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
