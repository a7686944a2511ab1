package explain

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"meridian/policy"
	"meridian/zones"
)

// lines of TXT are what a client puts together of a set.
func lines(t *testing.T, sets []zones.RRset) (list []string) {
	t.Helper()
	for _, set := range sets {
		if set.Type != dns.TypeTXT || set.TTL != 0 || set.Section != zones.AnswerSection {
			t.Errorf("%+v", set)
		}
		n := 0
		set.RRs(func(rdata []byte) {
			n++
			rr, _, err := dns.UnpackRRWithHeader(dns.RR_Header{Rrtype: dns.TypeTXT, Rdlength: uint16(len(rdata))}, rdata, 0)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, strings.Join(rr.(*dns.TXT).Txt, ""))
		})
		if n != int(set.Count) {
			t.Errorf("%d records, counted %d", n, set.Count)
		}
	}
	return list
}

func question(t *testing.T, name, client string) *zones.Query {
	t.Helper()
	n, err := zones.ParseName(name)
	if err != nil {
		t.Fatal(err)
	}
	return &zones.Query{Name: *n, Type: dns.TypeTXT, Random: 812, Client: policy.Client{Addr: netip.MustParseAddr(client)}}
}

// TestTXT: which names ask for an explanation, from where, and what the first and last lines are then.
func TestTXT(t *testing.T) {
	s := snapshot(t)
	for _, tt := range []struct {
		name, client, first, last string // "": it is a name like any other
	}{
		{"_explain.www.example.com", "127.0.0.1", "01 www.example.com. A for client 127.0.0.1 by ns1, revision 12: NOERROR, found",
			"07 again: meridian explain www.example.com. A --client 127.0.0.1 --random 812 --revision 12"},
		{"_explain.www.example.com", "::1", "01 www.example.com. A for client ::1 by ns1, revision 12: NOERROR, found",
			"07 again: meridian explain www.example.com. A --client ::1 --random 812 --revision 12"},
		{"_EXPLAIN.WWW.example.com", "127.0.0.53", "01 www.example.com. A for client 127.0.0.53 by ns1, revision 12: NOERROR, found",
			"07 again: meridian explain www.example.com. A --client 127.0.0.53 --random 812 --revision 12"},
		{"_explain.www.example.com", "192.0.2.1", "", ""},
		{"_explain.www.example.com", "2001:db8::1", "", ""},
		{"_explain.example.org", "127.0.0.1", "", ""},
		{"_explain", "127.0.0.1", "", ""},
		{"www.example.com", "127.0.0.1", "", ""},
		{".", "127.0.0.1", "", ""},
		{"explain.www.example.com", "127.0.0.1", "", ""},
		{"_explain2.www.example.com", "127.0.0.1", "", ""},
		{"a._explain.www.example.com", "127.0.0.1", "", ""},
		{"_a.x._explain.www.example.com", "127.0.0.1", "", ""},
		{"_explain.taken.example.com", "127.0.0.1", "", ""},   // the registry's own
		{"_explain.above.example.com", "127.0.0.1", "", ""},   // exists, since a name below it does
		{"x._explain.above.example.com", "127.0.0.1", "", ""}, // its own
		{"_mx._explain.taken.example.com", "127.0.0.1", "01 taken.example.com. MX for client 127.0.0.1 by ns1, revision 12: NOERROR, nodata",
			"06 again: meridian explain taken.example.com. MX --client 127.0.0.1 --random 812 --revision 12"},
		{"_aaaa._explain.app.example.com", "127.0.0.1", "01 app.example.com. AAAA for client 127.0.0.1 by ns1, revision 12: NOERROR, found",
			"16 again: meridian explain app.example.com. AAAA --client 127.0.0.1 --random 812 --revision 12"},
		{"_type65._explain.www.example.com", "127.0.0.1", "01 www.example.com. HTTPS for client 127.0.0.1 by ns1, revision 12: NOERROR, nodata",
			"06 again: meridian explain www.example.com. HTTPS --client 127.0.0.1 --random 812 --revision 12"},
		{"_aaa._explain.www.example.com", "127.0.0.1", `01 type: "aaa" is not a type such as A, MX or TYPE123 (did you mean "AAAA"?)`,
			`01 type: "aaa" is not a type such as A, MX or TYPE123 (did you mean "AAAA"?)`},
		{`_\000\027._explain.www.example.com`, "127.0.0.1", `01 type: "\x00\x1b" is not a type such as A, MX or TYPE123`,
			`01 type: "\x00\x1b" is not a type such as A, MX or TYPE123`},
		{"_axfr._explain.www.example.com", "127.0.0.1", "01 type: no name has records of type AXFR", "01 type: no name has records of type AXFR"},
		{"_explain.example.com", "127.0.0.1", "01 example.com. A for client 127.0.0.1 by ns1, revision 12: NOERROR, nodata",
			"06 again: meridian explain example.com. A --client 127.0.0.1 --random 812 --revision 12"},
		{"_explain.nope.example.com", "127.0.0.1", "01 nope.example.com. A for client 127.0.0.1 by ns1, revision 12: NXDOMAIN",
			"06 again: meridian explain nope.example.com. A --client 127.0.0.1 --random 812 --revision 12"},
		{"_explain.x.wild.example.com", "127.0.0.1", "01 x.wild.example.com. A for client 127.0.0.1 by ns1, revision 12: NOERROR, found",
			"06 again: meridian explain x.wild.example.com. A --client 127.0.0.1 --random 812 --revision 12"},
		{"_explain._explain.www.example.com", "127.0.0.1", "01 _explain.www.example.com. A for client 127.0.0.1 by ns1, revision 12: NXDOMAIN",
			"06 again: meridian explain _explain.www.example.com. A --client 127.0.0.1 --random 812 --revision 12"},
		{`_explain.it's\032\(odd\).example.com`, "127.0.0.1", `01 it's\032(odd).example.com. A for client 127.0.0.1 by ns1, revision 12: NOERROR, found`,
			`06 again: meridian explain 'it'\''s\032(odd).example.com.' A --client 127.0.0.1 --random 812 --revision 12`},
	} {
		got := lines(t, TXT(s, question(t, tt.name, tt.client), "ns1"))
		first, last := "", ""
		if len(got) > 0 {
			first, last = got[0], got[len(got)-1]
		}
		// What a library unpacks is escaped.
		unescape := strings.NewReplacer(`\"`, `"`, `\\`, `\`)
		if first, last = unescape.Replace(first), unescape.Replace(last); first != tt.first || last != tt.last {
			t.Errorf("%s from %s:\ngot  %s\n     %s\nwant %s\n     %s", tt.name, tt.client, first, last, tt.first, tt.last)
		}
	}
}

// TestTXTNotAsked: a question that asks for no explanation costs nothing.
func TestTXTNotAsked(t *testing.T) {
	s := snapshot(t)
	for _, name := range []string{"www.example.com", "_dmarc.example.com", "_acme-challenge." + strings.Repeat("long.", 20) + "example.com"} {
		q := question(t, name, "127.0.0.1")
		if n := testing.AllocsPerRun(100, func() { TXT(s, q, "ns1") }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// TestTXTLong: what does not fit into a message leaves out lines in the middle, and ends of long ones.
func TestTXTLong(t *testing.T) {
	text := []string{"head", "", strings.Repeat("x", maxLine+17), "a\tb"}
	for i := range 900 {
		text = append(text, fmt.Sprint("line ", i, " ", strings.Repeat("y", 240)))
	}
	sets := txt(append(text, "tail"))
	got := lines(t, sets)
	if size := len(sets[0].Data) + 10*len(got); size > 60_500 || size < 55_000 {
		t.Errorf("%d bytes", size)
	}
	want := []string{"001 head", "002 " + strings.Repeat("x", maxLine) + "... (17 bytes more)", "003 a b"}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("line %d: %q, want %q", i, got[i], want[i])
		}
	}
	if last := got[len(got)-1]; last != "904 tail" {
		t.Errorf("the last line is %q", last)
	}
	left := -1
	for i, line := range got {
		if strings.Contains(line, "left out") {
			left = i
		}
	}
	if left < 0 {
		t.Fatal("nobody says that lines are left out")
	}
	if want := fmt.Sprintf("%03d ... %d lines left out: meridian explain shows them", left+1, 904-(len(got)-1)); got[left] != want {
		t.Errorf("%q, want %q", got[left], want)
	}
}
