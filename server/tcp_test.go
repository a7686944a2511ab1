package server

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// frame is a message as TCP carries it.
func frame(msg []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
}

// unframe reads one message.
func unframe(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	msg := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(r, msg)
	return msg, err
}

func dial(t *testing.T, s *Server) *net.TCPConn {
	t.Helper()
	c := must(net.Dial("tcp", s.Addrs()[0].String())).(*net.TCPConn)
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

func wantReply(t *testing.T, r io.Reader, want string) {
	t.Helper()
	msg, err := unframe(r)
	if err != nil {
		t.Fatalf("no reply: %v", err)
	}
	if got := shape(msg); got != want {
		t.Fatalf("reply %s, want %s", got, want)
	}
}

func wantClosed(t *testing.T, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the connection is open: %d bytes, %v", n, err)
	}
}

const found = "NOERROR aa 1/2/0/0"

// TestPipelining: RFC 7766 §6.2.1.1.
func TestPipelining(t *testing.T) {
	c := dial(t, start(t, Config{Listen: []string{"127.0.0.1:0"}}))
	var all []byte
	for i := range 50 {
		msg := plain("www.example.com")
		binary.BigEndian.PutUint16(msg, uint16(i))
		all = append(all, frame(msg)...)
	}
	must(c.Write(all))
	for i := range 50 {
		msg, err := unframe(c)
		if err != nil {
			t.Fatal(err)
		}
		if got := binary.BigEndian.Uint16(msg); int(got) != i {
			t.Fatalf("reply %d has id %d", i, got)
		}
	}
}

// TestDribble: a message may come in any pieces (RFC 7766 §8).
func TestDribble(t *testing.T) {
	c := dial(t, start(t, Config{Listen: []string{"127.0.0.1:0"}}))
	for range 2 {
		for _, b := range frame(plain("www.example.com")) {
			must(c.Write([]byte{b}))
		}
		wantReply(t, c, found)
	}
}

// TestHalfClose: a client that has said all it wants is still answered.
func TestHalfClose(t *testing.T) {
	c := dial(t, start(t, Config{Listen: []string{"127.0.0.1:0"}}))
	must(c.Write(frame(plain("www.example.com"))))
	c.CloseWrite()
	wantReply(t, c, found)
	wantClosed(t, c)
}

// TestWholeOverTCP: what UDP truncates, TCP carries (RFC 7766 §5), and so large a message too.
func TestWholeOverTCP(t *testing.T) {
	c := dial(t, start(t, Config{Listen: []string{"127.0.0.1:0"}}))
	for _, test := range []struct {
		msg  []byte
		want string
	}{
		{plain("big.example.com"), "NOERROR aa 1/95/0/0"},
		{typed("huge.example.com", 16), "NOERROR aa 1/200/0/0"},
		{withOPT("www.example.com", opt(512, edns(65001, make([]byte, 60000)...))), "NOERROR aa 1/2/0/1" + optOut},
	} {
		must(c.Write(frame(test.msg)))
		wantReply(t, c, test.want)
	}
}

// TestNoDNS: whoever sends what gets no reply is not waited for.
func TestNoDNS(t *testing.T) {
	s := start(t, Config{Listen: []string{"127.0.0.1:0"}})
	reply := plain("www.example.com")
	reply[2] |= flagQR
	for _, msg := range [][]byte{nil, []byte("GET / HTTP/1.1\r\n")[:11], reply} {
		c := dial(t, s)
		must(c.Write(frame(msg)))
		wantClosed(t, c)
	}
}

// piped gives both ends of a connection that is served in memory, in a bubble of synctest.
func piped(t *testing.T, cfg Config) (*streams, func() net.Conn) {
	t.Helper()
	s := New(cfg, testView())
	t.Cleanup(s.tcp.stop)
	return s.tcp, func() net.Conn {
		client, server := net.Pipe()
		t.Cleanup(func() { client.Close() })
		s.tcp.start(server, netip.MustParseAddr("203.0.113.9"))
		return client
	}
}

// TestIdle: a connection may take TCPIdle for each message, not for each byte.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, connect := piped(t, Config{TCPIdle: 10 * time.Second})
		begin := time.Now()
		after := func(c net.Conn, want time.Duration) {
			t.Helper()
			wantClosed(t, c)
			if got := time.Since(begin); got != want {
				t.Errorf("closed after %v, want %v", got, want)
			}
		}
		silent := connect()
		after(silent, 10*time.Second)

		begin = time.Now()
		c := connect()
		for range 3 {
			time.Sleep(9 * time.Second)
			must(c.Write(frame(plain("www.example.com"))))
			wantReply(t, c, found)
		}
		after(c, 37*time.Second)

		begin = time.Now()
		slow := connect()
		for _, b := range frame(plain("www.example.com"))[:9] {
			time.Sleep(time.Second)
			must(slow.Write([]byte{b}))
		}
		after(slow, 10*time.Second)
	})
}

// TestDribbleHoldsLittle: room for a message is not taken before there is one.
func TestDribbleHoldsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, connect := piped(t, Config{})
		made := 0
		newSession := s.sessions.New
		s.sessions.New = func() any { made++; return newSession() }
		query := frame(plain("www.example.com"))
		large := frame(withOPT("www.example.com", opt(512, edns(65001, make([]byte, 5000)...))))
		for _, part := range [][]byte{query[:1], query[:2], query[:len(query)-1], large[:2], large[:readAhead-1]} {
			c := connect()
			must(c.Write(part))
			synctest.Wait()
			if made != 0 {
				t.Errorf("taken after %d bytes", len(part))
			}
		}
		c := connect()
		must(c.Write(large))
		wantReply(t, c, "NOERROR aa 1/2/0/1"+optOut)
		if made == 0 {
			t.Error("none taken for a message")
		}
	})
}

// TestSlowReader: a client that does not take its reply is given up.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, connect := piped(t, Config{TCPIdle: 10 * time.Second})
		c := connect()
		must(c.Write(frame(plain("www.example.com"))))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if s.openCount() != 0 || s.count.sendErrors.Load() != 1 {
			t.Errorf("%d connections open, %d send errors", s.openCount(), s.count.sendErrors.Load())
		}
	})
}

// TestMax: beyond TCPMax the connection goes whose last message is longest ago.
func TestMax(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, connect := piped(t, Config{TCPMax: 3, TCPIdle: time.Minute})
		first := connect()
		time.Sleep(time.Second)
		second := connect()
		time.Sleep(time.Second)
		third := connect()
		time.Sleep(time.Second)
		must(first.Write(frame(plain("www.example.com"))))
		wantReply(t, first, found)

		fourth := connect()
		wantClosed(t, second)
		for _, c := range []net.Conn{first, third, fourth} {
			must(c.Write(frame(plain("www.example.com"))))
			wantReply(t, c, found)
		}
		if s.openCount() != 3 || s.accepted.Load() != 4 || s.evicted.Load() != 1 {
			t.Errorf("%d open, %d accepted, %d evicted", s.openCount(), s.accepted.Load(), s.evicted.Load())
		}
	})
}

// TestStop: connections that wait are closed at once; a query that was read is answered; a client
// that does not take its reply has until the end of the grace.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, connect := piped(t, Config{TCPIdle: time.Minute})
		waiting, asking, deaf := connect(), connect(), connect()
		must(asking.Write(append(frame(plain("www.example.com")), frame(plain("www.example.com"))...)))
		must(deaf.Write(frame(plain("www.example.com"))))
		synctest.Wait() // both are in the middle of a reply

		begin := time.Now()
		stopped := make(chan time.Duration)
		go func() {
			s.stop()
			stopped <- time.Since(begin)
		}()
		synctest.Wait()
		wantClosed(t, waiting)
		wantReply(t, asking, found)
		wantReply(t, asking, found)
		wantClosed(t, asking)
		if got := time.Since(begin); got != 0 {
			t.Errorf("that took %v", got)
		}
		if got := <-stopped; got != grace {
			t.Errorf("stopped after %v, want %v", got, grace)
		}
		late := connect()
		wantClosed(t, late)
	})
}

// TestServeEnds: on real sockets, with a connection that waits, in much less than the idle time.
func TestServeEnds(t *testing.T) {
	s := New(Config{Listen: []string{"127.0.0.1:0"}, Workers: 2, TCPIdle: time.Hour}, testView())
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Serve(ctx) }()
	c := dial(t, s)
	must(c.Write(frame(plain("www.example.com"))))
	wantReply(t, c, found)
	cancel()
	wantClosed(t, c)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", s.Addrs()[0].String()); err == nil {
		t.Error("the port is still served")
	}
}
