package store

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"meridian/health"
	"meridian/policy"
	"meridian/spec"
	"meridian/zones"
)

// OverrideKey is the key of the override of a target: site/<site>, pool/<pool> or member/<pool>/<member>.
func OverrideKey(target string) (string, error) {
	kind, _, _ := strings.Cut(target, "/")
	if kind != "site" && kind != "pool" && kind != "member" {
		return "", fmt.Errorf("%q is not a target, expected site/<site>, pool/<pool> or member/<pool>/<member>%s",
			target, spec.Suggest(kind, []string{"site", "pool", "member"}))
	}
	key := "override/" + target
	if _, err := parseKey(key); err != nil {
		return "", fmt.Errorf("%s: %w", target, err)
	}
	return key, nil
}

// Outlook tells what overrides would make of the pools of a registry. Whom nobody has withdrawn, and checkers do not
// report to be down, is taken for one that can be given.
type Outlook struct {
	registry *Registry
	revision int64
	names    map[string][]string // that a pool is asked for, by pool
}

// NewOutlook reads a registry, and live keys: all of checker/, then all of report/.
func NewOutlook(now Update, live ...Update) *Outlook {
	o := &Outlook{registry: NewRegistry(slog.New(slog.DiscardHandler)), revision: now.Revision, names: map[string][]string{}}
	o.registry.trusting = true
	all := now.Entries
	now.Full, now.Entries = true, nil
	for _, e := range all {
		if ownerPrefix(e.Key) == "" {
			now.Entries = append(now.Entries, e)
			continue
		}
		var s zones.Steer
		if strings.HasSuffix(e.Key, "/steer") && decode(e.Value, &s) == nil {
			o.names[s.Pool] = append(o.names[s.Pool], nameText(e.Key))
		}
	}
	o.registry.Apply(now)
	for _, u := range live {
		o.registry.TakeLive(u)
	}
	o.registry.Believe()
	return o
}

// nameText is the name of a key of it, without the final dot.
func nameText(key string) string {
	zone, owner, _ := cutNameKey(key)
	if owner == "@" {
		return zone
	}
	return owner + "." + zone
}

// Check says, as an error, that a target is not there, and what is like it.
func (o *Outlook) Check(target string) error {
	missing := o.registry.missingTarget("override/" + target)
	if missing == "" {
		return nil
	}
	var known []string
	for name := range o.registry.sites {
		known = append(known, "site/"+name)
	}
	for name, p := range o.registry.pools {
		known = append(known, "pool/"+name)
		for member := range p.members {
			known = append(known, "member/"+name+"/"+member)
		}
	}
	slices.Sort(known)
	known = slices.DeleteFunc(known, func(k string) bool { return o.registry.missingTarget("override/"+k) != "" })
	return fmt.Errorf("%s is not there: the registry has no %s%s", target, missing, spec.Suggest(target, known))
}

// Effect is what changes of overrides make of a pool.
type Effect struct {
	Pool    string
	Members int      // that it has
	Left    int      // of these, how many can be given then
	Out     []string // members that could be given before, and cannot then
	Back    []string // the other way round
	Down    []string // members that nobody has withdrawn, and that are down
	Instead string   // where nobody is left, the pool of on_empty that is given; "": none
	Names   []string // that had somebody to be given, and have nobody then
}

// Change takes in changes of overrides, and returns the pools in which that takes anybody out or back, by name.
func (o *Outlook) Change(changes []Change) []Effect {
	before := o.look()
	o.revision++
	u := Update{Revision: o.revision}
	for _, c := range changes {
		u.Entries = append(u.Entries, Entry{Key: c.Key, Value: c.Value, Deleted: c.Delete, Revision: o.revision})
	}
	o.registry.Apply(u)
	after := o.look()
	var effects []Effect
	for _, name := range slices.Sorted(maps.Keys(after.members)) {
		was, is := before.members[name], after.members[name]
		e := Effect{Pool: name, Members: len(is)}
		for _, member := range slices.Sorted(maps.Keys(is)) {
			switch {
			case was[member] && !is[member]:
				e.Out = append(e.Out, member)
			case !was[member] && is[member]:
				e.Back = append(e.Back, member)
			}
			if is[member] {
				e.Left++
			}
			if after.down[name][member] {
				e.Down = append(e.Down, member)
			}
		}
		if before.gives[name] && !after.gives[name] {
			e.Names = slices.Sorted(slices.Values(o.names[name]))
		}
		if e.Left == 0 {
			e.Instead = after.instead(o.registry.pools[name])
		}
		if len(e.Out)+len(e.Back)+len(e.Names) > 0 {
			effects = append(effects, e)
		}
	}
	return effects
}

// givers are the pools that have somebody to give.
type givers struct {
	registry *Registry
	gives    map[string]bool            // by pool, what it falls back to included
	members  map[string]map[string]bool // by pool and member
	down     map[string]map[string]bool // likewise, those that are, and that nobody has withdrawn
}

func (o *Outlook) look() *givers {
	g := &givers{registry: o.registry, gives: map[string]bool{}, members: map[string]map[string]bool{}, down: map[string]map[string]bool{}}
	for _, p := range o.registry.pools {
		g.ask(p)
	}
	return g
}

// ask says whether a pool has somebody to give.
func (g *givers) ask(p *pool) bool {
	if gives, known := g.gives[p.name]; known || p.compiled == nil {
		return gives
	}
	g.gives[p.name] = false // no pool lies within itself
	any, members, down := false, map[string]bool{}, map[string]bool{}
	for i := range p.compiled.Members {
		m := &p.compiled.Members[i]
		o, _ := g.registry.overrideOf(p, m)
		withdrawn := o != nil && (o.State == "drain" || o.State == "down")
		if m.Pool != "" {
			members[m.Name] = !withdrawn && g.ask(g.registry.poolIDs[m.Child])
		} else {
			down[m.Name] = !withdrawn && isDown(p.compiled, i)
			members[m.Name] = !withdrawn && !down[m.Name]
		}
		any = any || members[m.Name]
	}
	g.members[p.name], g.down[p.name] = members, down
	g.gives[p.name] = any || g.instead(p) != ""
	return g.gives[p.name]
}

// isDown says whether all addresses of a member are, or the name that it is.
func isDown(p *policy.Pool, member int) bool {
	w := p.Health(member)
	for i := range max(1, len(p.Members[member].Addrs)) {
		if w.State(i) != health.Down {
			return false
		}
	}
	return true
}

// instead is the pool of a pool's on_empty that is given where nobody of its own is left, "" where there is none.
func (g *givers) instead(p *pool) string {
	for _, f := range p.compiled.OnEmpty {
		switch {
		case f.Kind == policy.FallbackNoData, f.Kind == policy.FallbackServFail:
			return ""
		case f.Kind == policy.FallbackPool && g.ask(g.registry.poolIDs[f.Pool]):
			return f.Name
		}
	}
	return ""
}
