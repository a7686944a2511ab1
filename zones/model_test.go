package zones

import (
	"bytes"
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"meridian/policy"
)

// modelOwner is an owner as the model knows it: both in presentation form.
type modelOwner struct{ zone, name string }

// model is what a Snapshot should hold, as one map; whatever else there is to know is found by
// going through all of it.
type model map[modelOwner]map[uint16]Part

func (m model) clone() model {
	c := model{}
	for o, parts := range m {
		c[o] = maps.Clone(parts)
	}
	return c
}

// below says whether name is ancestor, or lies below it.
func below(name, ancestor string) bool {
	return name == ancestor || ancestor == "." || strings.HasSuffix(name, "."+ancestor)
}

func parentOf(name string) string {
	if _, parent, ok := strings.Cut(name, "."); ok {
		return parent
	}
	return "."
}

// names of a zone that exist: those with a part, and all between them and the apex.
func (m model) names(zone string) map[string]bool {
	exist := map[string]bool{}
	for o, parts := range m {
		if o.zone != zone || len(parts) == 0 {
			continue
		}
		for name := o.name; ; name = parentOf(name) {
			exist[name] = true
			if name == zone {
				break
			}
		}
	}
	return exist
}

func (m model) references(id policy.ID) (n int) {
	for _, parts := range m {
		for _, p := range parts {
			if p.Kind == Steered && p.Pool() == id {
				n++
			}
		}
	}
	return n
}

// universe is all that the model tests speak of.
type universe struct {
	zones  []string
	owners []Owner // of all zones
}

func newUniverse(t testing.TB) universe {
	u := universe{zones: []string{"example.com", "b.example.com", "com", "example.net", "."}}
	relative := []string{"@"}
	for _, x := range []string{"a", "b", "*"} {
		relative = append(relative, x)
		for _, y := range []string{"a", "b", "*"} {
			relative = append(relative, y+"."+x, "a."+y+"."+x, "b."+y+"."+x)
		}
	}
	for _, zone := range u.zones {
		for _, owner := range relative {
			u.owners = append(u.owners, mustOwner(t, zone, owner))
		}
	}
	return u
}

func (o Owner) model() modelOwner { return modelOwner{o.ZoneText(), o.Name.String()} }

const poolIDs = 4

// randomPart makes a part for o, perhaps an SOA or NS at an apex.
func randomPart(t testing.TB, choose func(n int) int, o Owner, revision int64) Part {
	switch k := choose(8); {
	case k == 0:
		steer := Steer{Pool: "given by its ID"}
		if choose(2) == 0 {
			steer.Types, steer.ALPN = []string{"HTTPS", "A"}, []string{"h2"}
		}
		if yes := choose(2) == 0; choose(2) == 0 {
			steer.ECS = &yes
		}
		p, err := steer.Compile(policy.ID(choose(poolIDs)), revision)
		if err != nil {
			t.Fatal(err)
		}
		return p
	case k == 1 && !o.Apex():
		return BrokenPart(dns.TypeTXT, []uint16{dns.TypeTXT}, revision)
	case k <= 3 && o.Apex():
		written := SOA{NS: []string{"ns"}, MemberNames: choose(2) == 0}
		if choose(2) == 0 {
			written.Explain = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}[:choose(2)]
		}
		soa, ns, err := written.Compile(o, revision)
		if err != nil {
			t.Fatal(err)
		}
		if k == 2 {
			return ns
		}
		return soa
	case k == 4:
		return StaticPart(dns.TypeTXT, uint32(choose(100)), [][]byte{bytes.Repeat([]byte{1}, choose(200)), {2, 'x', 'y'}}, revision)
	default:
		return StaticPart(uint16(100+choose(4)), 300, [][]byte{{byte(choose(256))}}, revision)
	}
}

// checkModel says where s is not what the model holds.
func checkModel(t *testing.T, u universe, s *Snapshot, m model) {
	t.Helper()
	names, zones := 0, 0
	exist := map[string]map[string]bool{}
	for _, zone := range u.zones {
		exist[zone] = m.names(zone)
		names += len(exist[zone])
		if _, ok := m[modelOwner{zone, zone}][dns.TypeSOA]; ok {
			zones++
		}
	}
	if s.Names != names {
		t.Fatalf("%d names, want %d", s.Names, names)
	}
	if s.Zones() != zones {
		t.Fatalf("%d zones, want %d", s.Zones(), zones)
	}
	for id := range policy.ID(poolIDs + 1) {
		if got, want := s.References(id), m.references(id); got != want {
			t.Fatalf("pool %d has %d references, want %d", id, got, want)
		}
	}
	for _, o := range u.owners {
		key := o.model()
		r := s.names.find(o.Name.hash[0], o.Name.Wire(), o.Zone)
		if (r != nil) != exist[key.zone][key.name] {
			t.Fatalf("%s in %s: found %t, exists %t", key.name, key.zone, r != nil, exist[key.zone][key.name])
		}
		if r == nil {
			continue
		}
		if r.zone() != o.Zone || !bytes.Equal(r.name(), o.Name.Wire()) {
			t.Fatalf("%s in %s: found %q in the zone of %d labels", key.name, key.zone, r.name(), r.zone())
		}
		children := 0
		for name := range exist[key.zone] {
			if name != key.name && parentOf(name) == key.name {
				children++
			}
		}
		if int(r.children()) != children {
			t.Fatalf("%s in %s has %d children, want %d", key.name, key.zone, r.children(), children)
		}
		if r.parts() != len(m[key]) {
			t.Fatalf("%s in %s has %d parts, want %d", key.name, key.zone, r.parts(), len(m[key]))
		}
		for typ, want := range m[key] {
			if got, ok := s.Part(o, typ); !ok || !samePart(got, want) {
				t.Fatalf("%s in %s, type %d: %+v, %t, want %+v", key.name, key.zone, typ, got, ok, want)
			}
		}
		if _, ok := s.Part(o, 99); ok {
			t.Fatalf("%s in %s has type 99", key.name, key.zone)
		}
		checkZoneOf(t, u, s, m, o)
	}
	seen := 0
	s.Each(func(o Owner, p Part) {
		seen++
		if want, ok := m[o.model()][p.Type]; !ok || !samePart(p, want) {
			t.Fatalf("Each finds %s in %s, type %d", o.Name, o.ZoneText(), p.Type)
		}
	})
	for _, parts := range m {
		seen -= len(parts)
	}
	if seen != 0 {
		t.Fatalf("Each finds %d parts too many or too few", seen)
	}
}

// checkZoneOf: the deepest zone wins; and its serial.
func checkZoneOf(t *testing.T, u universe, s *Snapshot, m model, o Owner) {
	t.Helper()
	deepest := ""
	for _, zone := range u.zones {
		if _, served := m[modelOwner{zone, zone}][dns.TypeSOA]; served && below(o.Name.String(), zone) && len(zone) > len(deepest) {
			deepest = zone
		}
	}
	got := ""
	if apex := s.zoneOf(o.Name, int(o.Name.labels), new(lastApex)); apex != nil {
		got = nameText(apex.name())
	}
	if got != deepest {
		t.Fatalf("%s lies in zone %q, want %q", o.Name, got, deepest)
	}
	soa, ok := m[modelOwner{o.ZoneText(), o.ZoneText()}][dns.TypeSOA]
	serial, served := s.Serial(o)
	if ok != served || ok && serial != soaSerial(soa) {
		t.Fatalf("serial of %s: %d, %t, want %t", o.ZoneText(), serial, served, ok)
	}
}

func samePart(a, b Part) bool {
	return a.Type == b.Type && a.Kind == b.Kind && a.TTL == b.TTL && a.Revision == b.Revision && a.Count == b.Count && bytes.Equal(a.data, b.data) &&
		a.flags == b.flags && bytes.Equal(a.more, b.more) && (a.more == nil) == (b.more == nil)
}

// runModel makes commits of random changes and checks each snapshot when it is made, and all of
// them again at the end: what comes later changes none.
func runModel(t *testing.T, u universe, commits int, choose func(n int) int) {
	t.Helper()
	s, m := New(), model{}
	type version struct {
		s *Snapshot
		m model
	}
	versions := []version{{s, m}}
	for revision := int64(1<<32 + 1); revision < 1<<32+1+int64(commits); revision++ {
		m = m.clone()
		e := s.Edit()
		touched := map[string]int64{}
		for range choose(40) {
			o := u.owners[choose(len(u.owners))]
			key := o.model()
			if m[key] == nil {
				m[key] = map[uint16]Part{}
			}
			switch choose(4) {
			case 0, 1:
				p := randomPart(t, choose, o, revision)
				e.Put(o, p)
				m[key][p.Type] = p
			case 2:
				typ := []uint16{TypeSteer, dns.TypeSOA, dns.TypeNS, dns.TypeTXT, 100, 101, 102, 103}[choose(8)]
				e.Remove(o, typ)
				delete(m[key], typ)
			case 3:
				at := revision - int64(choose(3))
				e.Touch(o, at)
				touched[key.zone] = max(touched[key.zone], at)
			}
			// What is not committed yet is seen by the edit itself.
			if got, want := e.Exists(o), m.names(key.zone)[key.name]; got != want {
				t.Fatalf("%s in %s: exists %t in the edit, want %t", key.name, key.zone, got, want)
			}
			if got, want := len(e.Parts(o)), len(m[key]); got != want {
				t.Fatalf("%s in %s: %d parts in the edit, want %d", key.name, key.zone, got, want)
			}
			for typ, want := range m[key] {
				if got, ok := e.Part(o, typ); !ok || !samePart(got, want) {
					t.Fatalf("%s in %s, type %d in the edit: %+v, %t, want %+v", key.name, key.zone, typ, got, ok, want)
				}
			}
			id := policy.ID(choose(poolIDs))
			if got, want := e.References(id), m.references(id); got != want {
				t.Fatalf("pool %d has %d references in the edit, want %d", id, got, want)
			}
		}
		for zone, at := range touched {
			apex := m[modelOwner{zone, zone}]
			if soa, ok := apex[dns.TypeSOA]; ok {
				soa.data = bytes.Clone(soa.data)
				binary.BigEndian.PutUint32(soa.data[len(soa.data)-20:], uint32(at))
				apex[dns.TypeSOA] = soa
			}
		}
		s = e.Commit(revision)
		if s.Revision != revision {
			t.Fatalf("revision %d, want %d", s.Revision, revision)
		}
		checkModel(t, u, s, m)
		versions = append(versions, version{s, m})
	}
	for _, v := range versions {
		checkModel(t, u, v.s, v.m)
	}
}

func TestEditModel(t *testing.T) {
	u := newUniverse(t)
	random := rand.New(rand.NewPCG(1, 2))
	runs := 30
	if testing.Short() || raceEnabled {
		runs = 5
	}
	for range runs {
		runModel(t, u, 12, random.IntN)
	}
}

func FuzzEdit(f *testing.F) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 10 {
		choices := make([]byte, 150)
		for i := range choices {
			choices[i] = byte(random.Uint32())
		}
		f.Add(choices)
	}
	u := newUniverse(f)
	f.Fuzz(func(t *testing.T, choices []byte) {
		runModel(t, u, 3, func(n int) int {
			if len(choices) == 0 {
				return 0
			}
			c := int(choices[0]) % n
			choices = choices[1:]
			return c
		})
	})
}
