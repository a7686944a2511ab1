package server

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// start serves on cfg.Listen for the time of the test.
func start(t *testing.T, cfg Config) *Server {
	t.Helper()
	cfg.Log = slog.New(slog.DiscardHandler)
	s := New(cfg, testView())
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s
}

func port(s *Server) string { return strconv.Itoa(int(s.Addrs()[0].Port())) }

// TestListenErrors: each says what is wrong, where, and what to do.
func TestListenErrors(t *testing.T) {
	tcp := must(net.Listen("tcp", "127.0.0.1:0"))
	defer tcp.Close()
	// Another process that shares its port is still another process.
	config := net.ListenConfig{Control: func(_, _ string, c rawConn) error { return control(c, setReusePort) }}
	free := must(net.Listen("tcp", "127.0.0.1:0"))
	udp, err := config.ListenPacket(t.Context(), "udp", free.Addr().String())
	if err != nil {
		t.Skip("the port that is free on TCP is in use on UDP: ", err)
	}
	defer udp.Close()
	free.Close()

	tcpPort, udpPort := addrPort(tcp.Addr()).Port(), addrPort(udp.LocalAddr()).Port()
	for _, test := range []struct{ listen, want string }{
		{tcp.Addr().String(), fmt.Sprintf("listen on 127.0.0.1:%d (TCP): the port is in use; see by whom: ss -ltnp 'sport = :%[1]d'", tcpPort)},
		{udp.LocalAddr().String(), fmt.Sprintf("listen on 127.0.0.1:%d (UDP): the port is in use; see by whom: ss -lunp 'sport = :%[1]d'", udpPort)},
		{"203.0.113.77:0", "listen on 203.0.113.77:0 (TCP): the address is not on this host; see those that are: ip address"},
		{"127.0.0.1", `listen on "127.0.0.1": expected host:port or :port`},
	} {
		s := New(Config{Listen: []string{"127.0.0.2:0", test.listen}}, testView())
		err := s.Listen()
		if err == nil || err.Error() != test.want {
			t.Errorf("error %v\nwant  %s", err, test.want)
		}
		if len(s.Addrs()) != 0 || len(s.udp) != 0 {
			t.Errorf("%s: after the error still bound: %v", test.listen, s.Addrs())
		}
	}
}

// TestPrivilegeError needs no privilege to be missing.
func TestPrivilegeError(t *testing.T) {
	denied := &net.OpError{Op: "listen", Err: os.NewSyscallError("bind", unix.EACCES)}
	want := "listen on :53 (TCP): ports below 1024 take a privilege: give the binary cap_net_bind_service " +
		"(setcap cap_net_bind_service=+ep FILE), or its systemd unit AmbientCapabilities=CAP_NET_BIND_SERVICE, " +
		"or choose another port"
	if got := listenError("TCP", ":53", "53", denied).Error(); got != want {
		t.Errorf("error %s\nwant  %s", got, want)
	}
	want = "listen on :5300 (TCP): listen: bind: permission denied"
	if got := listenError("TCP", ":5300", "5300", denied).Error(); got != want {
		t.Errorf("error %s\nwant  %s", got, want)
	}
}

// TestListenTwice: of two servers on one port the second fails, though each shares the port among
// its own sockets; and once the first is gone, the port is free.
func TestListenTwice(t *testing.T) {
	first := New(Config{Listen: []string{"127.0.0.1:0"}, Workers: 2}, testView())
	if err := first.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	second := New(Config{Listen: []string{"127.0.0.1:" + port(first)}, Workers: 2}, testView())
	if err := second.Listen(); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("the second server: %v", err)
	}
	if err := first.Serve(ctx); err != nil {
		t.Fatal(err)
	}
	if err := second.Listen(); err != nil {
		t.Errorf("after the first has gone: %v", err)
	}
	second.Serve(ctx)
}

// hasIPv6 says whether this machine does.
func hasIPv6() bool {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		return false
	}
	l.Close()
	return true
}

// TestFamilies: a host is one family, none is both.
func TestFamilies(t *testing.T) {
	for _, test := range []struct {
		listen     string
		ipv4, ipv6 bool
	}{
		{"127.0.0.1:0", true, false},
		{"localhost:0", true, false},
		{"0.0.0.0:0", true, false},
		{"[::1]:0", false, true},
		{"[::]:0", false, true},
		{":0", true, true},
	} {
		t.Run(test.listen, func(t *testing.T) {
			if test.ipv6 && !hasIPv6() {
				t.Skip("no IPv6 here")
			}
			s := start(t, Config{Listen: []string{test.listen}})
			for _, side := range []struct {
				host string
				want bool
			}{{"127.0.0.1", test.ipv4}, {"::1", test.ipv6}} {
				for _, proto := range []string{"udp", "tcp"} {
					err := exchange(proto, net.JoinHostPort(side.host, port(s)))
					if (err == nil) != side.want {
						t.Errorf("%s to %s: %v", proto, side.host, err)
					}
				}
			}
		})
	}
}

// TestSeveralAddresses: all are bound, each to UDP and TCP on one port.
func TestSeveralAddresses(t *testing.T) {
	s := start(t, Config{Listen: []string{"127.0.0.1:0", "127.0.0.2:0", "127.0.0.1:0"}, Workers: 2})
	addrs := s.Addrs()
	if len(addrs) != 3 || addrs[1].Addr() != netip.MustParseAddr("127.0.0.2") {
		t.Fatalf("bound to %v", addrs)
	}
	for _, a := range addrs {
		for _, proto := range []string{"udp", "tcp"} {
			if err := exchange(proto, a.String()); err != nil {
				t.Errorf("%s to %s: %v", proto, a, err)
			}
		}
	}
	if st := s.Stats(); st.UDP.Results[0] != 3 || st.TCP.Results[0] != 3 || st.Accepted != 3 {
		t.Errorf("counted %+v", st)
	}
}
