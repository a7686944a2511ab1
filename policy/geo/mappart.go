package geo

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"meridian/spec"
)

// Part is a part of a map as an operator writes it: the value of map/<map>/<part>.
type Part struct {
	Net     map[netip.Prefix]string `json:"net,omitzero"`     // tags of networks; default none; at least one such as {"10.0.0.0/8":"office"}
	ASN     map[uint32]string       `json:"asn,omitzero"`     // tags of autonomous systems; default none; at least one, by number from 1
	Country map[string]string       `json:"country,omitzero"` // tags of countries; default none; at least one, by code of ISO 3166-1 such as "DE"
	Default string                  `json:"default,omitzero"` // the tag of what none of these, of any part, covers; default none; a tag
}

// UnmarshalJSONFrom reads a part, so that numbers have one spelling each, and a default of "" is not none.
func (p *Part) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	var w struct {
		Net     map[netip.Prefix]string `json:"net"`
		ASN     map[asNumber]string     `json:"asn"`
		Country map[string]string       `json:"country"`
		Default defaultTag              `json:"default"`
	}
	if err := json.UnmarshalDecode(d, &w); err != nil {
		return err
	}
	*p = Part{Net: w.Net, Country: w.Country, Default: string(w.Default)}
	if w.ASN != nil {
		p.ASN = make(map[uint32]string, len(w.ASN))
		for n, tag := range w.ASN {
			p.ASN[uint32(n)] = tag
		}
	}
	return nil
}

// asNumber is a number of an autonomous system, or 0, written in decimal digits.
type asNumber uint32

func (n *asNumber) UnmarshalText(text []byte) error {
	v, err := strconv.ParseUint(string(text), 10, 32)
	if err != nil || strconv.FormatUint(v, 10) != string(text) {
		return asnError(string(text))
	}
	*n = asNumber(v)
	return nil
}

// asnError says what is expected, and what was meant by "AS64500" or "064500".
func asnError(text string) error {
	suggestion := ""
	digits := strings.TrimLeft(strings.TrimPrefix(strings.ToUpper(text), "AS"), "0 ")
	if n, err := strconv.ParseUint(digits, 10, 32); err == nil {
		suggestion = fmt.Sprintf(` (did you mean "%d"?)`, n)
	}
	return fmt.Errorf(`%q is not the number of an autonomous system: expected "1" to "4294967295"%s`, text, suggestion)
}

// defaultTag is a tag, where it is there.
type defaultTag string

func (t *defaultTag) UnmarshalText(text []byte) error {
	*t = defaultTag(text)
	return CheckTag(string(text))
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

// Validate says what is wrong with p, as a *spec.Error: the first thing, in the order in which a map is looked
// at, and within each of its fields by number or letters.
func (p *Part) Validate() error {
	if p.Net == nil && p.ASN == nil && p.Country == nil && p.Default == "" {
		return spec.Errorf("", `it says nothing, expected "net", "asn", "country" or "default"`)
	}
	if p.Net != nil && len(p.Net) == 0 {
		return spec.Errorf("net", `expected at least one network, such as {"10.0.0.0/8":"office"}`)
	}
	if net, why := firstWrong(p.Net, checkNet, comparePrefixes); why != nil {
		return spec.Errorf(netField(net), "%v", why)
	}
	if p.ASN != nil && len(p.ASN) == 0 {
		return spec.Errorf("asn", `expected at least one number, such as {"64500":"us"}`)
	}
	if n, why := firstWrong(p.ASN, checkASN, cmp.Compare); why != nil {
		return spec.Errorf(asnField(n), "%v", why)
	}
	if p.Country != nil && len(p.Country) == 0 {
		return spec.Errorf("country", `expected at least one country, such as {"DE":"eu"}`)
	}
	if code, why := firstWrong(p.Country, checkCountry, cmp.Compare); why != nil {
		return spec.Errorf(countryField(code), "%v", why)
	}
	if p.Default != "" {
		if err := CheckTag(p.Default); err != nil {
			return spec.Errorf("default", "%v", err)
		}
	}
	return nil
}

// firstWrong returns the first key that is wrong, or has what is not a tag, and why; why is nil if there is
// none.
func firstWrong[K comparable](tags map[K]string, check func(K) error, compare func(x, y K) int) (first K, why error) {
	checked := map[string]error{}
	for key, tag := range tags {
		bad, known := checked[tag]
		if !known {
			bad = CheckTag(tag)
			checked[tag] = bad
		}
		if err := check(key); err != nil {
			bad = err
		}
		if bad != nil && (why == nil || compare(key, first) < 0) {
			first, why = key, bad
		}
	}
	return first, why
}

func checkNet(p netip.Prefix) error {
	if !p.IsValid() { // what "" is decoded to
		return fmt.Errorf(`expected a network such as "10.0.0.0/8"`)
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return fmt.Errorf("IPv4 in IPv6 form, expected %v", netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96).Masked())
	}
	if in, ok := FoldedIn(p); ok {
		return fmt.Errorf("IPv4 carried in IPv6 (%v), which counts as that IPv4: expected a network of it", in)
	}
	if p != p.Masked() {
		return fmt.Errorf("bits are set beyond the prefix, expected %v", p.Masked())
	}
	return nil
}

// checkASN refuses 0, which nothing announces (RFC 7607 §2).
func checkASN(n uint32) error {
	if n == 0 {
		return asnError("0")
	}
	return nil
}

func checkCountry(code string) error {
	_, err := ParseCountry(code)
	return err
}

// netField is the field of a network, as it was written, in the only spelling that is right.
func netField(p netip.Prefix) string {
	if !p.IsValid() {
		return "net"
	}
	return "net." + p.String()
}

// asnField spells a name of digits as spec.Error.Field has them, which cannot tell it from a place in a list.
func asnField(n uint32) string { return fmt.Sprintf("asn[%d]", n) }

func countryField(code string) string { return strings.TrimSuffix("country."+code, ".") }

func comparePrefixes(x, y netip.Prefix) int {
	if c := x.Addr().Compare(y.Addr()); c != 0 {
		return c
	}
	return x.Bits() - y.Bits()
}
