package zones

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/miekg/dns"
)

// canonically compares names in wire form, label by label from the right (RFC 4034 §6.1).
func canonically(a, b []byte) int {
	return slices.CompareFunc(labelsFromRight(a), labelsFromRight(b), bytes.Compare)
}

func labelsFromRight(wire []byte) (labels [][]byte) {
	for at := 0; wire[at] != 0; at += 1 + int(wire[at]) {
		labels = append(labels, wire[at+1:at+1+int(wire[at])])
	}
	slices.Reverse(labels)
	return labels
}

// indexed are the names that the index of s holds, in its order.
func indexed(s *Snapshot) (owners []Owner) {
	s.order.from(nil, func(key []byte) bool {
		n := new(Name)
		zone := n.readIndexKey(key)
		owners = append(owners, Owner{n, zone})
		return true
	})
	return owners
}

// checkIndex says where the index is not a sort of all names that the shards hold.
func checkIndex(t *testing.T, s *Snapshot) {
	t.Helper()
	var want []Owner
	for _, sh := range s.names.shards {
		sh.each(func(r record) bool {
			want = append(want, Owner{newName(r.name()), r.zone()})
			return true
		})
	}
	slices.SortFunc(want, func(a, b Owner) int {
		return cmp.Or(canonically(a.Name.suffix(a.Zone), b.Name.suffix(b.Zone)), canonically(a.Name.Wire(), b.Name.Wire()))
	})
	same := func(a, b Owner) bool { return a.Zone == b.Zone && bytes.Equal(a.Name.Wire(), b.Name.Wire()) }
	got := indexed(s)
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || !same(got[i], want[i]) {
			t.Fatalf("the index has %d names, want %d; they differ from number %d on", len(got), len(want), i)
		}
	}
	for _, p := range s.order {
		if len(p) == 0 || len(p) > pageChunks {
			t.Fatalf("a page of %d chunks", len(p))
		}
		for _, c := range p {
			n := 0
			for r := (chunkReader{chunk: c}); r.next(); {
				n++
			}
			if n == 0 || n > chunkKeys {
				t.Fatalf("a chunk of %d keys", n)
			}
		}
	}
}

// The names of a zone, and zones, in the order of RFC 4034 §6.1, its own example and more.
func TestZoneInOrder(t *testing.T) {
	want := []string{"@", `\001`, `\001\000`, `\001b.\001`, `\001.a`, "a.a", "yljkjljk.a", "z.a", "a-b", `\200.z`, "zabc.a.z"}
	tests := []string{"example", "a.example", `\000.example`, `\001\000.example`, "."}
	e := New().Edit()
	for _, zone := range tests {
		for _, owner := range want {
			e.Put(mustOwner(t, zone, owner), StaticPart(dns.TypeA, 300, [][]byte{{192, 0, 2, 1}}, 1))
		}
	}
	s := e.Commit(1)
	checkIndex(t, s)
	for _, zone := range tests {
		var got []string
		for o, parts := range s.Zone(mustOwner(t, zone, "@")) {
			if o.ZoneText() != zone {
				t.Fatalf("%s yields a name of %s", zone, o.ZoneText())
			}
			if len(parts) > 0 { // what was put
				got = append(got, o.Text())
			}
		}
		sorted := slices.SortedFunc(slices.Values(want), func(a, b string) int {
			return canonically(mustOwner(t, "example", a).Name.Wire(), mustOwner(t, "example", b).Name.Wire())
		})
		if !slices.Equal(got, sorted) {
			t.Errorf("%s: %q, want %q", zone, got, sorted)
		}
	}
}

// The index against a sort of all names, after random changes, few and many at a time: it grows over
// many chunks and pages, and shrinks to nothing.
func TestIndexModel(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	rounds := 30
	if testing.Short() || raceEnabled {
		rounds = 8
	}
	owner := func() Owner {
		zone := []string{"example.com", "b.example.com", "com", "."}[random.IntN(4)]
		text := fmt.Sprintf("h%x", random.IntN(3000))
		if random.IntN(3) == 0 {
			text += fmt.Sprintf(`.\%03d\%03d`, random.IntN(3), random.IntN(256))
		}
		return mustOwner(t, zone, text)
	}
	s := New()
	for revision := int64(1); revision <= int64(rounds); revision++ {
		e := s.Edit()
		edits := []int{1, 3, 200, 1500}[random.IntN(4)]
		start := owner()
		for range edits {
			o := owner()
			if edits == 200 { // neighbours
				o = mustOwner(t, start.ZoneText(), fmt.Sprintf("n%d", random.IntN(500)))
			}
			if random.IntN(3) > 0 {
				e.Put(o, StaticPart(dns.TypeA, 300, [][]byte{{192, 0, 2, 1}}, revision))
			} else {
				e.Remove(o, dns.TypeA)
			}
		}
		before, was := s, indexed(s)
		s = e.Commit(revision)
		checkIndex(t, s)
		if !slices.EqualFunc(indexed(before), was, func(a, b Owner) bool { return bytes.Equal(a.Name.Wire(), b.Name.Wire()) }) {
			t.Fatal("the snapshot before has changed")
		}
	}
	for owners := indexed(s); len(owners) > 0; {
		n := min(len(owners), 1+random.IntN(2000))
		e := s.Edit()
		for _, o := range owners[:n] {
			e.Remove(o, dns.TypeA)
		}
		s, owners = e.Commit(s.Revision+1), owners[n:]
		checkIndex(t, s)
	}
	if s.Names != 0 || len(s.order) != 0 {
		t.Errorf("%d names and %d pages are left", s.Names, len(s.order))
	}
}

// Of many pages a change makes one anew, and shares the others.
func TestIndexPages(t *testing.T) {
	s := bigSnapshot(t, 50_000)
	if len(s.order) < 2 {
		t.Fatalf("%d pages", len(s.order))
	}
	random := rand.New(rand.NewPCG(1, 2))
	for revision := int64(2); revision < 500; revision++ {
		e := s.Edit()
		e.Put(mustOwner(t, "zone0007.example", fmt.Sprintf("new%04d", random.IntN(10_000))), StaticPart(dns.TypeA, 300, [][]byte{{192, 0, 2, 1}}, revision))
		next := e.Commit(revision)
		if next.order == nil || &next.order[len(next.order)-1][0] != &s.order[len(s.order)-1][0] {
			t.Fatalf("revision %d: the last page was made anew", revision)
		}
		s = next
	}
	checkIndex(t, s)
}

// A dump has no index: it is made when that is loaded.
func TestIndexOfDump(t *testing.T) {
	s := bigSnapshot(t, 5000)
	loaded, err := Load(bytes.NewReader(dumpOf(t, s)))
	if err != nil {
		t.Fatal(err)
	}
	checkIndex(t, loaded)
	if got, want := len(indexed(loaded)), s.Names; got != want {
		t.Errorf("%d names, want %d", got, want)
	}
}
