package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"meridian/server/admin"
	"meridian/store"
	"meridian/store/etcd"
)

func statusCommand() *cobra.Command {
	var asJSON, asText, watch bool
	var server string
	c := &cobra.Command{
		Use:   "status",
		Short: "Show how all servers stand, what is wrong, and what to do about it",
		Long: `Show how all servers stand, what is wrong, and what to do about it.

It reads what the servers write below /gslb-live/ of etcd. One that has lost etcd is there for the time
of its lease, 30 seconds, and then not any more. Where etcd does not answer, the server at --server is
asked over HTTP how it stands.

On a terminal it writes text, in colour unless NO_COLOR is set, and otherwise one JSON object; --text and
--json decide that. With --watch it looks every second: on a terminal it draws the text anew, and otherwise
writes it again when something has changed, JSON one object a line.

It exits with 0 if all is well, and with 1 if anything is wrong.`,
		Example: "  meridian status --watch\n  meridian status --json | jq .problems",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(cmd.Flags(), os.Environ())
			if err != nil {
				return err
			}
			ctx, stop := untilSignal()
			defer stop()
			registry, err := openRegistry(ctx, cfg)
			if err != nil {
				return err
			}
			defer registry.Close()
			l := looker{registry: registry, prefix: cfg.Etcd.Prefix, server: server}
			v := newView(cmd.OutOrStdout(), os.Getenv)
			v.json = asJSON || !asText && !v.terminal
			if watch {
				return v.watch(ctx, l.look)
			}
			c, err := l.lookTwice(ctx)
			if err != nil {
				return err
			}
			if err := v.write(c, time.Now()); err != nil {
				return err
			}
			if !c.Well {
				return errSaid
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "JSON, for programs (default where the output is not a terminal)")
	c.Flags().BoolVar(&asText, "text", false, "text, for people (default on a terminal)")
	c.MarkFlagsMutuallyExclusive("json", "text")
	c.Flags().BoolVar(&watch, "watch", false, "look every second, until interrupted")
	c.Flags().StringVar(&server, "server", "127.0.0.1:8053", "`host:port` of a server's HTTP, to ask where etcd does not answer")
	addEtcdFlags(c.Flags())
	return c
}

// cluster is how all servers of a registry stand.
type cluster struct {
	Revision int64          `json:"revision"` // of the newest change a server knows of; or else the newest that is answered
	Well     bool           `json:"well"`
	Problems []problem      `json:"problems"`
	Servers  []serverStatus `json:"servers"`               // by name
	Checkers []checkerOf    `json:"checkers,omitempty"`    // by name; not known where etcd does not answer
	Faults   []faultOn      `json:"faults"`                // by key; not known where etcd does not answer
	Etcd     string         `json:"etcd_error,omitzero"`   // why etcd does not answer; "" if it does
	Asked    string         `json:"asked_server,omitzero"` // host:port of the one server that was asked instead
}

// serverStatus is how a server stands, by its own word.
type serverStatus struct {
	Name string `json:"server"`
	store.Status
	Behind bool `json:"behind,omitzero"` // it has not taken in what another knew some time ago
}

// faultOn is a key that servers do not serve as it stands.
type faultOn struct {
	Key string `json:"key"`
	store.Fault
	Servers []string `json:"servers"`
}

// looker asks how all servers stand.
type looker struct {
	registry *etcd.Registry
	prefix   string // of the registry's keys
	server   string // host:port of one to ask where etcd does not answer
	changed  int64  // newest change that a server knew of at the last look
}

const (
	lookEvery   = time.Second
	lookTimeout = 3 * time.Second
)

// look asks once. An error is that of ctx.
func (l *looker) look(ctx context.Context) (cluster, error) {
	if err := ctx.Err(); err != nil {
		return cluster{}, err
	}
	limited, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	servers, faults, err := readStandings(limited, l.registry)
	var checkers []checkerOf
	if err == nil {
		checkers, err = readCheckers(limited, l.registry)
	}
	if ctx.Err() != nil {
		return cluster{}, ctx.Err()
	}
	if err != nil {
		return l.askOne(ctx, err), nil
	}
	l.changed = markBehind(servers, l.changed)
	return newCluster(servers, faults, l.prefix).withCheckers(checkers), nil
}

// markBehind marks the servers that do not answer a change that was known before, and returns the
// newest that is known now. The revisions alone do not tell: one that has just read all there is has
// that of etcd, which grows with each live key that is written, too.
func markBehind(servers []serverStatus, known int64) (changed int64) {
	changed = known
	for i, s := range servers {
		servers[i].Behind = s.Revision < known
		changed = max(changed, s.Changed)
	}
	return changed
}

// lookTwice looks a second time if a server seems to be behind, since a change reaches one before the
// other.
func (l *looker) lookTwice(ctx context.Context) (cluster, error) {
	c, err := l.look(ctx)
	if err != nil || !slices.ContainsFunc(c.Servers, func(s serverStatus) bool { return s.Revision < l.changed }) {
		return c, err
	}
	select {
	case <-time.After(lookEvery):
	case <-ctx.Done():
	}
	return l.look(ctx)
}

// askOne asks one server over HTTP, since etcd does not answer.
func (l *looker) askOne(ctx context.Context, why error) cluster {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	var s serverStatus
	if err := admin.FetchStatus(ctx, l.server, &s); err != nil {
		return cluster{Etcd: why.Error(), Asked: l.server, Problems: []problem{{
			remark: remark{Kind: "server", Wrong: true, Text: err.Error()},
		}}}
	}
	return newClusterOfOne(s, l.server, why, l.prefix)
}

// readStandings reads how all live servers stand, and the keys that they do not serve as they are
// written.
func readStandings(ctx context.Context, registry *etcd.Registry) (servers []serverStatus, faults []faultOn, err error) {
	if servers, err = readServers(ctx, registry); err != nil {
		return nil, nil, err
	}
	entries, _, err := registry.ReadLive(ctx, "error")
	if err != nil {
		return nil, nil, err
	}
	return servers, parseFaults(entries), nil
}

func readServers(ctx context.Context, registry *etcd.Registry) ([]serverStatus, error) {
	entries, _, err := registry.ReadLive(ctx, "server")
	if err != nil {
		return nil, err
	}
	return parseServers(entries)
}

// parseServers reads the live keys below server/.
func parseServers(entries []store.Entry) (list []serverStatus, err error) {
	for _, e := range entries {
		var s serverStatus
		if err := json.Unmarshal(e.Value, &s); err != nil {
			return nil, fmt.Errorf("live key server/%s: %w", e.Key, err)
		}
		s.Name = e.Key
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b serverStatus) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

// parseFaults reads the live keys below error/, "ns1/pool/web/policy", and puts together what servers
// say alike.
func parseFaults(entries []store.Entry) []faultOn {
	on := map[store.Fault][]string{}
	for _, e := range entries {
		name, key, _ := strings.Cut(e.Key, "/")
		var f store.Fault
		if err := json.Unmarshal(e.Value, &f); err != nil {
			f = store.Fault{Error: string(e.Value)}
		}
		f.Key = key
		on[f] = append(on[f], name)
	}
	var list []faultOn
	for _, f := range slices.SortedFunc(maps.Keys(on), compareFaults) {
		slices.Sort(on[f])
		list = append(list, faultOn{f.Key, f, on[f]})
	}
	return list
}

// faultKind tells what an operator does about a fault.
type faultKind uint8

const (
	faultRejected     faultKind = iota // mend the value
	faultPending                       // put what it refers to
	faultUnregistered                  // see why the service does not hold its lease
	faultGuarded                       // decide: deletes are held back, or all of etcd is not obeyed
)

// kind is found in a fault's words where it has nothing else that tells.
func (f *faultOn) kind() faultKind {
	switch {
	case f.Awaits != "":
		return faultPending
	case strings.HasPrefix(f.Error, "its lease has ended"):
		return faultUnregistered
	case f.Key == "control/accept-delete" && (strings.Contains(f.Error, "held back") || strings.Contains(f.Error, "not obeyed")):
		return faultGuarded
	}
	return faultRejected
}

// listed is how many faults are known of each server, of those that it counts.
func (c *cluster) listed() map[string]int {
	listed := map[string]int{}
	for _, f := range c.Faults {
		if f.kind() == faultGuarded {
			continue
		}
		for _, name := range f.Servers {
			listed[name]++
		}
	}
	return listed
}

func compareFaults(a, b store.Fault) int {
	return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(b.Revision, a.Revision), cmp.Compare(a.Error, b.Error),
		cmp.Compare(a.Field, b.Field), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Serving, b.Serving), cmp.Compare(a.Awaits, b.Awaits))
}

// newCluster judges how servers stand.
func newCluster(servers []serverStatus, faults []faultOn, prefix string) cluster {
	c := cluster{Servers: servers, Faults: faults}
	var newest int64
	for _, s := range servers {
		c.Revision, newest = max(c.Revision, s.Changed), max(newest, s.Revision)
	}
	c.Revision = cmp.Or(c.Revision, newest)
	c.Problems = problems(servers, c.Revision, prefix)
	wrong := func(p problem) bool { return p.Wrong }
	c.Well = len(faults) == 0 && !slices.ContainsFunc(c.Problems, wrong)
	return c
}

// newClusterOfOne judges how the server at host:port stands, which was asked because etcd does not answer.
func newClusterOfOne(s serverStatus, asked string, why error, prefix string) cluster {
	c := newCluster([]serverStatus{s}, nil, prefix)
	c.Etcd, c.Asked, c.Well = why.Error(), asked, false
	return c
}

// view is where a cluster is written to.
type view struct {
	out      io.Writer
	terminal bool
	rows     func() (rows, columns int) // of the terminal
	paint    paint
	json     bool
}

// newView looks at what out is.
func newView(out io.Writer, getenv func(string) string) view {
	v := view{out: out}
	file, ok := out.(*os.File)
	if !ok {
		return v
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	v.terminal = err == nil
	v.paint = paint(v.terminal && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb")
	v.rows = func() (int, int) {
		size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
		if err != nil {
			return 0, 0
		}
		return int(size.Row), int(size.Col)
	}
	return v
}

// write writes a cluster once, JSON indented.
func (v view) write(c cluster, now time.Time) error {
	if v.json {
		return writeJSON(v.out, c, jsontext.WithIndent("  "))
	}
	_, err := io.WriteString(v.out, c.text(now, v.paint))
	return err
}

func writeJSON(w io.Writer, c cluster, options ...json.Options) error {
	text, err := json.Marshal(c, append(options, json.Deterministic(true))...)
	if err != nil {
		return err
	}
	_, err = w.Write(append(text, '\n'))
	return err
}

// watch looks every second until ctx is done, which is what an error of look says.
func (v view) watch(ctx context.Context, look func(context.Context) (cluster, error)) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var last []byte
	for {
		c, err := look(ctx)
		if err != nil {
			return nil
		}
		text, err := json.Marshal(c, json.Deterministic(true))
		if err != nil {
			return err
		}
		switch changed := !bytes.Equal(text, last); {
		case v.json && changed:
			err = writeJSON(v.out, c)
		case v.json:
		case v.terminal:
			rows, columns := v.rows()
			_, err = io.WriteString(v.out, redraw(fit(c.text(time.Now(), v.paint), rows, columns)))
		case changed:
			_, err = io.WriteString(v.out, c.text(time.Now(), v.paint)+"\n")
		}
		if err != nil {
			return err
		}
		last = text
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
