package simulate

import (
	"fmt"
	"testing"

	"meridian/policy"
	"meridian/policy/geo"
	"meridian/zones"
)

// TestAdd: what two have counted is what one would have.
func TestAdd(t *testing.T) {
	registry := &numbered{Registry: &Registry{Snapshot: zones.New()}}
	near := &seat{number: 7, at: geo.PointAt(0, 0)}
	nowhere := &seat{number: 8}
	count := func(u *tally, n int) {
		for i := range n {
			u.distance(near, 1, geo.PointAt(0, float64(i)))
			u.distance(nowhere, 2, geo.PointAt(0, 0))
			u.distance(near, 3, geo.Point{})
			u.outcomes[zones.NoData]++
			u.members[7]++
			u.failOpen++
			u.asked[&policy.Pool{Name: "x"}] = true
		}
	}
	one, two, both := newTally(registry, 9), newTally(registry, 9), newTally(registry, 9)
	count(one, 3)
	count(two, 5)
	count(both, 3)
	count(both, 5)
	one.add(two)
	text := func(u *tally) string {
		return fmt.Sprint(u.outcomes, u.failOpen, u.members, u.known, u.by, u.noClient, u.noSite, len(u.asked), int(1e6*u.km[7]+0.5), u.percentile(0.95))
	}
	if got, want := text(one), text(both); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

func TestPercentile(t *testing.T) {
	u := newTally(&numbered{}, 1)
	for km, weight := range map[int]float64{10: 1, 20: 93, 30: 1, 40: 4, 50: 1} {
		u.by[km] = weight
	}
	for _, test := range []struct{ share, want float64 }{{0.005, 10}, {0.01, 10}, {0.5, 20}, {0.94, 20}, {0.95, 30}, {0.951, 40}, {1, 50}} {
		if got := u.percentile(test.share); got != test.want {
			t.Errorf("%v lie within %v km, want %v", test.share, got, test.want)
		}
	}
}
