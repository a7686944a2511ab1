package zones

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func mustOwner(t testing.TB, zone, owner string) Owner {
	t.Helper()
	o, err := ParseOwner(zone, owner)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// rdataText is the RDATA of a static part as zone files have it, one a line.
func rdataText(t testing.TB, p Part) string {
	t.Helper()
	set := RRset{Type: p.Type, Count: p.Count, TTL: p.TTL, Data: p.data, Owner: []byte{0}}
	a := Answer{Sets: []RRset{set}}
	var lines []string
	for _, line := range a.Text(&Query{}) {
		lines = append(lines, strings.TrimSpace(line[strings.Index(line, dns.Type(p.Type).String()+"\t"):]))
	}
	if len(lines) != int(p.Count) {
		t.Errorf("%d records of %d", len(lines), p.Count)
	}
	return strings.Join(lines, "\n")
}

func TestParseRRset(t *testing.T) {
	tests := []struct {
		typ   uint16
		value string
		ttl   uint32
		want  string
	}{
		{dns.TypeA, "192.0.2.1", 300, "A\t192.0.2.1"},
		{dns.TypeA, "192.0.2.1\n192.0.2.2\n", 300, "A\t192.0.2.1\nA\t192.0.2.2"},
		{dns.TypeA, "192.0.2.1\r\n192.0.2.2\r\n", 300, "A\t192.0.2.1\nA\t192.0.2.2"},
		{dns.TypeA, "$TTL 60\n192.0.2.1", 60, "A\t192.0.2.1"},
		{dns.TypeA, "$TTL\t0\n192.0.2.1", 0, "A\t192.0.2.1"},
		{dns.TypeA, "$TTL 2147483647\n192.0.2.1", 1<<31 - 1, "A\t192.0.2.1"},
		{dns.TypeA, "; the first\n\n  192.0.2.1 ; and a remark\n;192.0.2.2", 300, "A\t192.0.2.1"},
		{dns.TypeA, "( 192.0.2.1 )", 300, "A\t192.0.2.1"},
		{dns.TypeA, `\# 4 c0000201`, 300, "A\t192.0.2.1"}, // RFC 3597 §5
		{dns.TypeAAAA, "2001:DB8::0:1", 300, "AAAA\t2001:db8::1"},
		{dns.TypeMX, "10 mail\n20 mail.example.net.", 300, "MX\t10 mail.example.com.\nMX\t20 mail.example.net."},
		{dns.TypeMX, "10 @", 300, "MX\t10 example.com."},
		{dns.TypeMX, "0 .", 300, "MX\t0 ."}, // RFC 7505
		{dns.TypeTXT, `text`, 300, `TXT	"text"`},
		{dns.TypeTXT, `"v=spf1 -all" "two ; strings"`, 300, `TXT	"v=spf1 -all" "two ; strings"`},
		{dns.TypeTXT, `""`, 300, `TXT	""`},
		{dns.TypeTXT, "\"A\"\n\"a\"", 300, "TXT\t\"A\"\nTXT\t\"a\""}, // not alike
		{dns.TypeCNAME, "WWW.example.NET.", 300, "CNAME\tWWW.example.NET."},
		{dns.TypeNS, "ns1\nns2", 300, "NS\tns1.example.com.\nNS\tns2.example.com."},
		{dns.TypeNS, `a\.b.example.net.`, 300, `NS	a\.b.example.net.`},
		{dns.TypeSRV, "10 5 443 www", 300, "SRV\t10 5 443 www.example.com."},
		{dns.TypeCAA, `0 issue "ca.example.net"`, 300, `CAA	0 issue "ca.example.net"`},
		{dns.TypeHTTPS, `1 . alpn="h2,h3" ipv4hint=192.0.2.1`, 300, `HTTPS	1 . alpn="h2,h3" ipv4hint="192.0.2.1"`},
		{dns.TypePTR, "www.example.net.", 300, "PTR\twww.example.net."},
		{65280, `\# 3 010203`, 300, `TYPE65280	\# 3 010203`},
		{65280, `\# 0`, 300, `TYPE65280	\# 0`},
	}
	o := mustOwner(t, "example.com", "www")
	for _, test := range tests {
		p, err := ParseRRset(o, test.typ, test.value, 812)
		if err != nil {
			t.Errorf("%s %q: %v", dns.Type(test.typ), test.value, err)
			continue
		}
		if got := rdataText(t, p); got != test.want || p.TTL != test.ttl {
			t.Errorf("%s %q: TTL %d\n%s\nwant %d\n%s", dns.Type(test.typ), test.value, p.TTL, got, test.ttl, test.want)
		}
		if p.Type != test.typ || p.Kind != Static || p.Revision != 812 {
			t.Errorf("%s %q: %+v", dns.Type(test.typ), test.value, p)
		}
	}
}

// At the root, names without a final dot need no zone behind them.
func TestParseRRsetAtRoot(t *testing.T) {
	p, err := ParseRRset(mustOwner(t, ".", "com"), dns.TypeNS, "a.gtld-servers.net\nb.gtld-servers.net.", 1)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := rdataText(t, p), "NS\ta.gtld-servers.net.\nNS\tb.gtld-servers.net."; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// What stands in brackets is miekg/dns's.
func TestParseRRsetErrors(t *testing.T) {
	tests := []struct {
		owner string
		typ   uint16
		value string
		want  string
	}{
		{"www", dns.TypeA, "", "expected at least one line of RDATA"},
		{"www", dns.TypeA, "$TTL 60", "expected at least one line of RDATA"},
		{"www", dns.TypeA, "; 192.0.2.1", "expected at least one line of RDATA"},
		{"www", dns.TypeA, "192.0.2", `"192.0.2" is not RDATA of type A (bad A A), expected such as: 192.0.2.1`},
		{"www", dns.TypeA, "2001:db8::1", `"2001:db8::1" is not RDATA of type A (bad A A), expected such as: 192.0.2.1`},
		{"www", dns.TypeA, "192.0.2.1\n192.0.2", `line 2: "192.0.2" is not RDATA of type A (bad A A), expected such as: 192.0.2.1`},
		{"www", dns.TypeA, "192.0.2.1 192.0.2.2", `"192.0.2.1 192.0.2.2" is not RDATA of type A (garbage after rdata), expected such as: 192.0.2.1`},
		{"www", dns.TypeA, "192.0.2.1\n192.0.2.2\n192.0.2.1", `line 3: "192.0.2.1" is in line 1 already`},
		{"www", dns.TypeA, "( 192.0.2.1", `"( 192.0.2.1" is not RDATA of type A ("(" without ")"), expected such as: 192.0.2.1`},
		{"www", dns.TypeA, "$INCLUDE /etc/passwd", `"$INCLUDE /etc/passwd" is not RDATA of type A (bad A A), expected such as: 192.0.2.1`},
		{"www", dns.TypeA, "$TTL 1h\n192.0.2.1", `line 1: "$TTL 1h" is not a TTL, expected "$TTL" and whole seconds`},
		{"www", dns.TypeA, "$TTL\n192.0.2.1", `line 1: "$TTL" is not a TTL, expected "$TTL" and whole seconds`},
		{"www", dns.TypeA, "$TTL60\n192.0.2.1", `line 1: "$TTL60" is not a TTL, expected "$TTL" and whole seconds`},
		{"www", dns.TypeA, "$TTL -1\n192.0.2.1", "line 1: $TTL: -1 is out of range, expected 0 to 2147483647 seconds"},
		{"www", dns.TypeA, "$TTL 2147483648\n192.0.2.1", "line 1: $TTL: 2147483648 is out of range, expected 0 to 2147483647 seconds"},
		{"www", dns.TypeA, "192.0.2.1\n$TTL 60", `line 2: "$TTL" is of the first line`},
		{"www", dns.TypeAAAA, "192.0.2.1", `"192.0.2.1" is not RDATA of type AAAA (bad AAAA AAAA), expected such as: 2001:db8::1`},
		{"www", dns.TypeMX, "mail", `"mail" is not RDATA of type MX (bad MX Pref), expected such as: 10 mail.example.net.`},
		{"www", dns.TypeMX, "10 ma..il", `"10 ma..il" is not RDATA of type MX (bad MX Mx), expected such as: 10 mail.example.net.`},
		{"www", dns.TypeSRV, "10 5 www", `"10 5 www" is not RDATA of type SRV (bad SRV Port), expected such as: 10 5 443 www.example.net.`},
		{"www", dns.TypeTXT, `"open`, `"\"open" is not RDATA of type TXT (a quoted string does not end in its line), expected such as: "text in quotes"`},
		{"www", dns.TypeSSHFP, "1 9 123", `"1 9 123" is not RDATA of type SSHFP (encoding/hex: odd length hex string)`},
		{"www", dns.TypeNULL, "x", `"x" is not RDATA of type NULL (NULL records do not have a presentation format)`},
		{"www", 65280, "x", `"x" is not RDATA of type TYPE65280 (bad RFC3597 Rdata)`},
		{"www", 65280, `\# 3 0102`, `"\\# 3 0102" is not RDATA of type TYPE65280 (bad RFC3597 Rdata)`},
		{"www", dns.TypeCNAME, "a\nb", "a name has one CNAME at most, found 2"},
		{"www", dns.TypeDNAME, "a\nb", "a name has one DNAME at most, found 2"},
		{"@", dns.TypeCNAME, "a", "a zone's apex has SOA and NS, so it cannot be a CNAME (RFC 1034 §3.6.2)"},
		{"@", dns.TypeNS, "ns1", `the NS of a zone's apex are made by its "soa" key`},
		{"www", dns.TypeTXT, strings.Repeat(`"`+strings.Repeat("a", 255)+`" `, 235), "the records take more than 60000 bytes: no message would hold them"},
	}
	for _, test := range tests {
		_, err := ParseRRset(mustOwner(t, "example.com", test.owner), test.typ, test.value, 1)
		if got := fmt.Sprint(err); got != test.want {
			t.Errorf("%s %.60q:\n%s, want\n%s", dns.Type(test.typ), test.value, got, test.want)
		}
	}
}

func TestParseType(t *testing.T) {
	tests := []struct{ text, want string }{
		{"A", "A"},
		{"AAAA", "AAAA"},
		{"HTTPS", "HTTPS"},
		{"TYPE65280", "TYPE65280"},
		{"DS", "DS"},
		{"a", "types are in capitals: A"},
		{"Cname", "types are in capitals: CNAME"},
		{"TYPE1", "TYPE1 is written A"},
		{"TYPE001", "TYPE001 is written A"},
		{"TYPE065280", "TYPE065280 is written TYPE65280"},
		{"type65280", "type65280 is written TYPE65280"},
		{"TYPE65536", `"TYPE65536" is not a type, expected TYPE0 to TYPE65535`},
		{"TYPE-1", `"TYPE-1" is not a type, expected TYPE0 to TYPE65535`},
		{"TYPE", `"TYPE" is not a type, expected TYPE0 to TYPE65535`},
		{"MD", "MD cannot be set: it is obsolete, an MX says the same (RFC 1035 §3.3.4)"},
		{"", `"" is not a type`},
		{"BOGUS", `"BOGUS" is not a type`},
		{"CNAM", `"CNAM" is not a type (did you mean "CNAME"?)`},
		{"NS ", `"NS " is not a type (did you mean "NS"?)`},
		{"SOA", `SOA cannot be set: the zone's "soa" key makes it`},
		{"TYPE6", `SOA cannot be set: the zone's "soa" key makes it`},
		{"OPT", "OPT cannot be set: it belongs to messages, not to zones"},
		{"TSIG", "TSIG cannot be set: it belongs to messages, not to zones"},
		{"TKEY", "TKEY cannot be set: it belongs to messages, not to zones"},
		{"ANY", "ANY cannot be set: it is a question, not a record"},
		{"AXFR", "AXFR cannot be set: it is a question, not a record"},
		{"IXFR", "IXFR cannot be set: it is a question, not a record"},
		{"MAILA", "MAILA cannot be set: it is a question, not a record"},
		{"MAILB", "MAILB cannot be set: it is a question, not a record"},
		{"NXNAME", "NXNAME cannot be set: it is a question, not a record"},
		{"TYPE200", "TYPE200 cannot be set: it is a question, not a record"}, // RFC 6895 §3.1
		{"TYPE0", "None cannot be set: it is reserved"},
		{"TYPE65535", "Reserved cannot be set: it is reserved"},
	}
	for _, test := range tests {
		typ, err := ParseType(test.text)
		got := fmt.Sprint(err)
		if err == nil {
			got = dns.Type(typ).String()
		}
		if got != test.want {
			t.Errorf("%q: %s, want %s", test.text, got, test.want)
		}
	}
}

func TestSOACompile(t *testing.T) {
	number := func(v int64) *int64 { return &v }
	sixteen := strings.Fields(strings.Repeat("ns ", 16))
	for i := range sixteen {
		sixteen[i] += fmt.Sprint(i)
	}
	tests := []struct {
		zone string
		soa  SOA
		want string // SOA, NS and their TTL, or the error
	}{
		{"example.com", SOA{NS: []string{"ns1.example.net."}},
			"300 SOA\tns1.example.net. hostmaster.example.com. 812 7200 900 1209600 30 / NS\tns1.example.net."},
		{"example.com", SOA{NS: []string{"ns1", "NS2.Example.NET."}, Mbox: `a\.b.example.net.`, TTL: number(0), NegativeTTL: number(2147483647)},
			"0 SOA\tns1.example.com. a\\.b.example.net. 812 7200 900 1209600 2147483647 / NS\tns1.example.com.\nNS\tns2.example.net."},
		{"example.com", SOA{NS: []string{`a\.`}},
			"300 SOA\ta\\..example.com. hostmaster.example.com. 812 7200 900 1209600 30 / NS\ta\\..example.com."},
		{".", SOA{NS: []string{"a.root-servers.net."}, Mbox: "nstld.verisign-grs.com."},
			"300 SOA\ta.root-servers.net. nstld.verisign-grs.com. 812 7200 900 1209600 30 / NS\ta.root-servers.net."},
		{".", SOA{NS: []string{"ns"}}, "300 SOA\tns. hostmaster. 812 7200 900 1209600 30 / NS\tns."},
		{"example.com", SOA{NS: []string{"ns"}, Mbox: "."}, "300 SOA\tns.example.com. . 812 7200 900 1209600 30 / NS\tns.example.com."},
		{"example.com", SOA{}, "ns: expected 1 to 16 host names, found 0"},
		{"example.com", SOA{NS: append(sixteen, "one-more")}, "ns: expected 1 to 16 host names, found 17"},
		{"example.com", SOA{NS: []string{""}}, "ns[0]: an empty name"},
		{"example.com", SOA{NS: []string{"."}}, `ns[0]: "." is no host`},
		{"example.com", SOA{NS: []string{"ns1", "a..b"}}, `ns[1]: "a..b.example.com" has an empty label`},
		{"example.com", SOA{NS: []string{"ns1", "NS1.example.com."}}, `ns[1]: "NS1.example.com." is there twice`},
		{"example.com", SOA{NS: []string{"ns1"}, Mbox: "hostmaster@example.com"}, `mbox: "hostmaster@example.com": a mailbox is written as a name, with "." for "@"`},
		{"example.com", SOA{NS: []string{"ns1"}, TTL: number(-1)}, "ttl: -1 is out of range, expected 0 to 2147483647 seconds"},
		{"example.com", SOA{NS: []string{"ns1"}, TTL: number(1 << 31)}, "ttl: 2147483648 is out of range, expected 0 to 2147483647 seconds"},
		{"example.com", SOA{NS: []string{"ns1"}, NegativeTTL: number(1 << 31)}, "negative_ttl: 2147483648 is out of range, expected 0 to 2147483647 seconds"},
	}
	for _, test := range tests {
		before := test.soa.Mbox
		soa, ns, err := test.soa.Compile(mustOwner(t, test.zone, "@"), 1<<32+812)
		got := fmt.Sprint(err)
		if err == nil {
			if soa.TTL != ns.TTL || soa.Revision != 1<<32+812 || ns.Revision != soa.Revision {
				t.Errorf("%+v: SOA %+v, NS %+v", test.soa, soa, ns)
			}
			got = fmt.Sprintf("%d %s / %s", soa.TTL, rdataText(t, soa), rdataText(t, ns))
		}
		if got != test.want {
			t.Errorf("%+v:\n%s, want\n%s", test.soa, got, test.want)
		}
		if test.soa.Mbox != before {
			t.Errorf("Compile changes the SOA: mbox %q", test.soa.Mbox)
		}
	}
}

// RFC 2308 §5: a negative answer lives for the lesser of the SOA's TTL and its MINIMUM.
func TestNegativeTTL(t *testing.T) {
	for _, test := range []struct{ ttl, negative, want int64 }{{300, 30, 30}, {30, 300, 30}, {0, 300, 0}, {5, 5, 5}} {
		soa, _, err := (&SOA{NS: []string{"ns"}, TTL: &test.ttl, NegativeTTL: &test.negative}).Compile(mustOwner(t, "example.com", "@"), 1)
		if err != nil || negativeTTL(soa.TTL, soa.data) != uint32(test.want) {
			t.Errorf("TTL %d, MINIMUM %d: %d, %v, want %d", test.ttl, test.negative, negativeTTL(soa.TTL, soa.data), err, test.want)
		}
	}
}

func TestSteerCompile(t *testing.T) {
	number := func(v int64) *int64 { return &v }
	tests := []struct {
		steer Steer
		want  string
	}{
		{Steer{Pool: "web"}, "pool 7, TTL 30, A AAAA"},
		{Steer{Pool: "web", TTL: number(0), Types: []string{"AAAA"}}, "pool 7, TTL 0, AAAA"},
		{Steer{Pool: "web", TTL: number(2147483647), Types: []string{"AAAA", "A"}}, "pool 7, TTL 2147483647, A AAAA"},
		{Steer{}, "pool: expected the name of a pool"},
		{Steer{Pool: "web", TTL: number(-1)}, "ttl: -1 is out of range, expected 0 to 2147483647 seconds"},
		{Steer{Pool: "web", Types: []string{}}, `types: expected at least one of "A", "AAAA", "SRV", "HTTPS" or "SVCB"`},
		{Steer{Pool: "web", Types: []string{"A", "CNAME"}}, `types[1]: "CNAME" cannot be steered, expected "A", "AAAA", "SRV", "HTTPS" or "SVCB"`},
		{Steer{Pool: "web", Types: []string{"a"}}, `types[0]: "a" cannot be steered, expected "A", "AAAA", "SRV", "HTTPS" or "SVCB"`},
		{Steer{Pool: "web", Types: []string{""}}, `types[0]: "" cannot be steered, expected "A", "AAAA", "SRV", "HTTPS" or "SVCB"`},
		{Steer{Pool: "web", Types: []string{"A", "A"}}, `types[1]: "A" is there twice`},
	}
	for _, test := range tests {
		p, err := test.steer.Compile(7, 812)
		got := fmt.Sprint(err)
		if err == nil {
			got = fmt.Sprintf("pool %d, TTL %d,", p.Pool(), p.TTL)
			for _, typ := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeCNAME, dns.TypeTXT, TypeSteer, TypeUnknown} {
				if p.Covers(typ) {
					got += " " + dns.Type(typ).String()
				}
			}
			if p.Type != TypeSteer || p.Kind != Steered || p.Revision != 812 || p.Count != 0 {
				t.Errorf("%+v: %+v", test.steer, p)
			}
		}
		if got != test.want {
			t.Errorf("%+v: %s, want %s", test.steer, got, test.want)
		}
	}
}

func TestConflict(t *testing.T) {
	static := func(typ uint16) Part { return StaticPart(typ, 300, [][]byte{{0}}, 1) }
	steerA := SteeredPart(0, 30, []uint16{dns.TypeA}, 1)
	steer := SteeredPart(0, 30, SteeredTypes, 1)
	broken := BrokenPart(dns.TypeCNAME, []uint16{dns.TypeCNAME}, 1)
	tests := []struct {
		name  string
		there []Part
		part  Part
		want  string // the type of the part in the way
	}{
		{"nothing there", nil, static(dns.TypeCNAME), ""},
		{"types beside each other", []Part{static(dns.TypeA), static(dns.TypeTXT)}, static(dns.TypeMX), ""},
		{"its own type is replaced", []Part{static(dns.TypeCNAME)}, static(dns.TypeCNAME), ""},
		{"steer is replaced", []Part{steer}, steerA, ""},
		{"a CNAME beside another type", []Part{static(dns.TypeA)}, static(dns.TypeCNAME), "A"},
		{"another type beside a CNAME", []Part{static(dns.TypeCNAME)}, static(dns.TypeTXT), "CNAME"},
		{"a CNAME beside steer", []Part{steer}, static(dns.TypeCNAME), "None"},
		{"steer beside a CNAME", []Part{static(dns.TypeCNAME)}, steer, "CNAME"},
		{"a static RRset of a steered type", []Part{steer}, static(dns.TypeAAAA), "None"},
		{"steering a type that is static", []Part{static(dns.TypeTXT), static(dns.TypeAAAA)}, steer, "AAAA"},
		{"a static RRset of a type that is not steered", []Part{steerA}, static(dns.TypeAAAA), ""},
		{"steering another type than is static", []Part{static(dns.TypeAAAA)}, steerA, ""},
		{"what was never valid is in nobody's way", []Part{broken}, static(dns.TypeA), ""},
	}
	for _, test := range tests {
		with, conflict := Conflict(test.there, test.part)
		got := ""
		if conflict {
			got = dns.Type(with.Type).String()
		}
		if got != test.want {
			t.Errorf("%s: in conflict with %q, want %q", test.name, got, test.want)
		}
	}
}

// Whatever parses, packs: what a set says of itself is what its bytes say, and it comes back the
// same from its own text.
func FuzzRRset(f *testing.F) {
	f.Add(uint16(dns.TypeA), "$TTL 60\n192.0.2.1\n192.0.2.2")
	f.Add(uint16(dns.TypeMX), "10 mail\n20 @")
	f.Add(uint16(dns.TypeTXT), `"a b" c \000`)
	f.Add(uint16(dns.TypeHTTPS), `1 . alpn="h2,h3" port=8443`)
	f.Add(uint16(dns.TypeNAPTR), `100 10 "u" "E2U+sip" "!^.*$!sip:a@example.com!" .`)
	f.Add(uint16(65280), `\# 3 010203`)
	f.Add(uint16(dns.TypeLOC), "42 21 54 N 71 06 18 W -24m 30m")
	o := mustOwner(f, "example.com", "www")
	f.Fuzz(func(t *testing.T, typ uint16, value string) {
		if typ, err := ParseType(dns.Type(typ).String()); err != nil || typ == TypeUnknown {
			return
		}
		p, err := ParseRRset(o, typ, value, 1)
		if err != nil {
			return
		}
		count := 0
		var all [][]byte
		set := RRset{Data: p.data}
		set.RRs(func(rdata []byte) {
			count++
			all = append(all, rdata)
			h := dns.RR_Header{Name: ".", Rrtype: typ, Class: dns.ClassINET, Rdlength: uint16(len(rdata))}
			if _, _, err := dns.UnpackRRWithHeader(h, rdata, 0); err != nil {
				t.Fatalf("%s %q makes %x, which does not unpack: %v", dns.Type(typ), value, rdata, err)
			}
		})
		if count != int(p.Count) || count == 0 || len(p.data) > maxRRset || p.TTL > maxTTL {
			t.Fatalf("%s %q: %d records, Count %d, %d bytes, TTL %d", dns.Type(typ), value, count, p.Count, len(p.data), p.TTL)
		}
		if again := StaticPart(typ, p.TTL, all, 1); !slices.Equal(again.data, p.data) {
			t.Fatalf("%s %q: %x, from its records %x", dns.Type(typ), value, p.data, again.data)
		}
	})
}
