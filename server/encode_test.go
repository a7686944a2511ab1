package server

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"meridian/zones"
)

// encoded asks for A of www.example.com, with record as the additional section unless nil, and
// encodes r as the reply, of size bytes.
func encoded(t *testing.T, stream bool, record []byte, r response) (m *dns.Msg, size int) {
	t.Helper()
	w := testWorker(stream)
	msg := plain("www.example.com")
	if record != nil {
		msg = withOPT("www.example.com", record)
	}
	buf := make([]byte, maxTCP)
	copy(buf, msg)
	if !w.own.parse(buf[:len(msg)]) {
		t.Fatal("the query is malformed")
	}
	size = w.encode(buf, &r)
	m = new(dns.Msg)
	if err := m.Unpack(buf[:size]); err != nil {
		t.Fatal(err)
	}
	return m, size
}

// rdatas is the Data of an RRset.
func rdatas(list ...[]byte) []byte {
	var b []byte
	for _, rdata := range list {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(rdata))), rdata...)
	}
	return b
}

// addresses is the Data of an A RRset of n records.
func addresses(n int) []byte {
	var list [][]byte
	for i := range n {
		list = append(list, []byte{192, 0, 2, byte(i)})
	}
	return rdatas(list...)
}

func owners(section []dns.RR) string {
	var list []string
	for _, rr := range section {
		list = append(list, rr.Header().Name)
	}
	return strings.Join(list, " ")
}

// TestOwners: of the question, of a CNAME's target from an offset on, and written in full.
func TestOwners(t *testing.T) {
	m, size := encoded(t, false, nil, response{sets: []zones.RRset{
		{Type: dns.TypeCNAME, Count: 1, Data: rdatas(name("a.target.net"))},
		{Hop: 1, Type: dns.TypeA, Count: 2, Data: addresses(2)},
		{Section: zones.AuthoritySection, Hop: 1, Offset: 2, Type: dns.TypeNS, Count: 1, Data: rdatas(name("ns.target.net"))},
		{Section: zones.AuthoritySection, Offset: 4, Type: dns.TypeNS, Count: 1, Data: rdatas(name("ns.target.net"))},
		{Section: zones.AuthoritySection, Offset: 16, Type: dns.TypeNS, Count: 1, Data: rdatas(root)},
		{Section: zones.AdditionalSection, Owner: name("ns.target.net"), Type: dns.TypeA, Count: 2, Data: addresses(2)},
	}})
	if want := 33 + 26 + 2*16 + 2*27 + 13 + 29 + 16; size != want { // an owner is two bytes but for the one in full
		t.Errorf("%d bytes, want %d", size, want)
	}
	for _, s := range []struct {
		section []dns.RR
		want    string
	}{
		{m.Answer, "www.example.com. a.target.net. a.target.net."},
		{m.Ns, "target.net. example.com. ."},
		{m.Extra, "ns.target.net. ns.target.net."},
	} {
		if got := owners(s.section); got != s.want {
			t.Errorf("owners %q, want %q", got, s.want)
		}
	}
}

// TestOwnersBeyondPointers: a pointer has 14 bits (RFC 1035 §4.1.4); a name that lies beyond is
// written again.
func TestOwnersBeyondPointers(t *testing.T) {
	var texts [][]byte
	for range 80 {
		texts = append(texts, append([]byte{255}, make([]byte, 255)...))
	}
	m, _ := encoded(t, true, nil, response{sets: []zones.RRset{
		{Type: dns.TypeTXT, Count: 80, Data: rdatas(texts...)},
		{Type: dns.TypeCNAME, Count: 1, Data: rdatas(name("a.target.net"))},
		{Hop: 1, Type: dns.TypeA, Count: 2, Data: addresses(2)},
		{Section: zones.AdditionalSection, Owner: name("ns.target.net"), Type: dns.TypeA, Count: 2, Data: addresses(2)},
	}})
	if got, want := owners(m.Answer[80:]), "www.example.com. a.target.net. a.target.net."; got != want {
		t.Errorf("owners %q, want %q", got, want)
	}
	if got, want := owners(m.Extra), "ns.target.net. ns.target.net."; got != want {
		t.Errorf("owners %q, want %q", got, want)
	}
}

// TestFit: what is left off where a reply has at most 512 bytes. 33 bytes are the question's, 16
// each address's.
func TestFit(t *testing.T) {
	long := &zones.ExtendedError{Code: 0, Text: strings.Repeat("x", 40)}
	add := func(n int) zones.RRset {
		return zones.RRset{Section: zones.AdditionalSection, Type: dns.TypeA, Count: uint16(n), Data: addresses(n)}
	}
	glue := func(n int) zones.RRset {
		set := add(n)
		set.Required = true
		return set
	}
	answer := func(n int) zones.RRset { return zones.RRset{Type: dns.TypeA, Count: uint16(n), Data: addresses(n)} }
	soa := zones.RRset{Section: zones.AuthoritySection, Type: dns.TypeNS, Count: 1, Data: rdatas(name("ns.example.com"))}
	for _, test := range []struct {
		name string
		opt  []byte
		r    response
		want string
	}{
		{"just fits", nil, response{sets: []zones.RRset{answer(29)}}, "NOERROR 1/29/0/0"},
		{"one too many (RFC 2181 §9)", nil, response{sets: []zones.RRset{answer(30)}}, "NOERROR tc 1/0/0/0"},
		{"authority does not fit", nil, response{sets: []zones.RRset{answer(29), soa}}, "NOERROR tc 1/0/0/0"},
		{"additional does not fit (RFC 2181 §9)", nil, response{sets: []zones.RRset{answer(20), add(10)}}, "NOERROR 1/20/0/0"},
		{"the next additional does", nil, response{sets: []zones.RRset{answer(20), add(10), add(9)}}, "NOERROR 1/20/0/9"},
		{"glue does not fit (RFC 9471 §3)", nil, response{sets: []zones.RRset{answer(20), glue(10)}}, "NOERROR tc 1/0/0/0"},
		{"just fits with OPT", opt(512), response{sets: []zones.RRset{answer(29)}}, "NOERROR 1/29/0/1 opt 1232"},
		{"OPT and subnet take their part", opt(512, subnet(1, 8, 0, 10)), response{sets: []zones.RRset{answer(29)}}, "NOERROR tc 1/0/0/1 opt 1232 8=10.0.0.0/8/0"},
		{"just fits with a subnet", opt(512, subnet(1, 8, 0, 10)), response{sets: []zones.RRset{answer(28)}}, "NOERROR 1/28/0/1 opt 1232 8=10.0.0.0/8/0"},
		{"a longer subnet takes more", opt(512, subnet(2, 128, 0, make([]byte, 16)...)), response{sets: []zones.RRset{answer(28)}}, "NOERROR tc 1/0/0/1 opt 1232 8=[::]/128/0"},
		{"an NSID takes its part", opt(512, edns(dns.EDNS0NSID)), response{sets: []zones.RRset{answer(28)}}, "NOERROR 1/28/0/1 opt 1232 3=66726131"},
		{"and no more can come", opt(512, edns(dns.EDNS0NSID)), response{sets: []zones.RRset{answer(29)}}, "NOERROR tc 1/0/0/1 opt 1232 3=66726131"},
		{"an extended error goes first (RFC 8914 §3)", opt(512), response{sets: []zones.RRset{answer(28)}, err: long}, "NOERROR 1/28/0/1 opt 1232"},
		{"an extended error fits", opt(512), response{sets: []zones.RRset{answer(25)}, err: long}, fmt.Sprintf("NOERROR 1/25/0/1 opt 1232 error 0 %q", long.Text)},
	} {
		m, _ := encoded(t, false, test.opt, test.r)
		wire := must(m.Pack())
		binary.BigEndian.PutUint16(wire, id)
		if got := shape(wire); got != test.want {
			t.Errorf("%s:\nreply %s\nwant  %s", test.name, got, test.want)
		}
	}
}
