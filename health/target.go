package health

import (
	"net/netip"
	"time"
)

// TargetID names what is checked: one check against one address and port. Members of several
// pools may stand behind the same target; it is checked once.
type TargetID struct {
	Check string         // the check's name, as in check/<check>
	Addr  netip.AddrPort // where it connects to
}

// Target is one thing to check, and how.
type Target struct {
	TargetID
	Spec  *Check   // completed, and not changed afterwards
	State State    // known from before, of a target that the checker has not looked at yet
	Parts []Target // of a check made of others: those, in the order of Spec.Parts
}

// interval is how often t is looked at: of a check made of others, the longest of theirs. It is never 0.
func (t *Target) interval() time.Duration {
	longest := minInterval
	if t.Spec != nil {
		longest = max(longest, time.Duration(t.Spec.Interval))
	}
	for i := range t.Parts {
		longest = max(longest, t.Parts[i].interval())
	}
	return longest
}

// round is how long it takes to look at t so often that it could be found up: rise intervals and the timeout.
func (t *Target) round() (longest time.Duration) {
	if t.Spec != nil {
		longest = time.Duration(t.Spec.Rise)*time.Duration(t.Spec.Interval) + time.Duration(t.Spec.Timeout)
	}
	for i := range t.Parts {
		longest = max(longest, t.Parts[i].round())
	}
	return longest
}

// Report is what a checker says of a target when its state has changed, or why it is not up has,
// or what to warn of.
type Report struct {
	TargetID
	State   State
	Reason  string        // the last result's words, "connection refused"; "" when it was a success
	Warning string        `json:"-"` // of one that is up and may not stay so: "certificate expires …"; "" for none
	RTT     time.Duration `json:"-"` // the round trip that was measured last; 0: none was yet
	Load    *float64      `json:"-"` // what the last success said, 1 where it is just filled; nil: nothing
}

// TargetOf is what is looked at for the check of a name at an address. port is the member's, 0 for
// none; find returns a check by name, nil where there is none. A part that is not there, or is made
// of others itself, has no Spec: nothing can be known of it.
func TargetOf(name string, addr netip.Addr, port uint16, find func(name string) *Check) Target {
	t := Target{TargetID: TargetID{Check: name, Addr: netip.AddrPortFrom(addr, 0)}, Spec: find(name)}
	if t.Spec == nil {
		return t
	}
	t.Addr = netip.AddrPortFrom(addr, t.Spec.Port(port))
	for _, part := range t.Spec.Parts() {
		p := Target{TargetID: TargetID{Check: part, Addr: netip.AddrPortFrom(addr, 0)}, Spec: find(part)}
		if p.Spec != nil {
			p.Addr = netip.AddrPortFrom(addr, p.Spec.Port(port))
			if p.Spec.Parts() != nil {
				p.Spec = nil
			}
		}
		t.Parts = append(t.Parts, p)
	}
	return t
}
