package store

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"meridian/health"
	"meridian/policy"
)

func fills(load float64) *float64 { return &load }

// Loads that backends tell are told on when one moves, at most every 5 s, and again within 20 s while they are heard.
func TestUtilizations(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	r := reporting(map[string]string{
		"check/http": `{"http":{}}`, "pool/p/policy": `{"check":"http"}`, "pool/p/member/m": "192.0.2.1", "pool/p/member/n": "192.0.2.2",
	}, &now)
	var heard heardLoads
	hear := func(addr string, load *float64) { heard.add(health.Report{TargetID: targetAt(addr), Load: load}, now) }
	expect := func(when, want string) {
		t.Helper()
		got := ""
		if tell := r.Utilizations(&heard); len(tell) > 0 {
			got = fmt.Sprint(tell)
		}
		if got != want {
			t.Errorf("%s: %s, expected %s", when, got, want)
		}
	}
	expect("at the start", "")
	hear(first, fills(0.8))
	hear("192.0.2.9", fills(0.5)) // of no target
	expect("at once", "map[p:map[m:map[192.0.2.1:0.8]]]")
	hear(first, fills(0.9))
	now = now.Add(loadLook - 1)
	expect("too early", "")
	now = now.Add(1)
	expect("moved by more", "map[p:map[m:map[192.0.2.1:0.9]]]")
	hear(first, fills(0.95004))
	now = now.Add(loadLook)
	expect("by 0.05", "map[p:map[m:map[192.0.2.1:0.95]]]")
	now = now.Add(loadLook)
	hear(first, fills(0.901))
	expect("by less", "")
	now = now.Add(loadRefresh - loadLook)
	expect("told again", "map[p:map[m:map[192.0.2.1:0.901]]]")
	now = now.Add(loadRefresh)
	expect("not heard since: not told again", "")
	hear(second, fills(1.5))
	now = now.Add(loadLook)
	expect("another", "map[p:map[m:map[192.0.2.1:0.901] n:map[192.0.2.2:1.5]]]")
	hear(second, nil)
	now = now.Add(loadLook)
	expect("it tells none any more", "map[p:map[m:map[192.0.2.1:0.901]]]")
	now = now.Add(loadLasts)
	expect("the other is too old", "map[p:map[]]")
	if len(heard.last) != 0 {
		t.Errorf("%v is kept", heard.last)
	}
	hear(second, fills(0.5))
	now = now.Add(loadLook)
	expect("heard again", "map[p:map[n:map[192.0.2.2:0.5]]]")
	r.Apply(ofCluster(2, "pool/p/member/m", "", "pool/p/member/n", "", "pool/p/policy", ""))
	expect("the pool goes", "map[p:map[]]")
	now = now.Add(loadLook)
	expect("and all of it", "")
	if len(heard.last)+len(r.loadsTold) != 0 {
		t.Errorf("%v, %v are kept", heard.last, r.loadsTold)
	}
}

// What a member's load is, and who says so.
func TestTakeLiveUtilization(t *testing.T) {
	told := func(addr string, load float64) string { return fmt.Sprintf(`{"fra":{%q:%v}}`, addr, load) }
	for _, tt := range []struct {
		name  string
		takes []Update
		want  string
	}{
		{"one checker", []Update{liveKeys(2, "utilization/a/web", `{"fra":{"192.0.2.1":0.5}}`)}, "fra 0.5 told to 1 checker"},
		{"its fullest address", []Update{liveKeys(2, "utilization/a/web", `{"fra":{"192.0.2.1":0.5,"192.0.2.11":0.7},"bos":{"192.0.2.2":0}}`)},
			"bos 0 told to 1 checker, fra 0.7 told to 1 checker"},
		{"an address that it does not have, a member that is not there", []Update{liveKeys(2, "utilization/a/web", `{"fra":{"192.0.2.99":0.9},"ams":{"192.0.2.1":1}}`)}, ""},
		{"two: between them", []Update{liveKeys(2, "utilization/a/web", told("192.0.2.1", 0.5), "utilization/b/web", told("192.0.2.1", 0.75))}, "fra 0.625 told to 2 checkers"},
		{"five: two that lie move nothing", []Update{liveKeys(2, "utilization/a/web", told("192.0.2.1", 0.5), "utilization/b/web", told("192.0.2.11", 0.6),
			"utilization/c/web", told("192.0.2.1", 100), "utilization/d/web", told("192.0.2.1", 0.6), "utilization/e/web", told("192.0.2.1", 0))}, "fra 0.6 told to 5 checkers"},
		{"put: that wins", []Update{liveKeys(2, "utilization/a/web", told("192.0.2.1", 0.5), "load/web/fra", `{"load":0.1}`)}, "fra 0.1 put"},
		{"put, and taken away", []Update{liveKeys(2, "utilization/a/web", told("192.0.2.1", 0.5), "load/web/fra", `{"load":0.1}`), liveKeys(3, "load/web/fra", "")}, "fra 0.5 told to 1 checker"},
		{"one of two goes", []Update{liveKeys(2, "utilization/a/web", told("192.0.2.1", 0.5), "utilization/b/web", told("192.0.2.1", 0.75)), liveKeys(3, "utilization/a/web", "")}, "fra 0.75 told to 1 checker"},
		{"all go", []Update{liveKeys(2, "utilization/a/web", told("192.0.2.1", 0.5)), {Full: true, Below: "utilization/"}}, ""},
		{"a wrong value changes nothing", []Update{liveKeys(2, "utilization/a/web", told("192.0.2.1", 0.5)), liveKeys(3, "utilization/a/web", told("192.0.2.1", -1))}, "fra 0.5 told to 1 checker"},
	} {
		for _, late := range []bool{false, true} { // the registry, after the live keys
			r := measuring(t, nil)
			if !late {
				r.Apply(all(1, measuredPool))
			}
			for _, u := range tt.takes {
				r.TakeLive(u)
			}
			if late {
				r.Apply(all(1, measuredPool))
			}
			if got := r.explainedLoads(); got != tt.want {
				t.Errorf("%s, registry late %v: %q, expected %q", tt.name, late, got, tt.want)
			}
		}
	}
}

// traced are the members of a pool as a decision explains them.
func (r *Registry) traced(pool string) []policy.MemberTrace {
	var d policy.Decision
	var trace policy.Trace
	policy.Select(&d, r.pools[pool].compiled, &r.snapshot.World, &policy.Client{Family: policy.Any}, 1, new(policy.Scratch), &trace)
	return trace.Runs[0].Members
}

// explainedLoads are the loads of the members of web, and who says so.
func (r *Registry) explainedLoads() string {
	var said []string
	for _, m := range r.traced("web") {
		if m.Load != nil {
			said = append(said, fmt.Sprintf("%s %g %s", m.Member, *m.Load, m.LoadFrom))
		}
	}
	slices.Sort(said)
	return strings.Join(said, ", ")
}

// What is told counts for a minute after it came, whatever is read again meanwhile; what the own checker hears counts
// without any key.
func TestApplierUtilizations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := map[string]string{"check/http": `{"http":{}}`, "pool/web/policy": `{"check":"http"}`, "pool/web/member/a": "192.0.2.1", "pool/web/member/b": "192.0.2.2"}
		a := runApplier(t, nil, nil)
		a.send(all(7, keys))
		expect := func(when, want string) {
			t.Helper()
			if got := a.registry.explainedLoads(); got != want {
				t.Errorf("%s: %q, expected %q", when, got, want)
			}
		}
		own := func(load *float64) { a.Measured(health.Report{TargetID: targetAt("192.0.2.1"), Load: load}) }
		other := liveKeys(2, "utilization/x/web", `{"a":{"192.0.2.1":0.75},"b":{"192.0.2.2":0.25}}`)
		own(fills(0.25))
		after(loadLook + time.Second)
		expect("heard here", "a 0.25 told to 1 checker")
		a.Live() <- other
		after(0)
		expect("and elsewhere", "a 0.5 told to 2 checkers, b 0.25 told to 1 checker")
		after(30 * time.Second)
		own(fills(0.35))
		after(loadLook + time.Second)
		expect("moved here", "a 0.55 told to 2 checkers, b 0.25 told to 1 checker")
		other.Full, other.Below = true, "utilization/"
		a.Live() <- other
		a.send(Update{Revision: 9, Cluster: 1, Entries: []Entry{{Key: "pool/web/member/b", Value: []byte(`{"addr":["192.0.2.2"],"weight":3}`), Revision: 9}}})
		expect("the pool is compiled anew", "a 0.55 told to 2 checkers, b 0.25 told to 1 checker")
		after(25 * time.Second)
		expect("after a minute", "a 0.35 told to 1 checker")
		after(loadLasts)
		expect("nothing is heard any more", "")
	})
}
