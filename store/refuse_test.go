package store

import (
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
