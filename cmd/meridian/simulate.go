package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"meridian/policy/geo"
	"meridian/policy/geo/mmdb"
	"meridian/simulate"
	"meridian/spec"
	"meridian/store"
	"meridian/zones"
)

func simulateCommand() *cobra.Command {
	var o simulateOptions
	c := &cobra.Command{
		Use:   "simulate NAME [TYPE]",
		Short: "Show who is given to many clients, and who would move after a change",
		Long: `Show who is given to many clients: the share of each member, pool and site, and how far they are away.
With --against, also who would move, from where to where.

The running registry is asked, or with --manifest a manifest for itself. Members under a check count as up
unless the registry says otherwise, round-trip times are estimated from distances, and no load is known: what is
measured is not in the registry. The code that answers queries answers, each time for another address of the
client's network and with another random number, and as often as the client weighs. So shares where chance has
a say are samples, of --draws draws; the same --seed draws the same.

Clients are listed one a line, a network or an address and perhaps a weight (default 1), in a file or on
standard input ("-"); "#" begins a comment. Or they are all networks of the geo databases, of IPv4 each weighing
as many addresses as it has, of IPv6 as many /48.

With --against FILE the same clients ask with the same random numbers what the registry would be with
FILE applied, and pruned with --prune as "meridian apply" does; or, with --manifest, FILE for itself.`,
		Example: "  meridian simulate www.example.com --networks ipv4 --geo-database GeoLite2-City.mmdb\n" +
			"  meridian simulate www.example.com AAAA --clients resolvers.txt --against change.json --moves\n" +
			"  meridian simulate www.example.com --manifest old.json --against new.json --clients - < clients.txt",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := loadConfig(cmd.Flags(), os.Environ())
			if err != nil {
				return err
			}
			q, err := o.question(cmd.Flags(), args)
			if err != nil {
				return err
			}
			ctx, stop := untilSignal()
			defer stop()
			return o.run(ctx, cmd, cfg, q)
		},
	}
	f := c.Flags()
	f.StringVar(&o.clients, "clients", "", "`file` of clients, one a line, \"-\" for standard input")
	f.StringVar(&o.networks, "networks", "", "all networks of the geo databases of a `family`, ipv4 or ipv6, ask")
	c.MarkFlagsMutuallyExclusive("clients", "networks")
	c.MarkFlagsOneRequired("clients", "networks")
	f.StringVar(&o.manifest, "manifest", "", "ask the manifest in `file` instead of the running registry")
	f.StringVar(&o.against, "against", "", "compare with what the manifest in `file` would make of it")
	f.StringVar(&o.prune, "prune", "", "with --against, as if the keys below this `prefix/` that FILE does not have were deleted")
	f.BoolVar(&o.moves, "moves", false, "with --against, list each client that would move")
	f.IntVar(&o.draws, "draws", 1_000_000, "`times` that clients ask, about; each asks at least once")
	f.Uint64Var(&o.seed, "seed", 1, "`number` that all random numbers follow from")
	f.StringVarP(&o.output, "output", "o", "table", "`form` of the output: table, csv or json")
	addFlags(f, func(key string) bool {
		return strings.HasPrefix(key, "etcd.") && key != "etcd.listen" || key == "geo.databases"
	})
	return c
}

// simulateOptions are what the flags say.
type simulateOptions struct {
	clients, networks        string
	manifest, against, prune string
	moves                    bool
	draws                    int
	seed                     uint64
	output                   string
}

const maxDraws = 1_000_000_000

// question is what is asked, its clients left out; it checks what can be wrong with the flags.
func (o *simulateOptions) question(flags *pflag.FlagSet, args []string) (q simulate.Question, err error) {
	text := args[0]
	if text != "." {
		text = strings.TrimSuffix(text, ".")
	}
	name, err := zones.ParseName(text)
	if err != nil {
		return q, fmt.Errorf("NAME: %w", err)
	}
	q = simulate.Question{Name: *name, Draws: o.draws, Seed: o.seed, Moves: o.moves}
	typ := "A"
	if len(args) == 2 {
		typ = strings.ToUpper(args[1])
	}
	if q.Type, err = zones.ParseType(typ); err != nil {
		return q, fmt.Errorf("TYPE: %w", err)
	}
	forms, families := []string{"table", "csv", "json"}, []string{"ipv4", "ipv6"}
	stdin := 0
	for _, file := range []string{o.clients, o.manifest, o.against} {
		if file == "-" {
			stdin++
		}
	}
	switch {
	case stdin > 1:
		return q, errors.New(`--clients, --manifest, --against: one of them at most can be "-", standard input`)
	case !slices.Contains(forms, o.output):
		return q, fmt.Errorf("--output: %q is not known, expected one of %s%s", o.output, strings.Join(forms, ", "), spec.Suggest(o.output, forms))
	case flags.Changed("networks") && !slices.Contains(families, o.networks):
		return q, fmt.Errorf("--networks: %q is not known, expected ipv4 or ipv6%s", o.networks, spec.Suggest(o.networks, families))
	case o.draws < 1 || o.draws > maxDraws:
		return q, fmt.Errorf("--draws: %d is out of range, expected 1 to %d", o.draws, maxDraws)
	case o.moves && o.against == "":
		return q, errors.New("--moves: nobody moves without --against")
	case flags.Changed("prune") && (o.against == "" || o.manifest != ""):
		return q, errors.New("--prune: there is nothing to delete from without --against, or with --manifest")
	case flags.Changed("prune"):
		return q, checkPrune(o.prune)
	}
	return q, nil
}

func (o *simulateOptions) run(ctx context.Context, cmd *cobra.Command, cfg Config, q simulate.Question) error {
	database, err := openGeo(cfg.Geo.Databases)
	if err != nil {
		return err
	}
	if q.Clients, err = o.readClients(cmd.InOrStdin(), database); err != nil {
		return err
	}
	now, then, err := o.registries(ctx, cmd, cfg, database)
	if err != nil {
		return err
	}
	p := newProgress(cmd.ErrOrStderr(), q.Times(), "draws")
	q.Progress = p.add
	report, err := simulate.Run(ctx, q, now, then)
	p.stop()
	if err != nil {
		return err
	}
	return writeReport(cmd.OutOrStdout(), report, o.output)
}

// openGeo compiles databases, all of which have to be good; nil of none.
func openGeo(paths []string) (*geo.Database, error) {
	w := mmdb.NewWatcher(paths, slog.New(slog.DiscardHandler))
	d := w.Load()
	for _, s := range w.States() {
		if s.Error != "" {
			return nil, fmt.Errorf("geo database %s: %s", s.Path, s.Error)
		}
	}
	return d, nil
}

func (o *simulateOptions) readClients(stdin io.Reader, d *geo.Database) ([]simulate.Client, error) {
	if o.networks != "" {
		if d == nil {
			return nil, errors.New("--networks: there is no database, expected --geo-database FILE")
		}
		clients := simulate.Networks(d, o.networks == "ipv6")
		if len(clients) == 0 {
			return nil, fmt.Errorf("--networks: the databases have no network of %s", o.networks)
		}
		return clients, nil
	}
	in, file := stdin, "standard input"
	if o.clients != "-" {
		f, err := os.Open(o.clients)
		if err != nil {
			return nil, fmt.Errorf("--clients: %w", err)
		}
		defer f.Close()
		in, file = f, o.clients
	}
	clients, err := simulate.ReadClients(in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return clients, nil
}

// registries are what is asked, and what that is compared with, if anything.
func (o *simulateOptions) registries(ctx context.Context, cmd *cobra.Command, cfg Config, d *geo.Database) (now, then *simulate.Registry, err error) {
	var u store.Update
	if o.manifest != "" {
		u, err = readAlone(cmd, o.manifest)
	} else {
		u, err = readRegistry(ctx, cfg)
	}
	if err != nil {
		return nil, nil, err
	}
	now = compile(cmd.ErrOrStderr(), u, d)
	if o.against == "" {
		return now, nil, nil
	}
	after := u
	if o.manifest != "" {
		after, err = readAlone(cmd, o.against)
	} else {
		after, err = o.applied(cmd, u)
	}
	if err != nil {
		return nil, nil, err
	}
	return now, compile(io.Discard, after, d), nil
}

func readRegistry(ctx context.Context, cfg Config) (u store.Update, err error) {
	registry, err := openRegistry(ctx, cfg)
	if err != nil {
		return u, err
	}
	defer registry.Close()
	return registry.Read(ctx)
}

// readAlone is a registry that holds a manifest and nothing else.
func readAlone(cmd *cobra.Command, file string) (u store.Update, err error) {
	m, err := readManifest(cmd.InOrStdin(), file)
	if err != nil {
		return u, err
	}
	if problems := store.Lint(m, store.Update{}); len(problems) > 0 {
		printProblems(cmd.ErrOrStderr(), file, problems)
		return u, errSaid
	}
	u = store.Update{Revision: 1, Full: true}
	for _, e := range m {
		u.Entries = append(u.Entries, store.Entry{Key: e.Key, Value: e.Value, Revision: 1})
	}
	return u, nil
}

// applied is the registry as "meridian apply" would leave it.
func (o *simulateOptions) applied(cmd *cobra.Command, now store.Update) (store.Update, error) {
	m, err := readManifest(cmd.InOrStdin(), o.against)
	if err != nil {
		return now, err
	}
	changes, problems := store.Plan(m, o.prune, now)
	if len(problems) > 0 {
		printProblems(cmd.ErrOrStderr(), o.against, problems)
		return now, errSaid
	}
	changed := map[string]bool{}
	after := store.Update{Revision: now.Revision + 1, Full: true}
	for _, c := range changes {
		changed[c.Key] = true
		if !c.Delete {
			after.Entries = append(after.Entries, store.Entry{Key: c.Key, Value: c.Value, Revision: after.Revision})
		}
	}
	for _, e := range now.Entries {
		if !changed[e.Key] {
			after.Entries = append(after.Entries, e)
		}
	}
	return after, nil
}

// compile makes of a registry what clients can ask, and says which keys a server may serve otherwise.
func compile(w io.Writer, u store.Update, d *geo.Database) *simulate.Registry {
	r := store.NewRegistry(slog.New(slog.DiscardHandler))
	r.SetGeo(d)
	s := r.Apply(u)
	if s == nil { // it holds nothing
		s = zones.New()
	}
	simulate.AllUp(s)
	if faults := r.Faults(); len(faults) > 0 {
		f := faults[0]
		fmt.Fprintf(w, "%s not right, and counted as if never valid where a server may have a value from before: the first is %s: %s\n",
			count(len(faults), "key"), f.Key, (&spec.Error{Field: f.Field, Line: f.Line, Msg: f.Error}).Error())
	}
	return &simulate.Registry{Snapshot: s, Sites: r.Sites()}
}
