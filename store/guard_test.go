package store

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// at gives the scene's registry a clock of its own.
func (s *scene) at(now *time.Time) *scene {
	s.registry.now = func() time.Time { return *now }
	return s
}

// names is n puts of names of a zone, from the first on.
func names(first, n int) (puts []string) {
	for i := range n {
		puts = append(puts, fmt.Sprintf("put zone/example.com/name/n%d/A 192.0.2.1", first+i))
	}
	return puts
}

func deletes(puts []string) (list []string) {
	for _, p := range puts {
		list = append(list, "del "+strings.Fields(p)[1])
	}
	return list
}

func guarded(n int) (*scene, *time.Time) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	s := newScene().at(&now)
	s.change(append(names(0, n), `put zone/example.com/soa {"ns":["ns1.example.net."]}`)...)
	return s, &now
}

// there counts the names that are answered.
func (s *scene) there(n int) (found int) {
	for i := range n {
		if strings.HasPrefix(s.ask(fmt.Sprintf("n%d.example.com", i), "A"), "found") {
			found++
		}
	}
	return found
}

func TestGuard(t *testing.T) {
	all := func() []string { return append(deletes(names(0, 40)), "del zone/example.com/soa") }
	for _, tt := range []struct {
		name  string
		names int
		do    func(s *scene, now *time.Time)
		there int
		held  string // keys of names, members, others, and the number to accept; "" none
	}{
		{"half at once", 40, func(s *scene, _ *time.Time) { s.change(deletes(names(0, 20))...) }, 20, ""},
		{"one more than half at once", 40, func(s *scene, _ *time.Time) { s.change(deletes(names(0, 21))...) }, 40, "21 0 0 @2"},
		{"all at once", 40, func(s *scene, _ *time.Time) { s.change(all()...) }, 40, "40 0 0 @2"},
		{"the soa counts for its names", 40, func(s *scene, _ *time.Time) { s.change("del zone/example.com/soa") }, 40, "40 0 0 @2"},
		{"few names", 19, func(s *scene, _ *time.Time) { s.change(deletes(names(0, 19))...) }, 0, ""},
		{"one by one", 40, func(s *scene, now *time.Time) {
			for _, d := range deletes(names(0, 40)) {
				s.change(d)
				*now = now.Add(time.Second)
			}
		}, 20, "20 0 0 @41"},
		{"slowly", 40, func(s *scene, now *time.Time) {
			for _, d := range deletes(names(0, 40)) {
				s.change(d)
				*now = now.Add(10 * time.Second)
			}
		}, 0, ""},
		{"put again meanwhile", 40, func(s *scene, now *time.Time) {
			for range 50 {
				s.change(deletes(names(0, 1))...)
				s.change(names(0, 1)...)
			}
		}, 40, ""},
		{"in a full read", 40, func(s *scene, _ *time.Time) {
			for _, d := range deletes(names(0, 30)) {
				delete(s.keys, strings.Fields(d)[1])
			}
			s.revision = 9
			s.readAll()
		}, 40, "30 0 0 @9"},
		{"in a full read, and again", 40, func(s *scene, now *time.Time) {
			s.change(deletes(names(0, 30))...)
			*now = now.Add(time.Hour)
			s.revision = 9
			s.readAll()
		}, 40, "30 0 0 @2"},
		{"one by one, across restarts", 40, func(s *scene, now *time.Time) {
			for i, d := range deletes(names(0, 40)) {
				s.change(d)
				if i%5 == 0 {
					s.restored()
				}
				*now = now.Add(time.Second)
			}
		}, 20, "20 0 0 @41"},
		{"accepted", 40, func(s *scene, _ *time.Time) {
			s.change(deletes(names(0, 30))...)
			s.change("put control/accept-delete 2")
		}, 10, ""},
		{"accepted, but not far enough", 40, func(s *scene, _ *time.Time) {
			s.change(deletes(names(0, 30))...)
			s.change(deletes(names(30, 5))...)
			s.change("put control/accept-delete 2")
		}, 10, "5 0 0 @3"},
		{"accepted in advance", 40, func(s *scene, _ *time.Time) {
			s.change("put control/accept-delete 100")
			s.revision = 50
			s.change(deletes(names(0, 30))...)
		}, 40, "30 0 0 @51"},
		{"put again", 40, func(s *scene, _ *time.Time) {
			s.change(deletes(names(0, 30))...)
			s.change(names(0, 30)...)
		}, 40, ""},
		{"put again, but for some", 40, func(s *scene, _ *time.Time) {
			s.change(deletes(names(0, 30))...)
			s.change(names(0, 20)...)
		}, 40, "10 0 0 @2"},
		{"a change beside those held back", 40, func(s *scene, _ *time.Time) {
			s.change(append(deletes(names(0, 30)), "put zone/example.com/name/n39/A 192.0.2.9", "put zone/example.com/name/n40/A 192.0.2.9")...)
		}, 41, "30 0 0 @2"},
		{"accepted, and put again at once", 40, func(s *scene, _ *time.Time) {
			s.change(deletes(names(0, 30))...)
			s.change("put control/accept-delete 2", "put zone/example.com/name/n3/A 192.0.2.1")
		}, 11, ""},
		{"accepted, and more at once", 80, func(s *scene, _ *time.Time) {
			s.change(deletes(names(0, 41))...)
			s.change("put control/accept-delete 2")
			s.change(deletes(names(41, 19))...)
			s.change(deletes(names(60, 1))...)
		}, 20, "1 0 0 @5"},
		{"the word is taken back", 40, func(s *scene, _ *time.Time) {
			s.change("put site/fra {}")
			s.change(deletes(names(0, 30))...)
			s.change("put control/accept-delete 2")
			s.change("del control/accept-delete")
			s.change("put control/accept-delete 3")
		}, 10, ""},
		{"deleted again while held back", 40, func(s *scene, _ *time.Time) {
			s.change(deletes(names(0, 30))...)
			s.change(deletes(names(0, 30))...)
			s.change("put control/accept-delete 2")
		}, 40, "30 0 0 @3"},
		{"held back, and there all the same", 40, func(s *scene, _ *time.Time) {
			keys := maps.Clone(s.keys)
			s.change(deletes(names(0, 30))...)
			s.keys = keys
			s.readAll()
		}, 40, ""},
		{"keys of no kind", 40, func(s *scene, _ *time.Time) {
			s.change("put foo x", "put zone/x x", "put pool/x x", "put soa x", "put zone/x/soa x")
			s.change(append(deletes(names(0, 21)), "del foo", "del zone/x", "del pool/x", "del soa", "del zone/x/soa")...)
			s.change("put zone/x/soa x", "put foo x", "put soa x")
		}, 40, "21 0 2 @3"},
		{"after a restart", 40, func(s *scene, _ *time.Time) {
			s.change(deletes(names(0, 30))...)
			s.restored()
			s.readAll()
			s.change("put zone/example.com/name/n40/A 192.0.2.9")
		}, 41, "30 0 0 @2"},
		{"accepted after a restart", 40, func(s *scene, _ *time.Time) {
			s.change(deletes(names(0, 30))...)
			s.restored()
			s.readAll()
			s.change("put control/accept-delete 2")
		}, 10, ""},
		{"accepted while the server was away", 40, func(s *scene, _ *time.Time) {
			s.change(deletes(names(0, 30))...)
			s.restored()
			s.keys[acceptKey] = Entry{Key: acceptKey, Value: []byte("2"), Revision: 3}
			s.revision = 3
			s.readAll()
		}, 10, ""},
		{"an old word, and a restart", 40, func(s *scene, _ *time.Time) {
			s.change("put site/fra {}")
			s.change("put control/accept-delete 2")
			s.restored()
			s.readAll()
			s.change(deletes(names(0, 30))...)
			s.readAll()
		}, 40, "30 0 0 @4"},
		{"a delete a minute later", 40, func(s *scene, now *time.Time) {
			s.change(deletes(names(0, 30))...)
			*now = now.Add(61 * time.Second)
			s.change(deletes(names(35, 1))...)
		}, 39, "30 0 0 @2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, now := guarded(tt.names)
			tt.do(s, now)
			if got := s.there(tt.names + 1); got != tt.there {
				t.Errorf("%d names are there, expected %d", got, tt.there)
			}
			held := ""
			if h := s.registry.Held(); h != nil {
				held = fmt.Sprintf("%d %d %d @%d", h.Names, h.Members, h.Others, h.Accept)
			}
			if held != tt.held {
				t.Errorf("held back %q, expected %q", held, tt.held)
			}
			said := false
			for _, f := range s.registry.Faults() {
				said = said || f.Key == acceptKey // held back, or wrong itself
			}
			if said != (tt.held != "") {
				t.Errorf("faults: %v", s.registry.Faults())
			}
		})
	}
}

// zoned is n puts of names of a zone, its soa among them.
func zoned(zone string, n int) []string {
	puts := []string{"put zone/" + zone + `/soa {"ns":["ns1.example.net."]}`}
	for i := range n {
		puts = append(puts, fmt.Sprintf("put zone/%s/name/n%d/A 192.0.2.1", zone, i))
	}
	return puts
}

// TestGuardZones: what is gone of a zone counts once, whether its names go, its soa, or one after the
// other. a.example has 60 names of 140, b.example 80.
func TestGuardZones(t *testing.T) {
	a, b := zoned("a.example", 60), zoned("b.example", 80)
	for _, tt := range []struct {
		name    string
		do      func(s *scene, now *time.Time)
		served  int
		held    int
		deleted string // the soas that are gone
	}{
		{"a zone of less than half", func(s *scene, _ *time.Time) { s.change("del zone/a.example/soa") }, 80, 0, "a"},
		{"a zone, then its names, then ten more", func(s *scene, _ *time.Time) {
			s.change("del zone/a.example/soa")
			for _, d := range deletes(a[1:]) {
				s.change(d)
			}
			s.change(deletes(b[1:11])...)
		}, 70, 0, "a"},
		{"a zone, then its names, then eleven more", func(s *scene, _ *time.Time) {
			s.change("del zone/a.example/soa")
			for _, d := range deletes(a[1:]) {
				s.change(d)
			}
			s.change(deletes(b[1:12])...)
		}, 80, 11, "a"},
		{"names, then their zone, then ten more", func(s *scene, _ *time.Time) {
			s.change(deletes(a[1:41])...)
			s.change("del zone/a.example/soa")
			s.change(deletes(b[1:11])...)
		}, 70, 0, "a"},
		{"names, then their zone, then eleven more", func(s *scene, _ *time.Time) {
			s.change(deletes(a[1:41])...)
			s.change("del zone/a.example/soa")
			s.change(deletes(b[1:12])...)
		}, 80, 11, "a"},
		{"a zone and its names at once, then eleven more", func(s *scene, _ *time.Time) {
			s.change(deletes(a)...)
			s.change(deletes(b[1:12])...)
		}, 80, 11, "a"},
		{"a zone and its names at once, then ten more", func(s *scene, _ *time.Time) {
			s.change(deletes(a)...)
			s.change(deletes(b[1:11])...)
		}, 70, 0, "a"},
		{"a zone, its names, the zone again, then eleven more", func(s *scene, _ *time.Time) {
			s.change("del zone/a.example/soa")
			s.change(deletes(a[1:])...)
			s.change(a[0])
			s.change(deletes(b[1:12])...)
		}, 80, 11, ""},
		{"names, then put again as their zone goes, then eleven more", func(s *scene, _ *time.Time) {
			s.change(deletes(a[1:41])...)
			s.change(append(slices.Clone(a[1:41]), "del zone/a.example/soa")...)
			s.change(deletes(b[1:12])...)
		}, 80, 11, "a"},
		{"a zone, then its names and eleven more as it opens again", func(s *scene, _ *time.Time) {
			s.change("del zone/a.example/soa")
			s.change(append(deletes(append(slices.Clone(a[1:]), b[1:12]...)), a[0])...)
		}, 140, 71, ""},
		{"a zone, then its names and ten more as it opens again", func(s *scene, _ *time.Time) {
			s.change("del zone/a.example/soa")
			s.change(append(deletes(append(slices.Clone(a[1:]), b[1:11]...)), a[0])...)
		}, 70, 0, ""},
		{"a zone, then all of it again, then seventy", func(s *scene, _ *time.Time) {
			s.change(deletes(a)...)
			s.change(a...)
			s.change(deletes(b[1:71])...)
		}, 70, 0, ""},
		{"names of a zone that is gone for long", func(s *scene, now *time.Time) {
			s.change("del zone/a.example/soa")
			*now = now.Add(guardWindow + 1)
			s.change(deletes(a[1:])...)
			s.change(deletes(b[1:41])...)
		}, 40, 0, "a"},
		{"more than half of what is served, beside names without a zone", func(s *scene, now *time.Time) {
			s.change("del zone/a.example/soa")
			*now = now.Add(guardWindow + 1)
			s.change(deletes(b[1:42])...)
		}, 80, 41, "a"},
		{"the larger zone", func(s *scene, _ *time.Time) { s.change("del zone/b.example/soa") }, 140, 80, ""},
		{"the larger zone, then some of its names, then its soa again", func(s *scene, _ *time.Time) {
			s.change("del zone/b.example/soa")
			s.change(deletes(b[1:31])...)
			s.change(b[0])
		}, 140, 30, ""},
		{"the larger zone, then a few of the other", func(s *scene, _ *time.Time) {
			s.change("del zone/b.example/soa")
			s.change(deletes(a[1:3])...)
		}, 140, 82, ""},
		{"an empty zone with all the rest", func(s *scene, _ *time.Time) {
			s.change("put zone/c.example/soa {}")
			s.change(append(deletes(b), "del zone/c.example/soa")...)
		}, 140, 80, ""},
		{"names that were never there", func(s *scene, _ *time.Time) {
			s.change(deletes(zoned("a.example", 200)[61:])...)
			s.change(deletes(b[1:71])...)
		}, 70, 0, ""},
		{"a minute, to the end", func(s *scene, now *time.Time) {
			s.change(deletes(b[1:71])...)
			*now = now.Add(guardWindow)
			s.change(deletes(b[71:72])...)
		}, 70, 1, ""},
		{"a minute and a bit", func(s *scene, now *time.Time) {
			s.change(deletes(b[1:71])...)
			*now = now.Add(guardWindow + 1)
			s.change(deletes(b[71:72])...)
		}, 69, 0, ""},
		{"deleted, put, and deleted again later", func(s *scene, now *time.Time) {
			s.change(deletes(b[1:71])...)
			s.change(b[1:71]...)
			*now = now.Add(guardWindow / 2)
			s.change(deletes(b[1:71])...)
			*now = now.Add(guardWindow/2 + 1)
			s.change(deletes(b[71:72])...)
		}, 70, 1, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := time.Now()
			s := newScene().at(&now)
			s.change(append(a, b...)...)
			tt.do(s, &now)
			served := 0
			for _, zone := range []string{"a", "b"} {
				for i := range 80 {
					if strings.HasPrefix(s.ask(fmt.Sprintf("n%d.%s.example", i, zone), "A"), "found") {
						served++
					}
				}
				if gone := s.ask(zone+".example", "SOA") == "refused\n"; gone != (tt.deleted == zone) {
					t.Errorf("zone %s is gone: %v", zone, gone)
				}
			}
			held := 0
			if h := s.registry.Held(); h != nil {
				held = h.Names
			}
			if served != tt.served || held != tt.held {
				t.Errorf("%d names are served and %d held back, expected %d and %d", served, held, tt.served, tt.held)
			}
		})
	}
}

// TestGuardQuiet: what changes beside deletes held back says nothing new of them, and a full read that
// finds nothing else counts no drift.
func TestGuardQuiet(t *testing.T) {
	s, now := guarded(40)
	s.change(deletes(names(0, 30))...)
	s.registry.faults.changed = false
	text := s.run(t, "faults")
	for _, n := range names(50, 5) {
		s.change(n)
	}
	s.readAll()
	if got := s.run(t, "faults"); got != text || s.registry.faults.changed {
		t.Errorf("was   %sand is %schanged: %v", text, got, s.registry.faults.changed)
	}
	if s.registry.drift != 0 {
		t.Errorf("drift: %d", s.registry.drift)
	}
	want := "control/accept-delete @2: 30 keys of names (of 40), 0 members (of 0) and 0 other keys were deleted within a minute: held back, they serve on. " +
		"If it was meant, put 2 here; if not, put them again\n"
	if text != want {
		t.Errorf("got  %swant %s", text, want)
	}
	// Nor does it show that there was something once all is put again.
	s.change(deletes(names(0, 30))...)
	s.change(names(0, 30)...)
	r := &s.registry.guard
	if len(r.recent.byKey) != 0 || r.recent.asked.names != 0 || len(r.recent.asked.zones) != 0 || len(r.held.tally.zones) != 0 || s.run(t, "faults") != "" {
		t.Errorf("left over: %+v, faults %s", r.recent, s.run(t, "faults"))
	}
	*now = now.Add(guardWindow + 1)
	s.change(deletes(names(0, 1))...)
	if len(r.recent.order) != 1 || len(r.recent.byKey) != 1 {
		t.Errorf("a minute later: %+v", r.recent)
	}
}

// Leases of most members that end at once, where no check knows of them, are an accident until somebody
// says otherwise.
func TestGuardExpiry(t *testing.T) {
	now := time.Now()
	s := newScene().at(&now)
	s.change(`put zone/example.com/soa {}`, `put zone/example.com/name/www/steer {"pool":"web"}`, `put pool/web/policy {"policy":"multivalue"}`)
	s.revision++
	u := Update{Revision: s.revision}
	for i := range 30 {
		u.Entries = append(u.Entries, Entry{Key: fmt.Sprintf("pool/web/member/m%d", i), Value: fmt.Appendf(nil, "192.0.2.%d", i+1), Revision: s.revision, Lease: 7})
	}
	s.registry.Apply(u)
	s.revision++
	u.Revision = s.revision
	for i := range u.Entries {
		u.Entries[i] = Entry{Key: u.Entries[i].Key, Deleted: true, Expired: true, Lease: 7, Revision: s.revision}
	}
	s.served = s.registry.Apply(u)
	if got := s.ask("www.example.com", "A"); strings.Count(got, "\n") != 9 {
		t.Errorf("got %s", got)
	}
	if h := s.registry.Held(); h == nil || h.Members != 30 || len(s.registry.unregistered) != 0 {
		t.Errorf("held back %+v, unregistered %d", h, len(s.registry.unregistered))
	}
	s.change("put control/accept-delete 3")
	if got := s.ask("www.example.com", "A"); strings.HasPrefix(got, "found") || s.registry.memberKeys != 0 {
		t.Errorf("accepted, and still %s (%d members)", got, s.registry.memberKeys)
	}
}

// Of a registry that is deleted whole, pools go on as they were.
func TestGuardMembers(t *testing.T) {
	now := time.Now()
	s := newScene().at(&now)
	var puts []string
	for i := range 20 {
		puts = append(puts, fmt.Sprintf("put pool/web/member/m%d 192.0.2.%d", i, i+1))
	}
	puts = append(puts, `put pool/web/policy {"policy":"multivalue"}`, `put zone/example.com/soa {"ns":["ns1.example.net."]}`,
		`put zone/example.com/name/www/steer {"pool":"web"}`)
	s.change(puts...)
	before := s.ask("www.example.com", "A")
	s.change(deletes(puts)...)
	if got := s.ask("www.example.com", "A"); got != before || strings.Count(got, "\n") != 9 {
		t.Errorf("answer was %s\nand is %s", before, got)
	}
	if h := s.registry.Held(); h == nil || h.Members != 20 || h.Names != 1 || h.Others != 1 {
		t.Errorf("held back: %+v", h)
	}
	s.change("put control/accept-delete 2")
	if got := s.ask("www.example.com", "A"); got != "refused\n" {
		t.Errorf("accepted, and still %s", got)
	}
}

// Of most members that have lingered for long enough all are held back, and asked for once.
func TestGuardLapse(t *testing.T) {
	now := time.Now()
	s := newScene().at(&now)
	s.change(`put check/http {"http":{}}`, `put pool/p/policy {"check":"http"}`)
	u := Update{Revision: 2}
	for i := range 30 {
		u.Entries = append(u.Entries, Entry{Key: fmt.Sprintf("pool/p/member/m%d", i), Value: fmt.Appendf(nil, "192.0.2.%d", i+1), Revision: 2, Lease: 7})
	}
	s.registry.Apply(u)
	u.Revision = 3
	for i := range u.Entries {
		s.runState(fmt.Sprintf("http 192.0.2.%d:80 up", i+1))
		u.Entries[i] = Entry{Key: u.Entries[i].Key, Deleted: true, Expired: true, Lease: 7, Revision: 3}
	}
	s.served = s.registry.Apply(u)
	if s.registry.Held() != nil || len(s.registry.unregistered) != 30 {
		t.Fatalf("held back %+v, %d unregistered", s.registry.Held(), len(s.registry.unregistered))
	}
	now = now.Add(10 * time.Minute)
	s.lapse()
	if h := s.registry.Held(); h == nil || h.Members != 30 || h.Accept != 3 || len(s.registry.Lapsed()) != 0 || s.registry.memberKeys != 30 {
		t.Errorf("held back %+v, %d lapse once more, %d members", h, len(s.registry.Lapsed()), s.registry.memberKeys)
	}
	s.revision = 3
	s.change("put control/accept-delete 3")
	if s.registry.memberKeys != 0 || len(s.registry.unregistered) != 0 || s.registry.Held() != nil {
		t.Errorf("accepted, and %d members", s.registry.memberKeys)
	}
}

// Members count like names: half of them may go within a minute.
func TestGuardMembersOneByOne(t *testing.T) {
	now := time.Now()
	s := newScene().at(&now)
	var puts []string
	for i := range 40 {
		puts = append(puts, fmt.Sprintf("put pool/p%d/member/m%d 192.0.2.1", i%7, i))
	}
	s.change(puts...)
	s.change("put pool/p0/member/m0 192.0.2.2", "put pool/p0/member/wrong x")
	for i, d := range deletes(puts)[:20] {
		s.change(d)
		if h := s.registry.Held(); h != nil {
			t.Fatalf("of 40 the delete of %d is held back: %+v", i+1, h)
		}
	}
	s.change("del pool/p0/member/wrong", "del pool/none/member/m")
	if h := s.registry.Held(); h != nil {
		t.Errorf("what was never a member is held back: %+v", h)
	}
	s.change(deletes(puts)[20])
	if h := s.registry.Held(); h == nil || h.Members != 1 || s.registry.memberKeys != 20 {
		t.Errorf("held back %+v, with %d members", h, s.registry.memberKeys)
	}
}

// What is accepted in the update that tells of it, as after a server was slow, is not held back.
func TestAcceptTogether(t *testing.T) {
	s, _ := guarded(40)
	u := Update{Revision: 3, Entries: []Entry{{Key: acceptKey, Value: []byte("2"), Revision: 3}}}
	for _, d := range deletes(names(0, 30)) {
		u.Entries = append(u.Entries, Entry{Key: strings.Fields(d)[1], Deleted: true, Revision: 2})
	}
	s.served = s.registry.Apply(u)
	if got := s.there(40); got != 10 || s.registry.Held() != nil {
		t.Errorf("%d are there, held back %+v", got, s.registry.Held())
	}
}

func TestAcceptValues(t *testing.T) {
	for value, want := range map[string]string{
		"7":   "revision 7 is yet to come (this key is of 2): deletes can be accepted once they were made",
		"2":   "revision 2 is yet to come (this key is of 2): deletes can be accepted once they were made",
		"yes": `"yes" is not a revision, expected the number that the server asks for`,
		"0":   `"0" is not a revision, expected the number that the server asks for`,
		"":    `"" is not a revision, expected the number that the server asks for`,
		"1":   "",
	} {
		s := newScene()
		s.change("put site/fra {}")
		s.change("put control/accept-delete " + value)
		got := ""
		if f := s.registry.Faults(); len(f) == 1 {
			got = f[0].Error
		}
		if got != want {
			t.Errorf("%q: %s, expected %s", value, got, want)
		}
	}
}
