package zones

import (
	"testing"

	"github.com/miekg/dns"
)

// An Answer remembers the apex that it found last. What changes of the zones has to be seen all the same:
// a query is answered as by a new Answer.
func TestLastApex(t *testing.T) {
	edit := func(s *Snapshot, revision int64, change func(e *Edit)) *Snapshot {
		e := s.Edit()
		change(e)
		return e.Commit(revision)
	}
	both := scene(t, `
example.com
  www A 192.0.2.1
  www.sub A 192.0.2.2
example.net
  www A 192.0.2.3
`)
	deeper := edit(both, 2, func(e *Edit) { putSOA(t, e, "sub.example.com", "") })
	less := edit(deeper, 3, func(e *Edit) {
		for _, typ := range []uint16{dns.TypeSOA, dns.TypeNS} {
			e.Remove(mustOwner(t, "example.com", "@"), typ)
		}
	})
	changed := edit(both, 4, func(e *Edit) {
		e.Put(mustOwner(t, "example.com", "@"), StaticPart(dns.TypeTXT, 60, [][]byte{[]byte("\x03new")}, 4))
	})
	var used Answer
	for _, name := range []string{"www.example.com", "www.sub.example.com", "none.sub.example.com", "example.com", "sub.example.com", "www.example.net", "www.example.org"} {
		for _, typ := range []uint16{dns.TypeA, dns.TypeDS, dns.TypeTXT} {
			for _, s := range []*Snapshot{both, deeper, less, changed, both} {
				for _, before := range []string{"www.example.com", "www.sub.example.com", "www.example.net"} {
					Resolve(both, question(t, before, dns.TypeA), &used, nil)
					q := question(t, name, typ)
					var fresh Answer
					Resolve(s, q, &used, nil)
					Resolve(s, q, &fresh, nil)
					got, want := answerText(&used, q), answerText(&fresh, q)
					if got != want {
						t.Fatalf("revision %d, after %s: %s %d is answered\n%s\nwant\n%s", s.Revision, before, name, typ, got, want)
					}
				}
			}
		}
	}
}
