package zones

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/miekg/dns"
)

func TestExplainFrom(t *testing.T) {
	s := scene(t, `
default.example
some.example {"explain":["192.0.2.0/24","2001:db8::/32"]}
nobody.example {"explain":[]}
all.example {"explain":["0.0.0.0/0","::/0"]}
broken.example broken soa
none.example no soa
`)
	addrs := []string{"127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1", "192.0.2.9", "::ffff:192.0.2.9", "192.0.3.1", "2001:db8:9::1", "2001:db9::1", ""}
	tests := []struct{ zone, want string }{
		{"default.example", "yyyynnnnnn"},
		{"some.example", "nnnnyynynn"},
		{"nobody.example", "nnnnnnnnnn"},
		{"all.example", "yyyyyyyyyn"},
		{"broken.example", "nnnnnnnnnn"},
		{"none.example", "nnnnnnnnnn"},
	}
	for _, test := range tests {
		for name, s := range map[string]*Snapshot{"": s, "loaded: ": reload(t, s)} {
			got := ""
			for _, text := range addrs {
				addr, _ := netip.ParseAddr(text)
				if s.ExplainFrom(mustOwner(t, test.zone, "@"), addr) {
					got += "y"
				} else {
					got += "n"
				}
			}
			if got != test.want {
				t.Errorf("%s%s: %s, want %s", name, test.zone, got, test.want)
			}
		}
	}
	// A new serial leaves it as it was.
	e := s.Edit()
	o := mustOwner(t, "some.example", "@")
	e.Touch(o, 9)
	s = e.Commit(9)
	if serial, _ := s.Serial(o); serial != 9 || !s.ExplainFrom(o, netip.MustParseAddr("192.0.2.9")) {
		t.Errorf("serial %d, and the networks are gone", serial)
	}
}

func TestExplainFaults(t *testing.T) {
	many := make([]netip.Prefix, 65)
	for i := range many {
		many[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i)}), 16)
	}
	tests := []struct {
		explain []netip.Prefix
		want    string
	}{
		{[]netip.Prefix{{}}, `explain[0]: expected a network such as "10.0.0.0/8", found an empty string`},
		{[]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.1/24")},
			`explain[1]: "192.0.2.1/24" has bits set beyond the prefix, expected "192.0.2.0/24"`},
		{[]netip.Prefix{netip.MustParsePrefix("::ffff:192.0.2.0/120")},
			`explain[0]: "::ffff:192.0.2.0/120" is IPv4 in IPv6 form, expected a network such as "10.0.0.0/8"`},
		{[]netip.Prefix{many[0], many[0]}, `explain[1]: "10.0.0.0/16" is there twice`},
		{many, "explain: expected at most 64 networks, found 65"},
		{many[:64], "<nil>"},
	}
	for _, test := range tests {
		soa, _, err := (&SOA{NS: []string{"ns"}, Explain: test.explain}).Compile(mustOwner(t, "example.com", "@"), 1)
		if got := fmt.Sprint(err); got != test.want {
			t.Errorf("%v:\n%s, want\n%s", test.explain, got, test.want)
		}
		if err == nil && len(firstRData(soa.data)) != len(soa.data)-2 {
			t.Errorf("%v: the SOA's RDATA goes on", test.explain)
		}
	}
}

// What a zone's soa says beside its records goes out in none of them.
func TestSOAMore(t *testing.T) {
	plain := scene(t, "example.com\n")
	more := scene(t, `example.com {"member_names":true,"ecs":false,"explain":["192.0.2.0/24"]}`+"\n")
	var used Answer
	for _, name := range []string{"example.com", "x.example.com"} {
		q := question(t, name, dns.TypeSOA)
		Resolve(plain, q, &used, nil)
		want := fmt.Sprint(used.Text(q))
		Resolve(more, q, &used, nil)
		if got := fmt.Sprint(used.Text(q)); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
