package store

import (
	"testing"

	"meridian/zones"
)

// TestSerial: a zone's serial is the low 32 bits of the revision that last changed its own keys,
// deletes included, and never goes back: also where the registry is read anew, or for the first
// time.
func TestSerial(t *testing.T) {
	s := newScene()
	apex, err := zones.ParseOwner("example.com", "@")
	if err != nil {
		t.Fatal(err)
	}
	expect := func(what string, want uint32) {
		t.Helper()
		if got, ok := s.served.Serial(apex); !ok || got != want {
			t.Errorf("%s: serial %d (served %v), expected %d", what, got, ok, want)
		}
	}
	s.change(`put zone/example.com/soa {"ns":["ns1"]}`)
	expect("a new zone", 1)
	s.change("put zone/example.com/name/www/A 192.0.2.1")
	expect("a new name", 2)
	s.change("put zone/example.net/soa {}", "put pool/web/member/a 192.0.2.1")
	expect("a change elsewhere", 2)
	s.change("put zone/example.com/name/www/A wrong")
	expect("a key that is wrong", 4)
	s.change("del zone/example.com/name/www/A")
	expect("a delete", 5)
	s.revision = 9
	s.readAll()
	expect("read anew, nothing changed", 5)

	// A delete that was not seen: all that is known is that it was by now.
	s.change("put zone/example.com/name/a/A 192.0.2.1")
	delete(s.keys, "zone/example.com/name/a/A")
	s.revision = 20
	s.readAll()
	expect("read anew after a delete that was not seen", 20)

	s.run(t, "restart")
	expect("a new start", 20)

	// Beyond 32 bits it is the low ones (RFC 1982 makes 3 the successor of 4294967290).
	s.revision = 1<<32 - 6
	s.change("put zone/example.com/name/b/A 192.0.2.1")
	expect("near the end", 1<<32-5)
	s.revision = 1<<32 + 2
	s.change("put zone/example.com/name/b/A 192.0.2.2")
	expect("beyond it", 3)
	s.revision = 1<<32 + 9
	s.readAll()
	expect("read anew beyond it", 3)
}
