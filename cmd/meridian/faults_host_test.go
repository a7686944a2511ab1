//go:build faults

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// host is a machine: a network namespace of its own, whose only way out is a wire. Sockets and processes are made
// in it by threads that are in it. It has no name in the file system, so it goes with this process, however that
// ends.
//
// Host n has the networks 10.n.0.0/16 and fd00:n::/32, whose addresses are all its own over IPv4, and four of which
// are over IPv6.
type host struct {
	name   string
	number int
	wire   *wire
	tun    *os.File
	space  *os.File    // the namespace
	starts chan func() // run by a thread that stays: processes end with the thread that started them
}

const (
	tunDevice = "/dev/net/tun"
	hostMTU   = 1500
	hostAddrs = 4 // addresses that a host has over IPv6
)

// net4 and net6 are the networks of a host, addr4 and addr6 addresses of it from 1.
func (h *host) net4() netip.Prefix { return netip.PrefixFrom(h.addr4(0), 16) }
func (h *host) net6() netip.Prefix { return netip.PrefixFrom(h.addr6(0), 32) }

func (h *host) addr4(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(h.number), byte(i >> 8), byte(i)})
}

func (h *host) addr6(i int) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfd, 3: byte(h.number), 15: byte(i)})
}

// all are the networks of the host.
func (h *host) all() []netip.Prefix { return []netip.Prefix{h.net4(), h.net6()} }

// at is an address and port of the host's first IPv4 address.
func (h *host) at(port uint16) string { return netip.AddrPortFrom(h.addr4(1), port).String() }

// hostNumber is the number of the host that has an address.
func hostNumber(a netip.Addr) int {
	if a.Is4() {
		return int(a.As4()[1])
	}
	return int(a.As16()[3])
}

// needsNamespaces skips a test of hosts for whoever is not root. For root what is missing is a failure: these tests are
// all that shows what they show.
func needsNamespaces(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Fatal("ip is missing: install iproute2, as make test-faults does")
	}
	f, err := os.OpenFile(tunDevice, os.O_RDWR, 0)
	if err != nil {
		t.Fatalf("TUN devices: %v (the kernel module tun, and mknod %s c 10 200)", err, tunDevice)
	}
	f.Close()
}

// newHost makes a host on a wire, which is closed with the test.
func newHost(t *testing.T, w *wire, name string) *host {
	t.Helper()
	h := &host{name: name, wire: w, starts: make(chan func())}
	w.mu.Lock()
	h.number = len(w.hosts) + 1
	w.hosts[h.number] = h
	w.mu.Unlock()
	made := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := h.make()
		made <- err
		for start := range h.starts {
			start()
		}
	}()
	t.Cleanup(func() {
		close(h.starts)
		h.tun.Close()
		h.space.Close()
	})
	if err := <-made; err != nil {
		t.Fatalf("host %s: %v", name, err)
	}
	go h.receive()
	return h
}

// make makes the namespace of the thread that it is called on, and the device in it.
func (h *host) make() (err error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	if h.space, err = os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())); err != nil {
		return err
	}
	if h.tun, err = openTUN("tun0"); err != nil {
		return err
	}
	lines := []string{
		"link set lo up",
		fmt.Sprintf("link set tun0 up mtu %d", hostMTU),
		fmt.Sprintf("route add local %v dev lo", h.net4()),
	}
	for i := range hostAddrs {
		lines = append(lines, fmt.Sprintf("addr add %v/32 dev tun0", h.addr4(i+1)), fmt.Sprintf("addr add %v/128 dev tun0 nodad", h.addr6(i+1)))
	}
	// What is sent by itself has the first address.
	lines = append(lines, fmt.Sprintf("route add 0.0.0.0/0 dev tun0 src %v", h.addr4(1)), fmt.Sprintf("route add ::/0 dev tun0 src %v", h.addr6(1)))
	return h.ip(lines...)
}

// publish gives the host a network of IPv4 beside those of its number, all of whose addresses are its own.
func (h *host) publish(t *testing.T, net netip.Prefix) {
	t.Helper()
	var err error
	h.in(func() { err = h.ip(fmt.Sprintf("route add local %v dev lo", net)) })
	if err != nil {
		t.Fatalf("host %s: %v", h.name, err)
	}
	h.wire.mu.Lock()
	h.wire.public[net] = h
	h.wire.mu.Unlock()
}

// ip runs commands of ip(8); it is called on a thread of the host's.
func (h *host) ip(lines ...string) error {
	c := exec.Command("ip", "-batch", "-")
	c.Stdin = strings.NewReader(strings.Join(lines, "\n"))
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("ip: %w: %s", err, out)
	}
	return nil
}

func openTUN(name string) (*os.File, error) {
	fd, err := unix.Open(tunDevice, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", tunDevice, err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// receive puts what the host sends on the wire.
func (h *host) receive() {
	buffer := make([]byte, hostMTU)
	for {
		n, err := h.tun.Read(buffer)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err == nil {
			h.wire.send(h, append([]byte(nil), buffer[:n]...))
		}
	}
}

// in does something on a thread in the host's namespace: what sockets it makes are the host's for good.
func (h *host) in(do func()) {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked, so that nobody else is given this thread
		err := unix.Setns(int(h.space.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			do()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		panic(fmt.Sprintf("host %s: %v", h.name, err))
	}
}

// dial connects from the host to an address and port.
func (h *host) dial(ctx context.Context, network, addr string) (c net.Conn, err error) {
	h.in(func() { c, err = new(net.Dialer).DialContext(ctx, network, addr) })
	return c, err
}

// listen listens at an address and port of the host. What is closed at this end is reset, as with a process that is killed.
func (h *host) listen(addr netip.AddrPort) (l net.Listener, err error) {
	h.in(func() { l, err = net.Listen("tcp", addr.String()) })
	if err != nil {
		return nil, err
	}
	return resetting{l}, nil
}

// resetting is a listener whose connections end with RST.
type resetting struct{ net.Listener }

func (l resetting) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		c.(*net.TCPConn).SetLinger(0)
	}
	return c, err
}

// get asks for a page from the host. Status 0 is no answer.
func (h *host) get(url string) (status int, body string) {
	c := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: h.dial, DisableKeepAlives: true}}
	a, err := c.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer a.Body.Close()
	text, _ := io.ReadAll(a.Body)
	return a.StatusCode, string(text)
}

// start starts a process on the host: see startProcess.
func (h *host) start(t *testing.T, log string, stdout io.Writer, env []string, path string, args ...string) *process {
	t.Helper()
	return startProcessBy(h.starts, t, h.name, log, stdout, env, path, args...)
}
