package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Listen binds all sockets, or none and says which one failed.
func (s *Server) Listen() error {
	for _, addr := range s.cfg.Listen {
		if err := s.listen(addr); err != nil {
			s.Close()
			s.udp, s.tcp.listeners = nil, nil
			return err
		}
	}
	return nil
}

// Close lets go of what Listen has bound, where Serve is not to be called.
func (s *Server) Close() {
	for _, u := range s.udp {
		u.close()
	}
	for _, l := range s.tcp.listeners {
		l.Close()
	}
}

// listen binds TCP and then UDP on the same port. Where that is any free port, one that is free on
// TCP may be in use on UDP.
func (s *Server) listen(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("listen on %q: expected host:port or :port", addr)
	}
	for try := 0; ; try++ {
		l, err := listenTCP(host, port)
		if err != nil {
			return listenError("TCP", addr, port, err)
		}
		bound := addrPort(l.Addr())
		conns, err := listenUDP(host, bound, s.cfg.Workers)
		if err == nil {
			err = s.addUDP(conns)
		}
		if err == nil {
			s.tcp.listeners = append(s.tcp.listeners, l)
			return nil
		}
		l.Close()
		if port != "0" || try == 10 || !errors.Is(err, unix.EADDRINUSE) {
			return listenError("UDP", addr, strconv.Itoa(int(bound.Port())), err)
		}
	}
}

// addUDP makes workers for conns, all or none, and has taken those over in any case.
func (s *Server) addUDP(conns []*net.UDPConn) (err error) {
	var sockets []*udpSocket
	for _, c := range conns {
		if err != nil {
			c.Close()
			continue
		}
		var u *udpSocket
		if u, err = newUDPSocket(c, s.cfg.Log, newWorker(s.view, s.self, new(counters), false)); err == nil {
			sockets = append(sockets, u)
		}
	}
	if err != nil {
		for _, u := range sockets {
			u.close()
		}
		return err
	}
	s.udp = append(s.udp, sockets...)
	return nil
}

// network is "tcp" or "udp" with the family that host stands for: without one, package net takes
// 0.0.0.0 for both.
func network(proto, host string) string {
	ip, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return proto
	case ip.Is4():
		return proto + "4"
	}
	return proto + "6"
}

func listenTCP(host, port string) (*net.TCPListener, error) {
	l, err := net.Listen(network("tcp", host), net.JoinHostPort(host, port))
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// listenUDP binds n sockets to one address; the kernel spreads the clients over them.
func listenUDP(host string, bound netip.AddrPort, n int) (conns []*net.UDPConn, err error) {
	addr := net.JoinHostPort("", strconv.Itoa(int(bound.Port())))
	if host != "" {
		host, addr = bound.Addr().String(), bound.String()
	}
	defer func() {
		if err != nil {
			for _, c := range conns {
				c.Close()
			}
		}
	}()
	for i := range n {
		config := net.ListenConfig{Control: func(network, address string, raw syscall.RawConn) error {
			return control(raw, func(fd int) error { return setUDPOptions(fd, network, bound.Addr().IsUnspecified(), i > 0) })
		}}
		c, err := config.ListenPacket(context.Background(), network("udp", host), addr)
		if err != nil {
			return conns, err
		}
		conn := c.(*net.UDPConn)
		conns = append(conns, conn)
		raw, err := conn.SyscallConn()
		if err != nil {
			return conns, err
		}
		// The first socket binds alone: if another process has the port, that is an error, even
		// where it would share it. Only from here on may others join.
		if err := control(raw, setReusePort); err != nil {
			return conns, err
		}
		const burst = 4 << 20 // bytes: some 20 ms of queries as fast as one core answers them; the kernel gives what it allows
		if err := conn.SetReadBuffer(burst); err != nil {
			return conns, err
		}
		// What waits for addresses that nobody answers for must not fill it: the kernel keeps 208 KiB for each.
		if err := conn.SetWriteBuffer(burst); err != nil {
			return conns, err
		}
	}
	return conns, nil
}

func control(raw syscall.RawConn, f func(fd int) error) error {
	var err error
	if rawErr := raw.Control(func(fd uintptr) { err = f(int(fd)) }); rawErr != nil {
		return rawErr
	}
	return err
}

func setReusePort(fd int) error {
	return option1(fd, "SO_REUSEPORT", unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
}

// setUDPOptions prepares a socket of network "udp4" or "udp6" before it is bound. wildcard: it
// is asked to tell, for each datagram, which address was asked. join: others have the port.
func setUDPOptions(fd int, network string, wildcard, join bool) error {
	// A forged "fragmentation needed" must not make replies of this size fragment (RFC 9715 §3.1).
	err := option1(fd, "IP_MTU_DISCOVER", unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_OMIT)
	if err == nil && network == "udp6" {
		err = option1(fd, "IPV6_MTU_DISCOVER", unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_OMIT)
	}
	if err == nil && wildcard {
		if network == "udp6" {
			err = option1(fd, "IPV6_RECVPKTINFO", unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		} else {
			err = option1(fd, "IP_PKTINFO", unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		}
	}
	if err == nil && join {
		err = setReusePort(fd)
	}
	return err
}

func option1(fd int, name string, level, opt, value int) error {
	if err := unix.SetsockoptInt(fd, level, opt, value); err != nil {
		return fmt.Errorf("set %s: %w", name, err)
	}
	return nil
}

// listenError says what stands in the way of proto on addr, and what can be done.
func listenError(proto, addr, port string, err error) error {
	const privileged = 1024
	number, _ := strconv.Atoi(port)
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		flag := map[string]string{"UDP": "u", "TCP": "t"}[proto]
		return fmt.Errorf("listen on %s (%s): the port is in use; see by whom: ss -l%snp 'sport = :%s'", addr, proto, flag, port)
	case errors.Is(err, unix.EACCES) && number < privileged:
		return fmt.Errorf("listen on %s (%s): ports below %d take a privilege: give the binary cap_net_bind_service "+
			"(setcap cap_net_bind_service=+ep FILE), or its systemd unit AmbientCapabilities=CAP_NET_BIND_SERVICE, "+
			"or choose another port", addr, proto, privileged)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("listen on %s (%s): the address is not on this host; see those that are: ip address", addr, proto)
	}
	return fmt.Errorf("listen on %s (%s): %w", addr, proto, err)
}

func addrPort(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := a.(type) {
	case *net.TCPAddr:
		ap = a.AddrPort()
	case *net.UDPAddr:
		ap = a.AddrPort()
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
