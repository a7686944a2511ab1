// Package spec holds what every value that an operator writes has in common: an error that names
// its field, durations and shares as text, and the suggestion for a misspelt word.
package spec

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Error is a fault in a value an operator wrote.
type Error struct {
	Field string // as a person would write it: "steps[1].take.n"; "" for the value as a whole
	Line  int    // of the value, from 1; 0 where the value has one line or the line is not known
	Msg   string // what is wrong, what was expected
}

func (e *Error) Error() string {
	text := e.Msg
	if e.Field != "" {
		text = e.Field + ": " + text
	}
	if e.Line > 0 {
		text = fmt.Sprintf("line %d: %s", e.Line, text)
	}
	return text
}

// Errorf makes an Error of a field.
func Errorf(field, format string, args ...any) *Error {
	return &Error{Field: field, Msg: fmt.Sprintf(format, args...)}
}

// Duration is a time.Duration written as text: "2s", "500ms", "10m".
type Duration time.Duration

func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf(`%q is not a duration such as "2s" or "500ms"`, text)
	}
	*d = Duration(v)
	return nil
}

// Share is a part of the whole, 0 to 1, written in percent: "5%".
type Share float64

func (s Share) MarshalText() ([]byte, error) {
	// Twelve digits: not the tail that the way from percent and back leaves.
	return []byte(strconv.FormatFloat(float64(s)*100, 'g', 12, 64) + "%"), nil
}

func (s *Share) UnmarshalText(text []byte) error {
	digits, ok := strings.CutSuffix(string(text), "%")
	v, err := strconv.ParseFloat(digits, 64)
	if !ok || err != nil || !(v >= 0 && v <= 100) {
		return fmt.Errorf(`%q is not a share from "0%%" to "100%%"`, text)
	}
	*s = Share(v / 100)
	return nil
}

// Suggest returns ` (did you mean "x"?)` for the known word nearest to word, or "" where none is
// near enough to be what was meant.
func Suggest(word string, known []string) string {
	best, at := "", min(len(word), 1+(len(word)+2)/3) // a word with every letter changed is another word
	for _, k := range known {
		if len(word)-len(k) >= at {
			continue // nor is time spent on a word of a megabyte
		}
		if d := editDistance(strings.ToLower(word), strings.ToLower(k)); d < at {
			best, at = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// editDistance counts insertions, deletions, changes and swaps of neighbours (optimal string
// alignment).
func editDistance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
