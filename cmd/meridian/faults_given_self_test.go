//go:build faults

package main

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestFaultGiven holds the oracle to what it is to blame and what not.
func TestFaultGiven(t *testing.T) {
	start := time.Now()
	at := func(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }
	one, two := netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.1.0.2")
	// Address two must be gone from 10 s on, and be back from 20 s on.
	type asked struct {
		sent   float64 // and answered a tenth of a second later
		answer string
		ttl    uint32
		open   bool
		want   string // which count goes up
	}
	cases := []struct {
		name   string
		open   bool // all are down from 5 s on
		before func(*given)
		asked  []asked
	}{
		{"at rest", false, func(*given) {}, []asked{
			{1, "both", 30, false, ""}, {1, "one", 30, false, "left"}, {1, "none", 30, false, "left"},
			{1, "SERVFAIL", 30, false, "other"}, {1, "foreign", 30, false, "other"}, {1, "lost", 30, false, "lost"},
			{1, "both", 30, true, "other"}, {1, "both", 10, true, "other"},
		}},
		{"it leaves", false, func(g *given) { g.leaves([]netip.Addr{two}, at(10)) }, []asked{
			{9.9, "both", 30, false, ""}, {9.9, "one", 30, false, ""}, {9.9, "none", 30, false, "left"},
			{10.1, "one", 30, false, ""}, {10.1, "both", 30, false, "overdue"},
		}},
		{"it returns", false, func(g *given) { g.returns([]netip.Addr{two}, at(20)) }, []asked{
			{19.9, "one", 30, false, ""}, {20.1, "both", 30, false, ""}, {20.1, "one", 30, false, "left"},
		}},
		{"all are down", true, func(*given) {}, []asked{
			{4, "both", 30, false, ""}, {4, "both", 10, true, ""}, {6, "both", 10, true, ""},
			{6, "both", 30, false, "other"}, {6, "both", 30, true, "other"}, {6, "one", 10, true, "left"},
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for i, a := range c.asked {
				g := newGiven()
				g.expect("n.test.", 1, one, two)
				g.fate(one).from, g.fate(two).from = at(0), at(0)
				if c.before(g); c.open {
					g.opens("n.test.", at(5))
				}
				if a.answer == "lost" {
					g.unanswered(0, "n.test. A", errors.New("time is up"))
				} else {
					g.answered(0, "n.test. A", at(a.sent), at(a.sent+0.1), replyOf(a.answer, a.ttl, a.open))
				}
				n := g.result()
				got := map[string]int{"lost": n.lost, "left": n.left, "overdue": n.overdue, "other": n.other}
				if n.queries != 1 || a.want != "" && got[a.want] == 0 || a.want == "" && n.bad() > 0 {
					t.Errorf("%d. %s at %gs: %v, expected %q", i, a.answer, a.sent, n, a.want)
				}
			}
		})
	}
}

// replyOf makes replies of the oracle's test.
func replyOf(answer string, ttl uint32, open bool) *dns.Msg {
	r := new(dns.Msg)
	r.SetEdns0(1232, false)
	if open {
		r.IsEdns0().Option = append(r.IsEdns0().Option, &dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeOther})
	}
	if answer == "SERVFAIL" {
		r.Rcode = dns.RcodeServerFailure
	}
	for _, last := range map[string][]byte{"both": {1, 2}, "one": {1}, "foreign": {1, 2, 3}}[answer] {
		r.Answer = append(r.Answer, &dns.A{Hdr: dns.RR_Header{Rrtype: dns.TypeA, Ttl: ttl}, A: []byte{10, 1, 0, last}})
	}
	return r
}

// TestFaultGivenSights holds it to what it has seen of addresses.
func TestFaultGivenSights(t *testing.T) {
	now := time.Now()
	one, two := netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.1.0.2")
	g := newGiven()
	g.expect("n.test.", 2, one, two)
	for i, answer := range []string{"both", "one", "both", "both", "one"} {
		at := now.Add(time.Duration(i) * time.Second)
		g.answered(0, "n.test. A", at, at, replyOf(answer, 30, false))
		if i == 1 {
			g.answered(1, "n.test. A", at, at, replyOf("both", 30, false))
		}
	}
	if n := g.changes([]netip.Addr{one}); n != 0 {
		t.Errorf("the one changed %d times, expected never", n)
	}
	if n := g.changes([]netip.Addr{two}); n != 3 {
		t.Errorf("the other changed %d times, expected 3", n)
	}
	if last := g.last([]netip.Addr{two}); !last.Equal(now.Add(3 * time.Second)) {
		t.Errorf("the other was last given %v after the start, expected 3s", last.Sub(now))
	}
	if g.everywhere([]netip.Addr{two}, true) || g.everywhere([]netip.Addr{two}, false) || !g.everywhere([]netip.Addr{one}, true) {
		t.Error("the other is said to be given, or not to be, by both servers, or the one not to be")
	}
}
