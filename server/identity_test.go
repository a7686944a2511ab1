package server

import (
	"encoding/hex"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"

	"meridian/zones"
)

// TestIdentity: what is told, to whom, and in full; before any configuration was read, too.
func TestIdentity(t *testing.T) {
	long := strings.Repeat("x", MaxIdentity)
	for _, test := range []struct {
		nsid, version string
		name          string
		want          string // the answer, or the response code
	}{
		{"fra1", "9.9", "id.server", "id.server.\t0\tCH\tTXT\t\"fra1\""},
		{"fra1", "9.9", "HOSTNAME.bind", "HOSTNAME.bind.\t0\tCH\tTXT\t\"fra1\""},
		{"fra1", "9.9", "version.server", "version.server.\t0\tCH\tTXT\t\"9.9\""},
		{"fra1", "9.9", "version.bind", "version.bind.\t0\tCH\tTXT\t\"9.9\""},
		{long, long, "id.server", "id.server.\t0\tCH\tTXT\t\"" + long + "\""},
		{"", "9.9", "id.server", "REFUSED"},
		{"", "9.9", "hostname.bind", "REFUSED"},
		{"fra1", "", "version.server", "REFUSED"},
		{"fra1", "", "version.bind", "REFUSED"},
		{"fra1", "9.9", "authors.bind", "REFUSED"},
	} {
		w := newWorker(new(atomic.Pointer[zones.Snapshot]), newIdentity(test.nsid, test.version), new(counters), false)
		query := join(header(0, 1, 0, 0, 1), question(test.name, dns.TypeTXT, dns.ClassCHAOS), opt(512, edns(dns.EDNS0NSID)))
		m := new(dns.Msg)
		if err := m.Unpack(ask(w, query)); err != nil {
			t.Fatal(err)
		}
		got := dns.RcodeToString[m.Rcode]
		if len(m.Answer) > 0 {
			got = m.Answer[0].String()
		}
		if got != test.want || m.Authoritative != (len(m.Answer) > 0) {
			t.Errorf("NSID %q, version %q, asked for %s: %s, aa %v; want %s", test.nsid, test.version, test.name, got, m.Authoritative, test.want)
		}
		nsid := ""
		for _, o := range m.IsEdns0().Option {
			if n, ok := o.(*dns.EDNS0_NSID); ok {
				nsid = n.Nsid
			}
		}
		if want := hex.EncodeToString([]byte(test.nsid)); nsid != want {
			t.Errorf("NSID %s in the reply, want %s", nsid, want)
		}
	}
}

// TestSmallestRoom: all that a reply may have beside its records fits the smallest reply, so that
// nothing but records is ever left off.
func TestSmallestRoom(t *testing.T) {
	long := strings.Repeat("x", MaxIdentity)
	w := newWorker(testView(), newIdentity(long, long), new(counters), false)
	all := opt(512, edns(dns.EDNS0NSID), subnet(2, 128, 0, make([]byte, 16)...))
	reply := ask(w, withOPT(longName, all))
	if got, want := shape(reply), "NXDOMAIN aa 1/0/1/1 opt 1232 3="+hex.EncodeToString([]byte(long))+" 8=[::]/128/0"; got != want {
		t.Errorf("reply %s\nwant  %s", got, want)
	}
	if len(reply) > minUDP {
		t.Errorf("%d bytes", len(reply))
	}
}
