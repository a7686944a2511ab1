package store

import (
	"fmt"
	"testing"
	"time"

	"meridian/health"
)

// What is warned of, by whoever sees it, and which checkers say otherwise than the count.
func TestWarningsAndDiffering(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	keys := map[string]string{"check/http": `{"http":{}}`, "pool/p/policy": `{"check":"http"}`, "pool/p/member/m": "192.0.2.1", "pool/p/member/n": "192.0.2.2"}
	r := reporting(keys, &now)
	says := func(state, warning string) string {
		return fmt.Sprintf(`{"m":{"192.0.2.1":{"state":%q,"since":"2026-11-23T12:00:00Z","warning":%q}}}`, state, warning)
	}
	own := func(addr string, state health.State, warning string) func() {
		return func() { r.targets.report(health.Report{TargetID: targetAt(addr), State: state, Warning: warning}) }
	}
	live := func(keys ...string) func() { return func() { r.TakeLive(liveKeys(2, keys...)) } }
	for _, step := range []struct {
		name string
		do   func()
		want string // warnings, how many, who differs
	}{
		{"at the start", func() {}, "[] 0 map[]"},
		{"up", own("192.0.2.1", health.Up, ""), "[] 0 map[]"},
		{"it warns", own("192.0.2.1", health.Up, "b"), "[{http 192.0.2.1:80 b}] 1 map[]"},
		{"another too, of something earlier", own("192.0.2.2", health.Up, "a"), "[{http 192.0.2.2:80 a} {http 192.0.2.1:80 b}] 2 map[]"},
		{"no more", own("192.0.2.2", health.Up, ""), "[{http 192.0.2.1:80 b}] 1 map[]"},
		{"others warn: the own word is first", live("checker/x", `{"site":"x"}`, "report/x/p", says("up", "d"), "checker/w", `{"site":"w"}`, "report/w/p", says("up", "c")),
			"[{http 192.0.2.1:80 b}] 1 map[]"},
		{"nothing of the own: the first of the others", own("192.0.2.1", health.Up, ""), "[{http 192.0.2.1:80 c}] 1 map[]"},
		{"it goes", live("report/w/p", ""), "[{http 192.0.2.1:80 d}] 1 map[]"},
		{"one says down", live("report/w/p", says("down", "")), "[{http 192.0.2.1:80 d}] 1 map[w:1]"},
		{"the own too", own("192.0.2.1", health.Down, ""), "[{http 192.0.2.1:80 d}] 1 map[x:1]"},
		{"the last takes it back", live("checker/x", ""), "[] 0 map[]"},
		{"and says it again", live("checker/x", `{"site":"x","targets":{"up":1},"abstains":["ipv6"]}`), "[{http 192.0.2.1:80 d}] 1 map[x:1]"},
		{"alone", func() { r.StandAlone() }, "[{http 192.0.2.1:80 d}] 1 map[]"},
		{"and not any more", func() { r.TakeLive(Update{Below: "report/"}); now = now.Add(rejoinAfter); r.CountDue() }, "[{http 192.0.2.1:80 d}] 1 map[x:1]"},
		{"the member goes", func() { r.Apply(ofCluster(3, "pool/p/member/m", "")) }, "[] 0 map[]"},
	} {
		step.do()
		first, all := r.targets.warnings.told()
		if got := fmt.Sprint(first, all, r.targets.differing); got != step.want {
			t.Errorf("%s: %s, expected %s", step.name, got, step.want)
		}
	}
	for i := range 20 {
		r.targets.warnings.set(targetAt(fmt.Sprintf("192.0.2.%d", i)), fmt.Sprintf("day %02d", 19-i))
	}
	if first, all := r.targets.warnings.told(); all != 20 || len(first) != maxWarnings || first[0] != (Warning{"http", "192.0.2.19:80", "day 00"}) {
		t.Errorf("of 20: %d, %v", all, first)
	}
}
