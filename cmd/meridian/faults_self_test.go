//go:build faults

package main

import (
	"errors"
	"testing"
	"time"
)

// TestFaultOracle holds the oracle to what it is to blame and what not.
func TestFaultOracle(t *testing.T) {
	const q = "s.fault.test. TXT"
	start := time.Now()
	at := func(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }
	// One second is allowed. v1 is put from 10 s to 11 s, v2 from 20 s to 21 s; from 30 s on v3 is on its way.
	type asked struct {
		sent   float64 // and answered a tenth of a second later
		answer string  // "": none
		want   verdict
	}
	cases := []struct {
		name  string
		blind []span
		still []span
		asked []asked
	}{
		{"at rest", nil, nil, []asked{{1, "v0", right}, {15, "v1", right}, {25, "v2", right}}},
		{"early", nil, nil, []asked{{9.8, "v1", early}}},
		{"seen while it is put", nil, nil, []asked{{9.95, "v1", right}}},
		{"both while it is put", nil, nil, []asked{{10.5, "v0", right}, {10.6, "v1", right}}},
		{"allowed", nil, nil, []asked{{11.9, "v0", right}}},
		{"stale", nil, nil, []asked{{12.1, "v0", stale}}},
		{"backwards", nil, nil, []asked{{10.5, "v1", right}, {10.6, "v0", backwards}}},
		{"never", nil, nil, []asked{{1, "v9", never}, {1, "NODATA", never}}},
		{"rcodes", nil, nil, []asked{{1, "SERVFAIL", servfail}, {1, "NXDOMAIN", nxdomain}, {1, "REFUSED", refused}}},
		{"not known to be made", nil, nil, []asked{{50, "v2", right}, {51, "v3", right}, {52, "v2", backwards}}},
		{"lost", nil, nil, []asked{{1, "", lost}}},
		{"stopped", nil, []span{{from: at(0), to: at(3)}}, []asked{{2, "", right}, {4, "", lost}}},
		{"stopped for now", nil, []span{{from: at(3)}}, []asked{{1, "", lost}, {99, "", right}}},
		{"cut off", []span{{from: at(10), to: at(18), heal: 3 * time.Second}}, nil,
			[]asked{{15, "v0", right}, {20.9, "v0", right}, {21.1, "v0", stale}}},
		{"cut off just after", []span{{from: at(11.5), to: at(15)}}, nil, []asked{{14.9, "v0", right}, {15.1, "v0", stale}}},
		{"cut off too late", []span{{from: at(12.5)}}, nil, []asked{{13, "v0", stale}}},
		{"cut off for now", []span{{from: at(10)}}, nil, []asked{{99, "v0", right}, {99, "v1", right}, {99, "v0", backwards}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			o := newOracle(time.Second)
			o.answers[q] = &history{versions: []truth{{answer: "v0"}, {"v1", at(10), at(11)}, {"v2", at(20), at(21)}, {"v3", at(30), time.Time{}}}}
			o.blind, o.still = c.blind, c.still
			for i, a := range c.asked {
				before := o.result()
				if a.answer == "" {
					o.unanswered(q, at(a.sent), at(a.sent+0.1), errors.New("time is up"))
				} else {
					o.answered(q, o.floor(q), at(a.sent), at(a.sent+0.1), a.answer)
				}
				after := o.result()
				for _, v := range verdicts {
					want := 0
					if v == a.want {
						want = 1
					}
					if got := after.wrong[v] - before.wrong[v]; got != want {
						t.Errorf("%d. %q at %gs: %d more %s, expected %d", i, a.answer, a.sent, got, v, want)
					}
				}
			}
		})
	}
}

// TestFaultNoticed does to a server what the oracle is not told of: each must be noticed, for what it is.
func TestFaultNoticed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.up()
	r.changesFor(time.Second)
	if c := r.oracle.result(); c.bad() > 0 || c.queries == 0 {
		t.Fatalf("at rest: %v\n%v", c, c.examples)
	}
	noticed := func(what string, v verdict, do func()) {
		t.Helper()
		before := r.oracle.result().wrong[v]
		do()
		took := r.await(what+" is noticed as "+string(v), func() bool { return r.oracle.result().wrong[v] > before })
		r.say("%s: noticed as %s after %v", what, v, took.Round(time.Millisecond))
	}
	put := func(key, value string) func() { return func() { r.put(map[string]string{key: value}) } }
	s0, c0 := r.records[0], r.record("c0")
	noticed("a change behind the back", never, put(s0.key, `"s0 v1000"`))
	noticed("an old value", backwards, func() {
		r.change(s0)
		r.await("the new one was seen", func() bool { return r.oracle.floor(s0.question) == s0.version })
		put(s0.key, s0.value(s0.version-1))()
	})
	noticed("a name deleted", nxdomain, func() {
		if c0.gone {
			r.change(c0)
		}
		r.deleteAll("/gslb/zone/fault.test/name/c0/")
	})
	noticed("a value that was never good", servfail, put(c0.key, "no quotes \""))
	noticed("a server that stands still", lost, func() { r.server.pause(); r.letPass(lostAfter + time.Second); r.server.resume() })
	noticed("a change that is not made", stale, func() {
		s1 := r.record("s1")
		r.oracle.change(s1.question, "TXT not made")()
	})
	noticed("a zone deleted", refused, func() { r.accept(r.deleteAll("/gslb/zone/fault.test/soa")) })
	r.t.Logf("figure: Noticed: as it must be, %v", r.oracle.result())
}
