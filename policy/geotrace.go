package policy

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"meridian/policy/geo"
)

// lookUps says what a step found of the client, each with the length of the prefix around the client all of
// which would be found the same, and the scope so far: the longest of them.
func (r *run) lookUps(st *Step, did effect) (lines []string) {
	if !st.asks() || !r.at.known || st.When != nil && !st.When.condition.ofType(r.client.Type) {
		return nil
	}
	at, db := &r.at, r.world.Geo
	_, length := r.pool.geography.nets.Lookup(at.addr)
	lines = append(lines, at.text(r.client),
		r.pool.netsText(at)+at.lengthText(length))
	if st.When.asks() {
		lines = append(lines, st.When.lookUps(db, at)...)
	}
	if did != notNow {
		switch st.Op {
		case OpGeo:
			lines = append(lines, r.geoLookUps(db, did)...)
		case OpNearest:
			_, _, length := db.Location(at.addr)
			lines = append(lines, db.LocationText(at.addr)+at.lengthText(length))
			lines = append(lines, r.distances(&st.Nearest)...)
		case OpWeighted:
			if !st.sticky() {
				break
			}
			length := sticky6
			if at.addr.Is4() {
				length = sticky4
			}
			net, _ := at.addr.Prefix(length)
			lines = append(lines, fmt.Sprintf("all draws of %s follow from %s", r.pool.Name, net)+at.lengthText(uint8(length)))
		}
	}
	if at.why == insteadOfSpecial {
		return append(lines, fmt.Sprintf("scope /%d: so far around the client subnet all is private or special, and not covered", r.scope))
	}
	return append(lines, fmt.Sprintf("scope /%d: the longest prefix so far", r.scope))
}

func (at *place) lengthText(length uint8) string {
	if at.why == insteadOfSpecial {
		return ""
	}
	return fmt.Sprintf("; alike within /%d", at.offset+length)
}

// netsText says which of the networks that the pool is about the client is in.
func (p *Pool) netsText(at *place) string {
	nets := p.nets()
	switch {
	case nets != nil:
		return "cidr: " + netsText(nets, at.addr, "no network around it is served")
	case at.node == special:
		return "private or special"
	}
	return "neither private nor special"
}

// nets are the networks that members serve, and those that a when is about.
func (p *Pool) nets() (nets []netip.Prefix) {
	for i := range p.Members {
		for _, t := range p.Members[i].Serves {
			if t.Kind == TermCIDR {
				nets = append(nets, t.Net)
			}
		}
	}
	for i := range p.Steps {
		nets = append(nets, p.Steps[i].When.nets()...)
	}
	return nets
}

func (at *place) text(c *Client) string {
	carried := ""
	if at.offset > 0 {
		carried = ", carried in IPv6"
	}
	switch at.why {
	case bySubnet:
		return fmt.Sprintf("by %s%s, of the client subnet %s", at.addr, carried, c.Subnet)
	case insteadOfSpecial:
		return fmt.Sprintf("by %s%s, which asks: the client subnet %s is private or special, and neither a cidr nor a map covers it", at.addr, carried, c.Subnet)
	}
	return fmt.Sprintf("by %s%s, which asks: there is no client subnet", at.addr, carried)
}

// lookUps goes as far as fits does.
func (w *When) lookUps(db *geo.Database, at *place) (lines []string) {
	if w.CIDR != nil {
		in, length := w.condition.nets.Lookup(at.addr)
		lines = append(lines, "when cidr: "+netsText(w.nets(), at.addr, "in none of them")+at.lengthText(length))
		if in == 0 {
			return lines
		}
	}
	if w.ASN != nil {
		asn, length := db.ASN(at.addr)
		lines = append(lines, db.ASNText(at.addr)+at.lengthText(length))
		if !slices.Contains(w.ASN, asn) {
			return lines
		}
	}
	if w.Country != nil || w.Continent != nil {
		_, _, length := db.Country(at.addr)
		lines = append(lines, db.CountryText(at.addr)+at.lengthText(length))
	}
	return lines
}

// netsText names those of nets that a lies in, the longest first.
func netsText(nets []netip.Prefix, a netip.Addr, none string) string {
	var in []netip.Prefix
	for _, n := range nets {
		if n.Contains(a) && !slices.Contains(in, n) {
			in = append(in, n)
		}
	}
	if in == nil {
		return none
	}
	slices.SortFunc(in, func(p, q netip.Prefix) int { return q.Bits() - p.Bits() })
	var words []string
	for _, n := range in {
		words = append(words, n.String())
	}
	return strings.Join(words, ", ")
}

// geoLookUps goes through the kinds of terms as far as the step geo went.
func (r *run) geoLookUps(db *geo.Database, did effect) (lines []string) {
	g, at := r.pool.geography, &r.at
	last := TermAny
	if did == done {
		best, _ := r.matched(r.picks)
		last = best.Kind
	}
	for kind := TermASN; kind <= last && kind < TermAny; kind++ {
		if !g.kinds.has(kind) {
			continue
		}
		switch kind {
		case TermASN:
			_, length := db.ASN(at.addr)
			lines = append(lines, db.ASNText(at.addr)+at.lengthText(length))
		case TermMap:
			for _, name := range r.pool.servedMaps() {
				if m := g.written[name]; m != nil {
					_, length := m.Lookup(db, at.addr)
					lines = append(lines, "map "+name+": "+m.Why(db, at.addr)+at.lengthText(length))
				} else {
					lines = append(lines, "map "+name+" is not there")
				}
			}
		case TermSubdivision:
			_, length := db.Subdivision(at.addr)
			lines = append(lines, db.SubdivisionText(at.addr)+at.lengthText(length))
		case TermContinent:
			if g.kinds.has(TermCountry) {
				continue // said already
			}
			fallthrough
		case TermCountry:
			_, _, length := db.Country(at.addr)
			lines = append(lines, db.CountryText(at.addr)+at.lengthText(length))
		}
	}
	return lines
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

// best returns the most specific term by which a member serves the client; ok is false where none does.
func (r *run) best(member int) (best Term, ok bool) {
	terms := r.pool.Members[member].Serves
	if len(terms) == 0 {
		return Term{Kind: TermAny}, true
	}
	for _, t := range terms {
		if r.matches(t) && (!ok || t.beats(best)) {
			best, ok = t, true
		}
	}
	return best, ok
}

func (r *run) matches(t Term) bool {
	a, db := r.place().addr, r.world.Geo
	switch t.Kind {
	case TermCIDR:
		return t.Net.Contains(a)
	case TermASN:
		n, _ := db.ASN(a)
		return n == t.ASN
	case TermMap:
		m := r.pool.geography.written[t.Map]
		if m == nil {
			return false
		}
		tag, _ := m.Lookup(db, a)
		return tag != 0 && m.Name(tag) == t.Tag
	case TermSubdivision:
		s, _ := db.Subdivision(a)
		return s == t.Subdivision
	case TermCountry:
		c, _, _ := db.Country(a)
		return c == t.Country
	case TermContinent:
		_, c, _ := db.Country(a)
		return c == t.Continent
	}
	return true
}

// matched is the most specific term by which any of picks serves the client; ok is false where
// nobody does.
func (r *run) matched(picks []Pick) (best Term, ok bool) {
	for _, k := range picks {
		t, serves := r.best(k.Member())
		if serves && (!ok || t.beats(best)) {
			best, ok = t, true
		}
	}
	return best, ok
}

// whyNotServing says why the step geo took a member out, where better is what it kept by.
func (r *run) whyNotServing(member int, better Term) string {
	t, ok := r.best(member)
	if !ok {
		return "serves nothing that the client is in"
	}
	return fmt.Sprintf("serves the client by %s; %s is more specific", t, better)
}

func (r *run) clientPoint() geo.Point {
	p, _, _ := r.world.Geo.Location(r.place().addr)
	return p
}

// shownDistances is how many members' distances a trace lists of a step.
const shownDistances = 20

// distances says how far those are that the step nearest found.
func (r *run) distances(n *Nearest) (lines []string) {
	from := r.clientPoint()
	if !from.IsValid() {
		return nil
	}
	rule := r.pool.ruler(n, from)
	if n.rtt {
		if rule.row == nil {
			lines = append(lines, "no checker has measured anything: 100 km count as 1 ms")
		} else {
			lines = append(lines, fmt.Sprintf("stands at site %s, %.0f km away, the nearest with a checker", rule.row.Site, rule.row.At.Km(from)))
		}
	}
	for i, k := range r.stage {
		if i == shownDistances {
			return append(lines, fmt.Sprintf("and %d members more", len(r.stage)-i))
		}
		lines = append(lines, r.pool.Members[k.Member()].Name+": "+rule.text(k.Member()))
	}
	return lines
}

// text says how far a member is.
func (rule *ruler) text(member int) string {
	far, s := rule.far(member), &rule.stands[member]
	switch {
	case math.IsInf(far, 1):
		return "nobody knows where it is"
	case rule.row != nil && !rule.estimated[member]:
		return strconv.FormatFloat(far, 'f', 1, 64) + " ms, measured"
	case rule.rtt:
		return strconv.FormatFloat(far, 'f', 1, 64) + " ms, estimated by distance"
	case s.scale != 1:
		return fmt.Sprintf("%.0f km, by bias %.0f km", s.km(rule.from), far)
	}
	return fmt.Sprintf("%.0f km", far)
}

// whyNotNear says why the step nearest took a pick out.
func (r *run) whyNotNear(n *Nearest) func(Pick) string {
	rule := r.pool.ruler(n, r.clientPoint())
	least := math.Inf(1)
	for _, k := range r.stage {
		least = min(least, rule.far(k.Member()))
	}
	format := "%s; up to %.0f km stay"
	if n.rtt {
		format = "%s; up to %.1f ms stay"
	}
	return func(k Pick) string { return fmt.Sprintf(format, rule.text(k.Member()), n.within(least)) }
}
