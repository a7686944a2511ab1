package store

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestParseManifestErrors(t *testing.T) {
	for _, c := range []struct{ name, file, want string }{
		{"empty", "", "line 1: the file ends too early"},
		{"list", `["a"]`, "line 1: expected a JSON object of keys and values, found a list"},
		{"cut short", "{\n\"site/fra\": {", "line 2: unexpected EOF"},
		{"number", "{\n\n\"site/fra\": 5}", "line 3: site/fra: expected an object or a string, found a number"},
		{"null", `{"site/fra": null}`, "line 1: site/fra: expected an object or a string, found nothing"},
		{"twice", "{\"site/fra\": {},\n\"site/fra\": {}}", `line 2: duplicate object member name`},
		{"trailing comma", "{\"site/fra\": {},\n}", `line 1: invalid character ',' at start of value`},
		{"more", "{}\n{}", "line 2: something follows the end of the object"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseManifest([]byte(c.file))
			if err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

const shop = `{
  "zone/example.com/soa": {"ns": ["ns1.example.net."]},
  "zone/example.com/name/www/steer": {"pool": "shop"},
  "zone/example.com/name/@/MX": "10 mail\n20 mail2",
  "check/web": {"http": {}},
  "site/fra": {},
  "pool/shop/policy": {
    "policy": "failover",
    "check": "web"
  },
  "pool/shop/member/a": {"addr": ["192.0.2.1"], "site": "fra"},
  "pool/shop/member/b": "192.0.2.2"
}`

func manifest(t *testing.T, text string) Manifest {
	t.Helper()
	m, err := ParseManifest([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func problemText(problems []Problem) string {
	var b strings.Builder
	for _, p := range problems {
		b.WriteString(p.String() + "\n")
	}
	return b.String()
}

func TestLint(t *testing.T) {
	for _, c := range []struct{ name, old, new, want string }{
		{"good", "", "", ""},
		{"field in a later line", `"check": "web"`, `"chekc": "web"`,
			"9: pool/shop/policy: chekc: unknown field (did you mean \"check\"?), expected policy, steps, check, on_empty, min_up, recover, ramp, linger\n"},
		{"line of a string", `10 mail\n20 mail2`, `10 mail\nmail2`,
			"4: zone/example.com/name/@/MX: line 2: \"mail2\" is not RDATA of type MX (bad MX Pref), expected such as: 10 mail.example.net.\n"},
		{"missing reference", `"site/fra": {},`, ``,
			"11: pool/shop/member/a: site: site/fra is not there yet\n"},
		{"no zone", `"zone/example.com/soa": {"ns": ["ns1.example.net."]},`, ``,
			"zone/example.com/soa: the zone has names but no soa: without it none is answered\n"},
		{"wrong key", `"check/web"`, `"checks/web"`,
			"5: checks/web: no such kind of key (did you mean \"check\"?)\n7: pool/shop/policy: check: check/web is not there yet\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := problemText(Lint(manifest(t, strings.Replace(shop, c.old, c.new, 1)), Update{}))
			if got != c.want {
				t.Errorf("got\n%swant\n%s", got, c.want)
			}
		})
	}
}

// TestLintBlamesTheManifest: what is wrong with the registry already is not the manifest's fault,
// what the manifest would make wrong is.
func TestLintBlamesTheManifest(t *testing.T) {
	now := Update{Revision: 9, Entries: []Entry{
		{Key: "pool/old/policy", Value: []byte(`{"policy":"no such"}`), Revision: 3},
		{Key: "zone/example.com/soa", Value: []byte(`{"ns":["a."]}`), Revision: 4},
		{Key: "zone/example.com/name/www/CNAME", Value: []byte(`elsewhere`), Revision: 5},
		{Key: "site/fra", Value: []byte(`{}`), Revision: 6},
	}}
	m := manifest(t, `{"zone/example.com/name/www/A": "192.0.2.1", "pool/p/member/a": {"addr":["192.0.2.1"],"site":"fra"}}`)
	want := "1: zone/example.com/name/www/A: it cannot stand beside zone/example.com/name/www/CNAME, which was written earlier\n"
	if got := problemText(Lint(m, now)); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// holds is what an etcd would hold after the changes.
func holds(now Update, changes []Change) Update {
	next := Update{Revision: now.Revision + 1, Full: true}
	changed := map[string]bool{}
	for _, c := range changes {
		changed[c.Key] = true
		if !c.Delete {
			next.Entries = append(next.Entries, Entry{Key: c.Key, Value: c.Value, Revision: next.Revision})
		}
	}
	for _, e := range now.Entries {
		if !changed[e.Key] {
			next.Entries = append(next.Entries, e)
		}
	}
	return next
}

func TestPlan(t *testing.T) {
	changes, problems := Plan(manifest(t, shop), "", Update{Revision: 5})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var order []string
	for _, c := range changes {
		order = append(order, c.Key)
		if c.ReadRevision != 0 || c.Delete {
			t.Errorf("%s: %+v, expected a put of a new key", c.Key, c)
		}
	}
	if want := []string{
		"site/fra", "check/web", "pool/shop/member/a", "pool/shop/member/b", "pool/shop/policy",
		"zone/example.com/name/@/MX", "zone/example.com/name/www/steer", "zone/example.com/soa",
	}; !slices.Equal(order, want) {
		t.Errorf("order %v, expected %v", order, want)
	}

	// Put one after another, as more than one transaction would, nothing ever dangles.
	s := newScene()
	for _, c := range changes {
		s.change(fmt.Sprintf("put %s %s", c.Key, strings.ReplaceAll(string(c.Value), "\n", `\n`)))
		for _, f := range s.registry.Faults() {
			if f.Key != "zone/example.com/soa" { // names come before their zone, so that none is denied
				t.Errorf("after %s: %+v", c.Key, f)
			}
		}
	}

	// What is there already is left alone, whatever its white space was in the file.
	now := holds(Update{Revision: 5}, changes)
	if again, _ := Plan(manifest(t, shop), "", now); len(again) > 0 {
		t.Errorf("put again: %+v", again)
	}
	changed, _ := Plan(manifest(t, strings.Replace(shop, "failover", "weighted", 1)), "", now)
	if len(changed) != 1 || changed[0].Key != "pool/shop/policy" || changed[0].ReadRevision != 6 {
		t.Errorf("one change: %+v", changed)
	}
}

func TestPlanPrune(t *testing.T) {
	all, _ := Plan(manifest(t, shop), "", Update{})
	now := holds(Update{}, all)
	now.Entries = append(now.Entries, Entry{Key: "pool/shopping/member/x", Value: []byte("192.0.2.9"), Revision: 1})

	less := manifest(t, strings.Replace(shop, `"pool/shop/member/b": "192.0.2.2"`, `"pool/shop/member/c": "192.0.2.3"`, 1))
	changes, problems := Plan(less, "pool/shop/", now)
	if len(problems) > 0 || len(changes) != 2 || changes[0].Key != "pool/shop/member/c" || changes[1].Key != "pool/shop/member/b" || !changes[1].Delete {
		t.Errorf("%+v %v", changes, problems)
	}

	// What is still referred to is not pruned.
	_, problems = Plan(manifest(t, `{}`), "pool/shop/", now)
	want := "pool/shop/policy: deleted, but a steered name refers to it: its last value serves on\n"
	if got := problemText(problems); got != want {
		t.Errorf("got %q, expected %q", got, want)
	}
}

// TestPlanPruneMost: what the plan comes to is said without regard to whether a server would ask first.
func TestPlanPruneMost(t *testing.T) {
	s, _ := guarded(40)
	now := Update{Revision: s.revision, Cluster: 7}
	for _, e := range s.keys {
		now.Entries = append(now.Entries, e)
	}
	changes, problems := Plan(nil, "zone/", now)
	if len(changes) != 41 || len(problems) != 0 {
		t.Errorf("%d changes, problems: %s", len(changes), problemText(problems))
	}
	if problems = Lint(manifest(t, `{"site/fra": "x"}`), now); len(problems) != 1 {
		t.Errorf("problems: %s", problemText(problems))
	}
}
