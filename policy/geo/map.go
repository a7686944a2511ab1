package geo

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Tag stands for a tag of a map. 0 is none.
type Tag uint32

// Map gives addresses tags: by the longest network of the map around one, else by its autonomous system, else
// by its country, else all the same. It is immutable.
type Map struct {
	table   *Table         // of Tags
	asn     map[uint32]Tag // nil where no part has any
	country []Tag          // by Country; nil where no part has any
	other   Tag            // of what nothing else covers

	name  string
	parts []Part
	tags  []string // by Tag, sorted; the first is ""
}

// NewMap makes a map of its parts, by name. Where they contradict each other, the last by name counts.
func NewMap(name string, parts map[string]Part) *Map {
	m := &Map{name: name}
	size := 0
	seen := map[string]Tag{"": 0}
	for _, part := range slices.Sorted(maps.Keys(parts)) {
		p := parts[part]
		m.parts = append(m.parts, p)
		size += len(p.Net)
		seen[p.Default] = 0
		see(seen, p.Net)
		see(seen, p.ASN)
		see(seen, p.Country)
	}
	m.tags = slices.Sorted(maps.Keys(seen))
	for i, tag := range m.tags {
		seen[tag] = Tag(i)
	}
	entries := make([]Entry, 0, size)
	for _, p := range m.parts {
		for net, tag := range p.Net {
			entries = append(entries, Entry{net, uint32(seen[tag])})
		}
		m.addOrigins(&p, seen)
		if p.Default != "" {
			m.other = seen[p.Default]
		}
	}
	m.table = NewTable(entries)
	return m
}

func see[K comparable](seen map[string]Tag, tags map[K]string) {
	for _, tag := range tags {
		seen[tag] = 0
	}
}

// addOrigins adds the autonomous systems and countries of a part.
func (m *Map) addOrigins(p *Part, tags map[string]Tag) {
	if len(p.ASN) > 0 && m.asn == nil {
		m.asn = map[uint32]Tag{}
	}
	for n, tag := range p.ASN {
		m.asn[n] = tags[tag]
	}
	if len(p.Country) > 0 && m.country == nil {
		m.country = make([]Tag, Countries)
	}
	for code, tag := range p.Country {
		if c, err := ParseCountry(code); err == nil {
			m.country[c] = tags[tag]
		}
	}
}

// Lookup returns the tag of an address, and the length of a prefix around it all of which has that tag: the
// longest of those of the look-ups that it took. d says of what autonomous system and country an address is,
// and is asked only where no network covers it and a part has such tags; nil knows nothing.
func (m *Map) Lookup(d *Database, a netip.Addr) (tag Tag, length uint8) {
	value, length := m.table.Lookup(a)
	switch {
	case value != 0:
		return Tag(value), length
	case m.asn == nil && m.country == nil:
		return m.other, length
	}
	return m.byOrigin(d, a, length)
}

// byOrigin is Lookup where no network covers a, nor any address of a prefix of that length around it.
func (m *Map) byOrigin(d *Database, a netip.Addr, length uint8) (tag Tag, longest uint8) {
	if m.asn != nil {
		n, l := d.ASN(a)
		length = max(length, l)
		if tag := m.asn[n]; tag != 0 && n != 0 {
			return tag, length
		}
	}
	if m.country != nil {
		c, _, l := d.Country(a)
		length = max(length, l)
		if tag := m.country[c]; tag != 0 {
			return tag, length
		}
	}
	return m.other, length
}

// Why says in words why an address has the tag that Lookup gives it, or none: "10.0.0.0/8 is office",
// "country DE is eu (no database says its asn)", "by default us". It takes its time: for explanations.
func (m *Map) Why(d *Database, a netip.Addr) string {
	tag, _ := m.Lookup(d, a)
	if net, ok := m.Net(a); ok {
		return fmt.Sprintf("%v is %s", net, m.Name(tag))
	}
	why, passed := m.whyOrigin(d, a)
	switch {
	case why == "" && tag != 0:
		why = "by default " + m.Name(tag)
	case why == "":
		why = "nothing covers it, and there is no default"
	}
	if len(passed) > 0 {
		why += " (" + strings.Join(passed, ", ") + ")"
	}
	return why
}

// whyOrigin is Why where no network covers a: "" if neither its autonomous system nor its country has a tag;
// and what there was to say of those that have none.
func (m *Map) whyOrigin(d *Database, a netip.Addr) (why string, passed []string) {
	if m.asn != nil {
		switch n, _ := d.ASN(a); {
		case n == 0:
			passed = append(passed, "no database says its asn")
		case m.asn[n] == 0:
			passed = append(passed, fmt.Sprintf("asn %d has no tag", n))
		default:
			return fmt.Sprintf("asn %d is %s", n, m.Name(m.asn[n])), passed
		}
	}
	if m.country != nil {
		switch c, _, _ := d.Country(a); {
		case c == 0:
			passed = append(passed, "no database says its country")
		case m.country[c] == 0:
			passed = append(passed, fmt.Sprintf("country %v has no tag", c))
		default:
			return fmt.Sprintf("country %v is %s", c, m.Name(m.country[c])), passed
		}
	}
	return "", passed
}

// Covers says whether a network covers an address, and the length of the shortest prefix around it of which
// that holds as well.
func (m *Map) Covers(a netip.Addr) (covered bool, length uint8) {
	value, length := m.table.Lookup(a)
	return value != 0, length
}

// Tag returns the tag of that name, 0 if the map has none.
func (m *Map) Tag(name string) Tag {
	i, ok := slices.BinarySearch(m.tags, name)
	if !ok {
		return 0
	}
	return Tag(i)
}

// Name is a tag as it is written, "" for 0.
func (m *Map) Name(t Tag) string { return m.tags[t] }

// String is the map as keys begin: "map/office".
func (m *Map) String() string { return "map/" + m.name }

// Net returns the network that covers an address, the longest if there are several; ok is false where none
// does. It takes its time: for explanations.
func (m *Map) Net(a netip.Addr) (net netip.Prefix, ok bool) {
	for length := a.BitLen(); length >= 0; length-- {
		net, err := a.Prefix(length)
		if err != nil {
			return netip.Prefix{}, false // no address
		}
		for _, p := range m.parts {
			if _, ok := p.Net[net]; ok {
				return net, true
			}
		}
	}
	return netip.Prefix{}, false
}

// Bytes is how much memory look-ups of networks use; what was written takes more.
func (m *Map) Bytes() int { return m.table.Bytes() }
