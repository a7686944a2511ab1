package store

import (
	"slices"
	"time"

	"meridian/health"
	"meridian/policy"
)

// targets holds what is checked, what is known of it, and where that goes.
type targets struct {
	byID    map[health.TargetID]*target
	byPool  map[string][]watched
	known   map[health.TargetID]health.Report          // from before, of targets that are not there (yet)
	changed bool                                       // since list was last called
	show    func(r ref, s health.State, reason string) // has a member that is served be in that state
	recall  func(r ref)                                // takes back that it was down
	told    map[string]bool                            // pools whose members have been shown in other states, see Believe
	now     func() time.Time

	self  health.Voter                  // this process's own checker
	heard func(t *target) bool          // takes in what others report of a target, if anything
	alone bool                          // what others report does not count
	joins time.Time                     // when it does again; zero: it is not known yet
	gate  health.Gate                   // that what turns down passes
	doubt map[*target]bool              // what has turned down, or is asked for again: settled by believe
	moved map[*target]bool              // that pools have come to have, or have no more, until settle
	found int                           // targets of which something is known
	first bool                          // the first round of checks is over: who nobody has reported is stale
	again map[health.TargetID]time.Time // when to count though nothing is reported
	votes VoteStats

	warnings  warnings
	differing map[string]int // by checker, the targets of which it says otherwise than is counted

	unsaid map[string]bool // pools whose own reports have changed; nil: nobody wants to know
}

// target is one thing to check.
type target struct {
	health.Target
	reason string // in words, why it is not simply up
	refs   []ref

	ballot  health.Ballot // its State is the target's, but where that is held
	tally   health.Tally  // of the last count
	counted bool
	held    bool              // it was up, and is taken for up, though it is counted down: see health.Gate
	own     report            // what this process's own checker says
	others  map[string]string // why the target is down, in the words of each other checker that says so

	warnings map[string]string // what each other checker warns of
	differ   []string          // checkers that say otherwise than was last counted
}

// report is what one checker says of a target.
type report struct {
	state   health.State
	reason  string
	warning string
	since   time.Time // the checker says so
}

func (tg *target) state() health.State {
	if tg.held {
		return health.Up
	}
	return tg.ballot.State
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
	return &targets{byID: map[health.TargetID]*target{}, byPool: map[string][]watched{},
		known: map[health.TargetID]health.Report{}, again: map[health.TargetID]time.Time{}, doubt: map[*target]bool{}, moved: map[*target]bool{},
		warnings: warnings{by: map[health.TargetID]string{}}, differing: map[string]int{}, told: map[string]bool{}}
}

// set replaces what is watched for a pool. What is known of a target stays known.
func (t *targets) set(name string, p *policy.Pool, list []watched) {
	old := t.byPool[name]
	for _, w := range list {
		tg := t.byID[w.TargetID]
		if tg == nil {
			known := t.known[w.TargetID]
			tg = &target{Target: w.Target, ballot: health.Ballot{State: known.State}, reason: known.Reason}
			delete(t.known, w.TargetID)
			t.byID[w.TargetID] = tg
			t.changed = true
			t.found += known1(known.State)
		}
		if !sameTarget(tg.Target, w.Target) {
			tg.Target, t.changed = w.Target, true
			t.gate.Change(tg.Target)
		}
		tg.refs = append(tg.refs, ref{p, w.member, w.addr})
		t.moved[tg] = true
		p.SetHealth(w.member, w.addr, tg.state(), tg.reason)
	}
	for _, w := range old {
		tg := t.byID[w.TargetID]
		if tg == nil {
			continue
		}
		tg.refs = slices.DeleteFunc(tg.refs, func(r ref) bool { return r.pool != p && r.pool.Name == name })
		t.moved[tg] = true
	}
	t.byPool[name] = list
	if list == nil {
		delete(t.byPool, name)
	}
	if t.unsaid != nil {
		t.unsaid[name] = true
	}
}

// sameTarget says whether two targets of one ID are checked by the same checks.
func sameTarget(x, y health.Target) bool {
	return x.Spec == y.Spec && slices.EqualFunc(x.Parts, y.Parts, sameTarget)
}

// settle drops the targets that no pool has any more, and counts again for the others of pools that were made anew:
// who reports them may be another. It comes when all pools of a batch are set. Another may come to have what one has
// let go: what is known of it stays known, whichever is set first. And no pool is to see another as it never was, old
// members in their new states.
func (t *targets) settle() {
	for tg := range t.moved {
		if len(tg.refs) == 0 {
			t.drop(tg)
		} else if t.heard(tg) || tg.counted || t.first {
			t.count(tg)
		}
	}
	clear(t.moved)
}

func (t *targets) drop(tg *target) {
	t.votes.add(tg.tally, -1)
	t.undo(tg)
	t.found -= known1(tg.ballot.State)
	t.gate.Clear(tg.TargetID)
	delete(t.byID, tg.TargetID)
	delete(t.again, tg.TargetID)
	t.changed = true
}

// forget drops all targets, and keeps what is known of them for those that come back.
func (t *targets) forget() {
	for _, r := range t.reports() {
		t.known[r.TargetID] = r
	}
	clear(t.byID)
	clear(t.byPool)
	clear(t.again)
	clear(t.doubt)
	clear(t.moved)
	clear(t.told)
	t.gate, t.found = health.Gate{}, 0
	clear(t.differing)
	clear(t.warnings.by)
	t.warnings.changed = true
	t.votes = VoteStats{}
	t.changed = true
}

// reports is what is known of the targets.
func (t *targets) reports() (list []health.Report) {
	for id, tg := range t.byID {
		if tg.state() != health.Unknown {
			list = append(list, health.Report{TargetID: id, State: tg.state(), Reason: tg.reason})
		}
	}
	return list
}

// report takes in what this process's own checker says.
func (t *targets) report(r health.Report) {
	tg := t.byID[r.TargetID]
	if tg == nil {
		return // it has gone meanwhile
	}
	if r.State != tg.own.state {
		tg.own.since = t.now()
	}
	if t.unsaid != nil && (r.State != tg.own.state || r.Warning != tg.own.warning) {
		for _, ref := range tg.refs {
			t.unsaid[ref.pool.Name] = true
		}
	}
	tg.own.state, tg.own.reason, tg.own.warning = r.State, r.Reason, r.Warning
	tg.ballot.Vote(t.self, r.State, tg.own.since)
	t.count(tg)
}

// known1 is 1 where a state is known.
func known1(s health.State) int {
	if s == health.Unknown {
		return 0
	}
	return 1
}

// tell passes on the state of a target, and why it is that.
func (t *targets) tell(tg *target) {
	for _, ref := range tg.refs {
		t.show(ref, tg.state(), tg.reason)
		t.told[ref.pool.Name] = true
	}
}

// list returns what this process is to check: what its word counts of.
func (t *targets) list() []health.Target {
	t.changed = false
	list := make([]health.Target, 0, len(t.byID))
	for id, tg := range t.byID {
		if tg.Spec.From.Allows(t.self) {
			// Its own state, not that of the count: what it finds is to be reported though it be the same.
			list = append(list, health.Target{TargetID: id, Spec: tg.Spec, State: tg.own.state, Parts: tg.Parts})
		}
	}
	return list
}

// unknown counts the targets of which nothing is known yet.
func (t *targets) unknown() (n int) {
	for _, tg := range t.byID {
		if tg.state() == health.Unknown {
			n++
		}
	}
	return n
}
