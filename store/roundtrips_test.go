package store

import (
	"fmt"
	"testing"
	"time"

	"meridian/health"
)

// Round-trip times are smoothed, and written where one has moved by a tenth, at most every 30 s.
func TestRTTs(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	r := reporting(map[string]string{
		"check/http": `{"http":{}}`, "pool/p/policy": `{"check":"http"}`, "pool/p/member/m": "192.0.2.1", "pool/p/member/n": "192.0.2.2",
	}, &now)
	var measured roundTrips
	var said map[string]string
	measure := func(ms float64, addr string) {
		measured.add(health.Report{TargetID: targetAt(addr), RTT: time.Duration(ms * 1e6)})
	}
	expect := func(when string, want string) {
		t.Helper()
		list, ok := r.RTTs(&measured, said)
		if ok != (fmt.Sprint(list) != fmt.Sprint(said)) || list["p"] != want {
			t.Errorf("%s: %v, changed %v, expected %s", when, list, ok, want)
		}
		said = list
	}
	measure(10, first)
	measure(5, "192.0.2.9") // of no target
	expect("at the start", "")
	now = now.Add(rttAtOnce)
	expect("soon", `{"m":{"192.0.2.1":10}}`)
	measure(18, first)
	now = now.Add(rttLook)
	expect("too early", `{"m":{"192.0.2.1":10}}`)
	now = now.Add(rttAtLeast)
	expect("moved by more than a tenth", `{"m":{"192.0.2.1":12}}`)
	measure(16, first)
	now = now.Add(rttAtLeast)
	expect("by less", `{"m":{"192.0.2.1":12}}`)
	measure(14.2, first)
	now = now.Add(rttLook)
	expect("by more, once that is added", `{"m":{"192.0.2.1":13.3}}`)
	measure(20, second)
	now = now.Add(rttAtLeast)
	expect("another", `{"m":{"192.0.2.1":13.3},"n":{"192.0.2.2":20}}`)
	r.Apply(ofCluster(2, "pool/p/member/m", ""))
	now = now.Add(rttAtLeast)
	expect("one has gone", `{"n":{"192.0.2.2":20}}`)
	r.Apply(ofCluster(3, "pool/p/member/n", "", "pool/p/policy", ""))
	expect("the pool has", "")
	if len(measured.ms) != 0 || len(r.rttsTold) != 0 {
		t.Errorf("%v and %v are kept", measured.ms, r.rttsTold)
	}
}
