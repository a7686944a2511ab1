package health

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// Each look is a letter, a second after the one before: U up, D down, ? unknown, and R down taken
// back, then up. Shown is the same, with ? for held.
func TestHold(t *testing.T) {
	tests := []struct {
		name        string
		hold        time.Duration
		seen, shown string
	}{
		{"new and up", 5 * time.Second, "?UUU", "?UUU"},
		{"new and down, then up", 3 * time.Second, "?DUUUUU", "?D???UU"},
		{"down at once, held on return", 3 * time.Second, "UUDDUUUUU", "UUDD???UU"},
		{"no hold time", 0, "UDUDDU", "UDUDDU"},
		{"down while it is held begins it anew", 3 * time.Second, "UDUUDUUUUU", "UD??D???UU"},
		{"unknown while it is held begins it anew", 3 * time.Second, "UDUU?UUUUU", "UD??????UU"},
		{"flapping faster than the hold time", 3 * time.Second, "UDUDUDUUDUDU", "UD?D?D??D?D?"},
		{"the second return is twice the hold time after the first", 3 * time.Second,
			"UDUUUUDUUUUUU", "UD???UD????UU"},
		{"taken back", 3 * time.Second, "UUDRUU", "UUDUUU"},
		{"taken back while it was held before", 3 * time.Second, "UDUDRUUUU", "UD?D???UU"},
		{"taken back, then down in earnest", 3 * time.Second, "UDRUDUUUU", "UDUUD???U"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var h Hold
			var got strings.Builder
			for i, look := range test.seen {
				if look == 'R' {
					h.Recall()
					look = 'U'
				}
				now := epoch.Add(time.Duration(i) * time.Second)
				shown, until := h.Fold(State(strings.IndexRune("?UD", look)), test.hold, now)
				got.WriteByte("?UD"[shown])
				if held := look == 'U' && shown != Up; held != until.After(now) {
					t.Errorf("after %s: shown as %v until %v", test.seen[:i+1], shown, until.Sub(epoch))
				}
			}
			if got.String() != test.shown {
				t.Errorf("%s: got %s, want %s", test.seen, got.String(), test.shown)
			}
		})
	}
}

// A backend that flaps at 1 Hz, in each of the two orders, is out after its first second and stays so.
func TestHoldFlapping(t *testing.T) {
	for _, first := range []State{Up, Down} {
		var h Hold
		changes, shown := 0, Up
		h.Fold(Up, time.Minute, epoch)
		for half := range 2 * 3600 {
			s := first
			if half%2 == 1 {
				s ^= Up ^ Down
			}
			now, _ := h.Fold(s, time.Minute, epoch.Add(time.Duration(half)*500*time.Millisecond))
			if (now == Up) != (shown == Up) {
				changes++
			}
			shown = now
		}
		if changes != 1 {
			t.Errorf("%d changes in an hour, want 1", changes)
		}
	}
}

// compareHolds holds a Hold against all that was seen, read anew each time, and counts its changes.
func compareHolds(t *testing.T, choose func(n int) int, steps int) {
	type seen struct {
		at           time.Time
		state, shown State
	}
	var h Hold
	var list []seen
	var changes []time.Time
	hold := time.Duration(choose(10)) * time.Second
	now := epoch
	var until time.Time
	for range steps {
		s := []State{Up, Up, Up, Down, Down, Unknown}[choose(6)]
		if until.After(now) && choose(3) == 0 {
			now = until
		} else {
			now = now.Add(time.Duration(choose(50)) * 100 * time.Millisecond)
		}
		var shown State
		shown, until = h.Fold(s, hold, now)

		// All over again: whether it is out, since when it is seen up, when it last returned.
		out, up, wasUp := false, now, false
		var returned time.Time
		for _, x := range list {
			switch {
			case x.state == Down:
				out = true
			case x.shown == Up && out:
				out, returned = false, x.at
			}
			if x.state == Up && !wasUp {
				up = x.at
			}
			wasUp = x.state == Up
		}
		if !wasUp {
			up = now
		}
		want := s
		if s == Up && out && (now.Sub(up) < hold || !returned.IsZero() && now.Sub(returned) < 2*hold) {
			want = Unknown
		}
		if shown != want {
			t.Fatalf("hold %v, at %v after %v: %v is shown as %v, want %v", hold, now.Sub(epoch), list, s, shown, want)
		}
		if len(list) > 0 && (shown == Up) != (list[len(list)-1].shown == Up) && (out || s != Up) {
			changes = append(changes, now)
		}
		list = append(list, seen{now, s, shown})
	}
	// In a time shorter than n hold times it changes no more than n+1 times: it goes down at once after
	// a return that was due. Where the checks themselves come to Unknown that is no change of Hold's.
	unknown := false
	for _, x := range list {
		unknown = unknown || x.state == Unknown
	}
	for i := range changes {
		for j := i + 1; j < len(changes) && !unknown; j++ {
			if n := j - i + 1; changes[j].Sub(changes[i]) < time.Duration(n-2)*hold {
				t.Fatalf("hold %v: %d changes within %v", hold, n, changes[j].Sub(changes[i]))
			}
		}
	}
}

func TestHoldTwin(t *testing.T) {
	for seed := range uint64(3000) {
		compareHolds(t, rand.New(rand.NewPCG(seed, 9)).IntN, 60)
	}
}

func FuzzHold(f *testing.F) {
	f.Add([]byte("up, down, up, down, and some time between"))
	f.Fuzz(func(t *testing.T, choices []byte) { compareHolds(t, chooser(choices), min(100, len(choices)/4)) })
}
