package admin

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"meridian/health"
	"meridian/policy"
	"meridian/zones"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// testSnapshot holds example.com with www (two addresses), api (a CNAME to app), and app, steered
// by a pool whose members are up, down, of weight 0, and of no IPv4.
func testSnapshot() *zones.Snapshot {
	e := zones.New().Edit()
	apex := must(zones.ParseOwner("example.com", "@"))
	soa := zones.SOA{NS: []string{"ns1"}}
	s, ns, err := soa.Compile(apex, 7)
	if err != nil {
		panic(err)
	}
	e.Put(apex, s)
	e.Put(apex, ns)
	put := func(name string, typ uint16, value string) {
		o := must(zones.ParseOwner("example.com", name))
		e.Put(o, must(zones.ParseRRset(o, typ, value, 8)))
	}
	put("www", 1, "192.0.2.1\n192.0.2.2")
	put("api", 5, "app")

	member := func(name string, weight uint16, addrs ...string) policy.Member {
		m := policy.Member{Name: name, Weight: weight, Tier: 1, Site: "fra"}
		for _, a := range addrs {
			m.Addrs = append(m.Addrs, netip.MustParseAddr(a))
		}
		return m
	}
	web := policy.New("web", policy.Spec{Check: "tcp"}, []policy.Member{
		member("fra1", 10, "192.0.2.10", "2001:db8::10"),
		member("fra2", 10, "192.0.2.11"),
		member("fra3", 0, "192.0.2.12"),
		member("six", 0, "2001:db8::13"),
	}, policy.Surroundings{OnEmpty: []policy.Fallback{{}}})
	web.SetHealth(0, 0, health.Up, "")
	web.SetHealth(1, 0, health.Down, "connection\x1b[2J refused")
	web.SetHealth(2, 0, health.Up, "")
	e.SetPool(0, web)
	steer := zones.Steer{Pool: "web"}
	e.Put(must(zones.ParseOwner("example.com", "app")), must(steer.Compile(0, 9)))
	e.Touch(apex, 9)
	return e.Commit(12)
}

// testConfig is of a server that is ready.
func testConfig() Config {
	view := new(atomic.Pointer[zones.Snapshot])
	view.Store(testSnapshot())
	return Config{
		Listen:   "127.0.0.1:0",
		Snapshot: view,
		Ready:    func() (bool, string) { return true, "" },
		Name:     "ns1",
		Site:     "fra",
		Log:      slog.New(slog.DiscardHandler),
	}
}

// get asks for a path, with header lines such as "Accept: text/plain".
func get(cfg Config, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil) // its peer is 192.0.2.1
	for _, h := range header {
		key, value, _ := strings.Cut(h, ": ")
		r.Header.Set(key, value)
	}
	w := httptest.NewRecorder()
	handler(cfg).ServeHTTP(w, r)
	return w
}

func TestReadiness(t *testing.T) {
	ready, waiting := testConfig(), testConfig()
	waiting.Ready = func() (bool, string) { return false, "the registry has not been read" }
	waiting.Snapshot = new(atomic.Pointer[zones.Snapshot])
	for _, test := range []struct {
		cfg  Config
		path string
		code int
		body string
	}{
		{ready, "/healthz", 200, "ok\n"},
		{ready, "/readyz", 200, "ready\n"},
		{waiting, "/healthz", 200, "ok\n"},
		{waiting, "/readyz", 503, "not ready: the registry has not been read\n"},
		{waiting, "/explain?name=www.example.com", 503, "not ready: the registry has not been read\n"},
		{ready, "/", 200, indexExplain + index},
		{ready, "/nothere", 404, indexExplain + index},
	} {
		if w := get(test.cfg, test.path); w.Code != test.code || w.Body.String() != test.body {
			t.Errorf("%s: %d %q, want %d %q", test.path, w.Code, w.Body, test.code, test.body)
		}
	}
}

// TestReadOnly: no method but GET and HEAD is taken.
func TestReadOnly(t *testing.T) {
	for _, path := range []string{"/", "/healthz", "/readyz", "/metrics", "/explain?name=www.example.com"} {
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
			w := httptest.NewRecorder()
			handler(testConfig()).ServeHTTP(w, httptest.NewRequest(method, path, nil))
			if w.Code != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d", method, path, w.Code)
			}
		}
	}
}

func TestMetrics(t *testing.T) {
	cfg := testConfig()
	own := prometheus.NewGauge(prometheus.GaugeOpts{Name: "meridian_test", Help: "One."})
	own.Set(1)
	cfg.Collectors = []prometheus.Collector{own}
	w := get(cfg, "/metrics")
	for _, line := range []string{"# HELP meridian_test One.", "meridian_test 1", "go_goroutines ", "process_open_fds "} {
		if !strings.Contains(w.Body.String(), "\n"+line) {
			t.Errorf("%d, without %q", w.Code, line)
		}
	}
}

// TestServe: on a real socket, until the context is done.
func TestServe(t *testing.T) {
	s := must(Listen(testConfig()))
	if _, err := Listen(Config{Listen: s.Addr().String()}); err == nil || !strings.Contains(err.Error(), "(HTTP): the port is in use; see by whom: ss -ltnp 'sport = :") {
		t.Errorf("listen twice: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Serve(ctx) }()
	resp := must(http.Get("http://" + s.Addr().String() + "/readyz"))
	if body := must(io.ReadAll(resp.Body)); string(body) != "ready\n" {
		t.Errorf("readyz: %s", body)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := http.Get("http://" + s.Addr().String() + "/readyz"); err == nil {
		t.Error("the port is still served")
	}
}

// TestServeFails: a server whose socket is taken away says so.
func TestServeFails(t *testing.T) {
	s := must(Listen(testConfig()))
	s.Close()
	if err := s.Serve(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "serve HTTP on 127.0.0.1:") {
		t.Errorf("error %v", err)
	}
}
