package store

import (
	"fmt"
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
	held     map[string]Entry
	since    time.Time           // when held was last empty
	recent   map[string]deletion // within guardWindow, by key
	pruned   time.Time
	report   *Held // of held; nil: nothing is
	changed  bool  // held is not what report says
}

// deletion is one that was asked for.
type deletion struct {
	at             time.Time
	names, members int
	made           bool // not held back
}

func newGuard() guard { return guard{held: map[string]Entry{}, recent: map[string]deletion{}} }

// guarded takes those out of a batch's entries that are not to be made: deletes that the guard holds
// back, and members that linger. What is let through meanwhile comes in.
func (b *batch) guarded(entries []Entry) []Entry {
	g, now := &b.guard, b.now()
	kept, deletes := entries[:0:0], []Entry(nil)
	for _, e := range entries {
		switch {
		case e.Key == acceptKey:
			b.takeAccept(e)
		case !e.Deleted:
			g.release(e.Key)
			delete(g.recent, e.Key)
			kept = append(kept, e)
		case g.held[e.Key].Key != "" && b.update.Full: // still gone
		case b.lingers(e, now):
		case e.Revision <= g.accept || b.trusting:
			g.release(e.Key)
			kept = append(kept, e)
		default:
			delete(g.recent, e.Key)
			deletes = append(deletes, e)
		}
	}
	for key, e := range g.held {
		if e.Revision <= g.accept {
			g.release(key)
			kept = append(kept, e)
		}
	}
	if len(deletes) == 0 {
		return kept
	}
	over := b.tooMany(deletes, now)
	for _, e := range deletes {
		names, members := b.weigh(e.Key)
		g.recent[e.Key] = deletion{now, names, members, !over}
		if over {
			if len(g.held) == 0 {
				g.since = now
			}
			g.held[e.Key], g.changed = e, true
		} else {
			kept = append(kept, e)
		}
	}
	return kept
}

// release forgets that a key is held back.
func (g *guard) release(key string) {
	if _, held := g.held[key]; held {
		delete(g.held, key)
		g.changed = true
	}
}

// tooMany says whether these deletes are, together with those of the last minute, more than half of
// what was there.
func (b *batch) tooMany(deletes []Entry, now time.Time) bool {
	if now.Sub(b.guard.pruned) >= time.Second {
		b.guard.pruned = now
		for key, d := range b.guard.recent {
			if now.Sub(d.at) > guardWindow {
				delete(b.guard.recent, key)
			}
		}
	}
	names, members := b.count(deletes)
	allNames, allMembers := b.nameKeys(), b.memberKeys()
	for key, d := range b.guard.recent {
		if d.made && ownerPrefix(key) != "" {
			allNames++
		}
		if d.made {
			allMembers += d.members
		}
		if ownerPrefix(key) != "" && b.guard.recent["zone/"+zoneOf(key)+"/soa"].names > 0 {
			continue // its zone counts for it
		}
		names += d.names
		members += d.members
	}
	return allNames >= guardedFrom && 2*names > allNames || allMembers >= guardedFrom && 2*members > allMembers
}

// count is how many keys of names and how many members the deletes take away. A zone's soa counts for
// all its names.
func (r *Registry) count(deletes []Entry) (names, members int) {
	zones := map[string]bool{}
	for _, e := range deletes {
		if strings.HasPrefix(e.Key, "zone/") && strings.HasSuffix(e.Key, "/soa") {
			zones[zoneOf(e.Key)] = true
		}
	}
	for _, e := range deletes {
		if ownerPrefix(e.Key) != "" && zones[zoneOf(e.Key)] {
			continue
		}
		n, m := r.weigh(e.Key)
		names += n
		members += m
	}
	return names, members
}

// weigh is how many keys of names, or members, are gone with this one.
func (r *Registry) weigh(key string) (names, members int) {
	switch {
	case ownerPrefix(key) != "":
		return 1, 0
	case strings.HasPrefix(key, "zone/"):
		return r.keysOf[zoneOf(key)], 0
	case strings.HasPrefix(key, "pool/") && strings.Contains(key, "/member/"):
		return 0, 1
	}
	return 0, 0
}

func (r *Registry) nameKeys() (n int) {
	for _, keys := range r.keysOf {
		n += keys
	}
	return n
}

func (r *Registry) memberKeys() (n int) {
	for _, p := range r.pools {
		n += len(p.members)
	}
	return n
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

// Held is what the guard holds back, nil if nothing.
func (r *Registry) Held() *Held { return r.guard.report }

func (r *Registry) countHeld() *Held {
	if len(r.guard.held) == 0 {
		return nil
	}
	h := &Held{Since: r.guard.since}
	deletes := make([]Entry, 0, len(r.guard.held))
	for _, e := range r.guard.held {
		deletes = append(deletes, e)
		h.Accept = max(h.Accept, e.Revision)
		if n, m := r.weigh(e.Key); n+m == 0 {
			h.Others++
		}
	}
	h.Names, h.Members = r.count(deletes)
	return h
}

// settleGuard reports what is held back.
func (b *batch) settleGuard() {
	if b.guard.changed {
		b.guard.changed, b.guard.report = false, b.countHeld()
	}
	h := b.guard.report
	if h == nil {
		if b.heldSaid {
			b.heldSaid = false
			b.log.Warn("no deletes are held back any more")
		}
		if b.refused == nil {
			b.mended(acceptKey)
		}
		return
	}
	text := fmt.Sprintf("%d keys of names (of %d), %d members (of %d) and %d other keys were deleted within a minute: held back, they serve on. "+
		"If it was meant, put %d here; if not, put them again", h.Names, b.nameKeys(), h.Members, b.memberKeys(), h.Others, h.Accept)
	if !b.heldSaid {
		b.heldSaid = true
		b.log.Error("deletes held back", "names", h.Names, "members", h.Members, "others", h.Others, "accept", h.Accept)
	}
	b.standing(acceptKey, "", text)
}
