package store

import (
	"fmt"
	"log/slog"
	"testing"
)

// BenchmarkFullCompare reads a registry of 100,000 names again, of which none has changed: how long the
// applier is kept from other changes.
func BenchmarkFullCompare(b *testing.B) {
	u := Update{Revision: 1, Cluster: 1, Full: true, Entries: []Entry{{Key: "zone/example.com/soa", Value: []byte(`{}`), Revision: 1}}}
	for i := range 100_000 {
		u.Entries = append(u.Entries, Entry{Key: fmt.Sprintf("zone/example.com/name/n%06d/A", i), Value: []byte("192.0.2.1"), Revision: 1})
	}
	r := NewRegistry(slog.New(slog.DiscardHandler))
	first := r.Apply(u)
	for b.Loop() {
		b.StopTimer()
		u.compare(r.snapshot) // not by the applier
		b.StartTimer()
		if s := r.Apply(u); s.Names != first.Names || r.drift != 0 {
			b.Fatal("something has changed")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100_000, "ns/name")
}
