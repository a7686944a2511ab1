package health

import (
	"container/heap"
	"slices"
	"time"
)

// massFrom is how many targets must be known for more than half of them to be a mass.
const massFrom = 20

// Gate keeps an outage of our own making out of the answers. What turns down passes it at once,
// unless more than half of all targets known, from 20 on, turn down within one interval. Then our
// own uplink is as likely to have failed as all of them, and each of them is held until its second
// round is over; those that had passed before it was a mass are taken back.
//
//   - A target counts as turning down for one interval of its own check, or until it is up again.
//   - Its second round begins when it turned down, and lasts rise intervals and the timeout: within
//     that, one that answers again is reported up. Of a check made of others, the longest of theirs
//     count. It is down after it if that is what is said of it then. While nobody says anything, or
//     there is no quorum for it any more, it is held on, and asked for again an interval later.
//   - Nothing that others do prolongs it.
//
// A Gate has a place for each target that turned down within the last interval or is held.
// The zero Gate is ready; its methods are for one goroutine.
type Gate struct {
	turned map[TargetID]*turn
	fresh  []*turn // since the last Take; cleared ones among them
	queue  turns   // the others of turned

	recent int // of the queue: within their interval
	passed int // of these: not held
	held   int // of the queue
}

// turn is a target that turned down.
type turn struct {
	Target
	at    time.Time // when it turned down
	due   time.Time // when its interval is over; after that, its second round
	past  bool      // its interval is over
	asked time.Time // when nobody said anything at the end of its second round; zero: that is to come
	held  bool
	index int // in the queue
}

// notQueued is the index of a turn that is in no queue.
const notQueued = -1

// next is when it is due: the second round is not over before the interval is.
func (t *turn) next() time.Time {
	switch {
	case !t.past:
		return t.at.Add(t.interval())
	case t.asked.IsZero():
		return t.at.Add(t.round())
	}
	return t.asked.Add(t.interval())
}

// Down proposes to take a target for down that is up.
func (g *Gate) Down(target Target) {
	if g.turned[target.TargetID] != nil {
		return
	}
	if g.turned == nil {
		g.turned = map[TargetID]*turn{}
	}
	t := &turn{Target: target, index: notQueued}
	g.turned[t.TargetID] = t
	g.fresh = append(g.fresh, t)
}

// Change says how a target is checked from now on.
func (g *Gate) Change(target Target) {
	t := g.turned[target.TargetID]
	if t == nil {
		return
	}
	t.Target = target
	if t.index != notQueued {
		t.due = t.next()
		heap.Fix(&g.queue, t.index)
	}
}

// Clear forgets a target that is up again, or there no more.
func (g *Gate) Clear(id TargetID) {
	if t := g.turned[id]; t != nil {
		g.remove(t)
	}
}

// Take returns the targets that are to be taken for down, and those that are to be taken for up as
// if they had never been down; both in no order. It is called once after the calls of Down and Clear
// that belong together, and at Next. known is how many targets are known to be up or down, those in
// the Gate included; stands says whether a target is said to be down at this time.
func (g *Gate) Take(known int, now time.Time, stands func(TargetID) bool) (down, up []TargetID) {
	for len(g.queue) > 0 && !now.Before(g.queue[0].due) {
		if t := g.queue[0]; g.advance(t, now, stands) {
			down = append(down, t.TargetID)
		}
	}
	fresh := g.fresh
	g.fresh = nil
	fresh = slices.DeleteFunc(fresh, func(t *turn) bool { return g.turned[t.TargetID] != t })
	mass := known >= massFrom && 2*(g.recent+len(fresh)) > known
	if mass {
		up = g.recall()
	}
	for _, t := range fresh {
		t.at, t.held = now, mass
		t.due = t.next()
		heap.Push(&g.queue, t)
		g.recent++
		if mass {
			g.held++
		} else {
			g.passed++
			down = append(down, t.TargetID)
		}
	}
	return down, up
}

// recall holds those that have passed within their interval, and returns them.
func (g *Gate) recall() (up []TargetID) {
	if g.passed == 0 {
		return nil // as at every report but the first of a mass
	}
	for _, t := range g.queue {
		if !t.held {
			t.held = true
			up = append(up, t.TargetID)
		}
	}
	g.held += g.passed
	g.passed = 0
	return up
}

// advance takes t, which is due, to what comes next, and says whether that is down.
func (g *Gate) advance(t *turn, now time.Time, stands func(TargetID) bool) (down bool) {
	switch {
	case !t.held:
		g.remove(t)
		return false // it is already
	case !t.past:
		t.past = true
		g.recent--
	case stands(t.TargetID):
		g.remove(t)
		return true
	default:
		t.asked = now
	}
	t.due = t.next()
	heap.Fix(&g.queue, t.index)
	return false
}

func (g *Gate) remove(t *turn) {
	delete(g.turned, t.TargetID)
	if t.index == notQueued {
		return // it counts nowhere yet
	}
	heap.Remove(&g.queue, t.index)
	if !t.past {
		g.recent--
	}
	if t.held {
		g.held--
	} else {
		g.passed--
	}
}

// Held is how many targets are held.
func (g *Gate) Held() int { return g.held }

// Holds says whether a target is held.
func (g *Gate) Holds(id TargetID) bool {
	t := g.turned[id]
	return t != nil && t.held
}

// Next is when Take is due though nothing is proposed; zero: never.
func (g *Gate) Next() time.Time {
	if len(g.queue) == 0 {
		return time.Time{}
	}
	return g.queue[0].due
}

// turns is a heap, the one due first in front.
type turns []*turn

var _ heap.Interface = (*turns)(nil)

func (q turns) Len() int           { return len(q) }
func (q turns) Less(i, j int) bool { return q[i].due.Before(q[j].due) }

func (q turns) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *turns) Push(x any) {
	t := x.(*turn)
	t.index = len(*q)
	*q = append(*q, t)
}

func (q *turns) Pop() any {
	last := len(*q) - 1
	t := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	t.index = notQueued
	return t
}
