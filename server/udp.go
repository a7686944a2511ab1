package server

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"meridian/zones"
)

// udpSocket is one socket with its worker. Of several on one address each has its own clients.
//
// It waits for datagrams in the kernel, as a program without a runtime would. The poller of Go's
// runtime must not know of the socket: it would be woken by every datagram that comes, to find out
// that nobody waits for it there. By measure that took as much time as all of the answers.
type udpSocket struct {
	fd     int // closed by serve
	log    *slog.Logger
	worker *worker

	in    [batchSize]message
	asked [batchSize]*zones.Query

	stopped atomic.Bool
	wake    *os.File // an eventfd(2): readable once stopped, for what waits
}

func newUDPSocket(conn *net.UDPConn, log *slog.Logger, w *worker) (*udpSocket, error) {
	fd, err := detach(conn)
	if err != nil {
		return nil, err
	}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	return &udpSocket{fd: fd, log: log, worker: w, wake: os.NewFile(uintptr(event), "eventfd")}, nil
}

// detach takes a socket from the runtime's poller. A receive waits for lull at most.
func detach(conn *net.UDPConn) (fd int, err error) {
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err == nil {
		err = control(raw, func(old int) error {
			fd, err = unix.FcntlInt(uintptr(old), unix.F_DUPFD_CLOEXEC, 0)
			return err
		})
	}
	if err != nil {
		return 0, err
	}
	wait := unix.NsecToTimeval(lull.Nanoseconds())
	if err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err == nil {
		err = unix.SetNonblock(fd, false)
	}
	if err != nil {
		unix.Close(fd)
	}
	return fd, err
}

// close may be called twice: by then the number of fd may be somebody else's.
func (u *udpSocket) close() {
	if u.wake.Close() == nil {
		unix.Close(u.fd)
	}
}

// lull is how long a socket is waited on without the scheduler's knowledge. Then it is a matter for
// poll(2), which the scheduler is told of: no goroutine has to go without its processor for long.
const lull = 2 * time.Millisecond

// serve receives, answers and sends, batch by batch, until stop.
func (u *udpSocket) serve() error {
	defer u.close()
	var (
		b    = newBatch()
		pace = backoff{log: u.log, what: "receive over UDP"}
		w    = u.worker
	)
	for !u.stopped.Load() {
		n, err := b.receive(u.fd)
		switch err {
		case nil:
		case unix.EAGAIN: // a lull
			u.wait()
			continue
		case unix.EINTR: // the runtime wants the thread to look up: for the collector, most often
			runtime.Gosched()
			continue
		default:
			w.count.receiveErrors.Add(1)
			pace.failed(err)
			continue
		}
		pace.worked()
		u.answer(b, n)
		w.settle()
		u.send(b)
	}
	return nil
}

// answer queues replies to the first n datagrams of b. All of them are read before the first is
// answered: see zones.Warm.
func (u *udpSocket) answer(b *batch, n int) {
	w := u.worker
	asked := u.asked[:0]
	w.each(u.log, n, func(i int) {
		buf, size := b.query(i)
		m := &u.in[i]
		w.in = m // for blame
		m.read(buf[:size])
		if m.form == wellFormed && m.class == dns.ClassINET {
			asked = append(asked, &m.query)
		}
	})
	if s := w.view.Load(); s != nil {
		warm(s, asked)
	}
	w.each(u.log, n, func(i int) {
		buf, _ := b.query(i)
		if size := w.answerTo(&u.in[i], buf, b.client(i)); size != 0 {
			b.reply(i, size)
		}
	})
}

// warm is zones.Warm. A fault of ours is met again, and blamed, where the query is answered.
func warm(s *zones.Snapshot, asked []*zones.Query) {
	defer func() { _ = recover() }()
	zones.Warm(s, asked)
}

// send sends what b holds.
func (u *udpSocket) send(b *batch) {
	for {
		failed, err := b.send(u.fd)
		u.worker.count.sendErrors.Add(uint64(failed))
		if err == nil {
			return
		}
		if !u.hasRoom() {
			u.worker.count.sendErrors.Add(uint64(b.pending()))
			return
		}
	}
}

// wait waits for a datagram, or stop.
func (u *udpSocket) wait() {
	fds := [...]unix.PollFd{{Fd: int32(u.fd), Events: unix.POLLIN}, {Fd: int32(u.wake.Fd()), Events: unix.POLLIN}}
	unix.Poll(fds[:], -1) // why it ends, receive will see
}

// room is how long a socket that is full is waited on. It may be full of replies to addresses of a link
// that nobody there answers for, which the kernel keeps for seconds: to wait for that answers nobody.
const room = 10 * time.Millisecond

// hasRoom waits until the socket can send, for as long as room.
func (u *udpSocket) hasRoom() bool {
	fds := [...]unix.PollFd{{Fd: int32(u.fd), Events: unix.POLLOUT}}
	for {
		n, err := unix.Poll(fds[:], int(room.Milliseconds()))
		if err != unix.EINTR {
			return n > 0
		}
	}
}

// stop lets what was received be answered.
func (u *udpSocket) stop() {
	u.stopped.Store(true)
	u.wake.Write([]byte{1, 0, 0, 0, 0, 0, 0, 0}) // in the machine's order: any number but 0
}

// source makes, of the control message that came with a query, the one that makes its reply leave
// from the address that was asked (ip(7), RFC 3542 §6.2). Both are the same but for the
// interface: the way back is for the routing table to say, unless the address asked is of one link only.
func source(control []byte) []byte {
	if len(control) == 0 { // bound to one address: nothing needs to be said
		return nil
	}
	return sourceOf(control)
}

func sourceOf(control []byte) []byte {
	h, content, _, err := unix.ParseOneSocketControlMessage(control)
	switch {
	case err != nil:
		return nil
	case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(content) >= unix.SizeofInet4Pktinfo:
		clear(content[:4]) // struct in_pktinfo: interface, local address, address asked
	case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(content) >= unix.SizeofInet6Pktinfo:
		if asked := netip.AddrFrom16([16]byte(content)); !asked.IsLinkLocalUnicast() {
			clear(content[16:20]) // struct in6_pktinfo: address asked, interface
		}
	default:
		return nil
	}
	return control
}
