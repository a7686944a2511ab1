package store

import "meridian/health"

// believe has what has turned down since it was last called pass the gate, all of it together, and what is held
// there when its second round is over. It says whether anything came of it.
func (t *targets) believe() (any bool) {
	if next := t.gate.Next(); len(t.doubt) == 0 && (next.IsZero() || t.now().Before(next)) {
		return false
	}
	down, up := t.gate.Take(t.found, t.now(), func(id health.TargetID) bool {
		tg := t.byID[id]
		return tg.ballot.State == health.Down && tg.tally.Outcome == health.Agreed
	})
	for _, id := range down {
		tg := t.byID[id]
		tg.held, t.doubt[tg] = false, true
	}
	for _, id := range up {
		tg := t.byID[id]
		tg.held, t.doubt[tg] = true, true
		for _, ref := range tg.refs {
			t.recall(ref)
		}
	}
	any = len(t.doubt) > 0
	for tg := range t.doubt {
		tg.reason = t.words(tg)
		t.tell(tg)
	}
	clear(t.doubt)
	return any
}

// Believe settles what has turned down since it was last called, and tells the pools around those whose members have
// other states. It is called once for all that was taken in together, and now and then.
func (r *Registry) Believe() (any bool) {
	before := r.targets.gate.Held()
	any = r.targets.believe()
	for name := range r.targets.told {
		if p := r.pools[name]; p != nil && p.compiled != nil {
			r.derive(name)
		}
	}
	clear(r.targets.told)
	clear(r.recalled)
	switch after := r.targets.gate.Held(); {
	case before == 0 && after > 0:
		r.log.Warn("more than half of all that is checked turned down at once: it is not believed before a second round", "held", after, "checked", r.targets.found)
	case before > 0 && after == 0:
		r.log.Info("nothing that turned down is held any more")
	}
	return any
}
