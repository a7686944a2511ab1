package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"meridian/health"
	"meridian/spec"
	"meridian/store"
	"meridian/store/etcd"
)

func drainCommand() *cobra.Command {
	var o health.Override
	var until string
	var force bool
	var wait time.Duration
	c := &cobra.Command{
		Use:   "drain TARGET...",
		Short: "Give a member, a pool or a site no more, for a while and with a reason",
		Long: `Give a member, a pool or a site no more, for a while and with a reason.

A target is member/<pool>/<member>, pool/<pool> or site/<site>; of several, all are drained or none. It puts
override/<target>, as anybody may with etcdctl, and says what was there before and who is left of each pool. Where
a name would have nobody left to be given, nothing is put unless --force says so. Who is down by what checkers report
counts as nobody; what servers see for themselves they report to nobody.

Without --until it lasts until meridian undrain.`,
		Example: "  meridian drain site/fra --until 18:00 --reason CHG-123\n" +
			"  meridian drain member/web/fra1 member/web/fra2 --until 2h --wait",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, targets []string) error {
			if o.State != "drain" && o.State != "down" {
				return fmt.Errorf(`--state: %q is not known, expected drain or down%s`, o.State, spec.Suggest(o.State, []string{"drain", "down"}))
			}
			if cmd.Flags().Changed("until") {
				end, err := parseUntil(until, time.Now())
				if err != nil {
					return fmt.Errorf("--until: %w", err)
				}
				o.Until = &end
			}
			value, err := json.Marshal(o)
			if err != nil {
				return err
			}
			return override(cmd, targets, wait, func(v *overriding) error { return v.drain(cmd.Context(), value, force, wait) })
		},
	}
	c.Flags().StringVar(&until, "until", "", "when it ends: a `time` as in RFC 3339, the next 18:00, or a duration such as 2h (default not)")
	c.Flags().StringVar(&o.Reason, "reason", "", "`why`, such as a ticket")
	c.Flags().StringVar(&o.By, "by", userName(), "`who` says so (default the name of the user)")
	c.Flags().Lookup("by").DefValue = "" // help is the same for everybody
	c.Flags().StringVar(&o.State, "state", "drain", "drain, or down: not counted as up either, where others count")
	c.Flags().BoolVar(&force, "force", false, "also where a name is left with nobody to be given")
	addWaitFlag(c.Flags(), &wait)
	addEtcdFlags(c.Flags())
	return c
}

func undrainCommand() *cobra.Command {
	var wait time.Duration
	c := &cobra.Command{
		Use:   "undrain TARGET...",
		Short: "Delete what drain has put",
		Long: `Delete what drain has put, or anybody else: override/<target>, of all targets at once. It says what that was, and who
is given again.`,
		Example: "  meridian undrain site/fra",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, targets []string) error {
			return override(cmd, targets, wait, func(v *overriding) error { return v.undrain(cmd.Context(), wait) })
		},
	}
	addWaitFlag(c.Flags(), &wait)
	addEtcdFlags(c.Flags())
	return c
}

// userName is that of the user of this process, "" where it is not known.
func userName() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
}

// parseUntil reads a time, the next time of day in the zone of now, or a duration from now on.
func parseUntil(text string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil {
		if d < time.Second {
			return time.Time{}, fmt.Errorf("%s is no time to last, expected a second at least", text)
		}
		return now.Add(d).Truncate(time.Second), nil
	}
	if of, err := time.Parse("15:04", text); err == nil {
		at := time.Date(now.Year(), now.Month(), now.Day(), of.Hour(), of.Minute(), 0, 0, now.Location())
		if !at.After(now) {
			at = time.Date(now.Year(), now.Month(), now.Day()+1, of.Hour(), of.Minute(), 0, 0, now.Location())
		}
		return at, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	switch {
	case err != nil:
		return time.Time{}, fmt.Errorf(`%q is not a time: expected one such as 2026-11-22T18:00:00+01:00, 18:00 or 2h`, text)
	case !at.After(now):
		return time.Time{}, fmt.Errorf("%s is over", text)
	}
	return at, nil
}

// overriding is a change of overrides.
type overriding struct {
	registry *etcd.Registry
	out      io.Writer

	now     store.Update
	outlook *store.Outlook
	targets []string
	there   []store.Entry // the overrides of the targets, one each; without revision where there is none
}

// override has overrides of targets changed, each of which is named once.
func override(cmd *cobra.Command, targets []string, wait time.Duration, change func(*overriding) error) error {
	cfg, err := loadConfig(cmd.Flags(), os.Environ())
	if err != nil {
		return err
	}
	if err := checkWait(cmd.Flags(), wait); err != nil {
		return err
	}
	v := &overriding{out: cmd.OutOrStdout(), targets: targets}
	for i, target := range targets {
		key, err := store.OverrideKey(target)
		if err != nil {
			return err
		}
		if slices.Contains(targets[:i], target) {
			return fmt.Errorf("%s is said twice", target)
		}
		v.there = append(v.there, store.Entry{Key: key})
	}
	if v.registry, err = openRegistry(cmd.Context(), cfg); err != nil {
		return err
	}
	defer v.registry.Close()
	if v.now, err = v.registry.Read(cmd.Context()); err != nil {
		return err
	}
	for _, e := range v.now.Entries {
		if i := slices.IndexFunc(v.there, func(t store.Entry) bool { return t.Key == e.Key }); i >= 0 {
			v.there[i] = e
		}
	}
	live := []store.Update{{Full: true, Below: "checker/"}, {Full: true, Below: "report/"}}
	for i := range live {
		u := &live[i]
		if u.Entries, u.Revision, err = v.registry.ReadLive(cmd.Context(), strings.TrimSuffix(u.Below, "/")); err != nil {
			return err
		}
		for j := range u.Entries {
			u.Entries[j].Key = u.Below + u.Entries[j].Key
		}
	}
	v.outlook = store.NewOutlook(v.now, live...)
	return change(v)
}

// drain puts value as the override of every target.
func (v *overriding) drain(ctx context.Context, value []byte, force bool, wait time.Duration) error {
	var changes []store.Change
	for i, target := range v.targets {
		if err := v.outlook.Check(target); err != nil {
			return err
		}
		changes = append(changes, store.Change{Key: v.there[i].Key, Value: value, ReadRevision: v.there[i].Revision})
	}
	effects := v.outlook.Change(changes)
	if slices.ContainsFunc(effects, func(e store.Effect) bool { return len(e.Names) > 0 }) && !force {
		fmt.Fprint(v.out, effectsText(effects))
		fmt.Fprintln(v.out, "nothing was put: --force drains all the same")
		return errSaid
	}
	return v.commit(ctx, changes, effects, wait)
}

// undrain deletes the overrides of all targets that have one.
func (v *overriding) undrain(ctx context.Context, wait time.Duration) error {
	var changes []store.Change
	var none []string
	for i, target := range v.targets {
		if e := v.there[i]; e.Revision != 0 {
			changes = append(changes, store.Change{Key: e.Key, Delete: true, ReadRevision: e.Revision})
			continue
		}
		if err := v.outlook.Check(target); err != nil {
			return err
		}
		none = append(none, v.there[i].Key)
	}
	for _, key := range none {
		fmt.Fprintf(v.out, "%s: there is none\n", key)
	}
	if len(changes) == 0 {
		return nil
	}
	return v.commit(ctx, changes, v.outlook.Change(changes), wait)
}

// commit makes the changes in one transaction, and says what they have put, in the place of what, and what that does.
func (v *overriding) commit(ctx context.Context, changes []store.Change, effects []store.Effect, wait time.Duration) error {
	revision, err := v.registry.Commit(ctx, changes)
	var conflict *etcd.ConflictError
	switch {
	case errors.As(err, &conflict):
		return fmt.Errorf("nothing was changed: %w", err)
	case err != nil:
		return err
	}
	fmt.Fprintf(v.out, "changed at revision %d:\n", revision)
	for _, c := range changes {
		i := slices.IndexFunc(v.there, func(e store.Entry) bool { return e.Key == c.Key })
		was := clean(string(v.there[i].Value))
		switch {
		case c.Delete:
			fmt.Fprintf(v.out, "  %s deleted, was %s\n", c.Key, was)
		case v.there[i].Revision != 0:
			fmt.Fprintf(v.out, "  %s %s\n    was %s\n", c.Key, c.Value, was)
		default:
			fmt.Fprintf(v.out, "  %s %s\n", c.Key, c.Value)
		}
	}
	fmt.Fprint(v.out, effectsText(effects))
	if wait == 0 {
		return nil
	}
	done := commitment{keys: map[string]int64{}}
	done.made(changes, revision)
	return awaitServers(ctx, v.registry, done, wait, v.out)
}

// effectsText says what becomes of each pool, such as
//
//	pool/web: fra1, fra2 out, 1 of 3 members left
//	pool/solo: a out, none of 1 member left
//	  nobody is left to be given for www.example.com
func effectsText(effects []store.Effect) string {
	if len(effects) == 0 {
		return "no pool gives anybody less or more\n"
	}
	var b strings.Builder
	for _, e := range effects {
		fmt.Fprintf(&b, "pool/%s: ", e.Pool)
		if len(e.Out) > 0 {
			fmt.Fprintf(&b, "%s out, ", someOf(e.Out))
		}
		if len(e.Back) > 0 {
			fmt.Fprintf(&b, "%s back, ", someOf(e.Back))
		}
		if len(e.Down) > 0 {
			fmt.Fprintf(&b, "%s down, ", someOf(e.Down))
		}
		if e.Left > 0 {
			fmt.Fprintf(&b, "%d of %s left\n", e.Left, count(e.Members, "member"))
		} else {
			fmt.Fprintf(&b, "none of %s left\n", count(e.Members, "member"))
		}
		if e.Instead != "" {
			fmt.Fprintf(&b, "  pool/%s is given instead\n", e.Instead)
		}
		if len(e.Names) > 0 {
			fmt.Fprintf(&b, "  nobody is left to be given for %s\n", someOf(e.Names))
		}
	}
	return b.String()
}

// someOf names the first of many.
func someOf(names []string) string {
	const shown = 10
	if more := len(names) - shown; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), more)
	}
	return strings.Join(names, ", ")
}
