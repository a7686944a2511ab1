package check

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"

	"meridian/health"
	"meridian/spec"
)

func ping(t *testing.T, addr string, timeout spec.Duration) *target {
	t.Helper()
	c := &health.Check{ICMP: &health.ICMP{}, Timeout: timeout}
	if err := c.Complete(); err != nil {
		t.Fatal(err)
	}
	id := health.TargetID{Check: "ping", Addr: netip.AddrPortFrom(netip.MustParseAddr(addr), 0)}
	v := newVantage(NewNetworks(prefixes("127.0.0.0/8", "::1/128", "255.255.255.255/32"), nil), "")
	return &target{Target: health.Target{TargetID: id, Spec: c}, probe: v.prober(c)}
}

// hasIPv6 says whether the loopback has an address of IPv6.
func hasIPv6() bool {
	c, err := net.ListenPacket("udp6", "[::1]:0")
	if err == nil {
		c.Close()
	}
	return err == nil
}

func TestICMP(t *testing.T) {
	for _, addr := range []string{"127.0.0.1", "127.1.2.3", "::ffff:127.0.0.1", "::1"} {
		t.Run(addr, func(t *testing.T) {
			to := ping(t, addr, 0)
			err := look(t, to)
			var unable *unableError
			if errors.As(err, &unable) && os.Geteuid() != 0 {
				t.Skip(err) // who is not root may be forbidden to
			}
			if addr == "::1" && !hasIPv6() {
				t.Skip("no IPv6 on the loopback")
			}
			wantWords(t, err, "")
			if to.seen.rtt <= 0 || to.seen.rtt > time.Minute {
				t.Errorf("round trip %v", to.seen.rtt)
			}
		})
	}
	t.Run("refused by the kernel", func(t *testing.T) {
		err := look(t, ping(t, "255.255.255.255", 0)) // of a socket that may not broadcast
		if err == nil {
			t.Error("success, want an error")
		}
	})
}

// Echo touches what no check may.
func TestEcho(t *testing.T) {
	addr := netip.MustParseAddr("127.0.0.1")
	if err := MayEcho(addr); errors.As(err, new(*unableError)) && os.Geteuid() != 0 {
		t.Skip(err) // who is not root may be forbidden to
	} else if err != nil {
		t.Fatal(err)
	}
	if err := Echo(t.Context(), addr); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := Echo(ctx, netip.MustParseAddr("fe80::1%nowhere")); err == nil {
		t.Error("success on an interface that is not there")
	}
}

// Only the reply to this request counts.
func TestICMPReplies(t *testing.T) {
	token := []byte("0123456789abcdef")
	packet := func(kind icmp.Type, data string) []byte {
		m := icmp.Message{Type: kind, Body: &icmp.Echo{ID: 1, Seq: 1, Data: []byte(data)}}
		b, err := m.Marshal(nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, test := range []struct {
		name   string
		packet []byte
		want   bool
	}{
		{"the reply", packet(ipv4.ICMPTypeEchoReply, string(token)), true},
		{"our own request", packet(ipv4.ICMPTypeEcho, string(token)), false},
		{"another's reply", packet(ipv4.ICMPTypeEchoReply, "fedcba9876543210"), false},
		{"a shorter reply", packet(ipv4.ICMPTypeEchoReply, "0123"), false},
		{"nothing", nil, false},
		{"garbage", []byte{0, 0, 0}, false},
	} {
		if got := family4.answers(test.packet, token); got != test.want {
			t.Errorf("%s: answers = %t, want %t", test.name, got, test.want)
		}
	}
}
