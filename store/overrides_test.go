package store

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestGuardOverrides: deletes of overrides are no outage, and do not count; one that a person deletes in one go
// with too many names is held back with them, and one whose lease ends is not.
func TestGuardOverrides(t *testing.T) {
	s, _ := guarded(40)
	var puts []string
	for i := range 40 {
		puts = append(puts, fmt.Sprintf("put pool/web/member/m%d 192.0.2.%d", i, i+1), fmt.Sprintf(`put override/member/web/m%d {"state":"drain"}`, i))
	}
	s.change(append(puts, `put override/site/fra {"weight":1}`, "put site/fra {}")...)
	drained := func() int { return strings.Count(s.members("web"), "drained") }
	var dels []string
	for i := range 30 {
		dels = append(dels, fmt.Sprintf("del override/member/web/m%d", i))
	}
	s.change(dels...)
	if got := s.run(t, "held"); drained() != 10 || got != "nothing\n" {
		t.Fatalf("30 of 40 overrides deleted: %d drained, held: %s", drained(), got)
	}
	u := Update{Revision: s.revision + 1}
	for _, del := range append(deletes(names(0, 30)), "del override/member/web/m30") {
		u.Entries = append(u.Entries, Entry{Key: strings.Fields(del)[1], Deleted: true, Revision: u.Revision})
	}
	u.Entries = append(u.Entries, Entry{Key: "override/member/web/m31", Deleted: true, Expired: true, Lease: 7, Revision: u.Revision})
	s.registry.Apply(u)
	if got := s.run(t, "held"); drained() != 9 || got != "30 names, 0 members, 1 others, since 12:00:00: accept 4\n" {
		t.Errorf("%d drained, held: %s", drained(), got)
	}
	s.revision = u.Revision
	s.change(fmt.Sprintf("put %s %d", acceptKey, u.Revision))
	if got := s.run(t, "held"); drained() != 8 || got != "nothing\n" {
		t.Errorf("accepted: %d drained, held: %s", drained(), got)
	}
}

// TestOverrideMissed: an override whose lease ended while nobody watched is gone with the next reading.
func TestOverrideMissed(t *testing.T) {
	s := newScene()
	s.change("put pool/web/member/m 192.0.2.1")
	s.run(t, `lease override/pool/web {"state":"drain"}`)
	delete(s.keys, "override/pool/web")
	for _, command := range []string{"restart image", "read"} {
		s.run(t, command)
	}
	if got := s.members("web"); got != "m up, weight 1\n" {
		t.Error(got)
	}
}

// TestOverrideClockSetBack: an override that has ended by a clock that was wrong counts again, and ends in its time.
func TestOverrideClockSetBack(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	s := newScene().at(&now)
	s.change("put pool/web/member/m 192.0.2.1", `put override/pool/web {"state":"drain","until":"2026-11-23T13:00:00Z"}`)
	for _, step := range []struct{ pass, then, want string }{
		{"59m", "", "m up, weight 1, drained\n"},
		{"2h", "", "m up, weight 1\n"},
		{"-2h", "", "m up, weight 1, drained\n"},
		{"2h", "", "m up, weight 1\n"},
		{"-2h", "put pool/web/policy {}", "m up, weight 1, drained\n"},
		{"1m", "", "m up, weight 1\n"},
	} {
		s.run(t, "pass "+step.pass)
		if step.then != "" {
			s.change(step.then)
		}
		if got := s.members("web"); got != step.want {
			t.Errorf("at %s: %sexpected %s", s.registry.now().Format("15:04"), got, step.want)
		}
	}
}

func TestLatch(t *testing.T) {
	s := newScene()
	s.change(`put latch/web {"tier":2,"by":"ns1"}`, "put pool/web/member/m 192.0.2.1", `put pool/web/policy {"steps":["up",{"tier":{"failback":"manual"}}]}`)
	latch := func() uint16 { return s.registry.pools["web"].compiled.Latch() }
	for _, again := range []string{"read", "restart image", "read", `put pool/web/member/n 192.0.2.2`, `put latch/web {"tier":0}`} {
		if s.run(t, again); latch() != 2 {
			t.Errorf("%s: latch %d, expected 2", again, latch())
		}
	}
	if s.run(t, `put latch/web {"tier":3}`); latch() != 3 {
		t.Errorf("another: latch %d", latch())
	}
	if s.run(t, "del latch/web"); latch() != 0 {
		t.Errorf("deleted: latch %d", latch())
	}
}

// TestLintOverrides: what an override is of has to be there or in the manifest; else it would be a slip that
// nobody sees.
func TestLintOverrides(t *testing.T) {
	const file = `{"pool/web/member/fra1": "192.0.2.1",
"override/member/web/fra1": {"state":"drain"},
"override/member/web/fra11": {"state":"drain"},
"override/pool/wbe": {"state":"drain"},
"override/site/fra": {"state":"drian"}}`
	const want = "3: override/member/web/fra11: pool/web/member/fra11 is not there yet\n" +
		"4: override/pool/wbe: pool/wbe is not there yet\n" +
		"5: override/site/fra: state: \"drian\" is not known, expected \"drain\", \"down\" or \"up\" (did you mean \"drain\"?)\n"
	if got := problemText(Lint(manifest(t, file), Update{})); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestOverridesTold: what people say that is in force is told in the status, the first ten in words.
func TestOverridesTold(t *testing.T) {
	s := newScene()
	if o := s.registry.inForce(); o != nil {
		t.Errorf("of none: %+v", o)
	}
	s.change("put pool/web/member/m 192.0.2.1", `put override/member/web/m {"weight":3}`, `put override/pool/web {"state":"drain","by":"alice","reason":"CHG-1"}`,
		`put override/site/fra {"state":"up","until":"2026-11-22T00:00:00Z"}`)
	s.registry.Lift()
	want := &Overrides{map[string]int{"weight": 1, "drain": 1}, map[string]string{"override/member/web/m": "given weight 3", "override/pool/web": "drained by alice: CHG-1"}}
	if o := s.registry.inForce(); !reflect.DeepEqual(o, want) {
		t.Errorf("got %+v, expected %+v", o, want)
	}
	s.change(`put override/pool/p00 {"state":"down"}`)
	if o := s.registry.inForce(); !reflect.DeepEqual(o, want) {
		t.Errorf("of a pool that is not there: got %+v, expected %+v", o, want)
	}
	for i := range 20 {
		s.change(fmt.Sprintf(`put override/pool/p%02d {"state":"down"}`, i), fmt.Sprintf("put pool/p%02d/policy {}", i))
	}
	if o := s.registry.inForce(); o.States["down"] != 20 || len(o.First) != maxOverridesTold || o.First["override/pool/p08"] != "taken down" {
		t.Errorf("of 22: %+v", o)
	}
}
