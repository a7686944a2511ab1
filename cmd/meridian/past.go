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

	"github.com/spf13/pflag"

	"meridian/policy/geo"
	"meridian/policy/geo/mmdb"
	"meridian/store"
	"meridian/zones"
	"meridian/zones/explain"
)

// past is what was answered from an earlier state of the registry.
type past struct {
	revision int64
	before   *explain.Explanation // that is made again; nil: none
}

// addPastFlags adds the flags of who reads the registry as it was: those of its client, and geo databases.
func addPastFlags(flags *pflag.FlagSet) {
	addFlags(flags, func(key string) bool {
		return strings.HasPrefix(key, "etcd.") && key != "etcd.listen" || key == "geo.databases"
	})
}

// explain answers q, and says what it had to do without.
func (p past) explain(ctx context.Context, cfg Config, q *zones.Query) (*explain.Explanation, error) {
	var where *geo.Database
	if len(cfg.Geo.Databases) > 0 {
		var err error
		if where, err = mmdb.Open(cfg.Geo.Databases...); err != nil {
			return nil, fmt.Errorf("geo.databases: %w", err)
		}
	}
	client, err := openRegistry(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	u, err := client.ReadAt(ctx, p.revision)
	if err != nil {
		return nil, err
	}
	registry := store.NewRegistry(slog.New(slog.DiscardHandler))
	registry.SetGeo(where)
	s := registry.Apply(u)
	made := "made from the registry as it was at that revision; "
	if p.before == nil {
		made += "what health was then is not known: members that are checked count as unknown"
	} else {
		p.before.SetHealth(s)
		made += "the health of members is that of the explanation replayed"
	}
	e := explain.Resolve(s, q)
	e.Notes = append(e.Notes, made)
	if where == nil && e.LooksUp() {
		e.Notes = append(e.Notes, "no geo database is given (--geo-database): where the client is nobody knows")
	}
	if faults := registry.Faults(); len(faults) > 0 {
		e.Notes = append(e.Notes, faultsText(faults))
	}
	if p.before != nil {
		e.Notes = append(e.Notes, p.compare(e))
	}
	return e, nil
}

// faultsText names keys of which servers may have had an earlier value.
func faultsText(faults []store.Fault) string {
	const shown = 3
	var keys []string
	for _, f := range faults[:min(shown, len(faults))] {
		keys = append(keys, f.Key)
	}
	if more := len(faults) - shown; more > 0 {
		keys = append(keys, fmt.Sprintf("and %d more", more))
	}
	return fmt.Sprintf("not valid at that revision, though a server may have served an earlier value: %s", strings.Join(keys, ", "))
}

// compare says whether e is the answer that was replayed.
func (p past) compare(e *explain.Explanation) string {
	if e.Rcode == p.before.Rcode && slices.Equal(e.Records, p.before.Records) {
		return "the answer is the one replayed"
	}
	records := make([]string, 0, len(p.before.Records))
	for _, r := range p.before.Records {
		records = append(records, strings.ReplaceAll(r.Record, "\t", " "))
	}
	return fmt.Sprintf("the answer replayed was another, %s: %s", p.before.Rcode, strings.Join(records, "; "))
}

// readExplanation reads one from a file, or from stdin where that is "-".
func readExplanation(stdin io.Reader, path string) (*explain.Explanation, error) {
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("--replay: %w", err)
		}
		defer file.Close()
		stdin = file
	}
	e, err := explain.Read(stdin)
	if err == nil && (e.Name == "" || e.Revision <= 0) {
		err = errors.New("it lacks a name or a revision")
	}
	if err != nil {
		return nil, fmt.Errorf("--replay: %s is no explanation as meridian explain --json gives it: %w", path, err)
	}
	return e, nil
}
