//go:build faults

package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"meridian/store/etcd/embedded"
)

var (
	faultSeed  = flag.Uint64("seed", 0, "of the faults; 0: another one each time")
	faultPause = flag.Duration("pause", 4*time.Second, "how long processes are paused, and etcd is away")
)

// etcdProcess in the environment makes this binary an etcd: its directory and address.
const etcdVariable = "FAULTS_ETCD"

func TestMain(m *testing.M) {
	if where := os.Getenv(etcdVariable); where != "" {
		dir, addr, _ := strings.Cut(where, "@")
		if err := runEtcd(dir, addr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	if *faultSeed == 0 {
		*faultSeed = rand.Uint64N(1_000_000)
	}
	dir, err := os.MkdirTemp("", "faults")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	shipped.dir = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// runEtcd is an etcd until it is told to stop.
func runEtcd(dir, addr string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	s, err := embedded.Start(ctx, embedded.Config{Dir: dir, Listen: addr, Log: log})
	if err != nil {
		return err
	}
	defer s.Close()
	fmt.Println("ready")
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.Failed():
		return err
	}
}

// shipped is meridian as operators have it, built when it is first asked for.
var shipped struct {
	dir   string
	built sync.Once
	err   error
}

func meridian(t *testing.T) string {
	t.Helper()
	path := filepath.Join(shipped.dir, "meridian")
	shipped.built.Do(func() {
		if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
			shipped.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if shipped.err != nil {
		t.Fatal(shipped.err)
	}
	return path
}

// process is one of our own that can be stopped, paused and killed.
type process struct {
	t      *testing.T
	name   string
	cmd    *exec.Cmd
	log    string // file of what it says
	exited chan struct{}
}

// starter starts processes that go with this one, however it ends: Linux kills them with the thread
// that started them, so that has to be one that stays.
var starter = func() chan func() {
	c := make(chan func())
	go func() {
		runtime.LockOSThread()
		for start := range c {
			start()
		}
	}()
	return c
}()

// startProcess starts a command. What it says goes into a file of that name, and into the test's log if that
// fails.
func startProcess(t *testing.T, name, log string, stdout io.Writer, env []string, path string, args ...string) *process {
	t.Helper()
	return startProcessBy(starter, t, name, log, stdout, env, path, args...)
}

// startProcessBy is startProcess by another starter.
func startProcessBy(starter chan func(), t *testing.T, name, log string, stdout io.Writer, env []string, path string, args ...string) *process {
	t.Helper()
	file, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	c := exec.Command(path, args...)
	c.Env = append(os.Environ(), env...)
	c.Stdout, c.Stderr = stdout, file
	if stdout == nil {
		c.Stdout = file
	}
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	starter <- func() { started <- c.Start() }
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, name: name, cmd: c, log: log, exited: make(chan struct{})}
	go func() { c.Wait(); close(p.exited) }()
	t.Cleanup(p.kill)
	return p
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("%s: %v: %v", p.name, s, err)
	}
}

// kill ends the process as a power cut would, and waits.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.exited
}

// stop ends it in good order.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(patience):
		p.t.Fatalf("%s: still there %v after SIGTERM", p.name, patience)
	}
}

func (p *process) pause()  { p.t.Helper(); p.signal(syscall.SIGSTOP) }
func (p *process) resume() { p.t.Helper(); p.signal(syscall.SIGCONT) }

// gone says whether the process has ended.
func (p *process) gone() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// rss is the memory that the process has now, in bytes.
func (p *process) rss() int64 {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	var size, resident int64
	fmt.Sscan(string(text), &size, &resident)
	return resident * int64(os.Getpagesize())
}

// ports that were given out, to tests that run side by side.
var ports struct {
	sync.Mutex
	given map[int]bool
}

// unusedPort is one of the loopback address that nobody listens on, over UDP and TCP, and that no
// outgoing connection is given: it is to stay free while its process is away.
func unusedPort(t *testing.T) int {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	if ports.given == nil {
		ports.given = map[int]bool{}
	}
	for range 1000 {
		port := 20000 + rand.IntN(10000) // below the ephemeral ones
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		tcp, err := net.Listen("tcp", addr)
		if err != nil || ports.given[port] {
			continue
		}
		tcp.Close()
		udp, err := net.ListenPacket("udp", addr)
		if err != nil {
			continue
		}
		udp.Close()
		ports.given[port] = true
		return port
	}
	t.Fatal("no port is free")
	return 0
}
