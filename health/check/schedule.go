package check

import (
	"container/heap"
	"math/rand/v2"
	"time"

	"meridian/health"
)

// Looks at a target that is not settled yet follow each other by a tenth of its interval, within
// these bounds: what starts up should know soon where it stands.
const (
	quickAtLeast = 20 * time.Millisecond
	quickAtMost  = time.Second
)

// joinPace is what each target adds to the time over which the first looks are spread: a few are
// looked at at once, 100,000 at the pace that a 10 s interval means for them anyway.
const joinPace = 100 * time.Microsecond

// firstWithin is the time within which the first look at one of n targets begins.
func firstWithin(n int, c *health.Check) time.Duration {
	return min(time.Duration(n)*joinPace, time.Duration(c.Interval))
}

// secondAtMost bounds the time from the end of the look that was the first to fail to an extra one.
const secondAtMost = time.Second

// secondAfter is that time: a quarter of the interval.
func secondAfter(interval time.Duration) time.Duration { return min(interval/4, secondAtMost) }

// next is when to look at t again, after the look that was due at t.due in the state before.
// Intervals are counted from due to due, so that a target keeps its place among the others; a
// look that took longer than that is followed by the next at once. firstFailure: of one that is up,
// which is looked at a second time soon, and beside its intervals.
func (t *target) next(now time.Time, before health.State, firstFailure bool) time.Time {
	regular := t.due.Add(t.interval())
	if !t.regular.IsZero() {
		regular, t.regular = t.regular, time.Time{}
	}
	switch {
	case t.counter.State == health.Unknown:
		gap := max(quickAtLeast, min(t.interval()/10, quickAtMost))
		return later(t.due.Add(gap), now)
	case before == health.Unknown:
		return now.Add(rand.N(t.interval())) // its place from now on
	case firstFailure:
		if second := now.Add(secondAfter(t.interval())); second.Before(regular) {
			t.regular = regular
			return second
		}
	}
	return later(regular, now)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// queue is a heap of targets, the one due first in front.
type queue []*target

var _ heap.Interface = (*queue)(nil)

const notQueued = -1 // the index of a target that is in no queue

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *queue) Push(x any) {
	t := x.(*target)
	t.index = len(*q)
	*q = append(*q, t)
}

func (q *queue) Pop() any {
	last := len(*q) - 1
	t := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	t.index = notQueued
	return t
}
