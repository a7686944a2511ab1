package policy

import "testing"

// What explanations say of steps that ask who the client is, and of pools within.
func TestTraceWorld(t *testing.T) {
	tests := []struct{ name, world, client, want string }{
		{"nearest by distance", `
web [{"nearest":{"by":"distance","within":"20%"}}]
  a 4+ @fra
  b 4+ @nyc bias50
  c 4+ @ams
  d 4+
site fra 50 8
site nyc 41 -74
site ams 52.4 4.9
net 198.51.100.0/24 at=48.8,2.3`, "192.0.2.53 198.51.100.0/24", `
web: asked for
  a w1 t1 @fra [10.0.0.1 up]
  b w1 t1 @nyc [10.0.1.1 up]
  c w1 t1 @ams [10.0.2.1 up]
  d w1 t1 [10.0.3.1 up]
  nearest by distance, within 20% → a c
    by 198.51.100.0, of the client subnet 198.51.100.0/24
    neither private nor special; alike within /6
    at 48.80, 2.30, exact (198.51.100.0–198.51.100.255); alike within /24
    a: 433 km
    b: 5817 km, by bias 2908 km
    c: 440 km
    d: nobody knows where it is
    scope /24: the longest prefix so far
    b: 5817 km, by bias 2908 km; up to 520 km stay
    d: nobody knows where it is; up to 520 km stay
chosen: a c
`},
		{"nearest by rtt, of the middle of a country", `
web [{"nearest":{"by":"rtt","within":"10ms"}}]
  a 4+ @fra
  b 4+ @nyc
  c 4+
  d 4+
site fra 50 8
site nyc 41 -74
rtt web fra 10 - 25.25 -
rtt web nyc 95 8 - -
net 198.51.100.0/24 FR`, "198.51.100.7", `
web: asked for
  a w1 t1 @fra [10.0.0.1 up]
  b w1 t1 @nyc [10.0.1.1 up]
  c w1 t1 [10.0.2.1 up]
  d w1 t1 [10.0.3.1 up]
  nearest by rtt, within 10ms → a
    by 198.51.100.7, which asks: there is no client subnet
    neither private nor special; alike within /6
    at 46.00, 2.00, the middle of FR (198.51.100.0–198.51.100.255); alike within /24
    stands at site fra, 630 km away, the nearest with a checker
    a: 10.0 ms, measured
    b: 61.4 ms, estimated by distance
    c: 25.2 ms, measured
    d: nobody knows where it is
    scope /24: the longest prefix so far
    b: 61.4 ms, estimated by distance; up to 20.0 ms stay
    c: 25.2 ms, measured; up to 20.0 ms stay
    d: nobody knows where it is; up to 20.0 ms stay
chosen: a
`},
		{"nearest by rtt, nobody measured", `
web [{"nearest":{"by":"rtt"}}]
  a 4+ @fra
  b 4+ @nyc
site fra 50 8
site nyc 41 -74
net 198.51.100.0/24 FR`, "198.51.100.7", `
web: asked for
  a w1 t1 @fra [10.0.0.1 up]
  b w1 t1 @nyc [10.0.1.1 up]
  nearest by rtt → a
    by 198.51.100.7, which asks: there is no client subnet
    neither private nor special; alike within /6
    at 46.00, 2.00, the middle of FR (198.51.100.0–198.51.100.255); alike within /24
    no checker has measured anything: 100 km count as 1 ms
    a: 6.3 ms, estimated by distance
    b: 59.2 ms, estimated by distance
    scope /24: the longest prefix so far
    b: 59.2 ms, estimated by distance; up to 6.3 ms stay
chosen: a
`},
		{"nearest: a client nobody knows", `
web geoproximity
  a 4+ @fra
site fra 50 8
net 198.51.100.0/24 FR`, "192.0.2.53 203.0.113.0/24", `
web: asked for
  a w1 t1 @fra [10.0.0.1 up]
  up → a
  nearest by distance → a
    by 203.0.113.0, of the client subnet 203.0.113.0/24
    neither private nor special; alike within /5
    place not known: the database does not say; alike within /5
    scope /5: the longest prefix so far
    (passed over: nobody knows where the client is)
  weighted → a
  take 1 → a
chosen: a
`},
		{"nearest: no database", `
web geoproximity
  a 4+ @fra
site fra 50 8`, "192.0.2.53 203.0.113.0/24", `
web: asked for
  a w1 t1 @fra [10.0.0.1 up]
  up → a
  nearest by distance → a
    by 203.0.113.0, of the client subnet 203.0.113.0/24
    neither private nor special; alike within /5
    place not known: there is no database; alike within /0
    scope /5: the longest prefix so far
    (passed over: nobody knows where the client is)
  weighted → a
  take 1 → a
chosen: a
`},
		{"nearest: members nobody knows", `
web geoproximity
  a 4+ @fra
net 198.51.100.0/24 FR`, "192.0.2.53 198.51.100.0/24", `
web: asked for
  a w1 t1 @fra [10.0.0.1 up]
  up → a
  nearest by distance → a
    by 198.51.100.0, of the client subnet 198.51.100.0/24
    neither private nor special; alike within /6
    at 46.00, 2.00, the middle of FR (198.51.100.0–198.51.100.255); alike within /24
    a: nobody knows where it is
    scope /24: the longest prefix so far
    (passed over: nobody knows where any member is)
  weighted → a
  take 1 → a
chosen: a
`},
		{"sticky", `
web sticky
  a 4+
  b 4+ w0
  c 4+ w9`, "192.0.2.53 198.51.100.7/32", `
web: asked for
  a w1 t1 [10.0.0.1 up]
  b w0 t1 [10.0.1.1 up]
  c w9 t1 [10.0.2.1 up]
  up → a b c
  weighted by client → a b c
    by 198.51.100.7, of the client subnet 198.51.100.7/32
    neither private nor special; alike within /6
    all draws of web follow from 198.51.100.0/24; alike within /24
    scope /24: the longest prefix so far
  take 1 → a
    b: weight 0: only when nothing else is left
    c: not the client's (weight 9)
chosen: a
`},
		{"sticky, of IPv4 carried in IPv6", `
web [{"weighted":{"by":"client"}}]
  a 4+
  b 4+`, "192.0.2.53 2002:c633:6400::/48", `
web: asked for
  a w1 t1 [10.0.0.1 up]
  b w1 t1 [10.0.1.1 up]
  weighted by client → a b
    by 198.51.100.0, carried in IPv6, of the client subnet 2002:c633:6400::/48
    neither private nor special; alike within /22
    all draws of web follow from 198.51.100.0/24; alike within /40
    scope /40: the longest prefix so far
chosen: a b
`},
		{"geo by every kind", `
web [{"geo":{"strict":true}},{"take":{"n":1}}]
  a 4+ country:DE
  b 4+ continent:EU subdivision:DE-BY
  c 4+ asn:64500
  d 4+ any
net 198.51.100.0/25 DE DE-HE asn=64501
net 198.51.100.128/25 DE DE-HE asn=64500`, "192.0.2.53 198.51.100.0/25", `
web: asked for
  a w1 t1 [10.0.0.1 up]
  b w1 t1 [10.0.1.1 up]
  c w1 t1 [10.0.2.1 up]
  d w1 t1 [10.0.3.1 up]
  geo strict → a
    by 198.51.100.0, of the client subnet 198.51.100.0/25
    neither private nor special; alike within /6
    asn 64501 (198.51.100.0–198.51.100.127); alike within /25
    subdivision DE-HE (198.51.100.0–198.51.100.255); alike within /24
    country DE, continent EU (198.51.100.0–198.51.100.255); alike within /24
    scope /25: the longest prefix so far
    b: serves the client by continent:EU; country:DE is more specific
    c: serves nothing that the client is in
    d: serves the client by any; country:DE is more specific
  take 1 → a
chosen: a
`},
		{"geo by a map that goes by what the database says", `
web [{"geo":{"strict":true}}]
  a 4+ map:m1/x
  b 4+ map:m1/y
map m1 203.0.113.0/24=y asn:64501=y DE=x
net 198.51.100.0/24 DE asn=64500`, "192.0.2.53 198.51.100.0/24", `
web: asked for
  a w1 t1 [10.0.0.1 up]
  b w1 t1 [10.0.1.1 up]
  geo strict → a
    by 198.51.100.0, of the client subnet 198.51.100.0/24
    neither private nor special; alike within /6
    map m1: country DE is x (asn 64500 has no tag); alike within /24
    scope /24: the longest prefix so far
    b: serves nothing that the client is in
chosen: a
`},
		{"when", `
web [{"take":{"n":1},"when":{"country":["FR"],"cidr":["198.51.100.0/24"],"qtype":["A"]}},{"take":{"n":2},"when":{"asn":[64500]}},{"up":{},"when":{"qtype":["A"]}}]
  a 4+
  b 4+
  c 4+
net 198.51.100.0/24 DE asn=64500`, "192.0.2.53 198.51.100.0/24", `
web: asked for
  a w1 t1 [10.0.0.1 up]
  b w1 t1 [10.0.1.1 up]
  c w1 t1 [10.0.2.1 up]
  take 1, when cidr is one of 198.51.100.0/24 and country is one of FR and qtype is one of A → a b c
    by 198.51.100.0, of the client subnet 198.51.100.0/24
    cidr: 198.51.100.0/24; alike within /24
    when cidr: 198.51.100.0/24; alike within /24
    country DE, continent EU (198.51.100.0–198.51.100.255); alike within /24
    scope /24: the longest prefix so far
    (not done: the query is none that it is for)
  take 2, when asn is one of 64500 → a b
    by 198.51.100.0, of the client subnet 198.51.100.0/24
    cidr: 198.51.100.0/24; alike within /24
    asn 64500 (198.51.100.0–198.51.100.255); alike within /24
    scope /24: the longest prefix so far
    c: not among the first 2
  up when qtype is one of A → a b
chosen: a b
`},
		{"when: as far as it was looked", `
web [{"take":{"n":1},"when":{"country":["DE"],"cidr":["203.0.113.0/24"]}},{"take":{"n":1},"when":{"country":["DE"],"qtype":["AAAA"]}},{"weighted":{},"when":{"country":["DE"]}}]
  a 4+
  b 4+
net 198.51.100.0/24 DE`, "192.0.2.53 198.51.100.0/24", `
web: asked for
  a w1 t1 [10.0.0.1 up]
  b w1 t1 [10.0.1.1 up]
  take 1, when cidr is one of 203.0.113.0/24 and country is one of DE → a b
    by 198.51.100.0, of the client subnet 198.51.100.0/24
    cidr: no network around it is served; alike within /6
    when cidr: in none of them; alike within /5
    scope /6: the longest prefix so far
    (not done: the query is none that it is for)
  take 1, when country is one of DE and qtype is one of AAAA → a b
    (not done: the query is none that it is for)
  weighted when country is one of DE → a b
    by 198.51.100.0, of the client subnet 198.51.100.0/24
    cidr: no network around it is served; alike within /6
    country DE, continent EU (198.51.100.0–198.51.100.255); alike within /24
    scope /24: the longest prefix so far
chosen: b a
`},
		{"nested", `
web ["up","weighted",{"take":{"n":2}}]
  a pool=eu w0
  b pool=us
  c pool=asia
  d 4- w7
eu ["up"] min_up 2
  x 4+
  y 4+
us [{"shed":{"percent":"100%"}}]
  x 4+
asia weighted
  z 4+ drained`, "192.0.2.53", `
web: asked for
  a w0 t1 [pool eu (IPv4) up]
  b w1 t1 [pool us (IPv4) up]
  c w1 t1 [pool asia (IPv4) down]
  d w7 t1 [10.0.3.1 down]
  up → a b
    c: pool asia (IPv4) is down
    d: 10.0.3.1 is down
  weighted → a b
  take 2 → a
    b: pool us gives nobody
us: a member
  x w1 t1 [10.0.0.1 up]
  shed 100% → ` + `
    x: drawn to be shed (100%)
    (leaves nobody)
eu: a member
  x w1 t1 [10.0.0.1 up]
  y w1 t1 [10.0.1.1 up]
  up → x y
chosen: eu/x eu/y
`},
		{"nested, all of it drained", `
web ["take"] on_empty nodata
  a pool=us
us weighted
  x 4+ drained`, "192.0.2.53", `
web: asked for
  a w1 t1 [pool us (IPv4) down]
  take 1 → ` + `
    a: pool us gives nobody
    (leaves nobody)
us: a member
  x w1 t1 [10.0.0.1 up] out: withdrawn
  (every member with an IPv4 address is withdrawn; on_empty of web goes on with nodata)
nodata: ` + `
`},
		{"nested, fail open", `
web weighted
  a pool=eu
eu failover
  x 4-
  y 4- t2`, "192.0.2.53", `
web: asked for
  a w1 t1 [pool eu (IPv4) down]
  up → ` + `
    a: pool eu (IPv4) is down
    (leaves nobody)
  (on_empty of web goes on with all)
web: fail open: a step that leaves nobody is passed over
  a w1 t1 [pool eu (IPv4) down]
  up → a
    (passed over: it would leave nobody)
  weighted → a
  take 1 → a
eu: a member, fail open: a step that leaves nobody is passed over
  x w1 t1 [10.0.0.1 down]
  y w1 t2 [10.0.1.1 down]
  up → x y
    (passed over: it would leave nobody)
  tier → x
    y: tier 2; tier 1 is present
  weighted → x
  take 1 → x
chosen (fail open): eu/x
`},
		{"nested, its own servfail", `
web ["weighted"]
  a pool=eu
eu weighted on_empty servfail
  x 4-`, "192.0.2.53", `
web: asked for
  a w1 t1 [pool eu (IPv4) down]
  weighted → a
eu: a member
  x w1 t1 [10.0.0.1 down]
  up → ` + `
    x: 10.0.0.1 is down
    (leaves nobody)
  (on_empty of eu goes on with servfail)
servfail: ` + `
`},
		{"nested, passed over at the end", `
web ["weighted"]
  a pool=eu
  b 4+
eu weighted
  x 4-`, "192.0.2.53", `
web: asked for
  a w1 t1 [pool eu (IPv4) down]
  b w1 t1 [10.0.1.1 up]
  weighted → a b
  (a gives nobody)
eu: a member
  x w1 t1 [10.0.0.1 down]
  up → ` + `
    x: 10.0.0.1 is down
    (leaves nobody)
chosen: b
`},
		{"shed", `
web [{"shed":{"low":"50%","high":"100%"}},{"shed":{"percent":"90%"}}]
  a 4+ load20
  b 4+ load110
  c 4+
  d 4+ load75`, "192.0.2.53", `
web: asked for
  a w1 t1 load 0.2 [10.0.0.1 up]
  b w1 t1 load 1.1 [10.0.1.1 up]
  c w1 t1 [10.0.2.1 up]
  d w1 t1 load 0.75 [10.0.3.1 up]
  shed from 50% to 100% load → a c d
    b: drawn to be shed (load 110%, so by a chance of 100%)
  shed 90% → ` + `
    a: drawn to be shed (90%)
    c: drawn to be shed (90%)
    d: drawn to be shed (90%)
    (leaves nobody)
  (on_empty of web goes on with all)
web: fail open: a step that leaves nobody is passed over
  a w1 t1 load 0.2 [10.0.0.1 up]
  b w1 t1 load 1.1 [10.0.1.1 up]
  c w1 t1 [10.0.2.1 up]
  d w1 t1 load 0.75 [10.0.3.1 up]
  shed from 50% to 100% load → a c d
    b: drawn to be shed (load 110%, so by a chance of 100%)
  shed 90% → a c d
    (passed over: it would leave nobody)
chosen (fail open): a c d
`},
		{"latched", `
web ["up",{"tier":{"failback":"manual","trickle":"1%"}}]
  a 4+ t1
  b 4+ t2
  c 4+ t3
latch web 2`, "192.0.2.53", `
web: asked for
  a w1 t1 [10.0.0.1 up]
  b w1 t2 [10.0.1.1 up]
  c w1 t3 [10.0.2.1 up]
  up → a b c
  tier trickle 1%, failback manual → b
    a: tier 1; failback is held at tier 2
    c: tier 3; tier 2 is present
    (failback is held: tiers below 2 do not count while others are there)
chosen: b
`},
		{"latched, but nobody else is there", `
web ["up",{"tier":{"failback":"5m"}}]
  a 4+ t1
  b 4- t2
latch web 2`, "192.0.2.53", `
web: asked for
  a w1 t1 [10.0.0.1 up]
  b w1 t2 [10.0.1.1 down]
  up → a
    b: 10.0.1.1 is down
  tier failback 5m → a
    (failback is held: tiers below 2 do not count while others are there)
chosen: a
`},
		{"a tier step that does not latch, beside one that does", `
web [{"tier":{"trickle":"100%"}},{"tier":{"failback":"manual"}}]
  a 4+ t1
  b 4+ t2
latch web 2`, "192.0.2.53", `
web: asked for
  a w1 t1 [10.0.0.1 up]
  b w1 t2 [10.0.1.1 up]
  tier trickle 100% → b
    a: tier 1; the draw for trickle chose tier 2
  tier failback manual → b
    (failback is held: tiers below 2 do not count while others are there)
chosen: b
`},
		{"all withdrawn", `
web weighted on_empty nodata
  a 4+ drained
  b 6+`, "192.0.2.53", `
web: asked for
  a w1 t1 [10.0.0.1 up] out: withdrawn
  b w1 t1 [] out: no IPv4 address
  (every member with an IPv4 address is withdrawn; on_empty of web goes on with nodata)
nodata: ` + `
`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := world(t, test.world)
			c := client(t, test.client)
			c.Type = 1
			var d Decision
			var trace Trace
			Select(&d, w.Pools[0], w, c, 1, new(Scratch), &trace)
			if got := traceText(&trace); got != test.want[1:] {
				t.Errorf("%s\n%s gives\n%swant%s", test.world, test.client, got, test.want)
			}
		})
	}
}
