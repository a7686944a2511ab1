package health

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"meridian/spec"
)

// Voting is the part of a check that says whose word counts, and how much of it is needed.
type Voting struct {
	Quorum Quorum `json:"quorum,omitzero"` // how many sites must say down, or up, for an address to be so; default "majority" of those that voted within the last 10 minutes; "majority", "all" of these, "any", or 1 to 100; where enough say down and enough say up, it is down
	From   From   `json:"from,omitzero"`   // who votes; default everybody; 1 to 64 of "site:<site>", "checker:<checker>"
}

// validate says what is wrong with v, as a *spec.Error. Check.Complete is to call it; exported it would
// stand for the check as a whole where that embeds a Voting.
func (v *Voting) validate() error {
	if v.From != nil && len(v.From) == 0 {
		return spec.Errorf("from", "expected at least one entry; without the field everybody votes")
	}
	if len(v.From) > maxFrom {
		return spec.Errorf("from", "expected at most %d entries, found %d", maxFrom, len(v.From))
	}
	for i, who := range v.From {
		field := fmt.Sprintf("from[%d]", i)
		kind, name, _ := strings.Cut(who, ":")
		switch {
		case kind != "site" && kind != "checker" || name == "":
			return spec.Errorf(field, `%q is not known, expected "site:<site>" or "checker:<checker>"%s`, who, suggestVoter(who, name))
		case slices.Contains(v.From[:i], who):
			return spec.Errorf(field, "%q is there twice", who)
		}
	}
	return nil
}

const (
	maxFrom   = 64
	maxQuorum = 100
)

func suggestVoter(who, name string) string {
	if name == "" {
		return ""
	}
	return spec.Suggest(who, []string{"site:" + name, "checker:" + name})
}

// Quorum is how many sites it takes: Majority, All, or a number from 1 (which is "any").
type Quorum int

const (
	Majority Quorum = 0  // more than half
	All      Quorum = -1 // every one
)

// of is how many of n sites that is, at least one. A number stays that number where there are
// fewer sites: what was to be said by three is not said by two.
func (q Quorum) of(n int) int {
	switch q {
	case Majority:
		return n/2 + 1
	case All:
		return max(1, n)
	}
	return int(q)
}

func (q Quorum) String() string {
	switch q {
	case Majority:
		return "majority"
	case All:
		return "all"
	case 1:
		return "any"
	}
	return strconv.Itoa(int(q))
}

// UnmarshalJSONFrom reads "majority", "all", "any" or a number.
func (q *Quorum) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	token, err := d.ReadToken()
	if err != nil {
		return err
	}
	words := map[string]Quorum{"majority": Majority, "all": All, "any": 1}
	text := token.String()
	if token.Kind() == '"' {
		word, ok := words[text]
		if !ok {
			return spec.Errorf("", `%q is not known, expected "majority", "all", "any" or a number%s`,
				text, spec.Suggest(text, []string{"majority", "all", "any"}))
		}
		*q = word
		return nil
	}
	n, err := strconv.Atoi(text)
	if token.Kind() != '0' || err != nil || n < 1 || n > maxQuorum {
		return spec.Errorf("", `%s is out of range, expected 1 to %d, "majority", "all" or "any"`, text, maxQuorum)
	}
	*q = Quorum(n)
	return nil
}

// MarshalJSONTo writes what UnmarshalJSONFrom reads.
func (q Quorum) MarshalJSONTo(e *jsontext.Encoder) error {
	if q > 1 {
		return e.WriteToken(jsontext.Int(int64(q)))
	}
	return e.WriteToken(jsontext.String(q.String()))
}

// From is who votes, as "site:<site>" or "checker:<checker>"; nil is everybody.
type From []string

// Allows says whether v may vote.
func (f From) Allows(v Voter) bool {
	if f == nil {
		return true
	}
	for _, who := range f {
		if kind, name, _ := strings.Cut(who, ":"); kind == "site" && name == v.Site || kind == "checker" && name == v.Checker {
			return true
		}
	}
	return false
}

// mayHave says whether a checker at a site may be one that votes.
func (f From) mayHave(site string) bool {
	return f == nil || slices.ContainsFunc(f, func(who string) bool {
		kind, name, _ := strings.Cut(who, ":")
		return kind == "checker" || name == site
	})
}
