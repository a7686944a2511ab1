package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"meridian/policy/geo"
	"meridian/spec"
)

// TermKind is what a term goes by. Of the kinds that match a client, the first counts.
type TermKind uint8

const (
	TermCIDR TermKind = iota // the client's address, the longest prefix that covers it; asn goes behind it
	TermMap                  // a tag of a map; subdivision, country and continent go behind it
	TermAny                  // everybody
)

// Term is one entry of what a member serves.
type Term struct {
	Kind TermKind
	Net  netip.Prefix // of TermCIDR
	Map  string       // of TermMap
	Tag  string       // of TermMap
}

func (t Term) String() string {
	return [...]string{"cidr:" + t.Net.String(), "map:" + t.Map + "/" + t.Tag, "any"}[t.Kind]
}

// beats says whether t is more specific than u, where both match a client.
func (t Term) beats(u Term) bool {
	return t.Kind < u.Kind || t.Kind == TermCIDR && u.Kind == TermCIDR && t.Net.Bits() > u.Net.Bits()
}

// MaxServes is how many terms a member may have. More networks than that are better kept in a map.
const MaxServes = 256

const knownTerms = `expected "cidr:<prefix>", "map:<map>/<tag>" or "any"`

// ParseTerm reads one entry of serves: "cidr:192.0.2.0/24", "map:office/berlin" or "any".
func ParseTerm(text string) (Term, error) {
	if text == "any" {
		return Term{Kind: TermAny}, nil
	}
	kind, what, _ := strings.Cut(text, ":")
	switch kind {
	case "cidr":
		return parseCIDR(what)
	case "map":
		name, tag, _ := strings.Cut(what, "/")
		if name == "" || tag == "" {
			return Term{}, fmt.Errorf(`%q names no tag of a map, expected "map:<map>/<tag>"`, text)
		}
		return Term{Kind: TermMap, Map: name, Tag: tag}, cmp.Or(geo.CheckName(name), geo.CheckTag(tag))
	case "asn":
		return Term{}, fmt.Errorf("%q: no database says what a client's asn is, %s", text, knownTerms)
	case "subdivision", "country", "continent":
		return Term{}, fmt.Errorf("%q: no database says in what %s a client is, %s", text, kind, knownTerms)
	}
	return Term{}, fmt.Errorf("%q is not known, %s", text, knownTerms)
}

func parseCIDR(text string) (Term, error) {
	p, err := netip.ParsePrefix(text)
	t := Term{Kind: TermCIDR, Net: p}
	if err != nil {
		return t, fmt.Errorf(`"cidr:%s" is no network, expected one such as "cidr:192.0.2.0/24"`, text)
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		right := Term{Kind: TermCIDR, Net: netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96).Masked()}
		return t, fmt.Errorf(`"%s" is IPv4 in IPv6 form, expected "%s"`, t, right)
	}
	if p != p.Masked() {
		return t, fmt.Errorf(`"%s" has bits set beyond the prefix, expected "%s"`, t, Term{Kind: TermCIDR, Net: p.Masked()})
	}
	return t, nil
}

// checkServes says what is wrong with serves, as a *spec.Error.
func checkServes(serves []string) error {
	if serves != nil && len(serves) == 0 {
		return spec.Errorf("serves", `expected at least one term; "any" serves everybody, as a member without it does`)
	}
	if len(serves) > MaxServes {
		return spec.Errorf("serves", "expected at most %d terms, found %d: networks without end are for a map", MaxServes, len(serves))
	}
	seen := map[Term]bool{}
	for i, text := range serves {
		field := fmt.Sprintf("serves[%d]", i)
		t, err := ParseTerm(text)
		if err != nil {
			return spec.Errorf(field, "%v", err)
		}
		if seen[t] {
			return spec.Errorf(field, "%q is there twice", text)
		}
		seen[t] = true
	}
	return nil
}

// Maps returns the maps of which m serves a tag, each once, in order.
func (m *MemberSpec) Maps() []string {
	var names []string
	for _, text := range m.Serves {
		if t, err := ParseTerm(text); err == nil && t.Kind == TermMap && !slices.Contains(names, t.Map) {
			names = append(names, t.Map)
		}
	}
	return names
}
