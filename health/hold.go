package health

import "time"

// Hold keeps an address that comes back out of the answers for a while. It goes down at once, always:
// what is held back is its return. That is no sooner than the hold time after it was found up again,
// so that one which flaps faster than that stays out; and no sooner than twice the hold time after its
// last return, so that one which flaps more slowly changes no more often than once a hold time, taken
// over several. What was never down is not held.
//
// An address that is held is shown as Unknown: left out while another of its pool is up, and answered
// when it is the best there is. The zero Hold has seen nothing.
type Hold struct {
	last     State     // that was seen
	out      bool      // it was down, and has not returned
	fell     bool      // it was not out when it last went down
	back     time.Time // when it was found up again; zero: it is not up, or not out
	returned time.Time // when it last returned; zero: never
}

// Fold shows the state of an address that is seen in state s, for a hold time of 0 or more. until is
// when it returns if it stays up; zero: it is not held. It is called when s changes, and at until.
func (h *Hold) Fold(s State, hold time.Duration, now time.Time) (shown State, until time.Time) {
	if s == Down && h.last != Down {
		h.fell, h.out = !h.out, true
	}
	h.last = s
	if s != Up || !h.out {
		h.back = time.Time{}
		return s, time.Time{}
	}
	if h.back.IsZero() {
		h.back = now
	}
	if until = h.until(hold); now.Before(until) {
		return Unknown, until
	}
	h.out, h.back, h.returned = false, time.Time{}, now
	return Up, time.Time{}
}

// until is when an address that is up, and out, returns.
func (h *Hold) until(hold time.Duration) time.Time {
	until := h.back.Add(hold)
	if again := h.returned.Add(2 * hold); !h.returned.IsZero() && again.After(until) {
		return again
	}
	return until
}

// Recall undoes that the address went down, where that was not to be believed: see Gate. If it was
// up until then, it is up again without being held.
func (h *Hold) Recall() {
	if h.last == Down && h.fell {
		h.out = false
	}
}
