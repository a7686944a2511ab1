package zones

import (
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// ReadPlain reads as ParseOwner does, or not at all.
func TestReadPlain(t *testing.T) {
	long := strings.Repeat("a", 63)
	texts := []string{"@", ".", "", "a", "*", "*.a", "_dmarc", "www", "a.b-c.d", "a..b", ".a", "a.", "A", `a\.b`, "a@", "a/b", "\x80", "ä", " ",
		long, long + "a", long + "." + long + "." + long, strings.TrimSuffix(strings.Repeat("a.", 63), "."), strings.TrimSuffix(strings.Repeat("a.", 127), ".")}
	var n Name
	read := 0
	for _, zone := range texts {
		for _, owner := range texts {
			apex, ok := n.ReadPlain(zone, owner)
			if !ok {
				continue
			}
			read++
			want, err := ParseOwner(zone, owner)
			if err != nil {
				t.Fatalf("%q in zone %q: %s, want %v", owner, zone, &n, err)
			}
			same := apex == want.Zone && string(n.Wire()) == string(want.Name.Wire()) && n.labels == want.Name.labels
			for labels := range int(n.labels) + 1 {
				same = same && n.suffixHash(labels) == want.Name.suffixHash(labels) && string(n.suffix(labels)) == string(want.Name.suffix(labels))
			}
			if !same {
				t.Fatalf("%q in zone %q: %s of a zone of %d labels, want %s of %d", owner, zone, &n, apex, want.Name, want.Zone)
			}
			if o := (Owner{&n, apex}); o.Text() != owner || o.ZoneText() != zone {
				t.Fatalf("%q in zone %q is spelled %q in %q", owner, zone, o.Text(), o.ZoneText())
			}
		}
	}
	if read < 60 {
		t.Errorf("%d were read", read)
	}
}

// plainRRset reads as ParseRData does, or not at all.
func TestPlainRRset(t *testing.T) {
	var numbered []string
	for i := range 17 {
		numbered = append(numbered, fmt.Sprint("192.0.2.", i))
	}
	read := 0
	for _, typ := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeTXT} {
		for _, text := range []string{"192.0.2.1", "192.0.2.1 ", "192.0.2.01", "192.0.2", "2001:db8::1", "2001:DB8::1", "::ffff:192.0.2.1", "::", "fe80::1%eth0", "", "1", `\# 4 c0000201`, "192.0.2.1\n192.0.2.2", "192.0.2.1\n192.0.2.1", "192.0.2.1\n\n192.0.2.2", "192.0.2.1\n::1", "::1\n::2", "::1\n0::1",
			strings.Join(numbered, "\n"), strings.Join(numbered[1:], "\n")} {
			for _, form := range []string{"%s", "%s\n", "%s\n\n", "$TTL 60\n%s\n", "$TTL 0\n%s", "$TTL 2147483647\n%s", "$TTL 2147483648\n%s", "$TTL -1\n%s", "$TTL +1\n%s", "$TTL  60\n%s", "$TTL 60 \n%s", "$TTL 60%s"} {
				value := fmt.Sprintf(form, text)
				got, ok := plainRRset(typ, value, 7)
				if !ok {
					continue
				}
				read++
				want, err := parseRRset(mustOwner(t, "example.com", "www"), typ, value, 7)
				if err != nil || !samePart(got, want) {
					t.Errorf("%s %q: %+v, want %+v, %v", dns.Type(typ), value, got, want, err)
				}
			}
		}
	}
	if read != 5*(3+5) {
		t.Errorf("%d were read", read)
	}
}
