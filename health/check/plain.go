package check

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"
)

// voidError says why this machine could not look: it tells nothing of the target.
type voidError struct{ errno syscall.Errno }

func (e *voidError) Error() string { return e.errno.Error() }

// unableError says why this checker cannot make a check at all, in an operator's words: it is not
// allowed to, or lacks what it needs. It tells nothing of the target, of which nothing is known then.
type unableError struct{ why string }

func (e *unableError) Error() string { return e.why }

// ours are the faults of connect(2) and socket(2) that lie on this side.
var ours = []syscall.Errno{
	syscall.EADDRNOTAVAIL, // no local port left
	syscall.EAFNOSUPPORT,  // a kernel without IPv6
	syscall.EAGAIN,        // no process left
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
		unable    *unableError
	)
	switch {
	case errors.As(err, &unable):
		return unable
	case isTimeout(err):
		return err
	case errors.As(err, &errno) && slices.Contains(ours, errno):
		return &voidError{errno}
	case errors.As(err, &errno):
		return errno
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

// maxQuote is how many bytes of what a backend says get into a reason.
const maxQuote = 120

// quote is the beginning of what a backend said, fit for a log.
func quote(b []byte) string {
	if len(b) > maxQuote {
		return fmt.Sprintf("%q…", b[:maxQuote])
	}
	return fmt.Sprintf("%q", b)
}

// words is the first line of what was said, without what does not print, and not longer than maxQuote.
func words(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	s = strings.TrimSpace(s)
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == utf8.RuneError || r == 0x7f {
			return -1
		}
		return r
	}, s)
	if len(s) <= maxQuote {
		return s
	}
	cut := maxQuote
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
