package store

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"meridian/health"
)

// reporting is a registry whose own checker stands in Frankfurt, at a time that stands still.
func reporting(keys map[string]string, now *time.Time) *Registry {
	r := NewRegistry(slog.New(slog.DiscardHandler))
	r.now = func() time.Time { return *now }
	r.targets.self = health.Voter{Checker: "server/ns1", Site: "fra"}
	r.Apply(all(1, keys))
	return r
}

func (r *Registry) sees(state health.State, reason string, addrs ...string) {
	for _, addr := range addrs {
		id := health.TargetID{Check: "http", Addr: netip.AddrPortFrom(netip.MustParseAddr(addr), 80)}
		r.targets.report(health.Report{TargetID: id, State: state, Reason: reason})
	}
	r.Believe()
}

// ofCluster is an update of the registry, of cluster 1.
func ofCluster(revision int64, keys ...string) Update {
	u := liveKeys(revision, keys...)
	u.Cluster = 1
	return u
}

// What a checker reports: by pool and member, by the address that is answered, what has changed alone.
func TestReports(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 500, time.UTC)
	r := reporting(map[string]string{
		"check/http":        `{"http":{}}`,
		"pool/web/policy":   `{"check":"http"}`,
		"pool/web/member/a": `{"addr":["192.0.2.1","2001:db8::1"]}`,
		"pool/web/member/b": `{"addr":["192.0.2.2"],"check_addr":"192.0.2.102"}`,
		"pool/two/policy":   `{"check":"http"}`,
		"pool/two/member/a": "192.0.2.1",
		"pool/cdn/policy":   `{"check":"http"}`,
		"pool/cdn/member/x": `{"cname":"x.example.org.","check_addr":"192.0.2.103"}`,
		"pool/all/member/a": "192.0.2.1",
	}, &now)
	r.Report()
	var said map[string]string
	expect := func(when string, changed bool, want map[string]string) {
		t.Helper()
		list, ok := r.Reports(said)
		said = list
		if ok != changed || fmt.Sprint(list) != fmt.Sprint(want) {
			t.Errorf("%s: changed %v, expected %v\ngot  %v\nwant %v", when, ok, changed, list, want)
		}
	}
	const up = `{"state":"up","since":"2026-11-23T12:00:00Z"}`
	expect("at the start", false, map[string]string{})
	r.sees(health.Up, "", "192.0.2.1", "192.0.2.102", "192.0.2.103")
	expect("up", true, map[string]string{
		"web": `{"a":{"192.0.2.1":` + up + `},"b":{"192.0.2.2":` + up + `}}`,
		"two": `{"a":{"192.0.2.1":` + up + `}}`,
		"cdn": `{"x":{"192.0.2.103":` + up + `}}`,
	})
	now = now.Add(time.Minute)
	r.sees(health.Up, "", "192.0.2.1", "192.0.2.102")
	expect("the same again", false, said)
	r.sees(health.Down, "connection refused", "192.0.2.103")
	down := `{"x":{"192.0.2.103":{"state":"down","since":"2026-11-23T12:01:00Z","reason":"connection refused"}}}`
	want := map[string]string{"web": said["web"], "two": said["two"], "cdn": down}
	expect("down", true, want)
	r.sees(health.Down, "timed out after 1s", "192.0.2.103")
	expect("down for another reason", false, want)
	r.sees(health.Unknown, "", "192.0.2.102")
	want["web"] = `{"a":{"192.0.2.1":` + up + `}}`
	expect("it abstains", true, want)
	r.Apply(ofCluster(2, "pool/two/member/a", ""))
	delete(want, "two")
	expect("a pool has no members any more", true, want)

	r.targets.report(health.Report{TargetID: targetAt("192.0.2.1"), State: health.Up, Warning: "certificate expires soon"})
	warns := `{"a":{"192.0.2.1":{"state":"up","since":"2026-11-23T12:00:00Z","warning":"certificate expires soon"}}}`
	want["web"] = warns
	expect("it warns", true, want)
	r.targets.report(health.Report{TargetID: targetAt("192.0.2.1"), State: health.Up, Reason: "timed out after 1s", Warning: "certificate expires soon"})
	expect("and fails once", false, want)
	r.sees(health.Up, "", "192.0.2.1")
	want["web"] = `{"a":{"192.0.2.1":` + up + `}}`
	expect("it warns no more", true, want)

	// As the reports are read by another.
	for _, text := range []string{down, warns} {
		if err := decode([]byte(text), &reportSpec{}); err != nil {
			t.Error(err)
		}
	}
}

// A value that etcd would not take goes without reasons.
func TestReportsLarge(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	keys := map[string]string{"check/http": `{"http":{}}`, "pool/web/policy": `{"check":"http"}`}
	var addrs []string
	for i := range 1000 {
		var own []string
		for j := range 8 {
			addr := fmt.Sprintf("10.%d.%d.%d", i/256, i%256, j)
			own, addrs = append(own, fmt.Sprintf("%q", addr)), append(addrs, addr)
		}
		keys[fmt.Sprintf("pool/web/member/m%d", i)] = `{"addr":[` + strings.Join(own, ",") + `]}`
	}
	r := reporting(keys, &now)
	r.Report()
	r.sees(health.Down, strings.Repeat("x", 200), addrs...)
	list, _ := r.Reports(nil)
	if n := len(list["web"]); n > maxValue || strings.Contains(list["web"], "reason") || strings.Count(list["web"], `"down"`) != len(addrs) {
		t.Errorf("%d bytes, of %d addresses", n, strings.Count(list["web"], `"down"`))
	}
}

// What others report, as it comes and goes.
func TestTakeReports(t *testing.T) {
	const (
		up    = `{"m":{"192.0.2.1":{"state":"up","since":"2026-11-23T12:00:00Z"}}}`
		down  = `{"m":{"192.0.2.1":{"state":"down","since":"2026-11-23T12:00:00Z","reason":"refused"}}}`
		later = `{"m":{"192.0.2.1":{"state":"up","since":"2026-11-23T12:00:01Z"}}}`
	)
	twoPools := map[string]string{
		"check/http": `{"http":{}}`, "pool/p/policy": `{"check":"http"}`, "pool/p/member/m": "192.0.2.1",
		"pool/q/policy": `{"check":"http"}`, "pool/q/member/m": "192.0.2.1",
	}
	rejoins := func(r *Registry) { // after it has stood alone
		r.sees(health.Up, "", "192.0.2.1")
		r.TakeLive(liveKeys(2, "checker/a", `{"site":"ams"}`, "report/a/p", down, "checker/b", `{"site":"bos"}`, "report/b/p", down))
		r.StandAlone()
		u := liveKeys(3, "report/a/p", down)
		u.Full, u.Below = true, "report/"
		r.TakeLive(u)
	}
	for _, tt := range []struct {
		name string
		do   func(r *Registry, now *time.Time)
		want string // the state, and why
	}{
		{"nothing", func(r *Registry, _ *time.Time) {}, "unknown "},
		{"a report", func(r *Registry, _ *time.Time) {
			r.TakeLive(liveKeys(2, "checker/a", `{"site":"ams"}`, "report/a/p", down))
		}, "down ams says down: refused"},
		{"before its checker", func(r *Registry, _ *time.Time) {
			r.TakeLive(liveKeys(2, "report/a/p", down))
			r.TakeLive(liveKeys(3, "checker/a", `{"site":"ams"}`))
		}, "down ams says down: refused"},
		{"of no checker", func(r *Registry, _ *time.Time) { r.TakeLive(liveKeys(2, "report/a/p", down)) }, "unknown "},
		{"before its pool", func(r *Registry, _ *time.Time) {
			r.Apply(ofCluster(2, "pool/p/member/m", "", "pool/q/member/m", ""))
			r.TakeLive(liveKeys(3, "checker/a", `{"site":"ams"}`, "report/a/p", down))
			r.Apply(ofCluster(4, "pool/p/member/m", "192.0.2.1"))
		}, "down ams says down: refused"},
		{"of another address", func(r *Registry, _ *time.Time) {
			r.TakeLive(liveKeys(2, "checker/a", `{"site":"ams"}`, "report/a/p", strings.ReplaceAll(down, "192.0.2.1", "192.0.2.9")))
		}, "unknown "},
		{"one site of two is no quorum", func(r *Registry, _ *time.Time) {
			r.sees(health.Up, "", "192.0.2.1")
			r.TakeLive(liveKeys(2, "checker/a", `{"site":"ams"}`, "report/a/p", down))
		}, "up fra says up; ams says down: refused; 2 of 2 sites are needed"},
		{"two of three are", func(r *Registry, _ *time.Time) {
			r.sees(health.Up, "", "192.0.2.1")
			r.TakeLive(liveKeys(2, "checker/a", `{"site":"ams"}`, "report/a/p", down, "checker/b", `{"site":"bos"}`, "report/b/p", down))
		}, "down ams, bos say down: refused; fra says up"},
		{"all say up", func(r *Registry, _ *time.Time) {
			r.sees(health.Up, "", "192.0.2.1")
			r.TakeLive(liveKeys(2, "checker/a", `{"site":"ams"}`, "report/a/p", up))
		}, "up "},
		{"the newest word of two pools", func(r *Registry, _ *time.Time) {
			r.TakeLive(liveKeys(2, "checker/a", `{"site":"ams"}`, "report/a/p", later, "report/a/q", down))
		}, "up "},
		{"the newest word of two pools, the other way round", func(r *Registry, _ *time.Time) {
			r.TakeLive(liveKeys(2, "checker/a", `{"site":"ams"}`, "report/a/p", down, "report/a/q", later))
		}, "up "},
		{"that of one pool is gone", func(r *Registry, _ *time.Time) {
			r.TakeLive(liveKeys(2, "checker/a", `{"site":"ams"}`, "report/a/p", later, "report/a/q", down))
			r.TakeLive(liveKeys(3, "report/a/p", ""))
		}, "down ams says down: refused"},
		{"the pool is", func(r *Registry, _ *time.Time) {
			r.TakeLive(liveKeys(2, "checker/a", `{"site":"ams"}`, "report/a/p", down, "report/a/q", later))
			r.Apply(ofCluster(3, "pool/q/member/m", "", "pool/q/policy", ""))
		}, "down ams says down: refused"},
		{"reports gone", func(r *Registry, _ *time.Time) {
			r.TakeLive(liveKeys(2, "checker/a", `{"site":"ams"}`, "report/a/p", down))
			r.TakeLive(liveKeys(3, "report/a/p", ""))
		}, "down " + stale},
		{"the checker gone", func(r *Registry, _ *time.Time) {
			r.TakeLive(liveKeys(2, "checker/a", `{"site":"ams"}`, "report/a/p", down))
			r.TakeLive(liveKeys(3, "checker/a", ""))
		}, "down " + stale},
		{"gone in a read", func(r *Registry, _ *time.Time) {
			r.TakeLive(liveKeys(2, "checker/a", `{"site":"ams"}`, "report/a/p", down))
			r.TakeLive(Update{Revision: 3, Full: true, Below: "report/"})
		}, "down " + stale},
		{"a wrong value changes nothing", func(r *Registry, _ *time.Time) {
			r.TakeLive(liveKeys(2, "checker/a", `{"site":"ams"}`, "report/a/p", down))
			r.TakeLive(liveKeys(3, "report/a/p", `{"m":{}`))
		}, "down ams says down: refused"},
		{"a site that went still counts", func(r *Registry, _ *time.Time) {
			r.TakeLive(liveKeys(2, "checker/a", `{"site":"ams"}`, "report/a/p", up, "checker/b", `{"site":"bos"}`, "report/b/p", up))
			r.TakeLive(liveKeys(3, "report/b/p", "", "report/a/p", down))
		}, "up ams says down: refused; 2 of 2 sites are needed"},
		{"for ten minutes", func(r *Registry, now *time.Time) {
			r.TakeLive(liveKeys(2, "checker/a", `{"site":"ams"}`, "report/a/p", up, "checker/b", `{"site":"bos"}`, "report/b/p", up))
			r.TakeLive(liveKeys(3, "report/b/p", "", "report/a/p", down))
			*now = now.Add(10 * time.Minute)
			r.CountDue()
		}, "down ams says down: refused"},
		{"alone", func(r *Registry, _ *time.Time) {
			r.sees(health.Up, "", "192.0.2.1")
			r.TakeLive(liveKeys(2, "checker/a", `{"site":"ams"}`, "report/a/p", down, "checker/b", `{"site":"bos"}`, "report/b/p", down))
			r.StandAlone()
		}, "up "},
		{"alone, without a checker", func(r *Registry, _ *time.Time) {
			r.TakeLive(liveKeys(2, "checker/a", `{"site":"ams"}`, "report/a/p", down))
			r.StandAlone()
		}, "down " + stale},
		{"alone still, as others may not have reported anew", func(r *Registry, now *time.Time) {
			rejoins(r)
			*now = now.Add(rejoinAfter - time.Second)
			r.CountDue()
		}, "up "},
		{"not alone any more", func(r *Registry, now *time.Time) {
			rejoins(r)
			*now = now.Add(rejoinAfter)
			r.CountDue()
		}, "up fra says up; ams says down: refused; 2 of 3 sites are needed"},
		{"alone again", func(r *Registry, now *time.Time) {
			rejoins(r)
			r.StandAlone()
			*now = now.Add(rejoinAfter)
			r.CountDue()
		}, "up "},
		{"its own checker abstains", func(r *Registry, _ *time.Time) {
			r.sees(health.Down, "refused", "192.0.2.1")
			r.sees(health.Unknown, "", "192.0.2.1")
		}, "down " + stale},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
			r := reporting(twoPools, &now)
			tt.do(r, &now)
			r.Believe()
			tg := r.targets.byID[targetAt(first)]
			if got := tg.state().String() + " " + tg.reason; got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if p := r.pools["p"].compiled; p.Health(0).State(0) != tg.state() {
				t.Errorf("the pool's word: %v", p.Health(0).State(0))
			}
			var votes VoteStats
			for _, tg := range r.targets.byID {
				votes.add(tg.tally, 1)
			}
			if r.targets.votes != votes {
				t.Errorf("%+v, expected %+v", r.targets.votes, votes)
			}
		})
	}
}

// A check says whose votes count, and how many it takes.
func TestTakeReportsVoting(t *testing.T) {
	for _, tt := range []struct{ voting, want string }{
		{`"quorum":"any"`, "down ams says down; fra says up"},
		{`"quorum":"all"`, "up fra says up; ams says down; 2 of 2 sites are needed"},
		{`"from":["site:ams"]`, "down ams says down"},
		{`"from":["site:fra"]`, "up "},
		{`"from":["checker:b"]`, "unknown nobody who may vote on it, as from says, has reported it"},
		{`"quorum":5`, "unknown ams says down; fra says up; 5 of 2 sites are needed"},
	} {
		now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
		r := reporting(map[string]string{"check/http": `{"http":{}}`, "pool/p/policy": `{"check":"http"}`, "pool/p/member/m": "192.0.2.1"}, &now)
		r.Apply(ofCluster(2, "check/http", `{"http":{},`+tt.voting+`}`))
		r.sees(health.Up, "", "192.0.2.1")
		r.TakeLive(liveKeys(3, "checker/a", `{"site":"ams"}`, "report/a/p", `{"m":{"192.0.2.1":{"state":"down","since":"2026-11-23T12:00:00Z"}}}`))
		r.Believe()
		tg := r.targets.byID[targetAt(first)]
		if got := tg.state().String() + " " + tg.reason; got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.voting, got, tt.want)
		}
		if n := len(r.Targets()); n != map[bool]int{true: 0, false: 1}[tt.voting == `"from":["site:ams"]` || tt.voting == `"from":["checker:b"]`] {
			t.Errorf("%s: %d targets to check", tt.voting, n)
		}
	}
}

// A server that has lost etcd for longer than a lease decides alone, and what is stale is told.
func TestApplierLapsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &running{Applier: NewApplier(slog.New(slog.DiscardHandler)), updates: make(chan Update), checked: make(chan struct{})}
		r.Voter = health.Voter{Checker: "server/ns1", Site: "fra"}
		var lapsed atomic.Bool
		r.Lapsed = lapsed.Load
		go r.Run(t.Context(), r.updates, r.checked, func() []health.Report { return r.reports })
		r.send(all(1, checkedPool))
		const down = `{"m":{"192.0.2.1":{"state":"down","since":"2026-11-23T12:00:00Z"}},"n":{"192.0.2.2":{"state":"down","since":"2026-11-23T12:00:00Z"}}}`
		r.Live() <- liveKeys(2, "checker/a", `{"site":"ams"}`, "report/a/p", down, "checker/b", `{"site":"bos"}`, "report/b/p", down,
			"load/p/m", `{"load":-1}`)
		r.report(health.Up, "192.0.2.1")
		after(2 * time.Second)
		if st := r.Status(); st.Checkers != 2 || st.Disputed != 1 || st.Stale != 0 || st.Unplaced != 2 || st.Ignored != 1 {
			t.Errorf("%+v", st)
		}
		state := func() string {
			w := r.registry.pools["p"].compiled
			return w.Health(0).State(0).String() + " " + w.Health(1).State(0).String()
		}
		if got := state(); got != "down down" {
			t.Error(got)
		}
		lapsed.Store(true)
		after(time.Second)
		if got := state(); got != "up down" {
			t.Error(got)
		}
		after(time.Second)
		if st := r.Status(); st.Disputed != 0 || st.Stale != 1 {
			t.Errorf("alone: %+v", st)
		}
	})
}
