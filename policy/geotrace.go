package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"meridian/policy/geo"
)

// lookUps says how the step geo found the client c, and what it looked up: found again term by
// term. byCIDR says that it kept members for their networks, and so looked no further.
func (p *Pool) lookUps(c *Client, byCIDR bool) []string {
	g := p.geography
	if g == nil {
		return nil
	}
	at := g.locate(c)
	lines := []string{at.text(c)}
	_, length := g.nets.Lookup(at.addr)
	scopes := []string{fmt.Sprintf("cidr /%d", length)}
	if nets := p.around(at.addr); nets != nil {
		lines = append(lines, "cidr: "+strings.Join(nets, ", ")+" around it are served")
	} else {
		lines = append(lines, "cidr: no network around it is served")
	}
	if !byCIDR {
		for _, name := range p.servedMaps() {
			m := p.geography.written[name]
			if m == nil {
				lines = append(lines, "map "+name+" is not there")
				continue
			}
			tag, length := m.Lookup(at.addr)
			at.scope = max(at.scope, length)
			scopes = append(scopes, fmt.Sprintf("map %s /%d", name, length))
			lines = append(lines, "map "+name+": "+mapText(m, at.addr, tag))
		}
	}
	if at.why == insteadOfSpecial {
		at = g.locate(c) // the look-ups of the other address do not count
		scopes = []string{"so far around the client subnet all is private or special, and not covered"}
	}
	return append(lines, fmt.Sprintf("scope /%d: %s", at.scope, strings.Join(scopes, ", ")))
}

func (at place) text(c *Client) string {
	switch at.why {
	case bySubnet:
		return fmt.Sprintf("by %s, of the client subnet %s", at.addr, c.Subnet)
	case insteadOfSpecial:
		return fmt.Sprintf("by %s, which asks: the client subnet %s is private or special, and neither a cidr nor a map covers it", at.addr, c.Subnet)
	}
	return fmt.Sprintf("by %s, which asks: there is no client subnet", at.addr)
}

func mapText(m *geo.Map, a netip.Addr, tag geo.Tag) string {
	net, ok := m.Net(a)
	switch {
	case ok:
		return fmt.Sprintf("%s is %s", net, m.Name(tag))
	case tag != 0:
		return fmt.Sprintf("no network is around it, by default it is %s", m.Name(tag))
	}
	return "no network is around it, and there is no default"
}

// around returns the networks around an address that members serve, the longest first.
func (p *Pool) around(a netip.Addr) []string {
	var nets []netip.Prefix
	for i := range p.Members {
		for _, t := range p.Members[i].Serves {
			if t.Kind == TermCIDR && t.Net.Contains(a) && !slices.Contains(nets, t.Net) {
				nets = append(nets, t.Net)
			}
		}
	}
	slices.SortFunc(nets, func(p, q netip.Prefix) int { return q.Bits() - p.Bits() })
	var words []string
	for _, n := range nets {
		words = append(words, n.String())
	}
	return words
}

// servedMaps returns the names of the maps of which members serve a tag, sorted.
func (p *Pool) servedMaps() (names []string) {
	for i := range p.Members {
		for _, t := range p.Members[i].Serves {
			if t.Kind == TermMap && !slices.Contains(names, t.Map) {
				names = append(names, t.Map)
			}
		}
	}
	slices.Sort(names)
	return names
}

// best returns the most specific term by which a member serves an address; ok is false where none
// does.
func (p *Pool) best(member int, a netip.Addr) (best Term, ok bool) {
	terms := p.Members[member].Serves
	if len(terms) == 0 {
		return Term{Kind: TermAny}, true
	}
	for _, t := range terms {
		matches := t.Kind == TermAny || t.Kind == TermCIDR && t.Net.Contains(a)
		if m := p.geography.written[t.Map]; t.Kind == TermMap && m != nil {
			tag, _ := m.Lookup(a)
			matches = tag != 0 && m.Name(tag) == t.Tag
		}
		if matches && (!ok || t.beats(best)) {
			best, ok = t, true
		}
	}
	return best, ok
}

// matched is the most specific term by which any of picks serves the client; ok is false where
// nobody does.
func (p *Pool) matched(picks []Pick, c *Client) (best Term, ok bool) {
	if p.geography == nil {
		return Term{Kind: TermAny}, true
	}
	a := p.geography.locate(c).addr
	for _, pick := range picks {
		t, serves := p.best(pick.Member(), a)
		if serves && (!ok || t.beats(best)) {
			best, ok = t, true
		}
	}
	return best, ok
}

// whyNotServing says why the step geo took a member out, when it kept kept.
func (p *Pool) whyNotServing(member int, kept []Pick, c *Client) string {
	t, ok := p.best(member, p.geography.locate(c).addr)
	if !ok {
		return "serves nothing that the client is in"
	}
	better, _ := p.matched(kept, c)
	return fmt.Sprintf("serves the client by %s; %s is more specific", t, better)
}
