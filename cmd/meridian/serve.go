package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"meridian/health"
	"meridian/health/check"
	"meridian/policy/geo"
	"meridian/policy/geo/mmdb"
	"meridian/server"
	"meridian/server/admin"
	"meridian/store"
	"meridian/store/etcd"
	"meridian/store/etcd/embedded"
)

func serveCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Answer DNS out of the registry, and check the members",
		Long:  `Answer DNS out of the registry, and check the members.`,
		Args:  cobra.NoArgs,
		RunE: untilStopped(func(ctx context.Context, cfg Config, log *slog.Logger) error {
			return serve(ctx, cfg, log, nil)
		}),
	}
	addServeFlags(c.Flags())
	c.Long += `

Options come from flags, the environment (MERIDIAN_DNS_LISTEN for dns.listen) and a file (--config),
in this order:

` + configReference(c.Flags())
	return c
}

// untilStopped is a command that is configured as a server is, and runs until a signal stops it.
func untilStopped(run func(context.Context, Config, *slog.Logger) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		cfg, err := loadConfig(cmd.Flags(), os.Environ())
		if err != nil {
			return err
		}
		ctx, stop := untilSignal()
		defer stop()
		return run(ctx, cfg, newLog(cfg.Log))
	}
}

// running is what others may want of a server that is up.
type running struct {
	registry  *etcd.Registry
	dns       []netip.AddrPort
	http      netip.AddrPort
	endpoints []string        // of etcd
	settled   <-chan struct{} // closed once the server is ready
}

// processors is how many of them the scheduler needs at least, for so many UDP sockets. A busy socket keeps
// one: the applier and the checks have one of their own. Where there are fewer than four in all, each
// has to do a share of the collector's work, the sockets' too.
func processors(usual, sockets int) int { return max(usual, sockets+1, 4) }

// serve runs a server until ctx is done. Where up is not nil, it is called in a goroutine of
// its own once all parts are up.
func serve(ctx context.Context, cfg Config, log *slog.Logger, up func(context.Context, running) error) error {
	started := time.Now()
	// Before anything is answered: what was given out as if nobody knew where clients are would stay with resolvers
	// for its TTL. A file that cannot be used is no reason not to start, since a server that runs would go on without
	// it, and a policy says what those get of whom nothing is known.
	geography := mmdb.NewWatcher(cfg.Geo.Databases, log)
	applier, restored := newApplier(cfg, geography.Load(), log)
	saver := store.NewSaver(filepath.Join(cfg.DataDir, imageFile), log)
	saver.Every = cfg.ImageInterval
	dns := server.New(server.Config{
		Listen: cfg.DNS.Listen, Workers: cfg.DNS.Workers,
		TCPMax: cfg.DNS.TCPMax, TCPMaxPerClient: cfg.DNS.TCPMaxPerClient, TCPIdle: cfg.DNS.TCPIdle,
		NSID: cfg.DNS.NSID, Version: cfg.DNS.Version, Log: log,
	}, &applier.Snapshot)
	if err := dns.Listen(); err != nil {
		return fmt.Errorf("dns.listen: %w", err)
	}
	runtime.GOMAXPROCS(processors(runtime.GOMAXPROCS(0), cfg.DNS.Workers*len(cfg.DNS.Listen)))
	group, ctx := errgroup.WithContext(ctx)
	// From here on queries are answered: with REFUSED, until the registry is read.
	group.Go(func() error { return dns.Serve(ctx) })
	group.Go(func() error {
		// An etcd of our own that takes its time to start keeps the disk image no longer than another would.
		meanwhile := time.AfterFunc(store.Patience, applier.ServeImage)
		registry, own, stop, err := startRegistry(ctx, cfg, !restored.IsZero(), applier.ServeImage, log)
		meanwhile.Stop()
		if err != nil {
			return err
		}
		defer stop()
		looks := cfg.looks(len(cfg.Etcd.Endpoints) == 0, log)
		looks.Measured = applier.Measured
		checker := check.New(looks)
		list, err := permitted(cfg.Checker.Sentinels, check.MayEcho)
		if err != nil {
			log.Error("sentinel left out: answering comes first", "reason", err)
		}
		seen := newSentinels(list, checker, log)
		standing := &standing{cfg, started, restored, applier, registry, own, saver, geography}
		http, err := admin.Listen(admin.Config{
			Listen: cfg.HTTPListen, Snapshot: &applier.Snapshot, Ready: applier.Ready, Log: log,
			Collectors: []prometheus.Collector{&metrics{cfg, dns, applier, checker, seen, registry}, &statusMetrics{standing.status, saver}},
			Status:     func() any { return standing.status() },
			Notes:      func() []string { return notes(standing.status(), cfg.Etcd.Prefix, time.Now()) },
			Name:       cfg.ServerName, Site: cfg.Site,
		})
		if err != nil {
			return fmt.Errorf("http.listen: %w", err)
		}
		endpoints := cfg.Etcd.Dial()
		if own != nil {
			endpoints = own.Endpoints()
		}
		log.Info("meridian started", "version", version, "name", cfg.ServerName, "site", cfg.Site,
			"dns", dns.Addrs(), "http", http.Addr(), "etcd", endpoints)
		err = follow(ctx, cfg, parts{applier, checker, seen, registry, saver, http, standing, geography}, func(ctx context.Context) error {
			if up == nil {
				return nil
			}
			return up(ctx, running{registry, dns.Addrs(), http.Addr(), endpoints, applier.Settled()})
		})
		if img := applier.LastImage(); img != nil {
			img.Prefix = cfg.Etcd.Prefix
			saver.Save(img)
		}
		return err
	})
	err := group.Wait()
	log.Info("meridian stopped")
	return err
}

// parts are those of a server that end before its registry does.
type parts struct {
	applier   *store.Applier
	checker   *check.Runner
	seen      *sentinels
	registry  *etcd.Registry
	saver     *store.Saver
	http      *admin.Server
	standing  *standing
	geography *mmdb.Watcher
}

// follow keeps what is served like the registry and the health of the members, until ctx is done.
func follow(ctx context.Context, cfg Config, p parts, up func(context.Context) error) error {
	faults, status := p.registry.Mirror("error/"+cfg.ServerName), p.registry.MirrorKey("server/"+cfg.ServerName)
	p.applier.Voter = health.Voter{Checker: "server/" + cfg.ServerName, Site: cmp.Or(cfg.Site, store.Nowhere)}
	p.applier.Lapsed = p.registry.LiveLapsed
	if cfg.Checker.Enabled {
		p.applier.SetTargets = p.seen.Set
	}
	p.applier.SetFaults = func(list []store.Fault) { faults.Set(faultKeys(list)) }
	p.applier.SetStatus = func(store.Status) { status.Set(p.standing.key()) }
	latches := p.registry.Proposals(store.LatchYields)
	p.applier.SetLatches = func(list map[string]health.Latch) { latches.Set(latchKeys(list, cfg.ServerName)) }
	p.applier.Earlier = p.registry.Earlier
	updates := make(chan store.Update)
	image := func(ctx context.Context) *store.Image {
		img := p.applier.Image(ctx)
		if img != nil {
			img.Prefix = cfg.Etcd.Prefix
		}
		return img
	}

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.http.Serve(ctx) })
	group.Go(func() error { p.registry.Follow(ctx, updates, p.applier.Again()); return nil })
	for _, dir := range store.LiveDirs {
		group.Go(func() error { p.registry.FollowLive(ctx, dir, p.applier.Live()); return nil })
	}
	group.Go(func() error { p.applier.Run(ctx, updates, p.seen.Changed(), p.seen.Take); return nil })
	group.Go(func() error { p.checker.Run(ctx); return nil })
	group.Go(func() error { p.seen.Run(ctx); return nil })
	group.Go(func() error { p.saver.Run(ctx, p.applier.Changed(), image); return nil })
	if len(cfg.Geo.Databases) > 0 {
		group.Go(func() error { p.geography.Run(ctx, cfg.Geo.Interval, p.applier.SetGeo); return nil })
	}
	group.Go(func() error { faults.Run(ctx); return nil })
	group.Go(func() error { status.Run(ctx); return nil })
	group.Go(func() error { latches.Run(ctx); return nil })
	group.Go(func() error {
		// What the applier does not know of changes too: alarms, a disk that is full.
		for tick := time.Tick(statusEvery); ; {
			select {
			case <-tick:
				if p.applier.Status().Revision != 0 {
					status.Set(p.standing.key())
				}
			case <-ctx.Done():
				return nil
			}
		}
	})
	group.Go(func() error { return up(ctx) })
	return group.Wait()
}

// statusEvery is how often the live key of this server is looked after without cause.
const statusEvery = 5 * time.Second

// imageFile is where the disk image is, in the data directory.
const imageFile = "registry.image"

// newApplier returns an applier that knows where clients are and what the disk image does, and says when that
// was saved: never where there is none that can be used.
func newApplier(cfg Config, where *geo.Database, log *slog.Logger) (applier *store.Applier, saved time.Time) {
	path := filepath.Join(cfg.DataDir, imageFile)
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		log.Warn("data directory cannot be made: there will be no disk image", "reason", err)
	}
	img, err := store.ReadImage(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return emptyApplier(where, log), time.Time{}
	case err == nil && img.Prefix != cfg.Etcd.Prefix:
		err = fmt.Errorf("it is of etcd.prefix %s, not of %s", img.Prefix, cfg.Etcd.Prefix)
	case err == nil:
		if applier, err = restore(img, where, log); err == nil {
			log.Info("disk image read", "path", path, "revision", img.Revision, "names", img.Names.Names, "saved", img.Saved)
			return applier, img.Saved
		}
	}
	log.Error("disk image discarded", "path", path, "reason", err)
	return emptyApplier(where, log), time.Time{}
}

func emptyApplier(where *geo.Database, log *slog.Logger) *store.Applier {
	a := store.NewApplier(log)
	a.SetGeo(where)
	return a
}

// restore makes an applier of an image. A fault of ours in that must not keep the server from starting
// again and again.
func restore(img *store.Image, where *geo.Database, log *slog.Logger) (applier *store.Applier, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it cannot be taken in, please report it: %v", p)
		}
	}()
	applier = emptyApplier(where, log)
	applier.Restore(img)
	return applier, nil
}

// startRegistry connects to the etcd of the configuration, or starts one of our own; own is nil where
// there is none. With an image to serve, an etcd that cannot be started is no reason to stop. failed is called
// whenever etcd is out of reach.
func startRegistry(ctx context.Context, cfg Config, restored bool, failed func(), log *slog.Logger) (registry *etcd.Registry, own *embedded.Server, stop func(), err error) {
	stopOwn := func() {}
	if len(cfg.Etcd.Endpoints) == 0 {
		start := time.Now()
		own, err = embedded.Start(ctx, embedded.Config{
			Dir: filepath.Join(cfg.DataDir, "etcd"), Listen: cfg.Etcd.Listen, Log: log,
		})
		switch {
		case err == nil:
			log.Info("embedded etcd started", "endpoint", own.Addr(), "took", time.Since(start).Round(time.Millisecond))
			cfg.Etcd.Endpoints, stopOwn = own.Endpoints(), own.Close
			go func() {
				// What was read goes on being served from memory: a lost etcd is no outage.
				if err, failed := <-own.Failed(); failed {
					log.Error("embedded etcd failed: serving on without it", "error", err)
				}
			}()
		case restored && ctx.Err() == nil:
			log.Error("embedded etcd not started: serving the disk image", "error", err)
		default:
			return nil, nil, nil, err
		}
	}
	follow := etcdConfig(cfg.Etcd)
	follow.Failed = failed
	registry, err = etcd.Open(ctx, follow, log)
	if err != nil {
		stopOwn()
		return nil, nil, nil, err
	}
	return registry, own, func() { registry.Close(); stopOwn() }, nil
}

// standing says how the server stands, out of all that knows something of it.
type standing struct {
	cfg       Config
	started   time.Time
	restored  time.Time // when the disk image that was read at the start was saved; zero if there was none
	applier   *store.Applier
	registry  *etcd.Registry
	own       *embedded.Server // nil where the etcd is another's
	saver     *store.Saver
	geography *mmdb.Watcher
}

func (s *standing) status() store.Status {
	st := s.applier.Status()
	st.Version, st.Site, st.Started = version, s.cfg.Site, s.started
	contact := s.registry.Contact()
	st.Contact = contact.Last
	if !contact.InReach {
		st.Lost = cmp.Or(contact.Since, s.started)
	}
	if s.own != nil {
		st.Alarms = s.own.Alarms()
	}
	saved := s.saver.Stats()
	st.ImageSaved, st.ImageError = saved.Saved, saved.Error
	if st.Image {
		st.ImageSaved = s.restored // what is written meanwhile is no younger
	}
	st.Geo = geoFiles(s.geography.States())
	return st
}

// key is the status as the live key has it: by being there it says that etcd is in reach.
func (s *standing) key() string {
	st := s.status()
	st.Contact, st.Lost, st.ImageSaved = time.Time{}, time.Time{}, time.Time{}
	text, err := json.Marshal(st, json.Deterministic(true)) // what has not changed is not written
	if err != nil {
		return fmt.Sprintf(`{"version":%q}`, version)
	}
	return string(text)
}

const (
	maxFaults   = 1000 // that a server writes into the registry, the newest; the rest is counted alone
	maxFaultKey = 1000 // bytes: a longer key is nobody's who could be helped
)

// latchKeys are the values of latches that this server writes.
func latchKeys(list map[string]health.Latch, server string) map[string]string {
	keys := map[string]string{}
	for key, l := range list {
		l.By = server
		if value, err := json.Marshal(l); err == nil {
			keys[key] = string(value)
		}
	}
	return keys
}

func faultKeys(list []store.Fault) map[string]string {
	slices.SortStableFunc(list, func(x, y store.Fault) int { return cmp.Compare(y.Revision, x.Revision) })
	keys := map[string]string{}
	for _, f := range list {
		if len(keys) == maxFaults {
			break
		}
		if len(f.Key) > maxFaultKey {
			continue
		}
		value, err := json.Marshal(f)
		if err != nil {
			value = fmt.Appendf(nil, `{"error":%q}`, f.Error)
		}
		keys[f.Key] = string(value)
	}
	return keys
}
