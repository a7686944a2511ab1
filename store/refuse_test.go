package store

import (
	"maps"
	"strings"
	"testing"
	"time"
)

// restored gives the scene a registry that has read nothing but the image of the former one.
func (s *scene) restored() *scene {
	img, err := throughFile(s.registry.Image())
	if err != nil {
		panic(err)
	}
	now := s.registry.now
	s.registry = newScene().registry
	s.registry.now = now
	s.served = s.registry.Restore(img)
	return s
}

// moved has the scene's keys be another cluster's, written at one revision of it.
func (s *scene) moved(cluster uint64, revision int64, keys map[string]string) {
	s.cluster, s.revision, s.keys = cluster, revision, map[string]Entry{}
	for k, v := range keys {
		s.keys[k] = Entry{Key: k, Value: []byte(v), Revision: revision}
	}
}

var other = map[string]string{
	"zone/example.com/soa":       `{"ns":["ns1.example.net."]}`,
	"zone/example.com/name/n1/A": "192.0.2.77",
}

// TestRefused: what cannot be what etcd held before, with some changes, is not obeyed without a word.
func TestRefused(t *testing.T) {
	const first, new = "found\nn1.example.com. 300 IN A 192.0.2.1\n", "found\nn1.example.com. 300 IN A 192.0.2.77\n"
	for _, tt := range []struct {
		name    string
		do      func(s *scene, now *time.Time)
		answer  string
		refused string // how the reason begins; "" is obeyed
	}{
		{"another cluster", func(s *scene, _ *time.Time) { s.moved(2, 9, other); s.readAll() }, first, "etcd is of cluster 2 and was 1"},
		{"another cluster, and changes there", func(s *scene, _ *time.Time) {
			s.moved(2, 9, other)
			s.readAll()
			s.change("put zone/example.com/name/n1/A 192.0.2.78")
			s.readAll()
		}, first, "etcd is of cluster 2 and was 1"},
		{"another cluster, accepted", func(s *scene, _ *time.Time) {
			s.moved(2, 9, other)
			s.readAll()
			s.change("put control/accept-delete 9")
			if !s.registry.WantsRead() {
				panic("the word is not looked at")
			}
			s.readAll()
		}, new, ""},
		{"another cluster, accepted before it was seen", func(s *scene, _ *time.Time) {
			s.moved(2, 9, other)
			s.keys[acceptKey] = Entry{Key: acceptKey, Value: []byte("8"), Revision: 9}
			s.readAll()
		}, first, "etcd is of cluster 2 and was 1"},
		{"another cluster, and the first again", func(s *scene, _ *time.Time) {
			keys, revision := s.keys, s.revision
			s.moved(2, 9, other)
			s.readAll()
			s.cluster, s.keys, s.revision = 1, keys, revision
			s.readAll()
		}, first, ""},
		{"empty", func(s *scene, _ *time.Time) { s.moved(1, 9, nil); s.readAll() }, first, "etcd has no keys"},
		{"empty, accepted", func(s *scene, _ *time.Time) {
			s.moved(1, 9, nil)
			s.readAll()
			s.change("put control/accept-delete 9")
			s.readAll()
		}, "refused\n", ""},
		{"empty, and filled again", func(s *scene, _ *time.Time) {
			s.moved(1, 9, nil)
			s.readAll()
			s.change("put zone/example.com/soa {}", "put zone/example.com/name/n1/A 192.0.2.77")
			if !s.registry.WantsRead() {
				panic("the keys are not looked at")
			}
			s.readAll()
		}, new, ""},
		{"empty, and then filled with a word of old", func(s *scene, _ *time.Time) {
			s.moved(2, 1, nil)
			s.readAll()
			s.moved(2, 50, other)
			s.keys[acceptKey] = Entry{Key: acceptKey, Value: []byte("7"), Revision: 50}
			s.readAll()
			s.readAll()
		}, first, "etcd is of cluster 2 and was 1: not obeyed, what was read before serves on. If it is right, put 50 into control/accept-delete there"},
		{"empty, after another that was", func(s *scene, _ *time.Time) {
			s.change("put " + acceptKey + " 1")
			revision := s.revision
			s.moved(2, 1, nil)
			s.readAll()
			s.moved(1, revision+1, nil)
			s.keys[acceptKey] = Entry{Key: acceptKey, Value: []byte("1"), Revision: revision}
			s.readAll()
			s.readAll()
		}, first, "etcd has no keys: not obeyed, what was read before serves on. If it is right, put 4 into"},
		{"another cluster, that goes on", func(s *scene, _ *time.Time) {
			s.moved(2, 9, other)
			s.readAll()
			s.change("put zone/example.com/name/n1/A 192.0.2.78", "del site/fra")
			if s.registry.WantsRead() {
				panic("all is read again for every change")
			}
			s.readAll()
		}, first, "etcd is of cluster 2 and was 1: not obeyed, what was read before serves on. If it is right, put 9 into"},
		{"another cluster, after two others", func(s *scene, _ *time.Time) {
			s.moved(2, 9, other)
			s.readAll()
			s.moved(3, 20, other)
			s.keys[acceptKey] = Entry{Key: acceptKey, Value: []byte("9"), Revision: 20}
			s.readAll()
		}, first, "etcd is of cluster 3 and was 1"},
		{"changes of another cluster", func(s *scene, _ *time.Time) {
			s.cluster = 2
			s.change("put zone/example.com/name/n1/A 192.0.2.77")
			if !s.registry.WantsRead() {
				panic("all is not read again")
			}
		}, first, ""},
		{"changes of an older revision", func(s *scene, _ *time.Time) {
			s.revision = 0
			s.change("put zone/example.com/name/n1/A 192.0.2.77")
			if !s.registry.WantsRead() {
				panic("all is not read again")
			}
		}, first, ""},
		{"empty for long, then behind for a moment", func(s *scene, now *time.Time) {
			keys, revision := s.keys, s.revision
			s.moved(2, 1, nil)
			s.readAll()
			*now = now.Add(time.Hour)
			s.cluster, s.keys, s.revision = 1, maps.Clone(keys), revision
			s.behind()
			s.readAll()
			s.keys, s.revision = keys, revision
			s.readAll()
		}, first, ""},
		{"behind, and changes there", func(s *scene, _ *time.Time) {
			s.behind()
			s.readAll()
			s.change("del site/fra")
			if !s.registry.WantsRead() || s.registry.WantsRead() {
				panic("that it has caught up is not looked at, once")
			}
		}, first, "etcd is behind revision 2"},
		{"behind for long, accepted", func(s *scene, now *time.Time) {
			keys, _ := s.behind()
			s.readAll()
			*now = now.Add(lag + 1)
			s.keys, s.revision = keys, 5
			s.readAll()
			s.keys["zone/example.com/name/n1/A"] = Entry{Key: "zone/example.com/name/n1/A", Value: []byte("192.0.2.77"), Revision: 2}
			s.keys[acceptKey] = Entry{Key: acceptKey, Value: []byte("1"), Revision: 6}
			s.revision = 6
			s.readAll()
		}, new, ""},
		{"another cluster, after a restart, filled while it is refused", func(s *scene, _ *time.Time) {
			s.restored()
			s.moved(2, 1, nil)
			s.readAll()
			s.moved(2, 9, other)
			s.readAll()
		}, first, "etcd is of cluster 2 and was 1"},
		{"another cluster, after a restart and a read", func(s *scene, _ *time.Time) {
			s.restored()
			s.readAll()
			s.moved(2, 9, other)
			s.readAll()
		}, first, "etcd is of cluster 2 and was 1"},
		{"another cluster, after a restart, that loses what is held back", func(s *scene, _ *time.Time) {
			s.change(names(0, 30)...)
			s.change(deletes(names(1, 20))...)
			s.restored()
			keys := map[string]string{"zone/example.com/soa": "{}"}
			for _, n := range append(names(0, 1), names(21, 9)...) {
				keys[strings.Fields(n)[1]] = "192.0.2.77"
			}
			s.moved(2, 9, keys)
			s.readAll()
		}, first, "etcd is of cluster 2 and was 1"},
		{"behind", func(s *scene, _ *time.Time) { s.behind(); s.readAll() }, first, "etcd is behind revision 2"},
		{"behind, and caught up", func(s *scene, now *time.Time) {
			keys, revision := s.behind()
			s.readAll()
			*now = now.Add(lag)
			s.keys, s.revision = keys, revision
			s.readAll()
		}, first, ""},
		{"behind for long, and then beyond", func(s *scene, now *time.Time) {
			keys, revision := s.behind()
			s.readAll()
			*now = now.Add(lag + 1)
			s.keys, s.revision = keys, revision
			s.readAll()
		}, first, "etcd was behind revision 2 for long"},
		{"behind, accepted", func(s *scene, _ *time.Time) {
			s.behind()
			s.readAll()
			s.keys[acceptKey] = Entry{Key: acceptKey, Value: []byte("1"), Revision: 2}
			s.revision = 2
			s.readAll()
		}, "nxdomain\nexample.com. 300 IN SOA ns1.example.net. hostmaster.example.com. 2 7200 900 1209600 300\n", ""},
		{"another cluster, after a restart, that loses much", func(s *scene, _ *time.Time) {
			for _, n := range names(50, 20) {
				s.change(n)
			}
			s.restored()
			s.moved(2, 99, other)
			s.readAll()
		}, first, "etcd is of cluster 2 and was 1"},
		{"another cluster, after a restart, that loses little", func(s *scene, _ *time.Time) {
			s.restored()
			s.moved(2, 9, other)
			s.readAll()
		}, new, ""},
		{"empty, after a restart", func(s *scene, _ *time.Time) {
			s.restored()
			s.moved(2, 1, nil)
			s.readAll()
		}, first, "etcd has no keys"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := time.Now()
			s := newScene().at(&now)
			s.cluster = 1
			s.change(`put zone/example.com/soa {"ns":["ns1.example.net."],"negative_ttl":300}`)
			s.change("put zone/example.com/name/n1/A 192.0.2.1")
			s.readAll()
			tt.do(s, &now)
			if got := s.ask("n1.example.com", "A"); got != tt.answer {
				t.Errorf("got  %s\nwant %s", got, tt.answer)
			}
			if got := s.registry.Refused(); !strings.HasPrefix(got, tt.refused) || (got == "") != (tt.refused == "") {
				t.Errorf("refused: %q, expected %q", got, tt.refused)
			}
			said := false
			for _, f := range s.registry.Faults() {
				said = said || f.Key == acceptKey
			}
			if said != (tt.refused != "") {
				t.Errorf("faults: %v", s.registry.Faults())
			}
		})
	}
}

// TestRefusedAndHeld: why nothing is obeyed comes before what is held back, and that is said again when
// it is over.
func TestRefusedAndHeld(t *testing.T) {
	s, _ := guarded(40)
	s.cluster = 1
	s.readAll()
	s.change(deletes(names(0, 30))...)
	held, keys, revision := s.run(t, "faults"), s.keys, s.revision
	s.moved(2, 9, other)
	s.readAll()
	refused := s.run(t, "faults")
	if !strings.Contains(held, "30 keys of names") || !strings.Contains(refused, "not obeyed") {
		t.Fatalf("held back: %srefused: %s", held, refused)
	}
	s.served = s.registry.take(Update{Revision: revision}) // of a member that lingers no more
	if got := s.run(t, "faults"); got != refused {
		t.Errorf("refused, and %s", got)
	}
	s.cluster, s.keys, s.revision = 1, keys, revision
	s.readAll()
	if got := firstSeen.ReplaceAllString(s.run(t, "faults"), ""); !strings.Contains(got, "30 keys of names") || s.registry.Refused() != "" {
		t.Errorf("obeyed again, and %s", got)
	}
}

// TestAccepted: of a registry that is accepted nothing is mistaken for what was there before, and what
// is known of the world stays.
func TestAccepted(t *testing.T) {
	s := newScene()
	s.cluster, s.revision = 1, 100
	s.change(`put zone/example.com/soa {"ns":["ns1"]}`, `put zone/example.com/name/a/steer {"pool":"p"}`, "put zone/example.com/name/b/A x",
		`put zone/gone.example/soa {"ns":["ns1"]}`, `put check/http {"http":{}}`, `put pool/p/policy {"policy":"multivalue","check":"http"}`,
		"put pool/p/member/m 192.0.2.1", "put pool/p/member/n 192.0.2.2", "put site/fra {}", "put pool/old/member/m 192.0.2.9", `put pool/old/policy {"check":"http"}`)
	s.runState("http 192.0.2.1:80 up")
	s.runState("http 192.0.2.2:80 down")
	s.registry.unregistered["pool/p/member/n"] = time.Now()
	s.registry.targets.changed = false
	s.registry.drift = 3
	s.moved(2, 101, map[string]string{
		"zone/example.com/soa": `{"ns":["ns1"]}`, "zone/example.com/name/a/steer": `{"pool":"p"}`, "check/http": `{"http":{}}`,
		"pool/new/member/m": "192.0.2.9", "pool/p/policy": `{"policy":"multivalue","check":"http"}`, "pool/p/member/m": "192.0.2.1", "pool/p/member/n": "192.0.2.2",
	})
	for k, e := range s.keys {
		e.Revision = 7
		s.keys[k] = e
	}
	s.revision = 8
	s.readAll()
	s.change("put control/accept-delete 8")
	s.readAll()
	if got, want := s.ask("a.example.com", "A"), "found\na.example.com. 30 IN A 192.0.2.1\n"; got != want {
		t.Errorf("got %s, expected what is known to be up: %s", got, want)
	}
	if got := s.run(t, "faults"); got != "" {
		t.Errorf("faults: %s", got)
	}
	r := s.registry
	if !r.targets.changed || len(r.sites) != 0 || len(r.pools) != 2 || len(r.unregistered) != 0 || r.newest != 9 || r.cluster != 2 || r.guard.accept != 8 ||
		r.drift != 3 || len(r.targets.byID) != 2 || len(r.targets.byPool) != 1 {
		t.Errorf("registry: %+v", r)
	}
	serial := func(zone string) string { return strings.Fields(s.ask(zone, "SOA") + " - - - - - - - -")[7] }
	if got := serial("example.com"); got != "101" {
		t.Errorf("serial %s, expected 101 as before", got)
	}
	s.change(`put zone/gone.example/soa {"ns":["ns1"]}`)
	if got := serial("gone.example"); got != "101" {
		t.Errorf("serial of a zone that comes back %s, expected 101 as before", got)
	}
	s.revision = 200
	s.change("put zone/example.com/name/c/A 192.0.2.1")
	if got := serial("example.com"); got != "201" {
		t.Errorf("serial %s, expected 201", got)
	}
	// And another once more.
	s.change("del zone/gone.example/soa")
	s.moved(3, 1, other)
	s.readAll()
	s.change("put control/accept-delete 1")
	s.readAll()
	s.change(`put zone/gone.example/soa {"ns":["ns1"]}`)
	if got := serial("gone.example") + " " + serial("example.com"); got != "101 201" {
		t.Errorf("serials %s, expected 101 and 201 as before", got)
	}
}

// TestNothingServed: where nothing was served anything is obeyed, for what it is.
func TestNothingServed(t *testing.T) {
	s := newScene()
	s.cluster, s.revision = 1, 1000
	s.readAll()
	s.change("put zone/example.com/name/n1 x") // wrong, at revision 1001
	s.moved(2, 9, other)
	s.readAll()
	if got := s.ask("n1.example.com", "A"); !strings.HasPrefix(got, "found") || s.registry.newest != 9 || s.registry.cluster != 2 {
		t.Errorf("got %s, newest %d, cluster %d", got, s.registry.newest, s.registry.cluster)
	}
	s = newScene()
	s.cluster, s.revision = 1, 1000
	s.readAll()
	s.moved(1, 9, other)
	s.readAll()
	if got := s.ask("n1.example.com", "A"); !strings.HasPrefix(got, "found") || s.registry.newest != 9 || s.registry.drift != 0 {
		t.Errorf("behind: got %s, newest %d, drift %d", got, s.registry.newest, s.registry.drift)
	}
}

// behind takes the scene's etcd back by a revision, and returns what it was.
func (s *scene) behind() (keys map[string]Entry, revision int64) {
	keys, revision = s.keys, s.revision
	s.revision--
	s.keys = map[string]Entry{}
	for k, e := range keys {
		if e.Revision <= s.revision {
			s.keys[k] = e
		}
	}
	return keys, revision
}
