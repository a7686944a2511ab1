package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"meridian/policy/geo"
	"meridian/spec"
)

// condition is a When compiled. A field that is nil asks for nothing.
type condition struct {
	nets       *geo.Table // value 1 where a network of cidr is
	countries  []geo.Country
	continents []geo.Continent
	asns       []uint32
	types      []uint16
}

// complete checks w and compiles it. A field that is named in an error is one of the step.
func (w *When) complete() error {
	if err := w.validate(); err != nil {
		err.Field = strings.TrimSuffix("when."+err.Field, ".")
		return err
	}
	w.condition = w.compile()
	return nil
}

func (w *When) validate() *spec.Error {
	if w.CIDR == nil && w.Country == nil && w.Continent == nil && w.ASN == nil && w.QType == nil {
		return spec.Errorf("", `expected at least one of "cidr", "country", "continent", "asn" and "qtype"`)
	}
	for i, text := range w.CIDR {
		if _, err := parseCIDR("", text); err != nil {
			return spec.Errorf(fmt.Sprintf("cidr[%d]", i), "%v", err)
		}
	}
	for i, text := range w.Country {
		if _, err := geo.ParseCountry(text); err != nil {
			return spec.Errorf(fmt.Sprintf("country[%d]", i), "%v", err)
		}
	}
	for i, text := range w.Continent {
		if _, err := geo.ParseContinent(text); err != nil {
			return spec.Errorf(fmt.Sprintf("continent[%d]", i), "%v", err)
		}
	}
	for i, n := range w.ASN {
		if n == 0 {
			return spec.Errorf(fmt.Sprintf("asn[%d]", i), "0 is no autonomous system, expected a number such as 64500")
		}
	}
	for i, text := range w.QType {
		if _, ok := dns.StringToType[text]; !ok {
			return spec.Errorf(fmt.Sprintf("qtype[%d]", i), `%q is no type, expected one such as "AAAA"`, text)
		}
	}
	for _, list := range []struct {
		field string
		empty bool
	}{
		{"cidr", w.CIDR != nil && len(w.CIDR) == 0}, {"country", w.Country != nil && len(w.Country) == 0},
		{"continent", w.Continent != nil && len(w.Continent) == 0}, {"asn", w.ASN != nil && len(w.ASN) == 0},
		{"qtype", w.QType != nil && len(w.QType) == 0},
	} {
		if list.empty {
			return spec.Errorf(list.field, "expected at least one entry: without any the step would never be done")
		}
	}
	return nil
}

func (w *When) compile() *condition {
	c := &condition{asns: w.ASN}
	if w.CIDR != nil {
		var entries []geo.Entry
		for _, p := range w.nets() {
			entries = append(entries, geo.Entry{Prefix: p, Value: 1})
		}
		c.nets = geo.NewTable(entries)
	}
	for _, text := range w.Country {
		country, _ := geo.ParseCountry(text)
		c.countries = append(c.countries, country)
	}
	for _, text := range w.Continent {
		continent, _ := geo.ParseContinent(text)
		c.continents = append(c.continents, continent)
	}
	for _, text := range w.QType {
		c.types = append(c.types, dns.StringToType[text])
	}
	return c
}

func (w *When) nets() (nets []netip.Prefix) {
	if w == nil {
		return nil
	}
	for _, text := range w.CIDR {
		if t, err := parseCIDR("", text); err == nil {
			nets = append(nets, t.Net)
		}
	}
	return nets
}

// fits says whether the query is one of those that c asks for. It looks no further than it has to: where
// the type decides, it says nothing of the client.
func (r *run) fits(c *condition) bool {
	if !c.ofType(r.client.Type) {
		return false
	}
	if c.nets != nil {
		at := r.place()
		in, length := c.nets.Lookup(at.addr)
		if at.add(length); in == 0 {
			return false
		}
	}
	if c.asns != nil {
		at := r.place()
		asn, length := r.world.Geo.ASN(at.addr)
		if at.add(length); !slices.Contains(c.asns, asn) {
			return false
		}
	}
	if c.countries != nil || c.continents != nil {
		at := r.place()
		country, continent, length := r.world.Geo.Country(at.addr)
		at.add(length)
		return (c.countries == nil || slices.Contains(c.countries, country)) &&
			(c.continents == nil || slices.Contains(c.continents, continent))
	}
	return true
}

func (c *condition) ofType(qtype uint16) bool {
	return c.types == nil || slices.Contains(c.types, qtype)
}
