//go:build faults

package main

import (
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// TestFaultWire holds the wire to its delays, cuts and losses, and hosts to what dies how.
func TestFaultWire(t *testing.T) {
	needsNamespaces(t)
	w := newWire(rand.New(rand.NewPCG(*faultSeed, 0)))
	t.Cleanup(w.close)
	a, b := newHost(t, w, "a"), newHost(t, w, "b")
	const delay = 40 * time.Millisecond
	w.join(a, b, way{delay: delay})
	for _, c := range []struct {
		name string
		addr netip.Addr
		nets func(*host) []netip.Prefix
	}{
		{"IPv4", b.addr4(1), func(h *host) []netip.Prefix { return []netip.Prefix{h.net4()} }},
		{"IPv4, an address of its network", b.addr4(999), func(h *host) []netip.Prefix { return []netip.Prefix{h.net4()} }},
		{"IPv6", b.addr6(2), func(h *host) []netip.Prefix { return []netip.Prefix{h.net6()} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := netip.AddrPortFrom(c.addr, 80)
			l, err := b.listen(at)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			began := time.Now()
			one, err := a.dial(t.Context(), "tcp", at.String())
			if err != nil {
				t.Fatal(err)
			}
			defer one.Close()
			if took := time.Since(began); took < 2*delay {
				t.Errorf("connected after %v, expected two ways of %v", took, delay)
			}
			other, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			passes := func(wait time.Duration) bool {
				t.Helper()
				if _, err := other.Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
				one.SetReadDeadline(time.Now().Add(wait))
				_, err := io.ReadFull(one, make([]byte, 1))
				return err == nil
			}
			if !passes(patience) {
				t.Fatal("nothing passes")
			}
			foreign := w.cut([]netip.Prefix{netip.MustParsePrefix("10.99.0.0/16"), netip.MustParsePrefix("fd00:99::/32")}, everywhere)
			if !passes(patience) {
				t.Error("nothing passes, though others are cut off")
			}
			foreign()
			heal := w.cut(c.nets(b), everywhere)
			if passes(4 * delay) {
				t.Error("it passes through a cut")
			}
			heal()
			one.SetReadDeadline(time.Now().Add(patience))
			if _, err := io.ReadFull(one, make([]byte, 1)); err != nil {
				t.Errorf("what was sent during a cut does not come after it: %v", err)
			}
			other.Close()
			one.SetReadDeadline(time.Now().Add(patience))
			if _, err := one.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "connection reset") {
				t.Errorf("after a close: %v, expected a reset", err)
			}
			l.Close()
			if c, err := a.dial(t.Context(), "tcp", at.String()); err == nil || !strings.Contains(err.Error(), "refused") {
				t.Errorf("nobody listens: %v %v, expected a refusal", c, err)
			}
		})
	}
	t.Run("losses", func(t *testing.T) {
		const sent, loss = 1000, 0.3
		w.join(a, b, way{loss: loss})
		var in net.PacketConn
		var err error
		b.in(func() { in, err = net.ListenPacket("udp", b.at(53)) })
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		before := w.counted()
		out, err := a.dial(t.Context(), "udp", b.at(53))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		var got []byte
		buffer := make([]byte, 10)
		for i := range sent {
			lost := w.counted().lost
			out.Write([]byte{byte(i)})
			for {
				in.SetReadDeadline(time.Now().Add(time.Millisecond))
				if n, _, err := in.ReadFrom(buffer); err == nil {
					got = append(got, buffer[:n]...)
					break
				}
				if w.counted().lost > lost {
					break
				}
			}
		}
		lost := int(w.counted().lost - before.lost)
		if lost+len(got) != sent || lost < sent*loss/2 || lost > sent*loss*2 {
			t.Errorf("of %d datagrams %d came and %d were lost, expected about %v", sent, len(got), lost, sent*loss)
		}
	})
}
