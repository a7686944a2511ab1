package store

import "time"

// window is what was deleted, or was to be, within guardWindow.
type window struct {
	byKey map[string]deletion
	order []stamp // oldest first; those put again meanwhile included
	asked tally   // all of them
	made  tally   // those that were not held back
}

type deletion struct {
	at   time.Time
	made bool
}

type stamp struct {
	key string
	at  time.Time
}

func (w *window) has(key string) bool {
	_, has := w.byKey[key]
	return has
}

// list is when each key went whose delete was made.
func (w *window) list() map[string]time.Time {
	list := map[string]time.Time{}
	for key, d := range w.byKey {
		if d.made {
			list[key] = d.at
		}
	}
	return list
}

// ask takes a delete in of which it is not known yet whether it is made.
func (w *window) ask(key string, now time.Time, all int) {
	w.forget(key)
	w.byKey[key] = deletion{at: now}
	w.order = append(w.order, stamp{key, now})
	w.asked.add(key, all)
}

// make says that a delete which was asked for is made.
func (w *window) make(key string, all int) {
	d := w.byKey[key]
	d.made = true
	w.byKey[key] = d
	w.made.add(key, all)
}

// forget takes a delete out, if it is there.
func (w *window) forget(key string) {
	d, there := w.byKey[key]
	if !there {
		return
	}
	delete(w.byKey, key)
	w.asked.remove(key)
	if d.made {
		w.made.remove(key)
	}
}

// expire forgets what is older than guardWindow.
func (w *window) expire(now time.Time) {
	n := 0
	for ; n < len(w.order) && now.Sub(w.order[n].at) > guardWindow; n++ {
		if old := w.order[n]; w.byKey[old.key].at.Equal(old.at) {
			w.forget(old.key)
		}
	}
	w.order = w.order[n:]
}
