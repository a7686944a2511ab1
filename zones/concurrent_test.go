package zones

import (
	"bytes"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
)

// Readers of any snapshot see one revision whole, while the next ones are made.
func TestEditWhileRead(t *testing.T) {
	first, second := mustOwner(t, "example.com", "first"), mustOwner(t, "example.com", "second")
	apex, passing := mustOwner(t, "example.com", "@"), mustOwner(t, "example.com", "x.y")
	soa, ns, err := (&SOA{NS: []string{"ns"}}).Compile(apex, 0)
	if err != nil {
		t.Fatal(err)
	}
	at := func(revision int64) Part {
		return StaticPart(dns.TypeTXT, 0, [][]byte{binary.BigEndian.AppendUint64(nil, uint64(revision))}, revision)
	}
	e := New().Edit()
	e.Put(apex, soa)
	e.Put(apex, ns)
	e.Put(first, at(0))
	e.Put(second, at(0))
	var current atomic.Pointer[Snapshot]
	current.Store(e.Commit(0))

	const revisions = 500
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			var a Answer
			for last := int64(-1); last < revisions; {
				s := current.Load()
				if s.Revision < last {
					t.Errorf("revision %d after %d", s.Revision, last)
					return
				}
				last = s.Revision
				want := binary.BigEndian.AppendUint64(nil, uint64(last))
				for _, o := range []Owner{first, second} {
					Resolve(s, &Query{Name: *o.Name, Type: dns.TypeTXT}, &a, nil)
					if a.Outcome != Found || !bytes.Equal(a.Sets[0].Data[2:], want) {
						t.Errorf("revision %d: %s is %v, %x", last, o.Name, a.Outcome, a.Sets[0].Data)
						return
					}
				}
				if serial, _ := s.Serial(apex); int64(serial) != last {
					t.Errorf("revision %d: serial %d", last, serial)
					return
				}
				// A name that comes and goes.
				Resolve(s, &Query{Name: *passing.Name, Type: dns.TypeTXT}, &a, nil)
				if want := []Outcome{NXDomain, Found}[last%2]; a.Outcome != want {
					t.Errorf("revision %d: x.y is %v, want %v", last, a.Outcome, want)
					return
				}
			}
		})
	}
	for revision := int64(1); revision <= revisions; revision++ {
		e := current.Load().Edit()
		e.Put(first, at(revision))
		e.Put(second, at(revision))
		e.Remove(passing, dns.TypeTXT)
		if revision%2 == 1 {
			e.Put(passing, at(revision))
		}
		e.Touch(apex, revision)
		current.Store(e.Commit(revision))
	}
	readers.Wait()
}
