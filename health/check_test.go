package health_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"meridian/health"
	"meridian/spec"
)

// decode reads a value as the registry is read.
func decode(text string) (health.Check, error) {
	var c health.Check
	err := json.Unmarshal([]byte(text), &c, json.RejectUnknownMembers(true))
	return c, err
}

func TestCheckDecode(t *testing.T) {
	no, yes := false, true
	second := spec.Duration(time.Second)
	tests := []struct {
		text string
		want health.Check // completed
	}{
		{`{"tcp":{}}`,
			health.Check{TCP: &health.TCP{}, Interval: 10 * second, Timeout: 3 * second, Rise: 2, Fall: 3}},
		{`{"tcp":{"port":6379},"interval":"1s","rise":1,"fall":100}`,
			health.Check{TCP: &health.TCP{Port: 6379}, Interval: second, Timeout: second, Rise: 1, Fall: 100}},
		{`{"http":{}}`,
			health.Check{HTTP: &health.HTTP{Path: "/", Status: "200-399"},
				Interval: 10 * second, Timeout: 3 * second, Rise: 2, Fall: 3}},
		{`{"http":{"port":8080,"path":"/healthz?full=1","host":"www.example.com:8080","status":"2xx,304","body":"ok"},"interval":"1h","timeout":"500ms"}`,
			health.Check{HTTP: &health.HTTP{Port: 8080, Path: "/healthz?full=1", Host: "www.example.com:8080", Status: "2xx,304", Body: "ok"},
				Interval: 3600 * second, Timeout: second / 2, Rise: 2, Fall: 3}},
		{`{"https":{"path":"/healthz","host":"www.example.com"},"interval":"2s","timeout":"1s","rise":2,"fall":3}`,
			health.Check{HTTPS: &health.HTTPS{HTTP: health.HTTP{Path: "/healthz", Host: "www.example.com", Status: "200-399"}, SNI: "www.example.com", Verify: &yes},
				Interval: 2 * second, Timeout: second, Rise: 2, Fall: 3}},
		{`{"https":{"host":"www.example.com:8443","verify":false}}`,
			health.Check{HTTPS: &health.HTTPS{HTTP: health.HTTP{Path: "/", Host: "www.example.com:8443", Status: "200-399"}, SNI: "www.example.com", Verify: &no},
				Interval: 10 * second, Timeout: 3 * second, Rise: 2, Fall: 3}},
		{`{"https":{"host":"[2001:db8::1]:8443"}}`,
			health.Check{HTTPS: &health.HTTPS{HTTP: health.HTTP{Path: "/", Host: "[2001:db8::1]:8443", Status: "200-399"}, SNI: "2001:db8::1", Verify: &yes},
				Interval: 10 * second, Timeout: 3 * second, Rise: 2, Fall: 3}},
		{`{"https":{"port":8443,"host":"www.example.com","sni":"b.example"}}`,
			health.Check{HTTPS: &health.HTTPS{HTTP: health.HTTP{Port: 8443, Path: "/", Host: "www.example.com", Status: "200-399"}, SNI: "b.example", Verify: &yes},
				Interval: 10 * second, Timeout: 3 * second, Rise: 2, Fall: 3}},
		{`{"https":{"verify":false}}`,
			health.Check{HTTPS: &health.HTTPS{HTTP: health.HTTP{Path: "/", Status: "200-399"}, Verify: &no},
				Interval: 10 * second, Timeout: 3 * second, Rise: 2, Fall: 3}},
	}
	for _, test := range tests {
		c, err := decode(test.text)
		if err == nil {
			err = c.Complete()
		}
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		if !reflect.DeepEqual(c, test.want) {
			t.Errorf("%s:\n got %s\nwant %s", test.text, encode(t, c), encode(t, test.want))
		}
		// What was completed is complete, and reads back as what it was.
		again, err := decode(encode(t, c))
		if err == nil {
			err = again.Complete()
		}
		if err != nil || !reflect.DeepEqual(again, c) {
			t.Errorf("%s: written as %s, read back as %s, error %v", test.text, encode(t, c), encode(t, again), err)
		}
	}
}

func encode(t *testing.T, c health.Check) string {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The decoder's own words are the library's; that it refuses, and where, is what counts here.
func TestCheckDecodeRefuses(t *testing.T) {
	tests := []struct{ text, where string }{
		{`{"tcp":{},"intervall":"2s"}`, `unknown object member name "intervall"`},
		{`{"tcp":{},"Interval":"2s"}`, `unknown object member name "Interval"`},
		{`{"tcp":{"path":"/"}}`, `"path" within "/tcp"`},
		{`{"http":{"sni":"b.example"}}`, `"sni" within "/http"`},
		{`{"http":{"port":65536}}`, `"/http/port"`},
		{`{"http":{"port":-1}}`, `"/http/port"`},
		{`{"http":{"status":200}}`, `"/http/status"`},
		{`{"https":{"HTTP":{}}}`, `"HTTP" within "/https"`},
		{`{"https":{"pfad":"/"}}`, `"pfad" within "/https"`},
		{`{"https":{"path":"/","path":"/x"}}`, `"path"`},
		{`{"https":{"verify":"no"}}`, `"/https/verify"`},
		{`{"tcp":{},"interval":2}`, `"/interval"`},
		{`{"tcp":{},"interval":"2 seconds"}`, `"2 seconds" is not a duration such as "2s" or "500ms"`},
		{`{"tcp":{},"rise":1.5}`, `"/rise"`},
	}
	for _, test := range tests {
		c, err := decode(test.text)
		if err == nil {
			t.Errorf("%s: read as %s, expected an error", test.text, encode(t, c))
		} else if !strings.Contains(err.Error(), test.where) {
			t.Errorf("%s: %v, expected it to name %s", test.text, err, test.where)
		}
	}
}

func TestCheckCompleteFaults(t *testing.T) {
	tests := []struct{ text, want string }{
		{`{}`, `expected exactly one of "tcp", "http" and "https", found 0`},
		{`{"tcp":{},"http":{}}`, `expected exactly one of "tcp", "http" and "https", found 2`},
		{`{"tcp":{},"http":{},"https":{}}`, `expected exactly one of "tcp", "http" and "https", found 3`},
		{`{"tcp":{},"interval":"99ms"}`, `interval: 99ms is out of range, expected 100ms to 1h`},
		{`{"tcp":{},"interval":"-1s"}`, `interval: -1s is out of range, expected 100ms to 1h`},
		{`{"tcp":{},"interval":"61m"}`, `interval: 1h1m0s is out of range, expected 100ms to 1h`},
		{`{"tcp":{},"interval":"1s","timeout":"2s"}`, `timeout: 2s is out of range, expected 1ms to the interval (1s)`},
		{`{"tcp":{},"timeout":"999us"}`, `timeout: 999µs is out of range, expected 1ms to the interval (10s)`},
		{`{"tcp":{},"timeout":"-1s"}`, `timeout: -1s is out of range, expected 1ms to the interval (10s)`},
		{`{"tcp":{},"rise":-1}`, `rise: -1 is out of range, expected 1 to 100`},
		{`{"tcp":{},"rise":101}`, `rise: 101 is out of range, expected 1 to 100`},
		{`{"tcp":{},"fall":-1}`, `fall: -1 is out of range, expected 1 to 100`},
		{`{"tcp":{},"fall":101}`, `fall: 101 is out of range, expected 1 to 100`},
		{`{"http":{"path":"healthz"}}`, `http.path: "healthz" is not a path such as "/healthz"`},
		{`{"http":{"path":"/a b"}}`, `http.path: "/a b" is not a path such as "/healthz"`},
		{`{"http":{"path":"/a\r\nX: y"}}`, `http.path: "/a\r\nX: y" is not a path such as "/healthz"`},
		{`{"http":{"path":"/#top"}}`, `http.path: "/#top" is not a path such as "/healthz"`},
		{`{"http":{"path":"/%zz"}}`, `http.path: "/%zz" is not a path such as "/healthz"`},
		{`{"http":{"path":"/ä"}}`, `http.path: "/ä" is not a path such as "/healthz"`},
		{`{"https":{"host":"a.example","path":"x"}}`, `https.path: "x" is not a path such as "/healthz"`},
		{`{"http":{"host":"a b"}}`, `http.host: "a b" is not a host such as "www.example.com" or "www.example.com:8443"`},
		{`{"http":{"host":"a\nb"}}`, `http.host: "a\nb" is not a host such as "www.example.com" or "www.example.com:8443"`},
		{`{"http":{"host":"https://a.example"}}`, `http.host: "https://a.example" is not a host such as "www.example.com" or "www.example.com:8443"`},
		{`{"http":{"host":"a.example:65536"}}`, `http.host: "a.example:65536" is not a host such as "www.example.com" or "www.example.com:8443"`},
		{`{"http":{"host":"a.example:0"}}`, `http.host: "a.example:0" is not a host such as "www.example.com" or "www.example.com:8443"`},
		{`{"http":{"host":"2001:db8::1"}}`, `http.host: "2001:db8::1" is not a host such as "www.example.com" or "www.example.com:8443"`},
		{`{"http":{"host":"[192.0.2.1]"}}`, `http.host: "[192.0.2.1]" is not a host such as "www.example.com" or "www.example.com:8443"`},
		{`{"http":{"status":"ok"}}`, `http.status: "ok" is not a status such as "200", "2xx" or "200-399"`},
		{`{"http":{"status":"200,"}}`, `http.status: "" is not a status such as "200", "2xx" or "200-399"`},
		{`{"http":{"status":"399-200"}}`, `http.status: "399-200" runs backwards, expected the lower status first`},
		{`{"https":{"host":"a.example","status":"600"}}`, `https.status: "600" is not a status such as "200", "2xx" or "200-399"`},
		{`{"https":{}}`, `https: a certificate is verified for a name: set "host" or "sni", or "verify": false`},
		{`{"https":{"verify":true}}`, `https: a certificate is verified for a name: set "host" or "sni", or "verify": false`},
		{`{"https":{"sni":"a.example:443"}}`, `https.sni: "a.example:443" is not a server name such as "www.example.com"`},
		{`{"https":{"sni":"[2001:db8::1]"}}`, `https.sni: "[2001:db8::1]" is not a server name such as "www.example.com"`},
		{`{"https":{"sni":"fe80::1%eth0"}}`, `https.sni: "fe80::1%eth0" is not a server name such as "www.example.com"`},
		{`{"https":{"sni":"a b","verify":false}}`, `https.sni: "a b" is not a server name such as "www.example.com"`},
	}
	for _, test := range tests {
		c, err := decode(test.text)
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		err = c.Complete()
		if err == nil || err.Error() != test.want {
			t.Errorf("%s:\n got %v\nwant %s", test.text, err, test.want)
		}
		if _, ok := err.(*spec.Error); !ok {
			t.Errorf("%s: error is a %T, expected a *spec.Error", test.text, err)
		}
	}
}

func TestCheckPort(t *testing.T) {
	tests := []struct {
		text   string
		member uint16
		want   uint16
	}{
		{`{"tcp":{}}`, 0, 0},
		{`{"tcp":{}}`, 25, 25},
		{`{"tcp":{"port":26}}`, 25, 26},
		{`{"http":{}}`, 0, 80},
		{`{"http":{}}`, 8080, 8080},
		{`{"http":{"port":81}}`, 8080, 81},
		{`{"https":{}}`, 0, 443},
		{`{"https":{}}`, 8443, 8443},
		{`{"https":{"port":444}}`, 8443, 444},
	}
	for _, test := range tests {
		c, err := decode(test.text)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Port(test.member); got != test.want {
			t.Errorf("%s at a member of port %d: %d, want %d", test.text, test.member, got, test.want)
		}
	}
}

func TestParseStatus(t *testing.T) {
	type ranges = []health.StatusRange
	tests := []struct {
		text string
		want ranges // nil: refused
	}{
		{"200", ranges{{200, 200}}},
		{"2xx", ranges{{200, 299}}},
		{"200-399", ranges{{200, 399}}},
		{"100-599", ranges{{100, 599}}},
		{"204, 2xx ,301-302", ranges{{204, 204}, {200, 299}, {301, 302}}},
		{"", nil},
		{"99", nil},
		{"600", nil},
		{"+200", nil},
		{"0200", nil},
		{"02xx", nil},
		{"0xx", nil},
		{"6xx", nil},
		{"xx", nil},
		{"2XX", nil},
		{"2xx-3xx", nil},
		{"200-", nil},
		{"-200", nil},
		{"200-3xx", nil},
		{"200 - 299", nil},
		{"299-200", nil},
		{"200;201", nil},
	}
	for _, test := range tests {
		got, err := health.ParseStatus(test.text)
		if (err != nil) != (test.want == nil) || !slices.Equal(got, test.want) {
			t.Errorf("ParseStatus(%q) = %v, %v, want %v", test.text, got, err, test.want)
		}
	}
}

// Whatever is accepted are ranges of statuses that exist, one for each part.
func FuzzParseStatus(f *testing.F) {
	for _, s := range []string{"200", "2xx", "200-399", "204, 2xx ,301-302", "", "+200", "02xx", "299-200", "200-3xx"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ranges, err := health.ParseStatus(s)
		if err != nil {
			if ranges != nil || err.Error() == "" {
				t.Errorf("%q: %v beside the error %q", s, ranges, err)
			}
			return
		}
		if got, want := len(ranges), 1+strings.Count(s, ","); got != want {
			t.Errorf("%q: %d ranges, want %d", s, got, want)
		}
		for _, r := range ranges {
			if r.From < 100 || r.To > 599 || r.From > r.To {
				t.Errorf("%q: range %v", s, r)
			}
		}
	})
}
