package mmdb

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"meridian/policy/geo"
)

var update = flag.Bool("update", false, "write the MMDB files of testdata/geo from their sources")

const fixtures = "../../../testdata/geo"

// source is what a small MMDB file is made from.
type source struct {
	Type       string                          `json:"type"`
	IPVersion  int                             `json:"ip_version"`
	RecordSize int                             `json:"record_size"` // bits
	Float32    bool                            `json:"float32"`     // of fractions; 64 bits else
	Networks   map[netip.Prefix]map[string]any `json:"networks"`
}

// mmdb makes the file. Networks lie within each other as they do in a Table.
func (s *source) mmdb(t testing.TB) []byte {
	t.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{
		DatabaseType: s.Type, IPVersion: s.IPVersion, RecordSize: s.RecordSize, BuildEpoch: 1_780_000_000,
		IncludeReservedNetworks: true, // those for documentation
	})
	if err != nil {
		t.Fatal(err)
	}
	prefixes := slices.SortedFunc(maps.Keys(s.Networks), func(p, q netip.Prefix) int {
		return cmp.Or(p.Bits()-q.Bits(), p.Addr().Compare(q.Addr()))
	})
	for _, p := range prefixes {
		n := net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
		if err := tree.Insert(&n, s.value(t, s.Networks[p])); err != nil {
			t.Fatal(err)
		}
	}
	var file bytes.Buffer
	if _, err := tree.WriteTo(&file); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func (s *source) value(t testing.TB, v any) mmdbtype.DataType {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		m := mmdbtype.Map{}
		for name, field := range v {
			m[mmdbtype.String(name)] = s.value(t, field)
		}
		return m
	case []any:
		var list mmdbtype.Slice
		for _, one := range v {
			list = append(list, s.value(t, one))
		}
		return list
	case string:
		return mmdbtype.String(v)
	case bool:
		return mmdbtype.Bool(v)
	case json.Number:
		f, err := v.Float64()
		if n, whole := v.Int64(); whole == nil && n >= 0 {
			return mmdbtype.Uint32(n)
		} else if err != nil {
			t.Fatal(err)
		}
		if s.Float32 {
			return mmdbtype.Float32(f)
		}
		return mmdbtype.Float64(f)
	}
	t.Fatalf("%T in a source", v)
	return nil
}

// parseSource reads a source as text.
func parseSource(t testing.TB, text string) *source {
	t.Helper()
	s := &source{Type: "Test", IPVersion: 6, RecordSize: 24}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber() // to tell 50 from 50.0
	d.DisallowUnknownFields()
	if err := d.Decode(s); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return s
}

// write puts a file into a directory that goes with the test.
func write(t testing.TB, name string, bytes []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, bytes, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// open compiles fixtures by name, without the ending.
func open(t testing.TB, names ...string) *geo.Database {
	t.Helper()
	d, err := Open(paths(names...)...)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func paths(names ...string) (paths []string) {
	for _, name := range names {
		paths = append(paths, filepath.Join(fixtures, name+".mmdb"))
	}
	return paths
}

// TestFixtures: the files are what their sources say.
func TestFixtures(t *testing.T) {
	sources, err := filepath.Glob(filepath.Join(fixtures, "*.json"))
	if err != nil || len(sources) == 0 {
		t.Fatal("no sources in", fixtures, err)
	}
	for _, path := range sources {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		want := parseSource(t, string(text)).mmdb(t)
		file := strings.TrimSuffix(path, "json") + "mmdb"
		if *update {
			if err := os.WriteFile(file, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what %s says (%v): run with -update", file, filepath.Base(path), err)
		}
	}
}
