package zones

import (
	"testing"

	"github.com/miekg/dns"
)

func TestResolveSteered(t *testing.T) {
	s := scene(t, `
example.com
  @ steer up
  www steer up
  www TXT "beside"
  *.wild steer up
  alias CNAME www
  down steer down
  closed steer closed
  failing steer failing
  v6 steer v6
  none steer none
  new steer new
  todown CNAME down
  toclosed CNAME closed
nosoa.example broken soa
  closed steer closed
pool up
  a 192.0.2.1+ 192.0.2.2+ 192.0.2.3- 2001:db8::1+
pool down
  a 192.0.2.4- 2001:db8::4+
pool closed nodata
  a 192.0.2.5-
pool failing servfail
  a 192.0.2.6-
pool v6
  a 2001:db8::7+
pool none
pool new
  a 192.0.2.8?
`)
	const noMember = " (0 no member of the pool is up)"
	tests := []struct {
		says string
		name string
		typ  uint16
		want string
	}{
		{"all addresses of the chosen member that are up", "www.example.com", dns.TypeA,
			"found aa\nwww.example.com. 30 A 192.0.2.1\nwww.example.com. 30 A 192.0.2.2"},
		{"families apart", "www.example.com", dns.TypeAAAA, "found aa\nwww.example.com. 30 AAAA 2001:db8::1"},
		{"static types beside it", "www.example.com", dns.TypeTXT, "found aa\nwww.example.com. 300 TXT \"beside\""},
		{"a type of neither", "www.example.com", dns.TypeMX, "nodata aa\nauthority example.com. 30 SOA"},
		{"ANY", "www.example.com", dns.TypeANY, "found aa\nwww.example.com. 3600 HINFO \"RFC8482\" \"\""},
		{"at the apex", "example.com", dns.TypeAAAA, "found aa\nexample.com. 30 AAAA 2001:db8::1"},
		{"at a wildcard", "x.wild.example.com", dns.TypeAAAA, "found aa\nx.wild.example.com. 30 AAAA 2001:db8::1"},
		{"behind a CNAME", "alias.example.com", dns.TypeAAAA,
			"found aa\nalias.example.com. 300 CNAME www.example.com.\nwww.example.com. 30 AAAA 2001:db8::1"},
		{"fail open: a TTL of 10 s", "down.example.com", dns.TypeA,
			"found aa (0 no member of the pool is up: all are given)\ndown.example.com. 10 A 192.0.2.4"},
		{"the other family is not failing open", "down.example.com", dns.TypeAAAA, "found aa\ndown.example.com. 30 AAAA 2001:db8::4"},
		{"fail open behind a CNAME", "todown.example.com", dns.TypeA,
			"found aa (0 no member of the pool is up: all are given)\ntodown.example.com. 300 CNAME down.example.com.\ndown.example.com. 10 A 192.0.2.4"},
		{"unknown is not down", "new.example.com", dns.TypeA, "found aa\nnew.example.com. 30 A 192.0.2.8"},
		{"a NODATA that health may end: 5 s", "closed.example.com", dns.TypeA,
			"nodata aa" + noMember + "\nauthority example.com. 5 SOA"},
		{"the same behind a CNAME", "toclosed.example.com", dns.TypeA,
			"nodata aa" + noMember + "\ntoclosed.example.com. 300 CNAME closed.example.com.\nauthority example.com. 5 SOA"},
		{"a NODATA that nothing but the registry ends", "v6.example.com", dns.TypeA, "nodata aa\nauthority example.com. 30 SOA"},
		{"a pool without members, which may get some", "none.example.com", dns.TypeA,
			"nodata aa" + noMember + "\nauthority example.com. 5 SOA"},
		{"servfail", "failing.example.com", dns.TypeA, "servfail" + noMember},
		{"NODATA without an SOA to say so", "closed.nosoa.example", dns.TypeA, "servfail (24 the registry's value for this name is not valid)"},
	}
	var used Answer
	for _, test := range tests {
		if got := ask(t, s, question(t, test.name, test.typ), &used); got != test.want {
			t.Errorf("%s: %s %s:\n%s\nwant\n%s", test.says, test.name, dns.Type(test.typ), got, test.want)
		}
	}
}

// An Answer tells what pool was asked, and no more of an earlier one.
func TestResolveDecision(t *testing.T) {
	s := scene(t, `
example.com
  www steer web
  txt TXT "text"
pool web
  a 192.0.2.1+
  b 192.0.2.2+
`)
	var a Answer
	Resolve(s, question(t, "www.example.com", dns.TypeA), &a, nil)
	if a.Decision.Pool != s.Pools[0] || len(a.Decision.Picks) != 1 {
		t.Errorf("decision %+v", a.Decision)
	}
	Resolve(s, question(t, "txt.example.com", dns.TypeTXT), &a, nil)
	if a.Decision.Pool != nil || a.Decision.Picks != nil {
		t.Errorf("decision %+v, though no pool was asked", a.Decision)
	}
	// The random number decides.
	given := map[string]bool{}
	for random := range uint64(50) {
		q := question(t, "www.example.com", dns.TypeA)
		q.Random = random
		given[ask(t, s, q, &a)] = true
	}
	if len(given) != 2 {
		t.Errorf("%d different answers, want 2", len(given))
	}
}
