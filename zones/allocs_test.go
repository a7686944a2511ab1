package zones

import (
	"testing"

	"github.com/miekg/dns"
)

// No answer allocates once the Answer has grown, whatever its outcome.
func TestResolveAllocs(t *testing.T) {
	s := scene(t, `
example.com {"member_names":true}
  www A 192.0.2.1
  svc steer {"pool":"web","types":["SRV","HTTPS"],"port":443,"ecs":false}
  cdn steer cdn
  chain1 CNAME chain2
  chain2 CNAME www
  loop1 CNAME loop2
  loop2 CNAME loop1
  *.wild A 192.0.2.2
  sub NS ns1.example.net.
  deep.ent A 192.0.2.3
  steered steer web
  down steer down
  closed steer closed
  failing steer failing
  bad broken A
pool web
  a 192.0.2.1+ 2001:db8::1+
  b 192.0.2.2+
pool down
  a 192.0.2.4-
pool closed nodata
  a 192.0.2.5-
pool failing servfail
  a 192.0.2.6-
pool cdn
  x cname=www.example.com.
`)
	tests := []struct {
		name string
		typ  uint16
		want Outcome
	}{
		{"www.example.com", dns.TypeA, Found},
		{"www.example.com", dns.TypeANY, Found},
		{"chain1.example.com", dns.TypeA, Found},
		{"loop1.example.com", dns.TypeA, Found},
		{"x.y.wild.example.com", dns.TypeA, Found},
		{"steered.example.com", dns.TypeA, Found},
		{"steered.example.com", dns.TypeAAAA, Found},
		{"down.example.com", dns.TypeA, Found},
		{"svc.example.com", dns.TypeSRV, Found},
		{"svc.example.com", dns.TypeHTTPS, Found},
		{"cdn.example.com", dns.TypeA, Found},
		{"cdn.example.com", dns.TypeTXT, NoData},
		{"a.web.example.com", dns.TypeAAAA, Found},
		{"x.cdn.example.com", dns.TypeA, Found},
		{"c.web.example.com", dns.TypeA, NXDomain},
		{"a-label-that-is-longer-than-thirty-two-bytes.web.example.com", dns.TypeA, NXDomain},
		{"x.nopool.example.com", dns.TypeA, NXDomain},
		{"down.example.com", dns.TypeAAAA, NoData},
		{"closed.example.com", dns.TypeA, NoData},
		{"www.example.com", dns.TypeTXT, NoData},
		{"ent.example.com", dns.TypeTXT, NoData},
		{"nothere.example.com", dns.TypeA, NXDomain},
		{"x.sub.example.com", dns.TypeA, Referral},
		{"www.example.net", dns.TypeA, Refused},
		{"bad.example.com", dns.TypeA, ServFail},
		{"failing.example.com", dns.TypeA, ServFail},
	}
	var a Answer
	for _, test := range tests {
		q := question(t, test.name, test.typ)
		allocs := testing.AllocsPerRun(100, func() {
			q.Random++
			Resolve(s, q, &a, nil)
		})
		if allocs != 0 || a.Outcome != test.want {
			t.Errorf("%s %s: %v allocations, %v, want none, %v", test.name, dns.Type(test.typ), allocs, a.Outcome, test.want)
		}
	}
	wire := question(t, "www.example.com", 0).Name.Wire()
	var n Name
	if allocs := testing.AllocsPerRun(100, func() { n.Read(wire) }); allocs != 0 {
		t.Errorf("Read: %v allocations", allocs)
	}
}
