package check

import (
	"strings"
	"time"

	"meridian/health"
)

// whole is a target whose check is made of others: it is not looked at, its parts are. A Runner's
// lock guards it.
type whole struct {
	health.Target // State is what its parts have last come to
	parts         []*target
	told          health.Report // the last
}

// report is how w stands. A state that its parts leave open stays as it was.
func (w *whole) report() health.Report {
	states := make([]health.State, len(w.parts))
	var reasons, warnings []string
	r := health.Report{TargetID: w.TargetID}
	for i, p := range w.parts {
		if p == nil {
			reasons = append(reasons, w.Spec.Parts()[i]+": there is no such check, or it is made of others itself")
			continue
		}
		states[i] = p.counter.State
		if p.told.Reason != "" {
			reasons = append(reasons, p.Check+": "+p.told.Reason)
		}
		if p.told.Warning != "" {
			warnings = append(warnings, p.Check+": "+p.told.Warning)
		}
		r.RTT = leastRTT(r.RTT, p.found.rtt)
		if load := p.found.load; load != nil && (r.Load == nil || *load > *r.Load) {
			r.Load = load
		}
	}
	r.State = w.Spec.Fold(states)
	if r.State == health.Unknown {
		r.State = w.State
	}
	if r.State == health.Up {
		r.Warning = strings.Join(warnings, "; ")
		return r
	}
	r.Reason = strings.Join(reasons, "; ")
	if r.State == health.Down && w.Spec.Invert {
		r.Reason = errInverted.Error()
	}
	return r
}

// leastRTT is the least round trip that was measured.
func leastRTT(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}
