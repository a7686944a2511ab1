package zones

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"meridian/policy"
)

func dumpOf(t testing.TB, s *Snapshot) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.Dump(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// reload is a snapshot that has been dumped and loaded, with the pools it had.
func reload(t testing.TB, s *Snapshot) *Snapshot {
	t.Helper()
	r := bytes.NewReader(append(dumpOf(t, s), "and more"...))
	loaded, err := Load(r)
	if err != nil {
		t.Fatal(err)
	}
	if rest, _ := io.ReadAll(r); string(rest) != "and more" {
		t.Fatalf("Load has left %q", rest)
	}
	if loaded.Revision != s.Revision || len(loaded.Pools) != 0 {
		t.Fatalf("revision %d, want %d; %d pools, want none", loaded.Revision, s.Revision, len(loaded.Pools))
	}
	e := loaded.Edit()
	for id, p := range s.Pools {
		e.SetPool(policy.ID(id), p)
	}
	return e.Commit(s.Revision)
}

// What was dumped and loaded again is what it was, and goes on from there.
func TestDumpModel(t *testing.T) {
	u := newUniverse(t)
	random := rand.New(rand.NewPCG(5, 6))
	runs := 30
	if testing.Short() || raceEnabled {
		runs = 5
	}
	for range runs {
		s, m := New(), model{}
		for revision := int64(1<<32 + 1); revision < 1<<32+8; revision++ {
			m = m.clone()
			e := s.Edit()
			for range random.IntN(40) {
				o := u.owners[random.IntN(len(u.owners))]
				key := o.model()
				if m[key] == nil {
					m[key] = map[uint16]Part{}
				}
				p := randomPart(t, random.IntN, o, revision)
				if random.IntN(3) == 0 {
					e.Remove(o, p.Type)
					delete(m[key], p.Type)
					continue
				}
				e.Put(o, p)
				m[key][p.Type] = p
			}
			s = reload(t, e.Commit(revision))
			checkModel(t, u, s, m)
		}
	}
}

// Random zones: every answer of the loaded snapshot is that of the naive twin.
func TestDumpResolves(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	registries := 100
	if testing.Short() || raceEnabled {
		registries = 20
	}
	var a Answer
	for range registries {
		zones := randomZones(t, random.IntN)
		s := reload(t, snapshotOf(t, zones))
		for range 60 {
			name, typ := randomQuestion(random.IntN)
			checkResolve(t, s, zones, name, typ, &a)
		}
	}
}

const dumpScene = `
example.com {"member_names":true,"ecs":false,"explain":["192.0.2.0/24","2001:db8::/32"]}
  www A 192.0.2.1
  www AAAA 2001:db8::1
  a.deep.name MX 10 mail
  mail A 192.0.2.2
  _sip._tcp SRV 10 5 5060 sip
  svc HTTPS 1 . alpn="h2,h3"
  alias CNAME WWW.example.com.
  old DNAME example.net.
  sub NS ns1.sub
  ns1.sub A 192.0.2.3
  steered steer web
  other steer {"pool":"web","ecs":true,"types":["A","SRV","HTTPS"],"alpn":["h2"],"port":443}
  bad broken A
nosoa.example broken soa
without.example no soa
  www A 192.0.2.3
pool unused
  a 192.0.2.9+
pool web
  a 192.0.2.1+ 2001:db8::1+
  b 192.0.2.2-
`

func TestDumpScene(t *testing.T) {
	s := scene(t, dumpScene)
	loaded := reload(t, s)
	if loaded.Names != s.Names || loaded.Zones() != s.Zones() || loaded.References(1) != 2 || loaded.References(0) != 0 {
		t.Errorf("%d names, %d zones, %d references, want %d, %d, 2", loaded.Names, loaded.Zones(), loaded.References(1), s.Names, s.Zones())
	}
	if got := slices.Collect(loaded.Referred()); !slices.Equal(got, []policy.ID{1}) {
		t.Errorf("pools %v are referred to, want 1", got)
	}
	var used Answer
	for _, name := range []string{"www", "deep.name", "a.deep.name", "_sip._tcp", "svc", "alias", "x.old", "x.sub", "steered", "other", "a.web", "web", "c.web", "bad", "nothere", "www.without"} {
		for _, typ := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeMX, dns.TypeSRV, dns.TypeHTTPS, dns.TypeNS} {
			q := question(t, name+".example.com", typ)
			if got, want := ask(t, loaded, q, &used), ask(t, s, q, &used); got != want {
				t.Errorf("%s %s:\n%s\nwant\n%s", name, dns.Type(typ), got, want)
			}
		}
	}
	if !bytes.Equal(dumpOf(t, loaded), dumpOf(t, s)) {
		t.Error("the dump of what was loaded is another")
	}
	if empty := reload(t, New()); empty.Names != 0 || empty.Zones() != 0 {
		t.Errorf("an empty snapshot: %d names, %d zones", empty.Names, empty.Zones())
	}
}

const dumpFormScene = `
example.com {"member_names":true,"explain":["192.0.2.0/24"]}
  www.a A 192.0.2.1
  www.a TXT x
  www.b steer {"pool":"web","ecs":false,"types":["A","SRV","HTTPS"],"alpn":["h2"]}
pool web
`

// Whoever keeps dumps tells their form by a number of his own: a dump that is made another way than
// before must not be taken for one of today's.
func TestDumpForm(t *testing.T) {
	const want = "803464c361fad4b7"
	if got := fmt.Sprintf("%x", sha256.Sum256(dumpOf(t, scene(t, dumpFormScene))))[:16]; got != want {
		t.Errorf("the form of dumps has changed (%s, it was %s): raise imageForm in store, then put the new one here", got, want)
	}
}

const dumpHead = 8 + 4 // bytes before the first shard

// Faults in a dump, each made by changing a good one in one place.
func TestLoadFaults(t *testing.T) {
	dump := dumpOf(t, scene(t, dumpScene))
	// find is where the record of a name begins.
	find := func(name string) int {
		wire := mustName(t, name).Wire()
		for head := dumpHead; head < len(dump); {
			end := head + 4 + int(binary.LittleEndian.Uint32(dump[head:]))
			for at := head + 4; at < end; at += int(record(dump[at:]).size()) {
				if bytes.Equal(record(dump[at:]).name(), wire) {
					return at
				}
			}
			head = end
		}
		t.Fatalf("%s is not in the dump", name)
		return 0
	}
	part := func(name string) int { r := find(name); return r + record(dump[r:]).first() }
	data := func(name string) int { return part(name) + partHeader }
	// end is where the first part of a name ends, which says more than its data.
	end := func(name string) int {
		at := part(name)
		return at + partHeader + int(binary.LittleEndian.Uint32(dump[at+18:])) - moreSize
	}
	tests := []struct {
		name string
		at   int
		put  string
		want string // how the error ends
	}{
		{"size", find("www.example.com"), "\xff\xff\xff\x7f", "a record goes beyond the end"},
		{"no size", find("www.example.com"), "\x00\x00\x00\x00", "a record of 0 bytes has no room for its name"},
		{"no room", find("www.example.com"), "\x0e\x00\x00\x00", "a record of 14 bytes has no room for its name"},
		{"parts", find("www.example.com") + 8, "\x01", "www.example.com: 40 bytes follow the last part"},
		{"parts missing", find("www.example.com") + 8, "\x03", "www.example.com: a part goes beyond the record's end"},
		{"zone", find("www.example.com") + 10, "\x04", "www.example.com in a zone of 4 labels"},
		{"other zone", find("www.example.com") + 10, "\x01", "www.example.com: the name above it is missing"},
		{"name", find("www.example.com") + 11, "\x10", `"\x03www\aexample\x03com" is no name in canonical form`},
		{"capitals", find("www.example.com") + 14, "W", `"\x03Www\aexample\x03com\x00" is no name in canonical form`},
		{"a pointer", find("www.example.com") + 13, "\xc0", `"\xc0www\aexample\x03com\x00" is no name in canonical form`},
		{"flags", find("www.example.com") + 12, "\x01", "www.example.com: flags 0x1, expected 0x0"},
		{"name elsewhere", find("www.example.com") + 14, "v", "vww.example.com belongs into shard 19"},
		{"kind", part("www.example.com") + 2, "\x03", "www.example.com: part of A: kind 3"},
		{"steered", part("www.example.com") + 2, "\x01", "www.example.com: part of A: 6 bytes steer nothing"},
		{"type", part("www.example.com"), "\x1c", "www.example.com: part of AAAA: there twice"},
		{"no type", part("www.example.com"), "\x00", "www.example.com: part of None: no type that an RRset has"},
		{"soa", part("www.example.com"), "\x06", "www.example.com: part of SOA: not at an apex"},
		{"part's size", part("www.example.com") + 21, "\xff", "www.example.com: a part goes beyond the record's end"},
		{"count", part("www.example.com") + 16, "\x02", "www.example.com: part of A: 1 records, 2 are said to be there"},
		{"rdata's size", data("www.example.com"), "\xff", "www.example.com: part of A: RDATA goes beyond the part's end"},
		{"rdata's rest", data("www.example.com") + 1, "\x03", "www.example.com: part of A: RDATA goes beyond the part's end"},
		{"cname", data("alias.example.com") + 2, "\x04", "alias.example.com: part of CNAME: 045757570765... is no RDATA of this type"},
		{"dname", data("old.example.com") + 2, "\x08", "old.example.com: part of DNAME: 0865... is no RDATA of this type"},
		{"ns", data("sub.example.com") + 2, "\xff", "sub.example.com: part of NS: ff... is no RDATA of this type"},
		{"mx", data("a.deep.name.example.com") + 4, "\x80", "is no RDATA of this type"},
		{"srv", data("_sip._tcp.example.com") + 8, "\x80", "is no RDATA of this type"},
		{"https", data("svc.example.com") + 4, "\x80", "is no RDATA of this type"},
		{"soa's mailbox", data("example.com") + 2, "\x04", "is no RDATA of this type"},
		{"pool", data("steered.example.com") + 2, "\x40", "steered.example.com: part of None: pool 4194305, expected less than 4194304"},
		{"flags of an RRset", part("www.example.com") + 3, "\x01", "www.example.com: part of A: flags 0x1"},
		{"yes and no", part("steered.example.com") + 3, "\x03", "steered.example.com: part of None: flags 0x3"},
		{"flags of another", part("steered.example.com") + 3, "\x04", "steered.example.com: part of None: flags 0x4"},
		{"an SOA's flags", part("example.com") + 3, "\x09", "flags 0x33, expected 0x13"},
		{"more than there is", part("www.example.com") + 3, "\x08", "what a part says more goes beyond its start"},
		{"more's size", end("example.com"), "\x01", "RDATA goes beyond the part's end"},
		{"more's size, beyond", end("example.com"), "\xff", "what a part says more goes beyond its start"},
		{"a network's prefix", end("example.com") - 17, "\x81", "part of SOA: 0418c00002001081... is nothing that it can say beside its records"},
		{"a network's address", end("example.com") - 18, "\x11", "is nothing that it can say beside its records"},
		{"a parameter", end("other.example.com") - 3, "\x03", "other.example.com: part of None: 01bb... is nothing that it can say beside its records"},
		{"parameters of A", data("other.example.com") + 4 + 2, "\x1c\x00\x1c", "other.example.com: part of None: 01bb... is nothing that it can say beside its records"},
		{"a type", data("other.example.com") + 4 + 2, "\x10", "other.example.com: part of None: TXT cannot be steered"},
		{"broken", part("bad.example.com") + 2, "\x00", "bad.example.com: part of A: RDATA goes beyond the part's end"},
	}
	for _, test := range tests {
		bad := bytes.Clone(dump)
		copy(bad[test.at:], test.put)
		_, err := Load(bytes.NewReader(bad))
		want := strings.Split(test.want, "...")
		if err == nil || !strings.HasSuffix(err.Error(), want[len(want)-1]) || !strings.Contains(err.Error(), want[0]) || !strings.HasPrefix(err.Error(), "shard ") {
			t.Errorf("%s: error %v, want one that ends in %q", test.name, err, test.want)
		}
	}

	for _, shards := range []uint32{0, 1, fewShards - 1, 1 << 31} {
		bad := bytes.Clone(dump)
		binary.LittleEndian.PutUint32(bad[8:], shards)
		if _, err := Load(bytes.NewReader(bad)); err == nil || err.Error() != fmt.Sprintf("%d shards, expected 64 or 4096", shards) {
			t.Errorf("%d shards: error %v", shards, err)
		}
	}

	// Records moved or left out.
	without := func(name string) []byte {
		at := find(name)
		size := int(record(dump[at:]).size())
		short := slices.Delete(bytes.Clone(dump), at, at+size)
		return resize(short, at, -size)
	}
	twice := func(name string) []byte {
		at := find(name)
		r := bytes.Clone(dump[at : at+int(record(dump[at:]).size())])
		return resize(slices.Insert(bytes.Clone(dump), at, r...), at, len(r))
	}
	for _, test := range []struct {
		name string
		dump []byte
		want string
	}{
		{"without the name above", without("deep.name.example.com"), "a.deep.name.example.com: the name above it is missing"},
		{"without the apex", without("without.example"), "www.without.example: the name above it is missing"},
		{"nothing there", without("a.deep.name.example.com"), "holds a name with nothing at it or below"},
		{"twice", twice("www.example.com"), "www.example.com is there twice"},
	} {
		if _, err := Load(bytes.NewReader(test.dump)); err == nil || !strings.HasSuffix(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one that ends in %q", test.name, err, test.want)
		}
	}
}

// resize adds by to the size of the arena in which the record at at stands.
func resize(dump []byte, at, by int) []byte {
	for head := dumpHead; ; {
		size := int(binary.LittleEndian.Uint32(dump[head:]))
		if head+4 <= at && at <= head+4+size {
			binary.LittleEndian.PutUint32(dump[head:], uint32(size+by))
			return dump
		}
		head += 4 + size
	}
}

// A dump that ends early is an error that says so, wherever it ends.
func TestLoadCut(t *testing.T) {
	dump := dumpOf(t, scene(t, dumpScene))
	for size := 0; size < len(dump); size += 1 + size/50 { // every place in what comes first
		if _, err := Load(bytes.NewReader(dump[:size])); !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			t.Fatalf("cut at %d of %d bytes: error %v", size, len(dump), err)
		}
	}
}

// A size that nothing stands behind takes no memory.
func TestLoadBounded(t *testing.T) {
	dump := append(binary.LittleEndian.AppendUint32(make([]byte, 8), fewShards), 0xff, 0xff, 0xff, 0xff, 1, 2, 3)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := Load(bytes.NewReader(dump))
	runtime.ReadMemStats(&after)
	if err == nil {
		t.Fatal("no error")
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
		t.Errorf("%d bytes allocated for a dump of %d", grown, len(dump))
	}
}

// An error of the writer's is the dump's.
func TestDumpWriteError(t *testing.T) {
	full := errors.New("full")
	s := scene(t, dumpScene)
	for room := 0; room < len(dumpOf(t, s)); room += 1 + room/50 {
		if err := s.Dump(&limited{room, full}); err != full {
			t.Fatalf("room for %d bytes: error %v", room, err)
		}
	}
}

// limited is a writer that takes room bytes.
type limited struct {
	room int
	err  error
}

func (l *limited) Write(b []byte) (int, error) {
	if len(b) > l.room {
		return 0, l.err
	}
	l.room -= len(b)
	return len(b), nil
}

// FuzzLoad loads any bytes: what comes of it answers, can be changed, and is dumped as it was. They
// come as records, which are put into the shards they belong in, or else hardly any would be read.
func FuzzLoad(f *testing.F) {
	for _, text := range []string{dumpScene, ".\n  * A 192.0.2.1\n  a NS a"} {
		var records []byte
		for _, sh := range scene(f, text).names.shards {
			records = append(records, sh.arena...)
		}
		f.Add(records, false)
		f.Add(records, true)
	}
	pool := scene(f, dumpScene).Pools[1]
	f.Fuzz(func(t *testing.T, records []byte, raw bool) {
		dump := records
		if !raw {
			dump = sorted(records)
		}
		s, err := Load(bytes.NewReader(dump))
		if err != nil {
			return
		}
		again := dumpOf(t, s)
		if s2, err := Load(bytes.NewReader(again)); err != nil || s2.Names != s.Names || s2.Zones() != s.Zones() || !bytes.Equal(dumpOf(t, s2), again) {
			t.Fatalf("loaded again: %v", err)
		}
		e := s.Edit()
		for id := range s.Referred() {
			e.SetPool(id, pool)
		}
		s = e.Commit(1)
		exercise(t, s)
	})
}

// sorted makes a dump of records.
func sorted(records []byte) []byte {
	var arenas [fewShards][]byte
	var name Name
	for len(records) > recordHeader {
		r := record(records)
		if int64(r.size()) > int64(len(r)) || int(r.size()) < recordHeader || r.first() > int(r.size()) {
			break
		}
		records, r = records[r.size():], r[:r.size()]
		if _, ok := name.Read(r.name()); ok {
			at := newNames(fewShards).of(name.hash[0])
			arenas[at] = append(arenas[at], r...)
		}
	}
	dump := binary.LittleEndian.AppendUint32(make([]byte, 8), fewShards)
	for _, a := range arenas {
		dump = append(binary.LittleEndian.AppendUint32(dump, uint32(len(a))), a...)
	}
	return dump
}

// exercise asks for every name of s and names near it, then takes all of them away.
func exercise(t *testing.T, s *Snapshot) {
	t.Helper()
	var a Answer
	var owners []Owner
	var types []uint16
	s.Each(func(o Owner, p Part) {
		owners, types = append(owners, o.Clone()), append(types, p.Type)
		wires := [][]byte{o.Name.Wire(), append([]byte{1, 'x'}, o.Name.Wire()...)}
		if len(o.Name.Wire()) > 1 {
			wires = append(wires, o.Name.suffix(int(o.Name.labels)-1))
		}
		for _, wire := range wires {
			q := &Query{}
			if _, ok := q.Name.Read(wire); !ok {
				continue
			}
			for _, q.Type = range []uint16{p.Type, dns.TypeA, dns.TypeAAAA, dns.TypeANY, dns.TypeDS, dns.TypeNS, dns.TypeMX, dns.TypeSRV, dns.TypeHTTPS, dns.TypeSOA} {
				Resolve(s, q, &a, nil)
				a.Text(q)
				Resolve(s, q, &a, new(Trace))
			}
		}
		s.Serial(o)
		if got, ok := s.Part(o, p.Type); !ok || !samePart(got, p) {
			t.Fatalf("%s, type %d: %+v, %t", o.Name, p.Type, got, ok)
		}
	})
	e := s.Edit()
	for i, o := range owners {
		e.Touch(o, 7)
		e.Remove(o, types[i])
	}
	if s = e.Commit(7); s.Names != 0 || s.Zones() != 0 || len(slices.Collect(s.Referred())) != 0 {
		t.Fatalf("all is taken away, and %d names and %d zones are left", s.Names, s.Zones())
	}
}

func BenchmarkDump(b *testing.B) {
	s := bigSnapshot(b, 100_000)
	size := len(dumpOf(b, s))
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Dump(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(size)/float64(s.Names), "B/name")
}

func BenchmarkLoad(b *testing.B) {
	for _, size := range []int{100_000, 1_000_000} {
		if size > 100_000 && testing.Short() {
			continue
		}
		dump := dumpOf(b, bigSnapshot(b, size))
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(dump)))
			for b.Loop() {
				if _, err := Load(bytes.NewReader(dump)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
