package health

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"meridian/spec"
)

func TestRecoveryFaults(t *testing.T) {
	tests := []struct{ text, want string }{
		{`{}`, ""},
		{`{"recover":"0s","ramp":"0s"}`, ""},
		{`{"recover":"30s","ramp":"24h"}`, ""},
		{`{"recover":"-1s"}`, `recover: -1s is out of range, expected 0s to 24h`},
		{`{"recover":"24h1s"}`, `recover: 24h0m1s is out of range, expected 0s to 24h`},
		{`{"ramp":"-1ms"}`, `ramp: -1ms is out of range, expected 0s to 24h`},
		{`{"ramp":"25h"}`, `ramp: 25h0m0s is out of range, expected 0s to 24h`},
	}
	for _, test := range tests {
		var r Recovery
		if err := json.Unmarshal([]byte(test.text), &r, json.RejectUnknownMembers(true)); err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		switch err := r.Validate(); {
		case err == nil && test.want != "":
			t.Errorf("%s: no error, want %s", test.text, test.want)
		case err != nil && err.Error() != test.want:
			t.Errorf("%s:\n got %v\nwant %s", test.text, err, test.want)
		}
	}
}

func TestScale(t *testing.T) {
	ramp := Recovery{Ramp: spec.Duration(time.Minute)}
	tests := []struct {
		heaviest uint16
		want     int
	}{
		{0, 10000}, {1, 10000}, {6, 10000}, {7, 1000}, {65, 1000}, {66, 100}, {100, 100}, {655, 100}, {656, 10}, {6553, 10}, {6554, 1}, {65535, 1},
	}
	for _, test := range tests {
		got := ramp.Scale(test.heaviest)
		if got != test.want {
			t.Errorf("Scale(%d) = %d, want %d", test.heaviest, got, test.want)
		}
		if most := got * int(test.heaviest); most > 65535 || test.heaviest > 0 && most < 6500 {
			t.Errorf("the heaviest of %d is scaled to %d", test.heaviest, most)
		}
		if got := (&Recovery{}).Scale(test.heaviest); got != 1 {
			t.Errorf("Scale(%d) = %d without a ramp, want 1", test.heaviest, got)
		}
	}
}

func TestRamp(t *testing.T) {
	tests := []struct {
		full   uint16
		over   time.Duration
		at     time.Duration // since the start
		weight uint16
		next   time.Duration // since the start; -1: never
	}{
		{1000, 10 * time.Second, 0, 1, time.Second},
		{1000, 10 * time.Second, 999 * time.Millisecond, 1, time.Second},
		{1000, 10 * time.Second, time.Second, 100, 2 * time.Second},
		{1000, 10 * time.Second, 5700 * time.Millisecond, 500, 6 * time.Second},
		{1000, 10 * time.Second, 9 * time.Second, 900, 10 * time.Second},
		{1000, 10 * time.Second, 10 * time.Second, 1000, -1},
		{1000, 10 * time.Second, time.Hour, 1000, -1},
		{1000, 10 * time.Second, -time.Second, 1, time.Second}, // the clock was set back
		{1000, 2500 * time.Millisecond, 2 * time.Second, 800, 2500 * time.Millisecond},
		{1000, 100 * time.Microsecond, 0, 1, 100 * time.Microsecond},
		{65535, 24 * time.Hour, 12 * time.Hour, 32767, 12*time.Hour + time.Second},
		{3, 10 * time.Second, 3 * time.Second, 1, 4 * time.Second}, // never 0 on the way
		{1, 10 * time.Second, 3 * time.Second, 1, 4 * time.Second},
		{0, 10 * time.Second, 3 * time.Second, 0, 4 * time.Second}, // nor more than it is to be
		{1000, 0, 0, 1000, -1},
	}
	for _, test := range tests {
		var r Ramp
		r.Start(epoch)
		weight, next := r.Weight(test.full, test.over, epoch.Add(test.at))
		until := time.Duration(-1)
		if !next.IsZero() {
			until = next.Sub(epoch)
		}
		if weight != test.weight || until != test.next {
			t.Errorf("%d over %v, after %v: %d until %v, want %d until %v", test.full, test.over, test.at, weight, until, test.weight, test.next)
		}
	}
	var climbed Ramp
	if w, next := climbed.Weight(7, time.Minute, epoch); w != 7 || !next.IsZero() {
		t.Errorf("without a start: %d until %v, want 7 for ever", w, next)
	}
}

// Each line is what is seen of addresses 0 and 1 from that second on, and what is to be shown, with the weight.
func TestComeback(t *testing.T) {
	type line struct {
		sec         int
		seen, shown string
		weight      uint16
	}
	tests := []struct {
		name  string
		r     Recovery
		lines []line
	}{
		{"neither", Recovery{}, []line{{0, "UU", "UU", 4}, {1, "DD", "DD", 4}, {2, "UD", "UD", 4}}},
		{"new members do not climb", Recovery{Ramp: spec.Duration(10 * time.Second)}, []line{
			{0, "??", "??", 40000}, {1, "U?", "U?", 40000}, {2, "UU", "UU", 40000}}},
		{"back at once, by a ramp", Recovery{Ramp: spec.Duration(10 * time.Second)}, []line{
			{0, "UU", "UU", 40000}, {1, "DD", "DD", 40000}, {5, "UD", "UD", 1}, {10, "UU", "UU", 20000}, {14, "UU", "UU", 36000}, {15, "UU", "UU", 40000}}},
		{"one address of two is no return of the member", Recovery{Ramp: spec.Duration(10 * time.Second)}, []line{
			{0, "UU", "UU", 40000}, {1, "UD", "UD", 40000}, {2, "UU", "UU", 40000}}},
		{"held, then a ramp", Recovery{Recover: spec.Duration(5 * time.Second), Ramp: spec.Duration(10 * time.Second)}, []line{
			{0, "UU", "UU", 40000}, {1, "DD", "DD", 40000}, {2, "UD", "?D", 40000}, {4, "UU", "??", 40000},
			{7, "UU", "U?", 1}, {9, "UU", "UU", 8000}, {17, "UU", "UU", 40000}}},
		{"down on the way up begins anew", Recovery{Ramp: spec.Duration(10 * time.Second)}, []line{
			{0, "UU", "UU", 40000}, {1, "DD", "DD", 40000}, {2, "UU", "UU", 1}, {7, "UU", "UU", 20000}, {8, "DD", "DD", 24000}, {9, "UU", "UU", 1}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var c Comeback
			scale := test.r.Scale(4)
			for _, l := range test.lines {
				w, _ := c.Fold(word(l.seen).WithWeight(4), &test.r, scale, epoch.Add(time.Duration(l.sec)*time.Second))
				if want := word(l.shown).WithWeight(l.weight); w != want {
					t.Fatalf("second %d: up %02b down %02b weight %d, want %s weight %d", l.sec, w.Up(), w.Down(), w.Weight(), l.shown, l.weight)
				}
			}
		})
	}
}

// word is one with its addresses in states ?, U and D.
func word(states string) (w Word) {
	for i, s := range states {
		w = w.With(i, map[rune]State{'U': Up, 'D': Down}[s])
	}
	return w
}

// What was not to be believed leaves no trace: neither hold nor ramp, and a ramp on the way goes on.
func TestComebackRecall(t *testing.T) {
	r := Recovery{Recover: spec.Duration(2 * time.Second), Ramp: spec.Duration(10 * time.Second)}
	var c Comeback
	fold := func(sec int, seen string) Word {
		w, _ := c.Fold(word(seen).WithWeight(1), &r, 10000, epoch.Add(time.Duration(sec)*time.Second))
		return w
	}
	fold(0, "UU")
	fold(1, "DD")
	c.Recall(0)
	c.Recall(1)
	c.Recall(2) // an address that it does not know
	if w, want := fold(2, "UU"), word("UU").WithWeight(10000); w != want {
		t.Errorf("taken back: %x, want %x", uint64(w), uint64(want))
	}
	fold(3, "DD")
	fold(4, "UU")
	fold(6, "UU")
	fold(8, "DD")
	c.Recall(0)
	c.Recall(1)
	if w, want := fold(9, "UU"), word("UU").WithWeight(3000); w != want {
		t.Errorf("taken back on the way up: %x, want %x", uint64(w), uint64(want))
	}
}

// What Fold does not touch stays.
func TestComebackLeavesTheRest(t *testing.T) {
	var c Comeback
	w := word("UD").WithWeight(3).WithLoad(0.5).WithDrain(true, true)
	if got, _ := c.Fold(w, &Recovery{}, 1, epoch); got != w {
		t.Errorf("%x is made %x", uint64(w), uint64(got))
	}
}

// compareComebacks holds a Comeback that is folded when it is due against one that is folded all the
// time: a caller that goes by next, which is never more than a second off during a ramp, misses nothing.
func compareComebacks(t *testing.T, choose func(n int) int, steps int) {
	r := Recovery{Recover: spec.Duration(time.Duration(choose(8)) * 700 * time.Millisecond), Ramp: spec.Duration(time.Duration(choose(8)) * 1300 * time.Millisecond)}
	full := uint16([]int{0, 1, 10, 65535}[choose(4)])
	scale := r.Scale(full)
	var due, often Comeback
	var last Word
	var next time.Time
	seen := word("UU?").WithWeight(full)
	changed := true
	now := epoch
	for range steps {
		if choose(8) == 0 {
			changed = true
			seen = seen.With(choose(3), State(choose(3)))
		}
		want, _ := often.Fold(seen, &r, scale, now)
		if changed || !next.IsZero() && !now.Before(next) {
			last, next = due.Fold(seen, &r, scale, now)
			changed = false
		}
		if last != want {
			t.Fatalf("%+v, weight %d, after %v: %x, want %x", r, full, now.Sub(epoch), uint64(last), uint64(want))
		}
		if w := last.Weight(); w > full*uint16(scale) || w == 0 && full > 0 {
			t.Fatalf("%+v: weight %d of %d scaled by %d", r, w, full, scale)
		}
		if up := last.Up(); up&^seen.Up() != 0 {
			t.Fatalf("%+v: %03b are shown as up, %03b are", r, up, seen.Up())
		}
		if last.Down() != seen.Down() {
			t.Fatalf("%+v: %03b are shown as down, %03b are", r, last.Down(), seen.Down())
		}
		if !next.IsZero() && !next.After(now) {
			t.Fatalf("%+v: next is %v from now", r, next.Sub(now))
		}
		now = now.Add(100 * time.Millisecond)
	}
}

func TestComebackWhenDue(t *testing.T) {
	for seed := range uint64(500) {
		compareComebacks(t, rand.New(rand.NewPCG(seed, 10)).IntN, 300)
	}
}

func FuzzComeback(f *testing.F) {
	f.Add([]byte("addresses of a member go up and down"))
	f.Fuzz(func(t *testing.T, choices []byte) { compareComebacks(t, chooser(choices), min(300, len(choices)/2)) })
}
