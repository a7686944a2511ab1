package store

import (
	"fmt"
	"strings"
	"time"

	"meridian/health"
)

// Nowhere is the site of a server's own checker where the server has none.
const Nowhere = "this server"

// VoteStats are figures of who says what of the targets.
type VoteStats struct {
	Checkers int `json:"checkers,omitzero"` // others, that are live
	Disputed int `json:"disputed,omitzero"` // targets of which a site says otherwise than the count
	Stale    int `json:"stale,omitzero"`    // targets of which nobody says anything: the last state stays
	Doubted  int `json:"doubted,omitzero"`  // targets that turned down with a mass of others, and are not believed to be before a second round
}

func (s *VoteStats) add(t health.Tally, n int) {
	if t.Differ() > 0 {
		s.Disputed += n
	}
	if t.Stale() {
		s.Stale += n
	}
}

// count counts what is said of a target, and passes on what has changed by it.
func (t *targets) count(tg *target) {
	before, why, found := tg.state(), tg.reason, known1(tg.ballot.State)
	t.votes.add(tg.tally, -1)
	v := &tg.Spec.Voting
	if t.alone {
		tg.tally = tg.ballot.CountAlone(t.self.Checker, v.From)
	} else {
		tg.tally = tg.ballot.Count(v, t.now())
	}
	tg.counted = true
	t.votes.add(tg.tally, 1)
	t.differ(tg)
	t.warn(tg)
	t.found += known1(tg.ballot.State) - found
	if delete(t.again, tg.TargetID); !tg.tally.Again.IsZero() {
		t.again[tg.TargetID] = tg.tally.Again
	}
	switch {
	case tg.ballot.State != health.Down:
		t.gate.Clear(tg.TargetID)
		tg.held = false
	case before == health.Up:
		t.gate.Down(tg.Target)
		tg.held = true // until believe
		t.doubt[tg] = true
		return
	}
	if tg.reason = t.words(tg); tg.state() != before || tg.reason != why {
		t.tell(tg)
	}
}

// countDue counts the targets of which a site that has ceased to vote counts no longer, and all when others count again.
func (t *targets) countDue() {
	now := t.now()
	if t.alone && !t.joins.IsZero() && !now.Before(t.joins) {
		t.setAlone(false)
	}
	for id, at := range t.again {
		if !now.Before(at) || at.Sub(now) > health.VoteWindow { // the clock was set back
			t.count(t.byID[id])
		}
	}
}

// firstOver counts the targets that no checker has reported yet.
func (t *targets) firstOver() {
	t.first = true
	for _, tg := range t.byID {
		if !tg.counted {
			t.count(tg)
		}
	}
}

// rejoinAfter is how long the own checker decides alone after etcd has come back. An etcd that starts gives leases
// their whole time again, so that what checkers reported before it went is there again until they have found it,
// which takes them up to three seconds, and have written what they see now.
const rejoinAfter = 5 * time.Second

// rejoin has what others report count again soon, now that it is known.
func (t *targets) rejoin() {
	if t.alone && t.joins.IsZero() {
		t.joins = t.now().Add(rejoinAfter)
	}
}

// setAlone has this process's own checker decide alone, or not any more.
func (t *targets) setAlone(alone bool) {
	if t.alone == alone {
		return
	}
	t.alone = alone
	for _, tg := range t.byID {
		t.count(tg)
	}
}

// stale is what is said of a target that nobody reports.
const stale = "stale: no checker reports it, so that the last state stays"

// words say why a target is what it is.
func (t *targets) words(tg *target) string {
	text := tg.words(t.self, tg.Spec.From)
	if tg.held {
		return notBelieved + text
	}
	return text
}

// notBelieved is said of a target that turned down with a mass of others.
const notBelieved = "not believed before a second round, since more than half of all that is checked turned down at once: "

// words say why a target is counted as it is: "" where it is up and nobody says otherwise, what its own checker found
// where there is no other, and else what each site says.
func (tg *target) words(self health.Voter, from health.From) string {
	state := tg.ballot.State
	if tg.tally.Outcome == health.Unheard {
		if state == health.Unknown && tg.own.reason == "" && from != nil && !from.Allows(self) {
			return "nobody who may vote on it, as from says, has reported it"
		}
		if state == health.Unknown {
			return tg.own.reason
		}
		return stale
	}
	if tg.tally.Sites == 1 && tg.own.state == state {
		if state == health.Up {
			return ""
		}
		return tg.own.reason
	}
	if state == health.Up && tg.tally.Down == 0 && tg.tally.Outcome == health.Agreed {
		return ""
	}
	sites := tg.ballot.Sites(from)
	up, down := sitesSaying(sites, health.Up), sitesSaying(sites, health.Down)
	if down != "" {
		if why := tg.whyDown(self, sites); why != "" {
			down += ": " + why
		}
	}
	said := []string{down, up}
	if state == health.Up {
		said = []string{up, down}
	}
	text := strings.Trim(strings.Join(said, "; "), "; ")
	if tg.tally.Outcome == health.Split {
		text += fmt.Sprintf("; %d of %d sites are needed", tg.tally.Need, tg.tally.Sites)
	}
	return text
}

// sitesSaying lists the sites that say so: "fra, nyc say down", "" where there are none.
func sitesSaying(sites []health.SiteVote, state health.State) string {
	var names []string
	for _, s := range sites {
		if s.Vote == state {
			names = append(names, s.Site)
		}
	}
	switch len(names) {
	case 0:
		return ""
	case 1:
		return names[0] + " says " + state.String()
	}
	return strings.Join(names, ", ") + " say " + state.String()
}

// whyDown is why a target is down, in the words of the first checker that says so and why.
func (tg *target) whyDown(self health.Voter, sites []health.SiteVote) string {
	for _, s := range sites {
		for _, said := range s.Reports {
			why := tg.others[said.Checker]
			if said.Checker == self.Checker {
				why = tg.own.reason
			}
			if said.State == health.Down && !said.Barred && why != "" {
				return why
			}
		}
	}
	return ""
}

// CountDue has the votes of sites lapse whose time is over.
func (r *Registry) CountDue() { r.targets.countDue() }

// StandAlone has the reports of other checkers count no more, from when etcd has been out of reach for longer than
// a lease. They count again some seconds after the first that come after that.
func (r *Registry) StandAlone() {
	if !r.targets.alone {
		r.log.Warn("live keys have been out of reach for longer than a lease: the own checker decides alone")
	}
	r.targets.joins = time.Time{}
	r.targets.setAlone(true)
}

// voteStats may be called by the goroutine of the registry.
func (r *Registry) voteStats() VoteStats {
	s := r.targets.votes
	s.Checkers, s.Doubted = len(r.live.checkers), r.targets.gate.Held()
	return s
}
