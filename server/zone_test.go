package server

import (
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"

	"github.com/miekg/dns"

	"meridian/health"
	"meridian/policy"
	"meridian/zones"
)

// content is what the tests' server holds, beside the steered names of testView.
var content = parseZone(`
$ORIGIN example.com.
$TTL 300
@           SOA   ns1 hostmaster 1 7200 900 1209600 60
@           NS    ns1
@           NS    ns.example.net.
@           MX    10 mail
@           TXT   "v=spf1 -all"
@           HTTPS 1 . alpn="h2,h3"
ns1         A     192.0.2.53
www         A     192.0.2.1
www         A     192.0.2.2
www         AAAA  2001:db8::1
mail        A     192.0.2.25
UPPER       TXT   "MiXeD" "second"
t666        TYPE666 \# 4 0a000001
a.ent       A     192.0.2.3
_sip._tcp   SRV   0 5 5060 www
*.wild      A     192.0.2.5
exist.wild  A     192.0.2.6
*.wc        CNAME www
chain1      CNAME chain2
chain2      CNAME chain3
chain3      CNAME www
cnout       CNAME www.example.org.
cnother     CNAME www.example.net.
cnnx        CNAME nothere
cnnodata    CNAME t666
cnwild      CNAME foo.wild
cnsub       CNAME x.sub
loop1       CNAME loop2
loop2       CNAME loop1
self        CNAME self
sub         NS    ns.sub
sub         NS    ns1
ns.sub      A     192.0.2.54
$ORIGIN deep.example.com.
@           SOA   ns1.example.com. hostmaster 7 7200 900 1209600 600
@           NS    ns1.example.com.
www         A     192.0.2.77
up          CNAME www.example.com.
$ORIGIN example.net.
@           3600 SOA ns hostmaster 9 7200 900 1209600 30
@           NS    ns
ns          A     198.51.100.53
www         A     198.51.100.1
back        CNAME www.example.com.
` + repeat("mid.example.com. 300 A 198.18.0.%d\n", 1, 40) +
	repeat("big.example.com. 300 A 198.18.1.%d\n", 1, 95) +
	repeat("huge.example.com. 300 TXT %0250d\n", 1, 200) +
	repeat("h%d.example.com. 300 CNAME h%[2]d.example.com.\n", 1, 20))

// chosen is what the tests' server answers of names whose pools have one member: the types that are steered
// otherwise than A and AAAA, and the members' own names.
var chosen = parseZone(`
$ORIGIN example.com.
$TTL 30
_srv._tcp   SRV   2 7 5060 m1.svc
m1.svc      A     192.0.2.111
m1.svc      AAAA  2001:db8::111
bound       A     192.0.2.111
bound       AAAA  2001:db8::111
bound       HTTPS 1 . alpn="h2,h3" port=8443 ipv4hint=192.0.2.111 ech=AQID ipv6hint=2001:db8::111 key65400=x
bound       SVCB  1 . alpn="h2,h3" port=8443 ipv4hint=192.0.2.111 ech=AQID ipv6hint=2001:db8::111 key65400=x
cdn         CNAME www
*.cdnwild   CNAME www
x.names     CNAME www
`)

// repeat fills format with i and i+1 for each i from first to last.
func repeat(format string, first, last int) string {
	var b strings.Builder
	for i := first; i <= last; i++ {
		line := fmt.Sprintf(format, i, i+1)
		line, _, _ = strings.Cut(line, "%!(EXTRA")
		b.WriteString(strings.TrimSuffix(line, "\n") + "\n")
	}
	return b.String()
}

func parseZone(text string) []dns.RR {
	var rrs []dns.RR
	p := dns.NewZoneParser(strings.NewReader(text), "", "")
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		rrs = append(rrs, rr)
	}
	if err := p.Err(); err != nil {
		panic(err)
	}
	return rrs
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// owner returns the key's view of a name, in the deepest zone of apexes that holds it.
func owner(name string, apexes []string) zones.Owner {
	name = dns.CanonicalName(name)
	apex := ""
	for _, a := range apexes {
		if dns.IsSubDomain(a, name) && len(a) > len(apex) {
			apex = a
		}
	}
	relative := strings.TrimSuffix(strings.TrimSuffix(name, apex), ".")
	if relative == "" {
		relative = "@"
	}
	return must(zones.ParseOwner(strings.TrimSuffix(apex, "."), relative))
}

// put adds records to an edit.
func put(e *zones.Edit, rrs []dns.RR) {
	var apexes []string
	for _, rr := range rrs {
		if rr.Header().Rrtype == dns.TypeSOA {
			apexes = append(apexes, dns.CanonicalName(rr.Header().Name))
		}
	}
	type key struct {
		name string
		typ  uint16
	}
	var order []key
	rdata, ttls := map[key][][]byte{}, map[key]uint32{}
	for _, rr := range rrs {
		k := key{dns.CanonicalName(rr.Header().Name), rr.Header().Rrtype}
		if rdata[k] == nil {
			order = append(order, k)
		}
		wire := make([]byte, dns.Len(rr)+1)
		end := must(dns.PackRR(rr, wire, 0, nil, false))
		header := must(dns.PackDomainName(rr.Header().Name, make([]byte, 255), 0, nil, false)) + 10
		rdata[k], ttls[k] = append(rdata[k], wire[header:end]), rr.Header().Ttl
	}
	for _, k := range order {
		e.Put(owner(k.name, apexes), zones.StaticPart(k.typ, ttls[k], rdata[k], 1))
	}
}

// testView holds content and the steered names pool.example.com (192.0.2.101 and .102 up, .103
// down, TTL 30), failopen (all down), nobody (all down, on_empty nodata), servfail, and geo (each serves
// a network), and cnpool, a CNAME to pool; noecs as geo, for who asks; and what chosen says.
func testView() *atomic.Pointer[zones.Snapshot] {
	e := zones.New().Edit()
	put(e, content)
	members := []policy.Member{
		{Name: "a", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.101")}, Weight: 1, Tier: 1},
		{Name: "b", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.102")}, Weight: 3, Tier: 1},
		{Name: "c", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.103")}, Weight: 9, Tier: 1},
	}
	for i, p := range []struct {
		name    string
		up      int // members; the rest is down
		onEmpty policy.Fallback
	}{
		{"pool", 2, policy.Fallback{}},
		{"failopen", 0, policy.Fallback{Kind: policy.FallbackAll}},
		{"nobody", 0, policy.Fallback{Kind: policy.FallbackNoData}},
		{"servfail", 0, policy.Fallback{Kind: policy.FallbackServFail}},
	} {
		pool := policy.New(p.name, policy.Spec{Check: "tcp"}, members, policy.Surroundings{OnEmpty: []policy.Fallback{p.onEmpty}})
		for m := range members {
			state := health.Down
			if m < p.up {
				state = health.Up
			}
			pool.SetHealth(m, 0, state, "connection refused")
		}
		e.SetPool(policy.ID(i), pool)
		o := owner(p.name+".example.com.", []string{"example.com."})
		e.Put(o, zones.SteeredPart(policy.ID(i), 30, zones.SteeredTypes, 1))
	}
	for i, serves := range []string{"cidr:198.51.100.0/24", "cidr:2001:db8:a::/48", "cidr:198.51.101.0/24"} {
		members[i].Serves = []policy.Term{must(policy.ParseTerm(serves))}
	}
	e.SetPool(4, policy.New("geo", policy.Spec{Policy: "geo"}, members, policy.Surroundings{OnEmpty: []policy.Fallback{{}}}))
	e.Put(owner("geo.example.com.", []string{"example.com."}), zones.SteeredPart(4, 30, zones.SteeredTypes, 1))
	steer := func(name string, pool policy.ID, s zones.Steer) {
		s.Pool = "given by its ID"
		e.Put(owner(name, []string{"example.com."}), must(s.Compile(pool, 1)))
	}
	no, port := false, uint16(8443)
	steer("noecs.example.com.", 4, zones.Steer{ECS: &no})
	e.SetPool(5, policy.New("svc", policy.Spec{}, []policy.Member{{
		Name: "m1", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.111"), netip.MustParseAddr("2001:db8::111")},
		Weight: 7, Tier: 2, Port: 5060,
	}}, policy.Surroundings{}))
	steer("_srv._tcp.example.com.", 5, zones.Steer{Types: []string{"SRV"}})
	steer("bound.example.com.", 5, zones.Steer{
		Types: []string{"A", "AAAA", "HTTPS", "SVCB"}, ALPN: []string{"h2", "h3"}, Port: &port,
		Params: map[string]zones.ParamValue{"ech": "AQID", "key65400": "x"},
	})
	e.SetPool(6, policy.New("names", policy.Spec{}, []policy.Member{{Name: "x", CNAME: "www.example.com.", Weight: 1, Tier: 1}}, policy.Surroundings{}))
	steer("cdn.example.com.", 6, zones.Steer{})
	steer("*.cdnwild.example.com.", 6, zones.Steer{Types: []string{"A"}})
	negative := int64(60)
	soa, _, err := (&zones.SOA{NS: []string{"ns1"}, NegativeTTL: &negative, MemberNames: true}).Compile(owner("example.com.", []string{"example.com."}), 1)
	e.Put(owner("example.com.", []string{"example.com."}), must(soa, err))
	cnpool := must(zones.ParseRRset(owner("cnpool.example.com.", []string{"example.com."}), dns.TypeCNAME, "pool", 1))
	e.Put(owner("cnpool.example.com.", []string{"example.com."}), cnpool)
	view := new(atomic.Pointer[zones.Snapshot])
	view.Store(e.Commit(1))
	return view
}

// testSelf is what the tests' servers say of themselves.
var testSelf = newIdentity("fra1", "9.9")

func testWorker(stream bool) *worker {
	w := newWorker(testView(), testSelf, new(counters), stream)
	w.idle = 100
	return w
}

// ask sends a message through w and returns a copy of the reply, nil for silence.
func ask(w *worker, msg []byte) []byte {
	size := max(maxUDP, len(msg))
	if w.in.stream {
		size = maxTCP
	}
	buf := make([]byte, size)
	n := w.reply(buf, copy(buf, msg), netip.MustParseAddr("203.0.113.9"))
	if n == 0 {
		return nil
	}
	return buf[:n:n]
}
