package policy

import (
	"fmt"
	"strings"
	"testing"
)

// matryoshka is n pools, each within the one before; the last has an address.
func matryoshka(t testing.TB, n int) []*Pool {
	var b strings.Builder
	for i := range n - 1 {
		fmt.Fprintf(&b, "p%d weighted on_empty servfail\n  a pool=p%d\n", i, i+1)
	}
	fmt.Fprintf(&b, "p%d weighted\n  a 4+\n", n-1)
	return scene(t, b.String())
}

// row is a pool of n pools, which it takes in turn; the last alone is up.
func row(t testing.TB, n int) []*Pool {
	var b strings.Builder
	b.WriteString("web [\"take\"] on_empty all servfail\n")
	for i := range n {
		fmt.Fprintf(&b, "  m%03d pool=p%d\n", i, i)
	}
	for i := range n - 1 {
		fmt.Fprintf(&b, "p%d weighted\n  a 4-\n", i)
	}
	fmt.Fprintf(&b, "p%d weighted\n  a 4+\n", n-1)
	return scene(t, b.String())
}

// One decision looks at 64 pools, in whatever way they lie within each other.
func TestSelectNestedMaxVisits(t *testing.T) {
	for _, test := range []struct {
		what  string
		pools []*Pool
		want  string
	}{
		{"32 deep", matryoshka(t, 33), "p32/a"},
		{"64 pools deep", matryoshka(t, maxVisits), "p63/a"},
		{"65 pools deep", matryoshka(t, maxVisits+1), "servfail"},
		{"63 in a row", row(t, maxVisits-1), "p62/a"},
		{"64 in a row", row(t, maxVisits), "servfail"},
	} {
		if got := outcomes(test.pools, IPv4); got != test.want {
			t.Errorf("%s: %s, want %s", test.what, got, test.want)
		}
	}
}

// An answer holds at most 1,000 addresses, whichever pools they are of.
func TestSelectNestedMaxGiven(t *testing.T) {
	members := func(n, addrs int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "  m%04d%s\n", i, strings.Repeat(" 4+", addrs))
		}
		return b.String()
	}
	for _, test := range []struct {
		what     string
		one, two string
		want     [2]int // members given of each
		cut      string
	}{
		{"they fit", members(500, 1), members(250, 2), [2]int{500, 250}, ""},
		{"the second is cut", members(600, 1), members(600, 1), [2]int{600, 400}, "200 members left out: an answer holds 1000 addresses at most"},
		{"by whole members", members(990, 1), members(2, 16), [2]int{990, 0}, "2 members left out: an answer holds 1000 addresses at most"},
		{"the first is cut by itself", members(1000, 2), members(9, 1), [2]int{500, 0}, "9 members left out: an answer holds 1000 addresses at most"},
	} {
		pools := scene(t, "web [\"up\"]\n  a pool=one\n  b pool=two\none [\"up\"]\n"+test.one+"two [\"up\"]\n"+test.two)
		var trace Trace
		d := selected(pools[0], pools, &Client{}, 1, new(Scratch), &trace)
		var got [2]int
		for _, k := range d.Picks {
			if d.Of(k) == pools[1] {
				got[0]++
			} else {
				got[1]++
			}
		}
		if got != test.want || trace.Runs[0].Note != test.cut {
			t.Errorf("%s: %v given, noted %q, want %v and %q", test.what, got, trace.Runs[0].Note, test.want, test.cut)
		}
	}
}
