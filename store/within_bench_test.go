package store

import (
	"fmt"
	"log/slog"
	"testing"
)

// BenchmarkChangePool changes one key of a registry of 100,000 pools, of which 1,000 have pools as members.
func BenchmarkChangePool(b *testing.B) {
	const pools, nested = 100_000, 1000
	u := Update{Revision: 1, Cluster: 1, Full: true}
	add := func(key, value string) {
		u.Entries = append(u.Entries, Entry{Key: key, Value: []byte(value), Revision: 1})
	}
	for i := range pools {
		add(fmt.Sprintf("pool/p%06d/member/a", i), "192.0.2.1")
		add(fmt.Sprintf("pool/p%06d/policy", i), `{"policy":"failover"}`)
	}
	for i := range nested {
		add(fmt.Sprintf("pool/p%06d/member/within", i), fmt.Sprintf(`{"pool":"p%06d"}`, pools-1-i))
	}
	r := NewRegistry(slog.New(slog.DiscardHandler))
	r.Apply(u)
	if faults := r.Faults(); len(faults) > 0 {
		b.Fatal(faults[0])
	}
	for _, bb := range []struct {
		name   string
		key    string
		values []string // in turn; "" deletes
	}{
		{"member", "pool/p050000/member/a", []string{"192.0.2.1", "192.0.2.2"}},
		{"member of a pool within another", "pool/p099999/member/a", []string{"192.0.2.1", "192.0.2.2"}},
		{"another member", "pool/p050000/member/b", []string{"192.0.2.1", ""}},
		{"pool", "pool/new/member/a", []string{"192.0.2.1", ""}},
		{"member that is a pool", "pool/p000000/member/within", []string{`{"pool":"p099999"}`, `{"pool":"p099998"}`}},
		{"policy", "pool/p050000/policy", []string{`{"policy":"weighted"}`, `{"policy":"failover"}`}},
		{"override", "override/member/p050000/a", []string{`{"state":"drain"}`, ""}},
		{"override of a site", "override/site/fra", []string{`{"state":"drain"}`, ""}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			for n := 0; b.Loop(); n++ {
				e := Entry{Key: bb.key, Value: []byte(bb.values[n%2]), Revision: r.snapshot.Revision + 1}
				e.Deleted = len(e.Value) == 0
				r.Apply(Update{Revision: e.Revision, Cluster: 1, Entries: []Entry{e}})
			}
		})
	}
}
