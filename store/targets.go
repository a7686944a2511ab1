package store

import (
	"slices"

	"meridian/health"
	"meridian/policy"
)

// targets holds what is checked, what is known of it, and where that goes.
type targets struct {
	byID    map[health.TargetID]*target
	byPool  map[string][]watched
	known   map[health.TargetID]health.Report // from before, of targets that are not there (yet)
	changed bool                              // since list was last called
	derive  func(pool string)                 // called where the state of a member of that pool may have changed
}

// target is one thing to check.
type target struct {
	health.Target
	state  health.State
	reason string
	refs   []ref
}

// ref is a member's address in a pool that is served.
type ref struct {
	pool         *policy.Pool
	member, addr int
}

// watched is a member's address and the target that tells its state.
type watched struct {
	health.Target
	member, addr int
}

func newTargets() *targets {
	return &targets{byID: map[health.TargetID]*target{}, byPool: map[string][]watched{}, known: map[health.TargetID]health.Report{}}
}

// set replaces what is watched for a pool. What is known of a target stays known.
func (t *targets) set(name string, p *policy.Pool, list []watched) {
	old := t.byPool[name]
	for _, w := range list {
		tg := t.byID[w.TargetID]
		if tg == nil {
			tg = &target{state: t.known[w.TargetID].State, reason: t.known[w.TargetID].Reason}
			delete(t.known, w.TargetID)
			t.byID[w.TargetID] = tg
			t.changed = true
		}
		if !sameTarget(tg.Target, w.Target) {
			tg.Target, t.changed = w.Target, true
		}
		tg.refs = append(tg.refs, ref{p, w.member, w.addr})
		p.SetHealth(w.member, w.addr, tg.state, tg.reason)
	}
	for _, w := range old {
		tg := t.byID[w.TargetID]
		if tg == nil {
			continue
		}
		tg.refs = slices.DeleteFunc(tg.refs, func(r ref) bool { return r.pool != p && r.pool.Name == name })
		if len(tg.refs) == 0 {
			delete(t.byID, w.TargetID)
			t.changed = true
		}
	}
	t.byPool[name] = list
	if list == nil {
		delete(t.byPool, name)
	}
}

// sameTarget says whether two targets of one ID are checked by the same checks.
func sameTarget(x, y health.Target) bool {
	return x.Spec == y.Spec && slices.EqualFunc(x.Parts, y.Parts, sameTarget)
}

// forget drops all targets, and keeps what is known of them for those that come back.
func (t *targets) forget() {
	for _, r := range t.reports() {
		t.known[r.TargetID] = r
	}
	clear(t.byID)
	clear(t.byPool)
	t.changed = true
}

// reports is what is known of the targets.
func (t *targets) reports() (list []health.Report) {
	for id, tg := range t.byID {
		if tg.state != health.Unknown {
			list = append(list, health.Report{TargetID: id, State: tg.state, Reason: tg.reason})
		}
	}
	return list
}

// report takes in what a checker says.
func (t *targets) report(r health.Report) {
	tg := t.byID[r.TargetID]
	if tg == nil {
		return // it has gone meanwhile
	}
	tg.state, tg.reason = r.State, r.Reason
	for _, ref := range tg.refs {
		ref.pool.SetHealth(ref.member, ref.addr, r.State, r.Reason)
		t.derive(ref.pool.Name)
	}
}

// list returns what is to be checked.
func (t *targets) list() []health.Target {
	t.changed = false
	list := make([]health.Target, 0, len(t.byID))
	for id, tg := range t.byID {
		list = append(list, health.Target{TargetID: id, Spec: tg.Spec, State: tg.state, Parts: tg.Parts})
	}
	return list
}

// unknown counts the targets of which nothing is known yet.
func (t *targets) unknown() (n int) {
	for _, tg := range t.byID {
		if tg.state == health.Unknown {
			n++
		}
	}
	return n
}
