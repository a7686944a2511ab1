package health

import (
	"fmt"
	"strings"
	"testing"
)

func TestWord(t *testing.T) {
	var w Word
	w = w.With(0, Up).With(15, Down).With(3, Down).With(3, Up).With(4, Up).With(4, Unknown)
	if got, want := w.Up(), uint16(1<<0|1<<3); got != want {
		t.Errorf("Up() = %016b, want %016b", got, want)
	}
	if got, want := w.Down(), uint16(1<<15); got != want {
		t.Errorf("Down() = %016b, want %016b", got, want)
	}
	if got, want := w.Unknown(), uint16(0xffff&^(1<<0|1<<3|1<<15)); got != want {
		t.Errorf("Unknown() = %016b, want %016b", got, want)
	}
	want := map[int]State{0: Up, 3: Up, 15: Down}
	for i := range MaxAddrs {
		if got := w.State(i); got != want[i] {
			t.Errorf("State(%d) = %v, want %v", i, got, want[i])
		}
	}
}

// With touches its own address alone, and none of the bits that are free.
func TestWordWithLeavesTheRest(t *testing.T) {
	for _, before := range []Word{0, ^Word(0)} {
		for i := range MaxAddrs {
			own := Word(1)<<i | Word(1)<<(i+MaxAddrs)
			for _, s := range []State{Unknown, Up, Down} {
				after := before.With(i, s)
				if after&^own != before&^own {
					t.Errorf("%x.With(%d, %v) = %x changes other bits", uint64(before), i, s, uint64(after))
				}
				if got := after.State(i); got != s {
					t.Errorf("%x.With(%d, %v).State(%d) = %v", uint64(before), i, s, i, got)
				}
			}
		}
	}
}

func TestStateString(t *testing.T) {
	if got, want := fmt.Sprint(Unknown, Up, Down, State(7)), "unknown up down State(7)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Each look is a letter: s a success, f a failure. After it: ? unknown, U up, D down.
func TestCounter(t *testing.T) {
	tests := []struct {
		name       string
		rise, fall int
		looks      string
		want       string
	}{
		{"new, good", 2, 3, "ssss", "?UUU"},
		{"new, bad", 2, 3, "ffff", "??DD"},
		{"new, one of each settles nothing", 2, 3, "sfsf", "????"},
		{"new, failures need not be in a row", 2, 3, "sfsfsf", "?????D"},
		{"new, up in spite of early failures", 2, 3, "ffss", "???U"},
		{"new, an early failure is cleared by going up", 2, 3, "ffssff", "???UUU"},
		{"up, failures in a row", 2, 3, "ssfff", "?UUUD"},
		{"up, one success between does not clear", 2, 3, "ssffsf", "?UUUUD"},
		{"up, rise successes in a row clear", 2, 3, "ssffssff", "?UUUUUUU"},
		{"up, cleared, then fall again", 2, 3, "ssffssfff", "?UUUUUUUD"},
		{"flapping leads down", 2, 3, "ssfsfsf", "?UUUUUD"},
		{"flapping stays down", 2, 3, "ssfsfsfsfsfs", "?UUUUUDDDDDD"},
		{"down, rise in a row", 2, 3, "fffss", "??DDU"},
		{"down, successes not in a row", 3, 1, "fssfssfsss", "DDDDDDDDDU"},
		{"back up begins with a clean count", 2, 3, "fffssff", "??DDUUU"},
		{"rise 1 clears at each success", 1, 2, "sfsfsf", "UUUUUU"},
		{"fall 1", 2, 1, "ssf", "?UD"},
		{"rise 1, fall 1 follows each look", 1, 1, "sfsf", "UDUD"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var c Counter
			var got strings.Builder
			for _, look := range test.looks {
				before := c.State
				changed := c.Add(look == 's', test.rise, test.fall)
				if changed != (c.State != before) {
					t.Errorf("after %q: Add says changed = %v, from %v to %v", got.String(), changed, before, c.State)
				}
				got.WriteByte("?UD"[c.State])
			}
			if got.String() != test.want {
				t.Errorf("%s: got %s, want %s", test.looks, got.String(), test.want)
			}
		})
	}
}

// A state that was not counted here (kept from before) is left as any other.
func TestCounterFromState(t *testing.T) {
	up := Counter{State: Up}
	if up.Add(false, 2, 2) || !up.Add(false, 2, 2) || up.State != Down {
		t.Errorf("after two failures of fall 2: %v", up.State)
	}
	down := Counter{State: Down}
	if down.Add(true, 2, 2) || !down.Add(true, 2, 2) || down.State != Up {
		t.Errorf("after two successes of rise 2: %v", down.State)
	}
}

func TestCell(t *testing.T) {
	var c Cell
	w := Word(0).With(2, Up)
	c.Store(w)
	if got := c.Load(); got != w {
		t.Errorf("Load() = %x, want %x", uint64(got), uint64(w))
	}
}
