package policy

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"meridian/health"
)

// Trace records how a decision came about: one PoolTrace for each run of a pool's chain, in the order
// in which they began.
type Trace struct {
	Runs    []PoolTrace `json:"runs"`
	Outcome string      `json:"outcome"`
	Given   []string    `json:"given,omitzero"` // members, in order; those of a pool within as <pool>/<member>
}

// PoolTrace is one run of one pool's chain.
type PoolTrace struct {
	Pool    string        `json:"pool"`
	Why     string        `json:"why"`            // why this pool, in this manner
	Depth   int           `json:"depth,omitzero"` // of the pool asked, and of its on_empty: 0; of members of these: 1
	Members []MemberTrace `json:"members"`
	Steps   []StepTrace   `json:"steps"`
	Note    string        `json:"note,omitzero"`
}

// MemberTrace is a member as the run found it.
type MemberTrace struct {
	Member   string   `json:"member"`
	Weight   float64  `json:"weight"` // as it stands
	Tier     uint16   `json:"tier"`
	Site     string   `json:"site,omitzero"`
	Pool     string   `json:"pool,omitzero"`      // that the member is
	Addrs    []string `json:"addrs"`              // of the family asked for, or the name or pool, each with its state
	Load     *float64 `json:"load,omitzero"`      // 1: just filled
	LoadFrom string   `json:"load_from,omitzero"` // who told the load
	Out      string   `json:"out,omitzero"`       // why it never came in

	// Health is all that was read of the member, as it was read: what makes a decision again.
	Health health.Word `json:"health,string"`
}

// StepTrace is what one step did.
type StepTrace struct {
	Step     string    `json:"step"`
	LookedUp []string  `json:"looked_up,omitzero"` // what it found about the client and how far members are, and the scope
	Kept     []string  `json:"kept"`
	Dropped  []Dropped `json:"dropped,omitzero"`
	Note     string    `json:"note,omitzero"`
}

// Dropped is a member that a step took out, and why.
type Dropped struct {
	Member string `json:"member"`
	Why    string `json:"why"`
}

func (t *Trace) start(r *run, why why) {
	p := r.pool
	run := PoolTrace{Pool: p.Name, Depth: r.depth, Why: [...]string{
		asked:        "asked for",
		asMember:     "a member",
		fallenBackTo: "on_empty",
		failedOpen:   "fail open: a step that leaves nobody is passed over",
	}[why]}
	if r.failOpen && why == asMember {
		run.Why = "a member, fail open: a step that leaves nobody is passed over"
	}
	for i := range p.Members {
		run.Members = append(run.Members, r.memberTrace(i))
	}
	if len(r.picks) == 0 {
		run.Note = "no member has an " + r.client.Family.String() + " address"
		if slices.ContainsFunc(run.Members, func(m MemberTrace) bool { return m.Addrs != nil }) {
			run.Note = "every member with an " + r.client.Family.String() + " address is withdrawn"
		}
	}
	r.line = len(t.Runs)
	t.Runs = append(t.Runs, run)
}

func (r *run) memberTrace(i int) MemberTrace {
	p, m, w := r.pool, &r.pool.Members[i], r.words[i]
	mt := MemberTrace{Member: m.Name, Weight: p.weight(w), Tier: m.Tier, Site: m.Site, Pool: m.Pool, Health: w}
	for j := range 16 {
		if p.seats[i].of(r.client.Family)&(1<<j) != 0 {
			mt.Addrs = append(mt.Addrs, p.addrText(i, j)+" "+p.stateText(w.State(j), i, j))
		}
	}
	if load, ok := w.Load(); ok {
		mt.Load = &load
		if from := (*p.notes)[i].load.Load(); from != nil {
			mt.LoadFrom = *from
		}
	}
	switch {
	case mt.Addrs == nil:
		mt.Out = "no " + r.client.Family.String() + " address"
	case w.Withdrawn():
		mt.Out = p.withdrawn(i)
	}
	return mt
}

// weight is that of a member's word, to four digits where it climbs, in the terms in which it was written.
func (p *Pool) weight(w health.Word) float64 {
	return math.Round(float64(w.Weight())/float64(p.Scale())*1e4) / 1e4
}

// addrText is address i of a member, or what stands for it.
func (p *Pool) addrText(member, i int) string {
	switch m := &p.Members[member]; {
	case m.Pool != "":
		return "pool " + m.Pool + " (" + Family(i).String() + ")"
	case m.CNAME != "":
		return m.CNAME
	default:
		return m.Addrs[i].String()
	}
}

func (p *Pool) stateText(s health.State, member, addr int) string {
	m := &p.Members[member]
	switch {
	case m.Pool == "" && !p.Checked || m.CNAME != "" && m.Checks == 0:
		return "up (not checked)"
	}
	if why := p.Reason(member, addr); why != "" {
		return s.String() + " (" + why + ")"
	}
	return s.String()
}

func (t *Trace) before(r *run) {
	r.stage, r.drawn = append(r.stage[:0], r.picks...), r.draw != 0
}

func (t *Trace) after(r *run, st *Step, did effect) {
	step := StepTrace{Step: st.String(), LookedUp: r.lookUps(st, did)}
	switch did {
	case done:
		step.Kept, step.Dropped = r.names(r.picks), r.dropped(st, did)
	case idle:
		step.Kept, step.Note = r.names(r.picks), "passed over: "+r.whyIdle(st)
	case undone:
		step.Kept, step.Note = r.names(r.picks), "undone: nobody serves the client"
	case notNow:
		step.Kept, step.Note = r.names(r.picks), "not done: the query is none that it is for"
	case emptied, strictly:
		step.Note, step.Dropped = "leaves nobody", r.dropped(st, did)
		if did == emptied && r.failOpen {
			step.Note, step.Kept, step.Dropped = "passed over: it would leave nobody", r.names(r.picks), nil
		}
	}
	if did != notNow {
		step.note(r.remark(st))
	}
	t.Runs[r.line].Steps = append(t.Runs[r.line].Steps, step)
}

func (s *StepTrace) note(text string) {
	if s.Note != "" && text != "" {
		text = s.Note + "; " + text
	}
	if text != "" {
		s.Note = text
	}
}

// remark is what there is to say of a step besides.
func (r *run) remark(st *Step) string {
	switch latch := r.pool.Latch(); {
	case st.Op == OpTier && st.Tier.latches() && latch > 0:
		return fmt.Sprintf("failback is held: tiers below %d do not count while others are there", latch)
	case r.said != Chosen:
		return "a pool within says " + r.said.String()
	}
	return ""
}

func (r *run) whyIdle(st *Step) string {
	switch {
	case st.Op == OpGeo:
		return "everybody serves everybody"
	case !r.clientPoint().IsValid():
		return "nobody knows where the client is"
	}
	return "nobody knows where any member is"
}

// dropped are those whom a step took out, or of whom it took some addresses.
func (r *run) dropped(st *Step, did effect) (list []Dropped) {
	left := map[int]Pick{}
	if did == done { // where a step leaves nobody, picks are as they were
		for _, k := range r.picks {
			left[k.Member()] = k
		}
	}
	var why func(Pick) string
	for _, k := range r.stage {
		name := r.pool.Members[k.Member()].Name
		if l, in := left[k.Member()]; in {
			if k = k.only(^l.Addrs()); k.Addrs() != 0 {
				list = append(list, Dropped{name, "in part: " + r.whyNotUp(k)})
			}
			continue
		}
		if why == nil {
			why = r.whyOut(st)
		}
		list = append(list, Dropped{name, why(k)})
	}
	return list
}

// whyOut says why a step took out a pick. What is the same for all of them is found once: they may be a
// thousand.
func (r *run) whyOut(st *Step) func(Pick) string {
	switch st.Op {
	case OpUp:
		return r.whyNotUp
	case OpGeo:
		better, _ := r.matched(r.picks)
		return func(k Pick) string { return r.whyNotServing(k.Member(), better) }
	case OpNearest:
		return r.whyNotNear(&st.Nearest)
	case OpTier:
		return func(k Pick) string { return r.whyNotTier(&st.Tier, r.pool.Members[k.Member()].Tier) }
	case OpShed:
		return func(k Pick) string { return r.whyShed(&st.Shed, k.Member()) }
	case OpTake:
		weight := uint64(0)
		for _, k := range r.stage {
			weight += k.weight()
		}
		return func(k Pick) string { return r.whyNotTaken(&st.Take, k, weight) }
	}
	return func(Pick) string { return "left out" }
}

func (r *run) whyNotTier(t *Tier, tier uint16) string {
	chosen := r.pool.Members[r.picks[0].Member()].Tier
	switch latch := r.pool.Latch(); {
	case chosen > tier && t.latches() && tier < latch:
		return fmt.Sprintf("tier %d; failback is held at tier %d", tier, latch)
	case chosen > tier:
		return fmt.Sprintf("tier %d; the draw for trickle chose tier %d", tier, chosen)
	}
	return fmt.Sprintf("tier %d; tier %d is present", tier, chosen)
}

func (r *run) whyShed(shed *Shed, member int) string {
	if shed.Percent != nil {
		return "drawn to be shed (" + shareText(*shed.Percent) + ")"
	}
	load, _ := r.words[member].Load()
	chance := float64(shed.chance(r.words[member])) / math.MaxUint64 * 100
	return fmt.Sprintf("drawn to be shed (load %.4g%%, so by a chance of %.3g%%)", 100*load, chance)
}

// whyNotTaken says why a take left out one of those that were there, who weigh so much.
func (r *run) whyNotTaken(take *Take, k Pick, weight uint64) string {
	m := &r.pool.Members[k.Member()]
	sameSite := func(k Pick) bool { return r.pool.Members[k.Member()].Site == m.Site }
	if r.pool.nested && r.yields[k.Member()].asked && !r.gives(k, false) {
		return "pool " + m.Pool + " gives nobody"
	}
	last := r.picks[len(r.picks)-1]
	switch {
	case take.Distinct != "" && m.Site != "" && slices.ContainsFunc(r.picks, sameSite):
		return "its site " + m.Site + " is given already"
	case !r.drawn:
		return fmt.Sprintf("not among the first %d", take.N)
	case k.weight() == 0 && last.weight() > 0:
		return "weight 0: only when nothing else is left"
	case r.ranked:
		return fmt.Sprintf("not the client's (weight %d)", k.weight())
	}
	if weight == 0 {
		return "not drawn"
	}
	return fmt.Sprintf("not drawn (weight %d of %d)", k.weight(), weight)
}

// whyNotUp names the addresses of k and their states.
func (r *run) whyNotUp(k Pick) string {
	var parts []string
	for j := range 16 {
		if k.Addrs()&(1<<j) != 0 {
			state := r.words[k.Member()].State(j)
			text := r.pool.addrText(k.Member(), j) + " is " + r.pool.stateText(state, k.Member(), j)
			if state == health.Unknown {
				text += ", and another is known to be up"
			}
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, "; ")
}

func (r *run) names(picks []Pick) []string {
	names := make([]string, len(picks))
	for i, k := range picks {
		names[i] = r.pool.Members[k.Member()].Name
	}
	return names
}

// note records a pool that was not run at all.
func (t *Trace) note(p *Pool, depth int, format string, args ...any) {
	if t == nil {
		return
	}
	t.Runs = append(t.Runs, PoolTrace{Pool: p.Name, Depth: depth, Note: fmt.Sprintf(format, args...)})
}

// fallback records which entry of on_empty comes next.
func (t *Trace) fallback(p *Pool, f *Fallback) {
	if t == nil || len(t.Runs) == 0 {
		return
	}
	t.Runs[len(t.Runs)-1].note("on_empty of %s goes on with %s", p.Name, f)
}

func (p *PoolTrace) note(format string, args ...any) {
	if p.Note != "" {
		p.Note += "; "
	}
	p.Note += fmt.Sprintf(format, args...)
}

// ended records who is left out of what a chain left.
func (t *Trace) ended(r *run) {
	for _, k := range r.picks {
		if r.pool.nested && r.said == Chosen && !r.gives(k, false) {
			t.Runs[r.line].note("%s gives nobody", r.pool.Members[k.Member()].Name)
		}
	}
	if r.cut > 0 {
		t.Runs[r.line].note("%d members left out: an answer holds %d addresses at most", r.cut, maxGiven)
	}
}

func (t *Trace) decided(d *Decision) {
	t.Outcome = d.Outcome.String()
	if d.FailOpen {
		t.Outcome += " (fail open)"
	}
	if d.Outcome != Chosen {
		return
	}
	for _, k := range d.Picks {
		p := d.Of(k)
		name := p.Members[k.Member()].Name
		if p != d.Pool {
			name = p.Name + "/" + name
		}
		t.Given = append(t.Given, name)
	}
}
