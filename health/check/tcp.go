package check

import (
	"context"
	"net"
	"net/netip"
)

// dialer opens each connection of every check. Looks follow each other faster than TCP's own
// keep-alive would.
var dialer = net.Dialer{KeepAlive: -1}

// dial connects to addr, an address literal: no name is ever looked up. Not DialTCP: that binds
// before it connects, which spends a local port for each connection to anywhere rather than to
// the same place.
func dial(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	return dialer.DialContext(ctx, "tcp", addr.String())
}

// probeTCP is content with a connection.
func probeTCP(ctx context.Context, t *target) error {
	c, err := dial(ctx, t.Addr)
	if err != nil {
		return plain(err)
	}
	c.Close()
	return nil
}
