package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"meridian/spec"
	"meridian/store"
	"meridian/store/etcd"
)

// addWaitFlag adds --wait, which may be said without a value.
func addWaitFlag(flags *pflag.FlagSet, wait *time.Duration) {
	flags.DurationVar(wait, "wait", 0, "wait until every live server answers the change, for at most this `duration` (--wait=30s)")
	flags.Lookup("wait").NoOptDefVal = "10s"
}

func checkWait(flags *pflag.FlagSet, wait time.Duration) error {
	if flags.Changed("wait") && wait <= 0 {
		return fmt.Errorf("--wait: %v is no time to wait, expected one such as 10s", wait)
	}
	return nil
}

// made notes a transaction of these changes.
func (c *commitment) made(batch []store.Change, revision int64) {
	if c.began == 0 {
		c.began = revision
	}
	c.revision = revision
	for _, ch := range batch {
		if ch.Delete {
			c.deletes = true
		} else {
			c.keys[ch.Key] = revision
		}
	}
}

// found notes those of the keys that were there already and have not been changed.
func (c *commitment) found(keys map[string]bool, before store.Update) {
	for _, e := range before.Entries {
		if _, put := c.keys[e.Key]; keys[e.Key] && !put {
			c.keys[e.Key] = e.Revision
		}
	}
}

const (
	waitEvery = 50 * time.Millisecond

	// faultsTimeout is for the keys that say what is wrong, which servers write apart from how they
	// stand: they may come a moment later.
	faultsTimeout = 2 * time.Second
)

// awaitServers waits until every live server answers what was committed, and says so. Where that takes
// longer than patience it says which does not; and which keys are not served as they stand. Both end in
// errSaid.
func awaitServers(ctx context.Context, registry *etcd.Registry, done commitment, patience time.Duration, out io.Writer) error {
	start := time.Now()
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var servers []serverStatus
	var failed error // the last look at them
	for {
		now, err := readServers(limited, registry)
		if err == nil {
			servers, failed = now, nil
		} else if limited.Err() == nil {
			failed = err // etcd may come back before the time is up
		}
		if answered, late := done.answered(servers); err == nil && len(answered) > 0 && len(late) == 0 {
			break
		}
		switch {
		case pauseFor(limited, waitEvery):
			continue
		case ctx.Err() != nil:
			return ctx.Err()
		case failed != nil:
			return fmt.Errorf("not known after %v who answers: %w", patience, failed)
		}
		fmt.Fprint(out, done.lateText(servers, patience))
		return errSaid
	}
	answered, _ := done.answered(servers)
	fmt.Fprintf(out, "answered by %s after %v\n", strings.Join(answered, ", "), time.Since(start).Round(time.Millisecond))
	faults, err := awaitFaults(ctx, registry)
	if err != nil {
		return err
	}
	if text := done.faultsText(faults); text != "" {
		fmt.Fprint(out, text)
		return errSaid
	}
	return nil
}

// pauseFor waits, and says whether ctx is not done yet.
func pauseFor(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// answered tells those who answer what was committed from those who do not, by their names.
func (c *commitment) answered(servers []serverStatus) (answered []string, late []serverStatus) {
	for _, s := range servers {
		if s.Revision >= c.revision && s.Refused == "" && !c.heldOn(s) {
			answered = append(answered, s.Name)
		} else {
			late = append(late, s)
		}
	}
	return answered, late
}

// heldOn says whether the server holds back deletes of what was committed.
func (c *commitment) heldOn(s serverStatus) bool {
	return c.deletes && s.Held != nil && s.Held.Accept >= c.began
}

// lateText says who does not answer what was committed, and why that may be.
func (c *commitment) lateText(servers []serverStatus, patience time.Duration) string {
	var b strings.Builder
	answered, late := c.answered(servers)
	if len(servers) == 0 {
		return fmt.Sprintf("not answered after %v: no server is live\n", patience)
	}
	fmt.Fprintf(&b, "not answered after %v by %s of %d:\n", patience, count(len(late), "server"), len(servers))
	for _, s := range late {
		fmt.Fprintf(&b, "  %s: %s\n", clean(s.Name), c.reason(s))
	}
	if len(answered) > 0 {
		fmt.Fprintf(&b, "answered by %s\n", clean(strings.Join(answered, ", ")))
	}
	return b.String()
}

func (c *commitment) reason(s serverStatus) string {
	switch {
	case s.Refused != "":
		return fmt.Sprintf("at revision %d, what etcd holds is not obeyed: %s", s.Revision, clean(s.Refused))
	case c.heldOn(s):
		return heldText(s.Held)
	case s.Image:
		return fmt.Sprintf("at revision %d of its disk image, expected %d: it has not heard of etcd yet", s.Revision, c.revision)
	case !s.Lost.IsZero():
		return fmt.Sprintf("at revision %d, expected %d: etcd has been out of its reach since %s", s.Revision, c.revision, s.Lost.Format(time.RFC3339))
	}
	return fmt.Sprintf("at revision %d, expected %d", s.Revision, c.revision)
}

// awaitFaults reads the keys that servers do not serve as they stand, once as many are there as the
// servers count.
func awaitFaults(ctx context.Context, registry *etcd.Registry) ([]faultOn, error) {
	limited, cancel := context.WithTimeout(ctx, faultsTimeout)
	defer cancel()
	for {
		servers, faults, err := readStandings(ctx, registry)
		if err != nil {
			return nil, err
		}
		if (&cluster{Servers: servers, Faults: faults}).countsAgree() || !pauseFor(limited, waitEvery) {
			return faults, nil
		}
	}
}

// countsAgree says whether each server has as many faults as it counts; of those beyond maxFaults
// it writes none.
func (c *cluster) countsAgree() bool {
	listed := c.listed()
	return !slices.ContainsFunc(c.Servers, func(s serverStatus) bool {
		return listed[s.Name] != min(s.counted(), maxFaults)
	})
}

// faultsText says which of the keys that were committed are not served as they stand.
func (c *commitment) faultsText(faults []faultOn) string {
	var b strings.Builder
	for _, f := range faults {
		if revision, ours := c.keys[f.Key]; !ours || f.Revision < revision {
			continue
		}
		at := spec.Error{Field: f.Field, Line: f.Line, Msg: f.Error}
		fmt.Fprintf(&b, "%s is not served as it stands by %s: %s\n", clean(f.Key), clean(strings.Join(f.Servers, ", ")), clean(at.Error()))
	}
	return b.String()
}
