package policy

import (
	"fmt"
	"strings"
	"testing"
)

func TestSelectOnEmpty(t *testing.T) {
	tests := []struct {
		name   string
		pools  string
		family Family
		want   string
	}{
		{"all, by default", `
web weighted
  a 4-
  b 4-`, IPv4, "fail open: a | fail open: b"},
		{"all gives every address, not those up in the other family", `
web weighted
  a 4- 4- 6+`, IPv4, "fail open: a"},
		{"all goes on as if up were not there: tier holds", `
web failover
  a 4- t1
  b 4- t2`, IPv4, "fail open: a"},
		{"all: what stands before up holds", `
web ["tier","up","weighted"]
  a 4- t1
  b 4+ t2`, IPv4, "fail open: a"},
		{"all: an up that leaves somebody works on", `
web ["up",{"take":{"n":1}},"up"]
  a 4-
  b 4+`, IPv4, "b"},
		{"all with two ups that would leave nobody", `
web ["up","tier","up",{"take":{"n":1}}]
  a 4- t2
  b 4- t1
  c 4- t1`, IPv4, "fail open: b"},
		{"all: weight 0 is still last", `
web weighted
  a 4- w0
  b 4-`, IPv4, "fail open: b"},
		{"all with nobody of the family", `
web weighted on_empty all
  a 6-`, IPv4, "nodata"},
		{"nobody is down: on_empty is not looked at", `
web weighted on_empty servfail
  a 4+`, IPv4, "a"},
		{"unknown is not empty", `
web weighted on_empty servfail
  a 4?`, IPv4, "a"},
		{"nodata", `
web weighted on_empty nodata
  a 4-`, IPv4, "nodata"},
		{"servfail", `
web weighted on_empty servfail
  a 4-`, IPv4, "servfail"},
		{"servfail also where the family has nobody", `
web weighted on_empty servfail
  a 6+`, IPv4, "servfail"},
		{"the first entry that gives wins: all before a pool", `
web weighted on_empty all pool:backup
  a 4-
backup weighted
  x 4+`, IPv4, "fail open: a"},
		{"the first entry that gives wins: a pool before all", `
web weighted on_empty pool:backup all
  a 4-
backup weighted
  x 4+`, IPv4, "backup: x"},
		{"the first entry that gives wins: nodata before a pool", `
web weighted on_empty nodata pool:backup
  a 4-
backup weighted
  x 4+`, IPv4, "nodata"},
		{"the first entry that gives wins: nodata before servfail", `
web weighted on_empty nodata servfail
  a 4-`, IPv4, "nodata"},
		{"all gives nobody of the family: the next entry", `
web weighted on_empty all servfail
  a 6-`, IPv4, "servfail"},
		{"the end of the list is nodata", `
web weighted on_empty pool:backup
  a 4-
backup weighted
  x 4-`, IPv4, "nodata"},
		{"a fallback pool that gives nothing is passed over", `
web weighted on_empty pool:one pool:two
  a 4-
one weighted
  x 4-
two weighted
  y 4+`, IPv4, "two: y"},
		{"a fallback pool without the family is passed over", `
web weighted on_empty pool:one pool:two
  a 4-
one weighted
  x 6+
two weighted
  y 4+`, IPv4, "two: y"},
		{"a fallback pool has no all by default: the root's comes", `
web weighted on_empty pool:backup all
  a 4-
backup weighted
  x 4-`, IPv4, "fail open: a"},
		{"a fallback pool's own on_empty: all", `
web weighted on_empty pool:backup all
  a 4-
backup weighted on_empty all
  x 4-`, IPv4, "fail open, backup: x"},
		{"a fallback pool's own on_empty: servfail", `
web weighted on_empty pool:backup all
  a 4-
backup weighted on_empty servfail
  x 4-`, IPv4, "servfail"},
		{"a fallback pool's own on_empty: nodata", `
web weighted on_empty pool:backup all
  a 4-
backup weighted on_empty nodata
  x 4-`, IPv4, "nodata"},
		{"a fallback pool's own on_empty comes to its end: the root's goes on", `
web weighted on_empty pool:backup all
  a 4-
backup weighted on_empty pool:last
  x 4-
last weighted
  y 4-`, IPv4, "fail open: a"},
		{"pools behind pools", `
web weighted on_empty pool:one
  a 4-
one weighted on_empty pool:two
  x 4-
two weighted on_empty pool:three
  y 4-
three multivalue
  z 4+
  zz 4-`, IPv4, "three: z"},
		{"a fallback pool draws by its own chain", `
web weighted on_empty pool:backup
  a 4-
backup ["up","weighted"]
  x 4+ w0
  y 4+`, IPv4, "backup: y x"},
		{"a circle of pools ends", `
web weighted on_empty pool:one
  a 4-
one weighted on_empty pool:web
  x 4-`, IPv4, "nodata"},
		{"a circle of pools ends, and the root's list goes on", `
web weighted on_empty pool:one all
  a 4-
one weighted on_empty pool:one
  x 4-`, IPv4, "fail open: a"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := outcomes(scene(t, test.pools), test.family); got != test.want {
				t.Errorf("%s\n%v gives %s, want %s", test.pools, test.family, got, test.want)
			}
		})
	}
}

// chainOfPools is n pools, each falling back to the next; the last alone is up.
func chainOfPools(t testing.TB, n int) []*Pool {
	var b strings.Builder
	for i := range n - 1 {
		fmt.Fprintf(&b, "p%d weighted on_empty pool:p%d servfail\n  a 4-\n", i, i+1)
	}
	fmt.Fprintf(&b, "p%d weighted\n  a 4+\n", n-1)
	return scene(t, b.String())
}

// One decision looks at 64 pools, then on_empty goes on without more of them.
func TestSelectMaxVisits(t *testing.T) {
	if got, want := outcomes(chainOfPools(t, maxVisits), IPv4), fmt.Sprintf("p%d: a", maxVisits-1); got != want {
		t.Errorf("%d pools: %s, want %s", maxVisits, got, want)
	}
	if got, want := outcomes(chainOfPools(t, maxVisits+1), IPv4), "servfail"; got != want {
		t.Errorf("%d pools: %s, want %s", maxVisits+1, got, want)
	}
}
