package store

import (
	"fmt"
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
