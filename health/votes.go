package health

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unique"
)

// VoteWindow is how long a site that has ceased to vote still counts among those of whom a majority,
// or all, is wanted. What is left of a cut network does not at once decide alone.
const VoteWindow = 10 * time.Minute

// Voter is a checker and the site it stands at.
type Voter struct{ Checker, Site string }

// Ballot holds what checkers say of one target, and what that comes to. A report is on the ballot
// until its checker takes it back, or is gone: no report is no vote. The zero Ballot is empty, and
// so is one made with a State that is known from before.
//
// With five sites of one checker each it takes some 310 bytes. Its methods are for one goroutine.
type Ballot struct {
	State   State      // as it was last counted
	reports []report   // one a checker; by site, then in the order they came
	sites   []siteVote // by site: those that vote, or did so within VoteWindow
}

// report is what one checker says.
type report struct {
	voter unique.Handle[Voter] // of millions of reports, a few hundred checkers
	since stamp                // by the checker's clock
	state State                // Up or Down
}

// siteVote is what the checkers of one site come to.
type siteVote struct {
	site  unique.Handle[string]
	since stamp // when it came to that, by our clock; without a vote: when it ceased
	vote  State // Unknown: it has none now
}

// stamp is a Unix time in seconds: half the size of an exact one, and nothing hangs on less.
type stamp uint32

func stampOf(t time.Time) stamp   { return stamp(min(max(t.Unix(), 0), math.MaxUint32)) }
func (s stamp) time() time.Time   { return time.Unix(int64(s), 0) }
func (s stamp) lapses() time.Time { return s.time().Add(VoteWindow) }

// Vote puts v's report on the ballot, in place of the checker's earlier one, at that site or
// another. since is when the checker came to it. Unknown takes the report back.
func (b *Ballot) Vote(v Voter, s State, since time.Time) {
	if s != Up && s != Down {
		b.Withdraw(v.Checker)
		return
	}
	i := b.find(v.Checker)
	if i >= 0 && b.reports[i].voter.Value() != v {
		b.reports = slices.Delete(b.reports, i, i+1) // it has moved
		i = -1
	}
	if i < 0 {
		if i = slices.IndexFunc(b.reports, func(r report) bool { return r.voter.Value().Site > v.Site }); i < 0 {
			i = len(b.reports)
		}
		b.reports = slices.Insert(b.reports, i, report{voter: unique.Make(v)})
	}
	b.reports[i].state, b.reports[i].since = s, stampOf(since)
}

// Withdraw takes back what a checker has said, if anything.
func (b *Ballot) Withdraw(checker string) {
	if i := b.find(checker); i >= 0 {
		b.reports = slices.Delete(b.reports, i, i+1)
	}
}

func (b *Ballot) find(checker string) int {
	return slices.IndexFunc(b.reports, func(r report) bool { return r.voter.Value().Checker == checker })
}

// Outcome is what a count came to.
type Outcome uint8

const (
	Unheard Outcome = iota // nobody who may vote reports: the state is what it was
	Split                  // there is no quorum, neither way: the state is what it was
	Agreed                 // the state is what a quorum says
)

func (o Outcome) String() string {
	switch o {
	case Unheard:
		return "unheard"
	case Split:
		return "split"
	case Agreed:
		return "agreed"
	}
	return fmt.Sprintf("Outcome(%d)", uint8(o))
}

// Tally is the result of a count.
type Tally struct {
	State   State
	Outcome Outcome

	Up, Down int // sites that say so
	Sites    int // these, and those that did either within VoteWindow
	Need     int // sites that make a quorum

	// When to count again though nothing is reported: a site that has ceased to vote counts no
	// longer. Zero: never.
	Again time.Time
}

// Stale says that the state is from before, and nobody bears it out.
func (t Tally) Stale() bool { return t.Outcome == Unheard && t.State != Unknown }

// Differ is how many sites say otherwise than the state.
func (t Tally) Differ() int {
	switch t.State {
	case Up:
		return t.Down
	case Down:
		return t.Up
	}
	return 0
}

// String is the tally in words: "up, agreed (sites: 3 up, 1 down, 5 in all, 3 needed)".
func (t Tally) String() string {
	if t.Outcome == Unheard {
		return fmt.Sprintf("%v, unheard", t.State)
	}
	return fmt.Sprintf("%v, %v (sites: %d up, %d down, %d in all, %d needed)", t.State, t.Outcome, t.Up, t.Down, t.Sites, t.Need)
}

// Count counts the votes of those who may vote. It is called after reports have come or gone, once
// for all that came together, and at Tally.Again: sites are timed by the counts that see them. Where
// a quorum of less than half is reached both ways, it is down: the smaller it is, the sooner.
func (b *Ballot) Count(v *Voting, now time.Time) Tally {
	heard := b.poll(v.From, now)
	t := Tally{Sites: len(b.sites)}
	for _, s := range b.sites {
		switch s.vote {
		case Up:
			t.Up++
		case Down:
			t.Down++
		case Unknown:
			if at := s.since.lapses(); t.Again.IsZero() || at.Before(t.Again) {
				t.Again = at
			}
		}
	}
	t.Need = v.Quorum.of(t.Sites)
	switch {
	case !heard:
		t.Outcome = Unheard
	case t.Down >= t.Need:
		b.State, t.Outcome = Down, Agreed
	case t.Up >= t.Need:
		b.State, t.Outcome = Up, Agreed
	default:
		t.Outcome = Split
	}
	t.State = b.State
	return t
}

// CountAlone counts while etcd is out of reach for longer than a lease lasts: what others have
// said has lapsed, and the server's own checker decides alone, if it may vote at all. The ballot
// keeps the reports of others; once etcd is back, it is made to hold what etcd does, and counted.
func (b *Ballot) CountAlone(own string, from From) Tally {
	t := Tally{State: b.State, Outcome: Unheard}
	i := b.find(own)
	if i < 0 || !from.Allows(b.reports[i].voter.Value()) {
		return t
	}
	b.State = b.reports[i].state
	t = Tally{State: b.State, Outcome: Agreed, Sites: 1, Need: 1}
	if b.State == Up {
		t.Up = 1
	} else {
		t.Down = 1
	}
	return t
}

// poll brings the votes of the sites up to date, and says whether anybody reports who may vote.
// Reports and sites are in the same order, so one pass over both does.
func (b *Ballot) poll(from From, now time.Time) (heard bool) {
	i := 0 // sites before it are done
	for rest := b.reports; len(rest) > 0; {
		site, of := rest[0].voter.Value().Site, 1
		for of < len(rest) && rest[of].voter.Value().Site == site {
			of++
		}
		vote, reports := majority(rest[:of], from)
		heard = heard || reports
		rest = rest[of:]
		for ; i < len(b.sites) && b.sites[i].site.Value() < site; i++ {
			b.sites[i].turn(Unknown, now)
		}
		if !reports { // none of them may vote: then the site does not count for some time yet
			if i < len(b.sites) && b.sites[i].site.Value() == site {
				b.sites = slices.Delete(b.sites, i, i+1)
			}
			continue
		}
		if i == len(b.sites) || b.sites[i].site.Value() != site {
			if vote == Unknown {
				continue // it has not voted yet
			}
			b.sites = slices.Insert(b.sites, i, siteVote{site: unique.Make(site)})
		}
		b.sites[i].turn(vote, now)
		i++
	}
	for ; i < len(b.sites); i++ {
		b.sites[i].turn(Unknown, now)
	}
	for i := range b.sites { // a clock that was set back prolongs nothing
		b.sites[i].since = min(b.sites[i].since, stampOf(now))
	}
	b.sites = slices.DeleteFunc(b.sites, func(s siteVote) bool {
		return s.vote == Unknown && (!now.Before(s.since.lapses()) || !from.mayHave(s.site.Value()))
	})
	return heard
}

func (s *siteVote) turn(vote State, now time.Time) {
	if s.vote != vote {
		s.vote, s.since = vote, stampOf(now)
	}
}

// majority is the vote of a site whose checkers say that; Unknown: as many say up as down. heard says
// whether any of them may vote.
func majority(reports []report, from From) (vote State, heard bool) {
	up, down := 0, 0
	for _, r := range reports {
		switch {
		case from != nil && !from.Allows(r.voter.Value()):
		case r.state == Up:
			up++
		case r.state == Down:
			down++
		}
	}
	switch {
	case up > down:
		return Up, true
	case down > up:
		return Down, true
	}
	return Unknown, up > 0
}

// Differing appends the checkers that may vote and say otherwise than the state.
func (b *Ballot) Differing(list []string, from From) []string {
	for _, r := range b.reports {
		if v := r.voter.Value(); b.State != Unknown && r.state != b.State && from.Allows(v) {
			list = append(list, v.Checker)
		}
	}
	return list
}

// SiteVote is one site's part in the last count, for those who look.
type SiteVote struct {
	Site    string
	Vote    State     // Unknown: it has none
	Since   time.Time // it votes so; without a vote: when it ceased, zero if it never voted
	Differs bool      // it says otherwise than the state
	Reports []Said    // of its checkers, in the order of their names
}

// Said is what one checker reports.
type Said struct {
	Checker string
	State   State
	Since   time.Time // by the checker's clock
	Barred  bool      // it may not vote
}

// Sites is every site's vote as it was last counted, and the reports behind it, by site.
func (b *Ballot) Sites(from From) []SiteVote {
	var list []SiteVote
	for _, s := range b.sites {
		list = append(list, SiteVote{
			Site: s.site.Value(), Vote: s.vote, Since: s.since.time(),
			Differs: s.vote != Unknown && b.State != Unknown && s.vote != b.State,
		})
	}
	for _, r := range b.reports {
		v := r.voter.Value()
		i, voted := slices.BinarySearchFunc(list, v.Site, func(s SiteVote, site string) int { return strings.Compare(s.Site, site) })
		if !voted {
			list = slices.Insert(list, i, SiteVote{Site: v.Site})
		}
		list[i].Reports = append(list[i].Reports, Said{v.Checker, r.state, r.since.time(), !from.Allows(v)})
	}
	for i := range list {
		slices.SortFunc(list[i].Reports, func(x, y Said) int { return strings.Compare(x.Checker, y.Checker) })
	}
	return list
}
