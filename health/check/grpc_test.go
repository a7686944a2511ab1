package check

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"meridian/health"
	"meridian/spec"
)

// grpcHealth answers by the name of the service.
type grpcHealth struct {
	grpc_health_v1.UnimplementedHealthServer
	done chan struct{}
}

func (g grpcHealth) Check(ctx context.Context, q *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	answer := &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}
	switch q.Service {
	case "":
	case "sick":
		answer.Status = grpc_health_v1.HealthCheckResponse_NOT_SERVING
	case "hangs":
		<-g.done
	case "bad":
		return nil, status.Error(codes.Internal, "out of order\nfor now")
	default:
		return nil, status.Error(codes.NotFound, "who?")
	}
	return answer, nil
}

// countingListener counts what it accepts.
type countingListener struct {
	net.Listener
	n *atomic.Int32
}

func (l countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.n.Add(1)
	}
	return c, err
}

func serveGRPC(t *testing.T, known bool, options ...grpc.ServerOption) (net.Addr, *grpc.Server, *atomic.Int32) {
	t.Helper()
	l := countingListener{listen(t), new(atomic.Int32)}
	server := grpc.NewServer(options...)
	done := make(chan struct{})
	if known {
		grpc_health_v1.RegisterHealthServer(server, grpcHealth{done: done})
	}
	go server.Serve(l)
	t.Cleanup(func() { close(done); server.Stop() })
	return l.Addr(), server, l.n
}

func TestGRPC(t *testing.T) {
	cert := authority.leaf(time.Now().Add(-time.Hour), time.Now().Add(time.Hour), "a.example")
	open, _, openConns := serveGRPC(t, true)
	secure, _, secureConns := serveGRPC(t, true, grpc.Creds(credentials.NewServerTLSFromCert(cert)))
	tests := []struct{ service, want string }{
		{"", ""},
		{"sick", `service "sick" is NOT_SERVING`},
		{"absent", `service "absent" is not known`},
		{"bad", "gRPC Internal: out of order"},
	}
	for _, test := range tests {
		for _, over := range []bool{false, true} {
			addr, conns := open, openConns
			c := health.GRPC{Service: test.service, TLS: over, Host: "a.example"}
			if over {
				addr, conns = secure, secureConns
			}
			before := conns.Load()
			to := at(t, addr, health.Check{GRPC: &c})
			for range 3 {
				wantWords(t, look(t, to), test.want)
			}
			want := int32(3)
			if test.want == "" {
				want = 1
			}
			if got := conns.Load() - before; got != want {
				t.Errorf("service %q, TLS %t: %d connections for three looks, want %d", test.service, over, got, want)
			}
			if to.seen.rtt <= 0 || (to.seen.warning != "") != over {
				t.Errorf("service %q, TLS %t: round trip %v, warning %q", test.service, over, to.seen.rtt, to.seen.warning)
			}
		}
	}
}

func TestGRPCFaults(t *testing.T) {
	brief := spec.Duration(50 * time.Millisecond)
	plain := health.Check{GRPC: &health.GRPC{}}
	secure := health.Check{GRPC: &health.GRPC{TLS: true, Host: "a.example"}}
	t.Run("no health service", func(t *testing.T) {
		addr, _, _ := serveGRPC(t, false)
		wantWords(t, look(t, at(t, addr, plain)), "server has no health service (grpc.health.v1)")
	})
	t.Run("hangs", func(t *testing.T) {
		addr, _, _ := serveGRPC(t, true)
		wantWords(t, look(t, at(t, addr, health.Check{GRPC: &health.GRPC{Service: "hangs"}, Timeout: brief})), "timed out after 50ms")
	})
	t.Run("silent", func(t *testing.T) {
		addr := serveRaw(t, func(c net.Conn) { io.Copy(io.Discard, c) })
		wantWords(t, look(t, at(t, addr, health.Check{GRPC: &health.GRPC{}, Timeout: brief})), "timed out after 50ms")
	})
	t.Run("another protocol", func(t *testing.T) {
		addr := serveRaw(t, func(c net.Conn) { io.WriteString(c, "SSH-2.0-OpenSSH_9.9\r\n"); io.Copy(io.Discard, c) })
		err := look(t, at(t, addr, plain))
		if err == nil || !strings.HasPrefix(err.Error(), "gRPC Unavailable: ") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("refused", func(t *testing.T) {
		wantWords(t, look(t, at(t, closedPort(t), plain)), "connection refused")
	})
	t.Run("certificate of another", func(t *testing.T) {
		cert := authority.leaf(time.Now().Add(-time.Hour), time.Now().Add(time.Hour), "b.example")
		addr, _, _ := serveGRPC(t, true, grpc.Creds(credentials.NewServerTLSFromCert(cert)))
		wantWords(t, look(t, at(t, addr, secure)), "certificate is valid for b.example, not a.example")
	})
	t.Run("no HTTP/2", func(t *testing.T) {
		cert := authority.leaf(time.Now().Add(-time.Hour), time.Now().Add(time.Hour), "a.example")
		l := tls.NewListener(listen(t), &tls.Config{Certificates: []tls.Certificate{*cert}})
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go io.Copy(io.Discard, c)
			}
		}()
		wantWords(t, look(t, at(t, l.Addr(), secure)), "server does not speak HTTP/2 over TLS")
	})
	// What a kept connection has come to since is not the backend's failure; a backend that is gone is.
	t.Run("kept and dead", func(t *testing.T) {
		addr, server, conns := serveGRPC(t, true)
		to := at(t, addr, plain)
		wantWords(t, look(t, to), "")
		to.idle.(*grpcConn).raw.Close()
		wantWords(t, look(t, to), "")
		if got := conns.Load(); got != 2 {
			t.Errorf("%d connections, want 2", got)
		}
		server.Stop()
		wantWords(t, look(t, to), "connection refused")
	})
}
