package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"meridian/spec"
	"meridian/zones"
)

// Question is what is to be explained, as it is typed. Fields are named as parameters and flags are;
// an empty one is left to its default.
type Question struct {
	Name   string // with or without its final dot
	Type   string // default A
	Client string // an address; who asks has to put in its own
	Subnet string // a network, of a client that a resolver asks for (RFC 7871); default none
	Random string // a number, that decides the draws
}

// Query is q as zones.Resolve takes it; random is the default of q.Random. Errors name the field.
func (q Question) Query(random uint64) (*zones.Query, error) {
	name, err := parseName(q.Name)
	if err != nil {
		return nil, fmt.Errorf("name: %w", err)
	}
	z := &zones.Query{Name: *name, Type: dns.TypeA, Random: random}
	if q.Type != "" {
		if z.Type, err = ParseType(q.Type); err != nil {
			return nil, fmt.Errorf("type: %w", err)
		}
	}
	if z.Client.Addr, err = netip.ParseAddr(q.Client); err != nil || z.Client.Addr.Zone() != "" {
		return nil, fmt.Errorf("client: %q is not an address such as 192.0.2.1 or 2001:db8::1", q.Client)
	}
	z.Client.Addr = z.Client.Addr.Unmap()
	if q.Subnet != "" {
		if z.Client.Subnet, err = parseSubnet(q.Subnet); err != nil {
			return nil, fmt.Errorf("subnet: %w", err)
		}
	}
	if q.Random != "" {
		if z.Random, err = strconv.ParseUint(q.Random, 10, 64); err != nil {
			return nil, fmt.Errorf("random: %q is not a number from 0 to %d", q.Random, uint64(1<<64-1))
		}
	}
	return z, nil
}

// parseSubnet reads a client subnet as a query has it (RFC 7871 §6).
func parseSubnet(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() {
		return p, fmt.Errorf("%q is not a network such as 203.0.113.0/24 or 2001:db8::/56", text)
	}
	if p != p.Masked() {
		return p, fmt.Errorf("%s has bits set beyond the prefix, expected %s", p, p.Masked())
	}
	return p, nil
}

// parseName reads a name with or without its final dot.
func parseName(text string) (*zones.Name, error) {
	if text == "" {
		return nil, fmt.Errorf("expected one such as www.example.com")
	}
	if text != "." && dns.IsFqdn(text) {
		text = strings.TrimSuffix(text, ".")
	}
	return zones.ParseName(text)
}

// ParseType reads a type's name, or TYPE123 (RFC 3597), in letters of any case.
func ParseType(text string) (uint16, error) {
	upper := strings.ToUpper(text)
	typ, ok := dns.StringToType[upper]
	if number, found := strings.CutPrefix(upper, "TYPE"); !ok && found {
		v, err := strconv.ParseUint(number, 10, 16)
		typ, ok = uint16(v), err == nil
	}
	if !ok {
		known := make([]string, 0, len(dns.StringToType))
		for name := range dns.StringToType {
			known = append(known, name)
		}
		slices.Sort(known)
		return 0, fmt.Errorf("%q is not a type such as A, MX or TYPE123%s", text, spec.Suggest(upper, known))
	}
	switch typ {
	case dns.TypeNone, dns.TypeOPT, dns.TypeNXNAME, dns.TypeTKEY, dns.TypeTSIG, dns.TypeIXFR, dns.TypeAXFR,
		dns.TypeMAILB, dns.TypeMAILA, dns.TypeReserved:
		return 0, fmt.Errorf("no name has records of type %s", dns.Type(typ))
	}
	return typ, nil
}
