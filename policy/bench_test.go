package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
)

// crowd is a pool of n members, all up, of different weights and three tiers.
func crowd(t testing.TB, n int, chain string) []*Pool {
	var b strings.Builder
	fmt.Fprintf(&b, "web %s\n", chain)
	for i := range n {
		fmt.Fprintf(&b, "  m%04d 4+ w%d t%d @s%d\n", i, 1+i%7, 1+i%3, i%5)
	}
	return scene(t, b.String())
}

const takeThree = `["up","weighted",{"take":{"n":3}}]`

func BenchmarkSelect(b *testing.B) {
	for _, chain := range []string{"weighted", takeThree, "failover", "multivalue", `["up","weighted"]`} {
		for _, n := range []int{3, 10, 100, 1000} {
			b.Run(fmt.Sprintf("%s/%d", chain, n), func(b *testing.B) {
				pools := crowd(b, n, chain)
				benchmarkSelect(b, pools, nil)
			})
		}
	}
}

// BenchmarkSelectGeo asks for random subnets: pools by networks, and by a map, of one term a member
// and of a hundred.
func BenchmarkSelectGeo(b *testing.B) {
	for _, n := range []int{3, 1000} {
		for _, terms := range []int{1, 100} {
			for _, kind := range []string{"cidr", "map"} {
				b.Run(fmt.Sprintf("%s/%d terms/%d", kind, terms, n), func(b *testing.B) {
					benchmarkSelect(b, serving(b, n, terms, kind), nil)
				})
			}
		}
	}
}

// serving is a pool of n members of which each serves /24s out of all: by cidr, or as tags of a map.
func serving(t testing.TB, n, terms int, kind string) []*Pool {
	random := rand.New(rand.NewPCG(3, 4))
	var b, m strings.Builder
	b.WriteString("web geo\n")
	for i := range n {
		fmt.Fprintf(&b, "  m%04d 4+ any", i)
		for j := range terms {
			net := fmt.Sprintf("%d.%d.%d.0/24", 1+random.IntN(222), random.IntN(256), random.IntN(256))
			if kind == "cidr" {
				fmt.Fprintf(&b, " cidr:%s", net)
			} else {
				fmt.Fprintf(&b, " map:m1/t%d.%d", i, j)
				fmt.Fprintf(&m, " %s=t%d.%d", net, i, j)
			}
		}
		b.WriteByte('\n')
	}
	if kind == "map" {
		fmt.Fprintf(&b, "map m1%s\n", m.String())
	}
	return scene(t, b.String())
}

// BenchmarkSelectPools asks many pools of three members in turn.
func BenchmarkSelectPools(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			pools := make([]*Pool, n)
			for i := range pools {
				pools[i] = crowd(b, 3, "weighted")[0]
			}
			rand.New(rand.NewPCG(1, 2)).Shuffle(n, func(i, j int) { pools[i], pools[j] = pools[j], pools[i] })
			benchmarkSelect(b, pools, nil)
		})
	}
}

// everywhere is a pool of n members, all up, that serve countries and continents, at sites all over, with a
// database of 224 networks.
func everywhere(t testing.TB, n int, chain string) *World {
	countries := []string{"DE", "FR", "US", "BR", "JP", "ZA", "AU", "IN"}
	var b strings.Builder
	for i := range 40 {
		fmt.Fprintf(&b, "site s%d %d %d\n", i, i*3-60, i*9-180)
	}
	for i := range 224 {
		fmt.Fprintf(&b, "net %d.0.0.0/8 %s at=%d,%d\n", i, countries[i%8], i%120-60, i%300-150)
	}
	fmt.Fprintf(&b, "web %s\n", chain)
	for i := range n {
		fmt.Fprintf(&b, "  m%04d 4+ w%d @s%d load%d country:%s\n", i, 1+i%7, i%40, i%100, countries[i%8])
	}
	return world(t, b.String())
}

// BenchmarkSelectPolicies is what each policy costs that looks at the client, or at loads.
func BenchmarkSelectPolicies(b *testing.B) {
	shed := `["up",{"shed":{"low":"50%","high":"100%"}},"weighted","take"]`
	for _, chain := range []string{"sticky", "geo", "geoproximity", "latency", shed} {
		for _, n := range []int{3, 10, 100, 1000} {
			b.Run(fmt.Sprintf("%s/%d", chain, n), func(b *testing.B) {
				w := everywhere(b, n, chain)
				benchmarkWorld(b, w, w.Pools, nil)
			})
		}
	}
}

// BenchmarkSelectNested goes down so many levels of pools of three members.
func BenchmarkSelectNested(b *testing.B) {
	for levels := 1; levels <= 3; levels++ {
		b.Run(fmt.Sprint(levels), func(b *testing.B) {
			var text strings.Builder
			var add func(name string, below int)
			add = func(name string, below int) {
				fmt.Fprintf(&text, "%s weighted\n", name)
				for i := range 3 {
					if below > 0 {
						fmt.Fprintf(&text, "  m%d pool=%s%d\n", i, name, i)
					} else {
						fmt.Fprintf(&text, "  m%d 4+\n", i)
					}
				}
				for i := range 3 {
					if below > 0 {
						add(fmt.Sprint(name, i), below-1)
					}
				}
			}
			add("web", levels-1)
			w := world(b, text.String())
			benchmarkWorld(b, w, w.Pools[:1], nil)
		})
	}
}

// BenchmarkSelectTrace is what a decision costs that is explained.
func BenchmarkSelectTrace(b *testing.B) {
	for _, n := range []int{3, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { benchmarkSelect(b, crowd(b, n, "weighted"), new(Trace)) })
		b.Run(fmt.Sprintf("geo/%d", n), func(b *testing.B) {
			w := everywhere(b, n, "geo")
			benchmarkWorld(b, w, w.Pools, new(Trace))
		})
	}
}

// benchmarkSelect asks the pools in turn, and for the addresses.
func benchmarkSelect(b *testing.B, pools []*Pool, t *Trace) {
	benchmarkWorld(b, &World{Pools: pools}, pools, t)
}

func benchmarkWorld(b *testing.B, w *World, pools []*Pool, t *Trace) {
	random := rand.New(rand.NewPCG(1, 2))
	clients := make([]Client, 1024)
	for i := range clients {
		n := random.Uint32()
		clients[i].Addr = netip.MustParseAddr("192.0.2.53")
		clients[i].Subnet = netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8)}), 24)
	}
	var s Scratch
	var d Decision
	var rdata []byte
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if i++; i == len(pools) {
			i = 0
		}
		if t != nil {
			*t = Trace{}
		}
		n := random.Uint64()
		Select(&d, pools[i], w, &clients[n>>54], n, &s, t)
		var count int
		if rdata, count = d.AppendRData(rdata[:0], IPv4); count == 0 {
			b.Fatal(d.Outcome)
		}
	}
}
