package policy

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"meridian/health"
	"meridian/policy/geo"
	"meridian/spec"
)

// twin is Select written down again in the most obvious way, to hold the two together. It shares
// with it nothing but mix and below: how a random number becomes a draw.
type twin struct {
	pools   []*Pool
	client  Client
	random  uint64
	visited int
}

// candidate is a member who is still in, by name, with the addresses that it would give.
type candidate struct {
	name  string
	addrs []string
}

// twinSelect returns a decision as text: see twinText.
func twinSelect(p *Pool, pools []*Pool, c *Client, random uint64) string {
	w := &twin{pools: pools, client: *c, random: random}
	if decided := w.decide(p, true); decided != "" {
		return decided
	}
	return "nodata"
}

// decide returns "" while nothing is decided.
func (w *twin) decide(p *Pool, root bool) string {
	w.visited++
	if w.visited > 64 {
		return ""
	}
	if given := w.chain(p, false); len(given) > 0 {
		return twinText(p, false, given)
	}
	if !root && !p.OwnEmpty {
		return ""
	}
	for _, entry := range p.OnEmpty {
		decided := ""
		switch entry.String() {
		case "nodata", "servfail":
			decided = entry.String()
		case "all":
			if given := w.chain(p, true); len(given) > 0 {
				decided = twinText(p, true, given)
			}
		default:
			decided = w.decide(w.pools[entry.Pool], false)
		}
		if decided != "" {
			return decided
		}
	}
	return ""
}

// chain returns who is left at its end, in order.
func (w *twin) chain(p *Pool, open bool) []candidate {
	var in []candidate
	for _, m := range p.Members {
		var addrs []string
		for _, a := range m.Addrs {
			if a.Is6() == (w.client.Family == IPv6) {
				addrs = append(addrs, a.String())
			}
		}
		if len(addrs) > 0 {
			in = append(in, candidate{m.Name, addrs})
		}
	}
	shuffle := func(in []candidate) []candidate { return in }
	for i, step := range p.Steps {
		draw := mix(w.random, p.seed, i)
		switch step.Op {
		case OpUp:
			left := w.inState(p, in, health.Up)
			if len(left) == 0 {
				left = w.inState(p, in, health.Unknown)
			}
			if len(left) > 0 {
				in = left
			} else if !open {
				return nil
			}
		case OpGeo:
			if left := w.geo(p, in); len(left) > 0 {
				in = left
			} else if step.Strict {
				return nil
			}
		case OpTier:
			in = w.tier(p, in, step.Trickle, draw)
		case OpWeighted:
			shuffle = func(in []candidate) []candidate { return w.shuffle(p, in, draw|1) }
		case OpTake:
			in = w.take(p, shuffle(in), step)
			shuffle = func(in []candidate) []candidate { return in }
		}
	}
	in = shuffle(in)
	addrs := 0
	for i, c := range in {
		if addrs += len(c.addrs); addrs > 1000 {
			return in[:i]
		}
	}
	return in
}

func (w *twin) inState(p *Pool, in []candidate, state health.State) (left []candidate) {
	for _, c := range in {
		m := p.Member(c.name)
		var addrs []string
		for i, a := range p.Members[m].Addrs {
			if p.Health(m).State(i) == state && slices.Contains(c.addrs, a.String()) {
				addrs = append(addrs, a.String())
			}
		}
		if len(addrs) > 0 {
			left = append(left, candidate{c.name, addrs})
		}
	}
	return left
}

// geo looks at every term of every member.
func (w *twin) geo(p *Pool, in []candidate) (left []candidate) {
	a := w.address(p)
	rank := func(c candidate) (best int) {
		terms := p.Members[p.Member(c.name)].Serves
		if len(terms) == 0 {
			return 1
		}
		for _, t := range terms {
			switch {
			case t.Kind == TermAny:
				best = max(best, 1)
			case t.Kind == TermMap && w.tag(p, t.Map, a) == t.Tag:
				best = max(best, 2)
			case t.Kind == TermCIDR && t.Net.Contains(a):
				best = max(best, 3+t.Net.Bits())
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

// tag is "" where the map, of which the parts are asked, has none for the address.
func (w *twin) tag(p *Pool, name string, a netip.Addr) string {
	m := p.geography.written[name]
	if m == nil {
		return ""
	}
	tag, _ := m.Lookup(a)
	return m.Name(tag)
}

// address is the client's as far as p is concerned.
func (w *twin) address(p *Pool) netip.Addr {
	subnet := w.client.Subnet
	if !subnet.IsValid() || subnet.Bits() == 0 {
		return w.client.Addr
	}
	covered := !slices.ContainsFunc(specials, func(s netip.Prefix) bool { return s.Contains(subnet.Addr()) })
	for _, m := range p.Members {
		for _, t := range m.Serves {
			if t.Kind == TermCIDR {
				covered = covered || t.Net.Contains(subnet.Addr())
			}
			if t.Kind == TermMap && p.geography.written[t.Map] != nil {
				_, found := p.geography.written[t.Map].Net(subnet.Addr())
				covered = covered || found
			}
		}
	}
	if covered {
		return subnet.Addr()
	}
	return w.client.Addr
}

func (w *twin) tier(p *Pool, in []candidate, trickle spec.Share, draw uint64) (left []candidate) {
	byTier := map[uint16][]candidate{}
	var tiers []uint16
	for _, c := range in {
		tier := p.Members[p.Member(c.name)].Tier
		if byTier[tier] == nil {
			tiers = append(tiers, tier)
		}
		byTier[tier] = append(byTier[tier], c)
	}
	slices.Sort(tiers)
	if len(tiers) == 0 {
		return nil
	}
	if len(tiers) > 1 && float64(draw)/math.Pow(2, 64) < float64(trickle) {
		return byTier[tiers[1]]
	}
	return byTier[tiers[0]]
}

// shuffle draws everybody, by weight. Who stands first takes the place of who is drawn.
func (w *twin) shuffle(p *Pool, in []candidate, seed uint64) (order []candidate) {
	in = slices.Clone(in)
	for len(in) > 0 {
		tickets := make([]uint64, len(in))
		total := uint64(0)
		for i, c := range in {
			tickets[i] = uint64(p.Members[p.Member(c.name)].Weight)
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

func (w *twin) take(p *Pool, in []candidate, step Step) (left []candidate) {
	given := map[string]bool{}
	for _, c := range in {
		site := p.Members[p.Member(c.name)].Site
		if len(left) == step.N || step.Distinct && site != "" && given[site] {
			continue
		}
		given[site] = true
		left = append(left, c)
	}
	return left
}

// twinText is what a twin says of a decision: the pool, the members and their addresses.
func twinText(p *Pool, open bool, given []candidate) string {
	return fmt.Sprint(p.Name, " ", open, " ", given)
}

// sameText is twinText of a Decision.
func sameText(d Decision) string {
	if d.Outcome != Chosen {
		return d.Outcome.String()
	}
	var given []candidate
	for _, pick := range d.Picks {
		m := d.Pool.Members[pick.Member()]
		c := candidate{name: m.Name}
		for i, a := range m.Addrs {
			if pick.Addrs()&(1<<i) != 0 {
				c.addrs = append(c.addrs, a.String())
			}
		}
		given = append(given, c)
	}
	return twinText(d.Pool, d.FailOpen, given)
}

// randomPools makes a few pools of choices: choose(n) is one of 0…n−1.
func randomPools(choose func(n int) int) []*Pool {
	randomNets = randomNets[:0]
	number := 1 + choose(4)
	pools := make([]*Pool, number)
	maps := map[string]*geo.Map{}
	for _, name := range []string{"m1", "m2"}[:choose(3)] {
		maps[name] = randomMap(name, choose)
	}
	for id := range pools {
		s := Spec{Check: "web", Policy: []string{"", "weighted", "failover", "multivalue", "geo"}[choose(5)]}
		if choose(2) == 0 {
			s.Policy = ""
			for range 1 + choose(5) {
				step := Step{Op: Op(choose(len(opNames))), N: 1}
				switch {
				case step.Op == OpGeo:
					step.Strict = choose(2) == 0
				case step.Op == OpTier && choose(2) == 0:
					step.Trickle = spec.Share(choose(101)) / 100
					step.trickle = bound(step.Trickle)
				case step.Op == OpTake:
					step.N, step.Distinct = 1+choose(5), choose(2) == 0
				}
				s.Steps = append(s.Steps, step)
			}
		}
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
			members[i] = Member{
				Name:   fmt.Sprintf("m%03d", i),
				Weight: []uint16{1, 0, 2, 10, 65535}[choose(5)],
				Tier:   []uint16{1, 1, 2, 3, 65535}[choose(5)],
				Site:   []string{"", "fra", "ams", "lon"}[choose(4)],
			}
			for range max(0, choose(6)-2) {
				members[i].Serves = append(members[i].Serves, randomTerm(choose))
			}
			v4 := choose(3) > 0
			for j := range 1 + choose(3) {
				members[i].Addrs = append(members[i].Addrs, addr(v4 == (choose(4) == 0), i, j))
			}
		}
		pools[id] = New(fmt.Sprint("p", id), s, fallbacks, members, maps)
		mood := choose(4) // 0: all down
		for i, m := range members {
			for j := range m.Addrs {
				if state := health.State(choose(3)); mood == 0 {
					pools[id].SetHealth(i, j, health.Down, "")
				} else {
					pools[id].SetHealth(i, j, state, "")
				}
			}
		}
	}
	return pools
}

var randomNets []netip.Prefix // that the pools made last are of

// randomNet is one of few that lie within each other and beside each other, in places of every kind.
func randomNet(choose func(n int) int) netip.Prefix {
	bases := []string{"10.0.0.0", "198.51.100.0", "11.0.0.0", "192.168.255.0", "2001:db8::", "fd00::", "::"}
	b := netip.MustParseAddr(bases[choose(len(bases))]).AsSlice()
	for range choose(3) {
		b[choose(len(b))] ^= 1 << choose(8)
	}
	a, _ := netip.AddrFromSlice(b)
	p, _ := a.Prefix([]int{0, 1, 6, 7, 8, 9, 10, 15, 16, 20, 23, 24, 25, 31, 32}[choose(15)])
	randomNets = append(randomNets, p)
	return p
}

func randomTerm(choose func(n int) int) Term {
	switch choose(6) {
	case 0:
		return Term{Kind: TermAny}
	case 1, 2:
		return Term{Kind: TermMap, Map: []string{"m1", "m2", "gone"}[choose(3)], Tag: []string{"a", "b", "c", "none"}[choose(4)]}
	}
	return Term{Kind: TermCIDR, Net: randomNet(choose)}
}

func randomMap(name string, choose func(n int) int) *geo.Map {
	part := geo.Part{Net: map[netip.Prefix]string{}, Default: []string{"", "", "a", "b"}[choose(4)]}
	for range choose(8) {
		part.Net[randomNet(choose)] = []string{"a", "b", "c"}[choose(3)]
	}
	return geo.NewMap(name, map[string]geo.Part{"all": part})
}

// randomClient asks with a subnet or without.
func randomClient(choose func(n int) int) *Client {
	c := &Client{Addr: randomNet(choose).Addr(), Family: Family(choose(2))}
	if choose(3) > 0 {
		c.Subnet = randomNet(choose)
	}
	return c
}

// checkSelect says where Select disagrees with its twin, with itself, or with its trace.
func checkSelect(t *testing.T, pools []*Pool, client *Client, random uint64, used *Scratch) {
	t.Helper()
	for _, family := range []Family{IPv4, IPv6} {
		c := &Client{client.Addr, client.Subnet, family}
		want := twinSelect(pools[0], pools, c, random)
		d := selected(pools[0], pools, c, random, used, nil)
		if got := sameText(d); got != want {
			t.Fatalf("%s\nrandom %#x, %+v: Select gives\n%s, the twin\n%s", describe(pools), random, c, got, want)
		}
		again := selected(pools[0], pools, c, random, new(Scratch), nil)
		if again.Outcome != d.Outcome || again.FailOpen != d.FailOpen || again.Pool != d.Pool || again.Scope != d.Scope || !slices.Equal(again.Picks, d.Picks) {
			t.Fatalf("%s\nrandom %#x, %+v: another time it gives %s, not %s", describe(pools), random, c, sameText(again), want)
		}
		var trace Trace
		traced := selected(pools[0], pools, c, random, new(Scratch), &trace)
		if got := sameText(traced); got != want {
			t.Fatalf("%s\nrandom %#x, %+v: with a trace it gives\n%s, without\n%s", describe(pools), random, c, got, want)
		}
		if err := checkTrace(&trace, traced, pools); err != nil {
			t.Fatalf("%s\nrandom %#x, %+v: %v", describe(pools), random, c, err)
		}
	}
}

func describe(pools []*Pool) string {
	var b strings.Builder
	for _, p := range pools {
		fmt.Fprintf(&b, "%s %v on_empty %v (own: %t)\n", p.Name, p.Steps, p.OnEmpty, p.OwnEmpty)
		for i, m := range p.Members {
			fmt.Fprintf(&b, "  %+v", m)
			for j := range m.Addrs {
				fmt.Fprintf(&b, " %v", p.Health(i).State(j))
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// Random pools, healths and random numbers: Select is its twin, depends on nothing but its
// arguments, and its trace accounts for everybody.
func TestSelectTwin(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	scenes, endings := 12_000, map[string]int{}
	if testing.Short() || raceEnabled {
		scenes = 2_000
	}
	var used Scratch
	for range scenes {
		pools := randomPools(random.IntN)
		for range 3 {
			n := random.Uint64()
			c := randomClient(random.IntN)
			checkSelect(t, pools, c, n, &used)
			d := selected(pools[0], pools, c, n, &used, nil)
			ending := d.Outcome.String()
			if d.FailOpen {
				ending += ", fail open"
			}
			if d.Pool != pools[0] {
				ending += ", by another pool"
			}
			endings[ending]++
		}
	}
	for _, ending := range []string{
		"chosen", "chosen, by another pool", "chosen, fail open", "chosen, fail open, by another pool", "nodata", "servfail",
	} {
		if endings[ending] < scenes/1000 {
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
		p := New("p0", s, []Fallback{{Kind: FallbackAll}}, members, nil)
		checkSelect(t, []*Pool{p}, &Client{}, random.Uint64(), new(Scratch))
	}
}

func FuzzSelect(f *testing.F) {
	random := rand.New(rand.NewPCG(5, 6))
	for range 20 {
		choices := make([]byte, 200)
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
		checkSelect(t, randomPools(choose), c, n, new(Scratch))
	})
}
