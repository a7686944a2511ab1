package store

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestWithinOrder: the order in which pools that lie within each other are written does not matter, nor
// whether they come one by one.
func TestWithinOrder(t *testing.T) {
	puts := []string{
		`put pool/web/member/eu {"pool":"eu"}`, `put pool/eu/member/de {"pool":"de"}`, "put pool/de/member/ber 192.0.2.1",
		`put pool/web/policy {"on_empty":["pool:de"]}`,
	}
	const want = "eu (pool eu) up down, weight 1\n"
	slices.Sort(puts)
	for order := range permutations(len(puts)) {
		one, all := newScene(), newScene()
		var list []string
		for _, i := range order {
			one.change(puts[i])
			list = append(list, puts[i])
		}
		all.change(list...)
		for how, s := range map[string]*scene{"one by one": one, "at once": all} {
			if got := s.members("web") + s.run(t, "faults"); got != want {
				t.Errorf("%s, in the order %v:\ngot  %swant %s", how, order, got, want)
			}
		}
	}
}

// permutations yields every order of 0 to n-1.
func permutations(n int) func(yield func([]int) bool) {
	return func(yield func([]int) bool) {
		var extend func(order []int) bool
		extend = func(order []int) bool {
			if len(order) == n {
				return yield(order)
			}
			for i := range n {
				if !slices.Contains(order, i) && !extend(append(slices.Clip(order), i)) {
					return false
				}
			}
			return true
		}
		extend(nil)
	}
}

// TestWithinDepth: 32 pools may lead one to the other, whichever of them is written last.
func TestWithinDepth(t *testing.T) {
	within := func(i int) string { return fmt.Sprintf(`put pool/p%02d/member/next {"pool":"p%02d"}`, i, i+1) }
	falls := func(i int) string { return fmt.Sprintf(`put pool/p%02d/policy {"on_empty":["pool:p%02d"]}`, i, i+1) }
	last := func(i int) string { return fmt.Sprintf("put pool/p%02d/member/last 192.0.2.1", i) }
	for _, tt := range []struct {
		name  string
		links []func(i int) string // of p00 to the last but one, in turn
		order func(n int) []int    // in which those are written
		wrong string               // fault of the link written last, with 33 pools
	}{
		{"down", []func(int) string{within}, down, "pool/p31/member/next @33: pool"},
		{"up", []func(int) string{within}, up, "pool/p00/member/next @33: pool"},
		{"the middle last", []func(int) string{within}, middle, "pool/p16/member/next @33: pool"},
		{"falling back, down", []func(int) string{falls}, down, "pool/p31/policy @33: on_empty[0]"},
		{"falling back, up", []func(int) string{falls}, up, "pool/p00/policy @33: on_empty[0]"},
		{"both, down", []func(int) string{within, falls}, down, "pool/p31/policy @33: on_empty[0]"},
		{"both, up", []func(int) string{within, falls}, up, "pool/p00/member/next @33: pool"},
		{"both, the middle last", []func(int) string{falls, within}, middle, "pool/p16/policy @33: on_empty[0]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for n, want := range map[int]string{32: "", 33: tt.wrong + ": 33 pools would lead one to the other, expected at most 32\n"} {
				s := newScene()
				var members []string
				for i := range n {
					members = append(members, last(i))
				}
				s.change(members...)
				for _, i := range tt.order(n - 1) {
					s.change(tt.links[i%len(tt.links)](i))
				}
				if got := s.run(t, "faults"); got != want {
					t.Errorf("%d pools\ngot  %swant %s", n, got, want)
				}
				s.run(t, "restart")
				if got := s.run(t, "faults"); got != want {
					t.Errorf("%d pools, read anew\ngot  %swant %s", n, got, want)
				}
			}
		})
	}
}

func down(n int) (order []int) {
	for i := range n {
		order = append(order, i)
	}
	return order
}

func up(n int) []int {
	order := down(n)
	slices.Reverse(order)
	return order
}

func middle(n int) []int {
	order := down(n)
	return append(slices.Delete(order, n/2, n/2+1), 16)
}

// TestWithinLayers: pools that lie within all of the next layer, layer upon layer, are looked through once
// each.
func TestWithinLayers(t *testing.T) {
	s := newScene()
	var puts []string
	for layer := range 32 {
		for i := range 8 {
			pool := fmt.Sprintf("put pool/p%02d-%d/member/", layer, i)
			puts = append(puts, pool+"own 192.0.2.1")
			for j := range 8 {
				if layer < 31 {
					puts = append(puts, fmt.Sprintf(`%sm%d {"pool":"p%02d-%d"}`, pool, j, layer+1, j))
				}
			}
		}
	}
	s.change(puts...)
	if got := s.run(t, "faults"); got != "" {
		t.Error(got)
	}
	s.change("put pool/p31-0/member/own 2001:db8::1")
	if got, want := s.members("p00-0"), "m0 (pool p01-0) up up, weight 1\n"; !strings.HasPrefix(got, want) {
		t.Errorf("got  %swant %s…", got, want)
	}
}

// TestKindOfEmptyPool: a pool without members is of no kind, wherever it stands among those that have one.
func TestKindOfEmptyPool(t *testing.T) {
	for _, name := range []string{"a", "z"} {
		s := newScene()
		s.change("put pool/empty/policy {}", `put pool/cdn/member/`+name+` {"pool":"empty"}`, `put pool/cdn/member/m {"cname":"x.example.org."}`)
		if p := s.registry.pools["cdn"].compiled; !p.OfNames || len(p.Members) != 2 {
			t.Errorf("%s: of names %t, members\n%s", name, p.OfNames, s.members("cdn"))
		}
	}
}

// TestLastGoodOfOne: what serves on is checked, and stands, as it says itself.
func TestLastGoodOfOne(t *testing.T) {
	s := newScene()
	s.change(`put check/tcp {"tcp":{}}`, "put site/fra {}", `put pool/web/policy {"check":"tcp"}`,
		`put pool/web/member/a {"addr":["192.0.2.1"],"port":81,"site":"fra","check_addr":"192.0.2.9"}`)
	s.change(`put pool/web/member/a {"pool":"web"}`)
	s.change("del site/fra")
	const want = "pool/web/member/a @2 (serving @1): pool: pools must not lead to each other in a circle: web → web\n" +
		"site/fra @3: deleted, but pool/web/member/a refers to it: its last value serves on\n"
	for _, again := range []string{"read", "restart image", "read"} {
		s.run(t, again)
		if got := s.run(t, "targets"); got != "web/a tcp 192.0.2.9:81\n" {
			t.Errorf("%s: targets %s", again, got)
		}
	}
	if got := s.run(t, "faults"); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
