package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"meridian/health/check"
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
		Long: `Answer DNS out of the registry, and check the members.

Options come from flags, the environment (MERIDIAN_DNS_LISTEN for dns.listen) and a file (--config),
in this order:

` + configReference(),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(cmd.Flags(), os.Environ())
			if err != nil {
				return err
			}
			ctx, stop := untilSignal()
			defer stop()
			return serve(ctx, cfg, newLog(cfg.Log), nil)
		},
	}
	addServeFlags(c.Flags())
	return c
}

// running is what others may want of a server that is up.
type running struct {
	registry  *etcd.Registry
	dns       []netip.AddrPort
	http      netip.AddrPort
	endpoints []string        // of etcd
	settled   <-chan struct{} // closed once the server is ready
}

// serve runs a server until ctx is done. Where started is not nil, it is called in a goroutine of
// its own once all parts are up.
func serve(ctx context.Context, cfg Config, log *slog.Logger, started func(context.Context, running) error) error {
	applier := store.NewApplier(log)
	dns := server.New(server.Config{
		Listen: cfg.DNS.Listen, Workers: cfg.DNS.Workers,
		TCPMax: cfg.DNS.TCPMax, TCPMaxPerClient: cfg.DNS.TCPMaxPerClient, TCPIdle: cfg.DNS.TCPIdle,
		NSID: cfg.DNS.NSID, Version: cfg.DNS.Version, Log: log,
	}, &applier.Snapshot)
	if err := dns.Listen(); err != nil {
		return fmt.Errorf("dns.listen: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	// From here on queries are answered: with REFUSED, until the registry is read.
	group.Go(func() error { return dns.Serve(ctx) })
	group.Go(func() error {
		registry, endpoints, stop, err := startRegistry(ctx, cfg, log)
		if err != nil {
			return err
		}
		defer stop()
		checker := check.New(log)
		http, err := admin.Listen(admin.Config{
			Listen: cfg.HTTPListen, Snapshot: &applier.Snapshot, Ready: applier.Ready, Log: log,
			Collectors: []prometheus.Collector{&metrics{cfg, dns, applier, checker, registry}},
			Name:       cfg.ServerName, Site: cfg.Site,
		})
		if err != nil {
			return fmt.Errorf("http.listen: %w", err)
		}
		log.Info("meridian started", "version", version, "name", cfg.ServerName, "site", cfg.Site,
			"dns", dns.Addrs(), "http", http.Addr(), "etcd", endpoints)
		return follow(ctx, cfg, parts{applier, checker, registry, http}, func(ctx context.Context) error {
			if started == nil {
				return nil
			}
			return started(ctx, running{registry, dns.Addrs(), http.Addr(), endpoints, applier.Settled()})
		})
	})
	err := group.Wait()
	log.Info("meridian stopped")
	return err
}

// parts are those of a server that end before its registry does.
type parts struct {
	applier  *store.Applier
	checker  *check.Runner
	registry *etcd.Registry
	http     *admin.Server
}

// follow keeps what is served like the registry and the health of the members, until ctx is done.
func follow(ctx context.Context, cfg Config, p parts, started func(context.Context) error) error {
	faults := p.registry.Mirror("error/" + cfg.ServerName)
	p.applier.SetTargets = p.checker.Set
	p.applier.SetFaults = func(list []store.Fault) { faults.Set(faultKeys(list)) }
	updates := make(chan store.Update)

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.http.Serve(ctx) })
	group.Go(func() error { p.registry.Follow(ctx, updates); return nil })
	group.Go(func() error { p.applier.Run(ctx, updates, p.checker.Changed(), p.checker.Take); return nil })
	group.Go(func() error { p.checker.Run(ctx); return nil })
	group.Go(func() error { faults.Run(ctx); return nil })
	group.Go(func() error { return started(ctx) })
	return group.Wait()
}

// startRegistry connects to the etcd of the configuration, or starts one of our own.
func startRegistry(ctx context.Context, cfg Config, log *slog.Logger) (registry *etcd.Registry, endpoints []string, stop func(), err error) {
	stopOwn := func() {}
	if len(cfg.Etcd.Endpoints) == 0 {
		start := time.Now()
		own, err := embedded.Start(ctx, embedded.Config{
			Dir: filepath.Join(cfg.DataDir, "etcd"), Listen: cfg.Etcd.Listen, Log: log,
		})
		if err != nil {
			return nil, nil, nil, err
		}
		log.Info("embedded etcd started", "endpoint", own.Addr(), "took", time.Since(start).Round(time.Millisecond))
		cfg.Etcd.Endpoints = own.Endpoints()
		stopOwn = own.Close
		go func() {
			// What was read goes on being served from memory: a lost etcd is no outage.
			if err, failed := <-own.Failed(); failed {
				log.Error("embedded etcd failed: serving on without it", "error", err)
			}
		}()
	}
	registry, err = etcd.Open(ctx, etcdConfig(cfg.Etcd), log)
	if err != nil {
		stopOwn()
		return nil, nil, nil, err
	}
	return registry, cfg.Etcd.Endpoints, func() { registry.Close(); stopOwn() }, nil
}

const (
	maxFaults   = 1000 // that a server writes into the registry, the newest; the rest is counted alone
	maxFaultKey = 1000 // bytes: a longer key is nobody's who could be helped
)

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
