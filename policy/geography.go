package policy

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"meridian/policy/geo"
)

// geography is what the step geo reads of a pool: whom the members serve, compiled, so that a
// decision makes one look-up for all networks and one a map, however many terms there are.
type geography struct {
	nets  *geo.Table // of nodes
	nodes []node     // nobody and special are the first
	maps  []served
	any   set // the members that serve everybody

	written map[string]*geo.Map // for traces: those that are there, by name

	sets []uint64 // one after the other: bit i for member i
	size int      // of a set
}

// set is where a set of members begins in geography.sets. 0 is the empty one.
type set uint32

// node is a network that members serve.
type node struct {
	set    set
	around uint32 // node of the next larger one, or nobody
}

const (
	nobody  = 0 // is served by cidr here
	special = 1 // nor is anybody, and the addresses are private or special
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
	netip.MustParsePrefix("::/8"),        // loopback, IPv4 in IPv6, NAT64
	netip.MustParsePrefix("100::/64"),
	netip.MustParsePrefix("fc00::/7"),
	netip.MustParsePrefix("fe80::/9"), // link local, and site local of old
	netip.MustParsePrefix("ff00::/8"),
}

// newGeography compiles what members serve. It is nil where all of them serve everybody.
func newGeography(members []Member, geoMaps map[string]*geo.Map) *geography {
	g := &geography{size: (len(members) + 63) / 64, written: geoMaps}
	g.sets = make([]uint64, g.size)
	var everybody []int
	nets := map[netip.Prefix][]int{}
	tags := map[string]map[string][]int{}
	for i, m := range members {
		if len(m.Serves) == 0 {
			everybody = append(everybody, i)
		}
		for _, t := range m.Serves {
			switch t.Kind {
			case TermCIDR:
				nets[t.Net] = append(nets[t.Net], i)
			case TermMap:
				if tags[t.Map] == nil {
					tags[t.Map] = map[string][]int{}
				}
				tags[t.Map][t.Tag] = append(tags[t.Map][t.Tag], i)
			case TermAny:
				everybody = append(everybody, i)
			}
		}
	}
	if len(nets) == 0 && len(tags) == 0 {
		return nil
	}
	known := map[string]set{} // by their words
	g.any = g.add(everybody, known)
	g.nets, g.nodes = onlySpecials, onlySpecialNodes
	if len(nets) > 0 {
		g.addNets(nets, known)
	}
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		if m := geoMaps[name]; m != nil {
			g.addMap(m, tags[name], known)
		}
	}
	return g.packed()
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
	g.nets = geo.NewTable(entries)
}

// onlySpecials is the table where no member serves a network: one for all pools, so that it stays in
// the processor's cache.
var (
	onlySpecials     = geo.NewTable(specialEntries(nil))
	onlySpecialNodes = []node{nobody: {}, special: {}}
)

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

// place is where a decision takes a client to be.
type place struct {
	addr  netip.Addr
	why   whyAddr
	node  uint32 // that addr lies in
	scope uint8  // of the look-ups so far: see Decision.Scope
}

// whyAddr is why a decision goes by one address of a client and not by the other.
type whyAddr uint8

const (
	bySubnet         whyAddr = iota
	byResolver               // there is no client subnet
	insteadOfSpecial         // the client subnet is private or special, and neither a cidr nor a map covers it
)

// locate finds the client.
func (g *geography) locate(c *Client) (at place) {
	if c.Subnet.Bits() > 0 {
		at.addr, at.why = c.Subnet.Addr(), bySubnet
		if at.node, at.scope = g.nets.Lookup(at.addr); at.node != special {
			return at
		}
		for i := range g.maps {
			_, length := g.maps[i].Lookup(at.addr)
			at.scope = max(at.scope, length)
			if g.maps[i].Covers(at.addr) {
				return at
			}
		}
		// All subnets within the scope are private or special and not covered, so for all of them
		// the same address stands in: what is looked up of it takes nothing from the scope.
		at.addr, at.why = c.Addr, insteadOfSpecial
		at.node, _ = g.nets.Lookup(at.addr)
	} else {
		at.addr, at.why = c.Addr, byResolver
		at.node, at.scope = g.nets.Lookup(at.addr)
	}
	return at
}

// geo keeps the members that serve the client, of those the ones whose term is the most specific:
// the longest of networks, else a tag of any map, else everybody. Where nobody serves the client it
// changes nothing and says so.
func (s *Scratch) geo(g *geography, c *Client) bool {
	if g == nil {
		return true // all serve everybody
	}
	at := g.locate(c)
	matched := false
	for n := at.node; n != nobody && !matched; n = g.nodes[n].around {
		matched = s.keep(g.members(g.nodes[n].set))
	}
	if len(g.maps) > 0 && !matched {
		matched = s.keep(s.tagged(g, &at))
	}
	s.scope = max(s.scope, at.scope)
	return matched || s.keep(g.members(g.any))
}

// tagged returns the members that serve a tag which a map gives the client.
func (s *Scratch) tagged(g *geography, at *place) []uint64 {
	s.tags = append(s.tags[:0], g.members(0)...)
	for i := range g.maps {
		m := &g.maps[i]
		tag, length := m.Lookup(at.addr)
		if at.why != insteadOfSpecial {
			at.scope = max(at.scope, length)
		}
		if int(tag) < len(m.sets) {
			for j, word := range g.members(m.sets[tag]) {
				s.tags[j] |= word
			}
		}
	}
	return s.tags
}

func (g *geography) members(s set) []uint64 { return g.sets[s:][:g.size] }

// keep keeps those of a set of members. If none of them is in it changes nothing and says so.
func (s *Scratch) keep(members []uint64) bool {
	n := 0
	for _, pick := range s.picks {
		if m := pick.Member(); members[m/64]>>(m%64)&1 != 0 {
			s.picks[n] = pick
			n++
		}
	}
	return s.kept(n)
}
