package store

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// BenchmarkMapParts reads 200,000 networks in few parts and in many, and changes one of them.
func BenchmarkMapParts(b *testing.B) {
	for _, parts := range []int{5, 100, 5000} {
		u := Update{Revision: 1, Full: true}
		for part := range parts {
			u.Entries = append(u.Entries, mapPart(part, 200_000/parts, int64(part+1)))
		}
		b.Run(fmt.Sprintf("read/%d", parts), func(b *testing.B) {
			for b.Loop() {
				r := NewRegistry(slog.New(slog.DiscardHandler))
				r.Apply(u)
			}
		})
		b.Run(fmt.Sprintf("change/%d", parts), func(b *testing.B) {
			r := NewRegistry(slog.New(slog.DiscardHandler))
			r.Apply(u)
			revision := int64(parts)
			for b.Loop() {
				revision++
				r.Apply(Update{Revision: revision, Entries: []Entry{mapPart(int(revision)%parts, 200_000/parts, revision)}})
			}
		})
	}
}

// mapPart is a part of n networks, none of which another part has.
func mapPart(part, n int, revision int64) Entry {
	var text strings.Builder
	for i := range n {
		at := part*n + i
		fmt.Fprintf(&text, `,"10.%d.%d.%d/32":"t"`, at>>16, at>>8&255, at&255)
	}
	return Entry{Key: fmt.Sprintf("map/m/p%d", part), Value: []byte(`{"net":{` + text.String()[1:] + `}}`), Revision: revision}
}
