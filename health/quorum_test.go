package health

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"meridian/spec"
)

func readVoting(text string) (v Voting, err error) {
	if err = json.Unmarshal([]byte(text), &v, json.RejectUnknownMembers(true)); err == nil {
		err = v.validate()
	}
	return v, err
}

func TestVotingRoundTrip(t *testing.T) {
	tests := []struct {
		text  string
		quota [5]int // of 0 to 4 sites
		again string // "": as text
	}{
		{text: `{}`, quota: [5]int{1, 1, 2, 2, 3}},
		{text: `{"quorum":"majority"}`, quota: [5]int{1, 1, 2, 2, 3}, again: `{}`},
		{text: `{"quorum":"all"}`, quota: [5]int{1, 1, 2, 3, 4}},
		{text: `{"quorum":"any"}`, quota: [5]int{1, 1, 1, 1, 1}},
		{text: `{"quorum":1}`, quota: [5]int{1, 1, 1, 1, 1}, again: `{"quorum":"any"}`},
		{text: `{"quorum":3,"from":["site:fra","checker:ams-1"]}`, quota: [5]int{3, 3, 3, 3, 3}},
		{text: `{"quorum":100}`, quota: [5]int{100, 100, 100, 100, 100}},
	}
	for _, test := range tests {
		v, err := readVoting(test.text)
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		for n, want := range test.quota {
			if got := v.Quorum.of(n); got != want {
				t.Errorf("%s: %d of %d sites, want %d", test.text, got, n, want)
			}
		}
		want := test.again
		if want == "" {
			want = test.text
		}
		if again, err := json.Marshal(v); err != nil || string(again) != want {
			t.Errorf("%s: written as %s, error %v, want %s", test.text, again, err, want)
		}
	}
}

func TestVotingFaults(t *testing.T) {
	tests := []struct{ text, want string }{
		{`{"quorum":"most"}`, `"most" is not known, expected "majority", "all", "any" or a number`},
		{`{"quorum":"mayority"}`, `"mayority" is not known, expected "majority", "all", "any" or a number (did you mean "majority"?)`},
		{`{"quorum":0}`, `0 is out of range, expected 1 to 100, "majority", "all" or "any"`},
		{`{"quorum":-1}`, `-1 is out of range, expected 1 to 100, "majority", "all" or "any"`},
		{`{"quorum":101}`, `101 is out of range, expected 1 to 100, "majority", "all" or "any"`},
		{`{"quorum":1.5}`, `1.5 is out of range, expected 1 to 100, "majority", "all" or "any"`},
		{`{"quorum":true}`, `true is out of range, expected 1 to 100, "majority", "all" or "any"`},
		{`{"from":[]}`, `from: expected at least one entry; without the field everybody votes`},
		{`{"from":["fra"]}`, `from[0]: "fra" is not known, expected "site:<site>" or "checker:<checker>"`},
		{`{"from":["site:fra","site:"]}`, `from[1]: "site:" is not known, expected "site:<site>" or "checker:<checker>"`},
		{`{"from":["sit:fra"]}`, `from[0]: "sit:fra" is not known, expected "site:<site>" or "checker:<checker>" (did you mean "site:fra"?)`},
		{`{"from":["site:fra","checker:a","site:fra"]}`, `from[2]: "site:fra" is there twice`},
		{`{"from":["site:fra"` + strings.Repeat(`,"site:fra"`, 64) + `]}`, `from: expected at most 64 entries, found 65`},
	}
	for _, test := range tests {
		_, err := readVoting(test.text)
		if err == nil {
			t.Errorf("%s: no error, want %s", test.text, test.want)
			continue
		}
		// The decoder puts its own words before those of a value.
		if _, ok := err.(*spec.Error); ok && err.Error() != test.want || !strings.HasSuffix(err.Error(), test.want) {
			t.Errorf("%s:\n got %v\nwant %s", test.text, err, test.want)
		}
	}
}

func TestFromAllows(t *testing.T) {
	a, b := Voter{"a", "fra"}, Voter{"b", "ams"}
	tests := []struct {
		from From
		a, b bool
	}{
		{nil, true, true},
		{From{"site:fra"}, true, false},
		{From{"checker:b"}, false, true},
		{From{"site:ams", "checker:a"}, true, true},
		{From{"site:a", "checker:fra"}, false, false},
		{From{"site:fr", "site:fra1"}, false, false},
	}
	for _, test := range tests {
		if x, y := test.from.Allows(a), test.from.Allows(b); x != test.a || y != test.b {
			t.Errorf("%q allows %v: %v, %v: %v", test.from, a, x, b, y)
		}
	}
}
