package check

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"meridian/health"
)

// grpcCheck asks a server's health service.
type grpcCheck struct {
	*vantage
	spec  *health.GRPC
	tls   *tls.Config // nil: without
	warn  time.Duration
	usual uint16 // the port that an authority leaves out
}

// grpcConn is a connection that may be kept for the next look.
type grpcConn struct {
	*grpc.ClientConn
	raw     net.Conn // what it runs over
	until   time.Time
	expires time.Time
}

func (c *grpcConn) Close() error {
	c.raw.Close() // the client's own farewell is not waited for
	return c.ClientConn.Close()
}

func (v *vantage) newGRPC(spec *health.GRPC) prober {
	c := &grpcCheck{vantage: v, spec: spec, usual: 80}
	if spec.TLS {
		c.tls, c.warn, c.usual = tlsConfig(&spec.Certificate, "h2"), warning(&spec.Certificate), 443
	}
	return c.probe
}

func (c *grpcCheck) probe(ctx context.Context, t *target) error {
	soon := time.Now().Add(t.timeout() / 3)
	conn, kept := t.idle.(*grpcConn)
	t.idle = nil
	if !kept {
		var err error
		if conn, err = c.open(ctx, t); err != nil {
			return plain(err)
		}
	}
	t.seen.warning = expiry(conn.expires, c.warn)
	err := c.ask(ctx, conn, kept)
	if err == nil && ctx.Err() == nil && time.Now().Before(soon) && !time.Now().Add(t.interval()).After(conn.until) {
		t.idle = conn
	} else {
		conn.Close()
	}
	return err
}

func (c *grpcCheck) ask(ctx context.Context, conn *grpcConn, kept bool) error {
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: c.spec.Service})
	if err == nil {
		if answer.Status != grpc_health_v1.HealthCheckResponse_SERVING {
			return fmt.Errorf("%s is %v", c.service(), answer.Status)
		}
		return nil
	}
	s := status.Convert(err)
	switch code := s.Code(); {
	case code == codes.NotFound:
		return fmt.Errorf("%s is not known", c.service())
	case code == codes.Unimplemented:
		return errors.New("server has no health service (grpc.health.v1)")
	case kept && ctx.Err() == nil && (code == codes.Unavailable || code == codes.DeadlineExceeded || code == codes.Canceled):
		return errSilent
	case code == codes.DeadlineExceeded: // the server may tell first: it knows the deadline
		return context.DeadlineExceeded
	default:
		return fmt.Errorf("gRPC %v: %s", code, words(s.Message()))
	}
}

func (c *grpcCheck) service() string {
	if c.spec.Service == "" {
		return "server"
	}
	return fmt.Sprintf("service %q", c.spec.Service)
}

// open connects and, with TLS, shakes hands: not the client, whose words would then be all that is
// known of what went wrong.
func (c *grpcCheck) open(ctx context.Context, t *target) (*grpcConn, error) {
	raw, err := c.dial(ctx, t)
	if err != nil {
		return nil, err
	}
	conn := &grpcConn{raw: raw, until: time.Now().Add(keepFor)}
	given := make(chan net.Conn, 1)
	creds := insecure.NewCredentials()
	if c.tls == nil {
		given <- raw
	} else {
		secure, err := shake(ctx, raw, c.tls)
		if err != nil {
			return nil, err
		}
		if secure.ConnectionState().NegotiatedProtocol != "h2" {
			raw.Close()
			return nil, errors.New("server does not speak HTTP/2 over TLS")
		}
		conn.expires = firstExpiry(secure.ConnectionState())
		if *c.spec.Verify {
			conn.until = earlier(conn.until, conn.expires)
		}
		given <- secure
		creds = shaken{creds}
	}
	host := c.spec.Host
	if host == "" {
		host = hostOf(t.Addr, c.usual)
	}
	conn.ClientConn, err = grpc.NewClient("passthrough:///"+t.Addr.String(),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			select {
			case once := <-given:
				return once, nil
			default: // it was lost: the next look opens another
				return nil, net.ErrClosed
			}
		}),
		grpc.WithTransportCredentials(creds), grpc.WithAuthority(host), grpc.WithUserAgent("meridian-check"),
		grpc.WithNoProxy(), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(), grpc.WithIdleTimeout(0),
		grpc.WithReadBufferSize(2048), grpc.WithWriteBufferSize(2048), // a health check is some 100 bytes
	)
	if err != nil {
		raw.Close()
		return nil, err
	}
	return conn, nil
}

// shaken are the credentials of a connection that runs over TLS already.
type shaken struct {
	credentials.TransportCredentials
}

func (s shaken) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

func (s shaken) Clone() credentials.TransportCredentials { return s }
