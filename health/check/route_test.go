package check

import (
	"context"
	"net"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"meridian/health"
	"meridian/spec"
)

// A machine without a route to an address cannot look at it, which tells nothing of the address.
func TestNoRoute(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a network namespace needs root")
	}
	addr := net.TCPAddrFromAddrPort(netip.MustParseAddrPort("[2001:db8::1]:80"))
	plainly := at(t, addr, health.Check{TCP: &health.TCP{}, Timeout: spec.Duration(time.Second)})
	inverted := at(t, addr, health.Check{TCP: &health.TCP{}, Timeout: spec.Duration(time.Second), Invert: true})
	var found, foundInverted error
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread, which has no network, ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = loopbackUp()
		}
		if err == nil { // the dialer of net connects on the thread that calls it
			found, foundInverted = plainly.look(t.Context()), inverted.look(t.Context())
		}
		made <- err
	}()
	if err := <-made; err != nil {
		t.Fatalf("a network namespace: %v", err)
	}
	want := "not checked from here: this machine has no route to it"
	wantWords(t, found, want)
	wantWords(t, foundInverted, want)
}

// Where there is a route, somebody beyond it says so, and that counts.
func TestUnreachableBeyond(t *testing.T) {
	to := at(t, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9}, health.Check{TCP: &health.TCP{}})
	to.probe = func(context.Context, *target) error { return plain(syscall.ENETUNREACH) }
	wantWords(t, look(t, to), "network is unreachable")
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}
