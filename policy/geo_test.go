package policy

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"meridian/policy/geo"
)

// client reads "192.0.2.53 203.0.113.0/24": who asks, and perhaps for whom.
func client(t testing.TB, text string) *Client {
	t.Helper()
	addr, subnet, _ := strings.Cut(text, " ")
	c := &Client{Addr: netip.MustParseAddr(addr)}
	if subnet != "" {
		c.Subnet = netip.MustParsePrefix(subnet)
	}
	return c
}

const ladder = `
web ["geo"]
  a 4+ cidr:203.0.113.0/24
  b 4+ cidr:203.0.0.0/16 map:m1/x
  c 4+ map:m1/x cidr:198.51.100.0/24
  d 4+ map:m2/x
  e 4+ any cidr:192.0.2.0/30
  f 4+
map m1 203.0.113.0/25=x 203.0.0.0/8=x 11.0.0.0/8=y default=z
map m2 11.1.0.0/16=x`

func TestSelectGeo(t *testing.T) {
	tests := []struct {
		name   string
		pools  string
		client string
		want   string
		scope  uint8
	}{
		{"the longest cidr", ladder, "192.0.2.53 203.0.113.7/32", "a", 24},
		{"a shorter cidr before a map", ladder, "192.0.2.53 203.0.7.0/24", "b", 18},
		{"a tag of a map before any", ladder, "192.0.2.53 203.7.0.0/16", "b c", 14},
		{"a tag of another map", ladder, "192.0.2.53 11.1.2.0/24", "d", 16},
		{"any, said or not", ladder, "192.0.2.53 11.2.0.0/16", "e f", 15},
		{"the default of a map", ladder, "192.0.2.53 12.0.0.0/8", "e f", 6},
		{"without a subnet: who asks", ladder, "203.0.113.7", "a", 24},
		{"a subnet of no length: who asks", ladder, "203.0.113.7 0.0.0.0/0", "a", 24},
		{"IPv6 beside cidrs of IPv4", ladder, "203.0.113.7 2001:db8::/32", "e f", 21}, // beside 2001::/32, which is folded,

		{"terms of nobody who is left do not count: cidr", `
web geo
  a 4- cidr:203.0.113.0/24
  b 4+ cidr:203.0.0.0/16
  c 4+`, "192.0.2.53 203.0.113.0/24", "b", 24},
		{"terms of nobody who is left do not count: map", `
web geo
  a 4- cidr:203.0.113.0/24
  b 4+ map:m1/x
  c 4+
map m1 203.0.0.0/8=x`, "192.0.2.53 203.0.113.0/24", "b", 24},
		{"terms of nobody who is left do not count: any", `
web geo
  a 4- cidr:203.0.113.0/24
  b 4- map:m1/x
  c 4+
map m1 203.0.0.0/8=x`, "192.0.2.53 203.0.113.0/24", "c", 24},
		{"a fence: who is up elsewhere does not count", `
web [{"geo":{"strict":true}},"up"] on_empty nodata
  a 4- cidr:203.0.113.0/24
  b 4+ cidr:203.0.0.0/16`, "192.0.2.53 203.0.113.0/24", "nodata", 24},
		{"all goes on within the fence", `
web [{"geo":{"strict":true}},"up"] on_empty all
  a 4- cidr:203.0.113.0/24
  b 4+ cidr:203.0.0.0/16`, "192.0.2.53 203.0.113.0/24", "fail open: a", 24},
		{"nobody serves the client: undone", `
web ["geo"] on_empty servfail
  a 4+ cidr:203.0.113.0/24
  b 4+ map:m1/x
map m1 203.0.0.0/8=x`, "192.0.2.53 198.51.100.0/24", "a b", 6},
		{"nobody serves the client: strict", `
web [{"geo":{"strict":true}}] on_empty servfail
  a 4+ cidr:203.0.113.0/24
  b 4+ map:m1/x
map m1 203.0.0.0/8=x`, "192.0.2.53 198.51.100.0/24", "servfail", 6},
		{"nobody serves the client: all does not pass over strict", `
web [{"geo":{"strict":true}}] on_empty all servfail
  a 4+ cidr:203.0.113.0/24`, "192.0.2.53 198.51.100.0/24", "servfail", 6},
		{"any is a match: strict", `
web [{"geo":{"strict":true}}] on_empty servfail
  a 4+ cidr:203.0.113.0/24
  b 4+`, "192.0.2.53 198.51.100.0/24", "b", 6},
		{"a map that is not there, and a tag that it has not", `
web ["geo"]
  a 4+ map:gone/x
  b 4+ map:m1/gone
  c 4+
map m1 198.51.0.0/16=x`, "192.0.2.53 198.51.100.0/24", "c", 16},
		{"no step asks", `
web weighted
  a 4+ cidr:203.0.113.0/24`, "192.0.2.53 203.0.113.0/24", "a", 0},
		{"nobody says whom to serve", `
web geo
  a 4+
  b 4- any`, "192.0.2.53 203.0.113.0/24", "a", 0},
		{"the step is not reached", `
web geo on_empty nodata
  a 4- cidr:203.0.113.0/24`, "192.0.2.53 203.0.113.0/24", "nodata", 0},
		{"a fallback's look-ups count, and those before it", `
web ["geo","up"] on_empty pool:backup
  a 4- cidr:203.0.113.0/28
  b 4+
backup ["geo"]
  x 4+ cidr:203.0.0.0/16`, "192.0.2.53 203.0.113.0/24", "backup: x", 28},
		{"equal neighbours are one network", `
web ["geo"]
  a 4+ cidr:198.51.100.0/25 cidr:198.51.100.128/25
  b 4+`, "192.0.2.53 198.51.100.0/24", "a", 24},
		{"those who serve two neighbours alike", `
web ["geo"]
  a 4+ cidr:198.51.100.0/24 cidr:198.51.101.0/24
  b 4+ cidr:198.51.100.0/24 cidr:198.51.101.0/24
  c 4+`, "192.0.2.53 198.51.100.0/24", "a b", 23},
		{"two steps", `
web ["geo",{"take":{"n":1}},{"geo":{"strict":true}}]
  a 4+ cidr:198.51.100.0/24
  b 4+ cidr:198.51.100.0/24`, "192.0.2.53 198.51.100.0/24", "a", 24},

		// Private and special subnets.
		{"a private subnet that nothing covers", `
web ["geo"]
  a 4+ cidr:192.0.2.0/24
  b 4+ map:m1/x
  c 4+
map m1 11.0.0.0/8=x default=x`, "192.0.2.53 10.1.2.0/24", "a", 8},
		{"a private subnet that nothing covers: the networks around who asks are not in the scope", `
web ["geo"]
  a 4+ cidr:192.0.3.0/24
  b 4+ map:m1/x
map m1 192.0.2.0/24=x`, "192.0.2.53 10.1.2.0/24", "b", 8},
		{"a private subnet that nothing covers, beside one that a map covers", `
web ["geo"]
  a 4+ cidr:192.0.2.0/24
  b 4+ map:m1/x
map m1 10.1.3.0/24=x`, "192.0.2.53 10.1.2.0/24", "a", 24},
		{"a private subnet that a cidr covers", `
web ["geo"]
  a 4+ cidr:192.0.2.0/24
  b 4+ cidr:10.1.0.0/16`, "192.0.2.53 10.1.2.0/24", "b", 16},
		{"a private subnet that a cidr covers, if only that of all", `
web ["geo"]
  a 4+ cidr:192.0.2.0/24
  b 4+ cidr:0.0.0.0/0`, "192.0.2.53 10.1.2.0/24", "b", 1},
		{"a private subnet that a map covers", `
web ["geo"]
  a 4+ cidr:192.0.2.0/24
  b 4+ map:m1/x
map m1 10.1.0.0/16=x`, "192.0.2.53 10.1.2.0/24", "b", 16},
		{"a private subnet that a map covers with its default", `
web ["geo"]
  a 4+ cidr:192.0.2.0/24
  b 4+ map:m1/x
map m1 10.1.0.0/16=x default=x`, "192.0.2.53 10.1.2.0/24", "b", 16},
		{"a private address that asks is what there is", `
web ["geo"]
  a 4+ cidr:192.0.2.0/24
  b 4+ map:m1/x
map m1 10.1.0.0/16=x`, "10.1.2.3", "b", 16},
		{"loopback of IPv6", `
web ["geo"]
  a 4+ cidr:192.0.2.0/24
  b 4+`, "192.0.2.53 ::1/128", "a", 81}, // beside ::ffff:0:0/96, which is folded,
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			pools := scene(t, test.pools)
			d := selected(pools[0], pools, client(t, test.client), 1, new(Scratch), nil)
			if got := text(d, pools[0], IPv4); got != test.want || d.Scope != test.scope {
				t.Errorf("%s\n%s gets %s, scope %d, want %s, %d", test.pools, test.client, got, d.Scope, test.want, test.scope)
			}
		})
	}
}

// Which addresses count for themselves.
func TestSpecials(t *testing.T) {
	pools := scene(t, `
web ["geo"]
  a 4+ cidr:192.0.2.53/32
  b 4+`)
	for text, want := range map[string]string{
		"0.1.2.3": "a", "10.0.0.0": "a", "11.0.0.0": "b", "100.63.0.0": "b", "100.64.0.0": "a", "100.128.0.0": "b", "127.0.0.1": "a",
		"169.254.7.0": "a", "172.15.0.0": "b", "172.31.255.0": "a", "172.32.0.0": "b", "192.0.0.8": "a", "192.0.2.0": "b", "192.168.255.0": "a",
		"198.18.0.0": "b", "198.51.100.0": "b", "203.0.113.0": "b", "223.255.255.0": "b", "224.0.0.1": "a", "255.255.255.255": "a",
		"::": "a", "::1": "a", "64:ff9b::1": "a", "100::": "a", "100:0:0:1::": "b", "2001:db8::": "b", "2002:a00::": "a", "2002:b00::": "b", "fbff::": "b",
		"fc00::": "a", "fd12:3456::": "a", "fe00::": "b", "fe80::1": "a", "fec0::": "a", "ff02::1": "a",
	} {
		a := netip.MustParseAddr(text)
		c := &Client{Addr: netip.MustParseAddr("192.0.2.53"), Subnet: netip.PrefixFrom(a, a.BitLen())}
		d := selected(pools[0], pools, c, 1, new(Scratch), nil)
		if got := d.Member(d.Picks[0]).Name; got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// No two subnets within one scope are treated differently, at any step: tried at every place where
// a network of any kind begins or ends, and by the twin, which knows no scope.
func TestScopeSound(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	scenes, compared, wide := 1_000, 0, 0
	if testing.Short() || raceEnabled {
		scenes = 300
	}
	var used Scratch
	for range scenes {
		scene := randomScene(random.IntN)
		c, n := randomClient(random.IntN), random.Uint64()
		c.Family = Family(random.IntN(3))
		selected := func() (d Decision) {
			Select(&d, scene.Pools[0], &scene.World, c, n, &used, nil)
			return d
		}
		if c.Subnet.Bits() <= 0 {
			continue
		}
		d := selected()
		want := sameText(d)
		within, _ := c.Subnet.Addr().Prefix(int(d.Scope))
		for _, a := range append(edges(), flips(c.Subnet.Addr(), int(d.Scope))...) {
			if !within.Contains(a) {
				continue
			}
			length := max(1, int(d.Scope))
			other := &Client{Addr: c.Addr, Family: c.Family, Type: c.Type}
			other.Subnet, _ = a.Prefix(length + random.IntN(a.BitLen()-length+1))
			if got := twinSelect(scene.Pools[0], scene, other, n); got != want {
				t.Fatalf("%s\n%+v gets %s, scope %d, and %+v gets %s", describe(scene), c, want, d.Scope, other, got)
			}
			if compared++; d.Scope > 0 && other.Subnet.Addr() != c.Subnet.Addr() {
				wide++
			}
		}
	}
	if wide < 5*scenes {
		t.Errorf("%d comparisons, %d of them of two addresses: too few", compared, wide)
	}
}

// edges returns the first address of every network that matters, the last, and those beside them.
func edges() (list []netip.Addr) {
	for _, n := range slices.Concat(specials, geo.Folded, randomNets) {
		first, last := n.Addr(), lastOf(n)
		for _, a := range []netip.Addr{first, last, first.Prev(), last.Next()} {
			if a.IsValid() {
				list = append(list, a)
			}
			if a.Is4() {
				carried := [16]byte{0: 0x20, 1: 0x02}
				copy(carried[2:], a.AsSlice())
				list = append(list, netip.AddrFrom16(carried), netip.AddrFrom16(a.As16()))
			}
		}
	}
	return list
}

// flips returns a with each of its bits from place n on turned over, alone and with all behind it.
func flips(a netip.Addr, n int) (list []netip.Addr) {
	for ; n < a.BitLen(); n++ {
		for _, behind := range []byte{0, 0xff} {
			b := a.AsSlice()
			b[n/8] ^= 0x80 >> (n % 8)
			b[n/8] ^= behind & (0x7f >> (n % 8))
			for i := n/8 + 1; i < len(b); i++ {
				b[i] ^= behind
			}
			flipped, _ := netip.AddrFromSlice(b)
			list = append(list, flipped)
		}
	}
	return list
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func TestTraceGeo(t *testing.T) {
	const pools = `
web [{"geo":{"strict":true}},{"take":{"n":1}}] on_empty all servfail
  a 4+ cidr:203.0.113.0/24
  b 4+ cidr:203.0.0.0/16 map:m1/x
  c 4+ map:m1/x map:gone/y
  d 4+ map:m2/x
  e 4+
map m1 203.0.0.0/8=x default=z
map m2 11.1.0.0/16=x 10.1.0.0/16=y`
	tests := []struct{ name, pools, client, want string }{
		{"by cidr", pools, "192.0.2.53 203.0.113.0/24", `
  geo strict → a
    by 203.0.113.0, of the client subnet 203.0.113.0/24
    cidr: 203.0.113.0/24, 203.0.0.0/16; alike within /24
    scope /24: the longest prefix so far
    b: serves the client by cidr:203.0.0.0/16; cidr:203.0.113.0/24 is more specific
    c: serves the client by map:m1/x; cidr:203.0.113.0/24 is more specific
    d: serves nothing that the client is in
    e: serves the client by any; cidr:203.0.113.0/24 is more specific
`},
		{"by map", pools, "203.7.0.1", `
  geo strict → b c
    by 203.7.0.1, which asks: there is no client subnet
    cidr: no network around it is served; alike within /14
    map gone is not there
    map m1: 203.0.0.0/8 is x; alike within /8
    map m2: nothing covers it, and there is no default; alike within /1
    scope /14: the longest prefix so far
    a: serves nothing that the client is in
    d: serves nothing that the client is in
    e: serves the client by any; map:m1/x is more specific
`},
		{"by any, instead of a private subnet", pools, "11.2.0.1 10.2.0.0/16", `
  geo strict → e
    by 11.2.0.1, which asks: the client subnet 10.2.0.0/16 is private or special, and neither a cidr nor a map covers it
    cidr: no network around it is served
    map gone is not there
    map m1: by default z
    map m2: nothing covers it, and there is no default
    scope /15: so far around the client subnet all is private or special, and not covered
    a: serves nothing that the client is in
    b: serves nothing that the client is in
    c: serves nothing that the client is in
    d: serves nothing that the client is in
`},
		{"strict, nobody", `
web [{"geo":{"strict":true}}] on_empty all servfail
  a 4+ cidr:203.0.113.0/24`, "192.0.2.53 198.51.100.0/24", `
  geo strict → ` + `
    by 198.51.100.0, of the client subnet 198.51.100.0/24
    cidr: no network around it is served; alike within /6
    scope /6: the longest prefix so far
    a: serves nothing that the client is in
    (leaves nobody)
`},
		{"not strict, nobody", `
web ["geo"]
  a 4+ cidr:203.0.113.0/24`, "192.0.2.53 198.51.100.0/24", `
  geo → a
    by 198.51.100.0, of the client subnet 198.51.100.0/24
    cidr: no network around it is served; alike within /6
    scope /6: the longest prefix so far
    (undone: nobody serves the client)
`},
		{"nothing to go by", `
web ["geo"]
  a 4+`, "192.0.2.53 198.51.100.0/24", `
  geo → a
    (passed over: everybody serves everybody)
`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := scene(t, test.pools)
			var trace Trace
			selected(p[0], p, client(t, test.client), 1, new(Scratch), &trace)
			for _, run := range trace.Runs { // the step says the same when on_empty goes through it again
				if got := stepText(&run.Steps[0]); got != test.want[1:] {
					t.Errorf("%s\n%s gives\n%swant%s", test.pools, test.client, got, test.want)
				}
			}
		})
	}
}
