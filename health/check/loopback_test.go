package check

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"meridian/health"
	"meridian/spec"
)

// next waits for a report.
func next(t *testing.T, r *Runner) health.Report {
	t.Helper()
	for {
		select {
		case <-r.Changed():
		case <-time.After(30 * time.Second):
			t.Fatal("no report in 30s")
		}
		switch reports := r.Take(); len(reports) {
		case 0:
		case 1:
			if reports[0].RTT <= 0 {
				t.Errorf("no round trip in %v", reports[0])
			}
			reports[0].RTT = 0
			return reports[0]
		default:
			t.Fatalf("reports %v, want one", reports)
		}
	}
}

// A backend's life as seen by a Runner over real connections.
func TestRunnerOnLoopback(t *testing.T) {
	var sick atomic.Bool
	states := make(chan http.ConnState, 1000)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if sick.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) { states <- s }
	server.Start()
	defer server.Close()
	closed := func(why string) {
		t.Helper()
		for {
			select {
			case s := <-states:
				if s == http.StateClosed {
					return
				}
			case <-time.After(30 * time.Second):
				t.Fatalf("the kept connection is still open after %s", why)
			}
		}
	}
	c := &health.Check{HTTP: &health.HTTP{}, Interval: spec.Duration(100 * time.Millisecond)}
	if err := c.Complete(); err != nil {
		t.Fatal(err)
	}
	c.Timeout = long // a busy machine is not a timeout
	web := health.TargetID{Check: "web", Addr: netip.MustParseAddrPort(server.Listener.Addr().String())}
	only := []health.Target{{TargetID: web, Spec: c}}

	r := New(Config{Networks: loopback.networks, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	defer func() { cancel(); running.Wait() }()

	r.Set(only)
	if got, want := next(t, r), (health.Report{TargetID: web, State: health.Up}); got != want {
		t.Errorf("report %v, want %v", got, want)
	}
	sick.Store(true)
	want := health.Report{TargetID: web, State: health.Down, Reason: "status 503, expected 200-399"}
	if got := next(t, r); got != want {
		t.Errorf("report %v, want %v", got, want)
	}
	sick.Store(false)
	if got, want := next(t, r), (health.Report{TargetID: web, State: health.Up}); got != want {
		t.Errorf("report %v, want %v", got, want)
	}

	// From here on a connection lies idle between looks for long enough to be found so.
	slow := *c
	slow.Interval = long
	set := func(c *health.Check) {
		t.Helper()
		r.Set([]health.Target{{TargetID: web, Spec: c}})
		for before := r.Stats(); ; time.Sleep(time.Millisecond) {
			if now := r.Stats(); now.Successes > before.Successes && now.InFlight == 0 {
				break
			}
		}
		for len(states) > 0 {
			<-states
		}
	}
	r.Set(nil)
	set(&slow)
	r.Set(nil)
	closed("its target left")

	set(&slow)
	other := slow
	other.HTTP = &health.HTTP{Path: "/other", Status: "200"}
	r.Set([]health.Target{{TargetID: web, Spec: &other}})
	closed("its check changed")

	r.Set(nil)
	set(&slow)
	cancel()
	running.Wait()
	closed("Run ended")
}
