package health

import "net/netip"

// TargetID names what is checked: one check against one address and port. Members of several
// pools may stand behind the same target; it is checked once.
type TargetID struct {
	Check string         // the check's name, as in check/<check>
	Addr  netip.AddrPort // where it connects to
}

// Target is one thing to check, and how.
type Target struct {
	TargetID
	Spec  *Check // completed, and not changed afterwards
	State State  // known from before, of a target that the checker has not looked at yet
}

// Report is what a checker says of a target when its state has changed, or why it is not up has.
type Report struct {
	TargetID
	State  State
	Reason string // the last result's words, "connection refused"; "" when it was a success
}
