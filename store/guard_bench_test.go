package store

import (
	"fmt"
	"log/slog"
	"testing"
)

// BenchmarkChangeWhileHeld changes one name of 100,000, beside 10,000 members of pools, while deletes of
// 60,000 names and 6,000 members are held back, and while none are: it must cost the same.
func BenchmarkChangeWhileHeld(b *testing.B) {
	for _, held := range []bool{false, true} {
		r := NewRegistry(slog.New(slog.DiscardHandler))
		u := Update{Revision: 1, Full: true, Entries: []Entry{{Key: "zone/example.com/soa", Value: []byte(`{}`), Revision: 1}}}
		for i := range 100_000 {
			u.Entries = append(u.Entries, Entry{Key: fmt.Sprintf("zone/example.com/name/n%06d/A", i), Value: []byte("192.0.2.1"), Revision: 1})
		}
		for i := range 10_000 {
			u.Entries = append(u.Entries, Entry{Key: fmt.Sprintf("pool/p%02d/member/m%d", i%20, i), Value: []byte("192.0.2.1"), Revision: 1})
		}
		r.Apply(u)
		revision := int64(2)
		if held {
			u := Update{Revision: 2}
			for i := range 60_000 {
				u.Entries = append(u.Entries, Entry{Key: fmt.Sprintf("zone/example.com/name/n%06d/A", i), Deleted: true, Revision: 2})
			}
			for i := range 6_000 {
				u.Entries = append(u.Entries, Entry{Key: fmt.Sprintf("pool/p%02d/member/m%d", i%20, i), Deleted: true, Revision: 2})
			}
			r.Apply(u)
		}
		for _, verb := range []string{"put", "put again", "delete"} {
			b.Run(fmt.Sprintf("held=%v/%s", held, verb), func(b *testing.B) {
				i := 0
				for b.Loop() {
					revision++
					e := Entry{Key: "zone/example.com/name/n099999/A", Value: []byte("192.0.2.2"), Revision: revision}
					switch verb {
					case "put again":
						e.Key = fmt.Sprintf("zone/example.com/name/n%06d/A", i%60_000)
					case "delete":
						e.Key, e.Value, e.Deleted = fmt.Sprintf("zone/example.com/name/n%06d/A", 60_000+i%39_000), nil, true
					}
					i++
					r.Apply(Update{Revision: revision, Entries: []Entry{e}})
				}
			})
		}
	}
}
