package health

import (
	"math/bits"
	"time"

	"meridian/spec"
)

// Recovery is how a member takes its place again after it was down: part of a pool's policy, not of
// a check. It is about the member's share of the answers, which is the pool's affair, as its weight
// is; an address that several pools have is checked once, and may return to each in its own manner.
type Recovery struct {
	Recover spec.Duration `json:"recover,omitzero"` // how long an address that comes back must have been up before it is answered again, unless no other is up; twice that must have passed since it last came back; default "0s": at once; "0s" to "24h"
	Ramp    spec.Duration `json:"ramp,omitzero"`    // how long the weight of a member that comes back takes to climb from next to nothing to what it is; default "0s": at once; "0s" to "24h"
}

const maxRecovery = 24 * time.Hour

// Validate says what is wrong with r, as a *spec.Error.
func (r *Recovery) Validate() error {
	if d := time.Duration(r.Recover); d < 0 || d > maxRecovery {
		return spec.Errorf("recover", "%v is out of range, expected 0s to 24h", d)
	}
	if d := time.Duration(r.Ramp); d < 0 || d > maxRecovery {
		return spec.Errorf("ramp", "%v is out of range, expected 0s to 24h", d)
	}
	return nil
}

// Scale is what all weights of a pool are multiplied by, while its heaviest member weighs that, to
// make room for a ramp below a weight of 1: a power of ten, so that the weights remain readable. The
// heaviest then has some 6,500 steps or more. Shares, and draws that follow from the client, are the
// same as without. It is 1 where there is no ramp.
func (r *Recovery) Scale(heaviest uint16) int {
	scale := 1
	for r.Ramp > 0 && scale < 10000 && scale*10*int(heaviest) <= 65535 {
		scale *= 10
	}
	return scale
}

// Ramp is a weight that climbs. The zero Ramp has climbed.
type Ramp struct{ start time.Time }

// Start begins at next to nothing.
func (r *Ramp) Start(now time.Time) { r.start = now }

// Weight is what full comes to, and when it next changes; zero: it does not. It climbs by one step
// a second from the start, in proportion, and is never 0 before it is full: 0 is for members that
// count only when nothing else is left.
func (r *Ramp) Weight(full uint16, over time.Duration, now time.Time) (weight uint16, next time.Time) {
	if r.start.IsZero() {
		return full, time.Time{}
	}
	since := max(0, now.Sub(r.start))
	if since >= over {
		r.start = time.Time{}
		return full, time.Time{}
	}
	since = since.Truncate(time.Second)
	weight = uint16(uint64(full) * uint64(since.Milliseconds()) / uint64(max(1, over.Milliseconds())))
	return min(full, max(1, weight)), r.start.Add(min(since+time.Second, over))
}

// Comeback is what a pool with a Recovery remembers of one member. The zero Comeback has seen nothing.
type Comeback struct {
	holds []Hold // by address
	ramp  Ramp
	up    bool // some address is shown as up
}

// Fold returns w, which has the states that are believed and the weight as written or overridden, as
// it stands with what r holds back, scaled by r.Scale; and when it next changes by itself, at most a
// second ahead while it climbs; zero: it does not. The ramp starts when the first address of a member
// without any returns. A person's word that the member is up comes after this.
func (c *Comeback) Fold(w Word, r *Recovery, scale int, now time.Time) (_ Word, next time.Time) {
	if n := bits.Len16(w.Up() | w.Down()); n > len(c.holds) {
		c.holds = append(c.holds, make([]Hold, n-len(c.holds))...)
	}
	returns := false
	for i := range c.holds {
		h := &c.holds[i]
		out := h.out
		shown, until := h.Fold(w.State(i), time.Duration(r.Recover), now)
		w, next = w.With(i, shown), sooner(next, until)
		returns = returns || out && shown == Up
	}
	up := w.Up() != 0
	if up && !c.up && returns {
		c.ramp.Start(now)
	}
	c.up = up
	full := uint16(min(int(w.Weight())*scale, 65535))
	weight, step := c.ramp.Weight(full, time.Duration(r.Ramp), now)
	return w.WithWeight(weight), sooner(next, step)
}

// Recall undoes that an address went down, where that was not to be believed: see Gate. The next Fold
// shows it as it was.
func (c *Comeback) Recall(addr int) {
	if addr < len(c.holds) {
		c.holds[addr].Recall()
	}
}

// Held is when an address returns that r holds back; zero: none does.
func (c *Comeback) Held(addr int, r *Recovery) time.Time {
	if addr >= len(c.holds) || c.holds[addr].back.IsZero() {
		return time.Time{}
	}
	return c.holds[addr].until(time.Duration(r.Recover))
}

// Climbs is since when the member's weight does; zero: it does not.
func (c *Comeback) Climbs() time.Time { return c.ramp.start }

// sooner is the first of two times, of which zero is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
