package check

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"meridian/health"
	"meridian/spec"
)

// backendEnv turns the test binary into a backend that listens on all of 127/8.
const backendEnv = "MERIDIAN_TEST_BACKEND"

func serveScale() {
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(l.Addr().(*net.TCPAddr).Port)
	go func() { io.Copy(io.Discard, os.Stdin); os.Exit(0) }() // it goes with who started it
	for {
		c, err := l.Accept()
		if err != nil {
			continue
		}
		go func() {
			defer c.Close()
			for buf := make([]byte, 512); ; {
				if _, err := c.Read(buf); err != nil {
					return
				}
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			}
		}()
	}
}

// BenchmarkScale looks at 100,000 addresses at intervals of 10 s and tells the processor time that
// a second of that takes, and the memory. Where so many files may not be open, there are as many kept
// connections as may, at the same pace. Run it once: -bench Scale -benchtime 1x.
func BenchmarkScale(b *testing.B) {
	const most, files = 100_000, 110_000
	connections := most
	limit := syscall.Rlimit{Cur: files, Max: files}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			b.Fatal(err)
		}
		connections = min(most, int(limit.Max)*9/10)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), backendEnv+"=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { stdin.Close(); cmd.Wait() }()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	port, wrong := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || wrong != nil {
		b.Fatalf("the backend says %q: %v", line, err)
	}
	for _, c := range []*health.Check{{TCP: &health.TCP{}}, {HTTP: &health.HTTP{Body: "ok"}}} {
		name, n := "tcp", most
		if c.HTTP != nil {
			name, n = "http", connections
		}
		c.Interval = spec.Duration(time.Duration(n) * 100 * time.Microsecond)
		c.Timeout = c.Interval
		if err := c.Complete(); err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			empty := resident()
			var targets []health.Target
			for i := range n {
				addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1 + byte(i>>16), byte(i >> 8), byte(i)}), uint16(port))
				targets = append(targets, health.Target{TargetID: health.TargetID{Check: name, Addr: addr}, Spec: c, State: health.Up})
			}
			r := New(Config{Networks: loopback.networks, Log: slog.New(slog.DiscardHandler)})
			ctx, cancel := context.WithCancel(b.Context())
			var running sync.WaitGroup
			running.Go(func() { r.Run(ctx) })
			r.Set(targets)
			time.Sleep(20 * time.Second) // each has been looked at, and found its place
			cpu, looks, began := processorTime(), r.Stats().Successes, time.Now()
			time.Sleep(20 * time.Second)
			seconds := time.Since(began).Seconds()
			b.ReportMetric((processorTime()-cpu).Seconds()/seconds, "cpu-s/s")
			stats := r.Stats()
			b.ReportMetric(float64(stats.Successes-looks)/seconds, "looks/s")
			b.ReportMetric(float64(stats.Failures), "failed")
			b.ReportMetric(float64(stats.Timeouts), "timed-out")
			b.ReportMetric(float64(stats.Void), "void")
			b.ReportMetric(float64(n), "targets")
			b.ReportMetric(float64(resident()-empty)/float64(n), "B/target")
			b.ReportMetric(0, "ns/op")
			cancel()
			running.Wait()
		})
	}
}

func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// resident is the memory in use by this process, stacks included.
func resident() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// BenchmarkHandshake is a look by https on a new connection, to compare with one on a kept connection.
func BenchmarkHandshake(b *testing.B) {
	for _, kept := range []bool{false, true} {
		b.Run(map[bool]string{false: "new", true: "kept"}[kept], func(b *testing.B) {
			addr, _, _ := serveTLS(b, authority.leaf(time.Now().Add(-time.Hour), time.Now().Add(time.Hour), "a.example"))
			to := at(b, addr, health.Check{HTTPS: &health.HTTPS{HTTP: health.HTTP{Host: "a.example"}}})
			cpu := processorTime()
			for range b.N {
				if err := to.look(b.Context()); err != nil {
					b.Fatal(err)
				}
				if !kept {
					to.closeIdle()
				}
			}
			b.ReportMetric(float64((processorTime()-cpu).Microseconds())/float64(b.N), "cpu-µs/op") // both sides
		})
	}
}
