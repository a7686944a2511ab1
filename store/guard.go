package store

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"meridian/spec"
)

const (
	// acceptKey holds the revision up to which deletes that are held back are let through.
	acceptKey = "control/accept-delete"

	// guardWindow is how long deletes count together, so that many small ones do not slip past.
	guardWindow = time.Minute

	// guardedFrom is how many names, or members, there must be for the guard to look.
	guardedFrom = 20
)

// guard holds back deletes of more than half of what is there: somebody's accident. What it holds
// back is served on until somebody says that it was meant (acceptKey), or puts it again.
type guard struct {
	accept   int64 // what acceptKey holds
	revision int64 // of acceptKey
	held     held
	recent   window
}

func newGuard() guard {
	return guard{held: held{byKey: map[string]Entry{}}, recent: window{byKey: map[string]deletion{}}}
}

// guarded takes those out of a batch's entries, which are by key, that are not to be made: deletes that
// the guard holds back, and members that linger. What is let through meanwhile comes in.
func (b *batch) guarded(entries []Entry) []Entry {
	g, now := &b.guard, b.now()
	i, told := slices.BinarySearchFunc(entries, acceptKey, func(e Entry, key string) int { return strings.Compare(e.Key, key) })
	if told {
		b.takeAccept(entries[i])
		entries = slices.Delete(entries, i, i+1)
	}
	opening, closing := openingAndClosing(entries)
	kept, deletes := entries[:0], []Entry(nil)
	for _, e := range entries {
		switch {
		case !e.Deleted && len(closing) > 0 && closing[ownerZone(e.Key)]: // it is put, and not answered for all that
			g.held.remove(e.Key)
			kept = append(kept, e)
		case !e.Deleted, b.trusting, e.Revision <= g.accept:
			g.settle(e.Key)
			kept = append(kept, e)
		case e.Expired && isOverride(e.Key): // its author said how long it holds, and what it gave is no loss
			g.settle(e.Key)
			kept = append(kept, e)
		case b.lingers(e, now):
		default:
			deletes = append(deletes, e)
		}
	}
	if len(deletes) > 0 && b.tooMany(deletes, opening, now) {
		for _, e := range deletes {
			g.held.add(e, now, b.standsFor(e.Key))
		}
	} else {
		kept = append(kept, deletes...)
	}
	if told {
		for _, e := range g.release() {
			e.Revision = b.update.Revision // of which the zone changes
			kept = append(kept, e)
		}
	}
	return kept
}

// openingAndClosing are the zones whose soa is put, and those whose soa is deleted.
func openingAndClosing(entries []Entry) (opening, closing map[string]bool) {
	opening, closing = map[string]bool{}, map[string]bool{}
	for _, e := range entries {
		switch {
		case !isSOA(e.Key):
		case e.Deleted:
			closing[zoneOf(e.Key)] = true
		default:
			opening[zoneOf(e.Key)] = true
		}
	}
	return opening, closing
}

// settle forgets that a key was deleted: it was put again, or that it goes is accepted.
func (g *guard) settle(key string) {
	g.held.remove(key)
	g.recent.forget(key)
}

// release lets the deletes through that are accepted.
func (g *guard) release() (accepted []Entry) {
	for key, e := range g.held.byKey {
		if e.Revision <= g.accept {
			g.settle(key)
			accepted = append(accepted, e)
		}
	}
	slices.SortFunc(accepted, byKey)
	return accepted
}

// tooMany says whether these deletes are, together with those of the last minute, more than half of
// what was there, and remembers them. The names of zones that are opening are there.
func (b *batch) tooMany(deletes []Entry, opening map[string]bool, now time.Time) bool {
	w := &b.guard.recent
	w.expire(now)
	type counted struct {
		key string
		all int
	}
	var list []counted
	for _, e := range deletes {
		if b.counts(e.Key, opening) {
			c := counted{e.Key, b.standsFor(e.Key)}
			if c.all > 0 {
				c.all += w.made.namesOf(zoneOf(c.key))
			}
			w.ask(c.key, now, c.all)
			list = append(list, c)
		}
	}
	names, members := b.there(opening)
	if tooMuch(w.asked.names, names+w.made.names) || tooMuch(w.asked.members, members+w.made.members) {
		return true
	}
	for _, c := range list {
		w.make(c.key, c.all)
	}
	return false
}

func tooMuch(gone, all int) bool { return all >= guardedFrom && 2*gone > all }

// there is how many keys of names and how many members are served, once zones open that were not.
func (r *Registry) there(opening map[string]bool) (names, members int) {
	names = r.nameKeys
	for zone := range r.orphans {
		if !opening[zone] {
			names -= r.keysOf[zone]
		}
	}
	return names, r.memberKeys
}

// counts says whether something is gone with a key that is served until then, or was within the last
// minute, or is as soon as zones open that were not.
func (r *Registry) counts(key string, opening map[string]bool) bool {
	switch {
	case isMember(key):
		p, name := r.memberOf(key)
		return p != nil && p.members[name] != nil
	case r.snapshot == nil || !r.hasMade(key):
		return false
	}
	zone := zoneOf(key)
	_, orphan := r.orphans[zone]
	return !orphan || opening[zone] || r.guard.recent.has("zone/"+zone+"/soa")
}

// standsFor is how many keys of names go with a zone's soa.
func (r *Registry) standsFor(key string) int {
	if !isSOA(key) {
		return 0
	}
	return r.keysOf[zoneOf(key)]
}

// takeAccept reads the word that deletes were meant.
func (b *batch) takeAccept(e Entry) {
	b.guard.revision = e.Revision
	if e.Deleted {
		b.guard.accept, b.guard.revision = 0, 0
		b.faults.clear(e.Key)
		return
	}
	accept, err := parseAccept(e)
	if err != nil {
		b.reject(e, err, 0)
		return
	}
	b.guard.accept = accept
	b.faults.clear(e.Key)
}

func parseAccept(e Entry) (int64, *spec.Error) {
	text := strings.TrimSpace(string(e.Value))
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		return 0, spec.Errorf("", "%.40q is not a revision, expected the number that the server asks for", text)
	}
	if n >= e.Revision {
		return 0, spec.Errorf("", "revision %d is yet to come (this key is of %d): deletes can be accepted once they were made", n, e.Revision)
	}
	return n, nil
}
