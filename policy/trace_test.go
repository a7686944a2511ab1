package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// traceText is a Trace as tests compare it.
func traceText(t *Trace) string {
	var b strings.Builder
	for _, run := range t.Runs {
		fmt.Fprintf(&b, "%s: %s\n", run.Pool, run.Why)
		for _, m := range run.Members {
			fmt.Fprintf(&b, "  %s w%v t%d", m.Member, m.Weight, m.Tier)
			if m.Site != "" {
				b.WriteString(" @" + m.Site)
			}
			if m.Load != nil {
				fmt.Fprintf(&b, " load %g", *m.Load)
			}
			fmt.Fprintf(&b, " [%s]", strings.Join(m.Addrs, ", "))
			if m.Out != "" {
				b.WriteString(" out: " + m.Out)
			}
			b.WriteByte('\n')
		}
		for i := range run.Steps {
			b.WriteString(stepText(&run.Steps[i]))
		}
		if run.Note != "" {
			fmt.Fprintf(&b, "  (%s)\n", run.Note)
		}
	}
	fmt.Fprintf(&b, "%s: %s\n", t.Outcome, strings.Join(t.Given, " "))
	return b.String()
}

func stepText(step *StepTrace) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  %s → %s\n", step.Step, strings.Join(step.Kept, " "))
	for _, line := range step.LookedUp {
		fmt.Fprintf(&b, "    %s\n", line)
	}
	for _, d := range step.Dropped {
		fmt.Fprintf(&b, "    %s: %s\n", d.Member, d.Why)
	}
	if step.Note != "" {
		fmt.Fprintf(&b, "    (%s)\n", step.Note)
	}
	return b.String()
}

func TestTrace(t *testing.T) {
	tests := []struct {
		name   string
		pools  string
		random uint64
		want   string
	}{
		{"up by address, and who has none of the family", `
web weighted
  a 4+ 4- 4? w5 @fra
  b 6+
  c 4- w2`, 1, `
web: asked for
  a w5 t1 @fra [10.0.0.1 up, 10.0.0.2 down, 10.0.0.3 unknown]
  b w1 t1 [] out: no IPv4 address
  c w2 t1 [10.0.2.1 down]
  up → a
    a: in part: 10.0.0.2 is down; 10.0.0.3 is unknown, and another is known to be up
    c: 10.0.2.1 is down
  weighted → a
  take 1 → a
chosen: a
`},
		{"tiers, a draw, weight 0", `
web ["tier","weighted",{"take":{"n":1}}]
  a 4+ w0
  b 4+ w0
  c 4+
  d 4+ t2`, 1, `
web: asked for
  a w0 t1 [10.0.0.1 up]
  b w0 t1 [10.0.1.1 up]
  c w1 t1 [10.0.2.1 up]
  d w1 t2 [10.0.3.1 up]
  tier → a b c
    d: tier 2; tier 1 is present
  weighted → a b c
  take 1 → c
    a: weight 0: only when nothing else is left
    b: weight 0: only when nothing else is left
chosen: c
`},
		{"a draw among weights 0", `
web ["weighted",{"take":{"n":1}}]
  a 4+ w0
  b 4+ w0`, 1, `
web: asked for
  a w0 t1 [10.0.0.1 up]
  b w0 t1 [10.0.1.1 up]
  weighted → a b
  take 1 → b
    a: not drawn
chosen: b
`},
		{"a trickle", `
web [{"tier":{"trickle":"100%"}}]
  a 4+ t1
  b 4+ t2
  c 4+ t3`, 1, `
web: asked for
  a w1 t1 [10.0.0.1 up]
  b w1 t2 [10.0.1.1 up]
  c w1 t3 [10.0.2.1 up]
  tier trickle 100% → b
    a: tier 1; the draw for trickle chose tier 2
    c: tier 3; tier 2 is present
chosen: b
`},
		{"take in the order of names, distinct by site", `
web [{"take":{"n":2,"distinct":"site"}}]
  a 4+ @fra
  b 4+ @fra w0
  c 4+
  d 4+ @ams w0
  e 4+ @fra`, 1, `
web: asked for
  a w1 t1 @fra [10.0.0.1 up]
  b w0 t1 @fra [10.0.1.1 up]
  c w1 t1 [10.0.2.1 up]
  d w0 t1 @ams [10.0.3.1 up]
  e w1 t1 @fra [10.0.4.1 up]
  take 2, distinct by site → a c
    b: its site fra is given already
    d: not among the first 2
    e: its site fra is given already
chosen: a c
`},
		{"fail open", `
web failover
  a 4- t1
  b 4- t2`, 1, `
web: asked for
  a w1 t1 [10.0.0.1 down]
  b w1 t2 [10.0.1.1 down]
  up → ` + `
    a: 10.0.0.1 is down
    b: 10.0.1.1 is down
    (leaves nobody)
  (on_empty of web goes on with all)
web: fail open: a step that leaves nobody is passed over
  a w1 t1 [10.0.0.1 down]
  b w1 t2 [10.0.1.1 down]
  up → a b
    (passed over: it would leave nobody)
  tier → a
    b: tier 2; tier 1 is present
  weighted → a
  take 1 → a
chosen (fail open): a
`},
		{"on_empty: a pool that gives nothing, one without the family, one that gives", `
web weighted on_empty pool:one pool:two pool:three
  a 4-
one weighted
  x 4-
two weighted
  y 6+
three weighted
  z 4?`, 1, `
web: asked for
  a w1 t1 [10.0.0.1 down]
  up → ` + `
    a: 10.0.0.1 is down
    (leaves nobody)
  (on_empty of web goes on with pool:one)
one: on_empty
  x w1 t1 [10.0.0.1 down]
  up → ` + `
    x: 10.0.0.1 is down
    (leaves nobody)
  (on_empty of web goes on with pool:two)
two: on_empty
  y w1 t1 [] out: no IPv4 address
  (no member has an IPv4 address; on_empty of web goes on with pool:three)
three: on_empty
  z w1 t1 [10.0.0.1 unknown]
  up → z
  weighted → z
  take 1 → z
chosen: z
`},
		{"servfail", `
web weighted on_empty servfail
  a 4-`, 1, `
web: asked for
  a w1 t1 [10.0.0.1 down]
  up → ` + `
    a: 10.0.0.1 is down
    (leaves nobody)
  (on_empty of web goes on with servfail)
servfail: ` + `
`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			pools := scene(t, test.pools)
			var trace Trace
			selected(pools[0], pools, &Client{}, test.random, new(Scratch), &trace)
			if got := traceText(&trace); got != test.want[1:] {
				t.Errorf("%s\ngives\n%swant%s", test.pools, got, test.want)
			}
		})
	}
}

// A trace has the words of the checks, and says which pools no check watches.
func TestTraceReasons(t *testing.T) {
	p := scene(t, "web [\"up\"] on_empty nodata\n  a 4- 4? 4+\n  b 4-")[0]
	p.SetHealth(0, 0, 2, "connection refused")
	p.SetHealth(0, 1, 0, "no answer yet")
	p.SetHealth(0, 2, 1, "nyc says down")
	var trace Trace
	selected(p, nil, &Client{}, 0, new(Scratch), &trace)
	want := `web: asked for
  a w1 t1 [10.0.0.1 down (connection refused), 10.0.0.2 unknown (no answer yet), 10.0.0.3 up (nyc says down)]
  b w1 t1 [10.0.1.1 down]
  up → a
    a: in part: 10.0.0.1 is down (connection refused); 10.0.0.2 is unknown (no answer yet), and another is known to be up
    b: 10.0.1.1 is down
chosen: a
`
	if got := traceText(&trace); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}

	unchecked := New("web", Spec{}, []Member{{Name: "a", Addrs: p.Members[0].Addrs[:1], Weight: 1, Tier: 1}}, Surroundings{})
	unchecked.SetHealth(0, 0, 1, "")
	trace = Trace{}
	selected(unchecked, nil, &Client{}, 0, new(Scratch), &trace)
	if got, want := trace.Runs[0].Members[0].Addrs[0], "10.0.0.1 up (not checked)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTraceMaxVisits(t *testing.T) {
	pools := chainOfPools(t, maxVisits+1)
	var trace Trace
	selected(pools[0], pools, &Client{}, 0, new(Scratch), &trace)
	last := trace.Runs[len(trace.Runs)-1]
	want := PoolTrace{
		Pool: "p64",
		Note: "not looked at: this decision has visited 64 pools; on_empty of p63 goes on with servfail",
	}
	if last.Pool != want.Pool || last.Note != want.Note || last.Steps != nil {
		t.Errorf("the last run is %+v, want %+v", last, want)
	}
}

func TestTraceMaxGiven(t *testing.T) {
	pools := scene(t, "web [\"up\"]\n"+strings.Repeat("  m 4+ 4+ 4+\n", 400))
	var trace Trace
	d := selected(pools[0], pools, &Client{}, 0, new(Scratch), &trace)
	want := "67 members left out: an answer holds 1000 addresses at most"
	if note := trace.Runs[0].Note; note != want || len(d.Picks) != 333 {
		t.Errorf("%d given, noted %q, want 333 and %q", len(d.Picks), note, want)
	}
}

// The form that programs read.
func TestTraceJSON(t *testing.T) {
	pools := scene(t, `
web weighted on_empty nodata
  a 4-`)
	var trace Trace
	selected(pools[0], pools, &Client{}, 0, new(Scratch), &trace)
	got, err := json.Marshal(trace, json.Deterministic(true), jsontext.Multiline(true), jsontext.WithIndent(" "))
	if err != nil {
		t.Fatal(err)
	}
	want := `{
 "runs": [
  {
   "pool": "web",
   "why": "asked for",
   "members": [
    {
     "member": "a",
     "weight": 1,
     "tier": 1,
     "addrs": [
      "10.0.0.1 down"
     ],
     "health": "281474976776192"
    }
   ],
   "steps": [
    {
     "step": "up",
     "kept": [],
     "dropped": [
      {
       "member": "a",
       "why": "10.0.0.1 is down"
      }
     ],
     "note": "leaves nobody"
    }
   ],
   "note": "on_empty of web goes on with nodata"
  }
 ],
 "outcome": "nodata"
}`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// checkTrace says where a trace does not account for everybody: at each step who was in is kept or
// dropped with a reason, and who is given at the end is who the last step kept.
func checkTrace(t *Trace, d Decision, pools []*Pool) error {
	for _, run := range t.Runs {
		at := slices.IndexFunc(pools, func(p *Pool) bool { return p.Name == run.Pool })
		if at < 0 {
			return fmt.Errorf("trace: pool %q?", run.Pool)
		}
		if run.Members == nil {
			if run.Note == "" && len(pools[at].Members) > 0 {
				return fmt.Errorf("trace: %s was not run, and nothing says why", run.Pool)
			}
			continue
		}
		var in []string
		for i, m := range run.Members {
			if m.Member != pools[at].Members[i].Name {
				return fmt.Errorf("trace: member %d of %s is called %s", i, run.Pool, m.Member)
			}
			if m.Out == "" && len(m.Addrs) == 0 {
				return fmt.Errorf("trace: %+v has no address and no reason, or both", m)
			}
			if m.Out == "" {
				in = append(in, m.Member)
			}
		}
		for _, step := range run.Steps {
			left := slices.Clone(step.Kept)
			for _, dropped := range step.Dropped {
				if dropped.Why == "" || dropped.Why == "left out" {
					return fmt.Errorf("trace: %s of %s drops %s without a reason", step.Step, run.Pool, dropped.Member)
				}
				if !strings.HasPrefix(dropped.Why, "in part: ") {
					left = append(left, dropped.Member)
				} else if !slices.Contains(step.Kept, dropped.Member) {
					return fmt.Errorf("trace: %s of %s drops %s in part but does not keep it", step.Step, run.Pool, dropped.Member)
				}
			}
			slices.Sort(left)
			slices.Sort(in)
			if !slices.Equal(left, in) {
				return fmt.Errorf("trace: %s of %s was given %v and accounts for %v", step.Step, run.Pool, in, left)
			}
			if in = step.Kept; len(in) == 0 && !strings.HasPrefix(step.Note, "leaves nobody") {
				return fmt.Errorf("trace: %s of %s keeps nobody and says %q", step.Step, run.Pool, step.Note)
			}
		}
	}
	if d.Outcome != Chosen {
		if len(t.Given) > 0 || t.Outcome != d.Outcome.String() {
			return fmt.Errorf("trace: ends with %s and %v", t.Outcome, t.Given)
		}
		return nil
	}
	want := d.Outcome.String()
	if d.FailOpen {
		want += " (fail open)"
	}
	if t.Outcome != want {
		return fmt.Errorf("trace: ends with %q, want %q", t.Outcome, want)
	}
	var names []string
	for _, k := range d.Picks {
		name := d.Member(k).Name
		if d.Of(k) != d.Pool {
			name = d.Of(k).Name + "/" + name
		}
		names = append(names, name)
	}
	if !slices.Equal(t.Given, names) {
		return errors.New("trace: gives others than the decision")
	}
	if d.Pools != nil {
		return nil
	}
	last := t.Runs[len(t.Runs)-1]
	kept, given := last.Steps[len(last.Steps)-1].Kept, slices.Clone(t.Given)
	slices.Sort(given)
	kept = slices.Sorted(slices.Values(kept))
	if cut := len(kept) - len(given); cut > 0 && !strings.Contains(last.Note, fmt.Sprint(cut, " members left out")) {
		return fmt.Errorf("trace: %d are given of %d, and nothing says why", len(given), len(kept))
	}
	for _, name := range given {
		if !slices.Contains(kept, name) {
			return fmt.Errorf("trace: %s is given and was not kept", name)
		}
	}
	return nil
}
