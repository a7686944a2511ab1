package store

import (
	"slices"
	"strings"
	"time"

	"meridian/health"
)

// countTwin is what is known of a target, slow and obvious.
type countTwin struct {
	state  health.State
	was    health.State         // shown before it turned down
	agreed bool                 // the last count had a quorum
	sites  map[string]time.Time // that vote (zero), or when they ceased to
	turn   *turnedTwin
}

// turnedTwin is that it turned down.
type turnedTwin struct {
	at, asked  time.Time
	past, held bool
}

func (c *countTwin) shown() health.State {
	switch {
	case c == nil:
		return health.Unknown
	case c.turn != nil && c.turn.held:
		return health.Up
	}
	return c.state
}

// countTwins counts everything.
func (w *healthWorld) countTwins() {
	for id := range w.counts {
		if w.targets.byID[id] == nil {
			delete(w.counts, id)
			delete(w.own, id)
		}
	}
	for id, said := range w.said() {
		c := w.counts[id]
		if c == nil {
			c = &countTwin{}
			w.counts[id] = c
		}
		w.countTwin(id, c, said)
		if c.state != health.Down {
			c.was, c.turn = c.state, nil
		}
	}
}

func (w *healthWorld) countTwin(id health.TargetID, c *countTwin, said map[health.Voter]health.State) {
	check := w.checks[id.Check].value
	may := map[health.Voter]health.State{}
	for v, s := range said {
		if check.From == nil || slices.Contains(check.From, "site:"+v.Site) || slices.Contains(check.From, "checker:"+v.Checker) {
			may[v] = s
		}
	}
	if w.alone {
		s, votes := may[w.targets.self]
		if c.agreed = votes; votes {
			c.state = s
		}
		return
	}
	ups, voters := map[string]int{}, map[string]int{}
	for v, s := range may {
		voters[v.Site]++
		switch s {
		case health.Up:
			ups[v.Site]++
		case health.Down:
			ups[v.Site]--
		}
	}
	if c.sites == nil {
		c.sites = map[string]time.Time{}
	}
	up, down := 0, 0
	for site, n := range ups {
		switch {
		case n > 0:
			up++
		case n < 0:
			down++
		}
		if n != 0 {
			c.sites[site] = time.Time{}
		}
	}
	for site, ceased := range c.sites {
		barred := check.From != nil && !slices.Contains(check.From, "site:"+site) && !strings.Contains(strings.Join(check.From, " "), "checker:")
		for v := range said {
			barred = barred || v.Site == site && voters[site] == 0 // it speaks, and may not
		}
		switch {
		case ups[site] != 0:
		case barred:
			delete(c.sites, site)
		case ceased.IsZero():
			c.sites[site] = w.clock
		case w.clock.Sub(ceased) >= health.VoteWindow:
			delete(c.sites, site)
		}
	}
	need := int(check.Quorum)
	switch check.Quorum {
	case health.Majority:
		need = len(c.sites)/2 + 1
	case health.All:
		need = max(1, len(c.sites))
	}
	switch {
	case len(may) == 0:
		c.agreed = false
	case down >= need:
		c.state, c.agreed = health.Down, true
	case up >= need:
		c.state, c.agreed = health.Up, true
	default:
		c.agreed = false
	}
}

// said is what everybody who is live says of all targets.
func (w *healthWorld) said() map[health.TargetID]map[health.Voter]health.State {
	all := map[health.TargetID]map[health.Voter]health.State{}
	for id := range w.targets.byID {
		all[id] = map[health.Voter]health.State{}
		if s := w.own[id]; s != health.Unknown {
			all[id][w.targets.self] = s
		}
	}
	for key, value := range w.live {
		checker, is := strings.CutPrefix(key, "checker/")
		if !is {
			continue
		}
		var c checkerSpec
		if err := decode([]byte(value), &c); err != nil {
			w.t.Fatal(err)
		}
		last := map[health.TargetID]seen{}
		for name, list := range w.targets.byPool {
			s := reportSpec{}
			if text := w.live["report/"+checker+"/"+name]; text != "" {
				if err := decode([]byte(text), &s); err != nil {
					w.t.Fatal(err)
				}
			}
			for _, it := range list {
				m := w.pools[name].compiled.Members[it.member]
				if found := s[m.Name][m.Addrs[it.addr]]; found.State != "" && !found.Since.Before(last[it.TargetID].Since) {
					last[it.TargetID] = found
				}
			}
		}
		for id, s := range last {
			all[id][health.Voter{Checker: checker, Site: c.Site}] = s.state()
		}
	}
	return all
}

// times are the interval and the second round of a check.
func (w *healthWorld) times(check string) (interval, round time.Duration) {
	c := w.checks[check].value
	for _, part := range c.Parts() {
		i, r := w.times(part)
		interval, round = max(interval, i), max(round, r)
	}
	if len(c.Parts()) == 0 {
		interval = time.Duration(c.Interval)
		round = time.Duration(c.Rise)*interval + time.Duration(c.Timeout)
	}
	return interval, round
}

// believeTwin says which of what turned down is believed.
func (w *healthWorld) believeTwin() {
	var fresh []health.TargetID
	recent, known := 0, 0
	for id, c := range w.counts {
		if c.state != health.Unknown {
			known++
		}
		interval, round := w.times(id.Check)
		if t := c.turn; t != nil {
			t.past = t.past || !w.clock.Before(t.at.Add(interval))
			due := t.at.Add(round)
			if !t.asked.IsZero() {
				due = t.asked.Add(interval)
			}
			switch {
			case !t.held && t.past:
				c.turn = nil
			case !t.past:
				recent++
			case w.clock.Before(due):
			case c.agreed:
				c.turn = nil
			default:
				t.asked = w.clock
			}
		} else if c.state == health.Down && c.was == health.Up {
			fresh = append(fresh, id)
		}
		c.was = c.shown()
	}
	mass := known >= 20 && 2*(recent+len(fresh)) > known
	for id, c := range w.counts {
		if mass && c.turn != nil && !c.turn.held {
			c.turn.held = true
			w.recallTwin(id)
		}
		c.was = c.shown()
	}
	for _, id := range fresh {
		w.counts[id].turn = &turnedTwin{at: w.clock, held: mass}
		w.counts[id].was = w.counts[id].shown()
	}
}

// backTwin is what is known of a member whose pool says recover or ramp.
type backTwin struct {
	addrs  [health.MaxAddrs]backAddr
	starts time.Time // its ramp
	up     bool
}

type backAddr struct {
	last     health.State
	out, was bool      // it has been down and has not returned; so it was when it last went down
	up       time.Time // since when it is, while it is out
	returned time.Time
}

func (a *backAddr) recall() {
	if a.last == health.Down {
		a.out = a.was
	}
}

// recallTwin takes back that a target was down; and that pools were for that.
func (w *healthWorld) recallTwin(id health.TargetID) {
	for name, list := range w.targets.byPool {
		for _, it := range list {
			if it.TargetID != id {
				continue
			}
			if c := w.comebacks[name]; c != nil {
				w.backs[c.members[it.member]].addrs[it.addr].recall()
			}
			w.recallPools(name)
		}
	}
}

func (w *healthWorld) recallPools(name string) {
	w.recalledPools[name] = true
	for around := range w.lie.up[name] {
		w.recallPools(around)
	}
}

// observe compares what is shown of members that come back with what may be.
func (w *healthWorld) observe() {
	old := w.backs
	defer clear(w.recalledPools)
	w.backs, w.heldBack = map[*comeback]*backTwin{}, 0
	for name, c := range w.comebacks {
		recover, ramp := time.Duration(c.Recover), time.Duration(c.Ramp)
		for i, m := range c.members {
			b := old[m]
			if b == nil {
				b = &backTwin{}
			}
			w.backs[m] = b
			shown, returns, comes, up := c.pool.Health(i), false, false, false
			for j := range b.addrs {
				a, s, want := &b.addrs[j], m.stands.State(j), m.stands.State(j)
				if s == health.Up && a.last == health.Down && w.recalledPools[m.of.Pool] {
					a.recall()
				}
				if s == health.Down && a.last != health.Down {
					a.was, a.out = a.out, true
				}
				comes = comes || s == health.Up && a.last != s && !a.out
				a.last = s
				if s != health.Up || !a.out {
					a.up = time.Time{}
				} else {
					if a.up.IsZero() {
						a.up = w.clock
					}
					if w.clock.Before(a.up.Add(recover)) || !a.returned.IsZero() && w.clock.Before(a.returned.Add(2*recover)) {
						want = health.Unknown
						w.heldBack++
					} else {
						a.out, a.up, a.returned, returns = false, time.Time{}, w.clock, true
					}
				}
				up = up || want == health.Up
				if got := shown.State(j); got != want {
					w.t.Errorf("%s/%s address %d is shown as %v, expected %v: %+v", name, c.pool.Members[i].Name, j, got, want, a)
				}
			}
			if returns && up && !b.up {
				b.starts = w.clock
				if comes { // which of two addresses came first, that which was down or that which was not
					b.starts = m.Climbs()
				}
			}
			b.up = up
			if w.clock.Sub(b.starts) >= ramp {
				b.starts = time.Time{}
			}
			full, got := fullWeight(c, m.stands), int(shown.Weight())
			least, most := full, full
			if since := w.clock.Sub(b.starts); !b.starts.IsZero() {
				at := float64(full) * since.Seconds() / ramp.Seconds()
				least, most = min(full, max(1, int(at)-1)), min(full, int(at)+1)
			}
			if got < least || got > most {
				w.t.Errorf("%s/%s has weight %d, expected %d to %d of %d", name, c.pool.Members[i].Name, got, least, most, full)
			}
		}
	}
}

// fullWeight is what a member's weight comes to once it has climbed.
func fullWeight(c *comebacks, stands health.Word) int {
	return min(int(stands.Weight())*c.scale, 65535)
}

// compare compares what is served with what should be, and looks for what has gone and is kept.
func (w *healthWorld) compare() {
	found, refs := 0, map[health.TargetID]int{}
	for id, tg := range w.targets.byID {
		c := w.counts[id]
		if c.state != health.Unknown {
			found++
		}
		if tg.ballot.State != c.state || tg.state() != c.shown() || tg.counted && (tg.tally.Outcome == health.Agreed) != c.agreed {
			w.t.Errorf("%v is %v, shown as %v, counted %v; expected %v, %v, agreed %v, by %v", id, tg.ballot.State, tg.state(), tg.tally, c.state, c.shown(), c.agreed, w.said()[id])
		}
		if w.targets.gate.Holds(id) != (c.turn != nil && c.turn.held) {
			w.t.Errorf("%v is held: %v", id, w.targets.gate.Holds(id))
		}
		for checker := range tg.others {
			if _, there := w.live["checker/"+checker]; !there {
				w.t.Errorf("%v has the words of %s, which is gone", id, checker)
			}
		}
	}
	if w.targets.found != found || len(w.targets.doubt)+len(w.uncounted)+len(w.rehealed) > 0 {
		w.t.Errorf("%d are known, expected %d; %d doubted, %d uncounted, %d rehealed", w.targets.found, found, len(w.targets.doubt), len(w.uncounted), len(w.rehealed))
	}
	for id, at := range w.targets.again {
		if tg := w.targets.byID[id]; tg == nil || !tg.tally.Again.Equal(at) {
			w.t.Errorf("%v is gone, or not to be counted again at %v", id, at)
		}
	}
	for _, p := range w.pools {
		for i := range p.compiled.Members {
			w.compareMember(p, i, refs)
		}
	}
	for id, tg := range w.targets.byID {
		if len(tg.refs) != refs[id] || refs[id] == 0 {
			w.t.Errorf("%v stands for %d addresses, expected %d", id, len(tg.refs), refs[id])
		}
	}
	for name, c := range w.comebacks {
		if p := w.pools[name]; p == nil || c.pool != p.compiled || len(c.members) != len(p.compiled.Members) {
			w.t.Errorf("pool %s: what comes back is not of its members", name)
		}
	}
	for key := range w.ended {
		if w.overrides[key] == nil {
			w.t.Errorf("%s has ended, and is gone", key)
		}
	}
	for name := range w.latched {
		if w.pools[name] == nil {
			w.t.Errorf("pool %s is latched, and gone", name)
		}
	}
}

// compareMember compares a member with what is believed of it, and counts the targets that it should have.
func (w *healthWorld) compareMember(p *pool, i int, refs map[health.TargetID]int) {
	m, got := &p.compiled.Members[i], p.compiled.Health(i)
	var over *health.Override
	for _, key := range []string{"override/site/" + m.Site, "override/pool/" + p.name, "override/member/" + p.name + "/" + m.Name} {
		if o := w.overrides[key]; o != nil && (o.value.Until == nil || w.clock.Before(*o.value.Until)) {
			over = &o.value
		}
	}
	want := health.Word(0).WithWeight(m.Weight)
	chain := p.chain()
	switch {
	case over != nil && over.State == "up":
		for j := range max(len(m.Addrs), 2) {
			if j < health.MaxAddrs {
				want = want.With(j, health.Up)
			}
		}
	case m.Pool != "":
		want = w.pools[m.Pool].compiled.Derived(want)
	default:
		check := ""
		if chain != nil {
			check = chain.value.Check
		}
		for j, addr := range m.Addrs {
			if check == "" {
				want = want.With(j, health.Up)
				continue
			}
			if to := p.lastMembers[m.Name].value.CheckAddr; to != nil {
				addr = *to
			}
			id := health.TargetOf(check, addr, p.lastMembers[m.Name].value.Port, w.check).TargetID
			refs[id]++
			want = want.With(j, w.counts[id].shown())
		}
	}
	if over != nil {
		want = over.Over(want)
	}
	if c := w.comebacks[p.name]; c != nil {
		if stands := c.members[i].stands; stands != want {
			w.t.Errorf("%s/%s stands %x, expected %x", p.name, m.Name, stands, want)
		}
		return
	}
	if got != want {
		w.t.Errorf("%s/%s is %x, expected %x", p.name, m.Name, got, want)
	}
	if chain != nil && chain.value.Recovery != (health.Recovery{}) {
		w.t.Errorf("pool %s has nobody come back", p.name)
	}
}
