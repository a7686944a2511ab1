package geo

import (
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"meridian/spec"
)

// Part is a part of a map as an operator writes it: the value of map/<map>/<part>.
type Part struct {
	Net     map[netip.Prefix]string `json:"net,omitzero"`     // tags of networks
	Default string                  `json:"default,omitzero"` // the tag of what no network of the map covers
}

var form = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$`)

// CheckTag says whether text can be a tag.
func CheckTag(text string) error { return check("a tag", text) }

// CheckName says whether text can be the name of a map.
func CheckName(text string) error { return check("the name of a map", text) }

func check(what, text string) error {
	if !form.MatchString(text) {
		return fmt.Errorf("%q is not %s: expected 1 to 63 small letters, digits, dots, hyphens and underscores, a letter or digit at both ends", text, what)
	}
	return nil
}

// Validate says what is wrong with p, as a *spec.Error: of several wrong networks, with the first.
func (p *Part) Validate() error {
	if p.Net == nil && p.Default == "" {
		return spec.Errorf("", `it says nothing, expected "net" or "default"`)
	}
	if p.Net != nil && len(p.Net) == 0 {
		return spec.Errorf("net", `expected at least one network, such as {"10.0.0.0/8":"office"}`)
	}
	var wrong *netip.Prefix
	var why error
	checked := map[string]error{}
	for net, tag := range p.Net {
		bad, known := checked[tag]
		if !known {
			bad = CheckTag(tag)
			checked[tag] = bad
		}
		if err := checkNet(net); err != nil {
			bad = err
		}
		if bad != nil && (wrong == nil || comparePrefixes(net, *wrong) < 0) {
			wrong, why = &net, bad
		}
	}
	if wrong != nil {
		return spec.Errorf(strings.TrimSuffix("net."+netText(*wrong), "."), "%v", why)
	}
	if p.Default != "" {
		if err := CheckTag(p.Default); err != nil {
			return spec.Errorf("default", "%v", err)
		}
	}
	return nil
}

func checkNet(p netip.Prefix) error {
	if !p.IsValid() { // what "" is decoded to
		return fmt.Errorf(`expected a network such as "10.0.0.0/8"`)
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return fmt.Errorf("IPv4 in IPv6 form, expected %v", netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96).Masked())
	}
	if p != p.Masked() {
		return fmt.Errorf("bits are set beyond the prefix, expected %v", p.Masked())
	}
	return nil
}

// netText is a network as it was written, in the only spelling that is right.
func netText(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}

func comparePrefixes(x, y netip.Prefix) int {
	if c := x.Addr().Compare(y.Addr()); c != 0 {
		return c
	}
	return x.Bits() - y.Bits()
}

// Conflict returns a network to which p and q give different tags, and those; ok is false where there is none.
func (p *Part) Conflict(q *Part) (net netip.Prefix, here, there string, ok bool) {
	if len(p.Net) > len(q.Net) { // look the few up among the many
		net, there, here, ok = q.Conflict(p)
		return net, here, there, ok
	}
	for n, tag := range p.Net {
		other, both := q.Net[n]
		if both && other != tag && (!ok || comparePrefixes(n, net) < 0) {
			net, here, there, ok = n, tag, other, true
		}
	}
	return net, here, there, ok
}

// Tag stands for a tag of a map. 0 is none.
type Tag uint32

// Map gives addresses tags. It is immutable.
type Map struct {
	name  string
	parts []Part
	tags  []string // by Tag, sorted; the first is ""
	other Tag      // of what no network covers
	table *Table   // of Tags
}

// NewMap makes a map of its parts, by name. Where they contradict each other, the last by name counts.
func NewMap(name string, parts map[string]Part) *Map {
	m := &Map{name: name, tags: []string{""}}
	size := 0
	seen := map[string]Tag{"": 0}
	for _, part := range slices.Sorted(maps.Keys(parts)) {
		p := parts[part]
		m.parts = append(m.parts, p)
		size += len(p.Net)
		seen[p.Default] = 0
		for _, tag := range p.Net {
			seen[tag] = 0
		}
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
		if p.Default != "" {
			m.other = seen[p.Default]
		}
	}
	m.table = NewTable(entries)
	return m
}

// Lookup returns the tag of an address, and the length of the shortest prefix around it that the map treats
// alike: all of it covered by networks of one tag, or by none.
func (m *Map) Lookup(a netip.Addr) (tag Tag, length uint8) {
	value, length := m.table.Lookup(a)
	if value == 0 {
		return m.other, length
	}
	return Tag(value), length
}

// Covers says whether a network, not the default, covers an address.
func (m *Map) Covers(a netip.Addr) bool {
	value, _ := m.table.Lookup(a)
	return value != 0
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

// Bytes is how much memory look-ups use; what was written takes more.
func (m *Map) Bytes() int { return m.table.Bytes() }
