package server

import (
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	batchSize    = 32                                                      // datagrams of one system call
	datagramSize = 4096                                                    // no query needs as much; of a longer one the end is missing, which is a FORMERR
	controlSize  = (unix.SizeofCmsghdr + unix.SizeofInet6Pktinfo + 7) &^ 7 // one control message of either family; see CMSG_SPACE(3)
)

// batch is what a socket receives by one system call, and what it sends in return.
//
// The kernel reads and writes through the pointers of the headers. newBatch sets them once:
// in[i] points to datagrams[i], and a header of out is a copy of one of in. A reply goes by the
// client's address and the control message that came with the query.
type batch struct {
	in, out   [batchSize]unix.Mmsghdr
	received  int // headers of in that the kernel may have written to
	queued    int // headers of out that hold a reply
	sent      int // of these, those that are done with
	datagrams [batchSize]datagram
}

// datagram is a query, and then its reply. (Its size is no power of two: a batch would have to do
// with few of the sets of the processor's cache.)
type datagram struct {
	iov     unix.Iovec            // buf: the whole of it to receive, the reply to send
	control [controlSize]byte     // aligned as unix.Cmsghdr needs it
	client  unix.RawSockaddrInet6 // or unix.RawSockaddrInet4, as its Family says
	buf     [datagramSize]byte
}

func newBatch() *batch {
	b := &batch{received: batchSize}
	for i := range b.datagrams {
		d, h := &b.datagrams[i], &b.in[i].Hdr
		d.iov.Base = &d.buf[0]
		h.Iov, h.Name, h.Control = &d.iov, (*byte)(unsafe.Pointer(&d.client)), &d.control[0]
		h.SetIovlen(1)
	}
	return b
}

// receive waits for a datagram as long as the socket says (SO_RCVTIMEO), takes what has come, and
// returns how many that are. It fails with unix.EAGAIN where none has.
func (b *batch) receive(fd int) (int, error) {
	for i := range b.in[:b.received] { // what the kernel and replies have changed
		b.in[i].Hdr.Namelen = unix.SizeofSockaddrInet6
		b.in[i].Hdr.SetControllen(controlSize)
		b.datagrams[i].iov.SetLen(datagramSize)
	}
	n, errno := mmsg(unix.SYS_RECVMMSG, fd, b.in[:], unix.MSG_WAITFORONE)
	b.received, b.queued, b.sent = n, 0, 0
	if errno != 0 {
		return 0, errno
	}
	return n, nil
}

// query returns datagram i of those received: its buffer, how many bytes of it were received,
// and by whom.
func (b *batch) query(i int) (buf []byte, n int, client netip.Addr) {
	d := &b.datagrams[i]
	if d.client.Family == unix.AF_INET {
		client = netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(&d.client)).Addr)
	} else {
		client = netip.AddrFrom16(d.client.Addr).Unmap()
	}
	return d.buf[:], int(b.in[i].Len), client
}

// reply queues the first size bytes of datagram i, to leave for its client from the address that
// was asked.
func (b *batch) reply(i, size int) {
	d, in := &b.datagrams[i], &b.in[i].Hdr
	d.iov.SetLen(size)
	in.SetControllen(len(source(d.control[:in.Controllen])))
	b.out[b.queued].Hdr = *in
	b.queued++
}

// send sends what is queued, without waiting. A reply that cannot be sent is passed over; it
// returns how many were. Where the socket has no room it fails with unix.EAGAIN, and what has not
// been sent stays queued.
func (b *batch) send(fd int) (failed int, err error) {
	for b.sent < b.queued {
		switch n, errno := mmsg(unix.SYS_SENDMMSG, fd, b.out[b.sent:b.queued], unix.MSG_DONTWAIT); errno {
		case 0:
			b.sent += n
		case unix.EINTR:
		case unix.EAGAIN:
			return failed, errno
		default: // the first of these; those behind it have not been tried
			b.sent++
			failed++
		}
	}
	return failed, nil
}

// mmsg makes the system call trap, recvmmsg(2) or sendmmsg(2), for messages and returns for how
// many it was done.
//
// It is Raw, which leaves the scheduler in the belief that Go code runs: told of each call, it takes
// the processor away in the middle of a batch, which by measure costs a third of the speed. So
// GOMAXPROCS has to be more than there are sockets. Where the scheduler does want the goroutine to
// stop (the collector is to begin, other goroutines wait), it sends the thread a signal: a receive
// that waits ends with unix.EINTR, since one with a timeout is not restarted (signal(7)).
func mmsg(trap uintptr, fd int, messages []unix.Mmsghdr, flags uintptr) (n int, errno syscall.Errno) {
	r, _, errno := unix.RawSyscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(messages))), uintptr(len(messages)), flags, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(r), 0
}
