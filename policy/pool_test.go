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
	if got, want := p.Health(0), health.Word(0).With(0, health.Up).With(1, health.Down); got != want {
		t.Errorf("health of a is %x, want %x", got, want)
	}
	if got := p.Health(1); got != 0 {
		t.Errorf("health of b is %x, want nothing known", got)
	}
	p.SetHealth(0, 0, health.Unknown, "")
	if got, want := p.Health(0), health.Word(0).With(1, health.Down); got != want {
		t.Errorf("health of a is %x, want %x", got, want)
	}
}

func TestPoolOwnEmpty(t *testing.T) {
	for value, want := range map[string]bool{`{}`: false, `{"on_empty":["all"]}`: true} {
		s, err := decodeSpec(value)
		if err != nil {
			t.Fatal(err)
		}
		if p := New("web", s, onEmpty(t, s, nil), nil, nil); p.OwnEmpty != want || p.Checked {
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
