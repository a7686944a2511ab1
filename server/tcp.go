package server

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
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
	evicted   atomic.Uint64

	closing atomic.Bool
	served  sync.WaitGroup // connections

	mu   sync.Mutex
	open map[*stream]struct{}
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
	asked  atomic.Int64 // when the last message came, or else the connection: Unix nanoseconds
}

func newStreams(cfg Config, view *atomic.Pointer[zones.Snapshot]) *streams {
	t := &streams{cfg: cfg, count: new(counters), open: map[*stream]struct{}{}}
	t.sessions.New = func() any { return &session{worker: newWorker(view, t.count, true)} }
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

// start serves a new connection. Where there are TCPMax already, the one whose last message is
// longest ago makes room (RFC 7766 §6.2.3 lets a server close idle ones): else whoever opens that
// many and keeps silent would shut all others out.
func (t *streams) start(c net.Conn, client netip.Addr) {
	s := &stream{Conn: c, in: bufio.NewReader(c), client: client}
	s.asked.Store(time.Now().UnixNano())
	t.accepted.Add(1)

	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closing.Load() {
		c.Close()
		return
	}
	if len(t.open) >= t.cfg.TCPMax {
		var idlest *stream
		for o := range t.open {
			if idlest == nil || o.asked.Load() < idlest.asked.Load() {
				idlest = o
			}
		}
		delete(t.open, idlest)
		idlest.Close()
		t.evicted.Add(1)
	}
	t.open[s] = struct{}{}
	t.served.Go(func() { t.serve(s) })
}

func (t *streams) serve(s *stream) {
	for t.message(s) {
	}
	s.Close()
	t.mu.Lock()
	delete(t.open, s)
	t.mu.Unlock()
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
	s.in.Discard(2)

	ses := t.sessions.Get().(*session)
	defer t.sessions.Put(ses)
	if _, err := io.ReadFull(s.in, ses.buf[2:2+n]); err != nil {
		return false
	}
	now := time.Now()
	s.asked.Store(now.UnixNano())
	size := ses.worker.replyOrDrop(t.cfg.Log, ses.buf[2:], n, s.client)
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

// stop ends what accept and start began: connections that wait for a message at once, the others
// when their reply has left, or after grace.
func (t *streams) stop() {
	t.closing.Store(true)
	for _, l := range t.listeners {
		l.Close()
	}
	t.mu.Lock()
	for s := range t.open {
		s.SetReadDeadline(past)
	}
	t.mu.Unlock()

	late := time.AfterFunc(grace, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		for s := range t.open {
			s.Close()
		}
	})
	t.served.Wait()
	late.Stop()
}

func (t *streams) openCount() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open)
}
