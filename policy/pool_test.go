package policy

import (
	"fmt"
	"net/netip"
	"testing"

	"meridian/health"
)

func TestPool(t *testing.T) {
	p := scene(t, `
web weighted
  a 4+ 6-
  b 4?`)[0]
	if !p.CouldGive(IPv4) || !p.CouldGive(IPv6) {
		t.Error("could give both families")
	}
	if p := scene(t, "web weighted\n  a 6-")[0]; p.CouldGive(IPv4) || !p.CouldGive(IPv6) {
		t.Error("could give IPv6 alone, up or not")
	}
	if p := scene(t, "web weighted")[0]; p.CouldGive(IPv4) || p.CouldGive(IPv6) {
		t.Error("an empty pool could give nothing")
	}
	if p.Member("a") != 0 || p.Member("b") != 1 || p.Member("c") != -1 || p.Member("") != -1 {
		t.Error("Member is wrong")
	}
	if got, want := p.Health(0), health.Word(0).WithWeight(1).With(0, health.Up).With(1, health.Down); got != want {
		t.Errorf("health of a is %x, want %x", got, want)
	}
	if got, want := p.Health(1), health.Word(0).WithWeight(1); got != want {
		t.Errorf("health of b is %x, want %x: nothing known but the weight", got, want)
	}
	p.SetHealth(0, 0, health.Unknown, "")
	if got, want := p.Health(0), health.Word(0).WithWeight(1).With(1, health.Down); got != want {
		t.Errorf("health of a is %x, want %x", got, want)
	}
}

func TestPoolOwnEmpty(t *testing.T) {
	for value, want := range map[string]bool{`{}`: false, `{"on_empty":["all"]}`: true} {
		s, err := decodeSpec(value)
		if err != nil {
			t.Fatal(err)
		}
		if p := New("web", s, nil, Surroundings{OnEmpty: onEmpty(t, s, nil)}); p.OwnEmpty != want || p.Checked {
			t.Errorf("%s: OwnEmpty %t, Checked %t", value, p.OwnEmpty, p.Checked)
		}
	}
}

func TestFamilyOf(t *testing.T) {
	for text, want := range map[string]string{"192.0.2.1": "IPv4", "2001:db8::1": "IPv6", "::": "IPv6"} {
		if got := FamilyOf(netip.MustParseAddr(text)).String(); got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
}

// A decision sees a member before or after a change of its health, never between.
func TestSelectWhileHealthChanges(t *testing.T) {
	pools := scene(t, `
web ["up"] on_empty nodata
  a 4+ 4-`)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 2000 {
			// The second is up before the first goes down, so that one is up at any time.
			pools[0].SetHealth(0, 1-i%2, health.Up, "")
			pools[0].SetHealth(0, i%2, health.Down, fmt.Sprint(i))
		}
	}()
	var s Scratch
	for {
		switch got := text(selected(pools[0], pools, &Client{}, 0, &s, nil), pools[0], IPv4); got {
		case "a", "a/0", "a/1":
		default:
			t.Fatalf("gives %s", got)
		}
		selected(pools[0], pools, &Client{}, 0, &s, new(Trace))
		select {
		case <-done:
			return
		default:
		}
	}
}

// Derive tells of a change, and only then.
func TestDerive(t *testing.T) {
	pools := scene(t, `
web weighted
  a pool=eu w7
eu weighted min_up 2
  x 4+ 6+
  y 4+`)
	web, eu := pools[0], pools[1]
	for _, test := range []struct {
		what    string
		change  func()
		changed bool
		want    string // states of IPv4 and IPv6
	}{
		{"nothing", func() {}, false, "up down"},
		{"one goes down", func() { eu.SetHealth(1, 0, 2, "") }, true, "down down"},
		{"another goes down", func() { eu.SetHealth(0, 0, 2, "") }, false, "down down"},
		{"both are back", func() { eu.SetHealth(0, 0, 1, ""); eu.SetHealth(1, 0, 1, "") }, true, "up down"},
		{"one is drained", func() { eu.SetWord(1, eu.Health(1).WithDrain(true, true)) }, false, "up down"},
		{"it is withdrawn", func() { eu.SetWord(1, eu.Health(1).WithDrain(true, false)) }, true, "down down"},
		{"it is unknown", func() { eu.SetWord(1, eu.Health(1).WithDrain(false, false).With(0, 0)) }, true, "unknown down"},
		{"the other is drained", func() { eu.SetWord(0, eu.Health(0).WithDrain(true, true)) }, false, "unknown down"},
		{"both are", func() { eu.SetWord(1, eu.Health(1).WithDrain(true, true)) }, true, "down down"},
	} {
		test.change()
		changed := web.Derive(0, eu)
		w := web.Health(0)
		if got := fmt.Sprint(w.State(0), " ", w.State(1)); got != test.want || changed != test.changed || w.Weight() != 7 {
			t.Errorf("%s: %s, changed %t, weight %d, want %s, %t, 7", test.what, got, changed, w.Weight(), test.want, test.changed)
		}
	}
}
