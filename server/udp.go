package server

import (
	"errors"
	"log/slog"
	"net"
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

// serve receives, answers and sends, one by one, until stop.
func (u *udpSocket) serve() error {
	defer u.conn.Close()
	var (
		buf  [4096]byte // no query needs as much; of a longer one the end is missing, which is a FORMERR
		oob  [64]byte   // one control message
		pace = backoff{log: u.log, what: "receive over UDP"}
	)
	for {
		n, oobn, _, client, err := u.conn.ReadMsgUDPAddrPort(buf[:], oob[:])
		switch {
		case err == nil:
			pace.worked()
		case errors.Is(err, os.ErrDeadlineExceeded): // stop
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		default:
			u.worker.count.receiveErrors.Add(1)
			pace.failed(err)
			continue
		}
		size := u.worker.replyOrDrop(u.log, buf[:], n, client.Addr().Unmap())
		if size == 0 {
			continue
		}
		if _, _, err := u.conn.WriteMsgUDPAddrPort(buf[:size], source(oob[:oobn]), client); err != nil {
			u.worker.count.sendErrors.Add(1)
		}
	}
}

func (u *udpSocket) stop() { u.conn.SetReadDeadline(time.Unix(1, 0)) }

// source makes, of the control message that came with a query, the one that makes its reply leave
// from the address that was asked (ip(7), RFC 3542 §6.2). Both are the same but for the
// interface: the way back is for the routing table to say.
func source(oob []byte) []byte {
	if len(oob) == 0 { // bound to one address: nothing needs to be said
		return nil
	}
	h, content, _, err := unix.ParseOneSocketControlMessage(oob)
	switch {
	case err != nil:
		return nil
	case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(content) >= unix.SizeofInet4Pktinfo:
		clear(content[:4]) // struct in_pktinfo: interface, local address, address asked
	case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(content) >= unix.SizeofInet6Pktinfo:
		clear(content[16:20]) // struct in6_pktinfo: address asked, interface
	default:
		return nil
	}
	return oob
}
