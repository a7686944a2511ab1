package server

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// udpSocket is one socket with its worker. Of several on one address each has its own clients.
type udpSocket struct {
	conn   *net.UDPConn
	log    *slog.Logger
	worker *worker
}

// serve receives, answers and sends, batch by batch, until stop.
func (u *udpSocket) serve() error {
	defer u.conn.Close()
	conn, err := u.conn.SyscallConn()
	if err != nil {
		return err
	}
	var (
		b        = newBatch()
		pace     = backoff{log: u.log, what: "receive over UDP"}
		n        int
		received error
	)
	// Where these say false, the runtime waits until the socket can do what it could not.
	receive := func(fd uintptr) bool {
		n, received = b.receive(fd)
		return received != unix.EAGAIN
	}
	send := func(fd uintptr) bool {
		failed, err := b.send(fd)
		u.worker.count.sendErrors.Add(uint64(failed))
		return err == nil
	}
	for {
		switch err := conn.Read(receive); {
		case errors.Is(err, os.ErrDeadlineExceeded): // stop
			return nil
		case err != nil:
			return err
		case received == unix.EINTR:
			continue
		case received != nil:
			u.worker.count.receiveErrors.Add(1)
			pace.failed(received)
			continue
		}
		pace.worked()
		for i := range n {
			buf, size, client := b.query(i)
			if size := u.worker.replyOrDrop(u.log, buf, size, client); size != 0 {
				b.reply(i, size)
			}
		}
		if b.queued == 0 {
			continue
		}
		if err := conn.Write(send); err != nil { // stop, and no room came free
			u.worker.count.sendErrors.Add(uint64(b.queued - b.sent))
		}
	}
}

// stop lets what was received be answered.
func (u *udpSocket) stop() {
	u.conn.SetReadDeadline(time.Unix(1, 0))
	u.conn.SetWriteDeadline(time.Now().Add(grace))
}

// source makes, of the control message that came with a query, the one that makes its reply leave
// from the address that was asked (ip(7), RFC 3542 §6.2). Both are the same but for the
// interface: the way back is for the routing table to say, unless the address asked is of one link only.
func source(control []byte) []byte {
	if len(control) == 0 { // bound to one address: nothing needs to be said
		return nil
	}
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
