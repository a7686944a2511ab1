package zones

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/miekg/dns"

	"meridian/policy"
)

// A shard that grows and shrinks: many names, put and removed one revision at a time.
func TestEditManyNames(t *testing.T) {
	const n = 20_000
	owners := make([]Owner, n)
	e := New().Edit()
	for i := range owners {
		owners[i] = mustOwner(t, "example.com", fmt.Sprintf("h%d.g%d", i, i%7))
		e.Put(owners[i], StaticPart(dns.TypeA, 300, [][]byte{{10, 0, byte(i >> 8), byte(i)}}, 1))
	}
	s := e.Commit(1)
	if want := n + 7 + 1; s.Names != want { // the g and the apex
		t.Fatalf("%d names, want %d", s.Names, want)
	}
	for i, o := range owners {
		p, ok := s.Part(o, dns.TypeA)
		if !ok || !bytes.Equal(p.firstRData(), []byte{10, 0, byte(i >> 8), byte(i)}) {
			t.Fatalf("%s: %+v, %t", o.Name, p, ok)
		}
	}
	e = s.Edit()
	for i, o := range owners {
		if i%7 != 0 {
			e.Remove(o, dns.TypeA)
		}
	}
	less := e.Commit(2)
	if want := (n+6)/7 + 1 + 1; less.Names != want {
		t.Fatalf("%d names, want %d", less.Names, want)
	}
	for i, o := range owners {
		if _, ok := less.Part(o, dns.TypeA); ok != (i%7 == 0) {
			t.Fatalf("%s: %t", o.Name, ok)
		}
		if _, ok := s.Part(o, dns.TypeA); !ok {
			t.Fatalf("%s is gone from the snapshot before", o.Name)
		}
	}
	e = less.Edit()
	for i, o := range owners {
		if i%7 == 0 {
			e.Remove(o, dns.TypeA)
		}
	}
	none := e.Commit(3)
	if none.Names != 0 {
		t.Errorf("%d names, want none", none.Names)
	}
	for i, shard := range none.names.shards {
		if shard != emptyShard {
			t.Fatalf("shard %d holds %d bytes though nothing is there", i, len(shard.arena))
		}
	}
}

// A name may have more types than a byte counts.
func TestEditManyTypes(t *testing.T) {
	o := mustOwner(t, "example.com", "www")
	e := New().Edit()
	for i := range 1000 {
		e.Put(o, StaticPart(uint16(1000+i), 300, [][]byte{{1}}, 1))
	}
	s := e.Commit(1)
	for i := range 1000 {
		if _, ok := s.Part(o, uint16(1000+i)); !ok {
			t.Fatalf("TYPE%d is lost", 1000+i)
		}
	}
}

// Putting what is there already, and removing what is not, leaves everything as it was.
func TestEditPutAgain(t *testing.T) {
	o := mustOwner(t, "example.com", "a.b")
	p := StaticPart(dns.TypeA, 300, [][]byte{{192, 0, 2, 1}}, 1)
	e := New().Edit()
	e.Put(o, p)
	s := e.Commit(1)
	e = s.Edit()
	e.Put(o, p)
	e.Remove(o, dns.TypeAAAA)
	e.Remove(mustOwner(t, "example.com", "nobody.b"), dns.TypeA)
	s2 := e.Commit(2)
	if s2.Names != s.Names || s2.Names != 3 {
		t.Errorf("%d names, before %d, want 3", s2.Names, s.Names)
	}
	b := mustOwner(t, "example.com", "b")
	if r := s2.names.find(b.Name.hash[0], b.Name.Wire(), b.Zone); r == nil || r.children() != 1 || r.parts() != 0 {
		t.Errorf("b is %v", r)
	}
}

// What Parts has returned stays as it was: whoever goes through it may change the edit meanwhile.
func TestEditPartsStay(t *testing.T) {
	o := mustOwner(t, "example.com", "www")
	e := New().Edit()
	for typ := range uint16(3) {
		e.Put(o, StaticPart(100+typ, 300, [][]byte{{1}}, 1))
	}
	var seen []uint16
	for _, p := range e.Parts(o) {
		seen = append(seen, p.Type)
		e.Remove(o, p.Type)
		e.Put(o, StaticPart(200+p.Type, 300, [][]byte{{1}}, 1))
	}
	if !slices.Equal(seen, []uint16{100, 101, 102}) || len(e.Parts(o)) != 3 {
		t.Errorf("saw %v, %d parts are left", seen, len(e.Parts(o)))
	}
}

func TestSetPool(t *testing.T) {
	one, two := new(policy.Pool), new(policy.Pool)
	e := New().Edit()
	e.SetPool(2, one)
	s := e.Commit(1)
	if !slices.Equal(s.Pools, []*policy.Pool{nil, nil, one}) {
		t.Errorf("pools %v", s.Pools)
	}
	e = s.Edit()
	e.SetPool(0, two)
	e.SetPool(2, nil)
	if s2 := e.Commit(2); !slices.Equal(s2.Pools, []*policy.Pool{two, nil, nil}) {
		t.Errorf("pools %v", s2.Pools)
	}
	if !slices.Equal(s.Pools, []*policy.Pool{nil, nil, one}) {
		t.Errorf("the snapshot before has changed: pools %v", s.Pools)
	}
}

// RFC 1982: a serial is the low 32 bits of the revision, which wraps.
func TestSerial(t *testing.T) {
	apex, www := mustOwner(t, "example.com", "@"), mustOwner(t, "example.com", "www")
	soa, _, err := (&SOA{NS: []string{"ns"}}).Compile(apex, 10)
	if err != nil {
		t.Fatal(err)
	}
	serial := func(s *Snapshot) uint32 { n, _ := s.Serial(www); return n }
	if _, ok := New().Serial(www); ok {
		t.Error("a zone that is not there has a serial")
	}
	e := New().Edit()
	e.Put(apex, soa)
	s := e.Commit(10)
	if got := serial(s); got != 10 {
		t.Errorf("serial %d, want that of the soa's revision, 10", got)
	}
	e = s.Edit()
	e.Touch(www, 12)
	e.Touch(apex, 11) // the later revision counts, in whichever order
	s2 := e.Commit(13)
	if got := serial(s2); got != 12 {
		t.Errorf("serial %d, want 12", got)
	}
	e = s2.Edit()
	e.Touch(www, 1<<32+5)
	if got := serial(e.Commit(1<<32 + 5)); got != 5 {
		t.Errorf("serial %d, want the low 32 bits, 5", got)
	}
	if p, _ := s2.Part(apex, dns.TypeSOA); p.Revision != 10 {
		t.Errorf("the SOA's own revision is %d, want 10", p.Revision)
	}
	if got := serial(s); got != 10 {
		t.Errorf("the snapshot before has serial %d, want 10", got)
	}
	e = s2.Edit()
	e.Put(apex, BrokenPart(dns.TypeSOA, []uint16{dns.TypeSOA}, 14))
	e.Touch(apex, 14)
	if _, ok := e.Commit(14).Serial(www); ok {
		t.Error("a zone without a good soa has a serial")
	}
}

// What comes and goes within one edit leaves nothing, nor do the names above it.
func TestEditComesAndGoes(t *testing.T) {
	o := mustOwner(t, "example.com", "a.b.c")
	e := New().Edit()
	e.Put(o, StaticPart(dns.TypeA, 300, [][]byte{{192, 0, 2, 1}}, 1))
	e.Remove(o, dns.TypeA)
	s := e.Commit(1)
	for i, shard := range s.names.shards {
		if shard != emptyShard {
			t.Fatalf("shard %d holds %q", i, shard.arena)
		}
	}
	if s.Names != 0 || len(s.order) != 0 {
		t.Errorf("%d names, %d pages of the index", s.Names, len(s.order))
	}
}

// Names are found, before and after there are so many that they get many shards: within an edit,
// which also takes some away, and in the one after it.
func TestSpread(t *testing.T) {
	const n = fewNames + 100
	names := make([]Owner, n)
	for i := range names {
		names[i] = mustOwner(t, "example.com", fmt.Sprintf("h%d", i))
	}
	put := func(e *Edit, i int) {
		e.Put(names[i], StaticPart(dns.TypeA, 300, [][]byte{{10, 0, byte(i >> 8), byte(i)}}, 1))
	}
	for _, first := range []int{0, 50, fewNames - 60, fewNames - 1, n} { // names of a first commit
		e := New().Edit()
		putSOA(t, e, "example.com", "")
		for i := range first {
			put(e, i)
		}
		s := e.Commit(1)
		e = s.Edit()
		for i := first; i < n; i++ {
			put(e, i)
			if i%3 == 0 {
				e.Remove(names[i-first/2], dns.TypeA)
			}
		}
		there := map[int]bool{}
		for i := range n {
			there[i] = true
		}
		for i := first; i < n; i++ {
			if i%3 == 0 {
				delete(there, i-first/2)
			}
		}
		before := dumpOf(t, s)
		next := e.Commit(2)
		if want := map[bool]int{false: fewShards, true: manyShards}[first+len(there) > fewNames]; first > 0 && len(next.names.shards) != want {
			t.Errorf("%d shards, want %d", len(next.names.shards), want)
		}
		for i, o := range names {
			p, ok := next.Part(o, dns.TypeA)
			if ok != there[i] || ok && !bytes.Equal(p.firstRData(), []byte{10, 0, byte(i >> 8), byte(i)}) {
				t.Fatalf("%d names first: %s: there %v, want %v", first, o.Text(), ok, there[i])
			}
		}
		if next.Names != len(there)+1 {
			t.Errorf("%d names, want %d", next.Names, len(there)+1)
		}
		if !bytes.Equal(dumpOf(t, s), before) {
			t.Error("the snapshot of before has changed")
		}
		in := 0
		for range next.Zone(names[0].Top()) {
			in++
		}
		if loaded := reload(t, next); in != next.Names || loaded.Names != next.Names {
			t.Errorf("%d names in order, %d loaded, want %d", in, loaded.Names, next.Names)
		}
	}
}
