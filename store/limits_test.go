package store

import (
	"fmt"
	"strings"
	"testing"

	"meridian/policy"
)

// TestFallbackLayers: pools that fall back to two others each, layer upon layer, are looked through
// once each, and refused by name where there are too many layers.
func TestFallbackLayers(t *testing.T) {
	s := newScene()
	var puts []string
	for layer := range 40 {
		for _, side := range []string{"a", "b"} {
			name := fmt.Sprintf("p%02d%s", layer, side)
			puts = append(puts, "put pool/"+name+"/member/m 192.0.2.1")
			if layer > 0 {
				puts = append(puts, fmt.Sprintf(`put pool/%s/policy {"on_empty":["pool:p%02da","pool:p%02db"]}`, name, layer-1, layer-1))
			}
		}
	}
	s.change(puts...)
	got := s.run(t, "faults")
	want := "pool/p32a/policy @1: on_empty[0]: 33 pools would lead one to the other, expected at most 32\n"
	if !strings.HasPrefix(got, want) || strings.Count(got, "\n") != 2 {
		t.Errorf("got\n%swant\n%s… and the same of p32b", got, want)
	}
}

// TestTooManyMembers: of more members than a pool may have those written last stay out, whatever
// the order in which they are read.
func TestTooManyMembers(t *testing.T) {
	s := newScene()
	s.change(`put zone/example.com/soa {"ns":["ns1"]}`, `put zone/example.com/name/www/steer {"pool":"p"}`)
	for i := range policy.MaxMembers {
		s.change(fmt.Sprintf("put pool/p/member/m%04d 192.0.2.1", i))
	}
	s.change("put pool/p/member/a 192.0.2.2")
	want := "pool/p/member/a @1002: left out: the pool has 1000 members already, which is the most\n"
	if got := s.run(t, "faults"); got != want {
		t.Errorf("got  %swant %s", got, want)
	}
	s.run(t, "restart")
	if got := s.run(t, "faults"); !strings.HasPrefix(got, "pool/p/member/a @") {
		t.Errorf("after a new start: %s", got)
	}
	s.change("del pool/p/member/m0007")
	if got := s.run(t, "faults"); got != "" {
		t.Errorf("with room again: %s", got)
	}
	if i := s.served.Pools[0].Member("a"); i < 0 {
		t.Error("with room again the member is not there")
	}
}

// TestFaultText: whoever writes long values does not fill our memory and log with them.
func TestFaultText(t *testing.T) {
	s := newScene()
	long := strings.Repeat("x", 1<<20)
	s.change(
		"put pool/p/member/a "+long, "put zone/example.com/name/a/A "+long, "put zone/example.com/name/b/TXT "+long,
		"put pool/p/policy {\""+long+"\":1}", "put "+long+" x", `put check/c {"http":{"path":"`+long+`"}}`,
	)
	faults := s.registry.Faults()
	if len(faults) < 6 {
		t.Errorf("only %d faults", len(faults))
	}
	for _, f := range faults {
		if len(f.Error) > 2*maxText || len(f.Field) > 2*maxText {
			t.Errorf("%.40s: an error of %d bytes, a field of %d", f.Key, len(f.Error), len(f.Field))
		}
	}
}
