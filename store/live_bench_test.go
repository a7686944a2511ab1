package store

import (
	"fmt"
	"log/slog"
	"testing"
)

// BenchmarkTakeLive takes in one new value of an rtt key, where 20 checkers measure 10 members of each pool: what a
// thousand pools cost twenty thousand times in 30 s.
func BenchmarkTakeLive(b *testing.B) {
	keys := map[string]string{"pool/web/policy": `{"policy":"latency"}`}
	measured := ""
	for m := range 10 {
		keys[fmt.Sprintf("pool/web/member/m%d", m)] = fmt.Sprintf("192.0.2.%d", m+1)
		measured += fmt.Sprintf(`,"m%d":{"192.0.2.%d":%d.5}`, m, m+1, m)
	}
	var live []string
	for c := range 20 {
		site := fmt.Sprintf("s%d", c/2)
		keys["site/"+site] = fmt.Sprintf(`{"lat":%d,"lon":8.7}`, c)
		live = append(live, fmt.Sprintf("checker/c%d", c), `{"site":"`+site+`"}`, fmt.Sprintf("rtt/c%d/web", c), "{"+measured[1:]+"}")
	}
	r := NewRegistry(slog.New(slog.DiscardHandler))
	r.Apply(all(1, keys))
	r.TakeLive(liveKeys(2, live...))
	revision := int64(3)
	for b.Loop() {
		r.TakeLive(liveKeys(revision, "rtt/c7/web", "{"+measured[1:]+"}"))
		revision++
	}
}
