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
		for _, n := range []int{3, 10, 1000} {
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

// BenchmarkSelectTrace is what a decision costs that is explained.
func BenchmarkSelectTrace(b *testing.B) { benchmarkSelect(b, crowd(b, 3, "weighted"), new(Trace)) }

// benchmarkSelect asks the pools in turn, and for the addresses.
func benchmarkSelect(b *testing.B, pools []*Pool, t *Trace) {
	random := rand.New(rand.NewPCG(1, 2))
	clients := make([]Client, 1024)
	for i := range clients {
		n := random.Uint32()
		clients[i].Addr = netip.MustParseAddr("192.0.2.53")
		clients[i].Subnet = netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8)}), 24)
	}
	var s Scratch
	var d Decision
	w := &World{Pools: pools}
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
