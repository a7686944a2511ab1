package check

import (
	"errors"
	"net"
	"os"
	"slices"
	"syscall"
)

// voidError says why this machine could not look: it tells nothing of the target.
type voidError struct{ errno syscall.Errno }

func (e *voidError) Error() string { return e.errno.Error() }

// ours are the faults of connect(2) and socket(2) that lie on this side.
var ours = []syscall.Errno{
	syscall.EADDRNOTAVAIL, // no local port left
	syscall.EAFNOSUPPORT,  // a kernel without IPv6
	syscall.EMFILE,
	syscall.ENFILE,
	syscall.ENOBUFS,
	syscall.ENOMEM,
}

// plain is err in an operator's words, "connection refused", without what Go's packages put
// around it. A deadline stays what it is: attempt has the words.
func plain(err error) error {
	var (
		errno     syscall.Errno
		op        *net.OpError
		handshake handshakeError
	)
	switch {
	case isTimeout(err):
		return err
	case errors.As(err, &errno) && slices.Contains(ours, errno):
		return &voidError{errno}
	case errors.As(err, &errno):
		return errors.New(errno.Error())
	case errors.As(err, &handshake):
		return handshake
	case errors.As(err, &op):
		return plain(op.Err)
	}
	var call *os.SyscallError
	if errors.As(err, &call) {
		return plain(call.Err)
	}
	return errors.New(bare(err))
}
