package policy

import (
	"cmp"
	"encoding/binary"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"meridian/health"
	"meridian/policy/geo"
	"meridian/spec"
)

// twin is Select written down again in the most obvious way, to hold the two together. It shares
// with it nothing but mix, below, score and drawOf (how a random number becomes a draw) and the
// geometry of places.
type twin struct {
	scene   *twinScene
	client  Client
	random  uint64
	visited int
}

// twinScene is a world together with what it was made of.
type twinScene struct {
	World
	specs    []Spec
	known    []known // in order: of the first that covers an address
	maps     map[string]geo.Part
	compiled map[string]*geo.Map
	sites    map[string]geo.Point
	rtts     map[*Pool][]RTTs
}

// known is what a database knows of a network.
type known struct {
	net netip.Prefix
	geo.Record
}

// candidate is a member who is still in, with the addresses that it would give.
type candidate struct {
	pool   *Pool
	member int
	addrs  []string
	score  float64
}

// answer of a pool; decided is "" where it leaves the decision to others.
type answer struct {
	decided string // chosen, nodata, servfail
	by      *Pool
	open    bool
	given   []candidate
}

// twinSelect returns a decision as text: see twinText.
func twinSelect(p *Pool, scene *twinScene, c *Client, random uint64) string {
	w := &twin{scene: scene, client: *c, random: random}
	return w.decide(p, false, true).text()
}

func (w *twin) decide(p *Pool, open, root bool) answer {
	w.visited++
	if w.visited > 64 {
		return answer{}
	}
	if a := w.chain(p, open && !p.OwnEmpty); a.decided != "" {
		return a
	}
	if !root && !p.OwnEmpty {
		return answer{}
	}
	for _, entry := range p.OnEmpty {
		var a answer
		switch entry.String() {
		case "nodata", "servfail":
			return answer{decided: entry.String()}
		case "all":
			a = w.chain(p, true)
		default:
			a = w.decide(w.scene.Pools[entry.Pool], false, false)
		}
		if a.decided != "" {
			return a
		}
	}
	return answer{}
}

// chain returns who is left at its end, in order.
func (w *twin) chain(p *Pool, open bool) answer {
	var in []candidate
	for i, m := range p.Members {
		c := candidate{pool: p, member: i}
		c.addrs = append(c.addrs, w.names(m)...)
		if len(c.addrs) > 0 && !p.Health(i).Withdrawn() {
			in = append(in, c)
		}
	}
	if len(in) == 0 {
		return answer{}
	}
	seed := w.random
	for _, step := range p.Steps {
		if step.Op == OpWeighted && step.Weighted.By == "client" && w.fits(p, step.When) {
			seed = w.network(p)
		}
	}
	asked := map[int]answer{}
	yields := func(c candidate) answer {
		m := c.pool.Members[c.member]
		if m.Pool == "" {
			return answer{decided: "chosen", given: []candidate{c}}
		}
		if _, been := asked[c.member]; !been {
			asked[c.member] = w.decide(w.scene.Pools[m.Child], open, false)
		}
		return asked[c.member]
	}
	shuffle := func(in []candidate) []candidate { return in }
	for i, step := range p.Steps {
		if !w.fits(p, step.When) {
			continue
		}
		draw := mix(seed, p.seed, i)
		switch step.Op {
		case OpUp:
			left := w.inState(in, health.Up)
			if len(left) == 0 {
				left = w.inState(in, health.Unknown)
			}
			if len(left) > 0 {
				in = left
			} else if !open {
				return answer{}
			}
		case OpGeo:
			served := slices.ContainsFunc(p.Members, func(m Member) bool {
				return slices.ContainsFunc(m.Serves, func(t Term) bool { return t.Kind != TermAny })
			})
			if left := w.geo(p, in); len(left) > 0 {
				in = left
			} else if step.Geo.Strict && served {
				return answer{}
			}
		case OpNearest:
			in = w.nearest(p, in, step.Nearest)
		case OpTier:
			in = w.tier(in, step.Tier, int(p.Latch()), draw)
		case OpShed:
			var left []candidate
			for _, c := range in {
				if chance := w.shed(c, step.Shed); mix(draw, hashOf(c.pool.Members[c.member].Name), 0) >= chance {
					left = append(left, c)
				}
			}
			if len(left) > 0 {
				in = left
			} else if !open {
				return answer{}
			}
		case OpWeighted:
			if step.Weighted.By == "client" {
				for i, c := range in {
					in[i].score = score(mix(draw|1, hashOf(c.pool.Members[c.member].Name), 0), w.weight(c))
				}
				shuffle = func(in []candidate) []candidate {
					in = slices.Clone(in)
					slices.SortStableFunc(in, func(x, y candidate) int { return cmp.Compare(x.score, y.score) })
					return in
				}
			} else {
				shuffle = func(in []candidate) []candidate { return w.shuffle(in, draw|1) }
			}
		case OpTake:
			var left []candidate
			given := map[string]bool{}
			for _, c := range shuffle(in) {
				site := p.Members[c.member].Site
				if len(left) == step.Take.N || step.Take.Distinct != "" && site != "" && given[site] {
					continue
				}
				y := yields(c)
				if y.decided != "chosen" {
					if y.decided != "" && len(left) == 0 {
						return y
					}
					continue
				}
				given[site] = true
				left = append(left, c)
			}
			if in = left; len(in) == 0 {
				return answer{}
			}
			shuffle = func(in []candidate) []candidate { return in }
		}
	}
	a := answer{decided: "chosen", by: p, open: open}
	for _, c := range shuffle(in) {
		y := yields(c)
		if y.decided != "" && y.decided != "chosen" && len(a.given) == 0 {
			return y
		}
		a.given, a.open = append(a.given, y.given...), a.open || y.open
	}
	addrs := 0
	for i, c := range a.given {
		if addrs += len(c.addrs); addrs > 1000 {
			a.given = a.given[:i]
			break
		}
	}
	if len(a.given) == 0 {
		return answer{}
	}
	return a
}

// names are what a member could give: addresses of the family, or what stands for them.
func (w *twin) names(m Member) (names []string) {
	families := []Family{w.client.Family}
	if w.client.Family == Any {
		families = []Family{IPv4, IPv6}
	}
	if m.CNAME != "" {
		return []string{m.CNAME}
	}
	for i, a := range m.Addrs {
		if slices.Contains(families, FamilyOf(a)) {
			names = append(names, fmt.Sprint(i))
		}
	}
	if m.Pool != "" {
		for _, f := range families {
			if w.could(m.Child, f) || len(w.scene.specs[m.Child].OnEmpty) > 0 && !w.could(m.Child, IPv4) && !w.could(m.Child, IPv6) {
				names = append(names, fmt.Sprint(int(f)))
			}
		}
	}
	return names
}

func (w *twin) could(id ID, f Family) bool {
	return slices.ContainsFunc(w.scene.Pools[id].Members, func(m Member) bool {
		return m.CNAME != "" || m.Pool != "" && w.could(m.Child, f) ||
			slices.ContainsFunc(m.Addrs, func(a netip.Addr) bool { return FamilyOf(a) == f })
	})
}

func (w *twin) weight(c candidate) uint64 { return uint64(c.pool.Health(c.member).Weight()) }

// state of one of a member's names: of a pool within, found anew from its members.
func (w *twin) state(p *Pool, member int, name string) health.State {
	m := p.Members[member]
	if m.CNAME != "" {
		return p.Health(member).State(0)
	}
	place, _ := strconv.Atoi(name)
	if m.Pool == "" {
		return p.Health(member).State(place)
	}
	child := w.scene.Pools[m.Child]
	one := twin{scene: w.scene, client: Client{Family: Family(place)}}
	all, up, unknown := 0, 0, 0
	upToGive, unknownToGive := false, false
	for i, m := range child.Members {
		states := map[health.State]bool{}
		for _, name := range one.names(m) {
			states[one.state(child, i, name)] = true
		}
		word := child.Health(i)
		if len(states) == 0 {
			continue
		}
		all++
		switch {
		case word.Drained():
			up++
		case states[health.Up] && !word.Withdrawn():
			up++
			upToGive = true
		case states[health.Unknown] && !word.Withdrawn():
			unknown++
			unknownToGive = true
		}
	}
	need := 1
	if minUp := w.scene.specs[m.Child].MinUp; minUp.N > 0 {
		need = minUp.N
	} else if minUp.Share > 0 {
		for float64(need) < float64(minUp.Share)*float64(all)-1e-9 {
			need++
		}
	}
	switch {
	case up >= need && upToGive:
		return health.Up
	case up+unknown >= need && (upToGive || unknownToGive):
		return health.Unknown
	}
	return health.Down
}

func (w *twin) inState(in []candidate, state health.State) (left []candidate) {
	for _, c := range in {
		var addrs []string
		for _, name := range c.addrs {
			if w.state(c.pool, c.member, name) == state {
				addrs = append(addrs, name)
			}
		}
		if len(addrs) > 0 {
			c.addrs = addrs
			left = append(left, c)
		}
	}
	return left
}

// geo looks at every term of every member.
func (w *twin) geo(p *Pool, in []candidate) (left []candidate) {
	a := w.address(p)
	record := w.record(a)
	rank := func(c candidate) (best int) {
		terms := c.pool.Members[c.member].Serves
		if len(terms) == 0 {
			return 1
		}
		for _, t := range terms {
			switch {
			case t.Kind == TermAny:
				best = max(best, 1)
			case t.Kind == TermContinent && t.Continent == record.Continent:
				best = max(best, 2)
			case t.Kind == TermCountry && t.Country == record.Country:
				best = max(best, 3)
			case t.Kind == TermSubdivision && t.Subdivision == record.Subdivision:
				best = max(best, 4)
			case t.Kind == TermMap && w.tag(t.Map, a) == t.Tag:
				best = max(best, 5)
			case t.Kind == TermASN && t.ASN == record.ASN:
				best = max(best, 6)
			case t.Kind == TermCIDR && t.Net.Contains(a):
				best = max(best, 7+t.Net.Bits())
			}
		}
		return best
	}
	best := 0
	for _, c := range in {
		best = max(best, rank(c))
	}
	for _, c := range in {
		if best > 0 && rank(c) == best {
			left = append(left, c)
		}
	}
	return left
}

// record is what the database knows of an address.
func (w *twin) record(a netip.Addr) geo.Record {
	for _, k := range w.scene.known {
		if k.net.Contains(a) {
			return k.Record
		}
	}
	return geo.Record{}
}

// tag is "" where the map has none for the address.
func (w *twin) tag(name string, a netip.Addr) string {
	m, there := w.scene.maps[name]
	if !there {
		return ""
	}
	longest, tag := -1, ""
	for n, t := range m.Net {
		if n.Contains(a) && n.Bits() > longest {
			longest, tag = n.Bits(), t
		}
	}
	r := w.record(a)
	for _, other := range []string{m.ASN[r.ASN], m.Country[r.Country.String()], m.Default} {
		if tag == "" {
			tag = other
		}
	}
	return tag
}

// address is the client's as far as p is concerned.
func (w *twin) address(p *Pool) netip.Addr {
	subnet := w.client.Subnet
	from, _ := geo.Fold(w.client.Addr)
	if !subnet.IsValid() || subnet.Bits() == 0 {
		return from
	}
	a, _ := geo.Fold(subnet.Addr())
	covered := !slices.ContainsFunc(specials, func(s netip.Prefix) bool { return s.Contains(a) })
	for _, m := range p.Members {
		for _, t := range m.Serves {
			if t.Kind == TermCIDR {
				covered = covered || t.Net.Contains(a)
			}
			if t.Kind == TermMap {
				for n := range w.scene.maps[t.Map].Net {
					covered = covered || n.Contains(a)
				}
			}
		}
	}
	for _, step := range p.Steps {
		for _, n := range step.When.nets() {
			covered = covered || n.Contains(a)
		}
	}
	if covered {
		return a
	}
	return from
}

func (w *twin) fits(p *Pool, when *When) bool {
	if when == nil {
		return true
	}
	a := netip.Addr{}
	if when.CIDR != nil || when.Country != nil || when.Continent != nil || when.ASN != nil {
		a = w.address(p)
	}
	r := w.record(a)
	return (when.QType == nil || slices.Contains(when.QType, dns.TypeToString[w.client.Type])) &&
		(when.Country == nil || slices.Contains(when.Country, r.Country.String())) &&
		(when.Continent == nil || slices.Contains(when.Continent, r.Continent.String())) &&
		(when.ASN == nil || slices.Contains(when.ASN, r.ASN)) &&
		(when.CIDR == nil || slices.ContainsFunc(when.CIDR, func(n string) bool { return netip.MustParsePrefix(n).Contains(a) }))
}

// network is what sticky draws follow from.
func (w *twin) network(p *Pool) uint64 {
	a := w.address(p)
	length := 56
	if a.Is4() {
		length = 24
	}
	b := netip.PrefixFrom(a, length).Masked().Addr().As16()
	return mix(binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:]), length)
}

func (w *twin) nearest(p *Pool, in []candidate, n Nearest) (left []candidate) {
	r := w.record(w.address(p))
	from := r.Place
	if !from.IsValid() {
		from, _ = r.Country.Middle()
	}
	if !from.IsValid() {
		return in
	}
	var row *RTTs
	for i, other := range w.scene.rtts[p] {
		if row == nil || other.At.Km(from) < row.At.Km(from) {
			row = &w.scene.rtts[p][i]
		}
	}
	far := func(c candidate) float64 {
		m := p.Members[c.member]
		at, there := w.scene.sites[m.Site]
		switch {
		case n.By == "rtt" && row != nil && !math.IsNaN(row.MS[c.member]):
			return row.MS[c.member]
		case !there || !at.IsValid():
			return math.Inf(1)
		case n.By == "rtt" && row != nil:
			return at.Km(row.At) / 100
		case n.By == "rtt":
			return at.Km(from) / 100
		case m.Bias < 0:
			return at.Km(from) * (1 / (1 + float64(m.Bias)/100))
		}
		return at.Km(from) * (1 - float64(m.Bias)/100)
	}
	least := math.Inf(1)
	for _, c := range in {
		least = min(least, far(c))
	}
	if math.IsInf(least, 1) {
		return in
	}
	for _, c := range in {
		most := least
		switch {
		case strings.HasSuffix(n.Within, "%"):
			share, _ := strconv.ParseFloat(strings.TrimSuffix(n.Within, "%"), 64)
			most = least * (1 + share/100)
		case strings.HasSuffix(n.Within, "km"):
			more, _ := strconv.ParseFloat(strings.TrimSuffix(n.Within, "km"), 64)
			most = least + more
		case strings.HasSuffix(n.Within, "ms"):
			more, _ := strconv.ParseFloat(strings.TrimSuffix(n.Within, "ms"), 64)
			most = least + more
		}
		if far(c) <= most {
			left = append(left, c)
		}
	}
	return left
}

func (w *twin) tier(in []candidate, step Tier, latch int, draw uint64) (left []candidate) {
	if step.Failback == "" || step.Failback == "auto" {
		latch = 0
	}
	byTier := map[int][]candidate{}
	var tiers, held []int
	for _, c := range in {
		tier := int(c.pool.Members[c.member].Tier)
		switch {
		case byTier[tier] != nil:
		case tier < latch:
			held = append(held, tier)
		default:
			tiers = append(tiers, tier)
		}
		byTier[tier] = append(byTier[tier], c)
	}
	slices.Sort(tiers)
	if len(tiers) == 0 {
		slices.Sort(held)
		return byTier[held[0]]
	}
	if len(tiers) > 1 && float64(draw)/math.Pow(2, 64) < float64(step.Trickle) {
		return byTier[tiers[1]]
	}
	return byTier[tiers[0]]
}

func (w *twin) shed(c candidate, s Shed) uint64 {
	if s.Percent != nil {
		return bound(*s.Percent)
	}
	load, there := c.pool.Health(c.member).Load()
	if !there || load <= float64(*s.Low) {
		return 0
	}
	return bound(spec.Share((load - float64(*s.Low)) / (float64(*s.High) - float64(*s.Low))))
}

// shuffle draws everybody, by weight. Who stands first takes the place of who is drawn.
func (w *twin) shuffle(in []candidate, seed uint64) (order []candidate) {
	in = slices.Clone(in)
	for len(in) > 0 {
		tickets := make([]uint64, len(in))
		total := uint64(0)
		for i, c := range in {
			tickets[i] = w.weight(c)
			total += tickets[i]
		}
		if total == 0 {
			for i := range tickets {
				tickets[i] = 1
			}
			total = uint64(len(tickets))
		}
		ticket := below(mix(seed, 0, len(order)), total)
		drawn := 0
		for ticket >= tickets[drawn] {
			ticket -= tickets[drawn]
			drawn++
		}
		order = append(order, in[drawn])
		in[drawn] = in[0]
		in = in[1:]
	}
	return order
}

// text is what a twin says of a decision: the pool, the members and their addresses.
func (a answer) text() string {
	switch a.decided {
	case "":
		return "nodata"
	case "chosen":
		var given []string
		for _, c := range a.given {
			given = append(given, fmt.Sprint(c.pool.Name, "/", c.pool.Members[c.member].Name, c.addrs))
		}
		return fmt.Sprint(a.by.Name, " ", a.open, " ", given)
	}
	return a.decided
}

// sameText is answer.text of a Decision.
func sameText(d Decision) string {
	if d.Outcome != Chosen {
		return d.Outcome.String()
	}
	var given []string
	for _, k := range d.Picks {
		var addrs []string
		for i := range 16 {
			if k.Addrs()&(1<<i) != 0 {
				addrs = append(addrs, fmt.Sprint(i))
			}
		}
		if name := d.Member(k).CNAME; name != "" {
			addrs = []string{name}
		}
		given = append(given, fmt.Sprint(d.Of(k).Name, "/", d.Member(k).Name, addrs))
	}
	return fmt.Sprint(d.Pool.Name, " ", d.FailOpen, " ", given)
}

// randomScene makes a few pools of choices: choose(n) is one of 0…n−1.
func randomScene(choose func(n int) int) *twinScene {
	randomNets = randomNets[:0]
	number := 1 + choose(5)
	scene := &twinScene{
		specs: make([]Spec, number), maps: map[string]geo.Part{}, sites: map[string]geo.Point{}, rtts: map[*Pool][]RTTs{},
	}
	scene.Pools = make([]*Pool, number)
	scene.compiled = map[string]*geo.Map{}
	for _, name := range []string{"m1", "m2"}[:choose(3)] {
		scene.maps[name] = randomPart(choose)
		scene.compiled[name] = geo.NewMap(name, map[string]geo.Part{"all": scene.maps[name]})
	}
	if choose(4) > 0 {
		scene.known, scene.Geo = randomDatabase(choose)
	}
	for name, at := range map[string]geo.Point{"fra": geo.PointAt(50, 8), "ams": geo.PointAt(52, 4), "nyc": geo.PointAt(40, -74)} {
		if choose(4) > 0 {
			scene.sites[name] = at
		}
	}
	names := choose(6) == 0
	for id := number - 1; id >= 0; id-- { // those within others come behind them
		s := randomSpec(choose)
		fallbacks := []Fallback{{Kind: FallbackAll}}
		if n := choose(4); n > 0 {
			fallbacks = nil
			for range n {
				f := Fallback{Kind: FallbackKind(choose(4))}
				if f.Kind == FallbackPool {
					f.Pool = ID(choose(number))
					f.Name = fmt.Sprint("p", f.Pool)
				}
				s.OnEmpty = append(s.OnEmpty, f.String())
				fallbacks = append(fallbacks, f)
			}
		}
		members := make([]Member, choose(8))
		for i := range members {
			members[i] = randomMember(choose, i)
			switch within := number - 1 - id; {
			case within > 0 && choose(3) == 0:
				child := id + 1 + choose(within)
				members[i].Pool, members[i].Child, members[i].Addrs = fmt.Sprint("p", child), ID(child), nil
			case names:
				members[i].CNAME, members[i].Addrs = fmt.Sprintf("m%d.example.", i), nil
			}
		}
		p := New(fmt.Sprint("p", id), s, members, Surroundings{OnEmpty: fallbacks, Maps: scene.compiled, Sites: scene.sites, Pools: scene.Pools})
		scene.specs[id], scene.Pools[id] = s, p
		scene.measure(p, choose)
	}
	return scene
}

// measure gives the members of a pool states, weights and the like.
func (s *twinScene) measure(p *Pool, choose func(n int) int) {
	mood := choose(4) // 0: all down
	for i, m := range p.Members {
		for j := range m.Addrs {
			if state := health.State(choose(3)); mood == 0 {
				p.SetHealth(i, j, health.Down, "")
			} else {
				p.SetHealth(i, j, state, "")
			}
		}
		w := p.Health(i)
		if m.CNAME != "" {
			w = w.With(0, health.State(choose(3)))
		}
		switch choose(8) {
		case 0:
			out := choose(2) == 0
			w = w.WithDrain(true, out)
		case 1:
			w = w.WithLoad(float64(choose(15)) / 10)
		case 2:
			w = w.WithWeight(uint16(choose(4)))
		}
		p.SetWord(i, w)
	}
	if choose(3) == 0 {
		p.SetLatch(uint16(choose(4)))
	}
	if p.more == nil || p.more.stands == nil {
		return
	}
	for _, site := range []string{"fra", "nyc"}[:choose(3)] {
		row := RTTs{Site: site, At: geo.PointAt(map[string]float64{"fra": 50, "nyc": 40}[site], map[string]float64{"fra": 8, "nyc": -74}[site])}
		for range p.Members {
			ms := float64(choose(30))
			if choose(4) == 0 {
				ms = math.NaN()
			}
			row.MS = append(row.MS, ms)
		}
		s.rtts[p] = append(s.rtts[p], row)
	}
	p.SetRTTs(s.rtts[p])
}

func randomMember(choose func(n int) int, i int) Member {
	m := Member{
		Name:   fmt.Sprintf("m%03d", i),
		Weight: []uint16{1, 0, 2, 10, 65535}[choose(5)],
		Tier:   []uint16{1, 1, 2, 3, 65535}[choose(5)],
		Site:   []string{"", "fra", "ams", "nyc"}[choose(4)],
		Bias:   []int8{0, 0, -50, 50, 99, -99}[choose(6)],
	}
	for range max(0, choose(6)-2) {
		m.Serves = append(m.Serves, randomTerm(choose))
	}
	v4 := choose(3) > 0
	for j := range 1 + choose(3) {
		m.Addrs = append(m.Addrs, addr(v4 == (choose(4) == 0), i, j))
	}
	return m
}

func randomSpec(choose func(n int) int) Spec {
	s := Spec{Check: "web", Policy: append(policyNames, "")[choose(len(policyNames)+1)]}
	switch choose(4) {
	case 0:
		s.MinUp.N = 1 + choose(4)
	case 1:
		s.MinUp.Share = spec.Share(1+choose(100)) / 100
	}
	if choose(3) == 0 {
		return s
	}
	s.Policy = ""
	for range 1 + choose(6) {
		step := Step{Op: Op(choose(len(opNames)))}
		switch step.Op {
		case OpGeo:
			step.Geo.Strict = choose(2) == 0
		case OpNearest:
			step.Nearest = []Nearest{
				{By: "distance"}, {By: "distance", Within: "500km"}, {By: "distance", Within: "60%"}, {By: "rtt"}, {By: "rtt", Within: "10ms"}, {By: "rtt", Within: "50%"},
			}[choose(6)]
		case OpTier:
			if choose(2) == 0 {
				step.Tier.Trickle = spec.Share(choose(101)) / 100
			}
			step.Tier.Failback = []string{"", "auto", "manual", "5m"}[choose(4)]
		case OpShed:
			low, high, percent := spec.Share(choose(10))/10, spec.Share(10+choose(5))/10, spec.Share(choose(101))/100
			if choose(2) == 0 {
				step.Shed.Percent = &percent
			} else {
				step.Shed.Low, step.Shed.High = &low, &high
			}
		case OpWeighted:
			step.Weighted.By = []string{"", "client"}[choose(2)]
		case OpTake:
			step.Take = Take{1 + choose(5), []string{"", "site"}[choose(2)]}
		}
		if choose(4) == 0 {
			step.When = randomWhen(choose)
		}
		if err := step.complete(); err != nil {
			panic(err)
		}
		s.Steps = append(s.Steps, step)
	}
	return s
}

func randomWhen(choose func(n int) int) *When {
	w := &When{QType: []string{"A"}}
	switch choose(5) {
	case 0:
		for n := (netip.Prefix{}); ; {
			if n = randomNet(choose); !foldedNet(n) {
				w.CIDR = []string{n.String()}
				break
			}
		}
	case 1:
		w.Country = []string{"DE", "US"}[:1+choose(2)]
	case 2:
		w.Continent = []string{"NA"}
	case 3:
		w.ASN = []uint32{1, 3}[:1+choose(2)]
	default:
		return w
	}
	if choose(2) == 0 {
		w.QType = nil
	}
	return w
}

func foldedNet(p netip.Prefix) bool { _, in := geo.FoldedIn(p); return in }

// randomDatabase knows something of a few networks.
func randomDatabase(choose func(n int) int) ([]known, *geo.Database) {
	var list []known
	for range 1 + choose(8) {
		k := known{net: randomNet(choose)}
		if foldedNet(k.net) || slices.ContainsFunc(list, func(l known) bool { return l.net.Overlaps(k.net) }) {
			continue
		}
		country := []string{"", "DE", "FR", "US"}[choose(4)]
		k.Country, _ = geo.ParseCountry(country)
		k.Continent = k.Country.Continent()
		if choose(6) == 0 {
			k.Continent, _ = geo.ParseContinent("NA")
		}
		if country != "" {
			k.Subdivision, _ = geo.ParseSubdivision(country + "-" + []string{"HE", "BY"}[choose(2)])
		}
		k.ASN = uint32(choose(4))
		if choose(3) == 0 {
			k.Place = geo.PointAt(float64(choose(120)-60), float64(choose(300)-150))
		}
		list = append(list, k)
	}
	slices.SortFunc(list, func(j, k known) int { return j.net.Addr().Compare(k.net.Addr()) })
	layer := geo.NewLayer()
	for _, k := range list {
		if err := layer.Add(k.net, k.Record); err != nil {
			panic(err)
		}
	}
	return list, geo.Compile(layer)
}

var randomNets []netip.Prefix // of the scene made last

var bases = []string{"10.0.0.0", "198.51.100.0", "11.0.0.0", "192.168.255.0", "2001:db8::", "fd00::", "::", "2002:c633:6400::", "::ffff:11.0.0.0", "2003::"}

// randomNet is one of few that lie within each other and beside each other, in places of every kind.
func randomNet(choose func(n int) int) netip.Prefix {
	b := netip.MustParseAddr(bases[choose(len(bases))]).AsSlice()
	for range choose(3) {
		b[choose(len(b))] ^= 1 << choose(8)
	}
	a, _ := netip.AddrFromSlice(b)
	lengths := []int{0, 1, 6, 7, 8, 9, 10, 15, 16, 20, 23, 24, 25, 31, 32}
	if a.Is6() && choose(4) == 0 {
		lengths = []int{40, 47, 48, 96, 104, 112, 120, 121, 128, 33, 34, 97, 98, 99, 100}
	}
	p, _ := a.Prefix(lengths[choose(15)])
	randomNets = append(randomNets, p)
	return p
}

func randomTerm(choose func(n int) int) Term {
	var t Term
	switch choose(9) {
	case 0:
		t.Kind = TermAny
	case 1, 2:
		t = Term{Kind: TermMap, Map: []string{"m1", "m2", "gone"}[choose(3)], Tag: []string{"a", "b", "c", "none"}[choose(4)]}
	case 3:
		t = Term{Kind: TermASN, ASN: uint32(1 + choose(3))}
	case 4:
		t.Kind = TermSubdivision
		t.Subdivision, _ = geo.ParseSubdivision([]string{"DE-HE", "DE-BY", "US-HE"}[choose(3)])
	case 5:
		t.Kind = TermCountry
		t.Country, _ = geo.ParseCountry([]string{"DE", "FR", "US"}[choose(3)])
	case 6:
		t.Kind = TermContinent
		t.Continent, _ = geo.ParseContinent([]string{"EU", "NA"}[choose(2)])
	default:
		for t.Net = randomNet(choose); foldedNet(t.Net); t.Net = randomNet(choose) {
		}
	}
	return t
}

func randomPart(choose func(n int) int) geo.Part {
	part := geo.Part{Net: map[netip.Prefix]string{}, Default: []string{"", "", "a", "b"}[choose(4)]}
	for range choose(8) {
		if n := randomNet(choose); !foldedNet(n) {
			part.Net[n] = []string{"a", "b", "c"}[choose(3)]
		}
	}
	if choose(3) == 0 {
		part.ASN = map[uint32]string{uint32(1 + choose(3)): "b", uint32(1 + choose(3)): "c"}
	}
	if choose(3) == 0 {
		part.Country = map[string]string{[]string{"DE", "FR", "US"}[choose(3)]: "a", []string{"DE", "FR", "US"}[choose(3)]: "b"}
	}
	return part
}

// randomClient asks with a subnet or without.
func randomClient(choose func(n int) int) *Client {
	c := &Client{Addr: randomNet(choose).Addr()}
	if choose(3) > 0 {
		c.Subnet = randomNet(choose)
	}
	return c
}

// checkSelect says where Select disagrees with its twin, with itself, or with its trace.
func checkSelect(t *testing.T, scene *twinScene, client *Client, random uint64, used *Scratch) {
	t.Helper()
	root := scene.Pools[0]
	for _, family := range []Family{IPv4, IPv6, Any} {
		c := &Client{Addr: client.Addr, Subnet: client.Subnet, Family: family, Type: [...]uint16{dns.TypeA, dns.TypeAAAA, dns.TypeHTTPS}[family]}
		selected := func(s *Scratch, t *Trace) (d Decision) {
			Select(&d, root, &scene.World, c, random, s, t)
			return d
		}
		want := twinSelect(root, scene, c, random)
		d := selected(used, nil)
		if got := sameText(d); got != want {
			t.Fatalf("%s\nrandom %#x, %+v: Select gives\n%s, the twin\n%s", describe(scene), random, c, got, want)
		}
		again := selected(new(Scratch), nil)
		if again.Outcome != d.Outcome || again.FailOpen != d.FailOpen || again.Pool != d.Pool || again.Scope != d.Scope || !slices.Equal(again.Picks, d.Picks) {
			t.Fatalf("%s\nrandom %#x, %+v: another time it gives %s, not %s", describe(scene), random, c, sameText(again), want)
		}
		var trace Trace
		traced := selected(new(Scratch), &trace)
		if got := sameText(traced); got != want {
			t.Fatalf("%s\nrandom %#x, %+v: with a trace it gives\n%s, without\n%s", describe(scene), random, c, got, want)
		}
		if err := checkTrace(&trace, traced, scene.Pools); err != nil {
			t.Fatalf("%s\nrandom %#x, %+v: %v", describe(scene), random, c, err)
		}
	}
}

func describe(scene *twinScene) string {
	var b strings.Builder
	for _, k := range scene.known {
		fmt.Fprintf(&b, "%v is %+v\n", k.net, k.Record)
	}
	for _, p := range scene.Pools {
		fmt.Fprintf(&b, "%s %v on_empty %v (own: %t) min_up %v latch %d\n", p.Name, p.Steps, p.OnEmpty, p.OwnEmpty, p.MinUp(), p.Latch())
		for i, m := range p.Members {
			fmt.Fprintf(&b, "  %+v %x\n", m, p.Health(i))
		}
	}
	return b.String()
}

var twinScenes = flag.Int("scenes", 8_000, "random worlds in which TestSelectTwin asks nine times; make test-long has a million")

// Random pools, healths and random numbers: Select is its twin, depends on nothing but its
// arguments, and its trace accounts for everybody.
func TestSelectTwin(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	scenes, endings := *twinScenes, map[string]int{}
	if testing.Short() || raceEnabled {
		scenes = min(scenes, 2_000)
	}
	var used Scratch
	for range scenes {
		scene := randomScene(random.IntN)
		for range 3 {
			n := random.Uint64()
			c := randomClient(random.IntN)
			checkSelect(t, scene, c, n, &used)
			var d Decision
			Select(&d, scene.Pools[0], &scene.World, c, n, &used, nil)
			ending := d.Outcome.String()
			if d.FailOpen {
				ending += ", fail open"
			}
			if d.Pool != scene.Pools[0] {
				ending += ", by another pool"
			}
			if d.Pools != nil {
				ending += ", of pools within"
			}
			endings[ending]++
		}
	}
	for _, ending := range []string{
		"chosen", "chosen, by another pool", "chosen, fail open", "chosen, fail open, by another pool", "nodata", "servfail",
		"chosen, of pools within", "chosen, fail open, of pools within", "chosen, by another pool, of pools within",
	} {
		if endings[ending] < scenes/2000 {
			t.Errorf("too few %q: %v", ending, endings)
		}
	}
}

// The same for pools so large that an answer is cut.
func TestSelectTwinLarge(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 3 {
		members := make([]Member, 250+random.IntN(100))
		for i := range members {
			members[i] = Member{Name: fmt.Sprintf("m%04d", i), Weight: uint16(random.IntN(5)), Tier: 1}
			for j := range 1 + random.IntN(health.MaxAddrs) {
				members[i].Addrs = append(members[i].Addrs, addr(random.IntN(2) == 0, i, j))
			}
		}
		s := Spec{Steps: []Step{{Op: OpUp}, {Op: OpWeighted}}}
		scene := &twinScene{specs: []Spec{s}}
		scene.Pools = []*Pool{New("p0", s, members, Surroundings{})}
		checkSelect(t, scene, &Client{}, random.Uint64(), new(Scratch))
	}
}

func FuzzSelect(f *testing.F) {
	random := rand.New(rand.NewPCG(5, 6))
	for range 20 {
		choices := make([]byte, 400)
		for i := range choices {
			choices[i] = byte(random.Uint32())
		}
		f.Add(choices, random.Uint64())
	}
	f.Fuzz(func(t *testing.T, choices []byte, n uint64) {
		choose := func(n int) int {
			if len(choices) == 0 {
				return 0
			}
			c := int(choices[0]) % n
			choices = choices[1:]
			return c
		}
		c := randomClient(choose)
		checkSelect(t, randomScene(choose), c, n, new(Scratch))
	})
}
