package zones

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/miekg/dns"

	"meridian/policy"
)

// Types other than A and AAAA, and pools of names.
func TestResolveServices(t *testing.T) {
	s := scene(t, `
example.com {"member_names":true}
  _sip._tcp steer {"pool":"sip","types":["SRV"]}
  _one._tcp steer {"pool":"sip","types":["SRV"],"port":5061,"ttl":7}
  _none._tcp steer {"pool":"portless","types":["SRV"]}
  _down._tcp steer {"pool":"down","types":["SRV"],"port":1}
  _nested._tcp steer {"pool":"nested","types":["SRV"]}
  _alias._tcp CNAME _one._tcp
  svc steer {"pool":"web","types":["A","AAAA","HTTPS"],"alpn":["h2","h3"],"port":8443,"params":{"ech":"AQID","mandatory":["alpn","port"],"no-default-alpn":"","key65400":"x\\\"y"}}
  bare steer {"pool":"web","types":["HTTPS","SVCB"]}
  bare TXT "beside"
  four steer {"pool":"portless","types":["SVCB"]}
  downsvc steer {"pool":"down","types":["HTTPS"]}
  empty steer {"pool":"empty","types":["HTTPS","SRV"]}
  shared steer {"pool":"shared","types":["HTTPS"]}
  cdn steer {"pool":"cdn","types":["A","HTTPS"]}
  *.wild steer cdn
  tocdn CNAME cdn
  away steer away
  loop steer loop
  deepcdn steer deepcdn
  downcdn steer downcdn
  nobody steer nobody
  toaddr steer {"pool":"toaddr","types":["A","HTTPS"]}
  tocname steer {"pool":"tocname","types":["A","AAAA","HTTPS"]}
  besides steer {"pool":"cdn"}
  besides TXT "beside"
  @ steer {"pool":"cdn"}
  target A 192.0.2.80
  target HTTPS 1 . alpn="h2"
plain.example
  _sip._tcp steer {"pool":"sip","types":["SRV"]}
pool sip policy=multivalue
  a tier=1 weight=7 port=5060 192.0.2.1+ 2001:db8::1+
  b tier=2 weight=0 192.0.2.2+ 192.0.2.3-
  c..d port=5 192.0.2.4+
  e port=5 192.0.2.5-
pool web policy=multivalue
  a 192.0.2.1+ 2001:db8::1+
  b 192.0.2.2+ 2001:db8::2-
  c 192.0.2.3-
pool portless
  a 192.0.2.1+
pool down
  a 192.0.2.9-
pool empty
pool shared policy=multivalue
  a 192.0.2.1+ 2001:db8::1+
  b 192.0.2.1+
pool nested
  in pool=sip
pool cdn
  x cname=Target.example.com.
pool away
  x cname=www.example.org.
pool loop
  x cname=loop.example.com.
pool deepcdn
  in pool=cdn
pool downcdn
  x cname=target.example.com. weight=0
pool nobody nodata
pool toaddr pool:portless
  c serves=cidr:203.0.113.0/24 cname=target.example.com.
pool tocname pool:cdn
  c 192.0.2.66-
`)
	// A member that is a name cannot be down in a scene's text.
	for _, p := range s.Pools {
		if p.Name == "downcdn" || p.Name == "toaddr" {
			p.SetHealth(0, 0, 2, "refused")
		}
	}
	const invalid = "servfail (24 "
	tests := []struct {
		says string
		name string
		typ  uint16
		want string
	}{
		{"one SRV a member: tier, weight, port, name; without a port, or a name, it is left out", "_sip._tcp.example.com", dns.TypeSRV, `
found aa
_sip._tcp.example.com. 30 SRV 1 7 5060 a.sip.example.com.
additional a.sip.example.com. 30 A 192.0.2.1
additional a.sip.example.com. 30 AAAA 2001:db8::1`},
		{"the steered name's port; all addresses that the name of a member has", "_one._tcp.example.com", dns.TypeSRV, `
found aa
_one._tcp.example.com. 7 SRV 1 7 5060 a.sip.example.com.
_one._tcp.example.com. 7 SRV 2 0 5061 b.sip.example.com.
additional a.sip.example.com. 30 A 192.0.2.1
additional a.sip.example.com. 30 AAAA 2001:db8::1
additional b.sip.example.com. 30 A 192.0.2.2
additional b.sip.example.com. 30 A 192.0.2.3`},
		{"behind a CNAME", "_alias._tcp.example.com", dns.TypeSRV, `
found aa
_alias._tcp.example.com. 300 CNAME _one._tcp.example.com.
_one._tcp.example.com. 7 SRV 1 7 5060 a.sip.example.com.
_one._tcp.example.com. 7 SRV 2 0 5061 b.sip.example.com.
additional a.sip.example.com. 30 A 192.0.2.1
additional a.sip.example.com. 30 AAAA 2001:db8::1
additional b.sip.example.com. 30 A 192.0.2.2
additional b.sip.example.com. 30 A 192.0.2.3`},
		{"nobody has a port", "_none._tcp.example.com", dns.TypeSRV, `
nodata aa (0 no member that was chosen has a port)
authority example.com. 5 SOA`},
		{"fail open", "_down._tcp.example.com", dns.TypeSRV, `
found aa (0 no member of the pool is up: all are given)
_down._tcp.example.com. 10 SRV 1 1 1 a.down.example.com.
additional a.down.example.com. 30 A 192.0.2.9`},
		{"members of a pool within have its name", "_nested._tcp.example.com", dns.TypeSRV, `
found aa
_nested._tcp.example.com. 30 SRV 1 7 5060 a.sip.example.com.
additional a.sip.example.com. 30 A 192.0.2.1
additional a.sip.example.com. 30 AAAA 2001:db8::1`},
		{"an SRV is no A", "_sip._tcp.example.com", dns.TypeA, `
nodata aa
authority example.com. 30 SOA`},
		{"members have no names in that zone", "_sip._tcp.plain.example", dns.TypeSRV, `
servfail (24 SRV needs the zone's member_names as targets)`},
		{"parameters in the order of their keys, hints of what is up", "svc.example.com", dns.TypeHTTPS, `
found aa
svc.example.com. 30 HTTPS 1 . mandatory="alpn,port" alpn="h2,h3" no-default-alpn="" port="8443" ipv4hint="192.0.2.2,192.0.2.1" ech="AQID" ipv6hint="2001:db8::1" key65400="x\"y"`},
		{"beside it A as ever", "svc.example.com", dns.TypeAAAA, `
found aa
svc.example.com. 30 AAAA 2001:db8::1`},
		{"SVCB that is not steered", "svc.example.com", dns.TypeSVCB, `
nodata aa
authority example.com. 30 SOA`},
		{"no parameters but hints", "bare.example.com", dns.TypeSVCB, `
found aa
bare.example.com. 30 SVCB 1 . ipv4hint="192.0.2.2,192.0.2.1" ipv6hint="2001:db8::1"`},
		{"static types beside it", "bare.example.com", dns.TypeTXT, `
found aa
bare.example.com. 300 TXT "beside"`},
		{"no hints of a family that has no address", "four.example.com", dns.TypeSVCB, `
found aa
four.example.com. 30 SVCB 1 . ipv4hint="192.0.2.1"`},
		{"fail open", "downsvc.example.com", dns.TypeHTTPS, `
found aa (0 no member of the pool is up: all are given)
downsvc.example.com. 10 HTTPS 1 . ipv4hint="192.0.2.9"`},
		{"nobody yet", "empty.example.com", dns.TypeHTTPS, `
nodata aa (0 no member of the pool is up)
authority example.com. 5 SOA`},
		{"an address of two members is there once", "shared.example.com", dns.TypeHTTPS, `
found aa
shared.example.com. 30 HTTPS 1 . ipv4hint="192.0.2.1" ipv6hint="2001:db8::1"`},
		{"a pool of names: a CNAME, followed", "cdn.example.com", dns.TypeA, `
found aa
cdn.example.com. 30 CNAME Target.example.com.
Target.example.com. 300 A 192.0.2.80`},
		{"for HTTPS too", "cdn.example.com", dns.TypeHTTPS, `
found aa
cdn.example.com. 30 CNAME Target.example.com.
Target.example.com. 300 HTTPS 1 . alpn="h2"`},
		{"for a type that is not steered", "cdn.example.com", dns.TypeTXT, `
nodata aa
cdn.example.com. 30 CNAME Target.example.com.
authority example.com. 30 SOA`},
		{"CNAME asked for", "cdn.example.com", dns.TypeCNAME, `
found aa
cdn.example.com. 30 CNAME Target.example.com.`},
		{"ANY", "cdn.example.com", dns.TypeANY, `
found aa
cdn.example.com. 30 CNAME Target.example.com.`},
		{"at a wildcard", "x.wild.example.com", dns.TypeA, `
found aa
x.wild.example.com. 30 CNAME Target.example.com.
Target.example.com. 300 A 192.0.2.80`},
		{"behind a CNAME", "tocdn.example.com", dns.TypeA, `
found aa
tocdn.example.com. 300 CNAME cdn.example.com.
cdn.example.com. 30 CNAME Target.example.com.
Target.example.com. 300 A 192.0.2.80`},
		{"out of our zones", "away.example.com", dns.TypeMX, `
found aa
away.example.com. 30 CNAME www.example.org.`},
		{"a loop ends", "loop.example.com", dns.TypeA, `
found aa
loop.example.com. 30 CNAME loop.example.com.`},
		{"names of a pool within", "deepcdn.example.com", dns.TypeMX, `
nodata aa
deepcdn.example.com. 30 CNAME Target.example.com.
authority example.com. 30 SOA`},
		{"fail open with a name", "downcdn.example.com", dns.TypeA, `
found aa (0 no member of the pool is up: all are given)
downcdn.example.com. 10 CNAME target.example.com.
target.example.com. 300 A 192.0.2.80`},
		{"no names yet", "nobody.example.com", dns.TypeA, `
nodata aa (0 no member of the pool is up)
authority example.com. 5 SOA`},
		{"names, and in their stead addresses", "toaddr.example.com", dns.TypeA, `
found aa
toaddr.example.com. 30 A 192.0.2.1`},
		{"addresses are nothing for a type that is not steered", "toaddr.example.com", dns.TypeTXT, `
nodata aa
authority example.com. 5 SOA`},
		{"addresses, and in their stead names", "tocname.example.com", dns.TypeHTTPS, `
found aa
tocname.example.com. 30 CNAME Target.example.com.
Target.example.com. 300 HTTPS 1 . alpn="h2"`},
		{"a CNAME beside other records", "besides.example.com", dns.TypeA, invalid + `the pool is of names, and a CNAME cannot stand beside other records)`},
		{"which are given", "besides.example.com", dns.TypeTXT, `
found aa
besides.example.com. 300 TXT "beside"`},
		{"a type of neither", "besides.example.com", dns.TypeMX, `
nodata aa
authority example.com. 30 SOA`},
		{"a CNAME at the apex", "example.com", dns.TypeA, invalid + `the pool is of names, and a CNAME cannot stand beside other records)`},
		{"the apex's SOA is there", "example.com", dns.TypeNS, `
found aa
example.com. 300 NS ns1.example.net.`},
	}
	var used Answer
	for _, test := range tests {
		want := strings.TrimPrefix(test.want, "\n")
		if got := ask(t, s, question(t, test.name, test.typ), &used); got != want {
			t.Errorf("%s: %s %s:\n%s\nwant\n%s", test.says, test.name, dns.Type(test.typ), got, want)
		}
	}
}

// An apex has what no CNAME could: steered addresses beside all that an apex has (RFC 1034 §3.6.2).
func TestResolveSteeredApex(t *testing.T) {
	s := scene(t, `
example.com
  @ steer {"pool":"web","types":["A","AAAA","HTTPS"]}
  @ TXT "v=spf1 -all"
  @ MX 10 mail
  mail A 192.0.2.25
  * steer web
  * TXT "wild"
  * MX 10 mail
pool web
  a 192.0.2.1+ 2001:db8::1+
`)
	tests := []struct {
		name string
		typ  uint16
		want string
	}{
		{"example.com", dns.TypeA, "found aa\nexample.com. 30 A 192.0.2.1"},
		{"example.com", dns.TypeAAAA, "found aa\nexample.com. 30 AAAA 2001:db8::1"},
		{"example.com", dns.TypeHTTPS, "found aa\nexample.com. 30 HTTPS 1 . ipv4hint=\"192.0.2.1\" ipv6hint=\"2001:db8::1\""},
		{"example.com", dns.TypeTXT, "found aa\nexample.com. 300 TXT \"v=spf1 -all\""},
		{"example.com", dns.TypeMX, "found aa\nexample.com. 300 MX 10 mail.example.com.\nadditional mail.example.com. 300 A 192.0.2.25"},
		{"example.com", dns.TypeNS, "found aa\nexample.com. 300 NS ns1.example.net."},
		{"x.y.example.com", dns.TypeA, "found aa\nx.y.example.com. 30 A 192.0.2.1"},
		{"x.example.com", dns.TypeTXT, "found aa\nx.example.com. 300 TXT \"wild\""},
		{"x.example.com", dns.TypeMX, "found aa\nx.example.com. 300 MX 10 mail.example.com.\nadditional mail.example.com. 300 A 192.0.2.25"},
		{"x.example.com", dns.TypeHTTPS, "nodata aa\nauthority example.com. 30 SOA"},
	}
	var used Answer
	for _, test := range tests {
		if got := ask(t, s, question(t, test.name, test.typ), &used); got != test.want {
			t.Errorf("%s %s:\n%s\nwant\n%s", test.name, dns.Type(test.typ), got, test.want)
		}
	}
}

// Whether the client subnet is looked at: the name says, or else its zone.
func TestResolveSubnet(t *testing.T) {
	s := scene(t, `
on.example
  said steer web
  off steer {"pool":"web","ecs":false}
  on steer {"pool":"web","ecs":true}
  tooff CNAME off
  toon CNAME on.off.example
off.example {"ecs":false}
  said steer web
  off steer {"pool":"web","ecs":false}
  on steer {"pool":"web","ecs":true}
  names steer names
pool web policy=geo
  far serves=cidr:198.51.100.0/24 192.0.2.1+
  near serves=cidr:203.0.113.0/24 192.0.2.2+
pool names policy=geo
  far serves=cidr:198.51.100.0/24 cname=far.example.org.
  near serves=cidr:203.0.113.0/24 cname=near.example.org.
`)
	for _, p := range s.Pools {
		p.SetHealth(0, 0, 1, "")
		p.SetHealth(1, 0, 1, "")
	}
	tests := []struct {
		name  string
		want  string
		scope uint8
	}{
		{"said.on.example", "said.on.example. 30 A 192.0.2.1", 24},
		{"off.on.example", "off.on.example. 30 A 192.0.2.2", 0},
		{"on.on.example", "on.on.example. 30 A 192.0.2.1", 24},
		{"tooff.on.example", "off.on.example. 30 A 192.0.2.2", 0},
		{"said.off.example", "said.off.example. 30 A 192.0.2.2", 0},
		{"off.off.example", "off.off.example. 30 A 192.0.2.2", 0},
		{"on.off.example", "on.off.example. 30 A 192.0.2.1", 24},
		{"names.off.example", "names.off.example. 30 CNAME near.example.org.", 0},
	}
	var used Answer
	for _, test := range tests {
		q := question(t, test.name, dns.TypeA)
		q.Client.Addr, q.Client.Subnet = netip.MustParseAddr("203.0.113.9"), netip.MustParsePrefix("198.51.100.0/24")
		got := ask(t, s, q, &used)
		if !strings.HasSuffix(got, "\n"+test.want) || used.Scope != test.scope {
			t.Errorf("%s: scope %d\n%s\nwant scope %d and\n%s", test.name, used.Scope, got, test.scope, test.want)
		}
		if q.Client.Subnet.Bits() != 24 {
			t.Errorf("%s: the query has lost its subnet", test.name)
		}
	}
}

// One fault a value.
func TestSteerFaults(t *testing.T) {
	const services = `"types":["A","HTTPS"],`
	tests := []struct{ value, want string }{
		{`"alpn":["h2"]`, `alpn: it is of HTTPS and SVCB, of which "types" has none`},
		{`"types":["SRV"],"alpn":["h2"]`, `alpn: it is of HTTPS and SVCB, of which "types" has none`},
		{`"types":["SRV"],"params":{"ech":"AQID"}`, `params: it is of HTTPS and SVCB, of which "types" has none`},
		{`"port":443`, `port: it is of SRV, HTTPS and SVCB, of which "types" has none`},
		{`"types":["SRV"],"port":0`, `port: 0 is no port, expected 1 to 65535`},
		{services + `"alpn":[]`, `alpn: expected at least one protocol such as "h2"`},
		{services + `"alpn":["h2",""]`, `alpn[1]: "" is no protocol, expected one such as "h2"`},
		{services + `"alpn":["h2,h3"]`, `alpn[0]: "h2,h3" is no protocol, expected one such as "h2"`},
		{services + `"alpn":["h\\2"]`, `alpn[0]: "h\\2" is no protocol, expected one such as "h2"`},
		{services + `"alpn":["h2","h2"]`, `alpn[1]: "h2" is there twice`},
		{services + `"params":{}`, `params: expected at least one parameter`},
		{services + `"params":{"alpn":"h2"}`, `params.alpn: it is a field of its own, "alpn"`},
		{services + `"params":{"port":"443"}`, `params.port: it is a field of its own, "port"`},
		{services + `"params":{"ipv4hint":"192.0.2.1"}`, `params.ipv4hint: it is made of the addresses that the pool chooses`},
		{services + `"params":{"ipv6hint":"2001:db8::1"}`, `params.ipv6hint: it is made of the addresses that the pool chooses`},
		{services + `"params":{"key4":"\\192\\000\\002\\001"}`, `params.key4: "key4" is no parameter, expected one such as "ech" or "key65400"`},
		{services + `"params":{"Ech":"AQID"}`, `params.Ech: "Ech" is no parameter, expected one such as "ech" or "key65400"`},
		{services + `"params":{"eech":"AQID"}`, `params.eech: "eech" is no parameter, expected one such as "ech" or "key65400"`},
		{services + `"params":{"ech":"?"}`, `params.ech: "?" is no value of it`},
		{services + `"params":{"key65400":"a\"b"}`, `params.key65400: "a\"b" is no value: quotes and line ends in it need escapes`},
		{services + `"params":{"key65400":"a\nb"}`, `params.key65400: "a\nb" is no value: quotes and line ends in it need escapes`},
		{services + `"params":{"key65400":"a\\"}`, `params.key65400: "a\\" is no value: quotes and line ends in it need escapes`},
		{services + `"params":{"mandatory":["alpn"]}`, `params: alpn is mandatory, but not there`},
		{services + `"params":{"mandatory":["ipv4hint"]}`, `params: ipv4hint is mandatory, but not there`},
		{services + `"params":{"no-default-alpn":""}`, `params: no-default-alpn stands beside an alpn`},
		{services + `"params":{"key65400":"` + strings.Repeat("x", 20000) + `"}`, `params: the parameters take 20004 bytes, expected at most 16384`},
		{services + `"params":{"ech":7}`, `params.ech: expected a string or a list of strings`},
		{services + `"params":{"ech":["a",7]}`, `params.ech: expected a string or a list of strings`},
	}
	for _, test := range tests {
		var written Steer
		err := json.Unmarshal([]byte(`{"pool":"web",`+test.value+`}`), &written)
		var semantic *json.SemanticError
		got := ""
		if asSemantic(err, &semantic) {
			got = strings.ReplaceAll(strings.TrimPrefix(string(semantic.JSONPointer), "/"), "/", ".") + ": " + semantic.Err.Error()
			got = strings.Replace(got, "ech.1:", "ech:", 1)
		} else {
			_, err = written.Compile(0, 1)
			got = fmt.Sprint(err)
		}
		if got != test.want {
			t.Errorf("%.80s:\n%s, want\n%s", test.value, got, test.want)
		}
	}
}

func asSemantic(err error, to **json.SemanticError) (ok bool) {
	*to, ok = err.(*json.SemanticError)
	return ok
}

// FuzzSteer: whatever is taken as the value of a steered name answers with records that another library
// reads, their parameters in order, and comes back from a dump.
func FuzzSteer(f *testing.F) {
	f.Add(`{"pool":"web","types":["HTTPS","SRV"],"alpn":["h2"],"port":443}`)
	f.Add(`{"pool":"web","types":["SVCB"],"params":{"ech":"AQID","mandatory":["key65400"],"key65400":"x\\\"\\200","key7":"/q{?dns}"}}`)
	f.Add(`{"pool":"web","types":["A","AAAA","HTTPS"],"ecs":false,"ttl":0,"params":{"key8":"","tls-supported-groups":"29"}}`)
	base := scene(f, "example.com {\"member_names\":true}\npool web policy=multivalue\n  a 192.0.2.1+ 2001:db8::1+\n  b port=7 192.0.2.2+\n")
	o := mustOwner(f, "example.com", "www")
	f.Fuzz(func(t *testing.T, value string) {
		var written Steer
		if json.Unmarshal([]byte(value), &written) != nil {
			return
		}
		p, err := written.Compile(0, 1)
		if err != nil {
			return
		}
		e := base.Edit()
		e.Put(o, p)
		s := reload(t, e.Commit(2))
		if got, ok := s.Part(o, TypeSteer); !ok || !samePart(got, p) {
			t.Fatalf("%s: %+v, loaded %+v", value, p, got)
		}
		for _, typ := range Steerable {
			var a Answer
			q := question(t, "www.example.com", typ)
			Resolve(s, q, &a, nil)
			for i := range a.Sets {
				set := &a.Sets[i]
				set.RRs(func(rdata []byte) {
					rr, err := UnpackRData(set.Type, rdata)
					if err != nil {
						t.Fatalf("%s: %s %x: %v", value, dns.Type(set.Type), rdata, err)
					}
					if again, err := PackRData(rr); err != nil || !bytes.Equal(again, rdata) {
						t.Fatalf("%s: %s %x, again %x, %v", value, dns.Type(set.Type), rdata, again, err)
					}
				})
			}
			if p.Covers(typ) != (a.Outcome == Found) && typ != dns.TypeSRV {
				t.Fatalf("%s: %s is %v", value, dns.Type(typ), a.Outcome)
			}
		}
	})
}

// Of a thousand members with long names, as many have an SRV as a message over TCP holds.
func TestResolveServicesFit(t *testing.T) {
	s := scene(t, `
example.com {"member_names":true}
  _sip._tcp steer {"pool":"sip","types":["SRV"],"port":1}
pool sip
  a 192.0.2.1+
`)
	members := make([]policy.Member, policy.MaxMembers)
	for i := range members {
		addr := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		members[i] = policy.Member{Name: fmt.Sprintf("%s%03d", strings.Repeat("m", 60), i), Addrs: []netip.Addr{addr}, Weight: 1}
	}
	s.Pools[0] = policy.New("sip", policy.Spec{Steps: []policy.Step{{Op: policy.OpUp}}}, members, policy.Surroundings{})
	var a Answer
	trace := new(Trace)
	Resolve(s, &Query{Name: *mustName(t, "_sip._tcp.example.com"), Type: dns.TypeSRV}, &a, trace)
	const size = 12 + 6 + (64 + 4 + 8 + 4 + 1) // beside RDATA, before the target, the target
	if got := a.Sets[0].Count; got != maxRRset/size {
		t.Errorf("%d SRV, want %d", got, maxRRset/size)
	}
	want := fmt.Sprintf("member %s of pool sip is left out, and those after it: no message would hold more", members[maxRRset/size].Name)
	if got := trace.Steps[len(trace.Steps)-1].Text; got != want {
		t.Errorf("the trace says %q, want %q", got, want)
	}
}
