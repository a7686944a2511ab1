package store

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	randomSeed   = flag.Uint64("seed", 0, "of the random changes")
	randomRounds = flag.Int("rounds", 30, "of random changes")
)

// choices are keys and values that refer to each other, stand in each other's way, or are wrong.
var choices = map[string][]string{
	"zone/example.com/soa":             {`{"ns":["ns1.example.net."]}`, `{"ns":["ns1","ns2"],"negative_ttl":7}`, `{"ns":7}`},
	"zone/example.com/name/a/steer":    {`{"pool":"p"}`, `{"pool":"q","types":["A"]}`, `{"pool":"late"}`, `{"pol":"p"}`},
	"zone/example.com/name/a/A":        {"192.0.2.1", "192.0.2.2\n192.0.2.3", "192.0.2"},
	"zone/example.com/name/a/AAAA":     {"2001:db8::1", "no"},
	"zone/example.com/name/a/CNAME":    {"b", "b.example.net."},
	"zone/example.com/name/a/TXT":      {`"x"`, `"y"`},
	"zone/example.com/name/x.y.z/A":    {"192.0.2.9"},
	"zone/example.com/name/y.z/NS":     {"ns1.other.example."},
	"zone/example.com/name/*.z/TXT":    {`"wild"`},
	"zone/z.example.com/soa":           {`{"ns":["ns1.example.net."]}`},
	"zone/z.example.com/name/q/A":      {"192.0.2.77"},
	"site/fra":                         {`{}`, `{"country":"DE"}`, `{"country":"X"}`},
	"map/net/a":                        {`{"net":{"192.0.2.0/24":"t"}}`, `{"net":{"10.0.0.0/8":"u"},"default":"t"}`, `{"net":{}}`, `{"asn":{"1":"t"},"country":{"DE":"u"}}`},
	"map/net/b":                        {`{"net":{"192.0.2.0/24":"v","2001:db8::/32":"t"}}`, `{"default":"u"}`, `{"net":{"10.0.0.0/8":"u"}}`, `{"asn":{"1":"u"}}`, `{"country":{"DE":"v","US":"t"}}`},
	"check/web":                        {`{"http":{}}`, `{"tcp":{"port":80}}`, `{}`},
	"pool/p/policy":                    {`{}`, `{"policy":"geo"}`, `{"steps":["geo"]}`, `{"check":"web"}`, `{"on_empty":["pool:q"]}`, `{"policy":"x"}`},
	"pool/p/member/m":                  {"192.0.2.10", `{"addr":["192.0.2.11"],"site":"fra"}`, "x", `{"addr":["192.0.2.12"],"serves":["map:net/t"]}`},
	"pool/p/member/o":                  {`{"addr":["192.0.2.13"],"serves":["map:net/u","any"]}`},
	"pool/q/policy":                    {`{"on_empty":["pool:p","nodata"]}`, `{"check":"web","min_up":"100%"}`, `{"steps":["up"]}`},
	"pool/q/member/n":                  {`{"addr":["192.0.2.20","2001:db8::20"]}`, `{"addr":["192.0.2.20"],"site":"fra"}`},
	"pool/late/member/l":               {"192.0.2.30"},
	"pool/p/member/w":                  {`{"pool":"q"}`, `{"pool":"r"}`, "192.0.2.14", `{"cname":"p.example.org."}`},
	"pool/q/member/w":                  {`{"pool":"r","site":"fra"}`, `{"pool":"p"}`, `{"cname":"q.example.org."}`},
	"pool/r/member/w":                  {`{"pool":"p"}`, `{"pool":"late"}`, "192.0.2.41", `{"cname":"r.example.org."}`},
	"pool/r/policy":                    {`{"min_up":2}`, `{"check":"web"}`, `{"policy":"multivalue","on_empty":["pool:q"]}`, `{"min_up":0}`},
	"zone/example.com/name/r/steer":    {`{"pool":"r"}`, `{"pool":"p"}`},
	"override/member/p/m":              {`{"state":"drain"}`, `{"state":"drain","until":"2020-01-01T00:00:00Z"}`, `{"weight":0}`, `{"state":"of"}`},
	"override/pool/q":                  {`{"state":"down"}`, `{"state":"up"}`},
	"override/site/fra":                {`{"state":"drain"}`, `{"weight":7}`},
	"latch/p":                          {`{"tier":2}`, `{"tier":0}`},
	"zone/example.com/name/wrong/TYPO": {"x"},
}

var randomQuestions = []string{
	"example.com SOA", "a.example.com A", "a.example.com A 192.0.2.5", "a.example.com A 10.1.2.3", "a.example.com A 198.51.100.1",
	"a.example.com AAAA", "a.example.com TXT", "r.example.com A", "r.example.com AAAA", "r.example.com TXT", "b.example.com A",
	"z.example.com SOA", "q.z.example.com A", "x.y.z.example.com A", "y.z.example.com A", "w.z.example.com TXT", "wrong.example.com A",
}

// TestRandomChanges makes random changes one by one and compares, after each, with a registry that
// reads the outcome whole: the order in which things came must not matter. What differs by
// design, since one of them remembers better values, is told apart by its faults.
func TestRandomChanges(t *testing.T) {
	seed := uint64(20261123)
	if *randomSeed != 0 {
		seed = *randomSeed
	}
	random := rand.New(rand.NewPCG(seed, 0))
	var keys []string
	for k := range choices {
		keys = append(keys, k)
	}
	// The order of a map is not ours to rely on.
	slices.Sort(keys)
	compared := 0
	for round := range *randomRounds {
		s := newScene()
		var history []string
		for range 40 {
			var batch []string
			for range 1 + random.IntN(3) {
				key := keys[random.IntN(len(keys))]
				values := choices[key]
				if v := random.IntN(len(values) + 1); v < len(values) {
					batch = append(batch, "put "+key+" "+strings.ReplaceAll(values[v], "\n", `\n`))
				} else {
					batch = append(batch, "del "+key)
				}
			}
			history = append(history, strings.Join(batch, " | "))
			s.change(batch...)
			if random.IntN(3) == 0 {
				state := fmt.Sprintf("web 192.0.2.%d:80 %s", []int{10, 11, 14, 20, 41}[random.IntN(5)], []string{"up", "down", "unknown"}[random.IntN(3)])
				history = append(history, "state "+state)
				s.runState(state)
				checkDerived(t, s)
			}
			if compare(t, s) {
				compared++
			}
			compareRestored(t, s, random.IntN(2) == 0)
			compareRecalled(t, s)
			if t.Failed() {
				t.Fatalf("seed %d, round %d, after:\n%s", seed, round, strings.Join(history, "\n"))
			}
		}
	}
	if compared < *randomRounds*10 {
		t.Errorf("only %d states were comparable", compared)
	}
	t.Logf("%d states compared", compared)
}

// sinceWhen is what a registry that reads anew cannot know of a fault that no value has caused.
var sinceWhen = regexp.MustCompile(` @\d+(?:: the zone has names)`)

// compare reports whether s and a registry that reads the same keys anew could be compared.
func compare(t *testing.T, s *scene) bool {
	fresh := newScene()
	fresh.keys, fresh.revision = s.keys, s.revision
	for _, r := range s.registry.targets.reports() {
		fresh.registry.targets.known[r.TargetID] = r
	}
	fresh.readAll()
	again := s.run(t, "faults")
	remembers := false
	for _, f := range s.registry.Faults() {
		remembers = remembers || f.Serving > 0 || strings.HasPrefix(f.Error, "deleted")
	}
	if !remembers {
		if d := diff(sinceWhen.ReplaceAllString(fresh.run(t, "faults"), ""), sinceWhen.ReplaceAllString(again, "")); d != "the same" {
			t.Errorf("faults, read anew (want) and changed one by one (got): %s", d)
		}
		if d := diff(askAll(t, fresh), askAll(t, s)); d != "the same" {
			t.Errorf("answers, read anew (want) and changed one by one (got): %s", d)
		}
	}
	// To read all again changes nothing, whatever is remembered.
	before := askAll(t, s)
	s.readAll()
	if d := diff(before, askAll(t, s)); d != "the same" {
		t.Errorf("answers before (want) and after (got) reading all again: %s", d)
	}
	if d := diff(again, s.run(t, "faults")); d != "the same" {
		t.Errorf("faults before (want) and after (got) reading all again: %s", d)
	}
	return !remembers
}

// firstSeen is of which revision a fault is that no value has caused: the one at which it was found.
var firstSeen = regexp.MustCompile(` @\d+(: (?:the zone has names|deleted, but))`)

// compareRestored compares s with a registry started anew from its disk image: while etcd is away, and
// when it has been read, where all that s remembers is remembered. Where goOn is set, it is the one to
// be changed from then on.
//
// A policy that waits for a pool which is deleted, and kept for the sake of a name, falls back to that
// pool after a restart: an image does not tell that it came too late. Nor does it of a check.
func compareRestored(t *testing.T, s *scene, goOn bool) {
	for _, f := range s.registry.Faults() {
		pool, check := s.registry.pools[strings.TrimPrefix(f.Awaits, "pool/")], s.registry.checks[strings.TrimPrefix(f.Awaits, "check/")]
		if pool != nil && pool.deleted || check != nil && check.deleted {
			return
		}
	}
	img, err := throughFile(s.registry.Image())
	if err != nil {
		t.Fatal(err)
	}
	again := newScene()
	again.keys, again.revision = s.keys, s.revision
	again.served = again.registry.Restore(img)
	if d := diff(askAll(t, s), askAll(t, again)); d != "the same" {
		t.Errorf("answers before (want) and after (got) a restart without etcd: %s", d)
	}
	again.readAll()
	if d := diff(askAll(t, s), askAll(t, again)); d != "the same" {
		t.Errorf("answers before (want) and after (got) a restart with a disk image: %s", d)
	}
	want, got := firstSeen.ReplaceAllString(s.run(t, "faults"), "$1"), firstSeen.ReplaceAllString(again.run(t, "faults"), "$1")
	if d := diff(want, got); d != "the same" {
		t.Errorf("faults before (want) and after (got) a restart with a disk image: %s", d)
	}
	if goOn {
		s.registry, s.served = again.registry, again.served
	}
}

func throughFile(img *Image) (*Image, error) {
	var file bytes.Buffer
	if _, err := writeImage(&file, img); err != nil {
		return nil, err
	}
	return readImage(bytes.NewReader(file.Bytes()), int64(file.Len()))
}

// compareRecalled has a registry that reads the outcome without a disk image ask etcd for what wrong
// keys said before. What that comes to depends on more than each key's own past; but to read all again
// changes nothing of it.
func compareRecalled(t *testing.T, s *scene) {
	fresh := newScene()
	fresh.keys, fresh.revision = s.keys, s.revision
	fresh.readAll()
	fresh.recall(s)
	answers, faults := askAll(t, fresh), fresh.run(t, "faults")
	fresh.readAll()
	if d := diff(answers, askAll(t, fresh)); d != "the same" {
		t.Errorf("answers with former values before (want) and after (got) reading all again: %s", d)
	}
	if d := diff(faults, fresh.run(t, "faults")); d != "the same" {
		t.Errorf("faults with former values before (want) and after (got) reading all again: %s", d)
	}
}

// checkDerived looks whether every member that is a pool is as that pool is.
func checkDerived(t *testing.T, s *scene) {
	r := s.registry
	for _, p := range r.pools {
		for i := range p.compiled.Members {
			m := &p.compiled.Members[i]
			if was := p.compiled.Health(i); m.Pool != "" && !r.heldUp(p, m) && p.compiled.Derive(i, r.pools[m.Pool].compiled) {
				t.Errorf("%s/%s is %x, expected %x", p.name, m.Name, was, p.compiled.Health(i))
			}
		}
	}
}

// askAll gives all answers but for serials, which a registry that reads anew cannot know, and the words of
// all members.
func askAll(t *testing.T, s *scene) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.registry.pools)) {
		p := s.registry.pools[name].compiled
		for i := range p.Members {
			fmt.Fprintf(&b, "%s/%s %x\n", name, p.Members[i].Name, p.Health(i))
		}
	}
	for _, q := range randomQuestions {
		for line := range strings.Lines(s.run(t, "ask "+q)) {
			if f := strings.Fields(line); len(f) > 6 && f[3] == "SOA" {
				f[6] = "serial"
				line = strings.Join(f, " ") + "\n"
			}
			fmt.Fprintf(&b, "%s: %s", q, line)
		}
	}
	return b.String()
}
