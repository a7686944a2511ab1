package geo

import (
	"fmt"
	"net/netip"
	"testing"
)

// partsOf are n networks with tags, 40,000 a part: as many as a value of etcd holds.
func partsOf(entries []Entry) map[string]Part {
	parts := map[string]Part{}
	for i, e := range entries {
		name := fmt.Sprint("p", i/40_000)
		if i%40_000 == 0 {
			parts[name] = Part{Net: map[netip.Prefix]string{}}
		}
		parts[name].Net[e.Prefix] = fmt.Sprint("t", e.Value)
	}
	return parts
}

func BenchmarkMapLookup(b *testing.B) {
	for _, bench := range benchmarks {
		b.Run(bench.name, func(b *testing.B) {
			entries, asked := networks(bench.n, bench.six)
			m := NewMap("m", partsOf(entries))
			i, sum := 0, uint32(0)
			for b.Loop() {
				tag, length := m.Lookup(nil, asked[i])
				sum += uint32(tag) + uint32(length)
				if i++; i == len(asked) {
					i = 0
				}
			}
		})
	}
}

// BenchmarkMapOrigin asks for what no network of the map covers: one of its countries is.
func BenchmarkMapOrigin(b *testing.B) {
	entries, asked := networks(100_000, false)
	m := NewMap("m", map[string]Part{"p": part("10.0.0.0/8=a AS64500=b DE=c *=d")})
	for i := range entries {
		entries[i].Value %= uint32(Countries)
	}
	d := &Database{asn: NewTable(entries), country: NewTable(entries)}
	i, sum := 0, uint32(0)
	for b.Loop() {
		tag, length := m.Lookup(d, asked[i])
		sum += uint32(tag) + uint32(length)
		if i++; i == len(asked) {
			i = 0
		}
	}
}
