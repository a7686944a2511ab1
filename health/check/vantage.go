package check

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"meridian/health"
)

// vantage is where looks are made from: what may be touched, and what may be run.
type vantage struct {
	networks Networks
	execDir  string // "": nothing may be run
	dialer   net.Dialer
}

func newVantage(networks Networks, execDir string) *vantage {
	v := &vantage{networks: networks, execDir: execDir}
	// Looks follow each other faster than TCP's own keep-alive would.
	v.dialer = net.Dialer{KeepAlive: -1, Control: v.control}
	return v
}

// prober makes the prober of a completed check that is not made of others.
func (v *vantage) prober(c *health.Check) prober {
	switch {
	case c.TCP != nil:
		return v.newTCP(c.TCP)
	case c.TLS != nil:
		return v.newTLS(c.TLS)
	case c.HTTP != nil:
		return v.newHTTP(c.HTTP)
	case c.HTTPS != nil:
		return v.newHTTPS(c.HTTPS)
	case c.GRPC != nil:
		return v.newGRPC(c.GRPC)
	case c.DNS != nil:
		return v.newDNS(c.DNS)
	case c.ICMP != nil:
		return v.probeICMP
	}
	return v.newExec(c.Exec)
}

// control stands between every socket of the dialer and the network: whatever a check says, and
// whoever asks the dialer, the address that is about to be connected to is looked at here.
func (v *vantage) control(_, address string, _ syscall.RawConn) error {
	if to, err := netip.ParseAddrPort(address); err == nil {
		return v.networks.permit(to.Addr())
	}
	to, err := netip.ParseAddr(address) // of a protocol without ports
	if err != nil {
		return fmt.Errorf("%q is not an address", address)
	}
	return v.networks.permit(to)
}

// dial connects to t, an address literal: no name is ever looked up. The time that takes is the
// round trip, without what the backend does beside. Not DialTCP: that binds before it connects,
// which spends a local port for each connection to anywhere rather than to the same place.
func (v *vantage) dial(ctx context.Context, t *target) (net.Conn, error) {
	began := time.Now()
	c, err := v.dialer.DialContext(ctx, "tcp", t.Addr.String())
	if err == nil {
		t.seen.rtt = time.Since(began)
	}
	return c, err
}
