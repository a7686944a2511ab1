package policy

import (
	"fmt"
	"strings"
	"testing"
)

// What the latch holds: it keeps from tiers below it while others are there.
func TestSelectLatch(t *testing.T) {
	tests := []struct{ name, pools, want string }{
		{"nothing is latched", `
web [{"tier":{"failback":"manual"}}]
  a 4+ t1
  b 4+ t2`, "a"},
		{"held at a tier", `
web [{"tier":{"failback":"manual"}}]
  a 4+ t1
  b 4+ t2
  c 4+ t3
latch web 2`, "b"},
		{"held for a time", `
web [{"tier":{"failback":"5m"}}]
  a 4+ t1
  b 4+ t2
latch web 2`, "b"},
		{"not held: auto", `
web [{"tier":{"failback":"auto"}}]
  a 4+ t1
  b 4+ t2
latch web 2`, "a"},
		{"not held: nothing said, beside a step that is", `
web ["tier",{"tier":{"failback":"manual"}}]
  a 4+ t1
  b 4+ t2
latch web 2`, "a"},
		{"the tier that is held is gone: the next one", `
web ["up",{"tier":{"failback":"manual"}}]
  a 4+ t1
  b 4- t2
  c 4+ t3
latch web 2`, "c"},
		{"below it when nothing else is there", `
web ["up",{"tier":{"failback":"manual"}}]
  a 4+ t1
  b 4+ t2
  c 4- t3
latch web 3`, "a"},
		{"nothing below it either", `
web ["up",{"tier":{"failback":"manual"}}] on_empty nodata
  a 4- t1
  b 4- t2
latch web 2`, "nodata"},
		{"a trickle goes on to the next one, not back", `
web [{"tier":{"failback":"manual","trickle":"100%"}}]
  a 4+ t1
  b 4+ t2
  c 4+ t3
latch web 2`, "c"},
		{"a trickle does not go back where there is no next one", `
web [{"tier":{"failback":"manual","trickle":"100%"}}]
  a 4+ t1
  b 4+ t2
latch web 2`, "b"},
		{"held at the first tier", `
web [{"tier":{"failback":"manual"}}]
  a 4+ t1
  b 4+ t2
latch web 1`, "a"},
		{"of a pool within, as such", `
web [{"tier":{"failback":"manual"}}]
  a pool=eu t1
  b pool=us t2
eu weighted
  x 4+
us weighted
  y 4+
latch web 2`, "us/y"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := outcomes(scene(t, test.pools), IPv4); got != test.want {
				t.Errorf("%s\ngives %s, want %s", test.pools, got, test.want)
			}
		})
	}
}

func TestLatch(t *testing.T) {
	p := scene(t, "web [{\"tier\":{\"failback\":\"manual\"}}]\n  a 4+")[0]
	if p.Latch() != 0 || !p.Latches() {
		t.Errorf("at first: %d, latches %t", p.Latch(), p.Latches())
	}
	p.SetLatch(65535)
	if p.Latch() != 65535 {
		t.Errorf("it is %d", p.Latch())
	}
	p.SetLatch(0)
	if p.Latch() != 0 {
		t.Errorf("lifted, it is %d", p.Latch())
	}
	other := scene(t, "web failover\n  a 4+")[0]
	if other.SetLatch(2); other.Latch() != 0 || other.Latches() {
		t.Errorf("a pool without failback: %d, latches %t", other.Latch(), other.Latches())
	}
}

func TestTiers(t *testing.T) {
	for _, test := range []struct{ pools, want string }{
		{"web failover\n  a 4+ t3\n  b 4+ t2\n  c 4+ t7", "2 up, 3 up, 7 up"},
		{"web failover\n  a 4- t1\n  b 4? t2\n  c 4+ t7", "1 down, 2 unknown, 7 up"},
		{"web failover\n  a 4? t1\n  b 4- t1\n  c 4? t2\n  d 4+ t2\n  e 4- t2", "1 unknown, 2 up"},
		{"web failover\n  a 4+ t1 drained\n  b 4+ t2 withdrawn\n  c 4+ t3", "1 down, 2 down, 3 up"},
		{"web failover\n  a 4- 6+ t1\n  b 4+ t2", "1 up, 2 up"}, // in either family
		{"web failover", ""},
		{"web failover\n  a pool=eu t1\n  b pool=us t2\neu weighted\n  x 4-\nus weighted\n  y 4+", "1 down, 2 up"},
		{"web failover\n  a cname=x.example. t4", "4 up"},
	} {
		var tiers []string
		for _, tier := range scene(t, test.pools)[0].Tiers() {
			tiers = append(tiers, fmt.Sprintf("%d %v", tier.Tier, tier.State))
		}
		if got := strings.Join(tiers, ", "); got != test.want {
			t.Errorf("%s\n%s, want %s", test.pools, got, test.want)
		}
	}
}
