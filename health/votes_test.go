package health

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

var epoch = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// Each script is of lines: "<site>/<checker> up", "down" or "gone", several by comma; "wait 10m"; "="
// and what a count then comes to; "alone <checker> =" and what that comes to.
func TestBallot(t *testing.T) {
	const fiveUp = "fra/a up, ams/b up, lon/c up, nyc/d up, sin/e up"
	tests := []struct {
		name, voting string
		script       []string
	}{
		{"one site decides alone where there is no other", `{}`, []string{
			"= unknown, unheard",
			"fra/a down", "= down, agreed (sites: 0 up, 1 down, 1 in all, 1 needed)",
			"fra/a up", "= up, agreed (sites: 1 up, 0 down, 1 in all, 1 needed)"}},
		{"one liar among five", `{}`, []string{
			fiveUp, "= up, agreed (sites: 5 up, 0 down, 5 in all, 3 needed)",
			"sin/e down", "= up, agreed (sites: 4 up, 1 down, 5 in all, 3 needed)",
			"wait 24h", "= up, agreed (sites: 4 up, 1 down, 5 in all, 3 needed)"}},
		{"one liar of two settles nothing", `{}`, []string{
			"fra/a up, ams/b up", "= up, agreed (sites: 2 up, 0 down, 2 in all, 2 needed)",
			"ams/b down", "= up, split (sites: 1 up, 1 down, 2 in all, 2 needed)"}},
		{"many liars of one site have one vote", `{}`, []string{
			"fra/a up, ams/b up, lon/c up, lon/d up, lon/e up", "= up, agreed (sites: 3 up, 0 down, 3 in all, 2 needed)",
			"lon/c down, lon/d down, lon/e down", "= up, agreed (sites: 2 up, 1 down, 3 in all, 2 needed)"}},
		{"a liar among three of its site", `{}`, []string{
			"fra/a up, fra/b up, fra/c down", "= up, agreed (sites: 1 up, 0 down, 1 in all, 1 needed)"}},
		{"a site at odds has no vote", `{}`, []string{
			"fra/a up, fra/b up, ams/c up, lon/d up", "= up, agreed (sites: 3 up, 0 down, 3 in all, 2 needed)",
			"fra/b down", "= up, agreed (sites: 2 up, 0 down, 3 in all, 2 needed)",
			"ams/c down", "= up, split (sites: 1 up, 1 down, 3 in all, 2 needed)",
			"fra/a down", "= down, agreed (sites: 1 up, 2 down, 3 in all, 2 needed)"}},
		{"a site at odds counts no longer after ten minutes", `{"quorum":"all"}`, []string{
			"fra/a up, fra/b up, ams/c up", "= up, agreed (sites: 2 up, 0 down, 2 in all, 2 needed)",
			"fra/b down, ams/c down", "= up, split (sites: 0 up, 1 down, 2 in all, 2 needed)",
			"wait 9m59s", "= up, split (sites: 0 up, 1 down, 2 in all, 2 needed)",
			"wait 1s", "= down, agreed (sites: 0 up, 1 down, 1 in all, 1 needed)"}},
		{"a site that never voted is not counted", `{}`, []string{
			"fra/a up, fra/b down, ams/c up", "= up, agreed (sites: 1 up, 0 down, 1 in all, 1 needed)"}},
		{"two of five sites cut from the world say that all is down", `{}`, []string{
			fiveUp, "= up, agreed (sites: 5 up, 0 down, 5 in all, 3 needed)",
			"fra/a down, ams/b down", "= up, agreed (sites: 3 up, 2 down, 5 in all, 3 needed)"}},
		{"two of five sites cut from the world, etcd too", `{}`, []string{
			fiveUp, "= up, agreed (sites: 5 up, 0 down, 5 in all, 3 needed)",
			"fra/a gone, ams/b gone", "= up, agreed (sites: 3 up, 0 down, 5 in all, 3 needed)",
			"lon/c down", "= up, split (sites: 2 up, 1 down, 5 in all, 3 needed)",
			"nyc/d down, sin/e down", "= down, agreed (sites: 0 up, 3 down, 5 in all, 3 needed)"}},
		{"four of five cut from etcd, the fifth from the world", `{}`, []string{
			fiveUp, "= up, agreed (sites: 5 up, 0 down, 5 in all, 3 needed)",
			"fra/a gone, ams/b gone, lon/c gone, nyc/d gone", "= up, split (sites: 1 up, 0 down, 5 in all, 3 needed)",
			"sin/e down", "= up, split (sites: 0 up, 1 down, 5 in all, 3 needed)",
			"wait 9m59s", "= up, split (sites: 0 up, 1 down, 5 in all, 3 needed)",
			"fra/a up, ams/b up, lon/c up, nyc/d up", "= up, agreed (sites: 4 up, 1 down, 5 in all, 3 needed)"}},
		{"the last of five decides after ten minutes", `{}`, []string{
			fiveUp, "= up, agreed (sites: 5 up, 0 down, 5 in all, 3 needed)",
			"fra/a gone, ams/b gone", "= up, agreed (sites: 3 up, 0 down, 5 in all, 3 needed)",
			"wait 5m", "lon/c gone, nyc/d gone, sin/e down", "= up, split (sites: 0 up, 1 down, 5 in all, 3 needed)",
			"wait 5m", "= up, split (sites: 0 up, 1 down, 3 in all, 2 needed)",
			"wait 5m", "= down, agreed (sites: 0 up, 1 down, 1 in all, 1 needed)"}},
		{"all checkers stopped: the last state stays", `{}`, []string{
			fiveUp, "= up, agreed (sites: 5 up, 0 down, 5 in all, 3 needed)",
			"fra/a gone, ams/b gone, lon/c gone, nyc/d gone, sin/e gone", "= up, unheard",
			"wait 1000h", "= up, unheard",
			"fra/a down", "= down, agreed (sites: 0 up, 1 down, 1 in all, 1 needed)",
			"fra/a gone", "= down, unheard"}},
		{"a checker without IPv6 abstains", `{}`, []string{
			"fra/a up, ams/b up, lon/c up", "= up, agreed (sites: 3 up, 0 down, 3 in all, 2 needed)",
			"fra/a gone", "= up, agreed (sites: 2 up, 0 down, 3 in all, 2 needed)",
			"ams/b down, lon/c down", "= down, agreed (sites: 0 up, 2 down, 3 in all, 2 needed)"}},
		{"a number stays that number", `{"quorum":2}`, []string{
			"fra/a down", "= unknown, split (sites: 0 up, 1 down, 1 in all, 2 needed)",
			"ams/b down", "= down, agreed (sites: 0 up, 2 down, 2 in all, 2 needed)",
			"ams/b gone", "= down, split (sites: 0 up, 1 down, 2 in all, 2 needed)",
			"wait 24h", "= down, split (sites: 0 up, 1 down, 1 in all, 2 needed)",
			"fra/a up, ams/b up", "= up, agreed (sites: 2 up, 0 down, 2 in all, 2 needed)"}},
		{"a number reached both ways", `{"quorum":2}`, []string{
			fiveUp, "= up, agreed (sites: 5 up, 0 down, 5 in all, 2 needed)",
			"fra/a down", "= up, agreed (sites: 4 up, 1 down, 5 in all, 2 needed)",
			"ams/b down", "= down, agreed (sites: 3 up, 2 down, 5 in all, 2 needed)"}},
		{"any", `{"quorum":"any"}`, []string{
			"fra/a up, ams/b up", "= up, agreed (sites: 2 up, 0 down, 2 in all, 1 needed)",
			"fra/a down", "= down, agreed (sites: 1 up, 1 down, 2 in all, 1 needed)",
			"fra/a gone", "= up, agreed (sites: 1 up, 0 down, 2 in all, 1 needed)"}},
		{"all, both ways", `{"quorum":"all"}`, []string{
			"fra/a up, ams/b up", "= up, agreed (sites: 2 up, 0 down, 2 in all, 2 needed)",
			"fra/a down", "= up, split (sites: 1 up, 1 down, 2 in all, 2 needed)",
			"ams/b down", "= down, agreed (sites: 0 up, 2 down, 2 in all, 2 needed)",
			"fra/a up", "= down, split (sites: 1 up, 1 down, 2 in all, 2 needed)"}},
		{"from a site", `{"from":["site:fra"]}`, []string{
			"fra/a up, fra/b up, ams/c down", "= up, agreed (sites: 1 up, 0 down, 1 in all, 1 needed)",
			"fra/a gone, fra/b gone", "= up, unheard"}},
		{"from a checker: the others of its site have no word in it", `{"from":["checker:a"]}`, []string{
			"fra/a up, fra/b down, fra/c down", "= up, agreed (sites: 1 up, 0 down, 1 in all, 1 needed)"}},
		{"a checker that moves takes its vote along", `{}`, []string{
			"fra/a down, ams/b up", "= unknown, split (sites: 1 up, 1 down, 2 in all, 2 needed)",
			"ams/a down", "= unknown, split (sites: 0 up, 0 down, 2 in all, 2 needed)"}},
		{"a server's own checker votes as any of its site", `{}`, []string{
			"fra/own down, ams/b up, lon/c up", "= up, agreed (sites: 2 up, 1 down, 3 in all, 2 needed)",
			"fra/d up", "= up, agreed (sites: 2 up, 0 down, 3 in all, 2 needed)"}},
		{"etcd gone: the own checker decides alone", `{"quorum":3}`, []string{
			"fra/own up, ams/b up, lon/c up", "= up, agreed (sites: 3 up, 0 down, 3 in all, 3 needed)",
			"fra/own down", "= up, split (sites: 2 up, 1 down, 3 in all, 3 needed)",
			"alone own = down, agreed (sites: 0 up, 1 down, 1 in all, 1 needed)",
			"fra/own up", "alone own = up, agreed (sites: 1 up, 0 down, 1 in all, 1 needed)",
			"fra/own gone", "alone own = up, unheard"}},
		{"etcd gone, no checker of its own", `{}`, []string{
			"fra/a up, ams/b up", "= up, agreed (sites: 2 up, 0 down, 2 in all, 2 needed)",
			"fra/a down, ams/b down", "alone own = up, unheard"}},
		{"etcd gone, the own checker may not vote", `{"from":["site:ams"]}`, []string{
			"fra/own down, ams/b up", "= up, agreed (sites: 1 up, 0 down, 1 in all, 1 needed)",
			"alone own = up, unheard"}},
		{"etcd back: those not heard of again yet still count", `{}`, []string{
			"fra/own up, ams/b up, lon/c up", "= up, agreed (sites: 3 up, 0 down, 3 in all, 2 needed)",
			"fra/own down", "alone own = down, agreed (sites: 0 up, 1 down, 1 in all, 1 needed)",
			"wait 1h", "ams/b gone, lon/c gone", "= down, split (sites: 0 up, 1 down, 3 in all, 2 needed)",
			"ams/b up, lon/c up", "= up, agreed (sites: 2 up, 1 down, 3 in all, 2 needed)"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v, err := readVoting(test.voting)
			if err != nil {
				t.Fatal(err)
			}
			var b Ballot
			now := epoch
			for i, line := range test.script {
				if wait, ok := strings.CutPrefix(line, "wait "); ok {
					d, err := time.ParseDuration(wait)
					if err != nil {
						t.Fatal(err)
					}
					now = now.Add(d)
					continue
				}
				act, want, counts := strings.Cut(line, "= ")
				if own, ok := strings.CutPrefix(act, "alone "); counts && ok {
					if got := b.CountAlone(strings.TrimSpace(own), v.From).String(); got != want {
						t.Fatalf("line %d: alone got %s\nwant %s", i, got, want)
					}
				} else if counts {
					if got := b.Count(&v, now).String(); got != want {
						t.Fatalf("line %d: got %s\nwant %s", i, got, want)
					}
				} else {
					for act := range strings.SplitSeq(line, ", ") {
						vote(t, &b, act, now)
					}
				}
			}
		})
	}
}

// vote does what "<site>/<checker> up", "down" or "gone" says.
func vote(t *testing.T, b *Ballot, act string, now time.Time) {
	t.Helper()
	who, what, _ := strings.Cut(act, " ")
	site, checker, _ := strings.Cut(who, "/")
	switch what {
	case "up":
		b.Vote(Voter{checker, site}, Up, now)
	case "down":
		b.Vote(Voter{checker, site}, Down, now)
	case "gone":
		b.Withdraw(checker)
	default:
		t.Fatalf("unknown act %q", act)
	}
}

func TestBallotKnownFromBefore(t *testing.T) {
	b := Ballot{State: Down}
	if got := b.Count(&Voting{}, epoch); got.String() != "down, unheard" || !got.Stale() {
		t.Errorf("got %v, stale %v", got, got.Stale())
	}
	if got := (&Ballot{}).Count(&Voting{}, epoch); got.Stale() {
		t.Errorf("%v is stale, though nothing was ever known", got)
	}
}

func TestBallotSites(t *testing.T) {
	var b Ballot
	v := Voting{From: From{"site:ams", "site:fra", "checker:d"}}
	for _, act := range []string{"lon/e down", "lon/d down", "fra/b up", "ams/c up", "fra/a up"} {
		vote(t, &b, act, epoch)
	}
	b.Count(&v, epoch)
	later := epoch.Add(time.Minute)
	vote(t, &b, "ams/c gone", later)
	vote(t, &b, "fra/b down", later)
	vote(t, &b, "nyc/f up", later)
	b.Count(&v, later)
	vote(t, &b, "fra/b up", later.Add(time.Minute))
	tally := b.Count(&v, later.Add(time.Minute))
	if want := "up, split (sites: 1 up, 1 down, 3 in all, 2 needed)"; tally.String() != want || tally.Differ() != 1 {
		t.Errorf("got %v, %d differ, want %s, 1", tally, tally.Differ(), want)
	}
	if want := later.Add(VoteWindow); !tally.Again.Equal(want) {
		t.Errorf("again at %v, want %v", tally.Again, want)
	}
	var got strings.Builder
	for _, s := range b.Sites(v.From) {
		since := "never"
		if !s.Since.IsZero() {
			since = s.Since.Sub(epoch).String()
		}
		fmt.Fprintf(&got, "%s %v %s differs=%v", s.Site, s.Vote, since, s.Differs)
		for _, r := range s.Reports {
			fmt.Fprintf(&got, " %s:%v:%v:barred=%v", r.Checker, r.State, r.Since.Sub(epoch), r.Barred)
		}
		got.WriteByte('\n')
	}
	want := `ams unknown 1m0s differs=false
fra up 2m0s differs=false a:up:0s:barred=false b:up:2m0s:barred=false
lon down 0s differs=true d:down:0s:barred=false e:down:0s:barred=true
nyc unknown never differs=false f:up:1m0s:barred=true
`
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
}

// twin is the slow and obvious Ballot: it keeps what was reported by name, and all that was ever counted.
type twin struct {
	state   State
	said    map[string]State // by checker
	at      map[string]string
	counted []counted
}

type counted struct {
	when  time.Time
	votes map[string]State // by site
}

func (w *twin) vote(v Voter, s State) { w.said[v.Checker], w.at[v.Checker] = s, v.Site }
func (w *twin) withdraw(c string)     { delete(w.said, c) }

// barred says whether a site does not count, whatever it said before: nobody who may vote can be at it, or of those
// who report from there none may.
func (w *twin) barred(site string, from From) bool {
	barred := from != nil && !slices.Contains(from, "site:"+site) && !slices.ContainsFunc(from, func(who string) bool { return strings.HasPrefix(who, "checker:") })
	for c := range w.said {
		if w.at[c] != site {
			continue
		}
		if from.Allows(Voter{c, site}) {
			return false
		}
		barred = true
	}
	return barred
}

func (w *twin) count(v *Voting, now time.Time) Tally {
	votes, heard := map[string]State{}, false
	for _, site := range w.at {
		up, down := 0, 0
		for c, s := range w.said {
			if w.at[c] == site && v.From.Allows(Voter{c, site}) {
				heard = true
				if s == Up {
					up++
				} else {
					down++
				}
			}
		}
		if up > down {
			votes[site] = Up
		} else if down > up {
			votes[site] = Down
		}
	}
	w.counted = append(w.counted, counted{now, votes})
	t := Tally{}
	sites := map[string]bool{}
	for i, c := range w.counted {
		for site := range c.votes {
			if w.barred(site, v.From) {
				delete(c.votes, site) // for good
				continue
			}
			// It is among them if it votes still, or was first counted without a vote less than ten minutes ago.
			ceased := slices.IndexFunc(w.counted[i:], func(c counted) bool { return c.votes[site] == Unknown })
			if ceased < 0 {
				sites[site] = true
			} else if lapses := w.counted[i+ceased].when.Add(10 * time.Minute); votes[site] == Unknown && now.Before(lapses) {
				sites[site] = true
				if again := slices.IndexFunc(w.counted[i+ceased:], func(c counted) bool { return c.votes[site] != Unknown }); again < 0 &&
					(t.Again.IsZero() || lapses.Before(t.Again)) {
					t.Again = lapses
				}
			}
		}
	}
	for _, s := range votes {
		if s == Up {
			t.Up++
		} else {
			t.Down++
		}
	}
	t.Sites = len(sites)
	switch {
	case v.Quorum == Majority:
		for t.Need = 1; t.Need*2 <= t.Sites; t.Need++ {
		}
	case v.Quorum == All:
		t.Need = max(1, t.Sites)
	default:
		t.Need = int(v.Quorum)
	}
	switch {
	case !heard:
	case t.Down >= t.Need:
		w.state, t.Outcome = Down, Agreed
	case t.Up >= t.Need:
		w.state, t.Outcome = Up, Agreed
	default:
		t.Outcome = Split
	}
	t.State = w.state
	return t
}

// compareBallots runs a Ballot and its twin through reports, waits and counts of choose's choice.
func compareBallots(t *testing.T, choose func(n int) int, steps int) {
	var b Ballot
	w := twin{said: map[string]State{}, at: map[string]string{}}
	now := epoch
	quorum := []Quorum{Majority, Majority, All, 1, 2, 3}[choose(6)]
	froms := []From{nil, nil, {"site:s0", "site:s2", "checker:c3"}, {"checker:c1", "checker:c2"}}
	v := Voting{Quorum: quorum, From: froms[choose(len(froms))]}
	var script []string
	for range steps {
		c := choose(8)
		voter := Voter{fmt.Sprint("c", c), fmt.Sprint("s", c*3/5)} // two a site, or one
		switch what := choose(16); what {
		case 0, 1, 2:
			b.Vote(voter, Up, now)
			w.vote(voter, Up)
			script = append(script, fmt.Sprint(voter, " up"))
		case 3, 4, 5:
			b.Vote(voter, Down, now)
			w.vote(voter, Down)
			script = append(script, fmt.Sprint(voter, " down"))
		case 6, 7:
			b.Withdraw(voter.Checker)
			w.withdraw(voter.Checker)
			script = append(script, fmt.Sprint(voter, " gone"))
		case 8:
			voter.Site = fmt.Sprint("s", choose(6))
			b.Vote(voter, Up, now)
			w.vote(voter, Up)
			script = append(script, fmt.Sprint(voter, " moved, up"))
		case 9:
			v.From = froms[choose(len(froms))]
			script = append(script, fmt.Sprint("from ", v.From))
		case 10, 11:
			now = now.Add(time.Duration(choose(700)) * time.Second)
			script = append(script, fmt.Sprint("at ", now.Sub(epoch)))
		default:
			got, want := b.Count(&v, now), w.count(&v, now)
			script = append(script, got.String())
			if !reflect.DeepEqual(got, want) && !(got.Again.Equal(want.Again) && got.String() == want.String()) {
				t.Fatalf("quorum %v:\n%s\n got %v, again %v\nwant %v, again %v", quorum, strings.Join(script, "\n"), got, got.Again, want, want.Again)
			}
			differ := 0
			for _, s := range b.Sites(v.From) {
				if s.Differs {
					differ++
				}
			}
			if differ != got.Differ() {
				t.Fatalf("quorum %v:\n%s\n%d sites differ, the tally says %d", quorum, strings.Join(script, "\n"), differ, got.Differ())
			}
		}
	}
}

func TestBallotTwin(t *testing.T) {
	for seed := range uint64(1000) {
		compareBallots(t, rand.New(rand.NewPCG(seed, 7)).IntN, 60)
	}
}

// chooser makes choices of the fuzzer's bytes; 0 when they are used up.
func chooser(bytes []byte) func(n int) int {
	return func(n int) int {
		if len(bytes) < 2 {
			return 0
		}
		c := int(bytes[0])<<8 | int(bytes[1])
		bytes = bytes[2:]
		return c % n
	}
}

func FuzzBallot(f *testing.F) {
	f.Add([]byte("reports of eight checkers at five sites"))
	f.Fuzz(func(t *testing.T, choices []byte) { compareBallots(t, chooser(choices), min(100, len(choices)/4)) })
}

// ballots of so many targets, five sites, all up.
func ballots(n int) []Ballot {
	list := make([]Ballot, n)
	v := Voting{}
	for i := range list {
		for _, site := range []string{"ams", "fra", "lon", "nyc", "sin"} {
			list[i].Vote(Voter{site + "1", site}, Up, epoch)
		}
		list[i].Count(&v, epoch)
	}
	return list
}

func TestCountAllocatesNothing(t *testing.T) {
	list := ballots(1)
	v := Voting{From: From{"site:fra", "site:ams", "checker:lon1"}}
	state := Up
	if n := testing.AllocsPerRun(100, func() {
		state ^= Up ^ Down
		list[0].Vote(Voter{"fra1", "fra"}, state, epoch)
		list[0].Count(&v, epoch)
	}); n != 0 {
		t.Errorf("a report and a count allocate %v times", n)
	}
}

// Who may vote is another now: whom that leaves out does not count for ten minutes yet, whether it goes on to report or not.
func TestBallotFromChanged(t *testing.T) {
	for _, tt := range []struct {
		from From
		want string
	}{
		{nil, "down, split (sites: 1 up, 1 down, 3 in all, 2 needed)"},
		{From{"site:fra"}, "up, agreed (sites: 1 up, 0 down, 1 in all, 1 needed)"},
		{From{"site:fra", "site:lon"}, "down, split (sites: 1 up, 0 down, 2 in all, 2 needed)"},
		{From{"checker:a"}, "down, split (sites: 1 up, 0 down, 2 in all, 2 needed)"}, // it may have been at lon
	} {
		b := Ballot{}
		b.Vote(Voter{"a", "fra"}, Up, epoch)
		b.Vote(Voter{"b", "ams"}, Down, epoch)
		b.Vote(Voter{"c", "lon"}, Down, epoch)
		b.Count(&Voting{}, epoch)
		b.Withdraw("c")
		if got := b.Count(&Voting{From: tt.from}, epoch.Add(time.Minute)).String(); got != tt.want {
			t.Errorf("from %v: %s, expected %s", tt.from, got, tt.want)
		}
	}
}

// A clock that is set back by an hour does not have a site that has gone count for that hour.
func TestBallotClockSetBack(t *testing.T) {
	b := Ballot{}
	b.Vote(Voter{"a", "fra"}, Up, epoch)
	b.Vote(Voter{"b", "ams"}, Down, epoch)
	b.Count(&Voting{}, epoch)
	b.Withdraw("b")
	b.Count(&Voting{}, epoch)
	back := epoch.Add(-time.Hour)
	if got := b.Count(&Voting{}, back); !got.Again.Equal(back.Add(VoteWindow)) {
		t.Errorf("to be counted again at %v, expected %v", got.Again, back.Add(VoteWindow))
	}
	if got, want := b.Count(&Voting{}, back.Add(VoteWindow)).String(), "up, agreed (sites: 1 up, 0 down, 1 in all, 1 needed)"; got != want {
		t.Errorf("ten minutes later: %s, expected %s", got, want)
	}
}

func BenchmarkBallot(b *testing.B) {
	const n = 100_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	list := ballots(n)
	runtime.GC()
	runtime.ReadMemStats(&after)
	order := rand.New(rand.NewPCG(1, 2)).Perm(n)
	v := Voting{}
	i := 0
	for b.Loop() {
		ballot := &list[order[i%n]]
		ballot.Vote(Voter{"lon1", "lon"}, State(1+i/n%2), epoch)
		ballot.Count(&v, epoch)
		i++
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/target")
}
