// Package admin is the server's face over HTTP: explain, status, metrics, health and readiness. It
// changes nothing.
package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sys/unix"

	"meridian/zones"
)

// Config of a Server.
type Config struct {
	Listen     string                          // host:port; no default, since who reaches it sees the configuration
	Snapshot   *atomic.Pointer[zones.Snapshot] // holds nil until there is one; nil: there is no /explain
	Ready      func() (ok bool, why string)    // whether queries are answered, and if not, why not
	Notes      func() []string                 // what an operator should know beside that, one line each; may be nil
	Status     func() any                      // how the server stands, to be JSON: an object; nil: there is no /status
	Collectors []prometheus.Collector          // beside those of the Go runtime and the process
	Name, Site string                          // of this server, told with each explanation
	Log        *slog.Logger
}

// Server answers HTTP requests.
type Server struct {
	listener net.Listener
	http     *http.Server
}

// Listen binds a Server to its address. Call Serve or Close then.
func Listen(cfg Config) (*Server, error) {
	l, err := net.Listen("tcp", cfg.Listen)
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		_, port, _ := net.SplitHostPort(cfg.Listen)
		return nil, fmt.Errorf("listen on %s (HTTP): the port is in use; see by whom: ss -ltnp 'sport = :%s'", cfg.Listen, port)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return nil, fmt.Errorf("listen on %s (HTTP): the address is not on this host; see those that are: ip address", cfg.Listen)
	case err != nil:
		return nil, fmt.Errorf("listen on %s (HTTP): %w", cfg.Listen, err)
	}
	return &Server{l, &http.Server{
		Handler:           handler(cfg),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		// What is said here a client can bring about as often as it likes.
		ErrorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}}, nil
}

// Addr is what the server is bound to.
func (s *Server) Addr() netip.AddrPort { return s.listener.Addr().(*net.TCPAddr).AddrPort() }

// Close lets go of the address, where Serve is not to be called.
func (s *Server) Close() { s.listener.Close() }

// Serve answers until ctx is done; requests under way then have another second.
func (s *Server) Serve(ctx context.Context) error {
	stopped := make(chan struct{})
	unlink := context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if s.http.Shutdown(grace) != nil {
			s.http.Close()
		}
	})
	err := s.http.Serve(s.listener)
	if unlink() {
		return fmt.Errorf("serve HTTP on %s: %w", s.listener.Addr(), err)
	}
	<-stopped
	return nil
}

const indexExplain = `/explain  how a query is answered, and why: ?name=NAME, and if need be type, client, subnet, random; format=text for people
`

const index = `/status   how this process stands, as JSON
/metrics  counters for Prometheus
/readyz   200 once it does its work, and what an operator should know
/healthz  200 while the process runs
`

func handler(cfg Config) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			w.WriteHeader(http.StatusNotFound)
		}
		if cfg.Snapshot != nil {
			io.WriteString(w, indexExplain)
		}
		io.WriteString(w, index)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "ok\n")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		ok, why := cfg.Ready()
		if !ok {
			http.Error(w, "not ready: "+why, http.StatusServiceUnavailable)
		} else {
			io.WriteString(w, "ready\n")
		}
		writeNotes(w, cfg)
	})
	mux.Handle("GET /metrics", metrics(cfg.Collectors))
	if cfg.Snapshot != nil {
		mux.Handle("GET /explain", explainer{cfg})
	}
	if cfg.Status != nil {
		mux.Handle("GET /status", statuser{cfg})
	}
	return mux
}

func metrics(own []prometheus.Collector) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registry.MustRegister(own...)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, EnableOpenMetrics: true})
}
