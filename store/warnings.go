package store

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"meridian/health"
)

// Warning is what a check of a target that is up warns of.
type Warning struct {
	Check   string `json:"check"`
	Addr    string `json:"addr"`    // and port, where the check has one
	Warning string `json:"warning"` // "certificate expires 2026-12-01T00:00:00Z"
}

// maxWarnings is how many warnings a server tells, those of the first days; the rest is counted alone.
const maxWarnings = 10

// warnings are those of the targets.
type warnings struct {
	by      map[health.TargetID]string
	changed bool      // since first was made
	first   []Warning // nobody changes it
}

// set has a target warn of something, or of nothing.
func (w *warnings) set(id health.TargetID, text string) {
	if w.by[id] == text {
		return
	}
	w.changed = true
	if delete(w.by, id); text != "" {
		w.by[id] = text
	}
}

// told are the first, and how many there are in all.
func (w *warnings) told() (first []Warning, all int) {
	if w.changed {
		w.changed, w.first = false, nil
		for id, text := range w.by {
			w.first = append(w.first, Warning{id.Check, addrText(id.Addr), text})
		}
		slices.SortFunc(w.first, func(x, y Warning) int {
			return cmp.Or(cmp.Compare(x.Warning, y.Warning), cmp.Compare(x.Check, y.Check), cmp.Compare(x.Addr, y.Addr))
		})
		w.first = slices.Clone(w.first[:min(len(w.first), maxWarnings)])
	}
	return w.first, len(w.by)
}

// addrText is an address, and a port where there is one.
func addrText(a netip.AddrPort) string {
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.String()
}

// warn takes in what is warned of a target: by the own checker, else by the first of the others.
func (t *targets) warn(tg *target) {
	text := tg.own.warning
	if text == "" && len(tg.warnings) > 0 {
		text = tg.warnings[slices.Min(slices.Collect(maps.Keys(tg.warnings)))]
	}
	t.warnings.set(tg.TargetID, text)
}

// differ takes in which checkers say otherwise of a target than is counted.
func (t *targets) differ(tg *target) {
	t.differs(tg.differ, -1)
	tg.differ = tg.differ[:0]
	if !t.alone {
		tg.differ = tg.ballot.Differing(tg.differ, tg.Spec.From)
	}
	t.differs(tg.differ, 1)
}

func (t *targets) differs(checkers []string, n int) {
	for _, checker := range checkers {
		if t.differing[checker] += n; t.differing[checker] == 0 {
			delete(t.differing, checker)
		}
	}
}

// undo takes a target that goes out of what is warned of, and who differs.
func (t *targets) undo(tg *target) {
	t.differs(tg.differ, -1)
	tg.differ = nil
	t.warnings.set(tg.TargetID, "")
}
