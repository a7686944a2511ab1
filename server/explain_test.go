package server

import (
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"

	"meridian/policy"
	"meridian/zones"
)

// TestExplain: a question below _explain is answered to those who may know; to others it is one of a name that does
// not exist. It is cut off over UDP as any answer, and the client subnet's reply is for nobody else.
func TestExplain(t *testing.T) {
	client := subnet(1, 24, 0, 203, 0, 113)
	for _, tt := range []struct {
		says, from string
		stream     bool
		msg        []byte
		want       string
	}{
		{"over TCP", "127.0.0.1", true, typed("_explain.www.example.com", dns.TypeTXT), "NOERROR aa 1/7/0/0"},
		{"by IPv6", "::1", true, typed("_explain.www.example.com", dns.TypeTXT), "NOERROR aa 1/7/0/0"},
		{"over UDP without EDNS", "127.0.0.1", false, typed("_explain.pool.example.com", dns.TypeTXT), "NOERROR aa tc 1/0/0/0"},
		{"from elsewhere", "192.0.2.1", true, typed("_explain.www.example.com", dns.TypeTXT), "NXDOMAIN aa 1/0/1/0"},
		{"from elsewhere, by IPv6", "2001:db8::1", true, typed("_explain.www.example.com", dns.TypeTXT), "NXDOMAIN aa 1/0/1/0"},
		{"another type", "127.0.0.1", true, typed("_explain.www.example.com", dns.TypeANY), "NXDOMAIN aa 1/0/1/0"},
		{"no zone of ours", "127.0.0.1", true, typed("_explain.www.example.org", dns.TypeTXT), "REFUSED 1/0/0/0"},
		{"for a client subnet", "127.0.0.1", true, join(header(0, 1, 0, 0, 1), question("_explain.geo.example.com", dns.TypeTXT, dns.ClassINET), opt(1232, client)),
			"NOERROR aa 1/21/0/1 opt 1232 8=203.0.113.0/24/24"},
	} {
		w := newWorker(testView(), testSelf, new(counters), tt.stream)
		buf := make([]byte, maxTCP)
		reply := buf[:w.reply(buf, copy(buf, tt.msg), netip.MustParseAddr(tt.from))]
		if got := shape(reply); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.says, got, tt.want)
		}
		limit := minUDP
		if tt.stream {
			limit = maxTCP
		}
		if len(reply) > limit {
			t.Errorf("%s: %d bytes, at most %d are allowed", tt.says, len(reply), limit)
		}
	}
}

// TestExplainLargest: the explanation of as many members as a pool may have fits into a message.
func TestExplainLargest(t *testing.T) {
	view := testView()
	e := view.Load().Edit()
	var members []policy.Member
	for i := range policy.MaxMembers {
		members = append(members, policy.Member{
			Name: fmt.Sprintf("m%03d%s", i, strings.Repeat("x", 50)), Weight: 1, Tier: 1,
			Addrs: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)})},
		})
	}
	e.SetPool(0, policy.New("pool", policy.Spec{}, members, policy.Surroundings{}))
	large := new(atomic.Pointer[zones.Snapshot])
	large.Store(e.Commit(2))
	w := newWorker(large, testSelf, new(counters), true)
	buf := make([]byte, maxTCP)
	msg := typed("_explain.pool.example.com", dns.TypeTXT)
	m := new(dns.Msg)
	if err := m.Unpack(buf[:w.reply(buf, copy(buf, msg), netip.MustParseAddr("127.0.0.1"))]); err != nil {
		t.Fatal(err)
	}
	if m.Truncated || len(m.Answer) < 400 {
		t.Fatalf("%d records, truncated %v", len(m.Answer), m.Truncated)
	}
	first, last := m.Answer[0].(*dns.TXT).Txt[0], m.Answer[len(m.Answer)-1].(*dns.TXT).Txt[0]
	if !strings.HasPrefix(first, "0001 pool.example.com. A for client 127.0.0.1 by fra1, revision 2: ") || !strings.Contains(last, " again: meridian explain pool.example.com. A --client ") {
		t.Errorf("from %q to %q", first, last)
	}
}
