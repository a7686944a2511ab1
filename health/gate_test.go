package health

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"meridian/spec"
)

// every is a check with that interval, a timeout of half of it, and rise 2.
func every(interval time.Duration) *Check {
	return &Check{TCP: &TCP{}, Interval: spec.Duration(interval), Timeout: spec.Duration(interval / 2), Rise: 2, Fall: 3}
}

func targetNo(i int) TargetID {
	return TargetID{"web", netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), 80)}
}

// Each script is of lines "<time> <act> <first>-<last>", the acts being "down" (they turn down),
// "up", "silent" (nobody says anything of them any more), "take" (Take is due anyway: no targets), and
// after => what is down from then on, and what is up again. The targets from 100 on are checked
// every 10 s, the others every second.
func TestGate(t *testing.T) {
	tests := []struct {
		name   string
		known  int
		script []string
	}{
		{"one of many", 100, []string{"0s down 1-1 => down 1"}},
		{"half at once", 20, []string{"0s down 1-10 => down 10"}},
		{"more than half at once, and it is true", 20, []string{
			"0s down 1-11 => nothing",
			"1s take => nothing",
			"2.499s take => nothing",
			"2.5s take => down 11"}},
		{"all of few", 19, []string{"0s down 1-19 => down 19"}},
		{"all, and it is over within the second round", 20, []string{
			"0s down 1-20 => nothing",
			"2.4s up 1-20 => nothing",
			"2.5s take => nothing"}},
		{"one by one: those that had passed are taken back", 20, []string{
			"0s down 1-4 => down 4",
			"0.3s down 5-10 => down 6",
			"0.6s down 11-11 => up 10",
			"0.9s down 12-12 => nothing",
			"2.5s take => down 4",
			"2.8s take => down 6",
			"3.1s take => down 1",
			"3.4s take => down 1"}},
		{"more than half, but not within one interval", 20, []string{
			"0s down 1-10 => down 10",
			"1s down 11-20 => down 10"}},
		{"one second has one interval more", 20, []string{
			"0s down 1-10 => down 10",
			"0.999s down 11-20 => up 10"}},
		{"the interval is that of the check", 40, []string{
			"0s down 100-120 => nothing",
			"9.999s down 1-1 => nothing",
			"10s down 2-20 => down 19",
			"12.499s take => down 1",
			"25s take => down 21"}},
		{"a slow check's targets count for longer", 40, []string{
			"0s down 100-115 => down 16",
			"5s down 1-4 => down 4",
			"5.5s down 5-5 => up 20",
			"7.5s take => down 4",
			"10s down 6-6 => down 2",
			"25s take => down 16"}},
		{"who comes back does not count", 20, []string{
			"0s down 1-10 => down 10",
			"0.5s up 1-1 => nothing",
			"0.6s down 11-11 => down 1",
			"0.7s down 12-12 => up 10"}},
		{"a mass prolongs no other's second round", 20, []string{
			"0s down 1-11 => nothing",
			"0.8s down 12-12 => nothing",
			"0.9s up 12-12 => nothing",
			"0.95s down 12-12 => nothing",
			"1.5s down 13-13 => down 1",
			"2.5s take => down 11",
			"3.45s take => down 1"}},
		{"a silent checker bears nothing out", 20, []string{
			"0s down 1-20 => nothing",
			"2s silent 1-15 => nothing",
			"2.5s take => down 5",
			"100s take => nothing",
			"100.5s down 1-1 => nothing",
			"101s take => down 1"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var g Gate
			said := map[TargetID]State{}
			for _, line := range test.script {
				act, want, _ := strings.Cut(line, " => ")
				words := strings.Fields(act)
				at, err := time.ParseDuration(words[0])
				if err != nil {
					t.Fatal(err)
				}
				first, last := 0, -1
				if words[1] != "take" {
					fmt.Sscanf(words[2], "%d-%d", &first, &last)
				}
				for i := first; i <= last; i++ {
					id, check := targetNo(i), every(time.Second)
					if i >= 100 {
						check = every(10 * time.Second)
					}
					switch words[1] {
					case "down":
						said[id] = Down
						g.Down(Target{TargetID: id, Spec: check})
					case "up":
						said[id] = Up
						g.Clear(id)
					case "silent":
						said[id] = Unknown
					}
				}
				down, up := g.Take(test.known, epoch.Add(at), func(id TargetID) bool { return said[id] == Down })
				var got []string
				if len(down) > 0 {
					got = append(got, fmt.Sprint("down ", len(down)))
				}
				if len(up) > 0 {
					got = append(got, fmt.Sprint("up ", len(up)))
				}
				if len(got) == 0 {
					got = []string{"nothing"}
				}
				if strings.Join(got, ", ") != want {
					t.Fatalf("%s\ngot %s", line, strings.Join(got, ", "))
				}
			}
		})
	}
}

// A check made of others has no times of its own: the longest of theirs count. One whose check is another now is
// looked at as that says.
func TestGateTimes(t *testing.T) {
	one := func(c *Check) func(Target) Target {
		return func(t Target) Target { t.Spec = c; return t }
	}
	of := func(parts ...*Check) func(Target) Target {
		return func(t Target) Target {
			t.Spec = &Check{All: []string{"x", "y"}}
			for _, c := range parts {
				t.Parts = append(t.Parts, Target{TargetID: t.TargetID, Spec: c})
			}
			return t
		}
	}
	for _, tt := range []struct {
		name      string
		at, after func(Target) Target // how they are looked at when they turn down, and half a second later
		silent    bool                // nobody says anything until 10 s later
		down      time.Duration       // when they are
	}{
		{"made of others", of(every(time.Second), every(2*time.Second)), nil, false, 5 * time.Second},
		{"made of others, one of them not there", of(every(time.Second), nil), nil, false, 2500 * time.Millisecond},
		{"made of others, none of them there", of(nil, nil), nil, false, 100 * time.Millisecond},
		{"made of others, and nobody says so", of(every(time.Second), every(2*time.Second)), nil, true, 11 * time.Second},
		{"the interval is shorter now", one(every(time.Hour)), one(every(time.Second)), false, 2500 * time.Millisecond},
		{"the interval is longer now", one(every(time.Second)), one(every(time.Minute)), false, 150 * time.Second},
		{"the interval is longer now, and nobody says so", one(every(time.Second)), one(every(4 * time.Second)), true, 10 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var g Gate
			each := func(do func(Target), how func(Target) Target) {
				for i := range 20 {
					do(how(Target{TargetID: targetNo(i)}))
				}
			}
			now := epoch
			stands := func(TargetID) bool { return !tt.silent || now.Sub(epoch) >= 10*time.Second }
			each(g.Down, tt.at)
			if down, _ := g.Take(20, now, stands); len(down) > 0 || g.Held() != 20 {
				t.Fatalf("at once: %d down, %d held", len(down), g.Held())
			}
			if tt.after != nil {
				now = epoch.Add(500 * time.Millisecond)
				each(g.Change, tt.after)
				g.Take(20, now, stands)
			}
			for g.Held() > 0 {
				if next := g.Next(); next.After(now) {
					now = next
				} else {
					t.Fatalf("due at %v, which is over", next.Sub(epoch))
				}
				g.Take(20, now, stands)
			}
			if got := now.Sub(epoch); got != tt.down {
				t.Errorf("down after %v, expected %v", got, tt.down)
			}
		})
	}
}

// turnTwin is one target in the slow and obvious Gate.
type turnTwin struct {
	id    TargetID
	check *Check
	at    time.Time
	ask   time.Time // when its second round is over, or it is asked for again
	held  bool
}

type gateTwin struct{ fresh, turned []turnTwin }

func (w *gateTwin) down(id TargetID, c *Check) {
	if has := func(t turnTwin) bool { return t.id == id }; !slices.ContainsFunc(w.fresh, has) && !slices.ContainsFunc(w.turned, has) {
		w.fresh = append(w.fresh, turnTwin{id: id, check: c})
	}
}

func (w *gateTwin) clear(id TargetID) {
	is := func(t turnTwin) bool { return t.id == id }
	w.fresh, w.turned = slices.DeleteFunc(w.fresh, is), slices.DeleteFunc(w.turned, is)
}

func (w *gateTwin) take(known int, now time.Time, stands func(TargetID) bool) (down, up []TargetID) {
	var left []turnTwin
	recent := len(w.fresh)
	for _, t := range w.turned {
		within := now.Before(t.at.Add(time.Duration(t.check.Interval)))
		switch {
		case within:
			recent++
		case !t.held:
			continue
		case !now.Before(t.ask) && stands(t.id):
			down = append(down, t.id)
			continue
		case !now.Before(t.ask):
			t.ask = now.Add(time.Duration(t.check.Interval))
		}
		left = append(left, t)
	}
	mass := known >= 20 && recent > known/2
	for i := range left {
		if mass && !left[i].held {
			left[i].held = true
			up = append(up, left[i].id)
		}
	}
	for _, t := range w.fresh {
		t.at, t.held = now, mass
		t.ask = now.Add(2*time.Duration(t.check.Interval) + time.Duration(t.check.Timeout))
		if !mass {
			down = append(down, t.id)
		}
		left = append(left, t)
	}
	w.fresh, w.turned = nil, left
	return down, up
}

// compareGates runs a Gate and its twin through turns of choose's choice, and looks at what is shown.
func compareGates(t *testing.T, choose func(n int) int, steps int) {
	var g Gate
	var w gateTwin
	now := epoch
	known := 15 + choose(20)
	said := map[TargetID]State{}
	type fall struct {
		at, by time.Time // when it was proposed; when its second round is over
		shown  bool
		silent bool // nobody spoke of it for some time since
	}
	falls := map[TargetID]fall{} // of those that are said to be down or held
	fresh := map[TargetID]bool{}
	checks := []*Check{every(time.Second), every(3 * time.Second)}
	check := func(i int) *Check { return checks[i%2] }
	for range steps {
		switch choose(8) {
		case 0, 1, 2: // some turn down
			for range 1 + choose(known/2) {
				i := choose(known)
				id := targetNo(i)
				said[id] = Down
				f, fell := falls[id]
				if f.shown {
					continue // it is down already
				}
				g.Down(Target{TargetID: id, Spec: check(i)})
				w.down(id, check(i))
				if !fell {
					fresh[id] = true
				}
			}
		case 3: // some come back
			for range 1 + choose(5) {
				id := targetNo(choose(known))
				said[id] = Up
				g.Clear(id)
				w.clear(id)
				delete(falls, id)
				delete(fresh, id)
			}
		case 4: // nobody says anything of it
			id := targetNo(choose(known))
			said[id] = Unknown
			if f, fell := falls[id]; fell {
				f.silent = true
				falls[id] = f
			}
		case 5:
			if next := g.Next(); !next.IsZero() {
				now = next
			}
		default:
			now = now.Add(time.Duration(choose(30)) * 100 * time.Millisecond)
		}
		stands := func(id TargetID) bool { return said[id] == Down }
		down, up := g.Take(known, now, stands)
		wantDown, wantUp := w.take(known, now, stands)
		if x, y := sorted(down), sorted(wantDown); !slices.Equal(x, y) {
			t.Fatalf("%v, known %d: down\n got %v\nwant %v", now.Sub(epoch), known, x, y)
		}
		if x, y := sorted(up), sorted(wantUp); !slices.Equal(x, y) {
			t.Fatalf("%v, known %d: up\n got %v\nwant %v", now.Sub(epoch), known, x, y)
		}
		for id := range fresh {
			c := check(int(id.Addr.Addr().As4()[3]))
			falls[id] = fall{at: now, by: now.Add(2*time.Duration(c.Interval) + time.Duration(c.Timeout))}
		}
		clear(fresh)
		for _, id := range down {
			f := falls[id]
			f.shown = true
			falls[id] = f
		}
		for _, id := range up {
			f := falls[id]
			f.shown = false
			falls[id] = f
		}
		sudden, held := 0, 0
		for id, f := range falls {
			c := check(int(id.Addr.Addr().As4()[3]))
			if f.shown && now.Before(f.at.Add(time.Duration(c.Interval))) {
				sudden++
			}
			if !f.shown {
				held++
			}
			if f.shown == g.Holds(id) {
				t.Fatalf("%v: %v is shown as down: %v, and held: %v", now.Sub(epoch), id.Addr, f.shown, g.Holds(id))
			}
			if !f.shown && !f.silent && !now.Before(f.by) {
				t.Fatalf("%v: %v is held since %v, beyond its second round", now.Sub(epoch), id.Addr, f.at.Sub(epoch))
			}
		}
		if next := g.Next(); !next.IsZero() && !next.After(now) {
			t.Fatalf("%v: Take is due at %v", now.Sub(epoch), next.Sub(epoch))
		}
		if known >= 20 && 2*sudden > known {
			t.Fatalf("%v: %d of %d were taken for down within an interval", now.Sub(epoch), sudden, known)
		}
		if held != g.Held() {
			t.Fatalf("%v: %d are held, Held() = %d", now.Sub(epoch), held, g.Held())
		}
	}
}

func sorted(ids []TargetID) []TargetID {
	return slices.SortedFunc(slices.Values(ids), func(x, y TargetID) int { return x.Addr.Compare(y.Addr) })
}

func TestGateTwin(t *testing.T) {
	for seed := range uint64(300) {
		compareGates(t, rand.New(rand.NewPCG(seed, 8)).IntN, 80)
	}
}

func FuzzGate(f *testing.F) {
	f.Add([]byte("some turn down, some come back, and a time passes meanwhile"))
	f.Fuzz(func(t *testing.T, choices []byte) { compareGates(t, chooser(choices), min(100, len(choices)/4)) })
}

// Nothing waits for ever, and nothing is kept: when all is said, the Gate is empty.
func TestGateEmpties(t *testing.T) {
	var g Gate
	now := epoch
	for i := range 100 {
		g.Down(Target{TargetID: targetNo(i), Spec: every(time.Second)})
	}
	g.Take(100, now, nil)
	if g.Held() != 100 {
		t.Fatalf("%d are held, want 100", g.Held())
	}
	for range 3 {
		if now = g.Next(); now.IsZero() {
			break
		}
		g.Take(100, now, func(TargetID) bool { return true })
	}
	if len(g.turned) != 0 || len(g.queue) != 0 || len(g.fresh) != 0 || g.recent != 0 || g.passed != 0 || g.held != 0 || !g.Next().IsZero() {
		t.Errorf("the gate holds %d, %d queued, %d fresh; counts %d, %d, %d", len(g.turned), len(g.queue), len(g.fresh), g.recent, g.passed, g.held)
	}
}

// BenchmarkGate: 100,000 targets turn down, each by a report of its own.
func BenchmarkGate(b *testing.B) {
	const n = 100_000
	check := every(10 * time.Second)
	for b.Loop() {
		var g Gate
		for i := range n {
			id := TargetID{"web", netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 80)}
			g.Down(Target{TargetID: id, Spec: check})
			g.Take(n, epoch.Add(time.Duration(i)*50*time.Microsecond), nil)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/target")
}
