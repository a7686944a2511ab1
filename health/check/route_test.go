package check

import (
	"context"
	"net"
	"net/netip"
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
	addr := netip.MustParseAddrPort("[2001:db8::1]:80")
	unable := "not checked from here: this machine has no route to it"
	type result struct {
		skip, said, invert string
	}
	got := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread, which has no network, ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = loopbackUp()
		}
		if err != nil {
			got <- result{skip: err.Error()}
			return
		}
		words := func(invert bool) string {
			c := health.Check{TCP: &health.TCP{}, Invert: invert, Timeout: spec.Duration(time.Second)}
			to := at(t, net.TCPAddrFromAddrPort(addr), c)
			// The dialer of net connects on the thread that calls it.
			if err := look(t, to); err != nil {
				return err.Error()
			}
			return "up"
		}
		got <- result{said: words(false), invert: words(true)}
	}()
	r := <-got
	if r.skip != "" {
		t.Skipf("a network namespace: %s", r.skip)
	}
	if r.said != unable || r.invert != unable {
		t.Errorf("got %q, inverted %q, expected %q", r.said, r.invert, unable)
	}

	// Where there is a route, somebody beyond it says so, and that counts.
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
