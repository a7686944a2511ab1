package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"meridian/policy/geo"
	"meridian/spec"
)

// TermKind is what a term goes by. Of the kinds that match a client, the first counts.
type TermKind uint8

const (
	TermCIDR        TermKind = iota // the client's address, the longest prefix that covers it
	TermASN                         // the autonomous system that announces it
	TermMap                         // a tag that a map gives it
	TermSubdivision                 // where it is: ISO 3166-2
	TermCountry                     // ISO 3166-1
	TermContinent
	TermAny // everybody
)

// Term is one entry of what a member serves.
type Term struct {
	Kind        TermKind
	Net         netip.Prefix    // of TermCIDR
	ASN         uint32          // of TermASN
	Map         string          // of TermMap
	Tag         string          // of TermMap
	Subdivision geo.Subdivision // of TermSubdivision
	Country     geo.Country     // of TermCountry
	Continent   geo.Continent   // of TermContinent
}

func (t Term) String() string {
	switch t.Kind {
	case TermCIDR:
		return "cidr:" + t.Net.String()
	case TermASN:
		return fmt.Sprintf("asn:%d", t.ASN)
	case TermMap:
		return "map:" + t.Map + "/" + t.Tag
	case TermSubdivision:
		return "subdivision:" + t.Subdivision.String()
	case TermCountry:
		return "country:" + t.Country.String()
	case TermContinent:
		return "continent:" + t.Continent.String()
	}
	return "any"
}

// beats says whether t is more specific than u, where both match a client.
func (t Term) beats(u Term) bool {
	return t.Kind < u.Kind || t.Kind == TermCIDR && u.Kind == TermCIDR && t.Net.Bits() > u.Net.Bits()
}

// MaxServes is how many terms a member may have. More networks than that are better kept in a map.
const MaxServes = 256

const knownTerms = `expected "cidr:<prefix>", "asn:<number>", "map:<map>/<tag>", "subdivision:<code>", "country:<code>", "continent:<code>" or "any"`

// ParseTerm reads one entry of serves: "cidr:192.0.2.0/24", "asn:64500", "map:office/berlin",
// "subdivision:DE-HE", "country:DE", "continent:EU" or "any".
func ParseTerm(text string) (t Term, err error) {
	if text == "any" {
		return Term{Kind: TermAny}, nil
	}
	kind, what, _ := strings.Cut(text, ":")
	switch kind {
	case "cidr":
		return parseCIDR("cidr:", what)
	case "asn":
		n, err := strconv.ParseUint(what, 10, 32)
		if err != nil || n == 0 {
			return t, fmt.Errorf(`%q is no autonomous system, expected a number such as "asn:64500"`, text)
		}
		return Term{Kind: TermASN, ASN: uint32(n)}, nil
	case "map":
		name, tag, _ := strings.Cut(what, "/")
		if name == "" || tag == "" {
			return t, fmt.Errorf(`%q names no tag of a map, expected "map:<map>/<tag>"`, text)
		}
		return Term{Kind: TermMap, Map: name, Tag: tag}, cmp.Or(geo.CheckName(name), geo.CheckTag(tag))
	case "subdivision":
		t.Kind = TermSubdivision
		t.Subdivision, err = geo.ParseSubdivision(what)
		return t, err
	case "country":
		t.Kind = TermCountry
		t.Country, err = geo.ParseCountry(what)
		return t, err
	case "continent":
		t.Kind = TermContinent
		t.Continent, err = geo.ParseContinent(what)
		return t, err
	}
	return t, fmt.Errorf("%q is not known, %s", text, knownTerms)
}

// parseCIDR reads a network, before which the operator writes form: "cidr:" or nothing.
func parseCIDR(form, text string) (Term, error) {
	p, err := netip.ParsePrefix(text)
	t := Term{Kind: TermCIDR, Net: p}
	if err != nil {
		return t, fmt.Errorf("%q is no network, expected one such as %q", form+text, form+"192.0.2.0/24")
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		right := netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96).Masked()
		return t, fmt.Errorf("%q is IPv4 in IPv6 form, expected %q", form+p.String(), form+right.String())
	}
	if in, ok := geo.FoldedIn(p); ok {
		return t, fmt.Errorf("%q is IPv4 carried in IPv6 (%s), which counts as that IPv4: expected a network of it", form+p.String(), in)
	}
	if p != p.Masked() {
		return t, fmt.Errorf("%q has bits set beyond the prefix, expected %q", form+p.String(), form+p.Masked().String())
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
