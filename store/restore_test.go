package store

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// recall asks from, which has seen all changes, for the former values of what is wrong.
func (s *scene) recall(from *scene) {
	at := map[string]int64{}
	for range maxFormers {
		var found []Former
		for _, f := range s.registry.Forgotten() {
			if at[f.Key] == 0 {
				at[f.Key] = f.Revision
			}
			if e, ok := from.earlier(f.Key, at[f.Key]); ok {
				at[f.Key] = e.Revision
				found = append(found, Former{Now: s.keys[f.Key], Before: e})
			}
		}
		if served := s.registry.Recall(found); served != nil {
			s.served = served
		}
	}
}

// TestRecall: of a key that is wrong when the registry is read for the first time, the last good value
// that etcd remembers is served.
func TestRecall(t *testing.T) {
	const soa = `put zone/example.com/soa {"ns":["ns1.example.net."]}`
	for _, tt := range []struct {
		name     string
		changes  []string
		question string
		answer   string // without and with what was before
		recalled string
		faults   string
	}{
		{"an RRset", []string{soa, "put zone/example.com/name/a/A 192.0.2.1", "put zone/example.com/name/a/A 192.0.2"}, "a.example.com A",
			"servfail", "found\na.example.com. 300 IN A 192.0.2.1",
			`zone/example.com/name/a/A @3 (serving @2): "192.0.2" is not RDATA of type A (bad A A), expected such as: 192.0.2.1`},
		{"wrong twice", []string{soa, "put zone/example.com/name/a/A 192.0.2.1", "put zone/example.com/name/a/A x", "put zone/example.com/name/a/A y"}, "a.example.com A",
			"servfail", "found\na.example.com. 300 IN A 192.0.2.1",
			`zone/example.com/name/a/A @4 (serving @2): "y" is not RDATA of type A (bad A A), expected such as: 192.0.2.1`},
		{"never right", []string{soa, "put zone/example.com/name/a/A x", "put zone/example.com/name/a/A y"}, "a.example.com A",
			"servfail", "servfail",
			`zone/example.com/name/a/A @3: "y" is not RDATA of type A (bad A A), expected such as: 192.0.2.1`},
		{"deleted in between", []string{soa, "put zone/example.com/name/a/A 192.0.2.1", "del zone/example.com/name/a/A", "put zone/example.com/name/a/A y"}, "a.example.com A",
			"servfail", "servfail",
			`zone/example.com/name/a/A @4: "y" is not RDATA of type A (bad A A), expected such as: 192.0.2.1`},
		{"a soa", []string{soa, "put zone/example.com/name/a/A 192.0.2.1", `put zone/example.com/soa {"ns":7}`}, "a.example.com A",
			"found\na.example.com. 300 IN A 192.0.2.1", "found\na.example.com. 300 IN A 192.0.2.1",
			`zone/example.com/soa @3 (serving @1): ns: expected a list, found a number`},
		{"a member", []string{soa, `put zone/example.com/name/a/steer {"pool":"p"}`, "put pool/p/member/m 192.0.2.1", "put pool/p/member/m 192.0.2"}, "a.example.com A",
			"servfail", "found\na.example.com. 30 IN A 192.0.2.1",
			`pool/p/member/m @4 (serving @3): "192.0.2" is not an IP address: IPv4 address too short, expected an address or an object such as {"addr":["192.0.2.10"]}`},
		{"a policy", []string{soa, `put zone/example.com/name/a/steer {"pool":"p"}`, "put pool/p/member/m 192.0.2.1", "put pool/p/member/n 192.0.2.2",
			`put pool/p/policy {"policy":"multivalue"}`, `put pool/p/policy {"policy":"x"}`}, "a.example.com A",
			"found\na.example.com. 30 IN A 192.0.2.1", "found\na.example.com. 30 IN A 192.0.2.1\na.example.com. 30 IN A 192.0.2.2",
			`pool/p/policy @6 (serving @5): policy: unknown policy "x", expected one of weighted, failover, multivalue, sticky, geo, geoproximity, latency`},
		{"a member that closes a circle", []string{soa, `put zone/example.com/name/a/steer {"pool":"p"}`, "put pool/p/member/m 192.0.2.1", `put pool/p/member/m {"pool":"p"}`}, "a.example.com A",
			"nodata\nexample.com. 5 IN SOA ns1.example.net. hostmaster.example.com. 4 7200 900 1209600 30", "found\na.example.com. 30 IN A 192.0.2.1",
			`pool/p/member/m @4 (serving @3): pool: pools must not lead to each other in a circle: p → p`},
		{"a member of another kind", []string{soa, `put zone/example.com/name/a/steer {"pool":"p"}`, "put pool/p/member/m 192.0.2.1", `put pool/p/policy {"policy":"multivalue"}`,
			`put pool/p/member/n 192.0.2.2`, `put pool/p/member/n {"cname":"a."}`}, "a.example.com A",
			"found\na.example.com. 30 IN A 192.0.2.1", "found\na.example.com. 30 IN A 192.0.2.1\na.example.com. 30 IN A 192.0.2.2",
			`pool/p/member/n @6 (serving @5): it is of names, and member m, which was written earlier, of addresses`},
		{"what refers to a pool that is not there", []string{soa, "put pool/p/member/m 192.0.2.1", `put zone/example.com/name/a/steer {"pool":"p"}`,
			`put zone/example.com/name/a/steer {"pool":"q"}`}, "a.example.com A",
			"servfail", "found\na.example.com. 30 IN A 192.0.2.1",
			`zone/example.com/name/a/steer @4 (serving @3): pool: pool/q is not there yet`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lived := newScene()
			for _, c := range tt.changes {
				lived.change(c)
			}
			s := newScene()
			s.keys, s.revision = lived.keys, lived.revision
			s.readAll()
			if got := strings.TrimSpace(s.run(t, "ask "+tt.question)); got != tt.answer {
				t.Errorf("without what was before\ngot  %s\nwant %s", got, tt.answer)
			}
			s.recall(lived)
			if got := strings.TrimSpace(s.run(t, "ask "+tt.question)); got != tt.recalled {
				t.Errorf("with what was before\ngot  %s\nwant %s", got, tt.recalled)
			}
			if got := strings.TrimSpace(s.run(t, "faults")); got != tt.faults {
				t.Errorf("faults\ngot  %s\nwant %s", got, tt.faults)
			}
			if lived := strings.TrimSpace(lived.run(t, "faults")); lived != tt.faults {
				t.Errorf("faults of one that saw all\ngot  %s\nwant %s", lived, tt.faults)
			}
		})
	}
}

const leased = `{"addr":["192.0.2.1"]}`

// TestLinger: a member whose lease has ended stays while its check says up.
func TestLinger(t *testing.T) {
	const key, addr = "pool/p/member/m", "http 192.0.2.1:80"
	expire := func(s *scene) {
		delete(s.keys, key)
		s.revision++
		s.served = s.registry.Apply(Update{Revision: s.revision, Entries: []Entry{{Key: key, Deleted: true, Revision: s.revision, Lease: 7, Expired: true}}})
	}
	for _, tt := range []struct {
		name  string
		do    func(s *scene, now *time.Time)
		there bool
		fault string // of the member
	}{
		{"up", func(s *scene, _ *time.Time) { expire(s); s.lapse() }, true,
			"its lease has ended: it is given while its check says up, until 2026-11-23T12:10:00Z"},
		{"up for nearly as long as it may", func(s *scene, now *time.Time) { expire(s); *now = now.Add(10*time.Minute - 1); s.lapse() }, true,
			"its lease has ended: it is given while its check says up, until 2026-11-23T12:10:00Z"},
		{"up for too long", func(s *scene, now *time.Time) { expire(s); *now = now.Add(10 * time.Minute); s.lapse() }, false, ""},
		{"down later", func(s *scene, _ *time.Time) { expire(s); s.runState(addr + " down"); s.lapse() }, false, ""},
		{"down already", func(s *scene, _ *time.Time) { s.runState(addr + " down"); expire(s) }, false, ""},
		{"nothing is known of it", func(s *scene, _ *time.Time) {
			s.change(`put check/other {"http":{}}`, `put pool/p/policy {"check":"other"}`)
			expire(s)
		}, false, ""},
		{"without a check", func(s *scene, _ *time.Time) { s.change("put pool/p/policy {}"); expire(s) }, false, ""},
		{"the check is taken away later", func(s *scene, _ *time.Time) { expire(s); s.change("put pool/p/policy {}"); s.lapse() }, false, ""},
		{"it was leaving", func(s *scene, _ *time.Time) {
			s.change(`put ` + key + ` {"addr":["192.0.2.1"],"leaving":true}`)
			expire(s)
		}, false, ""},
		{"leaving", func(s *scene, _ *time.Time) { s.change(`put ` + key + ` {"addr":["192.0.2.1"],"leaving":true}`) }, false, ""},
		{"the pool lets nobody linger", func(s *scene, _ *time.Time) {
			s.change(`put pool/p/policy {"check":"http","linger":"0s"}`)
			expire(s)
		}, false, ""},
		{"the pool lets linger for longer", func(s *scene, now *time.Time) {
			s.change(`put pool/p/policy {"check":"http","linger":"1h"}`)
			expire(s)
			*now = now.Add(59 * time.Minute)
			s.lapse()
		}, true, "its lease has ended: it is given while its check says up, until 2026-11-23T13:00:00Z"},
		{"deleted by hand", func(s *scene, _ *time.Time) { s.change("del " + key) }, false, ""},
		{"put again", func(s *scene, now *time.Time) {
			expire(s)
			s.change("put " + key + " " + leased)
			*now = now.Add(time.Hour)
			s.lapse()
		}, true, ""},
		{"read anew", func(s *scene, _ *time.Time) { expire(s); s.readAll() }, true,
			"its lease has ended: it is given while its check says up, until 2026-11-23T12:10:00Z"},
		{"gone in a read", func(s *scene, _ *time.Time) { delete(s.keys, key); s.revision++; s.readAll() }, true,
			"its lease has ended: it is given while its check says up, until 2026-11-23T12:10:00Z"},
		{"after a restart", func(s *scene, now *time.Time) {
			expire(s)
			s.restored()
			*now = now.Add(time.Minute)
			s.lapse()
			s.readAll()
		}, true,
			"its lease has ended: it is given while its check says up, until 2026-11-23T12:10:00Z"},
		{"for too long after a restart", func(s *scene, now *time.Time) { expire(s); s.restored(); *now = now.Add(time.Hour); s.lapse() }, false, ""},
		{"its pool is deleted", func(s *scene, _ *time.Time) { expire(s); s.change("del pool/p/policy"); s.lapse() }, false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
			s := newScene().at(&now)
			s.change(`put zone/example.com/soa {}`, `put zone/example.com/name/a/steer {"pool":"p"}`, `put check/http {"http":{}}`,
				`put pool/p/policy {"check":"http"}`, "put pool/p/member/other 192.0.2.2")
			s.revision++
			e := Entry{Key: key, Value: []byte(leased), Revision: s.revision, Lease: 7}
			s.keys[key] = e
			s.served = s.registry.Apply(Update{Revision: s.revision, Entries: []Entry{e}})
			s.runState(addr + " up")
			s.runState("http 192.0.2.2:80 down")
			tt.do(s, &now)
			if got := strings.Contains(s.run(t, "targets"), "p/m "); got != tt.there {
				t.Errorf("the member is there: %v, expected %v", got, tt.there)
			}
			fault := ""
			for _, f := range s.registry.Faults() {
				if f.Key == key {
					fault = f.Error
				}
			}
			if fault != tt.fault {
				t.Errorf("fault: %s\nexpected %s", fault, tt.fault)
			}
			if s.registry.drift != 0 {
				t.Errorf("drift: %d", s.registry.drift)
			}
			if n := len(s.registry.unregistered); (n == 1) != (tt.fault != "") {
				t.Errorf("%d unregistered", n)
			}
		})
	}
}

// TestDrift: what a full read finds other than it should be is mended and counted.
func TestDrift(t *testing.T) {
	s := newScene()
	s.change(`put zone/example.com/soa {"ns":["ns1.example.net."]}`, "put zone/example.com/name/a/A 192.0.2.1", "put zone/example.com/name/b/A 192.0.2.1")
	s.change("put site/fra {}")
	lost := func(key, value string) {
		s.keys[key] = Entry{Key: key, Value: []byte(value), Revision: s.revision}
	}
	lost("zone/example.com/name/a/A", "192.0.2.2") // of a revision that was told of
	delete(s.keys, "zone/example.com/name/b/A")
	lost("site/fra", `{"country":"DE"}`)
	s.readAll()
	if got := s.ask("a.example.com", "A") + s.ask("b.example.com", "A"); !strings.HasPrefix(got, "found\na.example.com. 300 IN A 192.0.2.2\nnxdomain") {
		t.Errorf("not mended: %s", got)
	}
	if s.registry.drift != 2 { // the site is of the revision that it was taken with
		t.Errorf("%d keys were other than they should have been, expected 2", s.registry.drift)
	}
	s.revision++
	lost("zone/example.com/name/c/A", "192.0.2.3") // not told of, since the watch had ended
	s.readAll()
	if s.registry.drift != 2 {
		t.Errorf("a change that was not told of is counted: %d", s.registry.drift)
	}
}

// TestNoDriftAfterRestart: what an image does not hold is no drift, and an image that is written before
// etcd was read is no younger than the one it was made of.
func TestNoDriftAfterRestart(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	s := newScene().at(&now)
	s.change(`put zone/example.com/soa {"ns":["ns1"]}`, "put zone/example.com/name/a/A x", "put site/fra x", "put pool/p/policy x")
	s.change("put control/accept-delete 1")
	s.restored()
	now = now.Add(time.Hour)
	if saved := s.registry.Image().Saved; !saved.Equal(now.Add(-time.Hour)) {
		t.Errorf("saved %v", saved)
	}
	s.readAll()
	if s.registry.drift != 0 {
		t.Errorf("drift: %d", s.registry.drift)
	}
	if saved := s.registry.Image().Saved; !saved.Equal(now) {
		t.Errorf("read, and saved %v", saved)
	}
	s.readAll()
	if s.registry.drift != 0 {
		t.Errorf("read again, drift: %d", s.registry.drift)
	}
}

// TestRestoreForgetsWrong: a key that was never right, and is deleted while the server is away, leaves
// nothing behind.
func TestRestoreForgetsWrong(t *testing.T) {
	wrong := map[string]string{
		"zone/example.com/name/a/A": "x", "zone/example.com/name/b/TYPO": "x", "zone/example.com/name/c/steer": "x",
		"zone/example.net/soa": "x", "pool/p/policy": "x", "pool/p/member/m": "x", "site/fra": "x",
	}
	s := newScene()
	s.change(`put zone/example.com/soa {"ns":["ns1"]}`, "put zone/example.com/name/right/A 192.0.2.1")
	for key, value := range wrong {
		s.change("put " + key + " " + value)
	}
	s.restored()
	for key := range wrong {
		delete(s.keys, key)
	}
	s.revision++
	s.readAll()
	for question, want := range map[string]string{"a.example.com A": "nxdomain", "b.example.com A": "nxdomain", "c.example.com A": "nxdomain", "example.net SOA": "refused", "right.example.com A": "found"} {
		if got := s.run(t, "ask "+question); !strings.HasPrefix(got, want+"\n") {
			t.Errorf("%s: %s", question, got)
		}
	}
	if s.registry.drift != 0 || s.registry.nameKeys != 1 || len(s.registry.pools) != 0 {
		t.Errorf("drift %d, %d keys of names, %d pools", s.registry.drift, s.registry.nameKeys, len(s.registry.pools))
	}
}

// TestComparedWithAnother: what was looked at ahead of a change of ours is looked at again.
func TestComparedWithAnother(t *testing.T) {
	s := newScene()
	s.change(`put zone/example.com/soa {"ns":["ns1"]}`, "put zone/example.com/name/a/A 192.0.2.1", "put zone/example.com/name/b/A 192.0.2.1")
	u := Update{Revision: s.revision, Full: true}
	for _, e := range s.keys {
		u.Entries = append(u.Entries, e)
	}
	u.compare(s.served)
	s.served = s.registry.Apply(Update{Revision: s.revision, Entries: []Entry{{Key: "zone/example.com/name/a/A", Deleted: true, Revision: s.revision}}})
	s.served = s.registry.Apply(u)
	if got := s.ask("a.example.com", "A"); !strings.HasPrefix(got, "found") {
		t.Errorf("got %s", got)
	}
	// Nor does a fault stay that etcd knows nothing of.
	s.registry.Apply(Update{Revision: 2, Entries: []Entry{{Key: "zone/example.com/name/a/A", Value: []byte("x"), Revision: 2}}})
	u.Revision = 2
	u.compare(s.registry.snapshot)
	s.served = s.registry.Apply(u)
	if got := s.run(t, "faults"); got != "" {
		t.Errorf("faults: %s", got)
	}
}

// TestReadWithout: a key that a full read does not list is gone, whatever it held.
func TestReadWithout(t *testing.T) {
	puts := []string{`put zone/example.com/soa {"ns":["ns1"]}`, "put zone/example.com/name/a/A 192.0.2.1", `put zone/example.com/name/b/steer {"pool":"p"}`,
		`put pool/p/policy {"policy":"multivalue"}`, "put pool/p/member/m 192.0.2.1", "put pool/q/policy {}", "put pool/r/policy x", "put site/fra {}", `put check/http {"http":{}}`,
		"put control/accept-delete 1", "put zone/example.com/name/c/A x", "put foo x"}
	for _, p := range puts {
		key := strings.Fields(p)[1]
		told, read := newScene(), newScene()
		for _, s := range []*scene{told, read} {
			s.change("put site/other {}")
			s.change(puts...)
		}
		told.change("del " + key)
		delete(read.keys, key)
		read.revision++
		read.readAll()
		state := func(s *scene) string {
			r := s.registry
			return fmt.Sprint(s.run(t, "faults"), s.ask("a.example.com", "A"), s.ask("b.example.com", "A"), s.ask("c.example.com", "A"),
				slices.Sorted(maps.Keys(r.pools)), len(r.sites), len(r.checks), r.guard.accept, r.guard.revision, r.nameKeys, r.memberKeys)
		}
		if d := diff(state(told), state(read)); d != "the same" || read.registry.drift != 0 {
			t.Errorf("%s, deleted (want) and gone in a read (got): %s, drift %d", key, d, read.registry.drift)
		}
	}
}

// TestRecallHeld: to look for a former value does not undo that a delete is held back.
func TestRecallHeld(t *testing.T) {
	s, _ := guarded(40)
	s.change("put zone/example.com/name/x/A x")
	s.change(append(deletes(names(0, 40)), "del zone/example.com/name/x/A")...)
	old := Entry{Key: "zone/example.com/name/x/A", Value: []byte("192.0.2.1"), Revision: 1}
	now := Entry{Key: old.Key, Value: []byte("x"), Revision: 2}
	if s.registry.Recall([]Former{{Now: now, Before: old}}) != nil || s.registry.Held().Names != 41 {
		t.Errorf("held back %+v", s.registry.Held())
	}
}

// TestRecallNot: what a key said before is of no use where it has changed meanwhile, is served already, or
// would push out what is.
func TestRecallNot(t *testing.T) {
	const key = "zone/example.com/name/a/A"
	for _, tt := range []struct {
		name    string
		changes []string
		now     int64
	}{
		{"it is wrong in another way", []string{"put " + key + " x", "put " + key + " y"}, 3},
		{"it is right", []string{"put " + key + " x", "put " + key + " 192.0.2.2"}, 3},
		{"it is gone", []string{"put " + key + " x", "del " + key}, 3},
		{"a later one is served", []string{"put " + key + " 192.0.2.2", "put " + key + " x"}, 4},
		{"another has its place", []string{"put zone/example.com/name/a/CNAME b", "put " + key + " x"}, 4},
	} {
		s := newScene()
		s.change(`put zone/example.com/soa {"ns":["ns1"]}`)
		s.revision++ // of the former value
		for _, c := range tt.changes {
			s.change(c)
		}
		answer, faults := s.ask("a.example.com", "A"), s.run(t, "faults")
		k := Former{Now: Entry{Key: key, Value: []byte("x"), Revision: tt.now}, Before: Entry{Key: key, Value: []byte("192.0.2.1"), Revision: 2}}
		if served := s.registry.Recall([]Former{k}); served != nil {
			s.served = served
			t.Errorf("%s: recalled\nanswer was %sand is  %sfaults were %sand are %s", tt.name, answer, s.ask("a.example.com", "A"), faults, s.run(t, "faults"))
		}
	}
}

// TestRestoreDeleted: what was deleted and goes on, since it is referred to, is not held back for it.
func TestRestoreDeleted(t *testing.T) {
	s := newScene()
	puts := []string{`put pool/p/policy {"policy":"multivalue"}`}
	for i := range 30 {
		puts = append(puts, fmt.Sprintf("put pool/p/member/m%d 192.0.2.%d", i, i+1))
	}
	s.change(append(puts, `put zone/example.com/soa {"ns":["ns1"]}`, `put zone/example.com/name/a/steer {"pool":"p"}`)...)
	s.change(deletes(puts)...)
	s.change("put control/accept-delete 2")
	before := s.ask("a.example.com", "A")
	s.restored()
	if got := s.ask("a.example.com", "A"); got != before || strings.Count(got, "\n") != 9 || s.registry.Held() != nil || s.registry.memberKeys != 0 {
		t.Errorf("was %sand is %s, held back %+v, %d members", before, got, s.registry.Held(), s.registry.memberKeys)
	}
}

// TestRestoreHealth: what an image knows of an address holds for the one that is checked when it is read, not
// for one that comes again later.
func TestRestoreHealth(t *testing.T) {
	s := newScene()
	s.change(`put check/http {"http":{}}`, `put pool/p/policy {"check":"http"}`, "put pool/p/member/m 192.0.2.1")
	s.runState("http 192.0.2.1:80 up")
	s.restored()
	if n := s.registry.targets.unknown(); n != 0 {
		t.Errorf("%d unknown", n)
	}
	s.change("del pool/p/member/m")
	s.change("put pool/p/member/m 192.0.2.1")
	if n := s.registry.targets.unknown(); n != 1 {
		t.Errorf("%d unknown of one that has come again", n)
	}
}

// TestRestoreWithoutPool: an image whose pools this version does not take leads nowhere, and no query
// into a panic.
func TestRestoreWithoutPool(t *testing.T) {
	s := newScene()
	s.change(`put zone/example.com/soa {"ns":["ns1"]}`, `put zone/example.com/name/a/steer {"pool":"p"}`, "put pool/p/member/m 192.0.2.1")
	img := s.registry.Image()
	for i := range img.Objects {
		img.Objects[i].Value = []byte(`{"of":"the future"}`)
	}
	img, err := throughFile(img)
	if err != nil {
		t.Fatal(err)
	}
	s.registry = newScene().registry
	s.served = s.registry.Restore(img)
	if got := s.ask("a.example.com", "A"); !strings.HasPrefix(got, "nodata") {
		t.Errorf("got %s", got)
	}
	s.readAll()
	if got := s.ask("a.example.com", "A"); !strings.HasPrefix(got, "found") {
		t.Errorf("read anew: %s", got)
	}
}

// TestRestoreNeverRight: a policy that was never right makes its pool after a restart too, and is no fault of
// the image's.
func TestRestoreNeverRight(t *testing.T) {
	s := newScene()
	s.change(`put zone/example.com/soa {"ns":["ns1"]}`, `put zone/example.com/name/a/steer {"pool":"p"}`, "put pool/p/policy {}x")
	s.restored()
	if faults := s.registry.Faults(); len(faults) != 0 {
		t.Errorf("faults %+v", faults)
	}
	if got := s.ask("a.example.com", "A"); !strings.HasPrefix(got, "nodata") {
		t.Errorf("got %s", got)
	}
	s.readAll()
	if faults := s.registry.Faults(); len(faults) != 1 || faults[0].Revision != 1 {
		t.Errorf("read anew: faults %+v", faults)
	}
}
