package policy

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// checkShares fails where the counts are further from the shares expected (which add up to one)
// than chance has it once in some 30,000 times. The seeds are fixed: a test passes or fails always.
func checkShares(t *testing.T, what string, counts []int, shares []float64) {
	t.Helper()
	total, chi, freedom := 0, 0.0, -1.0
	for _, n := range counts {
		total += n
	}
	for i, n := range counts {
		expected := shares[i] * float64(total)
		if expected == 0 {
			if n > 0 {
				t.Errorf("%s: place %d has %d, expected none", what, i, n)
			}
			continue
		}
		if expected < 5 {
			t.Fatalf("%s: %.1f expected in place %d: too few to tell", what, expected, i)
		}
		chi += (float64(n) - expected) * (float64(n) - expected) / expected
		freedom++
	}
	if freedom == 0 {
		return
	}
	// Wilson and Hilferty: the cube root of chi² a degree of freedom is about normal.
	spread := 2 / (9 * freedom)
	z := (math.Cbrt(chi/freedom) - (1 - spread)) / math.Sqrt(spread)
	if !(z < 4) {
		t.Errorf("%s: chi² %.1f of %.0f degrees of freedom (z = %.1f)\ncounts %v\nshares %v", what, chi, freedom, z, counts, shares)
	}
}

// skipUnderRace: counting takes long, and does nothing at once.
func skipUnderRace(t *testing.T) {
	if raceEnabled {
		t.Skip("nothing here is concurrent")
	}
}

// normal makes weights add up to one.
func normal(weights []float64) []float64 {
	sum := 0.0
	for _, w := range weights {
		sum += w
	}
	shares := make([]float64, len(weights))
	for i, w := range weights {
		shares[i] = w / sum
	}
	return shares
}

// weighing is a pool of members of these weights, all up.
func weighing(t *testing.T, chain string, weights []float64) []*Pool {
	var b strings.Builder
	fmt.Fprintf(&b, "web %s\n", chain)
	for i, w := range weights {
		fmt.Fprintf(&b, "  m%04d 4+ w%.0f\n", i, w)
	}
	return scene(t, b.String())
}

// firsts counts who is given first.
func firsts(pools []*Pool, draws int, random func() uint64) []int {
	counts := make([]int, len(pools[0].Members))
	var s Scratch
	for range draws {
		counts[selected(pools[0], pools, &Client{}, random(), &s, nil).Picks[0].Member()]++
	}
	return counts
}

func TestShares(t *testing.T) {
	skipUnderRace(t)
	thousand, equal := make([]float64, 1000), make([]float64, 1000)
	for i := range thousand {
		thousand[i], equal[i] = float64(20+i%37), 7
	}
	tests := []struct {
		name    string
		chain   string
		weights []float64
		draws   int
	}{
		{"two alike", "weighted", []float64{1, 1}, 100_000},
		{"three alike", "weighted", []float64{1, 1, 1}, 100_000},
		{"1 : 2 : 7", "weighted", []float64{1, 2, 7}, 100_000},
		{"7 : 2 : 1", "weighted", []float64{7, 2, 1}, 100_000},
		{"1 : 1000 : 65535", "weighted", []float64{1, 1000, 65535}, 1_000_000},
		{"65535 alike", "weighted", []float64{65535, 65535, 65535}, 100_000},
		{"with weight 0", "weighted", []float64{0, 3, 0, 1}, 100_000},
		{"weight 0 alone is even", "weighted", []float64{0, 0, 0, 0, 0}, 100_000},
		{"1000 alike", "weighted", equal, 50_000},
		{"1000", "weighted", thousand, 50_000},
		{"failover", "failover", []float64{1, 2, 7}, 100_000},
		{"the first of multivalue", "multivalue", []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, 100_000},
		{"the first of everybody", `["up","weighted"]`, []float64{1, 2, 7}, 100_000},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			shares := normal(test.weights)
			if test.name == "weight 0 alone is even" {
				shares = normal([]float64{1, 1, 1, 1, 1})
			}
			pools := weighing(t, test.chain, test.weights)
			random := rand.New(rand.NewPCG(1, 2))
			checkShares(t, "random numbers", firsts(pools, test.draws, random.Uint64), shares)
			// Numbers that are anything but random are mixed as well.
			counter := uint64(0)
			checkShares(t, "a counter", firsts(pools, test.draws, func() uint64 { counter++; return counter }), shares)
		})
	}
}

// The order of a weighted step is that of drawing without replacement: each of all orders of the
// first two has its exact share, and so has, by that, every member's chance to be among them.
func TestSharesWithoutReplacement(t *testing.T) {
	skipUnderRace(t)
	weights := []float64{1, 2, 3, 4, 10}
	total := 20.0
	var shares []float64
	place := map[[2]int]int{}
	among := make([]float64, len(weights))
	for i, first := range weights {
		for j, second := range weights {
			if i != j {
				place[[2]int{i, j}] = len(shares)
				share := first / total * second / (total - first)
				shares = append(shares, share)
				among[i] += share
				among[j] += share
			}
		}
	}
	pools := weighing(t, `["weighted",{"take":{"n":2}}]`, weights)
	random := rand.New(rand.NewPCG(1, 2))
	var s Scratch
	counts, drawn := make([]int, len(shares)), make([]int, len(weights))
	const draws = 200_000
	for range draws {
		d := selected(pools[0], pools, &Client{}, random.Uint64(), &s, nil)
		i, j := d.Picks[0].Member(), d.Picks[1].Member()
		counts[place[[2]int{i, j}]]++
		drawn[i]++
		drawn[j]++
	}
	checkShares(t, "pairs in order", counts, shares)
	for i, n := range drawn {
		checkShares(t, fmt.Sprintf("m%d among the first two", i), []int{n, draws - n}, []float64{among[i], 1 - among[i]})
	}
}

// multivalue gives eight different ones, the heavy ones oftener.
func TestSharesMultivalue(t *testing.T) {
	skipUnderRace(t)
	weights := make([]float64, 20)
	for i := range weights {
		weights[i] = float64(1 + i)
	}
	pools := weighing(t, "multivalue", weights)
	random := rand.New(rand.NewPCG(1, 2))
	var s Scratch
	among := make([]int, len(weights))
	for range 50_000 {
		seen := map[int]bool{}
		for _, pick := range selected(pools[0], pools, &Client{}, random.Uint64(), &s, nil).Picks {
			seen[pick.Member()] = true
			among[pick.Member()]++
		}
		if len(seen) != 8 {
			t.Fatalf("gives %d different members, want 8", len(seen))
		}
	}
	for i := 1; i < len(among); i++ {
		if among[i] <= among[i-1] {
			t.Errorf("weight %.0f is given %d times, weight %.0f %d times", weights[i], among[i], weights[i-1], among[i-1])
		}
	}
}

func TestSharesTrickle(t *testing.T) {
	skipUnderRace(t)
	for text, share := range map[string]float64{"5%": 0.05, "50%": 0.5, "0.5%": 0.005, "100%": 1, "0%": 0} {
		pools := scene(t, `
web ["up",{"tier":{"trickle":"`+text+`"}},"weighted",{"take":{"n":1}}]
  a 4+ t1
  b 4+ t2
  c 4+ t3`)
		random := rand.New(rand.NewPCG(1, 2))
		checkShares(t, text, firsts(pools, 100_000, random.Uint64), []float64{1 - share, share, 0})
	}
}

// One random number draws apart in each pool and at each step: neither draw tells of the other.
func TestSharesIndependence(t *testing.T) {
	skipUnderRace(t)
	two := scene(t, `
web1 weighted
  a 4+ w1
  b 4+ w2
  c 4+ w3
web2 weighted
  a 4+ w1
  b 4+ w2
  c 4+ w3`)
	steps := scene(t, `
web [{"tier":{"trickle":"50%"}},"weighted",{"take":{"n":1}}]
  a 4+ w1 t1
  b 4+ w1 t1
  c 4+ w1 t2
  d 4+ w1 t2`)
	later := scene(t, `
web ["tier","weighted",{"take":{"n":1}}]
  a 4+ w1
  b 4+ w2
  c 4+ w3
elsewhere ["weighted",{"take":{"n":1}}]
  a 4+ w1
  b 4+ w2
  c 4+ w3`)
	later[1].seed = later[0].seed // the same pool, but for the place of the step
	thirds := []float64{1.0 / 6, 2.0 / 6, 3.0 / 6}
	var product []float64
	for _, a := range thirds {
		for _, b := range thirds {
			product = append(product, a*b)
		}
	}
	generators := map[string]func() func() uint64{
		"random numbers": func() func() uint64 { return rand.New(rand.NewPCG(1, 2)).Uint64 },
		"a counter":      func() func() uint64 { n := uint64(0); return func() uint64 { n++; return n } },
	}
	var s Scratch
	for name, generator := range generators {
		for what, pools := range map[string][]*Pool{"two pools": two, "two places in the chain": later} {
			next, counts := generator(), make([]int, 9)
			for range 100_000 {
				n := next()
				a := selected(pools[0], pools, &Client{}, n, &s, nil).Picks[0].Member()
				b := selected(pools[1], pools, &Client{}, n, &s, nil).Picks[0].Member()
				counts[a*3+b]++
			}
			checkShares(t, what+", "+name, counts, product)
		}
		checkShares(t, "two steps, "+name, firsts(steps, 100_000, generator()), []float64{0.25, 0.25, 0.25, 0.25})
	}
}

// mix without a seed is splitmix64 of Steele, Lea and Flood: its published outputs for the state 0.
func TestMix(t *testing.T) {
	for i, want := range []uint64{0xe220a8397b1dcdaf, 0x6e789e6aa1b965f4, 0x06c45d188009454f, 0xf88bb8a8724c81ec} {
		if got := mix(0, 0, i); got != want {
			t.Errorf("number %d is %#x, want %#x", i, got, want)
		}
	}
}

// below is even, and stays below.
func TestBelow(t *testing.T) {
	for _, n := range []uint64{1, 2, 3, 1000, 65_535_000} {
		if got := below(0, n); got != 0 {
			t.Errorf("below(0, %d) = %d", n, got)
		}
		if got := below(math.MaxUint64, n); got != n-1 {
			t.Errorf("below(max, %d) = %d", n, got)
		}
	}
}

// Of pools within pools the chances multiply: the root's draw and those of the pools within are apart.
func TestSharesNested(t *testing.T) {
	skipUnderRace(t)
	const two = `
eu weighted
  x 4+ w1
  y 4+ w4
us weighted
  x 4+ w2
  y 4+ w3`
	for _, test := range []struct {
		name, pools string
		shares      []float64 // of eu/x, eu/y, us/x, us/y
	}{
		{"two deep", "web weighted\n  a pool=eu w3\n  b pool=us w7" + two, []float64{0.3 * 0.2, 0.3 * 0.8, 0.7 * 0.4, 0.7 * 0.6}},
		{"three deep", "web weighted\n  a pool=in w1\nin weighted\n  a pool=eu w3\n  b pool=us w7" + two, []float64{0.3 * 0.2, 0.3 * 0.8, 0.7 * 0.4, 0.7 * 0.6}},
		{"weight 0", "web weighted\n  a pool=eu w0\n  b pool=us w7" + two, []float64{0, 0, 0.4, 0.6}},
		{"one by two members", "web weighted\n  a pool=eu w1\n  b pool=us w1\n  c pool=eu w2" + two, []float64{0.75 * 0.2, 0.75 * 0.8, 0.25 * 0.4, 0.25 * 0.6}},
		{"trickle", "web [{\"tier\":{\"trickle\":\"10%\"}},\"weighted\",\"take\"]\n  a pool=eu t1\n  b pool=us t2" + two,
			[]float64{0.9 * 0.2, 0.9 * 0.8, 0.1 * 0.4, 0.1 * 0.6}},
		{"weights by nobody within: the draw goes on among the others", "web [\"weighted\",\"take\"]\n  a pool=eu w3\n  b pool=us w7\n  c pool=dead w90" + two + "\ndead weighted\n  z 4-",
			[]float64{0.3 * 0.2, 0.3 * 0.8, 0.7 * 0.4, 0.7 * 0.6}},
	} {
		pools := scene(t, test.pools)
		for name, next := range generators() {
			counts := make([]int, 4)
			places := map[string]int{"eu": 0, "us": 2}
			var s Scratch
			for range 100_000 {
				d := selected(pools[0], pools, &Client{}, next(), &s, nil)
				counts[places[d.Of(d.Picks[0]).Name]+d.Picks[0].Member()]++
			}
			checkShares(t, test.name+", "+name, counts, test.shares)
		}
	}
}

// generators are random numbers, and numbers that are anything but random.
func generators() map[string]func() uint64 {
	n := uint64(0)
	return map[string]func() uint64{"random numbers": rand.New(rand.NewPCG(1, 2)).Uint64, "a counter": func() uint64 { n++; return n }}
}

// Each member is shed by its own chance, and whether one is tells nothing of another.
func TestSharesShed(t *testing.T) {
	skipUnderRace(t)
	for _, test := range []struct {
		name, pools string
		a, b        float64 // the chance to stay
	}{
		{"percent", "web [{\"shed\":{\"percent\":\"30%\"}}] on_empty nodata\n  a 4+\n  b 4+", 0.7, 0.7},
		{"a small percent", "web [{\"shed\":{\"percent\":\"0.5%\"}}] on_empty nodata\n  a 4+\n  b 4+\n", 0.995, 0.995},
		{"load", "web [{\"shed\":{\"low\":\"50%\",\"high\":\"100%\"}}] on_empty nodata\n  a 4+ load60\n  b 4+ load95", 0.8, 0.1},
		{"load, all or nothing", "web [{\"shed\":{\"low\":\"50%\",\"high\":\"100%\"}}] on_empty nodata\n  a 4+ load50\n  b 4+ load75", 1, 0.5},
		{"twice", "web [{\"shed\":{\"percent\":\"30%\"}},{\"shed\":{\"percent\":\"50%\"}}] on_empty nodata\n  a 4+\n  b 4+", 0.35, 0.35},
	} {
		pools := scene(t, test.pools)
		places := map[string]int{"a b": 0, "a": 1, "b": 2, "nodata": 3}
		shares := []float64{test.a * test.b, test.a * (1 - test.b), (1 - test.a) * test.b, (1 - test.a) * (1 - test.b)}
		if test.name == "twice" { // a second step that would leave nobody ends the chain as the first
			shares[3] = 1 - shares[0] - shares[1] - shares[2]
		}
		draws := 100_000
		if test.a > 0.99 {
			draws = 300_000
		}
		for name, next := range generators() {
			counts := make([]int, 4)
			var s Scratch
			for range draws {
				counts[places[text(selected(pools[0], pools, &Client{}, next(), &s, nil), pools[0], IPv4)]]++
			}
			checkShares(t, test.name+", "+name, counts, shares)
		}
	}
}
