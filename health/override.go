package health

import (
	"fmt"
	"strings"
	"time"

	"meridian/spec"
)

// Override is a person's word on a member, a pool or a site: the value of override/member/<pool>/<member>,
// override/pool/<pool> and override/site/<site>.
type Override struct {
	State  string     `json:"state,omitzero"`  // what it is to be; default as checks say; "drain": no answers, and up all the same for who counts, "down": no answers, "up": whatever checks say
	Weight *int       `json:"weight,omitzero"` // a weight in the place of the member's; default the member's; 0 to 65535
	Reason string     `json:"reason,omitzero"` // why, such as a ticket; default none
	By     string     `json:"by,omitzero"`     // whose word it is; default nobody's
	Until  *time.Time `json:"until,omitzero"`  // when it ends; default with its key, or its lease; a time of RFC 3339 such as "2026-11-22T18:00:00+01:00"
}

var overrideStates = []string{"drain", "down", "up"}

// Validate says what is wrong with o, as a *spec.Error.
func (o *Override) Validate() error {
	switch {
	case o.State == "" && o.Weight == nil:
		return spec.Errorf("", `expected "state" or "weight"`)
	case o.State != "" && o.State != "drain" && o.State != "down" && o.State != "up":
		return spec.Errorf("state", `%q is not known, expected "drain", "down" or "up"%s`, o.State, spec.Suggest(o.State, overrideStates))
	case o.Weight != nil && (*o.Weight < 0 || *o.Weight > 65535):
		return spec.Errorf("weight", "%d is out of range, expected 0 to 65535", *o.Weight)
	}
	return nil
}

// Ended says whether the override's time is over.
func (o *Override) Ended(now time.Time) bool { return o.Until != nil && !now.Before(*o.Until) }

// Over returns w as the override has it.
func (o *Override) Over(w Word) Word {
	switch o.State {
	case "drain":
		w = w.WithDrain(true, true)
	case "down":
		w = w.WithDrain(true, false)
	}
	if o.Weight != nil {
		w = w.WithWeight(uint16(*o.Weight))
	}
	return w
}

// String is the override in words: "drained by alice: CHG-123, until 2026-11-22T17:00:00Z".
func (o *Override) String() string {
	var b strings.Builder
	switch o.State {
	case "drain":
		b.WriteString("drained")
	case "down":
		b.WriteString("taken down")
	case "up":
		b.WriteString("held up")
	}
	if o.Weight != nil {
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "given weight %d", *o.Weight)
	}
	if o.By != "" {
		b.WriteString(" by " + o.By)
	}
	if o.Reason != "" {
		b.WriteString(": " + o.Reason)
	}
	if o.Until != nil {
		b.WriteString(", until " + o.Until.UTC().Format(time.RFC3339))
	}
	return b.String()
}

// Latch is a manual failback not yet made: the value of latch/<pool>.
type Latch struct {
	Tier  int        `json:"tier"`           // those below it do not count while others are there; required; 1 to 65535
	Since *time.Time `json:"since,omitzero"` // when it came to that; default not said; a time of RFC 3339
	By    string     `json:"by,omitzero"`    // who wrote it, a server or a person; default nobody
}

// Validate says what is wrong with l, as a *spec.Error.
func (l *Latch) Validate() error {
	if l.Tier < 1 || l.Tier > 65535 {
		return spec.Errorf("tier", "%d is out of range, expected 1 to 65535", l.Tier)
	}
	return nil
}
