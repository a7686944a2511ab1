package server

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	batchSize    = 32   // datagrams of one system call
	datagramSize = 4096 // no query needs as much; of a longer one the end is missing, which is a FORMERR

	// Room for control messages: see CMSG_SPACE(3).
	addressSize = (unix.SizeofCmsghdr + unix.SizeofInet6Pktinfo + 7) &^ 7 // the address asked, of either family
	segmentSize = (unix.SizeofCmsghdr + 2 + 7) &^ 7                       // the size of replies that are sent as one
)

// batch is what a socket receives by one system call, and what it sends in return.
//
// The kernel reads and writes through the pointers of the headers. newBatch sets those of in once:
// in[i] points to datagrams[i]. A reply goes by the client's address and the control message that
// came with the query.
//
// Replies of one size to one client are one message of out: the kernel takes them through its stack
// together and sends them as the datagrams that they are (UDP_SEGMENT, udp(7)). Clients that ask much
// from one port, other servers above all, are so much cheaper.
type batch struct {
	in        [batchSize]unix.Mmsghdr
	received  int // headers of in that the kernel may have written to
	datagrams [batchSize]datagram

	groups  [batchSize]group
	queued  int              // groups
	next    [batchSize]uint8 // of a datagram that has a reply: the next one of its group
	out     [batchSize]unix.Mmsghdr
	iov     [batchSize]unix.Iovec // replies in the order of out
	order   [batchSize]uint8      // the datagrams of these
	packed  int                   // headers of out that hold a message
	replies int                   // in them
	sent    int                   // headers of out that are done with
}

// group is replies of one size to one client, as they were queued.
type group struct {
	key         uint64 // different for most clients
	first, last uint8  // datagrams
	count       uint8
}

// datagram is a query, and then its reply. (Its size is no power of two: a batch would have to do
// with few of the sets of the processor's cache.)
type datagram struct {
	iov     unix.Iovec                      // buf: the whole of it to receive, the reply to send
	control [addressSize + segmentSize]byte // aligned as unix.Cmsghdr needs it
	client  unix.RawSockaddrInet6           // or unix.RawSockaddrInet4 and zeros, as its Family says
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
		b.in[i].Hdr.SetControllen(addressSize)
		b.datagrams[i].iov.SetLen(datagramSize)
	}
	n, errno := mmsg(unix.SYS_RECVMMSG, fd, b.in[:], unix.MSG_WAITFORONE)
	b.received, b.queued, b.packed, b.replies, b.sent = n, 0, 0, 0, 0
	if errno != 0 {
		return 0, errno
	}
	return n, nil
}

// query returns datagram i of those received: its buffer, and how many bytes of it were received.
func (b *batch) query(i int) (buf []byte, n int) { return b.datagrams[i].buf[:], int(b.in[i].Len) }

// client is who sent datagram i.
func (b *batch) client(i int) netip.Addr {
	from := &b.datagrams[i].client
	if from.Family == unix.AF_INET {
		return netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(from)).Addr)
	}
	return netip.AddrFrom16(from.Addr).Unmap()
}

// reply queues the first size bytes of datagram i, to leave for its client from the address that
// was asked.
func (b *batch) reply(i, size int) {
	d, in := &b.datagrams[i], &b.in[i].Hdr
	d.iov.SetLen(size)
	in.SetControllen(len(source(d.control[:in.Controllen])))
	key := *(*uint64)(unsafe.Pointer(&d.client)) ^ uint64(size)<<48
	for g := range b.groups[:b.queued] {
		if g := &b.groups[g]; g.key == key && b.alike(int(g.first), i) {
			b.next[g.last] = uint8(i)
			g.last = uint8(i)
			g.count++
			return
		}
	}
	b.groups[b.queued] = group{key: key, first: uint8(i), last: uint8(i), count: 1}
	b.queued++
}

// alike says whether two replies are of one size, to one client, from one address.
func (b *batch) alike(i, j int) bool {
	d, e := &b.datagrams[i], &b.datagrams[j]
	size := b.in[i].Hdr.Controllen
	return d.client == e.client && d.iov.Len == e.iov.Len &&
		b.in[j].Hdr.Controllen == size && bytes.Equal(d.control[:size], e.control[:size])
}

// pack makes the messages of what is queued.
func (b *batch) pack() {
	for _, g := range b.groups[:b.queued] {
		h := &b.out[b.packed].Hdr
		b.packed++
		*h = b.in[g.first].Hdr
		h.Iov = &b.iov[b.replies]
		h.SetIovlen(int(g.count))
		if g.count > 1 {
			d := &b.datagrams[g.first]
			segment(d.control[h.Controllen:], uint16(d.iov.Len))
			h.SetControllen(int(h.Controllen) + segmentSize)
		}
		for i := g.first; ; i = b.next[i] {
			b.iov[b.replies], b.order[b.replies] = b.datagrams[i].iov, i
			b.replies++
			if i == g.last {
				break
			}
		}
	}
	b.queued = 0
}

// segment writes the control message that has a message sent as datagrams of size bytes.
func segment(control []byte, size uint16) {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.SizeofCmsghdr + 2)
	binary.NativeEndian.PutUint16(control[unix.SizeofCmsghdr:], size)
}

// unpack makes a message of each reply that has not been sent.
func (b *batch) unpack() {
	b.packed = b.sent
	first := b.replies
	for k, h := 0, &b.out[b.sent].Hdr; k < b.replies; k++ {
		if h.Iov == &b.iov[k] {
			first = k
			break
		}
	}
	for k := first; k < b.replies; k++ {
		h := &b.out[b.packed].Hdr
		b.packed++
		*h = b.in[b.order[k]].Hdr
		h.Iov = &b.iov[k]
	}
}

// pending is how many replies have not been sent.
func (b *batch) pending() (n int) {
	for i := range b.out[b.sent:b.packed] {
		n += int(b.out[b.sent+i].Hdr.Iovlen)
	}
	return n
}

// send sends what is queued, without waiting. A reply that cannot be sent is passed over; it
// returns how many were. Where the socket has no room it fails with unix.EAGAIN, and what has not
// been sent stays pending.
func (b *batch) send(fd int) (failed int, err error) {
	b.pack()
	for b.sent < b.packed {
		switch n, errno := mmsg(unix.SYS_SENDMMSG, fd, b.out[b.sent:b.packed], unix.MSG_DONTWAIT); errno {
		case 0:
			b.sent += n
		case unix.EINTR:
		case unix.EAGAIN:
			return failed, errno
		default: // the first of these; those behind it have not been tried
			if b.out[b.sent].Hdr.Iovlen > 1 { // one by one they may: a link may be too narrow for the size, or need them whole
				b.unpack()
				continue
			}
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
