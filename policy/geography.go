package policy

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"meridian/policy/geo"
)

// geography is what steps that ask who the client is read of a pool: whom the members serve, compiled,
// so that a decision makes one look-up for all networks, one a map and one an attribute, however many
// terms there are.
type geography struct {
	nets  *geo.Table // of nodes
	nodes []node     // nobody, special and folded are the first
	maps  []served
	any   set // the members that serve everybody

	kinds        kinds // of the terms
	asns         map[uint32]set
	subdivisions map[geo.Subdivision]set
	countries    *[geo.Countries]set
	continents   *[geo.Continents]set
	served       bool                // some member does not serve everybody
	written      map[string]*geo.Map // for traces: those that are there, by name

	sets []uint64 // one after the other: bit i for member i
	size int      // of a set
}

// kinds is a set of TermKinds.
type kinds uint8

func (k kinds) has(kind TermKind) bool { return k>>kind&1 != 0 }

// set is where a set of members begins in geography.sets. 0 is the empty one.
type set uint32

// node is a network that members serve, or that a when is about.
type node struct {
	set    set
	around uint32 // node of the next larger one, or nobody
}

const (
	nobody  = 0 // is served by cidr here
	special = 1 // nor is anybody, and the addresses are private or special
	folded  = 2 // nor is anybody, and the addresses are taken for IPv4
)

// served are the tags of a map that members serve.
type served struct {
	*geo.Map
	sets []set // by geo.Tag, as far as there are any
}

// specials are the networks whose addresses say nothing of where a client is: of RFC 6890 those
// that are private, of one host or link, or nobody's. Those for documentation and benchmarks are
// as good as any: nobody has them but who means to try things out.
var specials = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"), // shared (RFC 6598)
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("224.0.0.0/3"), // multicast and reserved
	netip.MustParsePrefix("::/8"),        // loopback and such
	netip.MustParsePrefix("100::/64"),
	netip.MustParsePrefix("fc00::/7"),
	netip.MustParsePrefix("fe80::/9"), // link local, and site local of old
	netip.MustParsePrefix("ff00::/8"),
}

// newGeography compiles whom members serve, and the networks that steps are about.
func newGeography(members []Member, steps []Step, geoMaps map[string]*geo.Map) *geography {
	g := &geography{size: (len(members) + 63) / 64, written: geoMaps}
	g.sets = make([]uint64, g.size)
	by := termsOf(members)
	nets := by.nets
	for i := range steps {
		for _, p := range steps[i].When.nets() {
			if _, there := nets[p]; !there {
				nets[p] = nil
			}
		}
	}
	known := map[string]set{} // by their words
	g.any, g.served = g.add(by.any, known), by.kinds != 0
	g.kinds = by.kinds
	g.nets, g.nodes = onlySpecials, onlySpecialNodes
	if len(nets) > 0 {
		g.addNets(nets, known)
	}
	for _, name := range slices.Sorted(maps.Keys(by.tags)) {
		if m := geoMaps[name]; m != nil {
			g.addMap(m, by.tags[name], known)
		}
	}
	g.addPlaces(by, known)
	return g.packed()
}

// terms are the members that serve each term, and those that serve everybody.
type terms struct {
	kinds        kinds // but TermAny
	any          []int
	nets         map[netip.Prefix][]int
	tags         map[string]map[string][]int
	asns         map[uint32][]int
	subdivisions map[geo.Subdivision][]int
	countries    map[geo.Country][]int
	continents   map[geo.Continent][]int
}

func termsOf(members []Member) *terms {
	by := &terms{
		nets: map[netip.Prefix][]int{}, tags: map[string]map[string][]int{}, asns: map[uint32][]int{},
		subdivisions: map[geo.Subdivision][]int{}, countries: map[geo.Country][]int{}, continents: map[geo.Continent][]int{},
	}
	for i := range members {
		if len(members[i].Serves) == 0 {
			by.any = append(by.any, i)
		}
		for _, t := range members[i].Serves {
			switch t.Kind {
			case TermCIDR:
				by.nets[t.Net] = append(by.nets[t.Net], i)
			case TermASN:
				by.asns[t.ASN] = append(by.asns[t.ASN], i)
			case TermMap:
				if by.tags[t.Map] == nil {
					by.tags[t.Map] = map[string][]int{}
				}
				by.tags[t.Map][t.Tag] = append(by.tags[t.Map][t.Tag], i)
			case TermSubdivision:
				by.subdivisions[t.Subdivision] = append(by.subdivisions[t.Subdivision], i)
			case TermCountry:
				by.countries[t.Country] = append(by.countries[t.Country], i)
			case TermContinent:
				by.continents[t.Continent] = append(by.continents[t.Continent], i)
			case TermAny:
				by.any = append(by.any, i)
				continue
			}
			by.kinds |= 1 << t.Kind
		}
	}
	return by
}

// smallGeography is one of few members and tags in one piece, as smallPool is.
type smallGeography struct {
	geography
	maps [1]served
	tags [8]set
	sets [8]uint64
}

// packed returns g in one piece if it is small.
func (g *geography) packed() *geography {
	small := smallGeography{geography: *g}
	if len(g.maps) != 1 || len(g.maps[0].sets) > len(small.tags) || len(g.sets) > len(small.sets) {
		return g
	}
	p := &small
	copy(p.sets[:], g.sets)
	copy(p.tags[:], g.maps[0].sets)
	p.maps[0] = served{g.maps[0].Map, p.tags[:len(g.maps[0].sets)]}
	p.geography.maps, p.geography.sets = p.maps[:], p.sets[:len(g.sets)]
	return &p.geography
}

// add returns the set of members, a new one if it is not known.
func (g *geography) add(members []int, known map[string]set) set {
	words := make([]uint64, g.size)
	for _, m := range members {
		words[m/64] |= 1 << (m % 64)
	}
	key := make([]byte, 0, 8*g.size)
	for _, w := range words {
		key = append(key, byte(w), byte(w>>8), byte(w>>16), byte(w>>24), byte(w>>32), byte(w>>40), byte(w>>48), byte(w>>56))
	}
	at, ok := known[string(key)]
	if !ok {
		at = set(len(g.sets))
		g.sets = append(g.sets, words...)
		known[string(key)] = at
	}
	return at
}

// addNets makes the table of networks. Those within which the same members are to be had are one
// node, and so neighbours among them one network, for the sake of the scope.
func (g *geography) addNets(nets map[netip.Prefix][]int, known map[string]set) {
	entries := specialEntries(nets)
	g.nodes = slices.Clone(onlySpecialNodes)
	ids := map[node]uint32{}
	var open []geo.Entry // the networks around the next one
	for _, p := range slices.SortedFunc(maps.Keys(nets), comparePrefixes) {
		for len(open) > 0 && !open[len(open)-1].Prefix.Contains(p.Addr()) {
			open = open[:len(open)-1]
		}
		n := node{set: g.add(nets[p], known)}
		if len(open) > 0 {
			n.around = open[len(open)-1].Value
		}
		id, ok := ids[n]
		if !ok {
			id = uint32(len(g.nodes))
			ids[n] = id
			g.nodes = append(g.nodes, n)
		}
		open = append(open, geo.Entry{Prefix: p, Value: id})
		entries = append(entries, geo.Entry{Prefix: p, Value: id})
	}
	g.nets = geo.NewTable(append(entries, foldedEntries...))
}

// onlySpecials is the table where no member serves a network: one for all pools, so that it stays in
// the processor's cache.
var (
	onlySpecials     = geo.NewTable(append(specialEntries(nil), foldedEntries...))
	onlySpecialNodes = []node{nobody: {}, special: {}, folded: {}}
)

// foldedEntries are the networks of IPv6 that no look-up of an IPv6 address meets: so that the scope of
// one beside them leaves them out.
var foldedEntries = func() (entries []geo.Entry) {
	for _, p := range geo.Folded {
		entries = append(entries, geo.Entry{Prefix: p, Value: folded})
	}
	return entries
}()

// specialEntries are the specials but for those that nets cover.
func specialEntries(nets map[netip.Prefix][]int) (entries []geo.Entry) {
	for _, p := range specials {
		if !covered(p, nets) {
			entries = append(entries, geo.Entry{Prefix: p, Value: special})
		}
	}
	return entries
}

// covered says whether p lies within one of nets.
func covered(p netip.Prefix, nets map[netip.Prefix][]int) bool {
	for n := range nets {
		if n.Bits() <= p.Bits() && n.Contains(p.Addr()) {
			return true
		}
	}
	return false
}

// comparePrefixes puts a network before those within it.
func comparePrefixes(p, q netip.Prefix) int {
	return cmp.Or(p.Addr().Compare(q.Addr()), cmp.Compare(p.Bits(), q.Bits()))
}

func (g *geography) addMap(m *geo.Map, byTag map[string][]int, known map[string]set) {
	s := served{Map: m}
	for name, members := range byTag {
		tag := int(m.Tag(name))
		if tag == 0 {
			continue // no part has it: it matches nobody
		}
		if tag >= len(s.sets) {
			s.sets = append(s.sets, make([]set, tag+1-len(s.sets))...)
		}
		s.sets[tag] = g.add(members, known)
	}
	g.maps = append(g.maps, s)
}

// addPlaces makes what is looked up in the database.
func (g *geography) addPlaces(by *terms, known map[string]set) {
	if g.kinds.has(TermASN) {
		g.asns = map[uint32]set{}
		for n, members := range by.asns {
			g.asns[n] = g.add(members, known)
		}
	}
	if g.kinds.has(TermSubdivision) {
		g.subdivisions = map[geo.Subdivision]set{}
		for s, members := range by.subdivisions {
			g.subdivisions[s] = g.add(members, known)
		}
	}
	if g.kinds.has(TermCountry) || g.kinds.has(TermContinent) {
		g.countries, g.continents = new([geo.Countries]set), new([geo.Continents]set)
		for c, members := range by.countries {
			g.countries[c] = g.add(members, known)
		}
		for c, members := range by.continents {
			g.continents[c] = g.add(members, known)
		}
	}
}

// place is where a run takes the client to be.
type place struct {
	addr   netip.Addr // IPv4 carried in IPv6 is IPv4 here
	offset uint8      // bits of the prefix of the IPv6 that carried it
	why    whyAddr
	known  bool   // the rest holds
	node   uint32 // that addr lies in
	scope  *uint8 // of the decision so far
}

// whyAddr is why a decision goes by one address of a client and not by the other.
type whyAddr uint8

const (
	bySubnet         whyAddr = iota
	byResolver               // there is no client subnet
	insteadOfSpecial         // the client subnet is private or special, and neither a cidr nor a map covers it
)

// add takes in that the addresses of a prefix of this length around the place's are alike.
func (at *place) add(length uint8) {
	if at.why == insteadOfSpecial {
		return
	}
	if length += at.offset; length > *at.scope {
		*at.scope = length
	}
}

// place finds the client, once a run.
func (r *run) place() *place {
	if !r.at.known {
		r.at.scope = &r.scope
		r.pool.geography.locate(r.client, &r.at)
	}
	return &r.at
}

// locate finds the client.
func (g *geography) locate(c *Client, at *place) {
	at.known = true
	if c.Subnet.Bits() > 0 {
		at.look(g, c.Subnet.Addr(), bySubnet)
		if at.node != special || g.mapped(at) {
			return
		}
		// All subnets within the scope are private or special and not covered, so for all of them
		// the same address stands in: what is looked up of it takes nothing from the scope.
		at.look(g, c.Addr, insteadOfSpecial)
		return
	}
	at.look(g, c.Addr, byResolver)
}

func (at *place) look(g *geography, a netip.Addr, why whyAddr) {
	var length uint8
	at.addr, at.offset = geo.Fold(a)
	at.why = why
	at.node, length = g.nets.Lookup(at.addr)
	at.add(length)
}

// mapped says whether a network of a map covers a place.
func (g *geography) mapped(at *place) bool {
	for i := range g.maps {
		covered, length := g.maps[i].Covers(at.addr)
		if at.add(length); covered {
			return true
		}
	}
	return false
}

// geo keeps the members that serve the client, of those the ones whose term is the most specific.
func (r *run) geo(st *Step) effect {
	g := r.pool.geography
	switch {
	case !g.served:
		return idle // all serve everybody
	case r.serving(g):
		return done
	case st.Geo.Strict:
		return strictly
	}
	return undone
}

// serving keeps by the most specific kind of term, in the order of TermKind: the longest of networks,
// the autonomous system, a tag of any map, subdivision, country, continent, else everybody. If nobody
// serves the client it changes nothing and says so.
func (r *run) serving(g *geography) bool {
	at := r.place()
	for n := at.node; n > folded; n = g.nodes[n].around {
		if r.keep(g.nodes[n].set) {
			return true
		}
	}
	db := r.world.Geo
	if g.asns != nil {
		asn, length := db.ASN(at.addr)
		if at.add(length); asn != 0 && r.keep(g.asns[asn]) {
			return true
		}
	}
	if len(g.maps) > 0 && r.keepMembers(r.tagged(g, at)) {
		return true
	}
	if g.subdivisions != nil {
		s, length := db.Subdivision(at.addr)
		if at.add(length); s != 0 && r.keep(g.subdivisions[s]) {
			return true
		}
	}
	if g.countries != nil {
		country, continent, length := db.Country(at.addr)
		if at.add(length); r.keep(g.countries[country]) || r.keep(g.continents[continent]) {
			return true
		}
	}
	return r.keep(g.any)
}

// tagged returns the members that serve a tag which a map gives the client.
func (r *run) tagged(g *geography, at *place) []uint64 {
	r.tags = append(r.tags[:0], g.members(0)...)
	for i := range g.maps {
		m := &g.maps[i]
		tag, length := m.Lookup(r.world.Geo, at.addr)
		at.add(length)
		if int(tag) < len(m.sets) {
			for j, word := range g.members(m.sets[tag]) {
				r.tags[j] |= word
			}
		}
	}
	return r.tags
}

func (g *geography) members(s set) []uint64 { return g.sets[s:][:g.size] }

func (r *run) keep(s set) bool { return s != 0 && r.keepMembers(r.pool.geography.members(s)) }

// keepMembers keeps those of a set of members. If none of them is in it changes nothing and says so.
func (r *run) keepMembers(members []uint64) bool {
	n := 0
	for _, k := range r.picks {
		if m := k.Member(); members[m/64]>>(m%64)&1 != 0 {
			r.picks[n] = k
			n++
		}
	}
	return r.kept(n)
}
