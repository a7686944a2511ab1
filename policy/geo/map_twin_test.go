package geo

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// mapTwin says what a Map should, by looking through all parts and all that is known of addresses.
type mapTwin struct {
	parts        []Part // in order
	asn, country naive  // of the database
	said         map[netip.Addr]string
}

// database knows what the twin does.
func (w *mapTwin) database() *Database {
	return &Database{asn: NewTable(w.asn), country: NewTable(w.country)}
}

func (w *mapTwin) nets() (all naive) {
	for _, p := range w.parts {
		for net := range p.Net {
			all = append(all, Entry{net, 1})
		}
	}
	return all
}

// tagged is nets with the tags that the last part gives, as numbers.
func (w *mapTwin) tagged() (all naive) {
	for _, p := range w.parts {
		for net, tag := range p.Net {
			all = append(all, Entry{net, uint32(tag[0])})
		}
	}
	return all
}

// tag is "" for none.
func (w *mapTwin) tag(a netip.Addr) string {
	tag, asked := w.said[a]
	if asked {
		return tag
	}
	n, country := w.asn.value(a), Country(w.country.value(a)).String()
	var byNet, byASN, byCountry, other string
	longest := -1
	for _, p := range w.parts {
		for net, tag := range p.Net {
			if net.Contains(a) && net.Bits() >= longest {
				longest, byNet = net.Bits(), tag
			}
		}
		for number, tag := range p.ASN {
			if number == n {
				byASN = tag
			}
		}
		for code, tag := range p.Country {
			if code == country {
				byCountry = tag
			}
		}
		if p.Default != "" {
			other = p.Default
		}
	}
	for _, tag = range []string{byNet, byASN, byCountry, other} {
		if tag != "" {
			break
		}
	}
	w.said[a] = tag
	return tag
}

// length is the longest of those of the look-ups that the tag takes.
func (w *mapTwin) length(a netip.Addr, tagged naive) uint8 {
	length := tagged.scope(a)
	if tagged.value(a) != 0 {
		return length
	}
	hasASN, hasCountry, byASN := false, false, false
	for _, p := range w.parts {
		hasASN = hasASN || len(p.ASN) > 0
		hasCountry = hasCountry || len(p.Country) > 0
		byASN = byASN || p.ASN[w.asn.value(a)] != ""
	}
	if hasASN {
		length = max(length, w.asn.scope(a))
	}
	if hasCountry && !byASN {
		length = max(length, w.country.scope(a))
	}
	return length
}

// edges are the addresses at which anything begins or ends, and those beside them.
func (w *mapTwin) edges() (all []netip.Addr) {
	for _, entries := range []naive{w.nets(), w.asn, w.country} {
		for _, e := range entries {
			first, last := e.Prefix.Addr(), lastOf(e.Prefix)
			for _, a := range []netip.Addr{first, last, first.Prev(), last.Next()} {
				if a.IsValid() {
					all = append(all, a)
				}
			}
		}
	}
	return append(all, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"))
}

// TestRandomMaps compares tags and lengths at every edge, and looks for an address within that length that has
// another tag.
func TestRandomMaps(t *testing.T) {
	random := rand.New(rand.NewPCG(20261123, 9))
	for round := range 60 {
		w := &mapTwin{said: map[netip.Addr]string{}}
		parts := map[string]Part{}
		for i := range 1 + random.IntN(3) {
			p := randomPart(random)
			w.parts = append(w.parts, p)
			parts[fmt.Sprint("p", i)] = p
		}
		d := (*Database)(nil)
		if round%5 != 0 {
			w.asn, w.country = randomOrigins(random)
			d = w.database()
		}
		m := NewMap("m", parts)
		tagged, edges := w.tagged(), w.edges()
		for _, a := range edges {
			tag, length := m.Lookup(d, a)
			if got, want := m.Name(tag), w.tag(a); got != want {
				t.Fatalf("%v is %q (%s), expected %q, of %+v", a, got, m.Why(d, a), want, w)
			}
			if want := w.length(a, tagged); length != want {
				t.Fatalf("%v has length %d, expected %d, of %+v", a, length, want, w)
			}
			if covered, _ := m.Covers(a); covered != (tagged.value(a) != 0) {
				t.Fatalf("%v is covered: %v, of %+v", a, !covered, w)
			}
			p, _ := a.Prefix(int(length))
			for _, other := range append(edges, p.Addr(), lastOf(p)) {
				if p.Contains(other) && w.tag(other) != m.Name(tag) {
					t.Fatalf("%v is %q, %v within %v is %q, of %+v", a, m.Name(tag), other, p, w.tag(other), w)
				}
			}
		}
	}
}

// randomOrigins are networks of few autonomous systems and countries, and holes between and within them. Of
// some no more than the continent is known.
func randomOrigins(random *rand.Rand) (asn, country naive) {
	for range random.IntN(12) {
		e := randomEntry(random)
		asn = append(asn, Entry{e.Prefix.Masked(), e.Value})
	}
	for range random.IntN(12) {
		e := randomEntry(random)
		c := []Country{0, mustCountry("DE"), mustCountry("US"), mustCountry("GB")}[e.Value]
		value := uint32(c) | uint32(c.Continent())<<16
		if random.IntN(4) == 0 {
			value = uint32(europe) << 16
		}
		country = append(country, Entry{e.Prefix.Masked(), value})
	}
	return asn, country
}

func mustCountry(code string) Country {
	c, err := ParseCountry(code)
	if err != nil {
		panic(err)
	}
	return c
}
