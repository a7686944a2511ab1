package store

import "context"

const (
	maxFormer  = 1000 // keys of which former values are asked for
	maxFormers = 8    // values of each
)

// recalled is what came of asking for the former values of wrong keys.
type recalled struct {
	former []Former
	failed []Fault // keys that etcd could not be asked for
	last   bool    // there is no more to come
}

// askFormer asks, in a goroutine of its own, for what wrong keys said before.
func (a *Applier) askFormer(ctx context.Context) {
	if a.Earlier == nil || a.reading || a.registry.refused != nil {
		return
	}
	if len(a.asked) > 10*maxFormer {
		clear(a.asked)
	}
	var faults []Fault
	for _, f := range a.registry.Forgotten() {
		if len(faults) < maxFormer && a.asked[f.Key] != f.Revision {
			a.asked[f.Key] = f.Revision
			faults = append(faults, f)
		}
	}
	if len(faults) == 0 {
		return
	}
	a.reading = true
	go a.findFormer(ctx, faults)
}

// findFormer goes back from value to value for as long as they are wrong.
func (a *Applier) findFormer(ctx context.Context, faults []Fault) {
	now, at := map[string]Entry{}, map[string]int64{}
	var failed []Fault
	for _, f := range faults {
		e, ok, err := a.Earlier(ctx, f.Key, f.Revision+1)
		switch {
		case err != nil:
			failed = append(failed, f)
		case ok && e.Revision == f.Revision:
			now[f.Key], at[f.Key] = e, e.Revision
		}
	}
	for range maxFormers {
		var found []Former
		for key, revision := range at {
			e, ok, err := a.Earlier(ctx, key, revision)
			if err != nil {
				failed = append(failed, Fault{Key: key, Revision: now[key].Revision})
			}
			if err != nil || !ok {
				delete(at, key)
				continue
			}
			at[key] = e.Revision
			found = append(found, Former{Now: now[key], Before: e})
		}
		if len(found) == 0 || !a.send(ctx, recalled{former: found}) {
			break
		}
	}
	a.send(ctx, recalled{failed: failed, last: true})
}

func (a *Applier) send(ctx context.Context, r recalled) bool {
	select {
	case a.recalled <- r:
		return true
	case <-ctx.Done():
		return false
	}
}

// recall takes in what wrong keys said before. What could not be asked for is asked for again when
// all is read the next time.
func (a *Applier) recall(r recalled) {
	if r.last {
		a.reading = false
	}
	for _, f := range r.failed {
		if a.asked[f.Key] == f.Revision {
			delete(a.asked, f.Key)
		}
	}
	if s := a.registry.Recall(r.former); s != nil {
		a.publish(s)
	}
}
