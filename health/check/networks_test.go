package check

import (
	"net"
	"net/netip"
	"path/filepath"
	"testing"

	"meridian/health"
)

func prefixes(texts ...string) (list []netip.Prefix) {
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

func TestNetworks(t *testing.T) {
	none := Networks{}
	all := NewNetworks(prefixes("0.0.0.0/0", "::/0"), nil)
	loop := NewNetworks(prefixes("127.0.0.0/8", "::1/128"), prefixes("127.0.0.9/32"))
	only := NewNetworks(prefixes("10.0.0.0/8", "10.1.1.0/24"), prefixes("0.0.0.0/0", "::/0", "10.1.0.0/16", "10.0.0.0/8"))
	mapped := NewNetworks(prefixes("::ffff:169.254.7.0/120"), prefixes("192.0.2.77/24"))
	tests := []struct {
		networks Networks
		addr     string
		want     string // the network and its word; "": allowed
	}{
		{none, "192.0.2.1", ""},
		{none, "2001:db8::1", ""},
		{none, "fd00::1", ""},
		{none, "10.0.0.1", ""},
		{none, "127.0.0.1", "127.0.0.0/8 (loopback)"},
		{none, "127.255.255.255", "127.0.0.0/8 (loopback)"},
		{none, "169.254.169.254", "169.254.0.0/16 (link-local)"},
		{none, "::ffff:169.254.169.254", "169.254.0.0/16 (link-local)"},
		{none, "0.0.0.0", "0.0.0.0/8 (unspecified)"},
		{none, "224.0.0.1", "224.0.0.0/4 (multicast)"},
		{none, "239.255.255.250", "224.0.0.0/4 (multicast)"},
		{none, "255.255.255.255", "255.255.255.255/32 (broadcast)"},
		{none, "::", "::/128 (unspecified)"},
		{none, "::1", "::1/128 (loopback)"},
		{none, "fe80::1", "fe80::/10 (link-local)"},
		{none, "fe80::1%eth0", "fe80::/10 (link-local)"},
		{none, "febf::1", "fe80::/10 (link-local)"},
		{none, "fec0::1", ""},
		{none, "ff02::1", "ff00::/8 (multicast)"},
		{NewNetworks(nil, nil), "127.0.0.1", "127.0.0.0/8 (loopback)"},
		{all, "127.0.0.1", "127.0.0.0/8 (loopback)"}, // said of all, not meant of this
		{all, "192.0.2.1", ""},
		{loop, "127.0.0.1", ""},
		{loop, "127.0.0.9", "127.0.0.9/32 (checker.deny)"},
		{loop, "::1", ""},
		{loop, "169.254.0.1", "169.254.0.0/16 (link-local)"},
		{only, "10.2.0.1", "10.0.0.0/8 (checker.deny)"}, // allowed and denied alike
		{only, "10.1.2.1", "10.1.0.0/16 (checker.deny)"},
		{only, "10.1.1.1", ""},
		{only, "192.0.2.1", "0.0.0.0/0 (checker.deny)"},
		{only, "2001:db8::1", "::/0 (checker.deny)"},
		{mapped, "169.254.7.1", ""},
		{mapped, "169.254.8.1", "169.254.0.0/16 (link-local)"},
		{mapped, "192.0.2.1", "192.0.2.0/24 (checker.deny)"},
	}
	for _, test := range tests {
		addr := netip.MustParseAddr(test.addr)
		got, want := "", ""
		if err := test.networks.permit(addr); err != nil {
			got = err.Error()
		}
		if test.want != "" {
			want = "not checked from here: " + addr.Unmap().WithZone("").String() + " is in " + test.want + ", see checker.allow"
		}
		if got != want {
			t.Errorf("%s: %q, want %q", test.addr, got, want)
		}
	}
}

// Whatever the kind of a check, it does not reach where it must not: the listener gets no connection.
func TestNothingPassesNetworks(t *testing.T) {
	l := listen(t)
	reached := make(chan struct{}, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			reached <- struct{}{}
			c.Close()
		}
	}()
	packets, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	go func() {
		for {
			if _, _, err := packets.ReadFrom(make([]byte, 100)); err != nil {
				return
			}
			reached <- struct{}{}
		}
	}()
	dir := t.TempDir()
	script(t, dir, "touch", "echo reached >"+filepath.Join(dir, "reached"))
	denied := newVantage(Networks{}, dir)
	h := health.HTTP{Host: "a.example"}
	h2 := health.HTTP{Host: "a.example", HTTP2: true}
	for _, c := range []health.Check{
		{TCP: &health.TCP{}}, {TLS: &health.TLS{Certificate: health.Certificate{SNI: "a.example"}}},
		{HTTP: &h}, {HTTP: &h2}, {HTTPS: &health.HTTPS{HTTP: h}}, {HTTPS: &health.HTTPS{HTTP: h2}},
		{GRPC: &health.GRPC{}}, {GRPC: &health.GRPC{TLS: true, Host: "a.example"}},
		{DNS: &health.DNS{Name: "a.example"}}, {ICMP: &health.ICMP{}}, {Exec: &health.Exec{Command: "touch"}},
	} {
		to := at(t, l.Addr(), c)
		to.probe = denied.prober(to.Spec)
		wantWords(t, look(t, to), "not checked from here: 127.0.0.1 is in 127.0.0.0/8 (loopback), see checker.allow")
	}
	// What was sent before a connection that is allowed has come before it.
	look(t, at(t, l.Addr(), health.Check{TCP: &health.TCP{}}))
	<-reached
	if len(reached) > 0 {
		t.Error("a check reached what it must not")
	}
	if matches, _ := filepath.Glob(filepath.Join(dir, "reached")); matches != nil {
		t.Error("the command was run")
	}
}
