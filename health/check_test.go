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
	zero, fourteen := 0, 14
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
			health.Check{HTTP: &health.HTTP{Method: "GET", Path: "/", Status: "200-399"},
				Interval: 10 * second, Timeout: 3 * second, Rise: 2, Fall: 3}},
		{`{"http":{"port":8080,"path":"/healthz?full=1","host":"www.example.com:8080","status":"2xx,304","body":"ok"},"interval":"1h","timeout":"500ms"}`,
			health.Check{HTTP: &health.HTTP{Method: "GET", Port: 8080, Path: "/healthz?full=1", Host: "www.example.com:8080", Status: "2xx,304", Body: "ok"},
				Interval: 3600 * second, Timeout: second / 2, Rise: 2, Fall: 3}},
		{`{"https":{"path":"/healthz","host":"www.example.com"},"interval":"2s","timeout":"1s","rise":2,"fall":3}`,
			health.Check{HTTPS: &health.HTTPS{HTTP: health.HTTP{Method: "GET", Path: "/healthz", Host: "www.example.com", Status: "200-399"}, Certificate: health.Certificate{SNI: "www.example.com", Verify: &yes, WarnDays: &fourteen}},
				Interval: 2 * second, Timeout: second, Rise: 2, Fall: 3}},
		{`{"https":{"host":"www.example.com:8443","verify":false}}`,
			health.Check{HTTPS: &health.HTTPS{HTTP: health.HTTP{Method: "GET", Path: "/", Host: "www.example.com:8443", Status: "200-399"}, Certificate: health.Certificate{SNI: "www.example.com", Verify: &no, WarnDays: &fourteen}},
				Interval: 10 * second, Timeout: 3 * second, Rise: 2, Fall: 3}},
		{`{"https":{"host":"[2001:db8::1]:8443"}}`,
			health.Check{HTTPS: &health.HTTPS{HTTP: health.HTTP{Method: "GET", Path: "/", Host: "[2001:db8::1]:8443", Status: "200-399"}, Certificate: health.Certificate{SNI: "2001:db8::1", Verify: &yes, WarnDays: &fourteen}},
				Interval: 10 * second, Timeout: 3 * second, Rise: 2, Fall: 3}},
		{`{"https":{"port":8443,"host":"www.example.com","sni":"b.example"}}`,
			health.Check{HTTPS: &health.HTTPS{HTTP: health.HTTP{Method: "GET", Port: 8443, Path: "/", Host: "www.example.com", Status: "200-399"}, Certificate: health.Certificate{SNI: "b.example", Verify: &yes, WarnDays: &fourteen}},
				Interval: 10 * second, Timeout: 3 * second, Rise: 2, Fall: 3}},
		{`{"https":{"verify":false}}`,
			health.Check{HTTPS: &health.HTTPS{HTTP: health.HTTP{Method: "GET", Path: "/", Status: "200-399"}, Certificate: health.Certificate{Verify: &no, WarnDays: &fourteen}},
				Interval: 10 * second, Timeout: 3 * second, Rise: 2, Fall: 3}},
		{`{"tcp":{"send":"PING\r\n","expect":"+PONG"},"quorum":2,"from":["site:fra","checker:fra-1"],"invert":true}`,
			health.Check{TCP: &health.TCP{Send: "PING\r\n", Expect: "+PONG"}, Voting: health.Voting{Quorum: 2, From: health.From{"site:fra", "checker:fra-1"}}, Invert: true,
				Interval: 10 * second, Timeout: 3 * second, Rise: 2, Fall: 3}},
		{`{"tcp":{"send_hex":"00 00 00 08 04 d2 16 2f","expect_regexp":"^[SN]"},"quorum":"any"}`,
			health.Check{TCP: &health.TCP{SendHex: "00 00 00 08 04 d2 16 2f", ExpectRegexp: "^[SN]"}, Voting: health.Voting{Quorum: 1},
				Interval: 10 * second, Timeout: 3 * second, Rise: 2, Fall: 3}},
		{`{"tls":{"port":993,"sni":"imap.example.com","warn_days":0},"quorum":"all"}`,
			health.Check{TLS: &health.TLS{Port: 993, Certificate: health.Certificate{SNI: "imap.example.com", Verify: &yes, WarnDays: &zero}}, Voting: health.Voting{Quorum: health.All},
				Interval: 10 * second, Timeout: 3 * second, Rise: 2, Fall: 3}},
		{`{"http":{"method":"HEAD","headers":{"Authorization":"Bearer x","Accept":""},"http2":true},"quorum":"majority"}`,
			health.Check{HTTP: &health.HTTP{Method: "HEAD", Path: "/", Status: "200-399", HTTP2: true, Headers: health.Headers{"Authorization": "Bearer x", "Accept": ""}},
				Interval: 10 * second, Timeout: 3 * second, Rise: 2, Fall: 3}},
		{`{"grpc":{"service":"shop.v1.Cart","host":"cart.example.com:8443","tls":true}}`,
			health.Check{GRPC: &health.GRPC{Service: "shop.v1.Cart", Host: "cart.example.com:8443", TLS: true,
				Certificate: health.Certificate{SNI: "cart.example.com", Verify: &yes, WarnDays: &fourteen}},
				Interval: 10 * second, Timeout: 3 * second, Rise: 2, Fall: 3}},
		{`{"dns":{"name":"www.example.com"}}`,
			health.Check{DNS: &health.DNS{Name: "www.example.com", Type: "A", RCode: "NOERROR"},
				Interval: 10 * second, Timeout: 3 * second, Rise: 2, Fall: 3}},
		{`{"icmp":{}}`,
			health.Check{ICMP: &health.ICMP{}, Interval: 10 * second, Timeout: 3 * second, Rise: 2, Fall: 3}},
		{`{"exec":{"command":"check-db","args":["--fast",""]}}`,
			health.Check{Exec: &health.Exec{Command: "check-db", Args: []string{"--fast", ""}},
				Interval: 10 * second, Timeout: 3 * second, Rise: 2, Fall: 3}},
		{`{"all":["web","db"]}`, health.Check{All: []string{"web", "db"}}},
		{`{"any":["web"],"invert":true}`, health.Check{Any: []string{"web"}, Invert: true}},
		{`{"at_least":2,"of":["a","b","c"],"from":["site:fra"]}`, health.Check{AtLeast: 2, Of: []string{"a", "b", "c"}, Voting: health.Voting{From: health.From{"site:fra"}}}},
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
		{`{"tcp":{},"quorum":0}`, `0 is out of range, expected 1 to 100, "majority", "all" or "any"`},
		{`{"tcp":{},"quorum":1.5}`, `1.5 is out of range, expected 1 to 100, "majority", "all" or "any"`},
		{`{"tcp":{},"quorum":"most"}`, `"most" is not known, expected "majority", "all", "any" or a number`},
		{`{"tcp":{},"quorum":"majorty"}`, `(did you mean "majority"?)`},
		{`{"tcp":{},"quorum":["any"]}`, `[ is out of range, expected 1 to 100, "majority", "all" or "any"`},
		{`{"icmp":{"count":3}}`, `"count" within "/icmp"`},
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

const oneOf = `expected one of "tcp", "tls", "http", "https", "grpc", "dns", "icmp", "exec", "all", "any" and "of"`

func TestCheckCompleteFaults(t *testing.T) {
	tests := []struct{ text, want string }{
		{`{}`, oneOf},
		{`{"tcp":{},"http":{}}`, oneOf + `, found "tcp" and "http"`},
		{`{"tcp":{},"http":{},"https":{}}`, oneOf + `, found "tcp", "http" and "https"`},
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
		{`{"tcp":{"send":"a","send_hex":"00"}}`, `tcp.send_hex: not beside "send"`},
		{`{"tcp":{"send_hex":"0"}}`, `tcp.send_hex: "0" is not hexadecimal such as "00 ff", of at most 4096 bytes`},
		{`{"tcp":{"send_hex":" "}}`, `tcp.send_hex: " " is not hexadecimal such as "00 ff", of at most 4096 bytes`},
		{`{"tcp":{"expect":"a","expect_hex":"00"}}`, `tcp.expect_hex: not beside "expect" or "expect_regexp"`},
		{`{"tcp":{"expect_hex":"0x00"}}`, `tcp.expect_hex: "0x00" is not hexadecimal such as "00 ff", of at most 4096 bytes`},
		{`{"tcp":{"expect":"a","expect_regexp":"a"}}`, `tcp.expect_regexp: not beside "expect"`},
		{`{"tcp":{"expect_regexp":"("}}`, "tcp.expect_regexp: \"(\" is not a regular expression (RE2): missing closing ): `(`"},
		{`{"tls":{}}`, `tls: a certificate is verified for a name: set "sni", or "verify": false`},
		{`{"tls":{"sni":"a b"}}`, `tls.sni: "a b" is not a server name such as "www.example.com"`},
		{`{"tls":{"sni":"a.example","warn_days":366}}`, `tls.warn_days: 366 is out of range, expected 0 to 365`},
		{`{"tls":{"sni":"a.example","warn_days":-1}}`, `tls.warn_days: -1 is out of range, expected 0 to 365`},
		{`{"http":{"method":"get"}}`, `http.method: "get" is not known, expected "GET", "HEAD", "OPTIONS" or "POST" (did you mean "GET"?)`},
		{`{"http":{"headers":{"Host":"a.example"}}}`, `http.headers: Host has a field of its own, "host"`},
		{`{"http":{"headers":{"connection":"close"}}}`, `http.headers: connection frames the message, which is not the operator's to say`},
		{`{"http":{"headers":{"Content-Length":"7"}}}`, `http.headers: Content-Length frames the message, which is not the operator's to say`},
		{`{"http":{"headers":{"X:":"a"}}}`, `http.headers: "X:" is not the name of a header such as "Authorization"`},
		{`{"http":{"headers":{"":"a"}}}`, `http.headers: "" is not the name of a header such as "Authorization"`},
		{`{"http":{"headers":{"X":"a\r\nY: b"}}}`, `http.headers: X: "a\r\nY: b" is not a value: expected at most 4096 printable ASCII characters`},
		{`{"http":{"headers":{"X-A":"1","x-a":"2"}}}`, `http.headers: x-a is there twice, once in another spelling`},
		{`{"http":{"method":"HEAD","body":"ok"}}`, `http.body: the response to HEAD has none`},
		{`{"http":{"method":"HEAD","body_regexp":"ok"}}`, `http.body_regexp: the response to HEAD has no body`},
		{`{"https":{"host":"a.example","body_regexp":"a{2,1}"}}`, "https.body_regexp: \"a{2,1}\" is not a regular expression (RE2): invalid repeat count: `{2,1}`"},
		{`{"grpc":{"host":"a b"}}`, `grpc.host: "a b" is not a host such as "www.example.com" or "www.example.com:8443"`},
		{`{"grpc":{"sni":"a.example"}}`, `grpc.sni: expected "tls": true beside it`},
		{`{"grpc":{"verify":false}}`, `grpc.verify: expected "tls": true beside it`},
		{`{"grpc":{"warn_days":1}}`, `grpc.warn_days: expected "tls": true beside it`},
		{`{"grpc":{"tls":true}}`, `grpc: a certificate is verified for a name: set "host" or "sni", or "verify": false`},
		{`{"dns":{}}`, `dns.name: "" is not a domain name such as "www.example.com"`},
		{`{"dns":{"name":"a..b"}}`, `dns.name: "a..b" is not a domain name such as "www.example.com"`},
		{`{"dns":{"name":"a.example","type":"a"}}`, `dns.type: "a" is not a type such as "A" or "SOA"`},
		{`{"dns":{"name":"a.example","type":"AXFR"}}`, `dns.type: AXFR cannot be asked for by a query of its own`},
		{`{"dns":{"name":"a.example","rcode":"NOPE"}}`, `dns.rcode: "NOPE" is not a response code such as "NOERROR" or "NXDOMAIN"`},
		{`{"dns":{"name":"a.example","answer":"2001:db8::1"}}`, `dns.answer: "2001:db8::1" is not RDATA of type A`},
		{`{"dns":{"name":"a.example","answer":"192.0.2.1\n"}}`, `dns.answer: "192.0.2.1\n" is not RDATA of type A`},
		{`{"exec":{}}`, `exec.command: "" is not the name of a file such as "check-db": expected letters, digits, and - _ . + after the first`},
		{`{"exec":{"command":"../sh"}}`, `exec.command: "../sh" is not the name of a file such as "check-db": expected letters, digits, and - _ . + after the first`},
		{`{"exec":{"command":".."}}`, `exec.command: ".." is not the name of a file such as "check-db": expected letters, digits, and - _ . + after the first`},
		{`{"exec":{"command":"a","args":["b\u0000"]}}`, `exec.args[0]: "b\x00" is not an argument of at most 4096 bytes, none of them 0`},
		{`{"all":[]}`, `all: 0 checks, expected 1 to 16`},
		{`{"any":["Web"]}`, `any[0]: "Web" is not the name of a check`},
		{`{"all":["a","b","a"]}`, `all: "a" is there twice`},
		{`{"all":["a"],"any":["b"]}`, oneOf + `, found "all" and "any"`},
		{`{"of":["a","b"]}`, `of: expected "at_least" beside it`},
		{`{"at_least":1,"tcp":{}}`, `at_least: expected "of" beside it`},
		{`{"at_least":1}`, oneOf},
		{`{"at_least":3,"of":["a","b"]}`, `at_least: 3 is out of range, expected 1 to 2, as many as there are`},
		{`{"at_least":-1,"of":["a","b"]}`, `at_least: -1 is out of range, expected 1 to 2, as many as there are`},
		{`{"all":["a"],"interval":"1s"}`, `interval: not of a check made of others: they have theirs`},
		{`{"any":["a"],"timeout":"1s"}`, `timeout: not of a check made of others: they have theirs`},
		{`{"all":["a"],"rise":2}`, `rise: not of a check made of others: they have theirs`},
		{`{"at_least":1,"of":["a"],"fall":2}`, `fall: not of a check made of others: they have theirs`},
		{`{"tcp":{},"from":[]}`, `from: expected at least one entry; without the field everybody votes`},
		{`{"tcp":{},"from":["fra"]}`, `from[0]: "fra" is not known, expected "site:<site>" or "checker:<checker>"`},
		{`{"tcp":{},"from":["site:fra","pool:web"]}`, `from[1]: "pool:web" is not known, expected "site:<site>" or "checker:<checker>"`},
		{`{"tcp":{},"from":["site:fra","site:fra"]}`, `from[1]: "site:fra" is there twice`},
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
		{`{"tls":{}}`, 993, 993},
		{`{"grpc":{}}`, 0, 0},
		{`{"dns":{}}`, 0, 53},
		{`{"dns":{}}`, 5300, 5300},
		{`{"icmp":{}}`, 443, 0},
		{`{"exec":{"command":"a"}}`, 443, 443},
		{`{"all":["a"]}`, 443, 443},
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
