package check

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"meridian/health"
	"meridian/spec"
)

func TestTLS(t *testing.T) {
	now := time.Now()
	soon := now.Add(3 * time.Hour).UTC().Truncate(time.Second)
	ended := now.Add(-time.Minute).UTC().Truncate(time.Second)
	no, zero := false, 0
	good := authority.leaf(now.Add(-time.Hour), soon, "a.example")
	expired := authority.leaf(now.Add(-time.Hour), ended, "a.example")
	tests := []struct {
		name          string
		cert          *tls.Certificate
		check         health.Certificate
		want, warning string
	}{
		{"valid", good, health.Certificate{SNI: "a.example"}, "", "certificate expires " + soon.Format(time.RFC3339)},
		{"valid, nobody is warned", good, health.Certificate{SNI: "a.example", WarnDays: &zero}, "", ""},
		{"another name", good, health.Certificate{SNI: "b.example"}, "certificate is valid for a.example, not b.example", ""},
		{"expired", expired, health.Certificate{SNI: "a.example"}, "certificate expired " + ended.Format(time.RFC3339), ""},
		{"expired, not verified", expired, health.Certificate{Verify: &no}, "", "certificate expired " + ended.Format(time.RFC3339)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			addr, _, _ := serveTLS(t, test.cert)
			for _, c := range []health.Check{
				{TLS: &health.TLS{Certificate: test.check}},
				{HTTPS: &health.HTTPS{HTTP: health.HTTP{Host: "a.example"}, Certificate: test.check}},
			} {
				to := at(t, addr, c)
				for range 2 { // on the kept connection, too
					wantWords(t, look(t, to), test.want)
					if to.seen.warning != test.warning {
						t.Errorf("warning %q, want %q", to.seen.warning, test.warning)
					}
				}
			}
		})
	}
	check := health.Check{TLS: &health.TLS{Certificate: health.Certificate{SNI: "a.example"}}}
	t.Run("no TLS there", func(t *testing.T) {
		addr := serveRaw(t, func(c net.Conn) { fmt.Fprint(c, "220 mail\r\n"); io.Copy(io.Discard, c) })
		wantWords(t, look(t, at(t, addr, check)), "answer is not TLS")
	})
	t.Run("closed", func(t *testing.T) {
		addr := serveRaw(t, func(c net.Conn) { c.Read(make([]byte, 4096)) })
		wantWords(t, look(t, at(t, addr, check)), "connection closed within the TLS handshake")
	})
	t.Run("silent", func(t *testing.T) {
		addr := serveRaw(t, func(c net.Conn) { io.Copy(io.Discard, c) })
		silent := check
		silent.Timeout = spec.Duration(50 * time.Millisecond)
		wantWords(t, look(t, at(t, addr, silent)), "timed out after 50ms")
	})
	t.Run("refused", func(t *testing.T) {
		wantWords(t, look(t, at(t, closedPort(t), check)), "connection refused")
	})
}

// A certificate far from its end gives no warning, and the boundary is where it is said to be.
func TestExpiry(t *testing.T) {
	for _, test := range []struct {
		left, within time.Duration
		want         bool
	}{
		{14*24*time.Hour + time.Minute, 14 * 24 * time.Hour, false},
		{14*24*time.Hour - time.Minute, 14 * 24 * time.Hour, true},
		{time.Minute, 0, false},
		{-time.Minute, time.Hour, true},
	} {
		if got := expiry(time.Now().Add(test.left), test.within) != ""; got != test.want {
			t.Errorf("%v left, warning within %v: %t, want %t", test.left, test.within, got, test.want)
		}
	}
	if got := expiry(time.Time{}, time.Hour); got != "" {
		t.Errorf("of no certificate: %q", got)
	}
}

// echo answers with what it was asked.
func echo(w http.ResponseWriter, q *http.Request) {
	body, _ := io.ReadAll(q.Body)
	fmt.Fprintf(w, "%s %s %s host=%s auth=%s agent=%s accept=%s body=%d", q.Method, q.RequestURI, q.Proto, q.Host,
		q.Header.Get("Authorization"), q.UserAgent(), q.Header.Get("Accept"), len(body))
}

func TestHTTPRequests(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(echo))
	defer server.Close()
	tests := []struct {
		check health.HTTP
		want  string
	}{
		{health.HTTP{Method: "POST", Body: "POST / HTTP/1.1"}, ""},
		{health.HTTP{Method: "OPTIONS", Path: "/x", Body: "OPTIONS /x HTTP/1.1"}, ""},
		{health.HTTP{Method: "HEAD"}, ""},
		{health.HTTP{Headers: health.Headers{"authorization": "Bearer x", "user-agent": "probe/1"}, Body: "auth=Bearer x agent=probe/1 accept=*/* body=0"}, ""},
		{health.HTTP{Headers: health.Headers{"Accept": "text/plain"}, Body: "agent=meridian-check accept=text/plain"}, ""},
		{health.HTTP{BodyRegexp: `^GET / HTTP/1\.\d`}, ""},
		{health.HTTP{BodyRegexp: `^POST`}, `body does not match "^POST"`},
		{health.HTTP{Body: "GET", BodyRegexp: `^POST`}, `body does not match "^POST"`},
		{health.HTTP{Body: "POST", BodyRegexp: `^GET`}, `body does not contain "POST"`},
	}
	for _, test := range tests {
		t.Run(test.check.Method+test.check.Body+test.check.BodyRegexp, func(t *testing.T) {
			to := at(t, server.Listener.Addr(), health.Check{HTTP: &test.check})
			wantWords(t, look(t, to), test.want)
			if kept := to.idle != nil; kept != (test.want == "") {
				t.Errorf("connection kept = %t", kept)
			}
			wantWords(t, look(t, to), test.want)
		})
	}
}

func TestHTTP2(t *testing.T) {
	handler := func(w http.ResponseWriter, q *http.Request) {
		switch q.URL.Path {
		case "/sick":
			w.WriteHeader(500)
		case "/load":
			w.Header().Set("endpoint-load-metrics", "TEXT cpu_utilization=0.5")
		case "/big":
			fmt.Fprint(w, strings.Repeat("x", bodyLimit+1))
		default:
			echo(w, q)
		}
	}
	plainServer, conns := counting(handler)
	plainServer.Config.Protocols = new(http.Protocols)
	plainServer.Config.Protocols.SetUnencryptedHTTP2(true)
	plainServer.Start()
	defer plainServer.Close()
	secure, secureConns := counting(handler)
	secure.EnableHTTP2 = true
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{*authority.leaf(time.Now().Add(-time.Hour), time.Now().Add(time.Hour), "a.example")}}
	secure.StartTLS()
	defer secure.Close()

	tests := []struct {
		check health.HTTP
		want  string
		kept  bool
	}{
		{health.HTTP{Path: "/x?a=%20b", Body: "GET /x?a=%20b HTTP/2.0 host=a.example auth= agent=meridian-check accept=*/* body=0"}, "", true},
		{health.HTTP{Path: "/x", Method: "HEAD"}, "", true},
		{health.HTTP{Path: "/x", Method: "POST", Headers: health.Headers{"Authorization": "Bearer x"}, Body: "POST /x HTTP/2.0 host=a.example auth=Bearer x"}, "", true},
		{health.HTTP{Path: "/load"}, "", true},
		{health.HTTP{Path: "/big"}, "", false},
		{health.HTTP{Path: "/sick"}, "status 500, expected 200-399", false},
		{health.HTTP{Path: "/x", Body: "none"}, `body does not contain "none"`, false},
	}
	for _, test := range tests {
		for _, over := range []string{"http", "https"} {
			t.Run(over+test.check.Path+test.check.Method+test.check.Body, func(t *testing.T) {
				h := test.check
				h.Host, h.HTTP2 = "a.example", true
				to := at(t, plainServer.Listener.Addr(), health.Check{HTTP: &h})
				counted := conns
				if over == "https" {
					to, counted = at(t, secure.Listener.Addr(), health.Check{HTTPS: &health.HTTPS{HTTP: h}}), secureConns
				}
				before := counted.Load()
				for range 3 {
					wantWords(t, look(t, to), test.want)
					if kept := to.idle != nil; kept != test.kept {
						t.Errorf("connection kept = %t", kept)
					}
				}
				want := int32(3)
				if test.kept {
					want = 1
				}
				if got := counted.Load() - before; got != want {
					t.Errorf("%d connections for three looks, want %d", got, want)
				}
				if test.check.Path == "/load" && (to.seen.load == nil || *to.seen.load != 0.5) {
					t.Errorf("load %v", to.seen.load)
				}
			})
		}
	}
}

func TestHTTP2Faults(t *testing.T) {
	one := httptest.NewServer(http.HandlerFunc(echo))
	defer one.Close()
	two := health.HTTP{HTTP2: true, Host: "a.example"}
	t.Run("HTTP/1.1", func(t *testing.T) {
		wantWords(t, look(t, at(t, one.Listener.Addr(), health.Check{HTTP: &two})), "server does not speak HTTP/2, or closed the connection")
	})
	t.Run("HTTP/1.1 over TLS", func(t *testing.T) {
		addr, _, _ := serveTLS(t, authority.leaf(time.Now().Add(-time.Hour), time.Now().Add(time.Hour), "a.example"))
		wantWords(t, look(t, at(t, addr, health.Check{HTTPS: &health.HTTPS{HTTP: two}})), "server does not speak HTTP/2 over TLS")
	})
	t.Run("refused", func(t *testing.T) {
		wantWords(t, look(t, at(t, closedPort(t), health.Check{HTTP: &two})), "connection refused")
	})
	t.Run("closed", func(t *testing.T) {
		addr := serveRaw(t, func(c net.Conn) { c.Read(make([]byte, 4096)) })
		err := look(t, at(t, addr, health.Check{HTTP: &two}))
		if err == nil {
			t.Error("success, want an error")
		}
	})
	t.Run("silent", func(t *testing.T) {
		addr := serveRaw(t, func(c net.Conn) { io.Copy(io.Discard, c) })
		wantWords(t, look(t, at(t, addr, health.Check{HTTP: &two, Timeout: spec.Duration(50 * time.Millisecond)})), "timed out after 50ms")
	})
	// What a kept connection has come to since is not the backend's failure; a backend that is gone is.
	t.Run("kept and dead", func(t *testing.T) {
		server, conns := counting(echo)
		server.Config.Protocols = new(http.Protocols)
		server.Config.Protocols.SetUnencryptedHTTP2(true)
		server.Start()
		to := at(t, server.Listener.Addr(), health.Check{HTTP: &two})
		wantWords(t, look(t, to), "")
		server.CloseClientConnections()
		wantWords(t, look(t, to), "")
		if got := conns.Load(); got != 2 {
			t.Errorf("%d connections, want 2", got)
		}
		server.Close()
		wantWords(t, look(t, to), "connection refused")
	})
}

func TestLoad(t *testing.T) {
	tests := []struct{ header, want string }{
		{"TEXT application_utilization=0.83,cpu_utilization=0.5", "0.83"},
		{"TEXT cpu_utilization=0.5, application_utilization=1.2", "1.2"},
		{"TEXT cpu_utilization=0.5,mem_utilization=0.1,named_metrics.foo=3", "0.5"},
		{"TEXT application_utilization=0,cpu_utilization=0.5", "0.5"}, // protobuf's 0 is what was not set
		{"TEXT cpu_utilization=0", "0"},
		{"TEXT application_utilization=-1,cpu_utilization=NaN", "none"},
		{"TEXT cpu_utilization=Inf", "none"},
		{"TEXT mem_utilization=0.5", "none"},
		{"TEXT", "none"},
		{`JSON {"application_utilization":0.83,"cpu_utilization":0.5}`, "0.83"},
		{`JSON {"applicationUtilization":0.83,"namedMetrics":{"a":1}}`, "0.83"},
		{`JSON {"cpu_utilization": 0.25}`, "0.25"},
		{`JSON {"cpu_utilization":"high"}`, "none"},
		{`JSON {`, "none"},
		{`JSON null`, "none"},
		{"BIN CQAAAAAAAOA/", "0.5"},                     // cpu_utilization
		{"BIN CQAAAAAAAOA/SQAAAAAAAOg/", "0.75"},        // application_utilization too
		{"BIN KgwKAWERAAAAAAAA8D8JAAAAAAAA4D8=", "0.5"}, // behind an entry of utilization
		{"BIN", "0"},                                    // a report of which all is 0
		{"BIN CQAAAAAAAOA", "none"},                     // cut off
		{"BIN CQAAAAAAAPC/", "none"},                    // negative
		{"BIN !", "none"},
		{"-bin: SQAAAAAAAOg/", "0.75"},
		{"0.5", "none"},
		{"", "none"},
	}
	var header atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		name, value := "endpoint-load-metrics", header.Load().(string)
		if text, ok := strings.CutPrefix(value, "-bin: "); ok {
			name, value = name+"-bin", text
		}
		w.Header().Set(name, value)
	}))
	defer server.Close()
	to := at(t, server.Listener.Addr(), health.Check{HTTP: &health.HTTP{}})
	for _, test := range tests {
		header.Store(test.header)
		wantWords(t, look(t, to), "")
		got := "none"
		if to.seen.load != nil {
			got = fmt.Sprint(*to.seen.load)
		}
		if got != test.want {
			t.Errorf("%s: load %s, want %s", test.header, got, test.want)
		}
	}
}
