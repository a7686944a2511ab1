package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"meridian/health"
	"meridian/health/check"
	"meridian/server/admin"
	"meridian/store"
	"meridian/store/etcd"
)

func checkerCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "checker --site SITE",
		Short: "Check the members from a site, and report what is seen to the servers",
		Long: `Check the members from a site, and report what is seen to the servers.

It follows the registry as a server does, but for zones, checks what the pools' policies name a check for, and writes what
it sees below /gslb-live/report/ of etcd, under a lease of 30 seconds: what it has said is gone when it is.
The servers count one vote a site. It answers no queries, and keeps nothing on disk.

Without --http-listen it has no HTTP.`,
		Example: "  meridian checker --site fra --etcd-endpoints https://etcd1.example.net:2379",
		Args:    cobra.NoArgs,
		RunE: untilStopped(func(ctx context.Context, cfg Config, log *slog.Logger) error {
			return runChecker(ctx, cfg, log, nil)
		}),
	}
	addCheckerFlags(c.Flags())
	c.Long += `

Options come from flags, the environment (MERIDIAN_CHECKER_ID for checker.id) and a file (--config), in
this order:

` + configReference(c.Flags())
	return c
}

// checkerKey is the value of the live key checker/<checker>.
type checkerKey struct {
	Site    string    `json:"site"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`

	Targets  map[string]int `json:"targets,omitempty"`  // by state, as it sees them
	Abstains []string       `json:"abstains,omitempty"` // families of which it reports nothing
}

// checking is what others may want of a checker that is up.
type checking struct {
	http    string          // host:port; "" where it has no HTTP
	settled <-chan struct{} // closed once the first round of checks is over
}

// runChecker checks and reports until ctx is done. Where up is not nil, it is called once all parts are up.
func runChecker(ctx context.Context, cfg Config, log *slog.Logger, up func(checking)) error {
	if cfg.Site == "" {
		return errors.New("site: not said, expected the site at which this checker stands, such as --site fra")
	}
	if err := store.CheckName(cfg.Site); err != nil {
		return fmt.Errorf("site: %w", err)
	}
	if _, err := permitted(cfg.Checker.Sentinels, check.MayEcho); err != nil {
		return err
	}
	self := checkerKey{Site: cfg.Site, Version: version, Started: time.Now().UTC().Truncate(time.Second)}
	follow := etcdConfig(cfg.Etcd)
	follow.NoZones = true // it has no use for them, and a million names are a lot to read
	registry, err := etcd.Open(ctx, follow, log)
	if err != nil {
		return err
	}
	defer registry.Close()
	value, err := json.Marshal(self)
	if err != nil {
		return err
	}
	claim, err := registry.Claim(ctx, "checker/"+cfg.Checker.ID, string(value))
	if err != nil {
		return spellOut(ctx, cfg, err)
	}
	applier := store.NewApplier(log)
	looks := cfg.looks(false, log) // it has no etcd of its own, so what is on its host is denied unless allowed
	looks.Measured = applier.Measured
	r := &reporter{
		cfg: cfg, self: self, registry: registry, claim: claim, applier: applier, runner: check.New(looks),
		reports: registry.PacedMirror("report/" + cfg.Checker.ID), rtts: registry.Mirror("rtt/" + cfg.Checker.ID),
		loads: registry.Mirror("utilization/" + cfg.Checker.ID),
	}
	r.seen = newSentinels(cfg.Checker.Sentinels, r.runner, log)
	var http *admin.Server
	told := checking{settled: r.applier.Settled()}
	if cfg.HTTPListen != "" {
		http, err = admin.Listen(admin.Config{
			Listen: cfg.HTTPListen, Ready: r.applier.Ready, Log: log,
			Collectors: []prometheus.Collector{r}, Status: func() any { return r.status() },
			Name: cfg.Checker.ID, Site: cfg.Site,
		})
		if err != nil {
			return fmt.Errorf("http.listen: %w", err)
		}
		told.http = http.Addr().String()
	}
	log.Info("meridian checker started", "version", version, "id", cfg.Checker.ID, "site", cfg.Site, "http", told.http, "etcd", cfg.Etcd.Dial())
	if up != nil {
		go up(told)
	}
	err = r.run(ctx, http)
	log.Info("meridian checker stopped")
	return spellOut(ctx, cfg, err)
}

// spellOut is an error as the operator of a checker is told it.
func spellOut(ctx context.Context, cfg Config, err error) error {
	var taken *etcd.TakenError
	switch {
	case ctx.Err() != nil:
		return nil
	case errors.As(err, &taken):
		var other checkerKey
		if json.Unmarshal([]byte(taken.Value), &other) != nil || other.Site == "" {
			return fmt.Errorf("checker.id: live key checker/%s is there, though no checker has written it: delete it, or take another --id", cfg.Checker.ID)
		}
		return fmt.Errorf("checker.id: checker %s is live already, at site %s since %s: take another --id",
			cfg.Checker.ID, other.Site, other.Started.Format(time.RFC3339))
	}
	return err
}

// reporter is a checker that is up.
type reporter struct {
	cfg      Config
	self     checkerKey
	registry *etcd.Registry
	claim    *etcd.Claim
	applier  *store.Applier
	runner   *check.Runner
	seen     *sentinels
	reports  *etcd.Mirror
	rtts     *etcd.Mirror
	loads    *etcd.Mirror
}

// run has all parts work until ctx is done or one of them cannot.
func (r *reporter) run(ctx context.Context, http *admin.Server) error {
	r.applier.Voter = health.Voter{Checker: r.cfg.Checker.ID, Site: r.cfg.Site}
	r.applier.SetTargets = r.seen.Set
	r.applier.SetReports, r.applier.SetRTTs, r.applier.SetUtilizations = r.reports.Set, r.rtts.Set, r.loads.SetAnew
	updates := make(chan store.Update)
	group, ctx := errgroup.WithContext(ctx)
	if http != nil {
		group.Go(func() error { return http.Serve(ctx) })
	}
	group.Go(func() error { return r.claim.Run(ctx) })
	group.Go(func() error { r.tellKey(ctx); return nil })
	group.Go(func() error { r.registry.Follow(ctx, updates, r.applier.Again()); return nil })
	group.Go(func() error { r.applier.Run(ctx, updates, r.seen.Changed(), r.seen.Take); return nil })
	group.Go(func() error { r.runner.Run(ctx); return nil })
	group.Go(func() error { r.seen.Run(ctx); return nil })
	group.Go(func() error { r.reports.Run(ctx); return nil })
	group.Go(func() error { r.rtts.Run(ctx); return nil })
	group.Go(func() error { r.loads.Run(ctx); return nil })
	return group.Wait()
}

// key is what the live key of the checker says now.
func (r *reporter) key() checkerKey {
	k := r.self
	k.Targets = map[string]int{}
	for state, n := range r.runner.Stats().Targets {
		k.Targets[health.State(state).String()] = n
	}
	for f, abstains := range r.seen.Abstains() {
		if abstains {
			k.Abstains = append(k.Abstains, familyNames[f])
		}
	}
	return k
}

// tellKey keeps the live key true until ctx is done.
func (r *reporter) tellKey(ctx context.Context) {
	for tick := time.Tick(statusEvery); ; {
		if value, err := json.Marshal(r.key(), json.Deterministic(true)); err == nil {
			r.claim.Set(string(value))
		}
		select {
		case <-tick:
		case <-ctx.Done():
			return
		}
	}
}

// checkerStatus is how a checker stands, over HTTP as /status.
type checkerStatus struct {
	Checker string `json:"checker"`
	checkerKey
	Ready    bool            `json:"ready"`
	Revision int64           `json:"revision"` // of the registry that it follows
	Lost     time.Time       `json:"lost,omitzero"`
	Written  time.Time       `json:"written,omitzero"` // when it last wrote a report
	Warned   int             `json:"warned,omitzero"`  // targets of which a check warns
	Warnings []store.Warning `json:"warnings,omitempty"`
}

func (r *reporter) status() checkerStatus {
	ok, _ := r.applier.Ready()
	st := r.applier.Status()
	s := checkerStatus{
		Checker: r.cfg.Checker.ID, checkerKey: r.key(), Ready: ok, Revision: st.Revision,
		Written: r.reports.Stats().Last, Warned: st.Warned, Warnings: st.Warnings,
	}
	if c := r.registry.Contact(); !c.InReach {
		s.Lost = c.Since
	}
	return s
}

var (
	descWrites   = describe("checker_writes_total", "Reports written to etcd: one is of a pool.")
	descWritten  = describe("checker_written_timestamp_seconds", "When a report was last written.")
	descAbstains = describe("checker_abstains", "1 while the checker reports nothing of a family, since none of its sentinels there answers.", "family")
)

// Describe sends nothing, as that of metrics.
func (r *reporter) Describe(chan<- *prometheus.Desc) {}

// Collect reads all counters.
func (r *reporter) Collect(out chan<- prometheus.Metric) {
	counter, gauge := emitters(out)
	gauge(descInfo, 1, version, r.cfg.Checker.ID, r.cfg.Site)
	contact := r.registry.Contact()
	gauge(descReach, bit(contact.InReach))
	if !contact.Last.IsZero() {
		gauge(descContact, seconds(contact.Last))
	}
	collectChecks(r.runner, r.seen, counter, gauge)
	gauge(descWarned, float64(r.applier.Status().Warned))
	written := r.reports.Stats()
	counter(descWrites, uint64(written.Writes))
	if !written.Last.IsZero() {
		gauge(descWritten, seconds(written.Last))
	}
}
