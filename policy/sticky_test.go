package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"meridian/health"
)

// networks are n clients of as many /24s, or /56s, all over.
func networks(n int, v6 bool) []*Client {
	random := rand.New(rand.NewPCG(21, 22))
	clients := make([]*Client, n)
	for i := range clients {
		bits := random.Uint64()
		a := netip.AddrFrom4([4]byte{byte(1 + bits%9), byte(bits >> 8), byte(bits >> 16), byte(bits >> 24)})
		length := 24
		if v6 {
			a, length = netip.AddrFrom16([16]byte{0x2a, byte(bits), 2: byte(bits >> 8), 3: byte(bits >> 16), 5: byte(bits >> 24), 6: byte(bits >> 32), 15: 1}), 56
		}
		subnet, _ := a.Prefix(length)
		clients[i] = &Client{Addr: netip.MustParseAddr("192.0.2.53"), Subnet: subnet}
	}
	return clients
}

// orders are the members given to each client, in order.
func orders(w *World, clients []*Client, f Family) [][]int {
	random := rand.New(rand.NewPCG(23, 24))
	all := make([][]int, len(clients))
	var s Scratch
	for i, c := range clients {
		c.Family = f
		var d Decision
		Select(&d, w.Pools[0], w, c, random.Uint64(), &s, nil)
		for _, k := range d.Picks {
			all[i] = append(all[i], k.Member())
		}
	}
	return all
}

// crew is the text of a sticky pool of n members of both families, with random weights and other pools around it.
func crew(random *rand.Rand, n int, chain, before string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%sweb %s\n", before, chain)
	for i := range n {
		fmt.Fprintf(&b, "  m%03d 4+ 6+ w%d @s%d\n", i, []int{1, 1, 2, 10, 100, 65535, 0}[random.IntN(7)], i%4)
	}
	return b.String()
}

// When one of n members leaves, only its own clients move; when it returns, only they come back. Of a
// longer answer the others keep their order.
func TestStickyMoves(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	clients := append(networks(300, false), networks(300, true)...)
	for _, chain := range []string{"sticky", `["up",{"weighted":{"by":"client"}}]`} {
		moved := 0
		for range 20 {
			n := 2 + random.IntN(12)
			w := world(t, crew(random, n, chain, ""))
			before := orders(w, clients, IPv4)
			gone := random.IntN(n)
			ways := []func(health.Word) health.Word{
				func(w health.Word) health.Word { return w.With(0, health.Down) },
				func(w health.Word) health.Word { return w.WithDrain(true, true) },
			}
			was := w.Pools[0].Health(gone)
			w.Pools[0].SetWord(gone, ways[random.IntN(2)](was))
			for i, now := range orders(w, clients, IPv4) {
				if at := slices.Index(before[i], gone); at >= 0 && chain != "sticky" {
					if want := slices.Delete(slices.Clone(before[i]), at, at+1); !slices.Equal(now, want) {
						t.Fatalf("%v without m%03d: %v, want %v", clients[i].Subnet, gone, now, want)
					}
				} else if at < 0 && !slices.Equal(now, before[i]) {
					t.Fatalf("%v without m%03d: %v, want %v as before", clients[i].Subnet, gone, now, before[i])
				} else if at >= 0 {
					moved++
				}
			}
			w.Pools[0].SetWord(gone, was)
			if now := orders(w, clients, IPv4); !slices.EqualFunc(now, before, slices.Equal[[]int]) {
				t.Fatal("m", gone, " is back, and not all clients are where they were")
			}
		}
		if chain == "sticky" && moved < 100 {
			t.Errorf("only %d moved: too few to tell", moved)
		}
	}
}

// A weight that changes moves clients to that member or from it alone.
func TestStickyMovesByWeight(t *testing.T) {
	w := world(t, `
web sticky
  a 4+ w10
  b 4+ w10
  c 4+ w10`)
	clients := networks(2_000, false)
	before := orders(w, clients, IPv4)
	w.Pools[0].SetWord(1, w.Pools[0].Health(1).WithWeight(15))
	moved := 0
	for i, now := range orders(w, clients, IPv4) {
		if now[0] != before[i][0] {
			moved++
			if now[0] != 1 {
				t.Fatalf("%v went from %d to %d: b alone is heavier", clients[i].Subnet, before[i], now)
			}
		}
	}
	if moved < 100 || moved > 300 { // 3/7 of them less 1/3: 190
		t.Errorf("%d of %d moved", moved, len(clients))
	}
}

// A and AAAA of one client come from one member, and two servers agree: whatever random numbers they draw,
// what they answered before, which other pools they have, and in what order.
func TestStickyAgrees(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	clients := append(networks(200, false), networks(200, true)...)
	for _, chain := range []string{
		"sticky", `["up",{"weighted":{"by":"client"}},{"take":{"n":3,"distinct":"site"}}]`,
		`[{"tier":{"trickle":"50%"}},{"shed":{"percent":"40%"}},{"weighted":{"by":"client"}},{"take":{"n":2}}]`,
	} {
		for range 10 {
			n := 2 + random.IntN(12)
			seed := random.Uint64()
			here := world(t, crew(rand.New(rand.NewPCG(seed, 1)), n, chain, ""))
			there := world(t, crew(rand.New(rand.NewPCG(seed, 1)), n, chain, "zone weighted\n  a 4+\nother sticky\n  b 4+\n"))
			there.Pools = []*Pool{there.Pools[2], there.Pools[1], there.Pools[0]}
			want := orders(here, clients, IPv4)
			for what, got := range map[string][][]int{
				"AAAA": orders(here, clients, IPv6), "another server": orders(there, clients, IPv4),
				"once more, the other way round": reversed(orders(here, reversed(clients), IPv4)),
			} {
				if i := slices.IndexFunc(got, func(order []int) bool { return len(order) == 0 }); i >= 0 {
					t.Fatalf("%s: nobody for %v", what, clients[i].Subnet)
				}
				if !slices.EqualFunc(got, want, slices.Equal[[]int]) {
					t.Errorf("%s %s: other members", chain, what)
				}
			}
		}
	}
}

func reversed[T any](list []T) []T {
	list = slices.Clone(list)
	slices.Reverse(list)
	return list
}

// Clients of one /24 or /56 are one, and the scope says so.
func TestStickyNetwork(t *testing.T) {
	const many = `
web sticky
  a 4+
  b 4+
  c 4+
  d 4+
  e 4+
  f 4+
  g 4+
  h 4+`
	w := world(t, many)
	answers := func(clients ...string) (list []string) {
		for _, text := range clients {
			list = append(list, outcomesFor(w, client(t, text)))
		}
		return list
	}
	for _, group := range [][]string{
		{"192.0.2.53 198.51.100.0/24", "192.0.2.53 198.51.100.77/32", "192.0.2.54 198.51.100.128/25", "198.51.100.255", "192.0.2.53 198.51.100.0/23", "192.0.2.53 ::ffff:198.51.100.7/128", "192.0.2.53 2002:c633:6401::/48"},
		{"192.0.2.53 2a00:1:2:300::/56", "192.0.2.53 2a00:1:2:3ff:1::/80", "2a00:1:2:377::53"},
		{"192.0.2.53 10.0.0.0/8", "192.0.2.99 10.9.8.0/24", "192.0.2.1"}, // who asks stands in for what is private
	} {
		if got := answers(group...); len(slices.Compact(got)) != 1 || strings.Contains(got[0], "|") {
			t.Errorf("%v: %v", group, got)
		}
	}
	different := map[string]bool{}
	for i := range 64 {
		different[answers(fmt.Sprintf("192.0.2.53 198.51.%d.0/24", i))[0]] = true
		different[answers(fmt.Sprintf("192.0.2.53 2a00:1:2:%x00::/56", i))[0]] = true
	}
	if len(different) != 8 {
		t.Errorf("128 networks have %d members, want all 8", len(different))
	}
	for text, want := range map[string]uint8{
		"192.0.2.53 198.51.100.0/24": 24, "192.0.2.53 198.51.0.0/16": 24, "192.0.2.53 198.51.100.7/32": 24, "198.51.100.7": 24,
		"192.0.2.53 2a00:1:2:300::/56": 56, "192.0.2.53 2a00::/32": 56, "192.0.2.53 2a00:1:2:377::1/128": 56,
		"192.0.2.53 2002:c633:6401::/48": 16 + 24, "192.0.2.53 ::ffff:198.51.100.7/128": 96 + 24, "192.0.2.53 10.1.2.0/24": 8,
	} {
		if d := selected(w.Pools[0], w.Pools, client(t, text), 1, new(Scratch), nil); d.Scope != want {
			t.Errorf("%s: scope %d, want %d", text, d.Scope, want)
		}
	}
}

// What sticks, and what does not. Who is given is what servers of every version have to agree on.
func TestSelectSticky(t *testing.T) {
	const asked = "192.0.2.53 198.51.100.0/24"
	tests := []struct{ name, pools, want string }{
		{"weight 0 last, in an order that sticks", `
web [{"weighted":{"by":"client"}}]
  a 4+ w0
  b 4+
  c 4+ w0
  d 4+`, "b d a c"},
		{"weight 0 alone", `
web sticky
  a 4+ w0
  b 4+ w0`, "a"},
		{"every draw of the chain sticks, those before it as well", `
web [{"tier":{"trickle":"50%"}},{"shed":{"percent":"50%"}},{"weighted":{"by":"client"}}]
  a 4+
  b 4+
  c 4+ t2
  d 4+ t2
  e 4+ t2`, "a b"},
		{"nothing sticks where the step is not for the query", `
web [{"weighted":{"by":"client"},"when":{"cidr":["203.0.113.0/24"]}},"weighted",{"take":{"n":1}}]
  a 4+
  b 4+`, "a | b"},
		{"all sticks where it is, even what another step draws", `
web [{"weighted":{"by":"client"},"when":{"cidr":["198.51.100.0/24"]}},"weighted",{"take":{"n":1}}]
  a 4+
  b 4+`, "b"},
		{"a pool within draws by itself", `
web sticky
  a pool=eu
eu weighted
  x 4+
  y 4+`, "eu/x | eu/y"},
		{"a pool within sticks by itself", `
web weighted
  a pool=eu
  b 4+
eu sticky
  x 4+
  y 4+`, "b | eu/x"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := outcomesFor(world(t, test.pools), client(t, asked)); got != test.want {
				t.Errorf("%s\n%s gets %s, want %s", test.pools, asked, got, test.want)
			}
		})
	}
}

// Shares of networks, not of queries, follow the weights.
func TestSharesSticky(t *testing.T) {
	skipUnderRace(t)
	thousand := make([]float64, 1000)
	for i := range thousand {
		thousand[i] = float64(20 + i%37)
	}
	for _, test := range []struct {
		name    string
		weights []float64
		clients int
	}{
		{"two alike", []float64{1, 1}, 50_000},
		{"1 : 2 : 7", []float64{1, 2, 7}, 50_000},
		{"with weight 0", []float64{0, 3, 0, 1}, 50_000},
		{"1 : 1000 : 65535", []float64{1, 1000, 65535}, 500_000},
		{"1000", thousand, 20_000},
	} {
		w := &World{Pools: weighing(t, "sticky", test.weights)}
		counts := make([]int, len(test.weights))
		var used Scratch
		for i := range test.clients {
			c := &Client{Addr: netip.AddrFrom4([4]byte{byte(11 + i>>16), byte(i >> 8), byte(i), 53})} // one after the other
			var d Decision
			Select(&d, w.Pools[0], w, c, 1, &used, nil)
			counts[d.Picks[0].Member()]++
		}
		checkShares(t, test.name, counts, normal(test.weights))
	}
}

// The order after the first is as if drawn without replacement, too.
func TestSharesStickyOrder(t *testing.T) {
	skipUnderRace(t)
	w := &World{Pools: weighing(t, `[{"weighted":{"by":"client"}}]`, []float64{1, 2, 3})}
	counts := map[string]int{}
	const clients = 100_000
	var used Scratch
	for i := range clients {
		c := &Client{Addr: netip.AddrFrom4([4]byte{byte(11 + i>>16), byte(i >> 8), byte(i), 53})}
		var d Decision
		Select(&d, w.Pools[0], w, c, 1, &used, nil)
		counts[text(d, d.Pool, IPv4)]++
	}
	var got []int
	var shares []float64
	weight := map[string]float64{"m0000": 1, "m0001": 2, "m0002": 3}
	for first, a := range weight {
		for second, b := range weight {
			for third := range weight {
				if first != second && second != third && first != third {
					got = append(got, counts[first+" "+second+" "+third])
					shares = append(shares, a/6*b/(6-a))
				}
			}
		}
	}
	checkShares(t, "orders", got, shares)
}
