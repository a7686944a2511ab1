package spec

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestError(t *testing.T) {
	tests := []struct {
		err  Error
		want string
	}{
		{Error{Msg: "wrong"}, "wrong"},
		{Error{Field: "steps[1].take.n", Msg: "wrong"}, "steps[1].take.n: wrong"},
		{Error{Line: 3, Msg: "wrong"}, "line 3: wrong"},
		{Error{Field: "ns[0]", Line: 3, Msg: "wrong"}, "line 3: ns[0]: wrong"},
	}
	for _, test := range tests {
		if got := test.err.Error(); got != test.want {
			t.Errorf("%#v prints %q, want %q", test.err, got, test.want)
		}
	}
	var e *Error
	if err := error(Errorf("ttl", "%d is out of range", 7)); !errors.As(err, &e) || e.Field != "ttl" || e.Msg != "7 is out of range" {
		t.Errorf("Errorf makes %#v", err)
	}
}

func TestDuration(t *testing.T) {
	tests := []struct {
		text, want string // what it is written as again, or the error
	}{
		{"2s", "2s"},
		{"500ms", "500ms"},
		{"1500ms", "1.5s"},
		{"10m", "10m0s"},
		{"1h30m", "1h30m0s"},
		{"0", "0s"},
		{"-1s", "-1s"}, // the fields say which range is theirs
		{"2", `"2" is not a duration such as "2s" or "500ms"`},
		{"2 s", `"2 s" is not a duration such as "2s" or "500ms"`},
		{"", `"" is not a duration such as "2s" or "500ms"`},
		{"1d", `"1d" is not a duration such as "2s" or "500ms"`},
	}
	for _, test := range tests {
		d := Duration(7)
		got := fmt.Sprint(d.UnmarshalText([]byte(test.text)))
		if got == "<nil>" {
			text, _ := d.MarshalText()
			got = string(text)
			if back, err := time.ParseDuration(got); err != nil || back != time.Duration(d) {
				t.Errorf("%q is written %q, which reads as %v, %v", test.text, got, back, err)
			}
		} else if d != 7 {
			t.Errorf("%q is an error and yet sets %v", test.text, d)
		}
		if got != test.want {
			t.Errorf("%q: %s, want %s", test.text, got, test.want)
		}
	}
}

func TestShare(t *testing.T) {
	tests := []struct {
		text, want string // what it is written as again, or the error
		share      Share
	}{
		{"0%", "0%", 0},
		{"5%", "5%", 0.05},
		{"2.5%", "2.5%", 0.025},
		{"0.001%", "0.001%", 0.00001},
		{"100%", "100%", 1},
		{"5", `"5" is not a share from "0%" to "100%"`, 0},
		{"0.05", `"0.05" is not a share from "0%" to "100%"`, 0},
		{"%", `"%" is not a share from "0%" to "100%"`, 0},
		{"", `"" is not a share from "0%" to "100%"`, 0},
		{"5 %", `"5 %" is not a share from "0%" to "100%"`, 0},
		{"five%", `"five%" is not a share from "0%" to "100%"`, 0},
		{"5%%", `"5%%" is not a share from "0%" to "100%"`, 0},
		{"-1%", `"-1%" is not a share from "0%" to "100%"`, 0},
		{"100.1%", `"100.1%" is not a share from "0%" to "100%"`, 0},
		{"NaN%", `"NaN%" is not a share from "0%" to "100%"`, 0},
		{"Inf%", `"Inf%" is not a share from "0%" to "100%"`, 0},
	}
	for _, test := range tests {
		var s Share
		got := fmt.Sprint(s.UnmarshalText([]byte(test.text)))
		if got == "<nil>" {
			text, _ := s.MarshalText()
			got = string(text)
		}
		if got != test.want || s != test.share {
			t.Errorf("%q: %s (%v), want %s (%v)", test.text, got, s, test.want, test.share)
		}
	}
}

// What an operator may reasonably write comes back as it was written: the division by a hundred
// leaves no tail of digits.
func TestShareRoundTrip(t *testing.T) {
	for i := range 10001 {
		want := fmt.Sprintf("%g%%", float64(i)/100)
		var s Share
		if err := s.UnmarshalText([]byte(want)); err != nil {
			t.Fatalf("%s: %v", want, err)
		}
		if got, _ := s.MarshalText(); string(got) != want {
			t.Fatalf("%s is written %s", want, got)
		}
	}
}

func TestSuggest(t *testing.T) {
	steps := []string{"up", "tier", "weighted", "take"}
	tests := []struct {
		word  string
		known []string
		want  string
	}{
		{"weigthed", steps, ` (did you mean "weighted"?)`}, // neighbours swapped
		{"wieghted", steps, ` (did you mean "weighted"?)`},
		{"weighed", steps, ` (did you mean "weighted"?)`},   // one missing
		{"weigghted", steps, ` (did you mean "weighted"?)`}, // one too many
		{"Weighted", steps, ` (did you mean "weighted"?)`},
		{"TAKE", steps, ` (did you mean "take"?)`},
		{"upp", steps, ` (did you mean "up"?)`},
		{"tire", steps, ` (did you mean "tier"?)`},
		{"geo", steps, ""},
		{"nearest", steps, ""},
		{"", steps, ""},
		{"", []string{"a"}, ""},
		{"x", []string{"a"}, ""}, // shares no letter with it
		{"xy", []string{"ab"}, ""},
		{"A", []string{"a"}, ` (did you mean "a"?)`},
		{"ttl", nil, ""},
		{"bat", []string{"cat", "rat"}, ` (did you mean "cat"?)`}, // the first of equals
		{"chat", []string{"cat", "chap", "chats"}, ` (did you mean "cat"?)`},
		{"rat", []string{"cat", "rat"}, ` (did you mean "rat"?)`},
	}
	for _, test := range tests {
		if got := Suggest(test.word, test.known); got != test.want {
			t.Errorf("Suggest(%q, %q) = %q, want %q", test.word, test.known, got, test.want)
		}
	}
}

// A word as long as a value may be is not compared letter by letter.
func TestSuggestLongWord(t *testing.T) {
	word := strings.Repeat("x", 1<<20)
	allocs := testing.AllocsPerRun(1, func() {
		if got := Suggest(word, []string{"up", "tier"}); got != "" {
			t.Errorf("suggests %s", got)
		}
	})
	if allocs > 10 {
		t.Errorf("Suggest allocates %v times", allocs)
	}
}

func TestEditDistance(t *testing.T) {
	tests := []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"", "abc", 3},
		{"abc", "", 3},
		{"abc", "abc", 0},
		{"abc", "abd", 1},
		{"abc", "acb", 1}, // swapped
		{"abc", "ab", 1},
		{"abc", "xabc", 1},
		{"abcd", "badc", 2},
		{"ca", "abc", 3}, // no place is edited twice
		{"kitten", "sitting", 3},
	}
	for _, test := range tests {
		if got := editDistance(test.a, test.b); got != test.want {
			t.Errorf("editDistance(%q, %q) = %d, want %d", test.a, test.b, got, test.want)
		}
		if got := editDistance(test.b, test.a); got != test.want {
			t.Errorf("editDistance(%q, %q) = %d, want %d", test.b, test.a, got, test.want)
		}
	}
}
