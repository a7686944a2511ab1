package zonefile

import (
	"bytes"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"meridian/store"
	"meridian/zones"
)

var update = flag.Bool("update", false, "write the manifests and notes anew instead of comparing them")

const folder = "../../testdata/zonefile"

// fixture is a good zone file. Its first line is a comment that may say its zone ("; zone: isi.edu"),
// which else is example.com. Beside it are the manifest that it makes (.json) and what was noted of
// it (.notes), if anything.
type fixture struct {
	name string
	text []byte
	apex zones.Owner
}

func fixtures(t testing.TB) (list []fixture) {
	t.Helper()
	files, err := filepath.Glob(folder + "/*.zone")
	if err != nil || len(files) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(string(text), "\n")
		zone, ok := strings.CutPrefix(first, "; zone: ")
		if !ok {
			zone = "example.com"
		}
		list = append(list, fixture{strings.TrimSuffix(filepath.Base(file), ".zone"), text, apexOwner(t, zone)})
	}
	return list
}

func apexOwner(t testing.TB, zone string) zones.Owner {
	t.Helper()
	apex, err := zones.ParseOwner(zone, "@")
	if err != nil {
		t.Fatal(err)
	}
	return apex
}

// read reads a fixture as import does.
func (f fixture) read(t testing.TB) ([]Key, []Remark) {
	t.Helper()
	root, err := os.OpenRoot(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	return Read(f.name+".zone", f.text, f.apex, Folder{FS: root.FS(), Dir: "/zones"})
}

func TestFixtures(t *testing.T) {
	for _, f := range fixtures(t) {
		t.Run(f.name, func(t *testing.T) {
			keys, remarks := f.read(t)
			var manifest bytes.Buffer
			if err := WriteManifest(&manifest, keys); err != nil {
				t.Fatal(err)
			}
			golden(t, f.name+".json", manifest.String())
			golden(t, f.name+".notes", lines(remarks))
			for _, r := range remarks {
				if r.Refused {
					t.Errorf("refused: %s", r)
				}
			}
			lint(t, keys)
			checkRoundTrip(t, f.apex, keys)
		})
	}
}

// golden compares what a test made with a file, which is not there where nothing is to be made.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join(folder, name)
	if *update {
		err := os.Remove(file)
		if got != "" {
			err = os.WriteFile(file, []byte(got), 0o644)
		}
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s (run with -update to accept):\n%s\nexpected\n%s", file, got, want)
	}
}

func lines(remarks []Remark) string {
	var b strings.Builder
	for _, r := range remarks {
		b.WriteString(r.String() + "\n")
	}
	return b.String()
}

// lint checks that a manifest of the keys is one that can be applied.
func lint(t testing.TB, keys []Key) {
	t.Helper()
	var text bytes.Buffer
	if err := WriteManifest(&text, keys); err != nil {
		t.Fatal(err)
	}
	m, err := store.ParseManifest(text.Bytes())
	if err != nil {
		t.Fatalf("%v in\n%s", err, text.Bytes())
	}
	for _, p := range store.Lint(m, store.Update{}) {
		t.Errorf("lint: %s", p)
	}
}

// serve puts keys into a registry that is empty.
func serve(t testing.TB, keys []Key) *zones.Snapshot {
	t.Helper()
	u := store.Update{Revision: 77, Full: true}
	for _, k := range keys {
		u.Entries = append(u.Entries, store.Entry{Key: k.Key, Value: k.Value, Revision: 77})
	}
	r := store.NewRegistry(slog.New(slog.DiscardHandler))
	s := r.Apply(u)
	for _, f := range r.Faults() {
		t.Errorf("%s: %s", f.Key, f.Error)
	}
	return s
}

// checkRoundTrip checks that keys, exported and imported again, are the same.
func checkRoundTrip(t testing.TB, apex zones.Owner, keys []Key) {
	t.Helper()
	var file bytes.Buffer
	if err := Write(&file, serve(t, keys), apex, keys, nil); err != nil {
		t.Fatal(err)
	}
	again, remarks := Read("exported", file.Bytes(), apex, Folder{})
	for _, r := range remarks {
		t.Error(r)
	}
	if !slices.EqualFunc(keys, again, func(x, y Key) bool { return x.Key == y.Key && bytes.Equal(x.Value, y.Value) }) {
		t.Errorf("exported\n%s\nand imported again\n%s\nbut was\n%s", file.Bytes(), keyText(again), keyText(keys))
	}
}

func keyText(keys []Key) string {
	var b strings.Builder
	for _, k := range keys {
		b.WriteString(k.Key + " " + strings.ReplaceAll(string(k.Value), "\n", `\n`) + "\n")
	}
	return b.String()
}
