package store

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"meridian/health"
)

// healthChoices are the keys that change while health does. A # in a value is a time within some minutes.
var healthChoices = map[string][]string{
	"check/a": {
		`{"http":{},"interval":"2s","timeout":"1s","rise":2}`, `{"http":{},"interval":"1s","timeout":"1s","quorum":"any"}`,
		`{"http":{},"interval":"10s","quorum":"all"}`, `{"http":{},"interval":"1h","rise":10,"quorum":2}`,
		`{"http":{},"from":["site:fra","checker:x2"]}`, `{"http":{},"from":["site:ams"],"quorum":"all"}`, `{"http":{"port":81}}`,
	},
	"check/b":               {`{"all":["a"],"quorum":2}`, `{"any":["a","c"]}`, `{"tcp":{"port":25},"interval":"5s"}`},
	"pool/crowd/policy":     {`{"check":"a"}`, `{"check":"b"}`, `{"check":"a","recover":"20s","ramp":"40s"}`, `{"check":"a","recover":"24h"}`, `{"check":"a","ramp":"24h"}`},
	"pool/crowd/member/c07": {`{"addr":["198.51.100.7"],"weight":65535}`, "198.51.100.7"},
	"pool/crowd/member/c08": {`{"addr":["198.51.100.99"],"site":"fra"}`, "198.51.100.8"},
	"pool/p/policy": {
		`{"check":"a","recover":"20s","ramp":"40s"}`, `{"check":"a","recover":"3s"}`, `{"check":"b","ramp":"5s"}`, `{"check":"a"}`, `{}`,
		`{"check":"a","recover":"3s","steps":["up",{"tier":{"failback":"30s"}}]}`, `{"check":"a","steps":["up",{"tier":{"failback":"manual"}}]}`,
	},
	"pool/p/member/m":       {`{"addr":["192.0.2.10","2001:db8::10"],"site":"fra","weight":7}`, `{"addr":["192.0.2.10"]}`, `{"addr":["192.0.2.11","192.0.2.12","192.0.2.13","192.0.2.14","192.0.2.15","192.0.2.16","192.0.2.17","192.0.2.18","192.0.2.19","192.0.2.20","192.0.2.21","192.0.2.22","192.0.2.23","192.0.2.24","192.0.2.25","192.0.2.26"]}`},
	"pool/p/member/n":       {`{"addr":["198.51.100.3"],"tier":2}`, `{"addr":["192.0.2.30"],"check_addr":"198.51.100.4","tier":2}`, `{"addr":["192.0.2.30"],"leaving":true}`},
	"pool/p/member/l":       {"192.0.2.40", "192.0.2.41"},
	"pool/top/policy":       {`{"recover":"10s","ramp":"10s"}`, `{}`, `{"check":"a","recover":"7s"}`},
	"pool/top/member/all":   {`{"pool":"crowd"}`, `{"pool":"p","weight":3}`},
	"pool/top/member/p":     {`{"pool":"p"}`},
	"pool/top/member/own":   {"198.51.100.5", "198.51.100.6"},
	"override/member/p/m":   {`{"state":"up","until":"#"}`, `{"state":"drain","until":"#"}`, `{"weight":60000,"until":"#"}`, `{"weight":0}`},
	"override/pool/crowd":   {`{"state":"down","until":"#"}`, `{"weight":5,"until":"#"}`, `{"state":"up","until":"#"}`},
	"override/member/top/p": {`{"state":"up","until":"#"}`},
	"override/site/fra":     {`{"state":"drain","until":"#"}`},
}

// healthWorld is a registry, what it reads, and what all of its health should come to.
type healthWorld struct {
	*Registry
	t        *testing.T
	random   *rand.Rand
	clock    time.Time
	revision int64
	keys     map[string]Entry
	live     map[string]string // keys of checkers and reports, with their values
	history  []string

	runner   map[health.TargetID]health.State // what the own checker has found
	own      map[health.TargetID]health.State // what it has told
	views    map[string]map[netip.Addr]seen   // of the other checkers
	heldBack int                              // members, at the last step
	alone    bool
	joins    time.Time
	counts   map[health.TargetID]*countTwin
	backs    map[*comeback]*backTwin

	recalledPools map[string]bool // by this step
}

func newHealthWorld(t *testing.T, random *rand.Rand) *healthWorld {
	w := &healthWorld{
		t: t, random: random, clock: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), keys: map[string]Entry{}, live: map[string]string{},
		runner: map[health.TargetID]health.State{}, own: map[health.TargetID]health.State{}, views: map[string]map[netip.Addr]seen{},
		counts: map[health.TargetID]*countTwin{}, backs: map[*comeback]*backTwin{}, recalledPools: map[string]bool{},
	}
	w.start()
	base := map[string]string{
		"site/fra": `{"country":"DE"}`, "zone/example.com/soa": `{"ns":["ns1.example.net."]}`,
		"zone/example.com/name/p/steer": `{"pool":"p"}`, "zone/example.com/name/t/steer": `{"pool":"top"}`,
		"check/a": healthChoices["check/a"][0], "check/c": `{"tcp":{"port":26}}`, "pool/crowd/policy": `{"check":"a"}`,
	}
	for i := range 24 {
		base[fmt.Sprintf("pool/crowd/member/c%02d", i+1)] = fmt.Sprintf("198.51.100.%d", i+1)
	}
	w.revision++
	for key, value := range base {
		w.keys[key] = Entry{Key: key, Value: []byte(value), Revision: w.revision}
	}
	w.apply(Update{Full: true, Entries: slices.Collect(maps.Values(w.keys))})
	return w
}

// start makes a registry that knows nothing.
func (w *healthWorld) start() {
	w.Registry = NewRegistry(slog.New(slog.DiscardHandler))
	w.now = func() time.Time { return w.clock }
	w.targets.self = health.Voter{Checker: "self", Site: "fra"}
}

func (w *healthWorld) note(format string, args ...any) {
	w.history = append(w.history, w.clock.Format("15:04:05 ")+fmt.Sprintf(format, args...))
}

func (w *healthWorld) apply(u Update) {
	u.Revision, u.Cluster = w.revision, 1
	w.Apply(u)
	w.countTwins()
	w.observe()
	w.retarget()
}

// retarget is what the own checker does with a new list: what it knows of a target is told again to who does not.
func (w *healthWorld) retarget() {
	if !w.targets.changed {
		return
	}
	list := map[health.TargetID]health.State{}
	for _, target := range w.Targets() {
		list[target.TargetID] = target.State
	}
	for id := range w.runner {
		if _, there := list[id]; !there {
			delete(w.runner, id)
		}
	}
	for id, state := range list {
		if known := w.runner[id]; known != state && known != health.Unknown {
			w.own[id] = known
			w.targets.report(health.Report{TargetID: id, State: known, Reason: "again"})
		} else if known == health.Unknown {
			w.runner[id] = state
		}
	}
	w.countTwins()
}

// step changes something, and has the registry settle it as the applier does after each turn.
func (w *healthWorld) step() {
	switch w.random.IntN(20) {
	case 0, 1, 2, 3, 4:
		w.change()
	case 5, 6, 7:
		w.look(1+w.random.IntN(3), pick(w.random, health.Up, health.Down))
	case 8:
		w.look(1000, pick(w.random, health.Up, health.Down, health.Up, health.Unknown))
	case 9, 10, 11:
		w.tells()
	case 12:
		w.stand()
	case 13:
		switch w.random.IntN(4) {
		case 0:
			w.note("restart")
			w.restart()
		case 1:
			w.note("alone")
			w.StandAlone()
			w.alone, w.joins = true, time.Time{}
		default:
			w.readLive()
		}
	case 14:
		w.expire()
	default:
		w.pass(pick(w.random, time.Second, 3*time.Second, 10*time.Second, 45*time.Second, 4*time.Minute, 11*time.Minute, time.Hour))
	}
	w.settle()
}

func pick[T any](random *rand.Rand, of ...T) T { return of[random.IntN(len(of))] }

// change puts or deletes some keys in one revision.
func (w *healthWorld) change() {
	w.revision++
	changed := map[string]Entry{}
	for range pick(w.random, 1, 1, 1, 2, 4) {
		key := pick(w.random, slices.Sorted(maps.Keys(healthChoices))...)
		e := Entry{Key: key, Revision: w.revision}
		if w.random.IntN(4) == 0 && !strings.HasPrefix(key, "check/") {
			e.Deleted = true
			delete(w.keys, key)
		} else {
			until := w.clock.Add(time.Duration(w.random.IntN(600)) * time.Second).Format(time.RFC3339)
			e.Value = []byte(strings.ReplaceAll(pick(w.random, healthChoices[key]...), "#", until))
			if key == leasedKey {
				e.Lease = 7
			}
			w.keys[key] = e
		}
		changed[key] = e
		w.note("%s %s", key, e.Value)
	}
	w.apply(Update{Entries: slices.Collect(maps.Values(changed))})
}

const leasedKey = "pool/p/member/l"

// expire has the lease of a member end.
func (w *healthWorld) expire() {
	const key = leasedKey
	if w.keys[key].Lease == 0 {
		return
	}
	stays := w.pools["p"].policy != nil && w.believed(w.pools["p"], "l") == health.Up
	delete(w.keys, key)
	w.revision++
	w.note("lease of %s ends", key)
	w.apply(Update{Entries: []Entry{{Key: key, Revision: w.revision, Deleted: true, Expired: true}}})
	if p := w.pools["p"]; stays && (p == nil || p.compiled.Member("l") < 0) {
		w.t.Error("a member that is up is gone with its lease")
	}
}

// believed is the state of the target behind the first address of a member.
func (w *healthWorld) believed(p *pool, member string) health.State {
	for _, it := range w.targets.byPool[p.name] {
		if p.compiled.Members[it.member].Name == member {
			return w.counts[it.TargetID].shown()
		}
	}
	return health.Unknown
}

var flapping = netip.MustParseAddr("192.0.2.10")

// look has the own checker find some targets in a state.
func (w *healthWorld) look(n int, s health.State) {
	ids := w.ids()
	w.random.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	if n < 4 && w.random.IntN(2) == 0 { // one that flaps
		ids = slices.DeleteFunc(ids, func(id health.TargetID) bool { return id.Addr.Addr() != flapping })
	}
	ids = ids[:min(n, len(ids))]
	w.note("own checker: %v of %d, first %v", s, len(ids), ids[:min(2, len(ids))])
	for _, id := range ids {
		if _, asked := w.runner[id]; asked {
			w.runner[id], w.own[id] = s, s
			w.targets.report(health.Report{TargetID: id, State: s, Reason: "seen"})
		}
	}
}

// ids are the targets, in order.
func (w *healthWorld) ids() []health.TargetID {
	return slices.SortedFunc(maps.Keys(w.targets.byID), func(x, y health.TargetID) int {
		return cmp.Or(strings.Compare(x.Check, y.Check), x.Addr.Compare(y.Addr))
	})
}

var otherCheckers = map[string][]string{"x1": {"ams", "lon"}, "x2": {"fra"}, "x3": {"lon"}}

// tells has another checker find some addresses otherwise and write its reports of all pools, or delete them.
func (w *healthWorld) tells() {
	checker := pick(w.random, "x1", "x2", "x3")
	view := w.views[checker]
	if view == nil {
		view = map[netip.Addr]seen{}
		w.views[checker] = view
	}
	share, state := pick(w.random, 0, 3, 3, 100), pick(w.random, "up", "up", "down", "")
	gone := w.random.IntN(8) == 0
	w.note("%s: %d%% are %q, reports gone: %v", checker, share, state, gone)
	u := []string{}
	for _, name := range []string{"crowd", "p", "top"} {
		p := w.pools[name]
		s := reportSpec{}
		for i := 0; p != nil && i < len(p.compiled.Members) && !gone; i++ {
			m := &p.compiled.Members[i]
			for _, addr := range m.Addrs {
				checked := addr
				if to := p.lastMembers[m.Name].value.CheckAddr; to != nil {
					checked = *to
				}
				if it := view[checked]; w.random.IntN(100) < share && it.State != state {
					view[checked] = seen{State: state, Since: w.clock}
				}
				if view[checked].State != "" {
					if s[m.Name] == nil {
						s[m.Name] = map[netip.Addr]seen{}
					}
					s[m.Name][addr] = view[checked]
				}
			}
		}
		// What was found of an address later in this round holds for all pools.
		for _, addrs := range s {
			for addr := range addrs {
				if it := view[addr]; it.State != "" {
					addrs[addr] = it
				}
			}
		}
		text := []byte(nil)
		if len(s) > 0 {
			text, _ = json.Marshal(s)
		}
		u = append(u, "report/"+checker+"/"+name, string(text))
	}
	w.setLive(u...)
}

// stand has a checker come, move, or go.
func (w *healthWorld) stand() {
	checker := pick(w.random, "x1", "x2", "x3")
	site := pick(w.random, append(otherCheckers[checker], "")...)
	w.note("%s at %q", checker, site)
	if site != "" {
		site = fmt.Sprintf(`{"site":%q}`, site)
	}
	w.setLive("checker/"+checker, site)
}

// setLive puts live keys, and deletes those without a value.
func (w *healthWorld) setLive(keys ...string) {
	w.revision++
	for i := 0; i < len(keys); i += 2 {
		if w.live[keys[i]] = keys[i+1]; keys[i+1] == "" {
			delete(w.live, keys[i])
		}
	}
	w.TakeLive(liveKeys(w.revision, keys...))
}

// readLive has the live keys be read anew.
func (w *healthWorld) readLive() {
	w.note("live keys are read")
	for _, below := range []string{"report/", "checker/"} { // before checkers are known, nobody is heard
		u := Update{Revision: w.revision, Full: true, Below: below}
		for key, value := range w.live {
			if strings.HasPrefix(key, below) {
				u.Entries = append(u.Entries, Entry{Key: key, Value: []byte(value), Revision: w.revision})
			}
		}
		w.TakeLive(u)
	}
	if w.alone && w.joins.IsZero() {
		w.joins = w.clock.Add(rejoinAfter)
	}
}

// restart is a start from the disk image.
func (w *healthWorld) restart() {
	img, err := throughFile(w.Image())
	if err != nil {
		w.t.Fatal(err)
	}
	w.start()
	w.Restore(img)
	for id, c := range w.counts {
		w.counts[id] = &countTwin{state: c.shown(), was: c.shown()}
	}
	clear(w.own)
	clear(w.runner)
	w.alone, w.joins = false, time.Time{}
	w.retarget()
	w.Believe()
	all := Update{Full: true, Entries: slices.Collect(maps.Values(w.keys))}
	w.apply(all)
	w.readLive()
}

// pass is a tick of the applier, some time later.
func (w *healthWorld) pass(d time.Duration) {
	w.clock = w.clock.Add(d)
	w.note("after %v", d)
	w.Return() // and CountDue before anything else, so that what is seen in between can be compared
	w.observe()
	w.CountDue()
	if w.alone && !w.joins.IsZero() && !w.clock.Before(w.joins) {
		w.alone = false
	}
	w.countTwins()
	w.observe()
	w.lapse()
	w.Lift()
	w.countTwins()
	w.observe()
	w.retarget()
	w.Return()
	w.ExpireLoads()
	w.Relatch()
}

func (w *healthWorld) lapse() {
	if gone := w.Lapsed(); len(gone) > 0 {
		for _, e := range gone {
			w.note("%s lapses", e.Key)
			if p := w.pools["p"]; w.believed(p, "l") == health.Up && p.chain() != nil && w.clock.Sub(w.unregistered[e.Key]) < p.linger() {
				w.t.Error("a member that is up lapses before its time")
			}
		}
		w.take(Update{Revision: w.revision, Entries: gone})
		w.countTwins()
		w.observe()
		w.retarget()
	}
}

func (w *healthWorld) settle() {
	w.countTwins()
	w.Believe()
	w.believeTwin()
	w.observe()
	if len(w.rehealed) > 0 {
		w.Relatch()
		w.lapse()
		w.Believe()
		w.Relatch()
		w.believeTwin()
		w.observe()
	}
	w.compare()
}

// TestRandomHealth makes random changes of the registry, of what checkers say, and of the time, and compares all
// states and weights after each with slow and obvious twins, and with what must hold whatever happens.
func TestRandomHealth(t *testing.T) {
	seed := uint64(20261123)
	if *randomSeed != 0 {
		seed = *randomSeed
	}
	random := rand.New(rand.NewPCG(seed, 1))
	masses, holds := 0, 0
	for round := range 3 * *randomRounds {
		w := newHealthWorld(t, random)
		w.settle()
		for range 120 {
			w.step()
			if w.targets.gate.Held() > 0 {
				masses++
			}
			holds += w.heldBack
			if t.Failed() {
				t.Fatalf("seed %d, round %d, after:\n%s", seed, round, strings.Join(w.history, "\n"))
			}
		}
		w.quiet()
		if t.Failed() {
			t.Fatalf("seed %d, round %d, in the quiet after:\n%s", seed, round, strings.Join(w.history, "\n"))
		}
	}
	if masses == 0 || holds == 0 {
		t.Errorf("only %d steps with a mass held, %d with members held back", masses, holds)
	}
	t.Logf("%d steps with a mass held, %d with members held back", masses, holds)
}

// quiet lets time pass while nothing happens: nothing stays held back for ever.
func (w *healthWorld) quiet() {
	for key := range w.keys {
		if strings.HasPrefix(key, "override/") {
			delete(w.keys, key)
		}
	}
	w.revision++
	w.apply(Update{Full: true, Entries: slices.Collect(maps.Values(w.keys))})
	w.settle()
	for range 40 {
		w.pass(11 * time.Hour)
		w.settle()
	}
	for id, tg := range w.targets.byID {
		if tg.held && w.counts[id].agreed {
			w.t.Errorf("%v is held for ever", id)
		}
	}
	for name, c := range w.comebacks {
		for i, m := range c.members {
			shown := c.pool.Health(i)
			if shown.Up() != m.stands.Up() || shown.Down() != m.stands.Down() || int(shown.Weight()) != fullWeight(c, m.stands) || !c.next.IsZero() {
				w.t.Errorf("%s/%s is %x, expected %x with weight %d; next %v", name, c.pool.Members[i].Name, shown, m.stands, fullWeight(c, m.stands), c.next)
			}
		}
	}
}
