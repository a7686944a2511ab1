package store

import (
	"strings"
	"testing"
)

// TestRecallPart: what a part of a map was before it was wrong comes back, unless it contradicts what has been
// taken since: being older it would win.
func TestRecallPart(t *testing.T) {
	const wrong = `map/m/b @2: it says nothing, expected "net", "asn", "country" or "default"`
	for _, tt := range []struct{ name, former, faults string }{
		{"nothing in the way", `{"country":{"US":"v"}}`, strings.Replace(wrong, "@2", "@2 (serving @1)", 1)},
		{"the same", `{"country":{"DE":"t"}}`, strings.Replace(wrong, "@2", "@2 (serving @1)", 1)},
		{"a network in the way", `{"net":{"192.0.2.0/24":"v"}}`, wrong},
		{"an autonomous system in the way", `{"asn":{"64500":"v"}}`, wrong},
		{"a country in the way", `{"country":{"DE":"v"}}`, wrong},
		{"a default in the way", `{"default":"v"}`, wrong},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lived := newScene()
			for _, c := range []string{"put map/m/b " + tt.former, "put map/m/b {}",
				`put map/m/a {"net":{"192.0.2.0/24":"t"},"asn":{"64500":"t"},"country":{"DE":"t"},"default":"t"}`} {
				lived.change(c)
			}
			s := newScene()
			s.keys, s.revision = lived.keys, lived.revision
			s.readAll()
			s.recall(lived)
			if got := strings.TrimSpace(s.run(t, "faults")); got != tt.faults {
				t.Errorf("faults\ngot  %s\nwant %s", got, tt.faults)
			}
		})
	}
}
