package store

import (
	"fmt"
	"time"
)

// held are the deletes that the guard holds back.
type held struct {
	byKey   map[string]Entry
	tally   tally
	accept  int64     // the newest revision of them, or of those that were there before
	since   time.Time // when there were none
	changed bool      // since settleGuard
	report  *Held     // nil: there are none
	text    string    // of the fault that says so
}

func (h *held) has(key string) bool {
	_, held := h.byKey[key]
	return held
}

// add holds a delete back. all is how many names a soa stands for.
func (h *held) add(e Entry, now time.Time, all int) {
	h.remove(e.Key)
	if len(h.byKey) == 0 {
		h.since = now
	}
	h.byKey[e.Key], h.changed = e, true
	h.accept = max(h.accept, e.Revision)
	h.tally.add(e.Key, all)
}

// remove forgets a delete.
func (h *held) remove(key string) {
	if h.has(key) {
		delete(h.byKey, key)
		h.tally.remove(key)
		h.changed = true
	}
}

// Held is what the guard holds back, nil if nothing.
func (r *Registry) Held() *Held { return r.guard.held.report }

// settleGuard reports what is held back. The text stays for as long as that is the same, so that a
// change of something else costs nothing.
func (b *batch) settleGuard() {
	h := &b.guard.held
	if h.changed {
		b.reportHeld()
	}
	switch {
	case b.refused != nil: // that is what acceptKey's fault says
	case h.report == nil:
		b.mended(acceptKey)
	default:
		b.standing(acceptKey, "", h.text)
	}
}

func (b *batch) reportHeld() {
	h := &b.guard.held
	was := h.report
	h.changed, h.report, h.text = false, nil, ""
	if len(h.byKey) == 0 {
		if was != nil {
			b.log.Warn("no deletes are held back any more")
		}
		return
	}
	t := &h.tally
	h.report = &Held{Names: t.names, Members: t.members, Others: t.others, Accept: h.accept, Since: h.since}
	h.text = fmt.Sprintf("%d keys of names (of %d), %d members (of %d) and %d other keys were deleted within a minute: held back, they serve on. "+
		"If it was meant, put %d here; if not, put them again", t.names, b.nameKeys, t.members, b.memberKeys, t.others, h.accept)
	if was == nil {
		b.log.Error("deletes held back", "names", t.names, "members", t.members, "others", t.others, "accept", h.accept)
	}
}
