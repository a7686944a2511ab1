package store

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/miekg/dns"

	"meridian/zones"
)

// Names that are steered by one and the same value have all of it, the first and the last.
func TestSteeredAlike(t *testing.T) {
	u := Update{Revision: 1, Full: true, Entries: []Entry{
		{Key: "zone/example.com/soa", Value: []byte(`{"ns":["ns"]}`), Revision: 1},
		{Key: "pool/web/member/a", Value: []byte("192.0.2.1"), Revision: 1},
	}}
	for i := range 3 * maxSteers {
		value := fmt.Sprintf(`{"pool":"web","ttl":%d,"types":["AAAA"]}`, i%(2*maxSteers))
		u.Entries = append(u.Entries, Entry{Key: fmt.Sprintf("zone/example.com/name/n%d/steer", i), Value: []byte(value), Revision: 1})
	}
	r := NewRegistry(slog.New(slog.DiscardHandler))
	s := r.Apply(u)
	for i := range 3 * maxSteers {
		o, err := zones.ParseOwner("example.com", fmt.Sprintf("n%d", i))
		if err != nil {
			t.Fatal(err)
		}
		p, ok := s.Part(o, zones.TypeSteer)
		if !ok || p.TTL != uint32(i%(2*maxSteers)) || p.Covers(dns.TypeA) || !p.Covers(dns.TypeAAAA) {
			t.Fatalf("n%d: %+v, %t", i, p, ok)
		}
	}
}
