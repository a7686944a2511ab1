package mmdb

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"meridian/policy/geo"
)

// scene is a folder of files that are watched, in a synctest bubble.
type scene struct {
	t         *testing.T
	dir       string
	w         *Watcher
	database  *geo.Database // that was published last
	published int
	log       strings.Builder
}

// every is the time between looks.
const every = 2 * time.Second

// watch begins once the files are there that prepare makes.
func watch(t *testing.T, names []string, prepare func(*scene)) *scene {
	s := &scene{t: t, dir: t.TempDir()}
	prepare(s)
	var paths []string
	for _, name := range names {
		paths = append(paths, s.path(name))
	}
	s.w = NewWatcher(paths, slog.New(slog.NewTextHandler(&s.log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == "took" {
			return slog.Attr{}
		}
		return a
	}})))
	s.database = s.w.Load()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	go s.w.Run(ctx, every, func(d *geo.Database) { s.database, s.published = d, s.published+1 })
	return s
}

func (s *scene) path(name string) string { return filepath.Join(s.dir, name) }

// put puts a file in the place of another, as a whole.
func (s *scene) put(name string, bytes []byte) {
	s.t.Helper()
	if err := os.WriteFile(s.path("new"), bytes, 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(s.path("new"), s.path(name)); err != nil {
		s.t.Fatal(err)
	}
}

// after lets looks pass.
func (s *scene) after(looks int) {
	time.Sleep(time.Duration(looks) * every)
	synctest.Wait()
}

// expect compares the countries of 192.0.2.1 and of 198.51.100.1, how often something was published, and what
// each file says of itself: its error, or else how many networks it has.
func (s *scene) expect(when, countries string, published int, states ...string) {
	s.t.Helper()
	a, _, _ := s.database.Country(netip.MustParseAddr("192.0.2.1"))
	b, _, _ := s.database.Country(netip.MustParseAddr("198.51.100.1"))
	if got := a.String() + " " + b.String(); got != countries || s.published != published {
		s.t.Errorf("%s: in %q, published %d times, expected %q, %d", when, got, s.published, countries, published)
	}
	var got []string
	for _, f := range s.w.States() {
		if (f.Error == "") != f.Failed.IsZero() || (f.Networks == 0) != f.Loaded.IsZero() {
			s.t.Errorf("%s: %+v", when, f)
		}
		got = append(got, f.Error)
	}
	if !slices.Equal(got, states) {
		s.t.Errorf("%s: %q, expected %q", when, got, states)
	}
}

// fileOf is an MMDB file that has one network in a country.
func fileOf(t *testing.T, network, code string) []byte {
	return parseSource(t, `{"networks":{"`+network+`":{"country_code":"`+code+`"}}}`).mmdb(t)
}

const (
	berlin = "192.0.2.0/24"
	boston = "198.51.100.0/24"
	gone   = "no such file or directory, expected an MMDB file"
	broken = "error opening database: invalid MaxMind DB file, expected an MMDB file"
)

func TestReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := watch(t, []string{"a"}, func(s *scene) { s.put("a", fileOf(t, berlin, "DE")) })
		s.expect("at the start", "DE ", 0, "")
		s.after(5)
		s.expect("while nothing changes", "DE ", 0, "")
		s.put("a", fileOf(t, berlin, "FR"))
		s.after(1)
		s.expect("seen once", "DE ", 0, "")
		s.after(1)
		s.expect("seen twice", "FR ", 1, "")
		s.after(5)
		s.expect("while nothing changes", "FR ", 1, "")
	})
}

// TestWritten: a file that is written in its place counts when that has ended, even with the size and the time of
// modification that it had.
func TestWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := watch(t, []string{"a"}, func(s *scene) { s.put("a", fileOf(t, berlin, "DE")) })
		before, err := os.Stat(s.path("a"))
		if err != nil {
			t.Fatal(err)
		}
		bytes := fileOf(t, berlin, "FR")
		for _, part := range []int{10, len(bytes) / 2, len(bytes) - 1} {
			if err := os.WriteFile(s.path("a"), bytes[:part], 0o600); err != nil {
				t.Fatal(err)
			}
			s.after(1)
			s.expect("while it is written", "DE ", 0, "")
		}
		if err := os.WriteFile(s.path("a"), bytes, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(s.path("a"), before.ModTime(), before.ModTime()); err != nil {
			t.Fatal(err)
		}
		s.after(2)
		s.expect("written", "FR ", 1, "")
	})
}

func TestBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := watch(t, []string{"a", "b"}, func(s *scene) {
			s.put("a", fileOf(t, berlin, "DE"))
			s.put("b", fileOf(t, boston, "US"))
		})
		s.put("a", []byte("country,DE"))
		s.after(5)
		s.expect("with a broken file", "DE US", 0, broken, "")
		s.put("b", fileOf(t, boston, "CA"))
		s.after(2)
		s.expect("with another good one beside it", "DE CA", 1, broken, "")
		if f := s.w.States()[0]; f.Failures != 1 || f.Networks != 1 {
			t.Errorf("%+v", f)
		}
		s.put("a", []byte("country;DE"))
		s.after(2)
		s.expect("broken once more", "DE CA", 1, broken, "")
		if f := s.w.States()[0]; f.Failures != 2 {
			t.Errorf("%+v", f)
		}
		s.put("a", fileOf(t, berlin, "FR"))
		s.after(2)
		s.expect("mended", "FR CA", 2, "", "")
		if f := s.w.States()[0]; f.Failures != 2 {
			t.Errorf("%+v", f)
		}
		for _, want := range []struct {
			line  string
			times int
		}{{"level=INFO msg=\"geo database read\" path=" + s.path("a") + " type=Test built=2026-05-28 networks=1\n", 2},
			{"level=ERROR msg=\"geo database refused: the one read before counts on\" path=" + s.path("a") + " reason=\"" + broken + "\" built=2026-05-28\n", 2}} {
			if n := strings.Count(s.log.String(), want.line); n != want.times {
				t.Errorf("%d times %s in\n%s", n, want.line, s.log.String())
			}
		}
	})
}

func TestRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := watch(t, []string{"a"}, func(s *scene) { s.put("a", fileOf(t, berlin, "DE")) })
		if err := os.Rename(s.path("a"), s.path("elsewhere")); err != nil {
			t.Fatal(err)
		}
		s.after(5)
		s.expect("removed", "DE ", 0, gone)
		if f := s.w.States()[0]; f.Failures != 1 {
			t.Errorf("%d failures, expected 1 however often it is looked for", f.Failures)
		}
		if err := os.Rename(s.path("elsewhere"), s.path("a")); err != nil {
			t.Fatal(err)
		}
		s.after(2)
		s.expect("back", "DE ", 1, "")
	})
}

func TestAppears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := watch(t, []string{"a", "b", "c"}, func(s *scene) {
			s.put("b", fileOf(t, boston, "US"))
			s.put("c", nil)
		})
		s.expect("at the start", " US", 0, gone, "", "it is empty, expected an MMDB file")
		if log := s.log.String(); strings.Count(log, "level=ERROR msg=\"geo database not read: going on without it\"") != 2 {
			t.Errorf("log:\n%s", log)
		}
		s.put("a", fileOf(t, berlin, "DE"))
		s.after(2)
		s.expect("there", "DE US", 1, "", "", "it is empty, expected an MMDB file")
		// Of two that know the same the first named counts, whichever came first.
		s.put("c", parseSource(t, `{"networks":{"192.0.2.0/23":{"country_code":"FR"}}}`).mmdb(t))
		s.after(2)
		s.expect("all there", "DE US", 2, "", "", "")
	})
}

func TestNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := watch(t, []string{"a"}, func(*scene) {})
		if s.database != nil {
			t.Error("a database of nothing")
		}
		s.expect("at the start", " ", 0, gone)
		s.after(3)
		s.expect("later", " ", 0, gone)
	})
}

// TestReadable: what could not be read is read when it may be.
func TestReadable(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read all files")
	}
	synctest.Test(t, func(t *testing.T) {
		s := watch(t, []string{"a"}, func(s *scene) {
			s.put("a", fileOf(t, berlin, "DE"))
			if err := os.Chmod(s.path("a"), 0); err != nil {
				t.Fatal(err)
			}
		})
		s.expect("at the start", " ", 0, "permission denied, expected an MMDB file")
		if err := os.Chmod(s.path("a"), 0o600); err != nil {
			t.Fatal(err)
		}
		s.after(2)
		s.expect("readable", "DE ", 1, "")
	})
}
