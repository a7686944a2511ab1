package policy

import "testing"

// Pools within pools, over many random numbers.
func TestSelectNested(t *testing.T) {
	tests := []struct {
		name   string
		pools  string // see scene
		family Family
		want   string // see outcomes
	}{
		{"what they give stands in their places, in order", `
web [{"take":{"n":3}}]
  a pool=eu
  b 4+
  c pool=us
eu ["up"]
  x 4+
  y 4+
us ["up"]
  z 4+`, IPv4, "eu/x eu/y b us/z"},
		{"take counts members, whatever they give", `
web [{"take":{"n":1}}]
  a pool=eu
  b 4+
eu ["up"]
  x 4+ 4+
  y 4+`, IPv4, "eu/x eu/y"},
		{"by weight, as members are: 0 last", `
web ["weighted"]
  a pool=eu w0
  b pool=us
eu ["up"]
  x 4+
us ["up"]
  y 4+`, IPv4, "us/y eu/x"},
		{"a draw of its own within", `
web weighted
  a pool=eu
eu weighted
  x 4+
  y 4+`, IPv4, "eu/x | eu/y"},
		{"tiers", `
web failover
  a pool=eu t1
  b pool=us t2
eu weighted
  x 4-
us weighted
  y 4+`, IPv4, "us/y"},
		{"three deep", `
web weighted
  a pool=eu
eu weighted
  b pool=de
de multivalue
  x 4+ 4-`, IPv4, "de/x/0"},
		{"names", `
web weighted
  a pool=cdn
cdn ["weighted"]
  x cname=x.example. w0
  y cname=y.example.`, IPv4, "cdn/y cdn/x"},

		// One that yields nothing.
		{"take passes over one that yields nothing", `
web [{"take":{"n":1}}]
  a pool=eu
  b pool=us
eu weighted
  x 4-
us weighted
  y 4+`, IPv4, "us/y"},
		{"the end of the chain passes over one that yields nothing", `
web ["weighted"]
  a pool=eu
  b pool=us
eu weighted
  x 4-
us weighted
  y 4+`, IPv4, "us/y"},
		{"one that yields nothing does not use up its site", `
web [{"take":{"n":2,"distinct":"site"}}]
  a pool=eu @fra
  b 4+ @fra
  c pool=us @fra
  d 4+ @ams
eu weighted
  x 4-
us weighted
  y 4+`, IPv4, "b d"},
		{"none yields: all, by default, within as well", `
web [{"take":{"n":1}}]
  a pool=eu
  b pool=us
eu weighted
  x 4-
us weighted
  y 4-`, IPv4, "fail open: eu/x"},
		{"none is up: all, by default, within as well", `
web weighted
  a pool=eu
eu weighted
  b pool=de
de failover
  x 4-
  y 4- t2`, IPv4, "fail open: de/x"},
		{"none yields: the root's on_empty", `
web weighted on_empty pool:backup
  a pool=eu
eu weighted
  x 4-
backup weighted
  z 4+`, IPv4, "backup: z"},
		{"a fallback of pools within", `
web weighted on_empty pool:backup
  a 4-
backup weighted
  b pool=eu
eu weighted
  x 4+`, IPv4, "backup: eu/x"},
		{"fail open leaves strict geo alone, within as well", `
web ["up"] on_empty all servfail
  a pool=eu
eu [{"geo":{"strict":true}}]
  x 4- cidr:203.0.113.0/24`, IPv4, "servfail"},

		// Its own on_empty.
		{"its own all", `
web [{"take":{"n":1}}]
  a pool=eu
  b 4+
eu weighted on_empty all
  x 4-`, IPv4, "fail open: eu/x"},
		{"its own all, but the root keeps who is up", `
web weighted
  a pool=eu
  b 4+
eu weighted on_empty all
  x 4-`, IPv4, "b"},
		{"its own all behind another: somebody is given although nobody was up", `
web [{"take":{"n":2}}]
  a 4+
  b pool=eu
eu weighted on_empty all
  x 4-`, IPv4, "fail open: a eu/x"},
		{"its own pool", `
web [{"take":{"n":1}}]
  a pool=eu
  b 4+
eu weighted on_empty pool:us
  x 4-
us weighted
  y 4+`, IPv4, "us/y"},
		{"its own pool, which gives nobody: passed over", `
web [{"take":{"n":1}}]
  a pool=eu
  b 4+
eu weighted on_empty pool:us
  x 4-
us weighted
  y 4-`, IPv4, "b"},
		{"its own nodata, first", `
web [{"take":{"n":2}}]
  a pool=eu
  b 4+
eu weighted on_empty nodata
  x 4-`, IPv4, "nodata"},
		{"its own servfail, first", `
web ["weighted"]
  a pool=eu
eu weighted on_empty servfail
  x 4-`, IPv4, "servfail"},
		{"its own servfail, behind another", `
web [{"take":{"n":2}}]
  a 4+
  b pool=eu
eu weighted on_empty servfail
  x 4-`, IPv4, "a"},
		{"its own servfail, behind one that yields nothing", `
web [{"take":{"n":2}}]
  a pool=us
  b pool=eu
  c 4+
eu weighted on_empty servfail
  x 4-
us weighted
  y 4-`, IPv4, "servfail"},
		{"its own nodata holds where the root fails open", `
web weighted on_empty all
  a pool=eu
eu weighted on_empty nodata
  x 4-`, IPv4, "nodata"},
		{"its own nodata, two deep", `
web weighted on_empty all
  a pool=eu
eu weighted
  b pool=de
de weighted on_empty nodata
  x 4-`, IPv4, "nodata"},

		// up and min_up.
		{"up: one member up is enough", `
web weighted
  a pool=eu
  b 4-
eu weighted
  x 4-
  y 4+`, IPv4, "eu/y"},
		{"up leaves the unknown out while another is up", `
web weighted
  a pool=eu
  b 4+
eu weighted
  x 4?`, IPv4, "b"},
		{"up lets the unknown stand in", `
web weighted
  a pool=eu
  b 4-
eu weighted
  x 4?
  y 4-`, IPv4, "eu/x"},
		{"min_up: too few", `
web weighted
  a pool=eu
  b pool=us
eu weighted min_up 2
  x 4+
  y 4-
us weighted
  z 4+`, IPv4, "us/z"},
		{"min_up: enough", `
web ["up"]
  a pool=eu
  b pool=us
eu ["up"] min_up 2
  x 4+
  y 4+
  z 4-
us weighted
  z 4-`, IPv4, "eu/x eu/y"},
		{"min_up: perhaps enough", `
web weighted
  a pool=eu
  b 4-
eu ["up"] min_up 2
  x 4+
  y 4?`, IPv4, "eu/x"},
		{"min_up: more than there are", `
web weighted
  a pool=eu
  b 4+
eu weighted min_up 3
  x 4+
  y 4+`, IPv4, "b"},
		{"min_up of nobody else: the root fails open", `
web weighted
  a pool=eu
eu ["up"] min_up 2
  x 4+
  y 4-`, IPv4, "fail open: eu/x"},
		{"min_up in percent: half of four", `
web weighted
  a pool=eu
  b 4-
eu ["up"] min_up "50%"
  w 4+
  x 4+
  y 4-
  z 4-`, IPv4, "eu/w eu/x"},
		{"min_up in percent is rounded up", `
web weighted
  a pool=eu
  b 4+
eu ["up"] min_up "51%"
  w 4+
  x 4+
  y 4-
  z 4-`, IPv4, "b"},
		{"min_up in percent: of those of the family", `
web weighted
  a pool=eu
  b 4-
eu ["up"] min_up "100%"
  w 4+ 6-
  x 6-
  y 4+`, IPv4, "eu/w eu/y"},
		{"min_up, two deep", `
web weighted
  a pool=eu
  b 4+
eu weighted min_up 2
  c pool=de
  d pool=fr
de weighted
  x 4+
fr weighted min_up 2
  y 4+`, IPv4, "b"},

		// Withdrawn.
		{"drained counts for min_up, and is not given", `
web weighted
  a pool=eu
  b 4-
eu ["up"] min_up 2
  x 4+
  y 4- drained`, IPv4, "eu/x"},
		{"withdrawn and not drained does not count", `
web weighted
  a pool=eu
  b 4+
eu ["up"] min_up 2
  x 4+
  y 4+ withdrawn`, IPv4, "b"},
		{"all drained: down, so that the next tier is given", `
web failover
  a pool=eu t1
  b 4+ t2
eu weighted
  x 4+ drained`, IPv4, "b"},
		{"all but one that is down drained: as well", `
web failover
  a pool=eu t1
  b 4+ t2
eu weighted
  x 4+ drained
  y 4-`, IPv4, "b"},
		{"all but one of which nothing is known drained: that one stands in", `
web failover
  a pool=eu t1
  b 4- t2
eu weighted min_up 2
  x 4- drained
  y 4?`, IPv4, "eu/y"},
		{"all drained, and nobody else: not by fail open", `
web weighted
  a pool=eu
eu weighted
  x 4+ drained`, IPv4, "nodata"},
		{"the member that is a pool is withdrawn", `
web weighted
  a pool=eu withdrawn
  b 4-
eu weighted
  x 4+`, IPv4, "fail open: b"},

		// Families are decided apart.
		{"IPv4 of a pool of one family each", `
web [{"take":{"n":2}}]
  a pool=eu
  b pool=us
eu weighted
  x 6+
us weighted
  y 4+`, IPv4, "us/y"},
		{"IPv6 of a pool of one family each", `
web [{"take":{"n":2}}]
  a pool=eu
  b pool=us
eu weighted
  x 6+
us weighted
  y 4+`, IPv6, "eu/x"},
		{"both of a pool of one family each", `
web [{"take":{"n":2}}]
  a pool=eu
  b pool=us
eu weighted
  x 6+
us weighted
  y 4+`, Any, "eu/x us/y"},
		{"up in the other family does not count", `
web weighted
  a pool=eu
  b 4+ 6+
eu weighted
  x 4- 6+`, IPv4, "b"},
		{"up in this family, from the same members", `
web weighted
  a pool=eu
  b 4+ 6-
eu weighted
  x 4- 6+`, IPv6, "eu/x"},
		{"no family", `
web weighted
  a pool=eu
eu weighted
  x 6+`, IPv4, "nodata"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := outcomes(scene(t, test.pools), test.family); got != test.want {
				t.Errorf("%s\n%v gives %s, want %s", test.pools, test.family, got, test.want)
			}
		})
	}
}

// A member that is a pool serves, stands at a site and has a bias as any other.
func TestSelectNestedPlaces(t *testing.T) {
	const around = `
eu ["up"]
  x 4+
us ["up"]
  y 4+
site fra 50 8
site nyc 41 -74
net 198.51.100.0/24 DE DE-HE asn=64500 at=48,2
net 203.0.113.0/24 US at=42,-71`
	tests := []struct{ chain, client, want string }{
		{`["up","geo"]`, "192.0.2.53 198.51.100.0/24", "eu/x"},
		{`["up","geo"]`, "192.0.2.53 203.0.113.0/24", "us/y"},
		{`["up",{"nearest":{"by":"distance"}}]`, "192.0.2.53 198.51.100.0/24", "eu/x"},
		{`["up",{"nearest":{"by":"distance"}}]`, "192.0.2.53 203.0.113.0/24", "us/y"},
	}
	for _, test := range tests {
		w := world(t, `
web `+test.chain+`
  a pool=eu @fra country:DE
  b pool=us @nyc bias10 country:US`+around)
		if got := outcomesFor(w, client(t, test.client)); got != test.want {
			t.Errorf("%s: %s gets %s, want %s", test.chain, test.client, got, test.want)
		}
	}
}

// The pools within ask for the client apart, and the scope is that of all that were asked.
func TestSelectNestedScope(t *testing.T) {
	pools := scene(t, `
web [{"take":{"n":1}}]
  a pool=eu
  b pool=us
eu [{"geo":{"strict":true}}]
  x 4+ cidr:198.51.100.0/28
us ["geo"]
  y 4+ cidr:198.51.0.0/16
  z 4+`)
	for _, test := range []struct {
		client, want string
		scope        uint8
	}{
		{"192.0.2.53 198.51.100.0/32", "eu/x", 28},
		{"192.0.2.53 198.51.100.16/32", "us/y", 28}, // eu was asked in vain, and would have given to those beside
		{"192.0.2.53 198.51.128.0/32", "us/y", 17},
	} {
		d := selected(pools[0], pools, client(t, test.client), 1, new(Scratch), nil)
		if got := text(d, pools[0], IPv4); got != test.want || d.Scope != test.scope {
			t.Errorf("%s gets %s, scope %d, want %s, %d", test.client, got, d.Scope, test.want, test.scope)
		}
	}
}
