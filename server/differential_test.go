package server

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// twin asks the wire path over both transports, and compares what comes back, read by another
// library, with what the oracle says.
type twin struct {
	oracle
	names    []string // asked for
	udp, tcp *worker
}

func newTwin() *twin {
	all := slices.Concat(content, chosen)
	w := &twin{oracle: newOracle(all), udp: testWorker(false), tcp: testWorker(true)}
	for _, rr := range all {
		for name := dns.CanonicalName(rr.Header().Name); name != "."; name = parent(name) {
			w.names = append(w.names, name)
		}
	}
	slices.Sort(w.names)
	w.names = append(slices.Compact(w.names), ".", "example.org.", "www.example.org.",
		"id.server.", "hostname.bind.", "version.server.", "version.bind.")
	w.names = append(w.names, slices.Repeat([]string{"mid.example.com.", "big.example.com."}, 10)...)
	return w
}

var twinTypes = []uint16{dns.TypeA, dns.TypeA, dns.TypeA, dns.TypeAAAA, dns.TypeTXT, dns.TypeMX, dns.TypeNS, dns.TypeSOA,
	dns.TypeCNAME, dns.TypeSRV, dns.TypeHTTPS, dns.TypeSVCB, dns.TypeANY, dns.TypeNone, 666, 65535}

// query makes a question about the content or near it, with EDNS of any kind that is well formed.
func (w *twin) query(random *rand.Rand) *dns.Msg {
	name := w.names[random.IntN(len(w.names))]
	switch random.IntN(8) {
	case 0:
		name = []string{"x.", "*.", "a.b.", "www.", `\000.`, `\..`}[random.IntN(6)] + strings.TrimPrefix(name, ".")
	case 1:
		label := make([]byte, 1+random.IntN(63))
		for i := range label {
			label[i] = byte(random.IntN(256))
		}
		at := 0
		for range random.IntN(4) {
			if next, end := dns.NextLabel(name, at); !end {
				at = next
			}
		}
		if long := name[:at] + escape(label) + "." + strings.TrimPrefix(name[at:], "."); packs(long) {
			name = long
		}
	}
	folded := []byte(name)
	for i, c := range folded {
		if 'a' <= c && c <= 'z' && random.IntN(4) == 0 {
			folded[i] -= 'a' - 'A'
		}
	}
	q := new(dns.Msg).SetQuestion(string(folded), twinTypes[random.IntN(len(twinTypes))])
	switch random.IntN(16) {
	case 0:
		q.Question[0].Qclass = uint16(random.Uint32())
	case 1, 2:
		q.Question[0].Qclass = dns.ClassCHAOS
	}
	q.Id = uint16(random.Uint32())
	q.RecursionDesired, q.CheckingDisabled = random.IntN(2) == 0, random.IntN(2) == 0
	q.AuthenticatedData, q.Zero, q.Authoritative = random.IntN(2) == 0, random.IntN(2) == 0, random.IntN(2) == 0
	if random.IntN(3) > 0 {
		q.SetEdns0([]uint16{0, 512, 700, 1232, 4096, 65535, uint16(random.Uint32())}[random.IntN(7)], random.IntN(2) == 0)
		for range random.IntN(4) {
			q.IsEdns0().Option = append(q.IsEdns0().Option, randomOption(random, q.IsEdns0().Option))
		}
	}
	return q
}

func escape(label []byte) string {
	var b strings.Builder
	for _, c := range label {
		fmt.Fprintf(&b, `\%03d`, c)
	}
	return b.String()
}

func packs(name string) bool {
	_, err := dns.PackDomainName(name, make([]byte, 256), 0, nil, false)
	return err == nil
}

func randomOption(random *rand.Rand, before []dns.EDNS0) dns.EDNS0 {
	content := make([]byte, random.IntN(40))
	for i := range content {
		content[i] = byte(random.IntN(256))
	}
	switch random.IntN(4) {
	case 0:
		return &dns.EDNS0_NSID{Code: dns.EDNS0NSID, Nsid: hex.EncodeToString(content)}
	case 1:
		return &dns.EDNS0_TCP_KEEPALIVE{Code: dns.EDNS0TCPKEEPALIVE}
	case 2:
		if !slices.ContainsFunc(before, func(o dns.EDNS0) bool { return o.Option() == dns.EDNS0SUBNET }) {
			return randomSubnet(random)
		}
	}
	return &dns.EDNS0_LOCAL{Code: uint16(64 + random.IntN(65536-64)), Data: content}
}

func randomSubnet(random *rand.Rand) *dns.EDNS0_SUBNET {
	addr := make(net.IP, net.IPv6len)
	for i := range addr {
		addr[i] = byte(random.IntN(256))
	}
	family, bits := uint16(1+random.IntN(2)), 128
	if family == 1 {
		addr, bits = addr[:net.IPv4len], 32
	}
	source := random.IntN(bits + 1)
	return &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: family, SourceNetmask: uint8(source), Address: addr.Mask(net.CIDRMask(source, bits))}
}

// want is the whole reply, the OPT record in front of the additional section.
func (w *twin) want(q *dns.Msg, stream bool) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.CheckingDisabled = q.CheckingDisabled
	asked, refusal := q.Question[0], uint16(dns.ExtendedErrorCodeNotAuthoritative)
	switch {
	case asked.Qclass == dns.ClassINET:
		m = w.reply(q)
	case asked.Qclass == dns.ClassCHAOS && asked.Qtype == dns.TypeTXT && w.chaos(asked.Name) != "":
		m.Authoritative = true
		m.Answer = []dns.RR{&dns.TXT{
			Hdr: dns.RR_Header{Name: asked.Name, Rrtype: dns.TypeTXT, Class: dns.ClassCHAOS}, Txt: []string{w.chaos(asked.Name)}}}
	default:
		m.Rcode, refusal = dns.RcodeRefused, dns.ExtendedErrorCodeNotSupported
	}
	in := q.IsEdns0()
	if in == nil {
		return m
	}
	opt := new(dns.OPT)
	opt.Hdr.Name, opt.Hdr.Rrtype = ".", dns.TypeOPT
	opt.SetUDPSize(maxUDP)
	if in.Do() {
		opt.SetDo()
	}
	once := map[uint16]dns.EDNS0{}
	for _, o := range in.Option {
		switch code := o.Option(); code {
		case dns.EDNS0NSID:
			once[code] = &dns.EDNS0_NSID{Code: code, Nsid: hex.EncodeToString([]byte("fra1"))}
		case dns.EDNS0SUBNET:
			once[code] = o
		case dns.EDNS0TCPKEEPALIVE:
			if stream {
				once[code] = &dns.EDNS0_TCP_KEEPALIVE{Code: code, Timeout: 100}
			}
		}
	}
	if m.Rcode == dns.RcodeRefused {
		once[dns.EDNS0EDE] = &dns.EDNS0_EDE{InfoCode: refusal}
	}
	for _, o := range once {
		opt.Option = append(opt.Option, o)
	}
	m.Extra = append([]dns.RR{opt}, m.Extra...)
	return m
}

func (w *twin) chaos(name string) string {
	switch dns.CanonicalName(name) {
	case "id.server.", "hostname.bind.":
		return "fra1"
	case "version.server.", "version.bind.":
		return "9.9"
	}
	return ""
}

// canonical spells what two replies must have in common. Names that are compressed into the
// question have its case; where in the additional section the OPT record stands, and the order of
// its options, is free.
func canonical(m *dns.Msg) string {
	m = m.Copy()
	for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			rr.Header().Name = strings.ToLower(rr.Header().Name)
			rr.Header().Rdlength = 0
		}
	}
	if opt := m.IsEdns0(); opt != nil {
		slices.SortFunc(opt.Option, func(a, b dns.EDNS0) int { return cmp.Compare(a.Option(), b.Option()) })
		m.Extra = slices.DeleteFunc(m.Extra, func(rr dns.RR) bool { return rr == dns.RR(opt) })
		m.Extra = append(m.Extra, opt)
	}
	m.Compress = false
	return m.String()
}

// check asks q and says how the replies ended: a response code, or TC.
func (w *twin) check(t *testing.T, q *dns.Msg) string {
	t.Helper()
	msg := must(q.Pack())
	if err := q.Unpack(msg); err != nil { // now its name is escaped as those of replies are
		t.Fatal(err)
	}
	exchange := func(worker *worker) (*dns.Msg, int) {
		wire := ask(worker, msg)
		m := new(dns.Msg)
		if err := m.Unpack(wire); err != nil {
			t.Fatalf("the reply %x to\n%v\ndoes not unpack: %v", wire, q, err)
		}
		return m, len(wire)
	}
	whole, size := exchange(w.tcp)
	if got, want := canonical(whole), canonical(w.want(q, true)); got != want {
		t.Fatalf("reply over TCP\n%s\nthe oracle says\n%s", got, want)
	}
	limit := minUDP
	if opt := q.IsEdns0(); opt != nil {
		limit = min(max(int(opt.Hdr.Class), minUDP), maxUDP)
	}
	short, shortSize := exchange(w.udp)
	want := w.want(q, false)
	if short.Truncated {
		want.Truncated, want.Answer, want.Ns = true, nil, nil
		want.Extra = slices.DeleteFunc(want.Extra, func(rr dns.RR) bool { return rr.Header().Rrtype != dns.TypeOPT })
		if size <= limit {
			t.Fatalf("truncated at %d, %d bytes over TCP:\n%v", limit, size, short)
		}
	}
	if got, want := canonical(short), canonical(want); got != want {
		t.Fatalf("reply over UDP\n%s\nthe oracle says\n%s", got, want)
	}
	switch {
	case shortSize > limit:
		t.Fatalf("a reply of %d bytes where %d are allowed to\n%v", shortSize, limit, q)
	case short.Truncated:
		return "TC"
	}
	return dns.RcodeToString[whole.Rcode]
}

// TestOracle asks random questions.
func TestOracle(t *testing.T) {
	w := newTwin()
	random := rand.New(rand.NewPCG(1, 2))
	results := map[string]int{}
	for range 5000 {
		results[w.check(t, w.query(random))]++
	}
	for _, r := range []string{"NOERROR", "NXDOMAIN", "REFUSED", "TC"} {
		if results[r] < 50 {
			t.Errorf("only %d questions of 5000 ended as %s", results[r], r)
		}
	}
}

// FuzzOracle asks questions that are made of the fuzzer's bytes.
func FuzzOracle(f *testing.F) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		seed := make([]byte, 200)
		for i := range seed {
			seed[i] = byte(random.IntN(256))
		}
		f.Add(seed)
	}
	w := newTwin()
	f.Fuzz(func(t *testing.T, choices []byte) {
		w.check(t, w.query(rand.New(&byteSource{choices, rand.NewPCG(5, 6)})))
	})
}

// byteSource gives bytes as random numbers, one after another, and then other numbers.
type byteSource struct {
	bytes []byte
	rand.Source
}

func (s *byteSource) Uint64() uint64 {
	if len(s.bytes) == 0 {
		return s.Source.Uint64()
	}
	c := s.bytes[0]
	s.bytes = s.bytes[1:]
	return uint64(c) * 0x0101010101010101 // what is drawn from it depends on its high bits, or its low ones
}
