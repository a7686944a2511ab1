package server

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"runtime/metrics"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"meridian/zones"
)

// numbered is msg with another id.
func numbered(msg []byte, id uint16) []byte {
	msg = append([]byte(nil), msg...)
	binary.BigEndian.PutUint16(msg, id)
	return msg
}

// wantIDs reads replies with these ids from c, in this order, and returns how long they are.
func wantIDs(t *testing.T, c net.Conn, ids ...uint16) (sizes []int) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 2048)
	for _, want := range ids {
		n, err := c.Read(buf)
		if err != nil {
			t.Fatalf("waiting for reply %d: %v", want, err)
		}
		if got := binary.BigEndian.Uint16(buf); n < headerSize || got != want {
			t.Fatalf("reply %d of %d bytes, want %d", got, n, want)
		}
		sizes = append(sizes, n)
	}
	return sizes
}

// bound has sockets of a server that does not serve yet.
func bound(t *testing.T, listen string) *Server {
	t.Helper()
	s := New(Config{Listen: []string{listen}, Log: slog.New(slog.DiscardHandler)}, testView())
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// serving has s serve for the time of the test.
func serving(t *testing.T, s *Server) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(patience):
			t.Error("Serve does not end")
		}
	})
	t.Cleanup(stop)
	return stop
}

// TestBatch: what waits is received at once, with the address that each came from.
func TestBatch(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "[::1]:0", ":0"} {
		if listen != "127.0.0.1:0" && !hasIPv6() {
			continue
		}
		s := bound(t, listen)
		host := s.Addrs()[0].Addr().String()
		if listen == ":0" {
			host = "127.0.0.3"
		}
		c := must(net.Dial("udp", net.JoinHostPort(host, port(s))))
		defer c.Close()
		const queries = batchSize + 3
		for i := range queries {
			must(c.Write(numbered(plain("www.example.com"), uint16(i))))
		}
		b := newBatch()
		want := addrPort(c.LocalAddr()).Addr()
		id := 0
		for _, count := range []int{batchSize, queries - batchSize} {
			if n, err := b.receive(s.udp[0].fd); n != count || err != nil {
				t.Fatalf("received %d (%v), want %d", n, err, count)
			}
			for i := range count {
				buf, n := b.query(i)
				if n != len(plain("www.example.com")) || int(binary.BigEndian.Uint16(buf)) != id || b.client(i) != want {
					t.Errorf("listening on %s: query %d: %d bytes, id %d, from %s", listen, id, n, binary.BigEndian.Uint16(buf), b.client(i))
				}
				id++
			}
		}
	}
}

// TestBatchPassesOver: a reply that cannot be sent costs none of the others.
func TestBatchPassesOver(t *testing.T) {
	s := bound(t, "127.0.0.1:0")
	c := must(net.Dial("udp", s.Addrs()[0].String()))
	defer c.Close()
	const queries = 8
	for i := range queries {
		must(c.Write(numbered(plain("www.example.com"), uint16(i))))
	}
	b := newBatch()
	n, err := b.receive(s.udp[0].fd)
	if n != queries || err != nil {
		t.Fatalf("received %d (%v), want %d", n, err, queries)
	}
	for i := range n {
		switch i {
		case 0, 3, 4: // EINVAL: no port
			b.datagrams[i].client.Port = 0
		case 7: // EAFNOSUPPORT
			b.datagrams[i].client.Family = 0xff
		case 5: // not replied to
			continue
		}
		b.reply(i, headerSize)
	}
	if failed, err := b.send(s.udp[0].fd); failed != 4 || err != nil {
		t.Errorf("%d replies failed (%v), want 4", failed, err)
	}
	wantIDs(t, c, 1, 2, 6)
}

// TestCoalesce: replies of one size to one client go as one message, and arrive as they are; also
// where the kernel cannot send them so.
func TestCoalesce(t *testing.T) {
	for _, test := range []struct {
		listen, host string
		refused      bool
	}{{"127.0.0.1:0", "127.0.0.1", false}, {"127.0.0.1:0", "127.0.0.1", true}, {"0.0.0.0:0", "127.0.0.2", false}, {":0", "127.0.0.2", false}, {"[::]:0", "::1", false}} {
		if !hasIPv6() && (test.listen[0] == '[' || test.listen[0] == ':') {
			continue
		}
		s := bound(t, test.listen)
		fd := s.udp[0].fd
		if test.refused { // without a checksum there is no UDP_SEGMENT
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1); err != nil {
				t.Fatal(err)
			}
		}
		one := must(net.Dial("udp", net.JoinHostPort(test.host, port(s))))
		two := must(net.Dial("udp", net.JoinHostPort(test.host, port(s))))
		defer one.Close()
		defer two.Close()
		for i, c := range []net.Conn{one, one, two, one, two, one} {
			must(c.Write(numbered(plain("www.example.com"), uint16(i))))
		}
		b := newBatch()
		if n, err := b.receive(fd); n != 6 || err != nil {
			t.Fatalf("received %d (%v), want 6", n, err)
		}
		for i, size := range []int{100, 100, 100, 200, 100, 100} {
			b.reply(i, size)
		}
		if b.queued != 3 {
			t.Errorf("listening on %s: %d messages, want 3: one of 100 bytes to each client, one of 200", test.listen, b.queued)
		}
		if failed, err := b.send(fd); failed != 0 || err != nil || b.pending() != 0 {
			t.Errorf("listening on %s: %d replies failed (%v)", test.listen, failed, err)
		}
		if wantPacked := map[bool]int{false: 3, true: 6}[test.refused]; b.packed != wantPacked {
			t.Errorf("listening on %s: sent as %d messages, want %d", test.listen, b.packed, wantPacked)
		}
		sizes := [][]int{wantIDs(t, one, 0, 1, 5, 3), wantIDs(t, two, 2, 4)}
		if want := "[[100 100 100 200] [100 100]]"; fmt.Sprint(sizes) != want {
			t.Errorf("listening on %s: replies of %v bytes, want %s", test.listen, sizes, want)
		}
	}
}

// TestUnlike: replies that differ in client or in the address asked, if in nothing else, are not one message.
func TestUnlike(t *testing.T) {
	to := func(port uint16, last byte) (a unix.RawSockaddrInet6) {
		a.Family, a.Port, a.Addr[15] = unix.AF_INET6, port, last
		return a
	}
	tests := map[string]struct {
		one, two unix.RawSockaddrInet6
		asked    [2]byte // last byte of the address asked
		want     int     // messages
	}{
		"alike":         {to(7, 1), to(7, 1), [2]byte{1, 1}, 1},
		"other port":    {to(7, 1), to(8, 1), [2]byte{1, 1}, 2},
		"other client":  {to(7, 1), to(7, 2), [2]byte{1, 1}, 2},
		"other address": {to(7, 1), to(7, 1), [2]byte{1, 2}, 2},
	}
	for name, test := range tests {
		b := newBatch()
		for i, client := range []unix.RawSockaddrInet6{test.one, test.two} {
			control := unix.PktInfo6(&unix.Inet6Pktinfo{Addr: [16]byte{15: test.asked[i]}})
			b.datagrams[i].client = client
			b.in[i].Hdr.SetControllen(copy(b.datagrams[i].control[:], control))
			b.reply(i, 100)
		}
		if b.queued != test.want {
			t.Errorf("%s: %d messages, want %d", name, b.queued, test.want)
		}
	}
}

// TestUnpackLater: where a message is refused behind one that was sent, that one is not sent again.
func TestUnpackLater(t *testing.T) {
	s := bound(t, "127.0.0.1:0")
	c := must(net.Dial("udp", s.Addrs()[0].String()))
	defer c.Close()
	for i := range 7 {
		must(c.Write(numbered(plain("www.example.com"), uint16(i))))
	}
	b := newBatch()
	if n, err := b.receive(s.udp[0].fd); n != 7 || err != nil {
		t.Fatalf("received %d (%v), want 7", n, err)
	}
	for i, size := range []int{100, 100, 200, 200, 300, 300, 100} {
		if size == 200 {
			b.datagrams[i].client.Port = 0 // EINVAL
		}
		b.reply(i, size)
	}
	if failed, err := b.send(s.udp[0].fd); failed != 2 || err != nil {
		t.Errorf("%d replies failed (%v), want 2", failed, err)
	}
	wantIDs(t, c, 0, 1, 6, 4, 5)
	c.SetReadDeadline(time.Now())
	if n, err := c.Read(make([]byte, 2048)); err == nil {
		t.Errorf("one more, of %d bytes", n)
	}
}

// TestBatchWaits: where the socket takes no more, what is left stays queued, in its order.
func TestBatchWaits(t *testing.T) {
	// A UNIX socket has no room while its peer does not read; one of UDP lets go of what loopback takes.
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	if err := unix.SetsockoptInt(pair[0], unix.SOL_SOCKET, unix.SO_SNDBUF, 1); err != nil { // the least there is
		t.Fatal(err)
	}
	b := newBatch()
	for i := range batchSize {
		b.datagrams[i].buf[0] = byte(i)
		b.in[i].Hdr.Name, b.in[i].Hdr.Namelen = nil, 0
		b.datagrams[i].client.Port = uint16(i) // no two go as one
		b.reply(i, headerSize)
	}
	var read byte
	buf := make([]byte, 100)
	for full := 0; ; full++ {
		failed, err := b.send(pair[0])
		for {
			n, err := unix.Read(pair[1], buf)
			if err == unix.EAGAIN {
				break
			}
			if n != headerSize || err != nil || buf[0] != read {
				t.Fatalf("reply %d of %d bytes (%v), want %d", buf[0], n, err, read)
			}
			read++
		}
		switch {
		case failed != 0 || int(read) != b.sent:
			t.Fatalf("%d failed, %d of %d came", failed, read, b.sent)
		case err == nil:
			if full == 0 {
				t.Error("it was never full: the test shows nothing")
			}
			if read != batchSize {
				t.Errorf("%d replies came, want %d", read, batchSize)
			}
			return
		case err != unix.EAGAIN:
			t.Fatal(err)
		}
	}
}

// TestBadInBatch: of a batch, a query that panics and what gets no reply cost nothing but themselves.
func TestBadInBatch(t *testing.T) {
	s := bound(t, "127.0.0.1:0")
	s.udp[0].worker.random = nil // the fault: to draw a number panics
	c := must(net.Dial("udp", s.Addrs()[0].String()))
	defer c.Close()
	status := plain("www.example.com")
	status[2] |= 2 << 3 // NOTIMP, and nothing is drawn
	for i, msg := range [][]byte{status, plain("www.example.com"), status, status[:headerSize-1], plain("pool.example.com"), status} {
		must(c.Write(numbered(msg, uint16(i))))
	}
	serving(t, s)
	wantIDs(t, c, 0, 2, 5)
	st := s.Stats().UDP
	if st.Panics != 2 || st.Dropped != 1 || st.Results[NotImp] != 3 || st.SendErrors != 0 || st.ReceiveErrors != 0 {
		t.Errorf("counted %+v", st)
	}
}

// TestFaultInSnapshot: a fault that the snapshot holds, here a name steered to a pool that is not there,
// costs no more than the queries for it, wherever in the batch it is met.
func TestFaultInSnapshot(t *testing.T) {
	s := bound(t, "127.0.0.1:0")
	e := s.view.Load().Edit()
	e.Put(owner("lost.example.com.", []string{"example.com."}), zones.SteeredPart(99, 30, zones.SteeredTypes, 1))
	s.view.Store(e.Commit(2))
	c := must(net.Dial("udp", s.Addrs()[0].String()))
	defer c.Close()
	must(c.Write(numbered(plain("lost.example.com"), 1)))
	must(c.Write(numbered(plain("www.example.com"), 2)))
	serving(t, s)
	wantIDs(t, c, 2)
	if st := s.Stats().UDP; st.Panics != 1 || st.Dropped != 0 {
		t.Errorf("counted %+v", st)
	}
}

// TestClientGone: a client that no longer listens (ICMP port unreachable comes back) is no error
// of the socket, and those after it have their replies.
func TestClientGone(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "[::1]:0"} {
		if listen == "[::1]:0" && !hasIPv6() {
			continue
		}
		s := bound(t, listen)
		c := must(net.Dial("udp", s.Addrs()[0].String()))
		defer c.Close()
		for i := range 10 {
			gone := must(net.Dial("udp", s.Addrs()[0].String()))
			must(gone.Write(plain("www.example.com")))
			gone.Close()
			must(c.Write(numbered(plain("www.example.com"), uint16(i))))
		}
		serving(t, s)
		wantIDs(t, c, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
		must(c.Write(numbered(plain("www.example.com"), 10)))
		wantIDs(t, c, 10)
		if st := s.Stats().UDP; st.Results[0] != 21 || st.SendErrors != 0 || st.ReceiveErrors != 0 {
			t.Errorf("counted %+v", st)
		}
	}
}

// flood asks addr without waiting for replies, but takes them, until the test ends or stop.
func flood(t *testing.T, addr string, clients int) (stop func()) {
	var ended atomic.Bool
	var all sync.WaitGroup
	for range clients {
		c := must(net.Dial("udp", addr))
		all.Go(func() {
			msg := plain("pool.example.com")
			for !ended.Load() {
				c.Write(msg)
			}
			c.Close()
		})
		all.Go(func() {
			for buf := make([]byte, 2048); !ended.Load(); {
				c.Read(buf)
			}
		})
	}
	stop = sync.OnceFunc(func() { ended.Store(true); all.Wait() })
	t.Cleanup(stop)
	return stop
}

// answered waits until n queries have been.
func answered(t *testing.T, s *Server, n uint64) {
	t.Helper()
	for begun := time.Now(); s.Stats().UDP.Results[0] < n; runtime.Gosched() {
		if time.Since(begun) > patience {
			t.Fatalf("%d queries answered, want %d", s.Stats().UDP.Results[0], n)
		}
	}
}

// dry waits until nothing is left in the sockets of s: none sleeps on what it has.
func dry(t *testing.T, s *Server) {
	t.Helper()
	for begun := time.Now(); ; runtime.Gosched() {
		left := 0
		for _, u := range s.udp {
			left += must(unix.IoctlGetInt(u.fd, unix.SIOCINQ)) // of the next datagram
		}
		if left == 0 {
			return
		}
		if time.Since(begun) > patience {
			t.Fatal("queries are left in the sockets")
		}
	}
}

// TestStopUDP: sockets that wait stop, and so do some that never run dry.
func TestStopUDP(t *testing.T) {
	t.Run("idle", func(t *testing.T) {
		s := bound(t, "127.0.0.1:0")
		stop := serving(t, s)
		if err := exchange("udp", s.Addrs()[0].String()); err != nil {
			t.Fatal(err)
		}
		stop()
	})
	t.Run("busy", func(t *testing.T) {
		s := bound(t, "127.0.0.1:0")
		stop := serving(t, s)
		flood(t, s.Addrs()[0].String(), 3)
		answered(t, s, 1000)
		stop()
	})
}

// TestCloseAfterServe: Close after Serve closes nothing that is somebody else's by then.
func TestCloseAfterServe(t *testing.T) {
	s := New(Config{Listen: []string{"127.0.0.1:0"}, Log: slog.New(slog.DiscardHandler)}, testView())
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	fd := s.udp[0].fd
	serving(t, s)()
	if err := unix.Dup2(0, fd); err != nil { // whoever opens something now may get that number
		t.Fatal(err)
	}
	defer unix.Close(fd)
	s.Close()
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
		t.Errorf("a descriptor that is not the server's was closed: %v", err)
	}
}

// TestCollections: the collector stops neither for sockets that wait nor for busy ones, nor they
// for it.
func TestCollections(t *testing.T) {
	s := New(Config{Listen: []string{"127.0.0.1:0"}, Workers: runtime.GOMAXPROCS(0), Log: slog.New(slog.DiscardHandler)}, testView())
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	stop := serving(t, s)
	addr := s.Addrs()[0].String()
	collect := func(what string) {
		done := make(chan struct{})
		before := pauses()
		go func() {
			for range 10 {
				runtime.GC()
			}
			close(done)
		}()
		select {
		case <-done:
		case <-time.After(3 * patience):
			t.Fatalf("%s: the collector stands still", what)
		}
		after := pauses()
		t.Logf("%s: %d pauses, half within %s, all within %s", what, after.count()-before.count(), after.quantile(before, 0.5), after.quantile(before, 1))
	}
	if err := exchange("udp", addr); err != nil { // they wait by now
		t.Fatal(err)
	}
	collect("idle")
	if err := exchange("udp", addr); err != nil {
		t.Error(err)
	}
	quiet := flood(t, addr, 2)
	answered(t, s, 1000)
	n := s.Stats().UDP.Results[0]
	collect("busy")
	answered(t, s, n+1000)
	quiet()
	dry(t, s) // the kernel drops what comes to a full socket
	if err := exchange("udp", addr); err != nil {
		t.Error(err)
	}
	stop()
}

type histogram metrics.Float64Histogram

// pauses is how long the collector has stopped the world, each time since the start.
func pauses() *histogram {
	s := []metrics.Sample{{Name: "/sched/pauses/total/gc:seconds"}}
	metrics.Read(s)
	return (*histogram)(s[0].Value.Float64Histogram())
}

func (h *histogram) count() (n uint64) {
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// quantile is an upper bound of what the share p of h that came after before took.
func (h *histogram) quantile(before *histogram, p float64) time.Duration {
	want := p * float64(h.count()-before.count())
	n := 0.0
	for i, c := range h.Counts {
		if n += float64(c - before.Counts[i]); n >= want && n > 0 {
			return time.Duration(h.Buckets[i+1] * float64(time.Second))
		}
	}
	return 0
}

// TestNoAllocationUDP: nor does the way from packet to packet allocate, for either family, bound to
// one address or to all.
func TestNoAllocationUDP(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, test := range []struct{ listen, host string }{{"127.0.0.1:0", "127.0.0.1"}, {"0.0.0.0:0", "127.0.0.2"}, {":0", "127.0.0.2"}, {"[::]:0", "::1"}} {
		if test.host == "::1" && !hasIPv6() {
			continue
		}
		s := start(t, Config{Listen: []string{test.listen}})
		c := must(net.Dial("udp", net.JoinHostPort(test.host, port(s))))
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		buf := make([]byte, 2048)
		for _, msg := range [][]byte{plain("pool.example.com"), plain("nothere.example.com"), withOPT("pool.example.com", opt(1232, subnet(1, 24, 0, 10, 2, 3)))} {
			const rounds, queries = 200, 4
			before := allocations()
			for range rounds { // not testing.AllocsPerRun: that leaves one processor, and the socket waits with it
				for range queries {
					c.Write(msg)
				}
				for range queries {
					if _, err := c.Read(buf); err != nil {
						t.Fatal(err)
					}
				}
			}
			if n := allocations() - before; n > rounds { // the runtime makes a few of its own
				t.Errorf("listening on %s: %d allocations for %d queries", test.listen, n, rounds*queries)
			}
		}
	}
}

// allocations since the start of the process.
func allocations() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}

// TestAskedAddress6 has the client ask from ::1, so that no other address than the one asked would
// be taken for the reply by itself.
func TestAskedAddress6(t *testing.T) {
	if !hasIPv6() {
		t.Skip("no IPv6 here")
	}
	for _, listen := range []string{":0", "[::]:0"} {
		s := start(t, Config{Listen: []string{listen}})
		if err := exchangeFrom("::1", "udp", "[::1]:"+port(s)); err != nil {
			t.Errorf("listening on %s, asked at ::1: %v", listen, err)
		}
		own := ownIPv6()
		for _, a := range own {
			local := "::1"
			if a.IsLinkLocalUnicast() { // not to be asked from there; and from its own kind the way back is plain
				local = ""
				if i := slices.IndexFunc(own, netip.Addr.IsGlobalUnicast); i >= 0 {
					local = own[i].String()
				}
			}
			if err := exchangeFrom(local, "udp", netip.AddrPortFrom(a, s.Addrs()[0].Port()).String()); err != nil {
				t.Errorf("listening on %s, asked at %s from %q: %v", listen, a, local, err)
			}
		}
	}
}

// ownIPv6 are this machine's addresses beside ::1, those of one link with their interface.
func ownIPv6() (own []netip.Addr) {
	for _, i := range must(net.Interfaces()) {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		for _, a := range must(i.Addrs()) {
			prefix, err := netip.ParsePrefix(a.String())
			if addr := prefix.Addr(); err == nil && addr.Is6() && !addr.IsLoopback() {
				if addr.IsLinkLocalUnicast() {
					addr = addr.WithZone(i.Name)
				}
				own = append(own, addr)
			}
		}
	}
	return own
}
