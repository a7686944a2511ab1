package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// limit is far beyond what anything here takes: it is there so that a test fails rather than hangs.
const limit = 20 * time.Second

func start(t *testing.T, cfg Config) *Server {
	t.Helper()
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	s, err := Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func dial(t *testing.T, s *Server) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: s.Endpoints(), Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestStart(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data", "etcd") // to be made
	s := start(t, Config{Dir: dir})
	if s.Addr().Port() == 0 || !s.Addr().Addr().IsLoopback() || s.Endpoints()[0] != s.Addr().String() {
		t.Errorf("listens at %v, endpoints %v", s.Addr(), s.Endpoints())
	}
	c := dial(t, s)
	put, err := c.Put(t.Context(), "/a", "1")
	if err != nil {
		t.Fatal(err)
	}
	// A watch is under way while it closes, and must not hold it up until it is given up on.
	<-c.Watch(t.Context(), "/a", clientv3.WithRev(1))
	began := time.Now()
	s.Close()
	if took := time.Since(began); took > closing {
		t.Errorf("took %v to close", took)
	}
	s.Close() // harmless
	select {
	case err := <-s.Failed():
		t.Errorf("closing is taken for a failure: %v", err)
	default:
	}

	s = start(t, Config{Dir: dir, Listen: s.Addr().String()})
	got, err := dial(t, s).Get(t.Context(), "/a")
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "1" {
		t.Errorf("after a restart /a is %v", got.Kvs)
	}
	if got.Header.ClusterId != put.Header.ClusterId {
		t.Error("another cluster after a restart")
	}
	other := start(t, Config{Dir: t.TempDir()})
	got, err = dial(t, other).Get(t.Context(), "/a")
	if err != nil {
		t.Fatal(err)
	}
	if got.Header.ClusterId == put.Header.ClusterId {
		t.Error("two directories are the same cluster")
	}
}

// The client address is all that is listened to.
func TestListensToClientsAlone(t *testing.T) {
	before := listeners(t)
	s := start(t, Config{Dir: t.TempDir()})
	var now []string
	for l := range listeners(t) {
		if !before[l] {
			now = append(now, l)
		}
	}
	if len(now) != 1 {
		t.Errorf("listens at %v, expected %v alone", now, s.Addr())
	}
	if n := len(s.etcd.Peers); n != 0 {
		t.Errorf("%d peer listeners", n)
	}
}

// listeners are the listening TCP sockets of this process, by their number.
func listeners(t *testing.T) map[string]bool {
	t.Helper()
	listening := map[string]bool{}
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		text, err := os.ReadFile(table)
		if err != nil {
			t.Skip("no ", table)
		}
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) > 9 && f[3] == "0A" { // TCP_LISTEN
				listening["socket:["+f[9]+"]"] = true
			}
		}
	}
	ours := map[string]bool{}
	fds, _ := filepath.Glob("/proc/self/fd/*")
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && listening[to] {
			ours[to] = true
		}
	}
	return ours
}

func TestStartSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	running := start(t, Config{Dir: filepath.Join(dir, "used")})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	used := l.Addr().String()

	broken := filepath.Join(dir, "broken")
	start(t, Config{Dir: broken}).Close()
	logs, err := filepath.Glob(filepath.Join(broken, "member", "wal", "*.wal"))
	if err != nil || len(logs) == 0 {
		t.Fatal("no write-ahead log found: ", err)
	}
	if err := os.WriteFile(logs[0], []byte(strings.Repeat("not a log", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	notDB := filepath.Join(dir, "not-a-db")
	if err := os.MkdirAll(filepath.Join(notDB, "member", "snap"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(notDB, "member", "snap", "db"), []byte(strings.Repeat("not a data base", 10000)), 0o600); err != nil {
		t.Fatal(err)
	}

	for _, tt := range []struct {
		name string
		cfg  Config
		want string // DIR stands for dir; "…" at the end: etcd's own words follow
	}{
		{"no address", Config{Listen: "localhost:2379"}, `etcd.listen: "localhost:2379" is not an address and port such as 127.0.0.1:2379`},
		{"address in use", Config{Listen: used}, `etcd.listen: ` + used + ` is in use by another process; if that is the etcd to use, name it in etcd.endpoints`},
		{"address of another", Config{Listen: "192.0.2.1:2379"}, `etcd.listen: 192.0.2.1:2379 is not an address of this machine`},
		{"directory in use", Config{Dir: "used"}, `data_dir: DIR/used is in use by another process`},
		{"broken log", Config{Dir: "broken"}, `data_dir: etcd cannot use DIR/broken: …`},
		{"broken data base", Config{Dir: "not-a-db"}, `data_dir: etcd cannot use DIR/not-a-db: failed to open database: invalid database`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.cfg.Dir == "" {
				tt.cfg.Dir = "free"
			}
			if tt.cfg.Listen == "" {
				tt.cfg.Listen = "127.0.0.1:0"
			}
			tt.cfg.Dir = filepath.Join(dir, tt.cfg.Dir)
			tt.cfg.Log = slog.New(slog.DiscardHandler)
			ctx, cancel := context.WithTimeout(context.Background(), limit)
			defer cancel()
			s, err := Start(ctx, tt.cfg)
			if err == nil {
				s.Close()
				t.Fatal("no error")
			}
			got := strings.ReplaceAll(err.Error(), dir, "DIR")
			if begin, ok := strings.CutSuffix(tt.want, "…"); ok && strings.HasPrefix(got, begin) {
				got = tt.want
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
	// What failed holds neither directory nor address.
	start(t, Config{Dir: filepath.Join(dir, "free")})
	if _, err := dial(t, running).Get(t.Context(), "/a"); err != nil {
		t.Errorf("the one that was running: %v", err)
	}
}

func TestStartGivesUp(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	dir := t.TempDir()
	_, err := Start(ctx, Config{Dir: dir, Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, expected %v", err, context.Canceled)
	}
}

// A full disk ends etcd's part alone, where etcd would end the process: it is told, and what is left
// can be closed.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, Config{Dir: dir})
	c := dial(t, s)
	put(t, c, "/a", "1")
	fillDisk(t, filepath.Join(dir, "member", "wal"))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.Put(ctx, "/a", "2"); err == nil {
		t.Error("a write is taken that is not on the disk")
	}
	select {
	case err := <-s.Failed():
		if want := "failed to save Raft hard state and entries: "; !strings.HasPrefix(err.Error(), want) || !errors.Is(err, unix.ENOSPC) {
			t.Errorf("got %q, expected %q and %v", err, want, unix.ENOSPC)
		}
	case <-time.After(limit):
		t.Fatal("the failure is not told")
	}
	s.Close()
}

// fillDisk puts /dev/full in the place of the files of a directory that this process has open.
func fillDisk(t *testing.T, dir string) {
	t.Helper()
	full, err := unix.Open("/dev/full", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip("no /dev/full: ", err)
	}
	defer unix.Close(full)
	fds, _ := filepath.Glob("/proc/self/fd/*")
	for _, fd := range fds {
		n, _ := strconv.Atoi(filepath.Base(fd))
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, dir+"/") {
			if err := unix.Dup3(full, n, unix.O_CLOEXEC); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// An etcd that stops by itself is told of.
func TestStopped(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Dir: t.TempDir()})
	s.etcd.Server.HardStop()
	select {
	case err := <-s.Failed():
		if !errors.Is(err, errStopped) {
			t.Errorf("got %v, expected %v", err, errStopped)
		}
	case <-time.After(limit):
		t.Fatal("the end is not told")
	}
}

// A start and a close with all in order say nothing: neither by our log, above debugging, nor on
// standard error.
func TestQuiet(t *testing.T) {
	log, entries := recorded(slog.LevelInfo)
	dir := filepath.Join(t.TempDir(), "etcd")
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr := os.Stderr
	os.Stderr = write
	for range 2 {
		s := start(t, Config{Dir: dir, Log: log})
		if _, err := dial(t, s).Put(t.Context(), "/a", "1"); err != nil {
			t.Error(err)
		}
		s.Close()
	}
	os.Stderr = stderr
	write.Close()
	said := make([]byte, 1000)
	if n, _ := read.Read(said); n > 0 {
		t.Errorf("on standard error: %s", said[:n])
	}
	for _, e := range entries() {
		if !strings.Contains(e, "took too long") { // the machine is busy, which etcd may well say
			t.Errorf("logged: %s", e)
		}
	}
}

func TestWarnsOfOpenAddress(t *testing.T) {
	t.Parallel()
	log, entries := recorded(slog.LevelInfo)
	start(t, Config{Dir: filepath.Join(t.TempDir(), "etcd"), Listen: "0.0.0.0:0", Log: log})
	want := "WARN the embedded etcd lets itself be written to by all who reach it: it has neither users nor TLS etcd.listen=0.0.0.0:0"
	if got := entries(); fmt.Sprint(got) != fmt.Sprint([]string{want}) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// backup copies the directory of a running etcd: what a machine that loses its power would find,
// but for what its disk has promised and not kept.
func backup(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// What has been answered survives the end of the process.
func TestKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, Config{Dir: dir + "/a"})
	c := dial(t, s)
	for i := range 50 {
		put(t, c, fmt.Sprintf("/gslb/%d", i), "1")
	}
	backup(t, dir+"/a", dir+"/b")
	got, err := dial(t, start(t, Config{Dir: dir + "/b"})).Get(t.Context(), "/gslb/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil || got.Count != 50 || got.Header.Revision != 51 {
		t.Errorf("%d keys at revision %d, %v, expected 50 at 51", got.Count, got.Header.Revision, err)
	}
}
