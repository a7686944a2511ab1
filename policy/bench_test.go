package policy

import (
	"fmt"
	"math/rand/v2"
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

func BenchmarkSelect(b *testing.B) {
	for _, chain := range []string{"weighted", "failover", "multivalue", `["up","weighted"]`} {
		for _, n := range []int{3, 10, 100, 1000} {
			b.Run(fmt.Sprintf("%s/%d", chain, n), func(b *testing.B) {
				pools := crowd(b, n, chain)
				random := rand.New(rand.NewPCG(1, 2))
				var s Scratch
				b.ReportAllocs()
				for b.Loop() {
					if d := Select(pools[0], pools, Client{}, random.Uint64(), &s, nil); d.Outcome != Chosen {
						b.Fatal(d.Outcome)
					}
				}
			})
		}
	}
}
