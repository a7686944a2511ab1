package simulate

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"meridian/policy/geo"
	"meridian/spec"
)

func TestReadClients(t *testing.T) {
	got, err := ReadClients(strings.NewReader("# resolvers\n\n 203.0.113.0/24\t2.5 # a city\r\n2001:db8::1\n::ffff:192.0.2.1 3\n0.0.0.0/0 1e3"))
	want := []Client{
		{netip.MustParsePrefix("203.0.113.0/24"), 2.5},
		{netip.MustParsePrefix("2001:db8::1/128"), 1},
		{netip.MustParsePrefix("192.0.2.1/32"), 3},
		{netip.MustParsePrefix("0.0.0.0/0"), 1000},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
}

func TestReadClientsErrors(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"", "there is no client in it, expected a network or an address on each line, and perhaps a weight"},
		{"# nobody\n\n", "there is no client in it, expected a network or an address on each line, and perhaps a weight"},
		{"192.0.2.1\nexample.com", `line 2: "example.com" is not a client, expected a network such as 203.0.113.0/24 or an address such as 2001:db8::1`},
		{"192.0.2.0/33", `line 1: "192.0.2.0/33" is not a client, expected a network such as 203.0.113.0/24 or an address such as 2001:db8::1`},
		{"fe80::1%eth0", `line 1: "fe80::1%eth0" is not a client, expected a network such as 203.0.113.0/24 or an address such as 2001:db8::1`},
		{"192.0.2.1/24", "line 1: 192.0.2.1/24 has bits set beyond the prefix, expected 192.0.2.0/24"},
		{"192.0.2.1 -1", `line 1: "-1" is not a weight, expected a number above 0 and at most 1e+15`},
		{"192.0.2.1 0", `line 1: "0" is not a weight, expected a number above 0 and at most 1e+15`},
		{"192.0.2.1 NaN", `line 1: "NaN" is not a weight, expected a number above 0 and at most 1e+15`},
		{"192.0.2.1 1e16", `line 1: "1e16" is not a weight, expected a number above 0 and at most 1e+15`},
		{"192.0.2.1,5", `line 1: "192.0.2.1,5" is not a client, expected a network such as 203.0.113.0/24 or an address such as 2001:db8::1`},
		{"192.0.2.1 1 2", `line 1: "2" follows the weight, expected the end of the line`},
		{"192.0.2.1\n" + strings.Repeat("1", 70_000), "line 2: it is longer than 64 KiB, expected a network or an address, and perhaps a weight"},
	} {
		_, err := ReadClients(strings.NewReader(test.text))
		if _, ok := errors.AsType[*spec.Error](err); !ok || err.Error() != test.want {
			t.Errorf("%.30q:\n got %v\nwant %s", test.text, err, test.want)
		}
	}
}

func TestPrefixes(t *testing.T) {
	for _, test := range []struct{ first, last, want string }{
		{"0.0.0.0", "255.255.255.255", "0.0.0.0/0"},
		{"::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::/0"},
		{"192.0.2.1", "192.0.2.1", "192.0.2.1/32"},
		{"192.0.2.1", "192.0.2.6", "192.0.2.1/32 192.0.2.2/31 192.0.2.4/31 192.0.2.6/32"},
		{"255.255.255.254", "255.255.255.255", "255.255.255.254/31"},
		{"0.0.0.0", "0.0.1.255", "0.0.0.0/23"},
		{"2001:db8::", "2001:db8:1:ffff:ffff:ffff:ffff:ffff", "2001:db8::/47"},
		{"::ffff:ffff:ffff:ffff", "0:0:0:1::1", "::ffff:ffff:ffff:ffff/128 0:0:0:1::/127"},
	} {
		var got []string
		for p := range prefixes(netip.MustParseAddr(test.first), netip.MustParseAddr(test.last)) {
			got = append(got, p.String())
		}
		if text := strings.Join(got, " "); text != test.want {
			t.Errorf("%s–%s: %s, want %s", test.first, test.last, text, test.want)
		}
	}
}

// TestPrefixesMeet: of random ranges each prefix begins behind the one before it, and none could be larger.
func TestPrefixesMeet(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		all := netip.MustParsePrefix([]string{"10.0.0.0/8", "2001:db8::/32"}[r.IntN(2)])
		pcg := rand.NewPCG(r.Uint64(), r.Uint64())
		first, last := address(all, pcg), address(all, pcg)
		if last.Less(first) {
			first, last = last, first
		}
		next, before := first, netip.Prefix{}
		for p := range prefixes(first, last) {
			if p.Addr() != next || p != p.Masked() {
				t.Fatalf("%s–%s: %s does not begin at %s", first, last, p, next)
			}
			if twice := netip.PrefixFrom(p.Addr(), p.Bits()-1); before.IsValid() && twice.Contains(before.Addr()) && before.Bits() == p.Bits() {
				t.Fatalf("%s–%s: %s and %s are one", first, last, before, p)
			}
			next, before = lastOf(p).Next(), p
		}
		if next != last.Next() {
			t.Fatalf("%s–%s: the prefixes end before %s", first, last, next)
		}
	}
}

// TestAddress: addresses lie in the network, and every host bit is 0 as often as 1.
func TestAddress(t *testing.T) {
	const draws = 4000
	random := rand.NewPCG(1, 2)
	for _, text := range []string{"0.0.0.0/0", "192.0.2.0/23", "192.0.2.1/32", "::/0", "2001:db8::/32", "2001:db8::/64", "2001:db8::/127", "2001:db8::1/128"} {
		p := netip.MustParsePrefix(text)
		ones := make([]int, p.Addr().BitLen())
		for range draws {
			a := address(p, random)
			if !p.Contains(a) {
				t.Fatalf("%s is not of %s", a, p)
			}
			for i, b := range a.AsSlice() {
				for bit := range 8 {
					ones[8*i+bit] += int(b >> (7 - bit) & 1)
				}
			}
		}
		for i, n := range ones[p.Bits():] {
			if n < draws*2/5 || n > draws*3/5 {
				t.Errorf("%s: bit %d is 1 in %d of %d", p, p.Bits()+i, n, draws)
			}
		}
	}
}

func TestNetworks(t *testing.T) {
	l := geo.NewLayer()
	for _, p := range []string{"192.0.2.0/25", "192.0.2.128/25", "198.51.100.0/24", "2001:db8::/32", "2001:db9::/64"} {
		country, _ := geo.ParseCountry("DE")
		if p == "198.51.100.0/24" {
			country, _ = geo.ParseCountry("FR")
		}
		if err := l.Add(netip.MustParsePrefix(p), geo.Record{Country: country}); err != nil {
			t.Fatal(err)
		}
	}
	d := geo.Compile(l)
	four := []Client{{netip.MustParsePrefix("192.0.2.0/24"), 256}, {netip.MustParsePrefix("198.51.100.0/24"), 256}}
	if got := Networks(d, false); !slices.Equal(got, four) {
		t.Errorf("IPv4: %v, want %v", got, four)
	}
	six := []Client{{netip.MustParsePrefix("2001:db8::/32"), 65536}, {netip.MustParsePrefix("2001:db9::/64"), 1. / 65536}}
	if got := Networks(d, true); !slices.Equal(got, six) {
		t.Errorf("IPv6: %v, want %v", got, six)
	}
	if got := Networks(nil, false); got != nil {
		t.Errorf("of no database: %v", got)
	}
}
