package geo

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"meridian/spec"
)

// part reads "10.0.0.0/8=office 192.0.2.0/24=lab *=rest".
func part(text string) Part {
	var p Part
	for one := range strings.FieldsSeq(text) {
		net, tag, _ := strings.Cut(one, "=")
		if net == "*" {
			p.Default = tag
			continue
		}
		if p.Net == nil {
			p.Net = map[netip.Prefix]string{}
		}
		p.Net[netip.MustParsePrefix(net)] = tag
	}
	return p
}

func TestPartFaults(t *testing.T) {
	tests := []struct {
		part Part
		want string // "" for none
	}{
		{part("10.0.0.0/8=office"), ""},
		{part("*=us"), ""},
		{part("0.0.0.0/0=a ::/0=b 192.0.2.1/32=c-1_x.y *=a"), ""},
		{Part{}, `it says nothing, expected "net" or "default"`},
		{Part{Net: map[netip.Prefix]string{}}, `net: expected at least one network, such as {"10.0.0.0/8":"office"}`},
		{Part{Net: map[netip.Prefix]string{{}: "office"}}, `net: expected a network such as "10.0.0.0/8"`},
		{part("10.1.2.3/8=office"), "net.10.1.2.3/8: bits are set beyond the prefix, expected 10.0.0.0/8"},
		{part("2001:db8::1/32=office"), "net.2001:db8::1/32: bits are set beyond the prefix, expected 2001:db8::/32"},
		{part("::ffff:10.1.0.0/112=office"), "net.::ffff:10.1.0.0/112: IPv4 in IPv6 form, expected 10.1.0.0/16"},
		{part("10.0.0.0/8=Office"), `net.10.0.0.0/8: "Office" is not a tag: expected 1 to 63 small letters, digits, dots, hyphens and underscores, a letter or digit at both ends`},
		{part("10.0.0.0/8="), `net.10.0.0.0/8: "" is not a tag: expected 1 to 63 small letters, digits, dots, hyphens and underscores, a letter or digit at both ends`},
		{part("*=" + strings.Repeat("x", 64)), `default: "` + strings.Repeat("x", 64) + `" is not a tag: expected 1 to 63 small letters, digits, dots, hyphens and underscores, a letter or digit at both ends`},
		{part("10.0.0.1/8=a 10.0.0.1/9=B 9.0.0.1/8=c"), "net.9.0.0.1/8: bits are set beyond the prefix, expected 9.0.0.0/8"}, // the first
	}
	for _, test := range tests {
		got := ""
		if err := test.part.Validate(); err != nil {
			got = err.Error()
			if e := (*spec.Error)(nil); !errors.As(err, &e) {
				t.Errorf("%q is no *spec.Error", got)
			}
		}
		if got != test.want {
			t.Errorf("%+v: %q, expected %q", test.part, got, test.want)
		}
	}
}

func TestConflict(t *testing.T) {
	tests := []struct{ here, there, want string }{
		{"10.0.0.0/8=a", "10.0.0.0/9=b 192.0.2.0/24=c", "none"},
		{"10.0.0.0/8=a", "10.0.0.0/8=a", "none"},
		{"10.0.0.0/8=a", "10.0.0.0/8=b", "10.0.0.0/8 a b"},
		{"10.0.0.0/8=a 9.0.0.0/8=x", "10.0.0.0/8=b 9.0.0.0/8=y 2001:db8::/32=z", "9.0.0.0/8 x y"},
		{"10.0.0.0/8=a 9.0.0.0/8=x 2001:db8::/32=z", "10.0.0.0/8=b", "10.0.0.0/8 a b"},
	}
	for _, test := range tests {
		here, there := part(test.here), part(test.there)
		got := "none"
		if net, x, y, ok := here.Conflict(&there); ok {
			got = fmt.Sprint(net, " ", x, " ", y)
		}
		if got != test.want {
			t.Errorf("%s beside %s: %s, expected %s", test.here, test.there, got, test.want)
		}
	}
}

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
		tag, length := office.Lookup(a)
		if office.Name(tag) != test.tag || length != test.length {
			t.Errorf("%v: tag %q, length %d, expected %q, %d", a, office.Name(tag), length, test.tag, test.length)
		}
		if office.Covers(a) != test.covered {
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
	if tag, length := m.Lookup(netip.MustParseAddr("11.0.0.1")); tag != 0 || m.Name(tag) != "" || length != 8 {
		t.Errorf("tag %d %q, length %d", tag, m.Name(tag), length)
	}
}
