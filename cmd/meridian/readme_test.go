package main

import (
	"cmp"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"

	"meridian/store"
)

// putLine is a put as README.md tells it: a key without the prefix, and a value.
var putLine = regexp.MustCompile(`(?m)^    etcdctl put (?:--lease=\S+ )?/gslb/(\S+) (?:'([^']*)'|(\S+))`)

// TestReadmePuts: after the puts of README.md, one by one, after those of the sample registry, none is
// wrong, and in the end nothing waits.
func TestReadmePuts(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	sample, err := os.ReadFile("../../testdata/sample.json")
	if err != nil {
		t.Fatal(err)
	}
	m, err := store.ParseManifest(sample)
	if err != nil {
		t.Fatal(err)
	}
	u := store.Update{Revision: 1, Cluster: 1, Full: true}
	for _, e := range m {
		u.Entries = append(u.Entries, store.Entry{Key: e.Key, Value: e.Value, Revision: 1})
	}
	r := store.NewRegistry(slog.New(slog.DiscardHandler))
	r.Apply(u)
	puts := putLine.FindAllStringSubmatch(string(readme), -1)
	if len(puts) < 50 {
		t.Fatalf("%d puts, expected those of README.md", len(puts))
	}
	for i, put := range puts {
		value := cmp.Or(put[2], put[3])
		e := store.Entry{Key: put[1], Value: []byte(strings.ReplaceAll(value, "\n    ", "\n")), Revision: int64(2 + i)}
		r.Apply(store.Update{Revision: e.Revision, Cluster: 1, Entries: []store.Entry{e}})
		for _, f := range r.Faults() {
			if f.Key == e.Key && f.Awaits == "" {
				t.Errorf("%s %s: %s: %s", f.Key, e.Value, f.Field, f.Error)
			}
		}
	}
	for _, f := range r.Faults() {
		t.Errorf("%s: %s: %s", f.Key, f.Field, f.Error)
	}
}
