// Package embedded runs an etcd of one member inside the process: the registry of an installation
// that has no etcd of its own.
package embedded

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"

	"meridian/store/etcd/zaplog"
)

const (
	// A member that is alone waits one tick to elect itself, and minds no slow ones.
	tickMs     = 20
	electionMs = 5 * tickMs

	// The bytes the data base may have before etcd only lets itself be read and deleted from:
	// etcd's own default. A million names take some 150 MB.
	quota = 2 << 30

	// How many revisions are kept: by number, not by age, so that a process that is often started
	// anew compacts too (etcd counts the age from the start), and a registry that nobody writes to
	// keeps the former values of its keys for months. At a busy ten status writes a second it is
	// the last three hours. etcd looks every five minutes.
	keepRevisions = "100000"

	// How many writes etcd keeps in memory until it has written a snapshot; by default 10,000, of up to
	// 1.5 MB each, for followers to catch up. A lone member has none.
	keepWrites = 200

	// How long clients may finish what they asked for when the server closes.
	graceful = 250 * time.Millisecond

	// How long the server may take to close. It takes as long as its clients, unless it has failed.
	closing = 5 * time.Second
)

// Config says where the etcd keeps its data and where it listens.
type Config struct {
	Dir    string // made if it is not there
	Listen string // client address and port; port 0 takes a free one
	Log    *slog.Logger

	quota int64 // bytes, of a test; 0: quota
}

// Server is a running etcd.
type Server struct {
	addr   netip.AddrPort
	etcd   *embed.Etcd
	grpc   atomic.Pointer[grpc.Server] // set once etcd serves
	lock   *os.File                    // on the directory
	failed chan error
	close  sync.Once
	closed chan struct{}
}

// Start starts an etcd and waits until it answers. It listens for clients alone: there is no peer
// address. Errors name the option at fault, etcd.listen or data_dir.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	addr, err := netip.ParseAddrPort(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("etcd.listen: %q is not an address and port such as 127.0.0.1:2379", cfg.Listen)
	}
	if !addr.Addr().IsLoopback() {
		cfg.Log.Warn("the embedded etcd lets itself be written to by all who reach it: it has neither users nor TLS",
			"etcd.listen", cfg.Listen)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("starting etcd: %w", err)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	s := &Server{lock: lock, failed: make(chan error, 1), closed: make(chan struct{})}
	if err := s.start(ctx, cfg, addr); err != nil {
		lock.Close()
		return nil, err
	}
	go s.watch()
	return s, nil
}

// start runs the etcd and waits for it. In a goroutine of its own, since etcd ends the one that it
// fails in.
func (s *Server) start(ctx context.Context, cfg Config, addr netip.AddrPort) error {
	type result struct {
		etcd *embed.Etcd
		err  error
	}
	started := make(chan result, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil { // etcd stumbles over some broken files
				s.fail(fmt.Errorf("%v", p))
			}
		}()
		e, err := embed.StartEtcd(s.config(cfg, addr))
		started <- result{e, err}
	}()
	var r result
	select {
	case r = <-started:
	case err := <-s.failed:
		return fmt.Errorf("data_dir: etcd cannot use %s: %w", cfg.Dir, err)
	case <-ctx.Done():
		go func() { // it cannot be interrupted
			if r := <-started; r.err == nil {
				r.etcd.Close()
			}
		}()
		return fmt.Errorf("starting etcd: %w", ctx.Err())
	}
	switch {
	case errors.Is(r.err, syscall.EADDRINUSE):
		return fmt.Errorf("etcd.listen: %s is in use by another process; if that is the etcd to use, name it in etcd.endpoints", addr)
	case errors.Is(r.err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("etcd.listen: %s is not an address of this machine", addr)
	case errors.Is(r.err, syscall.EACCES) && addr.Port() != 0 && addr.Port() < 1024:
		return fmt.Errorf("etcd.listen: port %d needs a privilege that this process lacks", addr.Port())
	case r.err != nil:
		return fmt.Errorf("starting etcd: %w", r.err)
	}
	s.etcd = r.etcd
	s.addr, _ = netip.ParseAddrPort(s.etcd.Clients[0].Addr().String())
	select {
	case <-s.etcd.Server.ReadyNotify():
		return nil
	case err := <-s.etcd.Err():
		s.stop()
		return fmt.Errorf("starting etcd: %w", cmp.Or(err, errStopped))
	case err := <-s.failed:
		s.stop()
		return fmt.Errorf("data_dir: etcd cannot use %s: %w", cfg.Dir, err)
	case <-ctx.Done():
		s.stop()
		return fmt.Errorf("starting etcd: %w", ctx.Err())
	}
}

func (s *Server) config(cfg Config, addr netip.AddrPort) *embed.Config {
	client := url.URL{Scheme: "http", Host: addr.String()}
	// Nobody listens there; a member has to have one.
	peer := url.URL{Scheme: "http", Host: "127.0.0.1:2380"}

	c := embed.NewConfig()
	c.Name = "embedded"
	c.Dir = cfg.Dir
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	c.ListenPeerUrls, c.AdvertisePeerUrls = nil, []url.URL{peer}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	// Only read where there is no data yet: it makes the number of this cluster unlike that of any
	// other embedded one, so that a registry lost and begun anew is told from the one it was.
	c.InitialClusterToken = rand.Text()
	c.TickMs, c.ElectionMs = tickMs, electionMs
	c.AutoCompactionMode, c.AutoCompactionRetention = embed.CompactorModeRevision, keepRevisions
	c.QuotaBackendBytes = cmp.Or(cfg.quota, quota)
	c.SnapshotCount, c.SnapshotCatchUpEntries = keepWrites, 1
	c.EnableGRPCGateway = false
	c.ServiceRegister = s.grpc.Store
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zaplog.New(cfg.Log, s.level,
		zap.WithFatalHook(onFatal{s}), zap.WithPanicHook(onFatal{s})))
	return c
}

// level is how loud an entry of etcd's is: nobody need hear the usual, nor what ends while we close.
func (s *Server) level(e zapcore.Entry) slog.Level {
	select {
	case <-s.closed:
		return slog.LevelDebug
	default:
	}
	if usual[e.Message] || strings.HasSuffix(e.Message, early) {
		return slog.LevelDebug
	}
	return zaplog.OneDown(e)
}

// usual are the warnings that every start of an embedded etcd gives, and those that a client has it give as often as
// it likes.
var usual = map[string]bool{
	// Meant for those who run an etcd for others.
	"Running http and grpc server on single port. This is not recommended for production.": true,
	"simple token is not cryptographically signed":                                         true,
	// Of a new directory: the version is looked for before there is anything to tell it, and written
	// at a later look.
	"Failed to detect schema version":  true,
	"failed to update storage version": true,
	"Failed to detect storage schema version. Please wait till wal snapshot before upgrading cluster.": true,
	// Of a write that is not permitted, for one. Who asked for it is told.
	"failed to apply request": true,
}

// early ends a warning of a slow start: the member, alone, elects itself at the next tick.
const early = "since there are still pending configuration changes to apply"

// onFatal takes the place of the exit of the process that etcd wants when, say, the disk is full:
// the goroutine that failed ends, and the process serves on from what it knows.
type onFatal struct{ s *Server }

func (h onFatal) OnWrite(e *zapcore.CheckedEntry, fields []zapcore.Field) {
	err := errors.New(e.Message)
	for _, f := range fields {
		if cause, ok := f.Interface.(error); ok && f.Type == zapcore.ErrorType {
			err = fmt.Errorf("%s: %w", e.Message, cause)
		}
	}
	h.s.fail(err)
	runtime.Goexit()
}

var errStopped = errors.New("etcd has stopped")

// fail reports the first failure; those that follow come of it.
func (s *Server) fail(err error) {
	select {
	case s.failed <- err:
	default:
	}
}

// watch reports when the etcd ends without having been closed.
func (s *Server) watch() {
	var err error
	select {
	case <-s.closed:
		return
	case err = <-s.etcd.Err():
	case <-s.etcd.Server.StopNotify():
	}
	select {
	case <-s.closed:
	default:
		s.fail(cmp.Or(err, errStopped))
	}
}

// Addr is where clients are listened to, with the port taken where port 0 was asked for.
func (s *Server) Addr() netip.AddrPort { return s.addr }

// Endpoints is Addr as a client's configuration has it.
func (s *Server) Endpoints() []string { return []string{s.addr.String()} }

// Alarms are those that the etcd has raised: NOSPACE, when its data base has grown beyond two gigabytes,
// from when on it takes no writes but deletes, and CORRUPT, when it has found it damaged. Both last,
// through restarts too, until they are disarmed, NOSPACE after compacting and defragmenting has made room.
func (s *Server) Alarms() []string {
	var alarms []string
	for _, a := range s.etcd.Server.Alarms() {
		alarms = append(alarms, a.Alarm.String())
	}
	slices.Sort(alarms)
	return alarms
}

// Failed gets an error when the etcd has failed while it was running, from a full disk for example.
// It is to be closed then and does not come back by itself.
func (s *Server) Failed() <-chan error { return s.failed }

// Close stops the etcd. Clients have a quarter of a second to finish; watches end.
func (s *Server) Close() {
	s.close.Do(func() {
		close(s.closed)
		s.stop()
		s.lock.Close()
	})
}

func (s *Server) stop() {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		// etcd would wait five seconds for watches to end, which they do not.
		if g := s.grpc.Load(); g != nil {
			end := time.AfterFunc(graceful, g.Stop)
			g.GracefulStop()
			end.Stop()
		}
		s.etcd.Close()
	}()
	select {
	case <-stopped:
	case <-time.After(closing): // parts of one that has failed may never end
	}
}
