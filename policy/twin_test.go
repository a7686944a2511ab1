package policy

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"meridian/health"
	"meridian/spec"
)

// twin is Select written down again in the most obvious way, to hold the two together. It shares
// with it nothing but mix and below: how a random number becomes a draw.
type twin struct {
	pools   []*Pool
	family  Family
	random  uint64
	visited int
}

// candidate is a member who is still in, by name, with the addresses that it would give.
type candidate struct {
	name  string
	addrs []string
}

// twinSelect returns a decision as text: see twinText.
func twinSelect(p *Pool, pools []*Pool, f Family, random uint64) string {
	w := &twin{pools: pools, family: f, random: random}
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
			if a.Is6() == (w.family == IPv6) {
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
		m := d.Pool.Members[pick.Member]
		c := candidate{name: m.Name}
		for i, a := range m.Addrs {
			if pick.Addrs&(1<<i) != 0 {
				c.addrs = append(c.addrs, a.String())
			}
		}
		given = append(given, c)
	}
	return twinText(d.Pool, d.FailOpen, given)
}

// randomPools makes a few pools of choices: choose(n) is one of 0…n−1.
func randomPools(choose func(n int) int) []*Pool {
	number := 1 + choose(4)
	pools := make([]*Pool, number)
	for id := range pools {
		s := Spec{Check: "web", Policy: []string{"", "weighted", "failover", "multivalue"}[choose(4)]}
		if choose(2) == 0 {
			s.Policy = ""
			for range 1 + choose(5) {
				step := Step{Op: Op(choose(len(opNames))), N: 1}
				switch {
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
			v4 := choose(3) > 0
			for j := range 1 + choose(3) {
				members[i].Addrs = append(members[i].Addrs, addr(v4 == (choose(4) == 0), i, j))
			}
		}
		pools[id] = New(fmt.Sprint("p", id), s, fallbacks, members)
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

// checkSelect says where Select disagrees with its twin, with itself, or with its trace.
func checkSelect(t *testing.T, pools []*Pool, random uint64, used *Scratch) {
	t.Helper()
	for _, family := range []Family{IPv4, IPv6} {
		c := Client{Family: family}
		want := twinSelect(pools[0], pools, family, random)
		d := Select(pools[0], pools, c, random, used, nil)
		if got := sameText(d); got != want {
			t.Fatalf("%s\nrandom %#x, %v: Select gives\n%s, the twin\n%s", describe(pools), random, family, got, want)
		}
		again := Select(pools[0], pools, c, random, new(Scratch), nil)
		if again.Outcome != d.Outcome || again.FailOpen != d.FailOpen || again.Pool != d.Pool || !slices.Equal(again.Picks, d.Picks) {
			t.Fatalf("%s\nrandom %#x, %v: another time it gives %s, not %s", describe(pools), random, family, sameText(again), want)
		}
		var trace Trace
		traced := Select(pools[0], pools, c, random, new(Scratch), &trace)
		if got := sameText(traced); got != want {
			t.Fatalf("%s\nrandom %#x, %v: with a trace it gives\n%s, without\n%s", describe(pools), random, family, got, want)
		}
		if err := checkTrace(&trace, traced, pools); err != nil {
			t.Fatalf("%s\nrandom %#x, %v: %v", describe(pools), random, family, err)
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
			checkSelect(t, pools, n, &used)
			d := Select(pools[0], pools, Client{}, n, &used, nil)
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
		p := New("p0", s, []Fallback{{Kind: FallbackAll}}, members)
		checkSelect(t, []*Pool{p}, random.Uint64(), new(Scratch))
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
		pools := randomPools(func(n int) int {
			if len(choices) == 0 {
				return 0
			}
			c := int(choices[0]) % n
			choices = choices[1:]
			return c
		})
		checkSelect(t, pools, n, new(Scratch))
	})
}
