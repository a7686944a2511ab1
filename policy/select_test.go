package policy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// What each step and each short name may give, over many random numbers.
func TestSelect(t *testing.T) {
	tests := []struct {
		name   string
		pools  string // see scene
		family Family
		want   string // see outcomes
	}{
		// up
		{"up keeps who is up", `
web ["up"]
  a 4+
  b 4-
  c 4+`, IPv4, "a c"},
		{"up leaves the unknown out while another is up", `
web ["up"]
  a 4?
  b 4+
  c 4?`, IPv4, "b"},
		{"up lets the unknown stand in while none is up", `
web ["up"]
  a 4?
  b 4-
  c 4?`, IPv4, "a c"},
		{"up: all unknown", `
web ["up"]
  a 4?
  b 4?`, IPv4, "a b"},
		{"up works by address", `
web ["up"]
  a 4+ 4- 4?
  b 4- 4-
  c 4? 4?
  d 4- 4+`, IPv4, "a/0 d/1"},
		{"up: unknown addresses stand in by address", `
web ["up"]
  a 4- 4?
  b 4-
  c 4? 4?`, IPv4, "a/1 c"},
		{"up: an address of the other family that is up does not count", `
web ["up"]
  a 4- 6+
  b 4? 6+`, IPv4, "b"},
		{"up: the other family, from the same members", `
web ["up"]
  a 4- 6+
  b 4? 6+`, IPv6, "a b"},
		{"up: what is up outside the tier does not count", `
web ["tier","up"]
  a 4? t1
  b 4+ t2`, IPv4, "a"},
		{"no up: health is not looked at", `
web [{"take":{"n":3}}]
  a 4-
  b 4?
  c 4+`, IPv4, "a b c"},

		// Families are decided apart.
		{"members without an address of the family are not there", `
web ["tier"]
  a 6+ t1
  b 4+ t2
  c 4+ 6+ t2`, IPv4, "b c"},
		{"a member gives all its addresses of the family", `
web weighted
  a 4+ 6+ 4+ 6+`, IPv6, "a"},
		{"no member has an address of the family", `
web weighted
  a 4+`, IPv6, "nodata"},
		{"no members at all", `
web weighted`, IPv4, "nodata"},

		// tier
		{"tier keeps the lowest present", `
web ["tier"]
  a 4+ t3
  b 4+ t2
  c 4+ t2
  d 4+ t65535`, IPv4, "b c"},
		{"tier keeps the lowest of who is left", `
web ["up","tier"]
  a 4- t1
  b 4+ t7
  c 4+ t9`, IPv4, "b"},
		{"tier: a trickle goes to the next one", `
web [{"tier":{"trickle":"30%"}}]
  a 4+ t5
  b 4+ t9
  c 4+ t7
  d 4+ t7`, IPv4, "a | c d"},
		{"tier: a trickle with nothing below", `
web [{"tier":{"trickle":"100%"}}]
  a 4+ t5
  b 4+ t5`, IPv4, "a b"},
		{"tier: a trickle of all", `
web [{"tier":{"trickle":"100%"}}]
  a 4+
  b 4+ t2
  c 4+ t3`, IPv4, "b"},
		{"tier: a trickle of nothing", `
web [{"tier":{"trickle":"0%"}}]
  a 4+
  b 4+ t2`, IPv4, "a"},

		// weighted
		{"weighted orders everybody", `
web ["weighted"]
  a 4+
  b 4+
  c 4+`, IPv4, "a b c | a c b | b a c | b c a | c a b | c b a"},
		{"weight 0 only when nothing else is left", `
web ["weighted"]
  a 4+ w0
  b 4+ w9
  c 4+ w1
  d 4+ w0`, IPv4, "b c a d | b c d a | c b a d | c b d a"},
		{"weight 0 alone", `
web ["weighted",{"take":{"n":1}}]
  a 4+ w0
  b 4+ w0`, IPv4, "a | b"},
		{"weight 0 is not drawn while another is there", `
web weighted
  a 4+ w0
  b 4+`, IPv4, "b"},
		{"weight 0 is drawn when the others are down", `
web weighted
  a 4+ w0
  b 4-`, IPv4, "a"},
		{"the order is drawn among those who are left", `
web ["weighted","tier",{"take":{"n":1}}]
  a 4+ w1
  b 4+ w1
  c 4+ w65535 t2`, IPv4, "a | b"},
		{"the last weighted draws", `
web ["weighted","weighted",{"take":{"n":2}}]
  a 4+ w0
  b 4+
  c 4+ w0`, IPv4, "b a | b c"},

		// take
		{"take without a draw: in the order of names", `
web [{"take":{"n":2}}]
  a 4+
  b 4+
  c 4+`, IPv4, "a b"},
		{"take more than there are", `
web [{"take":{"n":9}}]
  a 4+
  b 4+`, IPv4, "a b"},
		{"take is by member, not by address", `
web [{"take":{"n":2}}]
  a 4+ 4+ 4+
  b 4+ 4+
  c 4+`, IPv4, "a b"},
		{"take distinct by site", `
web [{"take":{"n":3,"distinct":"site"}}]
  a 4+ @fra
  b 4+ @fra
  c 4+ @ams
  d 4+ @ams
  e 4+ @lon
  f 4+ @par`, IPv4, "a c e"},
		{"take distinct: fewer sites than wanted", `
web [{"take":{"n":3,"distinct":"site"}}]
  a 4+ @fra
  b 4+ @fra
  c 4+ @ams`, IPv4, "a c"},
		{"take distinct: who has no site is like no other", `
web [{"take":{"n":4,"distinct":"site"}}]
  a 4+
  b 4+ @fra
  c 4+
  d 4+ @fra`, IPv4, "a b c"},
		{"take distinct draws on past a site it has", `
web ["weighted",{"take":{"n":2,"distinct":"site"}}]
  a 4+ w60000 @fra
  b 4+ w60000 @fra
  c 4+ w1 @ams`, IPv4, "a c | b c"},
		{"take distinct, then all of those in order", `
web ["weighted",{"take":{"n":2,"distinct":"site"}},"weighted"]
  a 4+ w60000 @fra
  b 4+ w60000 @fra
  c 4+ w60000 @ams`, IPv4, "a c | b c | c a | c b"},
		{"take keeps the order that was drawn", `
web ["weighted",{"take":{"n":2}},{"take":{"n":1}}]
  a 4+ w1
  b 4+ w0`, IPv4, "a"},
		{"take, then tier", `
web [{"take":{"n":2}},"tier"]
  a 4+ t3
  b 4+ t2
  c 4+ t1`, IPv4, "b"},

		// Withdrawn: never given, whatever its state.
		{"withdrawn, by the chain of most pools", `
web weighted
  a 4+ withdrawn
  b 4+
  c 4+ drained`, IPv4, "b"},
		{"withdrawn, without a step that looks at health", `
web [{"take":{"n":3}}]
  a 4+ drained
  b 4+
  c 4+ withdrawn`, IPv4, "b"},
		{"withdrawn: not by fail open either", `
web weighted
  a 4+ drained
  b 4-
  c 4+ withdrawn`, IPv4, "fail open: b"},
		{"withdrawn: an unknown one stands in", `
web weighted
  a 4+ drained
  b 4?`, IPv4, "b"},
		{"withdrawn: the next tier", `
web failover
  a 4+ t1 drained
  b 4+ t2`, IPv4, "b"},
		{"withdrawn: weight 0 is what is left", `
web weighted
  a 4+ drained
  b 4+ w0`, IPv4, "b"},
		{"all withdrawn: nodata, not all", `
web weighted
  a 4+ drained
  b 4+ withdrawn`, IPv4, "nodata"},
		{"all withdrawn: on_empty goes on", `
web weighted on_empty all pool:backup
  a 4+ drained
backup weighted
  x 4+ drained
  y 4+`, IPv4, "backup: y"},
		{"all withdrawn: servfail", `
web sticky on_empty all servfail
  a 4+ withdrawn`, IPv4, "servfail"},

		// shed
		{"shed by percent: each by a chance of its own", `
web [{"shed":{"percent":"50%"}}]
  a 4+
  b 4+`, IPv4, "a | a b | b | fail open: a b"},
		{"shed nobody", `
web [{"shed":{"percent":"0%"}}]
  a 4+ load400
  b 4+`, IPv4, "a b"},
		{"shed all: passed over where the pool fails open", `
web [{"shed":{"percent":"100%"}},{"take":{"n":1}}]
  a 4+
  b 4+`, IPv4, "fail open: a"},
		{"shed all: on_empty", `
web [{"shed":{"percent":"100%"}}] on_empty pool:backup
  a 4+
backup weighted
  x 4+`, IPv4, "backup: x"},
		{"shed by load: below low and of no known load stay, at high and above go", `
web [{"shed":{"low":"50%","high":"90%"}}]
  a 4+
  b 4+ load0
  c 4+ load50
  d 4+ load90
  e 4+ load300`, IPv4, "a b c"},
		{"shed by load: perhaps", `
web [{"shed":{"low":"50%","high":"90%"}}]
  a 4+
  b 4+ load70`, IPv4, "a | a b"},
		{"shed by load, of a pool within", `
web [{"shed":{"low":"50%","high":"90%"}}]
  a pool=eu load95
  b 4+
eu weighted
  x 4+`, IPv4, "b"},

		// Names
		{"a name is up where no check watches it", `
web weighted
  a cname=x.example.
  b cname=y.example. w0`, IPv6, "a"},

		// Short names
		{"weighted", `
web weighted
  a 4+
  b 4-
  c 4+
  d 4?`, IPv4, "a | c"},
		{"nothing said is weighted", `
web ` + `
  a 4+
  b 4+
  c 4-`, IPv4, "a | b"},
		{"failover: the first tier", `
web failover
  a 4+ t1
  b 4+ t1
  c 4+ t2`, IPv4, "a | b"},
		{"failover: the next tier that is up", `
web failover
  a 4- t1
  b 4- t1
  c 4- t2
  d 4+ t3`, IPv4, "d"},
		{"failover: a first tier of which nothing is known yet", `
web failover
  a 4? t1
  b 4+ t2`, IPv4, "b"},
		{"failover: nothing known of any tier", `
web failover
  a 4? t1
  b 4? t2`, IPv4, "a"},
		{"failover: families apart", `
web failover
  a 4- 6+ t1
  b 4+ 6+ t2`, IPv4, "b"},
		{"multivalue", `
web multivalue
  a 4+
  b 4-
  c 4+`, IPv4, "a c | c a"},
		{"multivalue: everybody's addresses that are up", `
web multivalue
  a 4+ 4+ 4-
  b 4-`, IPv4, "a/0,1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := outcomes(scene(t, test.pools), test.family); got != test.want {
				t.Errorf("%s\n%v gives %s, want %s", test.pools, test.family, got, test.want)
			}
		})
	}
}

// multivalue takes eight.
func TestSelectMultivalueTakesEight(t *testing.T) {
	pools := crowd(t, 20, "multivalue")
	d := selected(pools[0], pools, &Client{}, 1, new(Scratch), nil)
	if len(d.Picks) != 8 {
		t.Errorf("gives %d", len(d.Picks))
	}
}

// An answer holds at most 1,000 addresses, of whole members.
func TestSelectMaxGiven(t *testing.T) {
	tests := []struct {
		members, addrs int
		want           int // members given
	}{
		{1000, 1, 1000},
		{500, 2, 500},
		{501, 2, 500},
		{1000, 16, 62}, // 992 addresses: another member's would be 1,008
	}
	for _, test := range tests {
		var b strings.Builder
		b.WriteString(`web ["up","weighted"]` + "\n")
		for i := range test.members {
			fmt.Fprintf(&b, "  m%04d%s\n", i, strings.Repeat(" 4+", test.addrs))
		}
		pools := scene(t, b.String())
		d := selected(pools[0], pools, &Client{}, 1, new(Scratch), nil)
		if len(d.Picks) != test.want {
			t.Errorf("%d members of %d addresses: %d given, want %d", test.members, test.addrs, len(d.Picks), test.want)
		}
	}
}

// No decision allocates once the scratch has grown, whatever its end.
func TestSelectAllocs(t *testing.T) {
	tests := map[string]*World{
		"weighted":   {Pools: crowd(t, 100, "weighted")},
		"failover":   {Pools: crowd(t, 100, "failover")},
		"multivalue": {Pools: crowd(t, 100, "multivalue")},
		"every step": {Pools: crowd(t, 100, `["up",{"tier":{"trickle":"5%"}},"weighted",{"take":{"n":3,"distinct":"site"}}]`)},
		"no draw":    {Pools: crowd(t, 100, `["up"]`)},
		"geo": {Pools: scene(t, `
web geo
  a 4+ cidr:203.0.113.0/24 map:m1/x
  b 4+ map:m1/x map:m2/x
  c 4+ any
map m1 198.51.100.0/24=x
map m2 198.51.100.0/25=x`)},
		"every term": world(t, `
web [{"geo":{"strict":true}},"up"] on_empty nodata
  a 4+ asn:64500
  b 4+ subdivision:DE-HE continent:EU
  c 4+ country:DE map:m1/x
map m1 192.0.2.0/24=x
net 198.51.100.0/24 DE DE-HE asn=64500
net 203.0.113.0/24 FR`),
		"nearest": world(t, nearestWorld),
		"latency": world(t, strings.Replace(nearestWorld, "geoproximity", "latency", 1)),
		"shed": {Pools: scene(t, `
web [{"shed":{"low":"50%","high":"100%"}},{"shed":{"percent":"30%"}},"weighted"]
  a 4+ load70
  b 4+ load110
  c 4+`)},
		"sticky": {Pools: scene(t, `
web ["up",{"weighted":{"by":"client"}}]
  a 4+
  b 4+ w3
  c 4+ w0`)},
		"sticky, take": {Pools: crowd(t, 100, `["up",{"weighted":{"by":"client"}},{"take":{"n":3,"distinct":"site"}}]`)},
		"when": world(t, `
web ["up",{"take":{"n":1},"when":{"cidr":["203.0.113.0/24"]}},{"geo":{},"when":{"country":["DE"],"asn":[64500],"continent":["EU"]}},{"tier":{},"when":{"qtype":["AAAA"]}}]
  a 4+ country:DE
  b 4+ t2
net 198.51.100.0/24 DE asn=64500`),
		"latched": {Pools: scene(t, `
web [{"tier":{"failback":"manual"}}]
  a 4+ t1
  b 4+ t2
latch web 2`)},
		"nested": world(t, `
web ["up","geo","weighted",{"take":{"n":2}}] on_empty nodata
  a pool=eu country:DE
  b pool=us w3
eu multivalue
  c 4+
  d 4+ 4-
us sticky on_empty all
  e 4-
net 198.51.100.0/24 DE`),
		"nested three deep": {Pools: scene(t, `
web ["up","weighted"]
  a pool=one
one ["up",{"weighted":{"by":"client"}}]
  b pool=two
  c 4+
two weighted
  d 4+
  e 4+`)},
		"nested, fail open": {Pools: scene(t, `
web weighted
  a pool=one
one weighted
  b pool=two
two weighted
  c 4-`)},
		"fail open":  {Pools: scene(t, "web weighted\n  a 4-")},
		"nodata":     {Pools: scene(t, "web weighted on_empty nodata\n  a 4-")},
		"servfail":   {Pools: scene(t, "web weighted on_empty servfail\n  a 4-")},
		"fallbacks":  {Pools: chainOfPools(t, maxVisits)},
		"max visits": {Pools: chainOfPools(t, maxVisits+1)},
	}
	clients := []Client{
		{Addr: netip.MustParseAddr("192.0.2.53")},
		*client(t, "192.0.2.53 203.0.113.0/24"),
		*client(t, "192.0.2.53 198.51.100.0/24"),
		*client(t, "192.0.2.53 10.0.0.0/8"),
		*client(t, "192.0.2.53 2001:db8::/56"),
	}
	for name, w := range tests {
		var s Scratch
		var d Decision
		rdata := make([]byte, 0, 1000)
		random := uint64(0)
		// All clients in one go: what AllocsPerRun finds is rounded down.
		allocs := testing.AllocsPerRun(100, func() {
			for i := range clients {
				random++
				Select(&d, w.Pools[0], w, &clients[i], random, &s, nil)
				rdata, _ = d.AppendRData(rdata[:0], IPv4)
			}
		})
		if allocs != 0 {
			t.Errorf("%s: %v allocations in as many decisions as there are clients", name, allocs)
		}
	}
}
