package geo

import (
	"cmp"
	"net/netip"
)

// Agreement is parts of one map that do not contradict each other. Of what they say it remembers what is
// mentioned by the parts that it is made for, so that to judge a small part beside a million networks takes
// little, and to judge many parts takes no longer than to read them.
type Agreement struct {
	parts     []agreed
	nets      map[netip.Prefix]place
	asns      map[uint32]place
	countries map[string]place
	other     place // of Default
}

type agreed struct {
	name string
	*Part
}

// place is that of the first part that says something, in Agreement.parts, from 1; 0 is none.
type place uint32

// NewAgreement is of no parts yet. Those that agree with each other anyhow may be left out of mentions; any
// others must be there.
func NewAgreement(mentions ...*Part) *Agreement {
	g := &Agreement{asns: map[uint32]place{}, countries: map[string]place{}}
	nets := 0
	for _, p := range mentions {
		nets += len(p.Net)
	}
	g.nets = make(map[netip.Prefix]place, nets)
	for _, p := range mentions {
		mention(g.nets, p.Net)
		mention(g.asns, p.ASN)
		mention(g.countries, p.Country)
	}
	return g
}

func mention[K comparable](said map[K]place, tags map[K]string) {
	for key := range tags {
		said[key] = 0
	}
}

// Conflict is that two parts give one thing different tags.
type Conflict struct {
	Field       string // "net.10.0.0.0/8", "asn[64500]", "country.DE" or "default"
	Here, There string // the tags; the one There was said first
	With        string // the name of the part that said it
}

// Add adds a part. If it contradicts one that is there it adds nothing and returns the first conflict, in the
// order of Part.Validate; else nil.
func (g *Agreement) Add(name string, p *Part) *Conflict {
	g.parts = append(g.parts, agreed{name, p})
	me := place(len(g.parts))
	net, netWith := say(g.nets, p.Net, me, func(at place) map[netip.Prefix]string { return g.parts[at-1].Net }, comparePrefixes)
	asn, asnWith := say(g.asns, p.ASN, me, func(at place) map[uint32]string { return g.parts[at-1].ASN }, cmp.Compare)
	country, countryWith := say(g.countries, p.Country, me, func(at place) map[string]string { return g.parts[at-1].Country }, cmp.Compare)
	var c *Conflict
	switch {
	case netWith != 0:
		with := g.parts[netWith-1]
		c = &Conflict{netField(net), p.Net[net], with.Net[net], with.name}
	case asnWith != 0:
		with := g.parts[asnWith-1]
		c = &Conflict{asnField(asn), p.ASN[asn], with.ASN[asn], with.name}
	case countryWith != 0:
		with := g.parts[countryWith-1]
		c = &Conflict{countryField(country), p.Country[country], with.Country[country], with.name}
	case p.Default != "" && g.other != 0 && g.parts[g.other-1].Default != p.Default:
		with := g.parts[g.other-1]
		c = &Conflict{"default", p.Default, with.Default, with.name}
	}
	if c != nil {
		unsay(g.nets, p.Net, me)
		unsay(g.asns, p.ASN, me)
		unsay(g.countries, p.Country, me)
		g.parts = g.parts[:me-1]
		return c
	}
	if p.Default != "" && g.other == 0 {
		g.other = me
	}
	return nil
}

// say notes what a part says of what is mentioned and not yet said. It returns the first key of which another
// part says otherwise, and the place of that part; 0 if there is none.
func say[K comparable](said map[K]place, tags map[K]string, me place, of func(place) map[K]string, compare func(x, y K) int) (first K, with place) {
	one := func(key K, tag string, at place) {
		if at == 0 {
			said[key] = me
		} else if of(at)[key] != tag && (with == 0 || compare(key, first) < 0) {
			first, with = key, at
		}
	}
	if len(tags) <= len(said) { // look the few up among the many
		for key, tag := range tags {
			if at, mentioned := said[key]; mentioned {
				one(key, tag, at)
			}
		}
		return first, with
	}
	for key, at := range said {
		if tag, here := tags[key]; here {
			one(key, tag, at)
		}
	}
	return first, with
}

// unsay takes back what say noted.
func unsay[K comparable](said map[K]place, tags map[K]string, me place) {
	if len(tags) <= len(said) {
		for key := range tags {
			if said[key] == me {
				said[key] = 0
			}
		}
		return
	}
	for key, at := range said {
		if at == me {
			said[key] = 0
		}
	}
}
