package policy

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"meridian/health"
	"meridian/spec"
)

// Spec is a pool's policy as an operator writes it: the value of pool/<pool>/policy.
type Spec struct {
	Policy  string   `json:"policy,omitzero"`   // a short name, that stands for a chain of steps; default "weighted"; one of the policies below
	Steps   []Step   `json:"steps,omitzero"`    // the chain itself, in place of a short name; default that of policy; 1 to 16 steps, see below
	Check   string   `json:"check,omitzero"`    // the check that watches the members' addresses; default none: they are up; the name of a check/<check>
	OnEmpty []string `json:"on_empty,omitzero"` // what becomes of an answer that nobody is left for, tried in order; default ["all"]; 1 to 16 of "all", "pool:<pool>", "nodata", "servfail"
	MinUp   MinUp    `json:"min_up,omitzero"`   // as a member of another pool it is up while so many of its members are; default 1; 1 to 1000, or a share such as "50%"
	health.Recovery
	Linger *spec.Duration `json:"linger,omitzero"` // how long a member whose lease has ended stays while its check says up; default "10m"; "0s" (not at all) to "24h"
}

const (
	defaultLinger = 10 * time.Minute
	maxLinger     = 24 * time.Hour
)

// LingerFor is Linger or its default.
func (s *Spec) LingerFor() time.Duration {
	if s.Linger == nil {
		return defaultLinger
	}
	return time.Duration(*s.Linger)
}

// Validate says what is wrong with s, as a *spec.Error.
func (s *Spec) Validate() error {
	if s.Policy != "" && s.Steps != nil {
		return spec.Errorf("steps", `a pool has either "policy" or "steps", not both`)
	}
	if s.Steps != nil && len(s.Steps) == 0 {
		return spec.Errorf("steps", "a chain has at least one step")
	}
	if _, ok := Policies[s.Policy]; !ok && s.Policy != "" {
		return spec.Errorf("policy", "unknown policy %q, expected one of %s%s",
			s.Policy, strings.Join(policyNames, ", "), spec.Suggest(s.Policy, policyNames))
	}
	if len(s.Steps) > maxSteps {
		return spec.Errorf("steps", "expected at most %d steps, found %d", maxSteps, len(s.Steps))
	}
	if s.OnEmpty != nil && len(s.OnEmpty) == 0 {
		return spec.Errorf("on_empty", `expected at least one entry; "nodata" gives nobody`)
	}
	if len(s.OnEmpty) > maxOnEmpty {
		return spec.Errorf("on_empty", "expected at most %d entries, found %d", maxOnEmpty, len(s.OnEmpty))
	}
	for i, word := range s.OnEmpty {
		if _, ok := ParseFallback(word); !ok {
			return spec.Errorf(fmt.Sprintf("on_empty[%d]", i),
				`%q is not known, expected "all", "pool:<pool>", "nodata" or "servfail"`, word)
		}
		if slices.Contains(s.OnEmpty[:i], word) {
			return spec.Errorf(fmt.Sprintf("on_empty[%d]", i), "%q is there twice", word)
		}
	}
	if l := s.LingerFor(); l < 0 || l > maxLinger {
		return spec.Errorf("linger", "%v is out of range, expected 0s to 24h", l)
	}
	return s.Recovery.Validate()
}

const (
	maxSteps   = 16 // what 64 pools of 1,000 members may take for one query grows with it
	maxOnEmpty = 16
)

// Chain is the steps, or those that the short name stands for.
func (s *Spec) Chain() []Step {
	if s.Steps != nil {
		return s.Steps
	}
	if s.Policy == "" {
		return Policies[defaultPolicy]
	}
	return Policies[s.Policy]
}

// MinUp is how many members of a pool have to be up: a number, or a share of those that could answer.
type MinUp struct {
	N     int        // 1 to MaxMembers
	Share spec.Share // where N is 0
}

// of is how many of n members that is: at least one.
func (m MinUp) of(n int) int {
	if m.N > 0 {
		return m.N
	}
	return max(1, int(math.Ceil(float64(m.Share)*float64(n)-1e-9)))
}

// UnmarshalJSONFrom reads 2 or "50%".
func (m *MinUp) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	*m = MinUp{}
	token, err := d.ReadToken()
	if err != nil {
		return err
	}
	if token.Kind() == '"' {
		if err := m.Share.UnmarshalText([]byte(token.String())); err != nil || m.Share == 0 {
			return spec.Errorf("", `%q is no share of the members, expected one such as "50%%", or a number`, token.String())
		}
		return nil
	}
	n, err := strconv.Atoi(token.String())
	if token.Kind() != '0' || err != nil || n < 1 || n > MaxMembers {
		return spec.Errorf("", `%s is out of range, expected 1 to %d or a share such as "50%%"`, token.String(), MaxMembers)
	}
	m.N = n
	return nil
}

// MarshalJSONTo writes what UnmarshalJSONFrom reads.
func (m MinUp) MarshalJSONTo(e *jsontext.Encoder) error {
	if m.N > 0 {
		return e.WriteToken(jsontext.Int(int64(m.N)))
	}
	return e.WriteToken(jsontext.String(shareText(m.Share)))
}

func (m MinUp) String() string {
	if m.Share > 0 {
		return shareText(m.Share)
	}
	return strconv.Itoa(m.of(0))
}

// FallbackKind is what on_empty may say.
type FallbackKind uint8

const (
	FallbackAll      FallbackKind = iota // as if the step that left nobody were not there
	FallbackPool                         // another pool, if it yields
	FallbackNoData                       // an empty answer
	FallbackServFail                     // an error
)

// Fallback is one entry of on_empty.
type Fallback struct {
	Kind FallbackKind
	Name string // of FallbackPool
	Pool ID     // of FallbackPool
}

func (f Fallback) String() string {
	return [...]string{"all", "pool:" + f.Name, "nodata", "servfail"}[f.Kind]
}

// ParseFallback reads one word of on_empty; a pool's ID is left for the caller to fill in.
func ParseFallback(word string) (Fallback, bool) {
	switch word {
	case "all":
		return Fallback{Kind: FallbackAll}, true
	case "nodata":
		return Fallback{Kind: FallbackNoData}, true
	case "servfail":
		return Fallback{Kind: FallbackServFail}, true
	}
	name, ok := strings.CutPrefix(word, "pool:")
	return Fallback{Kind: FallbackPool, Name: name}, ok && name != ""
}

// FallbackPools returns, for each entry of OnEmpty, the pool it names, "" where it names none.
func (s *Spec) FallbackPools() []string {
	names := make([]string, len(s.OnEmpty))
	for i, word := range s.OnEmpty {
		if f, ok := ParseFallback(word); ok {
			names[i] = f.Name
		}
	}
	return names
}
