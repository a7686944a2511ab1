package policy

import (
	"math"
	"testing"

	"meridian/policy/geo"
)

// On the equator a degree of longitude is 111.2 km.
const equator = `
site west 0 -12
site east 0 10
site far 0 40
net 198.51.100.0/24 at=0,0
net 203.0.113.0/24 FR
`

func TestSelectNearest(t *testing.T) {
	const here, unknown, middle = "192.0.2.53 198.51.100.0/24", "192.0.2.53 192.0.2.0/24", "192.0.2.53 203.0.113.0/24"
	tests := []struct {
		name   string
		pools  string
		client string
		want   string
	}{
		{"by distance: the nearest", `
web [{"nearest":{"by":"distance"}}]
  a 4+ @west
  b 4+ @east
  c 4+ @far`, here, "b"},
		{"by distance: all at one site", `
web [{"nearest":{"by":"distance"}}]
  a 4+ @east
  b 4+ @far
  c 4+ @east`, here, "a c"},
		{"by distance: the nearest of who is left", `
web geoproximity
  a 4+ @west
  b 4- @east
  c 4+ @far`, here, "a"},
		{"the middle of the country, where no more is known", `
web [{"nearest":{"by":"distance"}}]
  a 4+ @west
  b 4+ @paris
site paris 48.9 2.4`, middle, "b"},

		// Bias: 1,112 km to the east, 1,334 km to the west.
		{"bias brings nearer: not enough", `
web [{"nearest":{"by":"distance"}}]
  a 4+ @west bias16
  b 4+ @east`, here, "b"},
		{"bias brings nearer: enough", `
web [{"nearest":{"by":"distance"}}]
  a 4+ @west bias17
  b 4+ @east`, here, "a"},
		{"bias takes away: not enough", `
web [{"nearest":{"by":"distance"}}]
  a 4+ @west
  b 4+ @east bias-16`, here, "b"},
		{"bias takes away: enough", `
web [{"nearest":{"by":"distance"}}]
  a 4+ @west
  b 4+ @east bias-17`, here, "a"},
		{"bias of 99 makes 4,448 km 44", `
web [{"nearest":{"by":"distance","within":"45km"}}]
  a 4+ @far bias99
  b 4+ @east bias93
  c 4+ @east bias92`, here, "a b c"},
		{"bias of -99 makes 1,112 km a hundred times that", `
web [{"nearest":{"by":"distance"}}]
  a 4+ @far
  b 4+ @east bias-99`, here, "a"},
		{"bias means nothing by rtt", `
web [{"nearest":{"by":"rtt"}}]
  a 4+ @west bias99
  b 4+ @east bias-99`, here, "b"},

		// Within: 222 km, or 20 %, farther to the west.
		{"within km: not enough", `
web [{"nearest":{"by":"distance","within":"222km"}}]
  a 4+ @west
  b 4+ @east
  c 4+ @far`, here, "b"},
		{"within km: enough", `
web [{"nearest":{"by":"distance","within":"223km"}}]
  a 4+ @west
  b 4+ @east
  c 4+ @far`, here, "a b"},
		{"within %: not enough", `
web [{"nearest":{"by":"distance","within":"19.9%"}}]
  a 4+ @west
  b 4+ @east
  c 4+ @far`, here, "b"},
		{"within %: enough", `
web [{"nearest":{"by":"distance","within":"20.1%"}}]
  a 4+ @west
  b 4+ @east
  c 4+ @far`, here, "a b"},
		{"within goes by distance as biased", `
web [{"nearest":{"by":"distance","within":"20.1%"}}]
  a 4+ @west bias-1
  b 4+ @east`, here, "b"},

		// Who is nowhere.
		{"a member without a site, or with one of no place, ranks last", `
web [{"nearest":{"by":"distance","within":"50000km"}}]
  a 4+
  b 4+ @nowhere
  c 4+ @far`, here, "c"},
		{"members who are all nowhere: passed over", `
web [{"nearest":{"by":"distance"}}]
  a 4+
  b 4+ @nowhere`, here, "a b"},
		{"only those left count: passed over", `
web ["up",{"nearest":{"by":"distance"}}]
  a 4+
  b 4+
  c 4- @east`, here, "a b"},
		{"a client who is nowhere: passed over", `
web [{"nearest":{"by":"distance"}}]
  a 4+ @west
  b 4+ @east`, unknown, "a b"},
		{"a client who is nowhere: passed over, by rtt too", `
web [{"nearest":{"by":"rtt"}}]
  a 4+ @west
  b 4+ @east
rtt web east 5 9`, unknown, "a b"},

		// Round-trip times.
		{"rtt: as the checkers nearest to the client measure", `
web [{"nearest":{"by":"rtt"}}]
  a 4+ @west
  b 4+ @east
rtt web far 80 5
rtt web east 7 9
rtt web west 5 80`, here, "a"},
		{"rtt: where members stand does not matter", `
web [{"nearest":{"by":"rtt"}}]
  a 4+
  b 4+ @east
rtt web east 7 9`, here, "a"},
		{"rtt within ms: not enough", `
web [{"nearest":{"by":"rtt","within":"1900us"}}]
  a 4+ @west
  b 4+ @east
rtt web east 7 9`, here, "a"},
		{"rtt within ms: enough", `
web [{"nearest":{"by":"rtt","within":"2ms"}}]
  a 4+ @west
  b 4+ @east
rtt web east 7 9`, here, "a b"},
		{"rtt within %", `
web [{"nearest":{"by":"rtt","within":"30%"}}]
  a 4+
  b 4+
  c 4+
rtt web east 10 13 13.1`, here, "a b"},
		{"latency is within 10ms", `
web ["up",{"nearest":{"by":"rtt","within":"10ms"}}]
  a 4+
  b 4+
  c 4+
rtt web east 10 20 20.1`, here, "a b"},
		{"rtt: who was not measured is estimated, from the checkers' site: 100 km a ms", `
web [{"nearest":{"by":"rtt"}}]
  a 4+ @far
  b 4+ @east
rtt web east - 33.4`, here, "a"},
		{"rtt: the estimate is too long", `
web [{"nearest":{"by":"rtt"}}]
  a 4+ @far
  b 4+ @east
rtt web east - 33.3`, here, "b"},
		{"rtt: who was not measured and is nowhere ranks last", `
web [{"nearest":{"by":"rtt","within":"1m"}}]
  a 4+
  b 4+
rtt web east - 1000`, here, "b"},
		{"rtt: fewer were measured than there are", `
web [{"nearest":{"by":"rtt"}}]
  a 4+
  b 4+ @east
rtt web east 1`, here, "b"},
		{"rtt: nobody measured anything: from the client", `
web [{"nearest":{"by":"rtt","within":"2ms"}}]
  a 4+ @west
  b 4+ @east
  c 4+`, here, "b"},
		{"rtt: nobody measured anything, within what 222 km make", `
web [{"nearest":{"by":"rtt","within":"2300us"}}]
  a 4+ @west
  b 4+ @east
  c 4+`, here, "a b"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := outcomesFor(world(t, test.pools+equator), client(t, test.client)); got != test.want {
				t.Errorf("%s\n%s gets %s, want %s", test.pools, test.client, got, test.want)
			}
		})
	}
}

// Of newer round-trip times a decision sees all.
func TestSetRTTs(t *testing.T) {
	w := world(t, `
web [{"nearest":{"by":"rtt"}}]
  a 4+
  b 4+
rtt web east 7 9`+equator)
	c := client(t, "192.0.2.53 198.51.100.0/24")
	for _, test := range []struct {
		ms   []float64
		want string
	}{
		{nil, "a"},
		{[]float64{9, 7}, "b"},
		{[]float64{math.NaN(), 7}, "b"},
		{[]float64{}, "a b"}, // both are nowhere
	} {
		if test.ms != nil {
			w.Pools[0].SetRTTs([]RTTs{{Site: "east", At: geo.PointAt(0, 10), MS: test.ms}})
		}
		if got := outcomesFor(w, c); got != test.want {
			t.Errorf("%v: %s, want %s", test.ms, got, test.want)
		}
	}
}

// The scope of nearest is the stretch of one place.
func TestNearestScope(t *testing.T) {
	w := world(t, `
web [{"nearest":{"by":"distance"}}]
  a 4+ @west
  b 4+ @east
site west 0 -12
site east 0 10
net 198.51.100.0/26 FR at=0,0
net 198.51.100.64/26 DE at=0,0
net 198.51.100.128/25 DE
net 198.51.101.0/24 DE`)
	for text, want := range map[string]uint8{
		"192.0.2.53 198.51.100.0/32":   25, // one place, whatever the country
		"192.0.2.53 198.51.100.64/32":  25,
		"192.0.2.53 198.51.100.128/32": 25, // the middle of the country
		"192.0.2.53 198.51.101.0/32":   24,
		"192.0.2.53 198.51.102.0/32":   23, // nobody knows
	} {
		if d := decisionFor(w, client(t, text)); d.Scope != want {
			t.Errorf("%s: scope %d, want %d", text, d.Scope, want)
		}
	}
}

const nearestWorld = `
web geoproximity
  a 4+ @fra
  b 4+ @nyc
  c 4+ @tyo
  d 4+
site fra 50 8
site nyc 41 -74
site tyo 36 140
rtt web fra 10 90 - -
rtt web nyc 95 8 - -
net 198.51.100.0/24 at=48.8,2.3
net 203.0.113.0/24 at=42.4,-71
`
