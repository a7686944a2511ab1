package check

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// family is what differs between ICMP (RFC 792) and ICMPv6 (RFC 4443).
type family struct {
	ping, raw, any string // networks and address of icmp.ListenPacket
	protocol       int    // IANA's number
	request, reply icmp.Type
}

var (
	family4 = family{"udp4", "ip4:icmp", "0.0.0.0", 1, ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply}
	family6 = family{"udp6", "ip6:ipv6-icmp", "::", 58, ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply}
)

func familyOf(addr netip.Addr) family {
	if addr.Is6() {
		return family6
	}
	return family4
}

// probeICMP sends one echo request and awaits its reply.
func (v *vantage) probeICMP(ctx context.Context, t *target) error {
	addr := t.Addr.Addr().Unmap()
	if err := v.networks.permit(addr); err != nil { // no dialer opens its sockets
		return err
	}
	rtt, err := sendEcho(ctx, addr)
	if err == nil {
		t.seen.rtt = rtt
	}
	return err
}

// Echo sends one echo request to an address, whatever checks may touch, and awaits its reply until ctx is done.
func Echo(ctx context.Context, addr netip.Addr) error {
	_, err := sendEcho(ctx, addr)
	return err
}

// MayEcho is why Echo is not permitted to this process, in words; nil where it is.
func MayEcho(addr netip.Addr) error {
	c, _, err := familyOf(addr).listen(addr)
	if err == nil {
		c.Close()
	}
	var unable *unableError
	if errors.As(err, &unable) {
		return err
	}
	return nil // that there is no network now is another thing
}

func sendEcho(ctx context.Context, addr netip.Addr) (rtt time.Duration, err error) {
	f := familyOf(addr)
	c, to, err := f.listen(addr)
	if err != nil {
		return 0, plain(err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()

	token := make([]byte, 16) // the kernel sets the identifier of a ping socket: this tells our echo from others
	rand.Read(token)
	request := icmp.Message{Type: f.request, Body: &icmp.Echo{ID: int(token[0])<<8 | int(token[1]), Seq: 1, Data: token}}
	packet, err := request.Marshal(nil) // the kernel sums ICMPv6 up itself
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if _, err := c.WriteTo(packet, to); err != nil {
		return 0, plain(err)
	}
	for buf := make([]byte, 1500); ; {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return 0, plain(err)
		}
		if f.answers(buf[:n], token) && sameHost(from, addr) {
			return time.Since(began), nil
		}
	}
}

// listen opens a ping socket (net.ipv4.ping_group_range, which is of IPv6 too), else a raw one
// (CAP_NET_RAW), and tells how addr is spelt there.
func (f family) listen(addr netip.Addr) (net.PacketConn, net.Addr, error) {
	// The library opens ping sockets so that a command that is started just now would inherit them.
	syscall.ForkLock.RLock()
	c, err := icmp.ListenPacket(f.ping, f.any)
	syscall.ForkLock.RUnlock()
	if err == nil {
		return c, &net.UDPAddr{IP: addr.AsSlice(), Zone: addr.Zone()}, nil
	}
	if !errors.Is(err, syscall.EACCES) && !errors.Is(err, syscall.EPERM) {
		return nil, nil, err
	}
	c, err = icmp.ListenPacket(f.raw, f.any)
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		return nil, nil, &unableError{"icmp is not permitted here: it needs net.ipv4.ping_group_range or CAP_NET_RAW"}
	}
	if err != nil {
		return nil, nil, err
	}
	return c, &net.IPAddr{IP: addr.AsSlice(), Zone: addr.Zone()}, nil
}

// answers says whether a packet is the reply to the request with that token.
func (f family) answers(packet, token []byte) bool {
	m, err := icmp.ParseMessage(f.protocol, packet)
	if err != nil || m.Type != f.reply {
		return false
	}
	echo, ok := m.Body.(*icmp.Echo)
	return ok && bytes.Equal(echo.Data, token)
}

func sameHost(from net.Addr, addr netip.Addr) bool {
	var ip net.IP
	switch from := from.(type) {
	case *net.UDPAddr:
		ip = from.IP
	case *net.IPAddr:
		ip = from.IP
	}
	a, ok := netip.AddrFromSlice(ip)
	return ok && a.Unmap() == addr.WithZone("")
}
