package store

import (
	"log/slog"
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzKey puts one key and value of any bytes into a good registry: it never panics, and either
// becomes a fault of this key in words, or is served; no other key is touched.
func FuzzKey(f *testing.F) {
	text, err := os.ReadFile(badValues)
	if err != nil {
		f.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !strings.HasPrefix(line, "@") && !strings.HasPrefix(line, "#") {
			f.Add(key, []byte(strings.ReplaceAll(value, `\n`, "\n")))
		}
	}
	for put := range strings.SplitSeq(strings.TrimPrefix(good, "txn put "), " | put ") {
		key, value, _ := strings.Cut(put, " ")
		f.Add(key, []byte(value))
	}
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		s := newScene()
		s.run(t, good)
		known := map[string]bool{}
		for k := range s.keys {
			known[k] = true
		}
		s.revision++
		s.served = s.registry.Apply(Update{Revision: s.revision, Entries: []Entry{{Key: key, Value: value, Revision: s.revision}}})
		for _, fault := range s.registry.Faults() {
			if fault.Key != key && known[fault.Key] {
				t.Fatalf("putting %q made a fault of %q: %s", key, fault.Key, fault.Error)
			}
			if fault.Error == "" || !utf8.ValidString(fault.Error) && utf8.ValidString(key) && utf8.Valid(value) {
				t.Fatalf("%q: %q", key, fault.Error)
			}
		}
		// Read anew, alone or after all the others, it is judged alike.
		s.keys[key] = Entry{Key: key, Value: value, Revision: s.revision}
		before := s.run(t, "faults")
		s.run(t, "read")
		if after := s.run(t, "faults"); after != before {
			t.Fatalf("%q: after reading all anew: %s", key, diff(before, after))
		}
		for _, q := range neighbours {
			s.run(t, "ask "+q)
		}
		s.registry.Apply(Update{Revision: s.revision + 1, Entries: []Entry{{Key: key, Deleted: true, Revision: s.revision + 1}}})
		for _, fault := range s.registry.Faults() {
			if fault.Key == key && !known[key] {
				t.Fatalf("%q: deleted, and still %s", key, fault.Error)
			}
		}
	})
}

// FuzzManifest reads any file: it never panics, and what can be parsed can be looked at.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(shop))
	f.Add([]byte(`{"zone/./soa":{"ns":["a."]},"zone/./name/*/A":"192.0.2.1"}`))
	f.Fuzz(func(t *testing.T, file []byte) {
		m, err := ParseManifest(file)
		if err != nil {
			return
		}
		Lint(m, Update{})
		NewRegistry(slog.New(slog.DiscardHandler)).Apply(Update{Full: true, Entries: nil})
	})
}
