package policy

import (
	"fmt"
	"slices"
	"strings"

	"meridian/health"
)

// Trace records how a decision came about: one PoolTrace for each run of a pool's chain.
type Trace struct {
	Runs    []PoolTrace `json:"runs"`
	Outcome string      `json:"outcome"`
	Given   []string    `json:"given,omitzero"` // members, in order

	stage  []Pick // who was in before the step
	drawn  bool   // their order was left to chance
	client Client
}

// PoolTrace is one run of one pool's chain.
type PoolTrace struct {
	Pool    string        `json:"pool"`
	Why     string        `json:"why"` // why this pool, in this manner
	Members []MemberTrace `json:"members"`
	Steps   []StepTrace   `json:"steps"`
	Note    string        `json:"note,omitzero"`
}

// MemberTrace is a member as the run found it.
type MemberTrace struct {
	Member string   `json:"member"`
	Weight uint16   `json:"weight"`
	Tier   uint16   `json:"tier"`
	Site   string   `json:"site,omitzero"`
	Addrs  []string `json:"addrs"`        // of the family asked for, each with its state
	Out    string   `json:"out,omitzero"` // why it never came in
}

// StepTrace is what one step did.
type StepTrace struct {
	Step     string    `json:"step"`
	LookedUp []string  `json:"looked_up,omitzero"` // by the step geo: how it found the client, and the scope
	Kept     []string  `json:"kept"`
	Dropped  []Dropped `json:"dropped,omitzero"`
	Note     string    `json:"note,omitzero"`
}

// Dropped is a member that a step took out, and why.
type Dropped struct {
	Member string `json:"member"`
	Why    string `json:"why"`
}

func (t *Trace) start(p *Pool, c *Client, s *Scratch, failOpen bool) {
	t.client = *c
	run := PoolTrace{Pool: p.Name, Why: "asked for"}
	switch {
	case failOpen:
		run.Why = "fail open: a step that leaves nobody is passed over"
	case len(t.Runs) > 0:
		run.Why = "on_empty"
	}
	for i, m := range p.Members {
		mt := MemberTrace{Member: m.Name, Weight: m.Weight, Tier: m.Tier, Site: m.Site}
		for j, a := range m.Addrs {
			if FamilyOf(a) == c.Family {
				mt.Addrs = append(mt.Addrs, a.String()+" "+p.stateText(s.words[i].State(j), i, j))
			}
		}
		if mt.Addrs == nil {
			mt.Out = "no " + c.Family.String() + " address"
		}
		run.Members = append(run.Members, mt)
	}
	if len(s.picks) == 0 {
		run.Note = "no member has an " + c.Family.String() + " address"
	}
	t.Runs = append(t.Runs, run)
}

func (p *Pool) stateText(s health.State, member, addr int) string {
	if !p.Checked {
		return "up (not checked)"
	}
	if why := p.reason(member, addr); why != "" && s != health.Up {
		return s.String() + " (" + why + ")"
	}
	return s.String()
}

func (t *Trace) before(s *Scratch) {
	t.stage, t.drawn = append(t.stage[:0], s.picks...), s.draw != 0
}

func (t *Trace) after(p *Pool, st *Step, s *Scratch, left, failOpen bool) {
	run := &t.Runs[len(t.Runs)-1]
	step := StepTrace{Step: st.String()}
	if st.Op == OpGeo {
		term, ok := p.matched(t.stage, &t.client)
		step.LookedUp = p.lookUps(&t.client, ok && term.Kind == TermCIDR)
		switch {
		case p.geography == nil:
			step.Note = "passed over: everybody serves everybody"
		case !ok && !st.Strict:
			step.Note = "undone: nobody serves the client"
		}
	}
	switch {
	case !left && failOpen && !st.Strict:
		step.Note = "passed over: it would leave nobody"
		step.Kept = p.names(s.picks)
	case !left:
		step.Note = "leaves nobody"
		for _, pick := range t.stage {
			why := "serves nothing that the client is in"
			if st.Op == OpUp {
				why = p.whyNotUp(pick, s)
			}
			step.Dropped = append(step.Dropped, Dropped{p.Members[pick.Member()].Name, why})
		}
	default:
		step.Kept = p.names(s.picks)
		for _, pick := range t.stage {
			if why, out := p.whyOut(st, pick, s, t); out {
				step.Dropped = append(step.Dropped, Dropped{p.Members[pick.Member()].Name, why})
			}
		}
	}
	run.Steps = append(run.Steps, step)
}

// whyOut says whether a step took pick out, or some of its addresses, and why.
func (p *Pool) whyOut(st *Step, pick Pick, s *Scratch, t *Trace) (why string, out bool) {
	at := slices.IndexFunc(s.picks, func(k Pick) bool { return k.Member() == pick.Member() })
	if at >= 0 {
		if pick = pick.only(^s.picks[at].Addrs()); pick.Addrs() != 0 {
			return "in part: " + p.whyNotUp(pick, s), true
		}
		return "", false
	}
	m := &p.Members[pick.Member()]
	switch st.Op {
	case OpUp:
		return p.whyNotUp(pick, s), true
	case OpGeo:
		return p.whyNotServing(pick.Member(), s.picks, &t.client), true
	case OpTier:
		chosen := p.Members[s.picks[0].Member()].Tier
		if chosen > m.Tier {
			return fmt.Sprintf("tier %d; the draw for trickle chose tier %d", m.Tier, chosen), true
		}
		return fmt.Sprintf("tier %d; tier %d is present", m.Tier, chosen), true
	case OpTake:
		return p.whyNotTaken(st, m, t, s.picks), true
	}
	return "left out", true
}

// whyNotTaken says why a take that kept some of those on stage left m out.
func (p *Pool) whyNotTaken(st *Step, m *Member, t *Trace, kept []Pick) string {
	sameSite := func(k Pick) bool { return p.Members[k.Member()].Site == m.Site }
	last := kept[len(kept)-1]
	switch {
	case st.Distinct && m.Site != "" && slices.ContainsFunc(kept, sameSite):
		return "its site " + m.Site + " is given already"
	case !t.drawn:
		return fmt.Sprintf("not among the first %d", st.N)
	case m.Weight == 0 && p.Members[last.Member()].Weight > 0:
		return "weight 0: only when nothing else is left"
	}
	total := 0
	for _, pick := range t.stage {
		total += int(pick.weight())
	}
	if total == 0 {
		return "not drawn"
	}
	return fmt.Sprintf("not drawn (weight %d of %d)", m.Weight, total)
}

// whyNotUp names the addresses of pick and their states.
func (p *Pool) whyNotUp(pick Pick, s *Scratch) string {
	var parts []string
	for j, a := range p.Members[pick.Member()].Addrs {
		if pick.Addrs()&(1<<j) != 0 {
			state := s.words[pick.Member()].State(j)
			text := a.String() + " is " + p.stateText(state, pick.Member(), j)
			if state == health.Unknown {
				text += ", and another is known to be up"
			}
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, "; ")
}

func (p *Pool) names(picks []Pick) []string {
	names := make([]string, len(picks))
	for i, pick := range picks {
		names[i] = p.Members[pick.Member()].Name
	}
	return names
}

// note records a pool that was not run at all.
func (t *Trace) note(p *Pool, format string, args ...any) {
	if t == nil {
		return
	}
	t.Runs = append(t.Runs, PoolTrace{Pool: p.Name, Note: fmt.Sprintf(format, args...)})
}

// fallback records which entry of on_empty comes next.
func (t *Trace) fallback(p *Pool, f *Fallback) {
	if t == nil || len(t.Runs) == 0 {
		return
	}
	t.Runs[len(t.Runs)-1].note("on_empty of %s goes on with %s", p.Name, f)
}

func (r *PoolTrace) note(format string, args ...any) {
	if r.Note != "" {
		r.Note += "; "
	}
	r.Note += fmt.Sprintf(format, args...)
}

func (t *Trace) decided(d *Decision) {
	t.Outcome = d.Outcome.String()
	if d.FailOpen {
		t.Outcome += " (fail open)"
	}
	if d.Outcome != Chosen {
		return
	}
	t.Given = d.Pool.names(d.Picks)
	run := &t.Runs[len(t.Runs)-1]
	if cut := len(run.Steps[len(run.Steps)-1].Kept) - len(d.Picks); cut > 0 {
		run.note("%d members left out: an answer holds %d addresses at most", cut, maxGiven)
	}
}
