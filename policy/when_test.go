package policy

import (
	"testing"

	"github.com/miekg/dns"
)

// A step that is not for the query is passed over; what was looked up to find that out is in the scope.
func TestSelectWhen(t *testing.T) {
	const around = `
  a 4+ 6+
  b 4+ 6+
net 198.51.100.0/25 DE DE-HE asn=64500
net 198.51.100.128/25 DE DE-BY asn=64501
net 203.0.113.0/24 US asn=64500`
	de, us, unknown := "192.0.2.53 198.51.100.0/25", "192.0.2.53 203.0.113.0/24", "192.0.2.53 192.0.2.0/24"
	tests := []struct {
		when   string
		client string
		family Family
		is     bool
		scope  uint8
	}{
		{`{"country":["DE"]}`, de, IPv4, true, 24},
		{`{"country":["DE"]}`, us, IPv4, false, 24},
		{`{"country":["DE"]}`, unknown, IPv4, false, 23}, // beside 192.0.0.0/24, which is special
		{`{"country":["FR","US"]}`, us, IPv4, true, 24},
		{`{"continent":["EU"]}`, de, IPv4, true, 24},
		{`{"continent":["EU","OC"]}`, us, IPv4, false, 24},
		{`{"asn":[64500]}`, de, IPv4, true, 25},
		{`{"asn":[64500]}`, us, IPv4, true, 24},
		{`{"asn":[64501,64502]}`, de, IPv4, false, 25},
		{`{"asn":[64501]}`, unknown, IPv4, false, 23},
		{`{"cidr":["198.51.100.0/24"]}`, de, IPv4, true, 24},
		{`{"cidr":["198.51.100.128/25","2001:db8::/32"]}`, de, IPv4, false, 25},
		{`{"cidr":["198.51.100.128/25","2001:db8::/32"]}`, "192.0.2.53 2001:db8:1::/48", IPv4, true, 32},
		{`{"qtype":["A"]}`, de, IPv4, true, 0},
		{`{"qtype":["A","HTTPS"]}`, de, IPv6, false, 0},
		{`{"qtype":["HTTPS"]}`, de, Any, true, 0},

		// All fields have to fit, one entry of each.
		{`{"country":["DE"],"asn":[64500]}`, de, IPv4, true, 25},
		{`{"country":["DE"],"asn":[64501]}`, de, IPv4, false, 25},
		{`{"country":["US"],"asn":[64500]}`, de, IPv4, false, 25},
		{`{"continent":["EU"],"country":["US"]}`, de, IPv4, false, 24},
		{`{"continent":["NA"],"country":["DE"]}`, de, IPv4, false, 24},
		{`{"cidr":["198.51.100.0/24"],"country":["DE"],"continent":["EU"],"asn":[64500],"qtype":["A"]}`, de, IPv4, true, 25},
		// It looks no further than it has to.
		{`{"country":["DE"],"qtype":["AAAA"]}`, de, IPv4, false, 0},
		{`{"cidr":["203.0.113.0/24"],"asn":[64500]}`, de, IPv4, false, 6},

		// Private subnets count where a cidr of a when covers them.
		{`{"cidr":["10.1.0.0/16"]}`, "192.0.2.53 10.1.2.0/24", IPv4, true, 16},
		{`{"cidr":["10.1.0.0/16"]}`, "192.0.2.53 10.2.0.0/24", IPv4, false, 15},
		{`{"country":["DE"]}`, "198.51.100.53 10.2.0.0/24", IPv4, true, 8},
		{`{"cidr":["192.0.2.0/24"]}`, "192.0.2.53 10.2.0.0/24", IPv4, true, 8},
		{`{"cidr":["192.0.2.0/24"]}`, "192.0.2.53", IPv4, true, 24},
		{`{"cidr":["192.0.2.0/24"]}`, "192.0.2.53 ::ffff:192.0.2.0/120", IPv4, true, 120},
	}
	for _, test := range tests {
		w := world(t, `web [{"take":{"n":1},"when":`+test.when+`}]`+around)
		c := client(t, test.client)
		c.Family, c.Type = test.family, [...]uint16{dns.TypeA, dns.TypeAAAA, dns.TypeHTTPS}[test.family]
		d := decisionFor(w, c)
		if is := len(d.Picks) == 1; is != test.is || d.Scope != test.scope {
			t.Errorf("when %s, %s, %v: %t, scope %d, want %t, %d", test.when, test.client, c.Family, is, d.Scope, test.is, test.scope)
		}
	}
}

// A step that could leave nobody leaves nobody only when it is for the query.
func TestSelectWhenStrict(t *testing.T) {
	w := world(t, `
web [{"geo":{"strict":true},"when":{"country":["DE"]}},{"up":{},"when":{"country":["US"]}}] on_empty all servfail
  a 4- country:FR
net 198.51.100.0/24 DE
net 203.0.113.0/24 US`)
	for text, want := range map[string]string{
		"192.0.2.53 198.51.100.0/24": "servfail",
		"192.0.2.53 203.0.113.0/24":  "fail open: a",
		"192.0.2.53 192.0.2.0/24":    "a",
	} {
		if got := outcomesFor(w, client(t, text)); got != want {
			t.Errorf("%s gets %s, want %s", text, got, want)
		}
	}
}

// Neighbours that different steps are about are two, though no member serves either.
func TestWhenScopeNeighbours(t *testing.T) {
	w := world(t, `
web [{"take":{"n":1},"when":{"cidr":["198.51.100.0/25"]}},{"take":{"n":2},"when":{"cidr":["198.51.100.128/25"]}}]
  a 4+
  b 4+
  c 4+`)
	for text, want := range map[string]string{
		"192.0.2.53 198.51.100.0/25":   "a",
		"192.0.2.53 198.51.100.128/25": "a b",
	} {
		if d := decisionFor(w, client(t, text)); d.Scope != 25 || outcomesFor(w, client(t, text)) != want {
			t.Errorf("%s gets %s, scope %d, want %s, 25", text, outcomesFor(w, client(t, text)), d.Scope, want)
		}
	}
}
