package server

import (
	"bufio"
	"container/list"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"meridian/zones"
)

// grace is how long replies may take to leave after the server was told to stop.
const grace = time.Second

// streams answers over TCP (RFC 7766): one goroutine a connection, one message after another, in
// the order in which they come.
type streams struct {
	cfg       Config
	listeners []*net.TCPListener
	sessions  sync.Pool // of *session
	count     *counters
	accepted  atomic.Uint64

	evicted, evictedOfClient atomic.Uint64 // to hold TCPMax, and TCPMaxPerClient

	closing atomic.Bool
	full    atomic.Bool    // as many are open as may be
	served  sync.WaitGroup // connections

	mu   sync.Mutex
	open openStreams
}

// session is what it takes to answer one message. Connections that wait for the next have none.
type session struct {
	worker *worker
	buf    [2 + maxTCP]byte // uint16 length and message
}

// stream is one connection.
type stream struct {
	net.Conn
	in     *bufio.Reader
	client netip.Addr
	placed time.Time // when asked last put it at the end of the lists
	place            // in streams.open
}

// readAhead is how many bytes of a connection are kept of it while it waits for more: hardly a
// query is longer.
const readAhead = 512

func newStreams(cfg Config, self *identity, view *atomic.Pointer[zones.Snapshot]) *streams {
	t := &streams{cfg: cfg, count: new(counters), open: newOpenStreams()}
	t.sessions.New = func() any { return &session{worker: newWorker(view, self, t.count, true)} }
	return t
}

// accept takes connections until stop.
func (t *streams) accept(l *net.TCPListener) error {
	pace := backoff{log: t.cfg.Log, what: "accept TCP connections"}
	for {
		c, err := l.AcceptTCP()
		switch {
		case err == nil:
			pace.worked()
			t.start(c, addrPort(c.RemoteAddr()).Addr())
		case t.closing.Load():
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		default: // no file descriptor left, most likely
			pace.failed(err)
		}
	}
}

// start serves a new connection. Where there are TCPMax already, or TCPMaxPerClient of its client,
// the one whose last message is longest ago makes room (RFC 7766 §6.2.3 lets a server close idle
// ones): else whoever opens that many and keeps silent would shut all others out, and himself.
func (t *streams) start(c net.Conn, client netip.Addr) {
	s := &stream{Conn: c, in: bufio.NewReaderSize(c, readAhead), client: client}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closing.Load() {
		c.Close()
		return
	}
	t.accepted.Add(1)
	if same := t.open.ofClient(s); same != nil && same.Len() >= t.cfg.TCPMaxPerClient {
		t.evict(same, &t.evictedOfClient)
	}
	if t.open.all.Len() >= t.cfg.TCPMax {
		t.evict(&t.open.all, &t.evicted)
	}
	t.open.add(s)
	t.full.Store(t.open.all.Len() >= t.cfg.TCPMax)
	t.served.Go(func() { t.serve(s) })
}

// evict closes the first of a list.
func (t *streams) evict(l *list.List, count *atomic.Uint64) {
	s := l.Front().Value.(*stream)
	t.open.remove(s)
	s.Close()
	count.Add(1)
}

func (t *streams) serve(s *stream) {
	for t.message(s) {
		if s.in.Buffered() > 0 {
			// Whoever has more to ask waits for another turn. Else each of many such keeps a core for the
			// 10 ms that the scheduler gives it, and those who ask over UDP wait for all of them.
			runtime.Gosched()
		}
	}
	s.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open.remove(s)
	t.full.Store(t.open.all.Len() >= t.cfg.TCPMax)
}

var past = time.Unix(1, 0)

// message answers the next message of s and says whether more may follow. A message without
// reply, an empty one included, is no DNS, so nothing more is expected of its sender.
func (t *streams) message(s *stream) bool {
	s.SetReadDeadline(time.Now().Add(t.cfg.TCPIdle))
	if t.closing.Load() { // what has been read already is still answered
		s.SetReadDeadline(past)
	}
	length, err := s.in.Peek(2)
	if err != nil {
		return false
	}
	n := int(binary.BigEndian.Uint16(length))
	// Room for any message and any reply is lent to those who have sent all of a message, or as
	// much of it as few messages have: not to those who dribble.
	if _, err := s.in.Peek(min(2+n, readAhead)); err != nil {
		return false
	}
	ses := t.sessions.Get().(*session)
	defer t.sessions.Put(ses)
	if _, err := io.ReadFull(s.in, ses.buf[:2+n]); err != nil {
		return false
	}
	now := time.Now()
	t.asked(s, now)
	ses.worker.idle = t.idle()
	size := ses.worker.replyOrDrop(t.cfg.Log, ses.buf[2:], n, s.client)
	ses.worker.settle()
	if size == 0 {
		return false
	}
	binary.BigEndian.PutUint16(ses.buf[:], uint16(size))
	s.SetWriteDeadline(now.Add(t.cfg.TCPIdle))
	if _, err := s.Write(ses.buf[:2+size]); err != nil {
		t.count.sendErrors.Add(1)
		return false
	}
	return true
}

// asked notes that s had a message at now. Of many at once, to note the first will do: then the
// lock is taken rarely.
func (t *streams) asked(s *stream, now time.Time) {
	if now.Sub(s.placed) < time.Second {
		return
	}
	s.placed = now
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open.toBack(s)
}

// idle is how long clients are told that a connection may be idle, in units of 100 ms: not at all
// where connections are closed to make room for others, or the server ends (RFC 7828 §3.3.2).
func (t *streams) idle() uint16 {
	if t.full.Load() || t.closing.Load() {
		return 0
	}
	return uint16(min(t.cfg.TCPIdle/(100*time.Millisecond), math.MaxUint16))
}

// stop ends what accept and start began: connections that wait for a message at once, the others
// when their reply has left, or after grace.
func (t *streams) stop() {
	t.closing.Store(true)
	for _, l := range t.listeners {
		l.Close()
	}
	t.mu.Lock()
	for s := range t.open.each {
		s.SetReadDeadline(past)
	}
	t.mu.Unlock()

	late := time.AfterFunc(grace, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		for s := range t.open.each {
			s.Close()
		}
	})
	t.served.Wait()
	late.Stop()
}

func (t *streams) openCount() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open.all.Len()
}
