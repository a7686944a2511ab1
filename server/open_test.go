package server

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestMaxPerClient: beyond TCPMaxPerClient the client's own connection goes whose last message is
// longest ago, nobody else's.
func TestMaxPerClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{TCPMax: 100, TCPMaxPerClient: 2, TCPIdle: time.Hour}, testView())
		t.Cleanup(s.tcp.stop)
		connect := func(client string) net.Conn {
			near, far := net.Pipe()
			t.Cleanup(func() { near.Close() })
			near.SetDeadline(time.Now().Add(time.Minute))
			s.tcp.start(far, netip.MustParseAddr(client))
			time.Sleep(time.Second)
			return near
		}
		answered := func(conns ...net.Conn) {
			t.Helper()
			for _, c := range conns {
				must(c.Write(frame(plain("www.example.com"))))
				wantReply(t, c, found)
			}
		}
		other := connect("203.0.113.8")
		first, second := connect("203.0.113.9"), connect("203.0.113.9")
		answered(first)
		third := connect("203.0.113.9")
		wantClosed(t, second)
		answered(other, first, third)

		first6, second6 := connect("2001:db8::1"), connect("2001:db8::ffff:0:0:1")
		other6 := connect("2001:db8:0:1::1")
		third6 := connect("2001:db8::3")
		wantClosed(t, first6)
		answered(other, first, third, second6, other6, third6)

		st := s.Stats()
		if st.Open != 6 || st.Accepted != 8 || st.Evicted != 0 || st.EvictedOfClient != 2 {
			t.Errorf("%d open, %d accepted, %d and %d evicted", st.Open, st.Accepted, st.Evicted, st.EvictedOfClient)
		}
		for _, c := range []net.Conn{first, third} {
			c.Close()
		}
		synctest.Wait()
		fourth, fifth := connect("203.0.113.9"), connect("203.0.113.9")
		answered(fourth, fifth)
	})
}

// TestOpenStreams holds the lists to a plain slice, and to leaving nothing behind.
func TestOpenStreams(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	open := newOpenStreams()
	var model, gone []*stream
	for range 10000 {
		switch n := random.IntN(4); {
		case n < 2 && len(model) < 50:
			s := &stream{client: netip.AddrFrom4([4]byte{192, 0, 2, byte(random.IntN(5))})}
			open.add(s)
			model = append(model, s)
		case n == 2 && len(model) > 0:
			i := random.IntN(len(model))
			s := model[i]
			open.toBack(s)
			model = append(slices.Delete(model, i, i+1), s)
		case len(model) > 0:
			i := random.IntN(len(model))
			open.remove(model[i])
			gone, model = append(gone, model[i]), slices.Delete(model, i, i+1)
		}
		if len(gone) > 0 { // what was removed stays so
			open.toBack(gone[random.IntN(len(gone))])
			open.remove(gone[random.IntN(len(gone))])
		}
		if got := slices.Collect(open.each); !slices.Equal(got, model) {
			t.Fatalf("%d connections, want %d, or in another order", len(got), len(model))
		}
		clients := map[netip.Prefix][]*stream{}
		for _, s := range model {
			clients[s.network()] = append(clients[s.network()], s)
		}
		for client, want := range clients {
			var got []*stream
			for e := open.clients[client].Front(); e != nil; e = e.Next() {
				got = append(got, e.Value.(*stream))
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%v has %d connections, want %d, or in another order", client, len(got), len(want))
			}
		}
		if len(open.clients) != len(clients) {
			t.Fatalf("%d clients, want %d", len(open.clients), len(clients))
		}
	}
}

// TestSlowClients: whoever keeps connections without asking, in the middle of a message, or
// without taking the replies, shuts out neither others nor himself, nor those who ask over UDP.
func TestSlowClients(t *testing.T) {
	s := start(t, Config{Listen: []string{"127.0.0.1:0"}, TCPMax: 200, TCPMaxPerClient: 20, TCPIdle: time.Hour})
	addr := s.Addrs()[0].String()
	query := frame(plain("www.example.com"))
	huge := frame(typed("huge.example.com", 16)) // 50 KB each
	kinds := [][]byte{nil, query[:1], query[:2], query[:len(query)-1], {255, 255, 0}, slices.Repeat(huge, 100)}
	open := func(from string, n int) {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		for i := range n {
			c := must(dialer.Dial("tcp", addr)).(*net.TCPConn)
			t.Cleanup(func() { c.Close() })
			c.SetReadBuffer(1) // as little as the kernel gives
			c.Write(kinds[i%len(kinds)])
		}
	}
	check := func(when string) {
		t.Helper()
		for _, from := range []string{"127.0.0.1", "127.0.1.1", "127.0.2.1"} {
			for _, proto := range []string{"tcp", "udp"} {
				if err := exchangeFrom(from, proto, addr); err != nil {
					t.Errorf("%s: from %s over %s: %v", when, from, proto, err)
				}
			}
		}
	}
	open("127.0.1.1", 150)
	check("150 of one client")
	if st := s.Stats(); st.Evicted > 0 || st.EvictedOfClient < 130 {
		t.Errorf("%d evicted, and %d of one client", st.Evicted, st.EvictedOfClient)
	}
	others := 97 // 5,000 connections in all
	if raceEnabled {
		others = 15
	}
	for i := range others {
		open(fmt.Sprintf("127.0.2.%d", 1+i), 50)
	}
	check(fmt.Sprintf("and 50 of each of %d others", others))
	if st := s.Stats(); st.Evicted < 100 || st.Open > 200 {
		t.Errorf("%d evicted, %d open", st.Evicted, st.Open)
	}
}
