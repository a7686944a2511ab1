package geo

import (
	"net/netip"
	"testing"
)

func TestMap(t *testing.T) {
	office := NewMap("office", map[string]Part{
		"a": part("10.0.0.0/8=hq 10.1.0.0/16=lab"),
		"b": part("10.2.0.0/16=lab 2001:db8::/32=hq *=abroad"),
		"c": part("10.0.0.0/8=hq"),
	})
	tests := []struct {
		addr, tag string
		length    uint8
		covered   bool
		net       string // "" for none
	}{
		{"10.200.0.1", "hq", 9, true, "10.0.0.0/8"},
		{"10.1.0.1", "lab", 16, true, "10.1.0.0/16"},
		{"10.2.0.1", "lab", 16, true, "10.2.0.0/16"},
		{"192.0.2.1", "abroad", 1, false, ""},
		{"2001:db8::1", "hq", 32, true, "2001:db8::/32"},
		{"2001:db9::1", "abroad", 32, false, ""},
	}
	for _, test := range tests {
		a := netip.MustParseAddr(test.addr)
		tag, length := office.Lookup(nil, a)
		if office.Name(tag) != test.tag || length != test.length {
			t.Errorf("%v: tag %q, length %d, expected %q, %d", a, office.Name(tag), length, test.tag, test.length)
		}
		if covered, _ := office.Covers(a); covered != test.covered {
			t.Errorf("%v: covered: %v", a, !test.covered)
		}
		net, ok := office.Net(a)
		if ok != (test.net != "") || ok && net.String() != test.net {
			t.Errorf("%v: %v, expected %q", a, net, test.net)
		}
	}
	for _, tag := range []string{"hq", "lab", "abroad"} {
		if n := office.Tag(tag); n == 0 || office.Name(n) != tag {
			t.Errorf("tag %q is %d, which is %q", tag, n, office.Name(n))
		}
	}
	for _, tag := range []string{"", "other"} {
		if n := office.Tag(tag); n != 0 {
			t.Errorf("tag %q is %d, expected 0", tag, n)
		}
	}
	if office.String() != "map/office" {
		t.Errorf("it is called %v", office)
	}
}

// TestMapWithoutDefault: what no network covers has no tag.
func TestMapWithoutDefault(t *testing.T) {
	m := NewMap("m", map[string]Part{"p": part("10.0.0.0/8=a")})
	if tag, length := m.Lookup(nil, netip.MustParseAddr("11.0.0.1")); tag != 0 || m.Name(tag) != "" || length != 8 {
		t.Errorf("tag %d %q, length %d", tag, m.Name(tag), length)
	}
}

// TestMapOrder: networks before autonomous systems before countries before the default, whichever parts they
// are of; and as much is looked up as it takes.
func TestMapOrder(t *testing.T) {
	entry := func(net string, value uint32) Entry { return Entry{netip.MustParsePrefix(net), value} }
	de, us := uint32(mustCountry("DE")), uint32(mustCountry("US"))
	d := &Database{
		asn:     NewTable([]Entry{entry("192.0.2.0/24", 64500), entry("198.51.100.0/25", 64501)}),
		country: NewTable([]Entry{entry("192.0.2.0/26", de), entry("198.51.100.0/28", us), entry("203.0.113.0/29", de)}),
	}
	parts := map[string]Part{
		"a": part("*=rest DE=de"), "b": part("AS64500=as"), "c": part("192.0.2.0/30=net"),
	}
	full := NewMap("full", parts)
	none := NewMap("none", map[string]Part{"a": part("AS64500=as DE=de")})
	asn := NewMap("asn", map[string]Part{"a": part("AS64500=as *=rest")})
	countries := NewMap("country", map[string]Part{"a": part("DE=de *=rest")})
	tests := []struct {
		m      *Map
		d      *Database
		addr   string
		tag    string
		length uint8
		why    string
	}{
		{full, d, "192.0.2.1", "net", 30, "192.0.2.0/30 is net"},
		{full, d, "192.0.2.5", "as", 30, "asn 64500 is as"},
		{full, d, "192.0.2.65", "as", 26, "asn 64500 is as"},
		{full, d, "203.0.113.1", "de", 29, "country DE is de (no database says its asn)"},
		{full, d, "198.51.100.1", "rest", 28, "by default rest (asn 64501 has no tag, country US has no tag)"},
		{full, d, "198.51.100.17", "rest", 28, "by default rest (asn 64501 has no tag, no database says its country)"},
		{full, d, "2001:db8::1", "rest", 0, "by default rest (no database says its asn, no database says its country)"},
		{full, nil, "192.0.2.1", "net", 30, "192.0.2.0/30 is net"},
		{full, nil, "192.0.2.5", "rest", 30, "by default rest (no database says its asn, no database says its country)"},
		{none, d, "192.0.2.1", "as", 24, "asn 64500 is as"},
		{none, d, "203.0.113.1", "de", 29, "country DE is de (no database says its asn)"},
		{none, d, "198.51.100.1", "", 28, "nothing covers it, and there is no default (asn 64501 has no tag, country US has no tag)"},
		{asn, d, "192.0.2.65", "as", 24, "asn 64500 is as"},
		{asn, d, "203.0.113.1", "rest", 5, "by default rest (no database says its asn)"},
		{countries, d, "192.0.2.1", "de", 26, "country DE is de"},
		{countries, d, "198.51.100.1", "rest", 28, "by default rest (country US has no tag)"},
		{NewMap("nets", map[string]Part{"a": part("10.0.0.0/8=office *=rest")}), d, "192.0.2.1", "rest", 1, "by default rest"},
		{NewMap("nets", map[string]Part{"a": part("10.0.0.0/8=office")}), d, "192.0.2.1", "", 1, "nothing covers it, and there is no default"},
	}
	for _, test := range tests {
		a := netip.MustParseAddr(test.addr)
		tag, length := test.m.Lookup(test.d, a)
		if got := test.m.Name(tag); got != test.tag || length != test.length {
			t.Errorf("%v, %v: tag %q, length %d, expected %q, %d", test.m, a, got, length, test.tag, test.length)
		}
		if why := test.m.Why(test.d, a); why != test.why {
			t.Errorf("%v, %v: %s, expected %s", test.m, a, why, test.why)
		}
		if covered, _ := test.m.Covers(a); covered != (test.tag == "net") {
			t.Errorf("%v, %v is covered: %v", test.m, a, !covered)
		}
	}
}

func TestMapAllocates(t *testing.T) {
	d := &Database{asn: NewTable(parseEntries(t, "10.0.0.0/8=1")), country: NewTable(parseEntries(t, "10.0.0.0/8=2"))}
	m := NewMap("m", map[string]Part{"p": part("192.0.2.0/24=a AS2=b DE=c *=d")})
	covered, by := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("10.1.2.3")
	if n := testing.AllocsPerRun(100, func() { m.Lookup(d, covered); m.Lookup(d, by); m.Lookup(nil, by) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
