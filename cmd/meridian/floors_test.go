package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// floors is the height of every package, below meridian/. A package imports what is on lower
// floors alone. A package in a folder that has no floor of its own stands on its parent's.
var floors = map[string]int{
	"spec":                0,
	"health":              0,
	"policy":              1,
	"zones":               2,
	"server":              3,
	"simulate":            3,
	"server/admin":        3,
	"store":               3,
	"store/etcd":          3,
	"store/etcd/embedded": 3,
	"policy/geo/mmdb":     3, // not with policy/geo: it reads files
	"health/check":        3,
	"cmd/meridian":        4,
}

// across is what may be imported on the same floor, and why.
var across = []struct{ from, to, why string }{
	{"health", "spec", "the fields of a check are durations, and its errors name them"},
	{"policy", "policy/geo", "members serve tags of maps"},
	{"zones/explain", "zones", "it puts a zones.Trace into words"},
	{"store/etcd", "store", "it yields store.Update"},
	{"store/etcd", "store/etcd/zaplog", "the etcd client's log through ours"},
	{"store/etcd/embedded", "store/etcd/zaplog", "the etcd server's log through ours"},
}

// owners are the packages that alone import what begins with a path, the longest one deciding.
var owners = []struct {
	path string
	by   []string // these and the packages below them
}{
	{"go.etcd.io/etcd/server/", []string{"store/etcd/embedded"}},
	{"go.etcd.io/", []string{"store/etcd"}},
	{"github.com/oschwald/", []string{"policy/geo/mmdb"}},
	{"github.com/spf13/", []string{"cmd/meridian"}}, // viper, cobra, pflag
}

// pure are the packages without input, output and log; banned is what they therefore do not
// import themselves. (Through miekg/dns zones reaches all of it.)
var (
	pure   = []string{"spec", "health", "policy", "policy/geo", "zones", "zones/explain", "simulate"}
	banned = []string{"io/ioutil", "log", "log/slog", "net", "net/http", "os", "os/exec", "syscall"}
)

// unreached is what a package must not reach even through others: the query path knows neither
// where the registry is kept, nor how a process is configured, nor how geography is stored.
var unreached = []struct {
	from  string
	paths []string
}{
	{"server", []string{"go.etcd.io/", "github.com/spf13/", "github.com/oschwald/"}},
}

type listed struct {
	ImportPath string
	Imports    []string // direct, those of its tests apart
	Deps       []string // all
}

func listPackages(t *testing.T) map[string]listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", "meridian/...")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	packages := make(map[string]listed)
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages[strings.TrimPrefix(p.ImportPath, "meridian/")] = p
	}
}

// floorOf is the floor of the longest folder of pkg that has one.
func floorOf(pkg string) (floor int, ok bool) {
	for {
		if floor, ok = floors[pkg]; ok {
			return floor, true
		}
		cut := strings.LastIndexByte(pkg, '/')
		if cut < 0 {
			return 0, false
		}
		pkg = pkg[:cut]
	}
}

func below(pkg, folder string) bool { return pkg == folder || strings.HasPrefix(pkg, folder+"/") }

func TestFloors(t *testing.T) {
	for pkg, p := range listPackages(t) {
		floor, ok := floorOf(pkg)
		if !ok {
			t.Errorf("%s stands on no floor: say in floors where it belongs", pkg)
		}
		for _, path := range p.Imports {
			if imported, ours := strings.CutPrefix(path, "meridian/"); ours {
				checkFloor(t, pkg, floor, imported)
			} else {
				checkOwner(t, pkg, path)
			}
			if slices.Contains(pure, pkg) && slices.Contains(banned, path) {
				t.Errorf("%s imports %s: it must do without input, output and log", pkg, path)
			}
		}
	}
}

func checkFloor(t *testing.T, pkg string, floor int, imported string) {
	t.Helper()
	to, ok := floorOf(imported)
	for _, a := range across {
		if a.from == pkg && a.to == imported {
			return
		}
	}
	if ok && to >= floor {
		t.Errorf("%s (floor %d) imports %s (floor %d): imports go down", pkg, floor, imported, to)
	}
}

func checkOwner(t *testing.T, pkg, path string) {
	t.Helper()
	for _, o := range owners {
		if !strings.HasPrefix(path, o.path) {
			continue
		}
		if !slices.ContainsFunc(o.by, func(folder string) bool { return below(pkg, folder) }) {
			t.Errorf("%s imports %s: only %s may", pkg, path, strings.Join(o.by, ", "))
		}
		return
	}
}

func TestUnreached(t *testing.T) {
	packages := listPackages(t)
	for _, u := range unreached {
		p, ok := packages[u.from]
		if !ok {
			t.Errorf("no package %s", u.from)
		}
		for _, dep := range p.Deps {
			for _, path := range u.paths {
				if strings.HasPrefix(dep, path) {
					t.Errorf("%s reaches %s", u.from, dep)
				}
			}
		}
	}
}
