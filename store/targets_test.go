package store

import (
	"testing"
	"time"

	"meridian/health"
)

// TestTargetMoves: what is known of an address stays known where another pool comes to have it in one revision,
// whichever of the two is first by name.
func TestTargetMoves(t *testing.T) {
	for _, to := range []string{"a", "z"} {
		now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
		r := reporting(map[string]string{
			"check/http": `{"http":{}}`, "pool/p/policy": `{"check":"http"}`, "pool/p/member/m": "192.0.2.1", "pool/p/member/n": "192.0.2.2",
			"pool/" + to + "/policy": `{"check":"http"}`,
		}, &now)
		r.sees(health.Up, "", "192.0.2.1", "192.0.2.2")
		r.Targets()
		r.Apply(ofCluster(2, "pool/p/member/m", "", "pool/"+to+"/member/m", "192.0.2.1"))
		if got := r.pools[to].compiled.Health(0).State(0); got != health.Up || r.targets.changed {
			t.Errorf("moved to %s: %v, targets changed: %v", to, got, r.targets.changed)
		}
		r.Apply(ofCluster(3, "pool/"+to+"/member/m", ""))
		if n := len(r.targets.byID); n != 1 || !r.targets.changed || r.targets.found != 1 {
			t.Errorf("gone from %s: %d targets, changed: %v, %d known", to, n, r.targets.changed, r.targets.found)
		}
	}
}
