package server

import (
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

type rawConn = syscall.RawConn

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// exchange asks for www.example.com and checks what comes back. The client's socket is connected:
// it takes replies from the address that it asked, and no other.
func exchange(proto, addr string) error { return exchangeFrom("", proto, addr) }

func exchangeFrom(local, proto, addr string) error {
	dialer := net.Dialer{LocalAddr: localAddr(proto, local)}
	c, err := dialer.Dial(proto, addr)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	msg := plain("www.example.com")
	if proto == "tcp" {
		msg = frame(msg)
	}
	if _, err := c.Write(msg); err != nil {
		return err
	}
	buf := make([]byte, 2048)
	n, err := c.Read(buf)
	if err != nil {
		return err
	}
	if proto == "tcp" {
		if n < 2 || int(binary.BigEndian.Uint16(buf)) != n-2 {
			return fmt.Errorf("reply %x: not framed, or in pieces", buf[:n])
		}
		buf, n = buf[2:], n-2
	}
	if got, want := shape(buf[:n]), "NOERROR aa 1/2/0/0"; got != want {
		return fmt.Errorf("reply %s, want %s", got, want)
	}
	return nil
}

func localAddr(proto, host string) net.Addr {
	switch {
	case host == "":
		return nil
	case proto == "tcp":
		return &net.TCPAddr{IP: net.ParseIP(host)}
	}
	return &net.UDPAddr{IP: net.ParseIP(host)}
}

// TestAskedAddress: the reply leaves from the address that was asked, of several on the host, also
// where the server listens on all.
func TestAskedAddress(t *testing.T) {
	for _, listen := range []string{":0", "0.0.0.0:0"} {
		s := start(t, Config{Listen: []string{listen}, Workers: 2})
		for _, host := range []string{"127.0.0.1", "127.0.0.2", "127.255.1.1"} {
			if err := exchange("udp", net.JoinHostPort(host, port(s))); err != nil {
				t.Errorf("listening on %s, asked at %s: %v", listen, host, err)
			}
		}
	}
}

// TestWorkers: clients spread over the sockets of one address, and nothing is lost or counted twice.
func TestWorkers(t *testing.T) {
	const clients = 100
	s := start(t, Config{Listen: []string{"127.0.0.1:0"}, Workers: 4})
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			if err := exchange("udp", s.Addrs()[0].String()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	busy := 0
	for _, u := range s.udp {
		if u.worker.count.results[0].Load() > 0 {
			busy++
		}
	}
	if busy != 4 {
		t.Errorf("%d of 4 workers had clients", busy)
	}
	if got := s.Stats().UDP.Results[0]; got != clients {
		t.Errorf("%d queries counted, want %d", got, clients)
	}
}

// TestSilence: what gets no reply does not disturb what comes next, nor does a datagram of more
// than the buffer holds.
func TestSilence(t *testing.T) {
	s := start(t, Config{Listen: []string{"127.0.0.1:0"}})
	c := must(net.Dial("udp", s.Addrs()[0].String()))
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	reply := plain("www.example.com")
	reply[2] |= flagQR
	for _, msg := range [][]byte{nil, {1}, reply, withOPT("www.example.com", opt(1232, edns(65001, make([]byte, 5000)...)))} {
		must(c.Write(msg))
	}
	must(c.Write(plain("www.example.com")))
	buf := make([]byte, 2048)
	for _, want := range []string{"FORMERR 1/0/0/0", "NOERROR aa 1/2/0/0"} {
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if got := shape(buf[:n]); got != want {
			t.Errorf("reply %s, want %s", got, want)
		}
	}
	if got := s.Stats().UDP.Dropped; got != 3 {
		t.Errorf("%d dropped, want 3", got)
	}
}

// TestSource: what is sent along is the control message that came, without the interface; but an
// address of one link needs that.
func TestSource(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"1c000000000000000000000008000000" + "02000000" + "7f000002" + "7f000002", "1c000000000000000000000008000000" + "00000000" + "7f000002" + "7f000002"},
		{"2400000000000000" + "2900000032000000" + "20010db8000000000000000000000001" + "03000000", "2400000000000000" + "2900000032000000" + "20010db8000000000000000000000001" + "00000000"},
		{"2400000000000000" + "2900000032000000" + "fe800000000000000000000000000001" + "03000000", "2400000000000000" + "2900000032000000" + "fe800000000000000000000000000001" + "03000000"},
		{"1400000000000000" + "0000000008000000" + "02000000", ""}, // too short
		{"1400000000000000" + "0000000002000000" + "02000000", ""}, // IP_TTL
		{"", ""},
	} {
		var in []byte
		fmt.Sscanf(test.in, "%x", &in)
		if got := fmt.Sprintf("%x", source(in)); got != test.want {
			t.Errorf("source(%s) = %s, want %s", test.in, got, test.want)
		}
	}
}

// TestNotFragmented: no socket lets the path's MTU make replies fragment (RFC 9715 §3.1, ip(7), ipv6(7)).
func TestNotFragmented(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::1]:0", ":0"} {
		s := New(Config{Listen: []string{listen}, Workers: 2}, testView())
		if err := s.Listen(); err != nil {
			t.Fatal(err)
		}
		for _, u := range s.udp {
			if got, err := unix.GetsockoptInt(u.fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER); err != nil || got != unix.IP_PMTUDISC_OMIT {
				t.Errorf("listening on %s: IP_MTU_DISCOVER %d (%v), expected %d", listen, got, err, unix.IP_PMTUDISC_OMIT)
			}
			if must(unix.GetsockoptInt(u.fd, unix.SOL_SOCKET, unix.SO_DOMAIN)) != unix.AF_INET6 {
				continue
			}
			if got, err := unix.GetsockoptInt(u.fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER); err != nil || got != unix.IPV6_PMTUDISC_OMIT {
				t.Errorf("listening on %s: IPV6_MTU_DISCOVER %d (%v), expected %d", listen, got, err, unix.IPV6_PMTUDISC_OMIT)
			}
		}
		s.Close()
	}
}

// BenchmarkUDP is one client that waits for all replies to so many queries before it asks again. The
// time is that of one query, the client's part included.
func BenchmarkUDP(b *testing.B) {
	for _, queries := range []int{1, batchSize} {
		b.Run(fmt.Sprintf("%d in flight", queries), func(b *testing.B) {
			s := New(Config{Listen: []string{"127.0.0.1:0"}}, testView())
			if err := s.Listen(); err != nil {
				b.Fatal(err)
			}
			go s.udp[0].serve()
			defer s.udp[0].stop()
			c := must(net.Dial("udp", s.Addrs()[0].String()))
			defer c.Close()
			c.SetDeadline(time.Now().Add(time.Minute))
			msg, buf := plain("www.example.com"), make([]byte, 2048)
			b.ReportAllocs()
			for left := b.N; left > 0; left -= queries {
				n := min(queries, left)
				for range n {
					must(c.Write(msg))
				}
				for range n {
					must(c.Read(buf))
				}
			}
		})
	}
}
