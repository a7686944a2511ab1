package store

import (
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"meridian/spec"
)

// LiveDirs are the directories of live keys that TakeLive takes in.
var LiveDirs = []string{"checker/", "report/", "rtt/", "utilization/", "load/"}

// Live keys are what processes measure. A wrong one changes nothing, is counted, and logged when it comes to be
// wrong; it is not written back as keys of the registry are: nobody typed it, and its writer would have us write
// as often as it does.

// checkerSpec is the value of the live key checker/<checker>.
type checkerSpec struct {
	Site    string     `json:"site"`
	Version string     `json:"version,omitzero"`
	Started *time.Time `json:"started,omitzero"`

	Targets  map[string]int `json:"targets,omitempty"`  // by state, as it sees them
	Abstains []string       `json:"abstains,omitempty"` // families of which it reports nothing: "ipv4", "ipv6"
}

// Validate says what is wrong with c, as a *spec.Error.
func (c *checkerSpec) Validate() error {
	if err := CheckName(c.Site); err != nil {
		return spec.Errorf("site", "%v", err)
	}
	return nil
}

// rttSpec is the value of the live key rtt/<checker>/<pool>: ms, smoothed, by member and address.
type rttSpec map[string]map[netip.Addr]float64

// maxRTT is far beyond what any check waits, in ms.
const maxRTT = 60_000

// Validate says what is wrong with s, as a *spec.Error.
func (s rttSpec) Validate() error {
	for _, member := range slices.Sorted(maps.Keys(s)) {
		for addr, ms := range s[member] {
			if !(ms >= 0 && ms <= maxRTT) {
				return spec.Errorf(member+"."+addr.String(), "%v is out of range, expected 0 to %d ms", ms, maxRTT)
			}
		}
	}
	return nil
}

// live is what the live keys say.
type live struct {
	checkers map[string]string                 // their sites
	reports  map[string]map[string]heardReport // by checker and pool
	rtts     map[string]map[vantage]*measure   // by pool
	told     map[string]map[string]*told       // utilizations, by pool and checker; of "" are those of this process's own
	loads    map[string]map[string]*load       // by pool and member
	wrong    map[string]bool                   // keys
	rejected int64                             // values that were wrong
}

func newLive() live {
	return live{
		checkers: map[string]string{}, reports: map[string]map[string]heardReport{}, rtts: map[string]map[vantage]*measure{},
		told: map[string]map[string]*told{}, loads: map[string]map[string]*load{}, wrong: map[string]bool{},
	}
}

// TakeLive takes in live keys, such as "rtt/fra1/web". They change what is measured of the members that are
// served, at once and without a snapshot.
func (r *Registry) TakeLive(u Update) {
	l := &r.live
	entries := sortByKey(u.Entries)
	if u.Full {
		entries = append(l.missing(u.Below, entries), entries...)
	}
	if u.Below == "report/" {
		r.targets.rejoin()
	}
	touched := map[string]bool{} // pools
	for _, e := range entries {
		err := r.takeLive(e, touched)
		switch {
		case err == nil && l.wrong[e.Key]:
			delete(l.wrong, e.Key)
			r.faults.say(slog.LevelInfo, "live key mended", "key", clip(e.Key))
		case err != nil:
			l.rejected++
			if !l.wrong[e.Key] {
				l.wrong[e.Key] = true
				r.faults.say(slog.LevelWarn, "live key ignored", "key", clip(e.Key), "error", clip(err.Error()))
			}
		}
	}
	r.countReports()
	r.remeasure(touched)
}

// missing returns deletes for the keys below a directory that are known and not among entries, in order.
func (l *live) missing(below string, entries []Entry) (deletes []Entry) {
	gone := func(key string) {
		_, there := slices.BinarySearchFunc(entries, key, func(e Entry, key string) int { return strings.Compare(e.Key, key) })
		if !there && strings.HasPrefix(key, below) {
			deletes = append(deletes, Entry{Key: key, Deleted: true})
		}
	}
	for name := range l.checkers {
		gone("checker/" + name)
	}
	for checker, pools := range l.reports {
		for pool := range pools {
			gone("report/" + checker + "/" + pool)
		}
	}
	for pool, measures := range l.rtts {
		for from, m := range measures {
			if !m.gone {
				gone("rtt/" + from.checker + "/" + pool)
			}
		}
	}
	for pool, said := range l.told {
		for checker := range said {
			if checker != "" {
				gone("utilization/" + checker + "/" + pool)
			}
		}
	}
	for pool, loads := range l.loads {
		for member := range loads {
			gone("load/" + pool + "/" + member)
		}
	}
	for key := range l.wrong {
		gone(key)
	}
	slices.SortFunc(deletes, byKey)
	return slices.CompactFunc(deletes, func(x, y Entry) bool { return x.Key == y.Key })
}

// takeLive takes one key, and adds the pools of whose members something else is measured now to touched.
func (r *Registry) takeLive(e Entry, touched map[string]bool) *spec.Error {
	parts := strings.Split(e.Key, "/")
	switch {
	case parts[0] == "checker" && len(parts) == 2:
		before, was := r.live.checkers[parts[1]]
		err := r.live.takeChecker(parts[1], e, touched)
		if now, is := r.live.checkers[parts[1]]; now != before || is != was {
			r.moveVoter(parts[1])
		}
		return err
	case parts[0] == "report" && len(parts) == 3:
		return r.takeReport(parts[1], parts[2], e)
	case parts[0] == "rtt" && len(parts) == 3:
		return r.takeRTT(vantage{r.live.checkers[parts[1]], parts[1]}, parts[2], e, touched)
	case parts[0] == "utilization" && len(parts) == 3 && parts[1] != "":
		return r.takeUtilization(parts[1], parts[2], e)
	case parts[0] == "load" && len(parts) == 3:
		return r.takeLoad(parts[1], parts[2], e)
	case e.Deleted:
		return nil
	}
	return spec.Errorf("", "no such kind of live key, expected checker/<checker>, report/<checker>/<pool>, rtt/<checker>/<pool>, utilization/<checker>/<pool> or load/<pool>/<member>")
}

// takeChecker notes where a checker stands. What it measured before it moved stays with the site that it
// left.
func (l *live) takeChecker(name string, e Entry, touched map[string]bool) *spec.Error {
	if e.Deleted {
		delete(l.checkers, name)
		return nil
	}
	var c checkerSpec
	if err := decode(e.Value, &c); err != nil {
		return err
	}
	l.checkers[name] = c.Site
	for pool, measures := range l.rtts {
		if m := measures[vantage{"", name}]; m != nil {
			delete(measures, vantage{"", name})
			l.put(pool, vantage{c.Site, name}, m)
			touched[pool] = true
		}
	}
	return nil
}

func (r *Registry) takeRTT(from vantage, pool string, e Entry, touched map[string]bool) *spec.Error {
	l := &r.live
	if e.Deleted {
		for old, m := range l.rtts[pool] {
			if old.checker == from.checker && !m.gone {
				l.leave(pool, old, r.measuredFor(pool, old.site))
				touched[pool] = true
			}
		}
		return nil
	}
	ms := rttSpec{}
	if err := decode(e.Value, &ms); err != nil {
		return err
	}
	if from.site == "" { // the checker's key may have gone before this one
		for old, m := range l.rtts[pool] {
			if old.checker == from.checker && !m.gone {
				from = old
			}
		}
	}
	l.put(pool, from, &measure{ms: ms})
	touched[pool] = true
	return nil
}

// LiveStats are figures of the live keys.
type LiveStats struct {
	Rejected int64 // values that were wrong
	Wrong    int   // keys whose value is
	Unplaced int   // checkers whose site is not known, or not where it is: their times do not count
}

func (r *Registry) liveStats() LiveStats {
	s := LiveStats{Rejected: r.live.rejected, Wrong: len(r.live.wrong)}
	for _, site := range r.live.checkers {
		if at := r.pointOf(site); !at.IsValid() {
			s.Unplaced++
		}
	}
	return s
}
