package policy

import (
	"net/netip"
	"testing"
)

// What the scope is beside a database: neighbours that it knows the same of share one, as far as that goes.
// They do so for the attribute that is looked at: neighbours of two countries that a pool treats alike are
// still two, because the table of countries is one for all pools. Where the database has a hole, the hole
// is a stretch of its own.
func TestScopeDatabase(t *testing.T) {
	const around = `
net 198.51.100.0/26 DE DE-HE asn=64500
net 198.51.100.64/26 DE DE-BY asn=64500
net 198.51.100.128/25 FR asn=64500
net 198.51.102.0/24 DE DE-HE
net 198.51.103.0/25 DE DE-HE
net 203.0.113.0/24 US asn=64501
net 2001:db8::/33 DE
net 2001:db8:c000::/34 DE`
	const (
		byCountry     = "web geo\n  a 4+ country:DE\n  b 4+"
		byContinent   = "web geo\n  a 4+ continent:EU\n  b 4+"
		bySubdivision = "web geo\n  a 4+ subdivision:DE-HE\n  b 4+ subdivision:DE-BY\n  c 4+"
		byASN         = "web geo\n  a 4+ asn:64500\n  b 4+"
		byAll         = "web geo\n  a 4+ asn:64501\n  b 4+ subdivision:DE-HE\n  c 4+ country:DE\n  d 4+"
	)
	tests := []struct {
		pools, subnet, want string
		scope               uint8
	}{
		// Networks of one country are one stretch, whatever else differs.
		{byCountry, "198.51.100.0/32", "a", 25},
		{byCountry, "198.51.100.64/32", "a", 25},
		{byCountry, "198.51.100.128/32", "b", 25},
		{byCountry, "203.0.113.0/32", "b", 24},
		// Two networks of one country that no prefix holds together without a hole.
		{byCountry, "198.51.102.0/32", "a", 24},
		{byCountry, "198.51.103.0/32", "a", 25},
		// Holes: beside what is known, and between.
		{byCountry, "198.51.103.128/32", "b", 25},
		{byCountry, "198.51.101.0/32", "b", 24},
		{byCountry, "198.51.104.0/32", "b", 21},
		{byCountry, "203.0.112.0/32", "b", 24},
		{byCountry, "203.0.114.0/32", "b", 23},
		{byCountry, "2001:db8:4000::/48", "a", 33},
		{byCountry, "2001:db8:8000::/48", "b", 34},
		{byCountry, "2001:db8:c000::/48", "a", 34},
		{byCountry, "2001:db9::/48", "b", 32},

		// Two countries of one continent are two stretches: the table of countries is one for all pools.
		{byContinent, "198.51.100.0/32", "a", 25},
		{byContinent, "198.51.100.128/32", "a", 25},

		{bySubdivision, "198.51.100.0/32", "a", 26},
		{bySubdivision, "198.51.100.64/32", "b", 26},
		{bySubdivision, "198.51.100.128/32", "c", 25},
		{bySubdivision, "198.51.101.0/32", "c", 24},

		// One autonomous system of three networks is one stretch.
		{byASN, "198.51.100.0/32", "a", 24},
		{byASN, "198.51.100.200/32", "a", 24},
		{byASN, "198.51.101.0/32", "b", 24},
		{byASN, "198.51.102.0/32", "b", 23}, // known, but not of which: beside a hole that is alike

		// All that was looked at counts, and nothing behind what decided.
		{byAll, "203.0.113.0/32", "a", 24},
		{byAll, "198.51.100.0/32", "b", 26},
		{byAll, "198.51.100.64/32", "c", 26},
		{byAll, "198.51.100.128/32", "d", 25},
	}
	for _, test := range tests {
		w := world(t, test.pools+around)
		c := &Client{Addr: netip.MustParseAddr("192.0.2.53"), Subnet: netip.MustParsePrefix(test.subnet)}
		d := decisionFor(w, c)
		if got := text(d, w.Pools[0], IPv4); got != test.want || d.Scope != test.scope {
			t.Errorf("%s\n%s gets %s, scope %d, want %s, %d", test.pools, test.subnet, got, d.Scope, test.want, test.scope)
		}
		// All clients within the scope are answered alike, in the same scope.
		within, _ := c.Subnet.Addr().Prefix(int(d.Scope))
		for _, a := range []netip.Addr{within.Addr(), lastOf(within)} {
			other := decisionFor(w, &Client{Addr: c.Addr, Subnet: netip.PrefixFrom(a, a.BitLen())})
			if got := text(other, w.Pools[0], IPv4); got != test.want || other.Scope != d.Scope {
				t.Errorf("%s\n%s gets %s, scope %d; in its scope %s gets %s, scope %d", test.pools, test.subnet, test.want, d.Scope, a, got, other.Scope)
			}
		}
	}
}

// Nobody who looks at the client, no scope: whatever there is to know.
func TestScopeNone(t *testing.T) {
	for _, pools := range []string{
		"web failover\n  a 4+ country:DE",
		"web geo\n  a 4+ any",
		"web [{\"shed\":{\"percent\":\"10%\"}},{\"tier\":{\"failback\":\"manual\"}},{\"up\":{},\"when\":{\"qtype\":[\"AAAA\"]}}]\n  a 4+ country:DE",
		"web weighted\n  a pool=eu country:DE\neu weighted\n  x 4+ country:DE",
	} {
		w := world(t, pools+"\nnet 198.51.100.0/24 DE")
		if d := decisionFor(w, client(t, "192.0.2.53 198.51.100.0/24")); d.Outcome != Chosen || d.Scope != 0 {
			t.Errorf("%s\n%v, scope %d", pools, d.Outcome, d.Scope)
		}
	}
}
