package admin

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"meridian/zones"
	"meridian/zones/explain"
)

// TestText: what people read is what package explain writes.
func TestText(t *testing.T) {
	cfg := testConfig()
	w := get(cfg, "/explain?format=text&client=203.0.113.9&name=app.example.com&random=812")
	if got, want := w.Header().Get("Content-Type"), "text/plain; charset=utf-8"; got != want {
		t.Errorf("Content-Type %q, want %q", got, want)
	}
	q, err := explain.Question{Name: "app.example.com", Client: "203.0.113.9", Random: "812"}.Query(0)
	if err != nil {
		t.Fatal(err)
	}
	e := explain.Resolve(cfg.Snapshot.Load(), q)
	e.Server, e.Site = "ns1", "fra"
	var want strings.Builder
	e.WriteText(&want)
	if got := w.Body.String(); got != want.String() {
		t.Errorf("got\n%s\nwant\n%s", got, want.String())
	}
}

func TestJSON(t *testing.T) {
	w := get(testConfig(), "/explain?name=API.example.com.&type=a&client=::ffff:203.0.113.9")
	if got, want := w.Header().Get("Content-Type"), "application/json"; w.Code != 200 || got != want {
		t.Fatalf("%d, Content-Type %q, want %q", w.Code, got, want)
	}
	var e explain.Explanation
	if err := json.Unmarshal(w.Body.Bytes(), &e, json.RejectUnknownMembers(true)); err != nil {
		t.Fatal(err)
	}
	if len(e.Trace.Steps) != 5 || e.Trace.Steps[4].Decision == nil || e.Random == 0 {
		t.Errorf("random %d, trace %+v", e.Random, e.Trace)
	}
	e.Trace, e.Random = zones.Trace{}, 0
	want := explain.Explanation{
		Name: "api.example.com.", Type: "A", Client: netip.MustParseAddr("203.0.113.9"),
		Server: "ns1", Site: "fra", Revision: 12, Outcome: "found", Rcode: "NOERROR",
		Records: []explain.Record{
			{Section: "answer", Record: "api.example.com.\t300\tIN\tCNAME\tapp.example.com."},
			{Section: "answer", Record: "app.example.com.\t30\tIN\tA\t192.0.2.10"},
		},
	}
	if !reflect.DeepEqual(e, want) {
		t.Errorf("got  %+v\nwant %+v", e, want)
	}
}

// TestDefaults: type A, the peer's address, JSON unless text is asked for.
func TestDefaults(t *testing.T) {
	w := get(testConfig(), "/explain?name=www.example.com")
	var e explain.Explanation
	if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || e.Type != "A" || e.Client != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("%v: %+v", err, e)
	}
	for _, test := range []struct{ path, accept, want string }{
		{"/explain?name=www.example.com", "text/plain", "text/plain; charset=utf-8"},
		{"/explain?name=www.example.com", "*/*", "application/json"},
		{"/explain?name=www.example.com&format=json", "text/plain", "application/json"},
	} {
		if got := get(testConfig(), test.path, "Accept: "+test.accept).Header().Get("Content-Type"); got != test.want {
			t.Errorf("%s, Accept: %s: Content-Type %q, want %q", test.path, test.accept, got, test.want)
		}
	}
}

// TestBadRequests: each says which parameter is wrong, and what was expected.
func TestBadRequests(t *testing.T) {
	for _, test := range []struct{ query, want string }{
		{"", "name: expected one such as www.example.com"},
		{"name=a..b", `name: "a..b" has an empty label`},
		{"name=" + strings.Repeat("a", 64), `name: "` + strings.Repeat("a", 64) + `" has a label of 64 bytes, at most 63 are allowed`},
		{"name=a&name=b", "name: given 2 times, expected once"},
		{"name=a&typ=A", `"typ" is not a parameter, expected one of name, type, client, subnet, random, format (did you mean "type"?)`},
		{"name=a&type=AAA", `type: "AAA" is not a type such as A, MX or TYPE123 (did you mean "AAAA"?)`},
		{"name=a&type=TYPE65536", `type: "TYPE65536" is not a type such as A, MX or TYPE123`},
		{"name=a&type=axfr", "type: no name has records of type AXFR"},
		{"name=a&type=TYPE41", "type: no name has records of type OPT"},
		{"name=a&client=nowhere", `client: "nowhere" is not an address such as 192.0.2.1 or 2001:db8::1`},
		{"name=a&client=fe80::1%25eth0", `client: "fe80::1%eth0" is not an address such as 192.0.2.1 or 2001:db8::1`},
		{"name=a&subnet=192.0.2.0", `subnet: "192.0.2.0" is not a network such as 203.0.113.0/24 or 2001:db8::/56`},
		{"name=a&subnet=::ffff:192.0.2.0/120", `subnet: "::ffff:192.0.2.0/120" is not a network such as 203.0.113.0/24 or 2001:db8::/56`},
		{"name=a&subnet=192.0.2.1/24", `subnet: 192.0.2.1/24 has bits set beyond the prefix, expected 192.0.2.0/24`},
		{"name=a&client=192.0.2.0/24", `client: "192.0.2.0/24" is not an address such as 192.0.2.1 or 2001:db8::1`},
		{"name=a&format=xml", `format: "xml" is not known, expected "json" or "text"`},
		{"name=a&random=-1", `random: "-1" is not a number from 0 to 18446744073709551615`},
		{"name=a&random=18446744073709551616", `random: "18446744073709551616" is not a number from 0 to 18446744073709551615`},
		{"name=%zz", `invalid URL escape "%zz"`},
	} {
		w := get(testConfig(), "/explain?"+test.query)
		if got := strings.TrimSuffix(w.Body.String(), "\n"); w.Code != http.StatusBadRequest || got != test.want {
			t.Errorf("%s: %d %s\nwant 400 %s", test.query, w.Code, got, test.want)
		}
	}
}

// TestFetch: the command line gets what /explain gives.
func TestFetch(t *testing.T) {
	s := httptest.NewServer(handler(testConfig()))
	defer s.Close()
	addr := s.Listener.Addr().String()
	e, err := Fetch(t.Context(), addr, explain.Question{Name: "app.example.com", Type: "AAAA", Client: "203.0.113.9", Subnet: "2001:db8::/56", Random: "18446744073709551615"})
	if err != nil {
		t.Fatal(err)
	}
	if e.Client != netip.MustParseAddr("203.0.113.9") || e.Subnet != netip.MustParsePrefix("2001:db8::/56") || e.Type != "AAAA" || e.Random != 1<<64-1 || len(e.Records) != 1 {
		t.Errorf("got %+v", e)
	}
	var sent, again strings.Builder
	if err := e.WriteJSON(&sent); err != nil {
		t.Fatal(err)
	}
	back := new(explain.Explanation)
	if err := json.Unmarshal([]byte(sent.String()), back); err != nil {
		t.Fatal(err)
	}
	if back.WriteJSON(&again); again.String() != sent.String() {
		t.Errorf("sent\n%s\nread\n%s", sent.String(), again.String())
	}
}

func TestFetchErrors(t *testing.T) {
	s := httptest.NewServer(handler(testConfig()))
	addr := s.Listener.Addr().String()
	strange := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }))
	defer strange.Close()
	other := strange.Listener.Addr().String()

	for _, test := range []struct{ server, name, want string }{
		{addr, "a..b", addr + ` says 400 Bad Request: name: "a..b" has an empty label`},
		{other, "www.example.com", other + " gave no explanation: "},
		{"no port", "www.example.com", `"no port" is not host:port: `},
	} {
		if _, err := Fetch(t.Context(), test.server, explain.Question{Name: test.name}); err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("error %v\nwant  %s", err, test.want)
		}
	}
	s.Close()
	want := "nothing answers HTTP on " + addr + ": is meridian serving there?"
	if _, err := Fetch(t.Context(), addr, explain.Question{Name: "www.example.com"}); err == nil || err.Error() != want {
		t.Errorf("error %v\nwant  %s", err, want)
	}
}
