package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"meridian/health"
	"meridian/spec"
)

// long is a timeout that no test means to reach.
const long = spec.Duration(30 * time.Second)

// loopback is where the probers of the tests look from.
var loopback = newVantage(NewNetworks([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}, nil), "")

// at makes a target of a check and an address on the loopback.
func at(t testing.TB, addr net.Addr, c health.Check) *target {
	t.Helper()
	if c.Timeout == 0 && c.Interval == 0 {
		c.Timeout, c.Interval = long, long
	}
	if err := c.Complete(); err != nil {
		t.Fatal(err)
	}
	tcp := addr.(*net.TCPAddr).AddrPort()
	to := &target{
		Target: health.Target{
			TargetID: health.TargetID{Check: "web", Addr: netip.AddrPortFrom(tcp.Addr().Unmap(), tcp.Port())},
			Spec:     &c,
		},
		probe: loopback.prober(&c),
	}
	t.Cleanup(to.closeIdle)
	return to
}

// look makes one look as a Runner does.
func look(t *testing.T, to *target) error {
	t.Helper()
	return to.look(t.Context())
}

// wantWords holds the words of a look against what an operator should read; "" for success.
func wantWords(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case err == nil && want == "":
	case err == nil:
		t.Errorf("success, want %q", want)
	case err.Error() != want:
		t.Errorf("got %q, want %q", err, want)
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// serveRaw answers each connection by f, and closes it then.
func serveRaw(t *testing.T, f func(net.Conn)) net.Addr {
	t.Helper()
	l := listen(t)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); f(c) }()
		}
	}()
	return l.Addr()
}

// closedPort is an address on which nothing listens.
func closedPort(t *testing.T) net.Addr {
	t.Helper()
	l := listen(t)
	l.Close()
	return l.Addr()
}

func TestTCP(t *testing.T) {
	c := health.Check{TCP: &health.TCP{}}
	wantWords(t, look(t, at(t, listen(t).Addr(), c)), "")
	wantWords(t, look(t, at(t, closedPort(t), c)), "connection refused")
}

func TestTCPv6(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 on the loopback: ", err)
	}
	defer l.Close()
	wantWords(t, look(t, at(t, l.Addr(), health.Check{TCP: &health.TCP{}})), "")
}

func TestHTTP(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		switch q.URL.Path {
		case "/":
			fmt.Fprint(w, "all is well")
		case "/request":
			fmt.Fprintf(w, "%s %s %s host=%s agent=%s", q.Method, q.RequestURI, q.Proto, q.Host, q.UserAgent())
		case "/moved":
			http.Redirect(w, q, "/", http.StatusFound)
		case "/none":
			w.WriteHeader(http.StatusNoContent)
		case "/early":
			w.WriteHeader(http.StatusEarlyHints)
			fmt.Fprint(w, "late")
		case "/chunks":
			for range 3 {
				fmt.Fprint(w, "chunk ")
				w.(http.Flusher).Flush()
			}
			fmt.Fprint(w, "end")
		case "/within", "/beyond":
			n := 64<<10 - len("here")
			if q.URL.Path == "/beyond" {
				n++
			}
			fmt.Fprint(w, strings.Repeat(".", n)+"here")
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	// Looks go where the target says, not where the environment does.
	t.Setenv("HTTP_PROXY", "http://"+closedPort(t).String())
	addr := server.Listener.Addr()

	tests := []struct {
		check health.HTTP
		want  string
	}{
		{health.HTTP{}, ""},
		{health.HTTP{Body: "is well"}, ""},
		{health.HTTP{Body: "is unwell"}, `body does not contain "is unwell"`},
		{health.HTTP{Status: "204"}, "status 200, expected 204"},
		{health.HTTP{Path: "/none", Status: "204"}, ""},
		{health.HTTP{Path: "/none", Body: "x"}, `body does not contain "x"`},
		{health.HTTP{Path: "/absent"}, "status 503, expected 200-399"},
		{health.HTTP{Path: "/absent", Status: "200, 5xx"}, ""},
		{health.HTTP{Path: "/absent", Status: "200-502,504"}, "status 503, expected 200-502,504"},
		{health.HTTP{Path: "/moved"}, ""},
		{health.HTTP{Path: "/moved", Status: "200"}, "status 302, expected 200"},
		{health.HTTP{Path: "/early", Status: "200", Body: "late"}, ""},
		{health.HTTP{Path: "/chunks", Body: "chunk chunk chunk end"}, ""},
		{health.HTTP{Path: "/within", Body: "here"}, ""},
		{health.HTTP{Path: "/beyond", Body: "here"}, `body does not contain "here"`},
		{health.HTTP{Path: "/request?a=%20b", Host: "www.example.com:8080",
			Body: "GET /request?a=%20b HTTP/1.1 host=www.example.com:8080 agent=meridian-check"}, ""},
		{health.HTTP{Path: "/request", Body: "host=" + addr.String() + " "}, ""},
	}
	for _, test := range tests {
		t.Run(test.check.Path+" "+test.check.Status+" "+test.check.Body, func(t *testing.T) {
			to := at(t, addr, health.Check{HTTP: &test.check})
			wantWords(t, look(t, to), test.want)
			wantWords(t, look(t, to), test.want) // on the kept connection, if any
		})
	}
}

func TestHTTPFaults(t *testing.T) {
	says := func(text string) func(net.Conn) {
		return func(c net.Conn) {
			buf := make([]byte, 4096)
			c.Read(buf)
			c.Write([]byte(text))
		}
	}
	tests := []struct {
		name   string
		answer func(net.Conn)
		want   string
	}{
		{"nothing", says(""), "connection closed without an answer"},
		{"reset", func(c net.Conn) {
			says("")(c)
			c.(*net.TCPConn).SetLinger(0)
		}, "connection reset by peer"},
		{"another protocol", says("SSH-2.0-OpenSSH_9.9\r\n"), "answer is not HTTP/1.1"},
		{"TLS", says("\x15\x03\x01\x00\x02\x02\x46"), "answer is not HTTP/1.1"},
		{"no header line", says("HTTP/1.1 200 OK\r\n\x00\r\n\r\n"), "malformed header"},
		{"half a header line", says("HTTP/1.1 200 OK\r\nContent-"), "malformed header"},
		{"half a header", says("HTTP/1.1 200 OK\r\nServer: x\r\n"), "connection closed within the header"},
		{"endless header", func(c net.Conn) {
			says("HTTP/1.1 200 OK\r\n")(c)
			for {
				if _, err := c.Write([]byte("X: y\r\n")); err != nil {
					return
				}
			}
		}, "header is longer than 64 KiB"},
		{"endless interim responses", func(c net.Conn) {
			says("")(c)
			for {
				if _, err := c.Write([]byte("HTTP/1.1 102 Processing\r\n\r\n")); err != nil {
					return
				}
			}
		}, "header is longer than 64 KiB"},
		{"half a body", says("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), "connection closed within the body"},
		{"half a body is enough", says("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nwell"), ""},
		{"until close", says("HTTP/1.0 200 OK\r\n\r\nall is well"), ""},
		{"switched", says("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"), "status 101, expected 200-399"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			to := at(t, serveRaw(t, test.answer), health.Check{HTTP: &health.HTTP{Body: "well"}})
			wantWords(t, look(t, to), test.want)
			if to.idle != nil {
				t.Error("the connection was kept")
			}
		})
	}
	t.Run("refused", func(t *testing.T) {
		wantWords(t, look(t, at(t, closedPort(t), health.Check{HTTP: &health.HTTP{}})), "connection refused")
	})
}

func TestHTTPTimeout(t *testing.T) {
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	stalls := func(text string) func(net.Conn) {
		return func(c net.Conn) {
			c.Write([]byte(text))
			<-done
		}
	}
	const brief = 50 * time.Millisecond
	head := "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
	tests := []struct {
		name, text string
		timeout    time.Duration
		check      health.Check
		want       string
	}{
		{"nothing", "", brief, health.Check{HTTP: &health.HTTP{}}, "timed out after 50ms"},
		{"half a header", "HTTP/1.1 200", brief, health.Check{HTTP: &health.HTTP{}}, "timed out after 50ms"},
		{"half a body", head + "un", brief, health.Check{HTTP: &health.HTTP{Body: "well"}}, "timed out after 50ms"},
		{"handshake", "", brief, health.Check{HTTPS: &health.HTTPS{Certificate: health.Certificate{SNI: "a.example"}}}, "timed out after 50ms"},
		{"half a body is enough", head + "well", 2 * time.Second, health.Check{HTTP: &health.HTTP{Body: "well"}}, ""},
		{"half a body that nobody asks for", head, 2 * time.Second, health.Check{HTTP: &health.HTTP{}}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.check.Timeout = spec.Duration(test.timeout)
			wantWords(t, look(t, at(t, serveRaw(t, stalls(test.text)), test.check)), test.want)
		})
	}
	t.Run("dropped meanwhile", func(t *testing.T) {
		t.Parallel()
		accepted := make(chan struct{})
		to := at(t, serveRaw(t, func(net.Conn) { close(accepted); <-done }), health.Check{HTTP: &health.HTTP{}})
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-accepted; cancel() }()
		if to.attempt(ctx) == nil { // or it hangs until the test does
			t.Error("success, want an error")
		}
	})
}

// counting counts the connections that a server gets.
func counting(handler http.HandlerFunc) (*httptest.Server, *atomic.Int32) {
	var n atomic.Int32
	server := httptest.NewUnstartedServer(handler)
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			n.Add(1)
		}
	}
	return server, &n
}

func TestHTTPKeepsConnection(t *testing.T) {
	big := strings.Repeat("x", 65<<10)
	tests := []struct {
		name     string
		handler  http.HandlerFunc
		interval time.Duration
		want     int32 // connections for three looks
	}{
		{"yes", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }, time.Second, 1},
		{"chunked", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "o")
			w.(http.Flusher).Flush()
			fmt.Fprint(w, "k")
		}, time.Second, 1},
		{"the backend closes", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") }, time.Second, 3},
		{"a body longer than is read", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, big) }, time.Second, 3},
		{"another status", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, time.Second, 3},
		{"longer until the next look than it may be kept", func(http.ResponseWriter, *http.Request) {}, keepFor + time.Second, 3},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server, conns := counting(test.handler)
			server.Start()
			defer server.Close()
			to := at(t, server.Listener.Addr(), health.Check{HTTP: &health.HTTP{}, Interval: spec.Duration(test.interval)})
			to.Spec.Timeout = long // a busy machine is not a slow backend
			for range 3 {
				look(t, to)
				if kept := to.idle != nil; kept != (test.want == 1) {
					t.Errorf("kept = %v", kept)
				}
			}
			if got := conns.Load(); got != test.want {
				t.Errorf("%d connections for three looks, want %d", got, test.want)
			}
		})
	}
}

// What a kept connection has come to since is not the backend's failure.
func TestHTTPDeadConnection(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	tests := []struct {
		name  string
		later func(net.Conn) // after the first answer
	}{
		{"closed", func(net.Conn) {}},
		{"reset", func(c net.Conn) { c.(*net.TCPConn).SetLinger(0) }},
		{"closed upon the request", func(c net.Conn) { c.Read(make([]byte, 4096)) }},
		{"silent", func(net.Conn) { <-done }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var conns atomic.Int32
			closed := make(chan struct{}, 1)
			addr := serveRaw(t, func(c net.Conn) {
				first := conns.Add(1) == 1
				c.Read(make([]byte, 4096))
				c.Write([]byte(answer))
				if first {
					test.later(c)
					c.Close()
					closed <- struct{}{}
				} else {
					<-done
				}
			})
			to := at(t, addr, health.Check{HTTP: &health.HTTP{Body: "ok"}, Timeout: spec.Duration(time.Second)})
			wantWords(t, look(t, to), "")
			if to.idle == nil {
				t.Fatal("the connection was not kept")
			}
			if test.name == "closed" || test.name == "reset" {
				<-closed
			}
			wantWords(t, look(t, to), "")
			if got := conns.Load(); got != 2 {
				t.Errorf("%d connections, want 2", got)
			}
		})
	}

	// What is wrong with the backend itself is seen through the kept connection too.
	t.Run("backend gone", func(t *testing.T) {
		server, _ := counting(func(http.ResponseWriter, *http.Request) {})
		server.Start()
		to := at(t, server.Listener.Addr(), health.Check{HTTP: &health.HTTP{}})
		wantWords(t, look(t, to), "")
		server.Close()
		wantWords(t, look(t, to), "connection refused")
	})
}

// A backend that is slow, but within the timeout, is up, on whatever connection.
func TestHTTPSlowBackend(t *testing.T) {
	t.Parallel()
	const timeout = 2 * time.Second
	var slow atomic.Bool
	server, conns := counting(func(http.ResponseWriter, *http.Request) {
		if slow.Load() {
			time.Sleep(timeout * 45 / 100)
		}
	})
	server.Start()
	defer server.Close()
	to := at(t, server.Listener.Addr(), health.Check{HTTP: &health.HTTP{}, Timeout: spec.Duration(timeout)})
	wantWords(t, look(t, to), "")
	if to.idle == nil {
		t.Fatal("the connection was not kept")
	}
	slow.Store(true)
	wantWords(t, look(t, to), "")
	if to.idle != nil {
		t.Error("the connection was kept, which would make each look at this backend two")
	}
	if got := conns.Load(); got != 2 {
		t.Errorf("%d connections, want 2", got)
	}
}

func TestHostOf(t *testing.T) {
	tests := []struct {
		addr  string
		usual uint16
		want  string
	}{
		{"192.0.2.1:80", 80, "192.0.2.1"},
		{"192.0.2.1:443", 80, "192.0.2.1:443"},
		{"[2001:db8::1]:443", 443, "[2001:db8::1]"},
		{"[2001:db8::1]:8443", 443, "[2001:db8::1]:8443"},
		{"[fe80::1%eth0]:80", 80, "[fe80::1]"},
		{"[fe80::1%eth0]:81", 80, "[fe80::1]:81"},
	}
	for _, test := range tests {
		if got := hostOf(netip.MustParseAddrPort(test.addr), test.usual); got != test.want {
			t.Errorf("hostOf(%s, %d) = %s, want %s", test.addr, test.usual, got, test.want)
		}
	}
}

func TestPlain(t *testing.T) {
	dial := func(call string, errno syscall.Errno) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError(call, errno)}
	}
	tests := []struct {
		err  error
		want string
		void bool
	}{
		{dial("connect", syscall.ECONNREFUSED), "connection refused", false},
		{dial("connect", syscall.EHOSTUNREACH), "no route to host", false},
		{dial("connect", syscall.ENETUNREACH), "network is unreachable", false},
		{dial("connect", syscall.ETIMEDOUT), "connection timed out", false},
		{&net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, "connection reset by peer", false},
		{&net.OpError{Op: "dial", Net: "tcp", Err: &net.AddrError{Err: "mismatched", Addr: "x"}}, "address x: mismatched", false},
		{dial("socket", syscall.EMFILE), "too many open files", true},
		{dial("socket", syscall.ENFILE), "too many open files in system", true},
		{dial("socket", syscall.EAFNOSUPPORT), "address family not supported by protocol", true},
		{dial("connect", syscall.EADDRNOTAVAIL), "cannot assign requested address", true},
		{dial("connect", syscall.ENOBUFS), "no buffer space available", true},
	}
	for _, test := range tests {
		got := plain(test.err)
		wantWords(t, got, test.want)
		var void *voidError
		if is := errors.As(got, &void); is != test.void {
			t.Errorf("%v: void = %v, want %v", test.err, is, test.void)
		}
	}
	if !isTimeout(plain(&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded})) {
		t.Error("a deadline is not recognised any more")
	}
}
