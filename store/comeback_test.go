package store

import (
	"testing"
	"testing/synctest"
	"time"

	"meridian/health"
)

// What is measured of a member stays while it comes back, and nothing is looked at again once all have.
func TestComeBack(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	r := reporting(map[string]string{
		"check/http": `{"http":{}}`, "pool/p/policy": `{"check":"http","recover":"10s","ramp":"10s"}`,
		"pool/p/member/m": "192.0.2.1", "pool/p/member/n": "192.0.2.2",
	}, &now)
	r.sees(health.Up, "", "192.0.2.1", "192.0.2.2")
	r.TakeLive(liveKeys(2, "load/p/m", `{"load":0.5}`))
	r.sees(health.Down, "", "192.0.2.1")
	r.sees(health.Up, "", "192.0.2.1")
	for _, want := range []struct {
		weight uint16
		next   time.Duration
	}{{10000, 10}, {1, 1}, {1000, 1}, {2000, 1}} {
		w := r.pools["p"].compiled.Health(0)
		if load, ok := w.Load(); !ok || load != 0.5 || w.Weight() != want.weight {
			t.Errorf("load %v, %v, weight %d, expected 0.5 and %d", load, ok, w.Weight(), want.weight)
		}
		next := r.comebacks["p"].next.Sub(now)
		if next != want.next*time.Second {
			t.Errorf("next in %v, expected %d s", next, want.next)
		}
		now = now.Add(next)
		r.Return()
	}
	now = now.Add(10 * time.Second)
	if r.Return(); !r.comebacks["p"].next.IsZero() {
		t.Errorf("something is to come yet: %v", r.comebacks["p"].next)
	}
}

// TestComeBackCompiled: a pool whose check counts otherwise at the moment at which its members change places.
func TestComeBackCompiled(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	r := reporting(map[string]string{
		"check/http": `{"http":{},"from":["site:ams"]}`, "pool/p/policy": `{"check":"http","ramp":"10s"}`,
		"pool/p/member/n": "192.0.2.2", "pool/p/member/o": "192.0.2.1",
	}, &now)
	r.sees(health.Up, "", "192.0.2.1", "192.0.2.2")
	r.TakeLive(liveKeys(2, "checker/a", `{"site":"ams"}`, "report/a/p", `{"o":{"192.0.2.1":{"state":"down","since":"2026-11-23T12:00:00Z"}}}`))
	r.Apply(ofCluster(3, "check/http", `{"http":{},"from":["site:fra"],"quorum":"any"}`, "pool/p/member/n", "", "pool/p/member/m", "192.0.2.3", "pool/p/member/a", "192.0.2.4"))
	r.Believe()
	p := r.pools["p"].compiled
	for i, want := range []health.State{health.Unknown, health.Unknown, health.Up} {
		if got := p.Health(i).State(0); got != want {
			t.Errorf("%s is %v, expected %v", p.Members[i].Name, got, want)
		}
	}
}

// TestComeBackOther: what comes in the place of a member that was down was never down itself.
func TestComeBackOther(t *testing.T) {
	for _, tt := range []struct{ name, was, is string }{
		{"an address", `{"addr":["192.0.2.1"]}`, `{"addr":["192.0.2.2"]}`},
		{"a name", `{"cname":"x.example.org.","check_addr":"192.0.2.1"}`, `{"cname":"y.example.org.","check_addr":"192.0.2.2"}`},
		{"a pool", `{"pool":"one"}`, `{"pool":"two"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
			r := reporting(map[string]string{
				"check/http": `{"http":{}}`, "pool/p/policy": `{"check":"http","recover":"24h"}`, "pool/p/member/m": tt.was,
				"pool/one/policy": `{"check":"http"}`, "pool/one/member/m": "192.0.2.1", "pool/two/policy": `{"check":"http"}`, "pool/two/member/m": "192.0.2.2",
			}, &now)
			r.sees(health.Up, "", "192.0.2.1", "192.0.2.2")
			r.sees(health.Down, "", "192.0.2.1")
			r.Apply(ofCluster(2, "pool/p/member/m", tt.is))
			r.sees(health.Up, "", "192.0.2.2")
			if got := r.pools["p"].compiled.Health(0).State(0); got != health.Up {
				t.Errorf("it is %v, expected up", got)
			}
		})
	}
}

// TestComeBackOneRevision: no pool sees another as it never was, with old members that count otherwise from now on.
func TestComeBackOneRevision(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	r := reporting(map[string]string{
		"check/http": `{"http":{},"quorum":2}`, "pool/top/policy": `{"recover":"24h"}`, "pool/top/member/p": `{"pool":"p"}`,
		"pool/a/policy": `{"check":"http"}`, "pool/a/member/m": "192.0.2.1",
		"pool/p/policy": `{"check":"http"}`, "pool/p/member/m": "192.0.2.1",
	}, &now)
	r.sees(health.Down, "refused", "192.0.2.1") // as one of two: it is unknown
	r.Apply(ofCluster(3, "check/http", `{"http":{},"quorum":"any"}`, "pool/p/member/m", "192.0.2.2"))
	r.sees(health.Up, "", "192.0.2.2")
	if got := r.pools["top"].compiled.Health(0).State(0); got != health.Up {
		t.Errorf("it is %v, expected up", got)
	}
}

// TestApplierComeBack: the applier has members come back in time.
func TestApplierComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runApplier(t, nil, nil)
		r.send(all(7, checkedPool))
		r.send(Update{Revision: 8, Cluster: 1, Entries: []Entry{{Key: "pool/p/policy", Value: []byte(`{"check":"http","recover":"10s"}`), Revision: 8}}})
		r.report(health.Up, "192.0.2.1", "192.0.2.2")
		r.report(health.Down, "192.0.2.1")
		r.report(health.Up, "192.0.2.1")
		p := r.Snapshot.Load().Pools[0]
		if got := p.Health(p.Member("m")).State(0); got != health.Unknown {
			t.Errorf("back at once: %v", got)
		}
		after(11 * time.Second)
		if got := p.Health(p.Member("m")).State(0); got != health.Up {
			t.Errorf("after 11 s: %v", got)
		}
	})
}
