package policy

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"meridian/health"
	"meridian/spec"
)

// Spec is a pool's policy as an operator writes it: the value of pool/<pool>/policy.
type Spec struct {
	Policy  string   `json:"policy,omitzero"`   // a short name, see Policies; default "weighted"
	Steps   []Step   `json:"steps,omitzero"`    // or the chain itself
	Check   string   `json:"check,omitzero"`    // the check that watches the members; without one they are up
	OnEmpty []string `json:"on_empty,omitzero"` // "all", "pool:<pool>", "nodata", "servfail", tried in order; default ["all"]

	// How long a member whose lease has ended stays while its check says up; default 10m, at most 24h, 0s: not at all.
	Linger *spec.Duration `json:"linger,omitzero"`
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

// Policies are the short names and the chains they stand for.
var Policies = map[string][]Step{
	"weighted":   {{Op: OpUp}, {Op: OpWeighted}, {Op: OpTake, N: 1}},
	"failover":   {{Op: OpUp}, {Op: OpTier}, {Op: OpWeighted}, {Op: OpTake, N: 1}},
	"multivalue": {{Op: OpUp}, {Op: OpWeighted}, {Op: OpTake, N: 8}},
	"geo":        {{Op: OpUp}, {Op: OpGeo}, {Op: OpWeighted}, {Op: OpTake, N: 1}},
}

const defaultPolicy = "weighted"

// Op is what a step does.
type Op uint8

const (
	OpUp       Op = iota // keep members that are up
	OpGeo                // keep members that serve the client
	OpTier               // keep the lowest tier
	OpWeighted           // order by a draw
	OpTake               // keep the first N
)

var opNames = []string{"up", "geo", "tier", "weighted", "take"}

func (o Op) String() string { return opNames[o] }

// Step is one link of the chain: in JSON its name, or an object of that name with options.
type Step struct {
	Op       Op
	Strict   bool       // geo: a match or nothing
	Trickle  spec.Share // tier: chance of the next tier instead
	N        int        // take: 1 to MaxTake
	Distinct bool       // take: at most one member a site

	trickle uint64 // Trickle as a bound on a random number
}

// MaxTake is the most members that one take keeps.
const MaxTake = 64

func (s Step) String() string {
	switch {
	case s.Op == OpTier && s.Trickle > 0:
		text, _ := s.Trickle.MarshalText()
		return fmt.Sprintf("tier (trickle %s)", text)
	case s.Op == OpGeo && s.Strict:
		return "geo, strict"
	case s.Op == OpTake && s.Distinct:
		return fmt.Sprintf("take %d, distinct by site", s.N)
	case s.Op == OpTake:
		return fmt.Sprintf("take %d", s.N)
	}
	return s.Op.String()
}

// UnmarshalJSONFrom reads "up" or {"take":{"n":8}}.
func (s *Step) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() == '"' {
		token, err := d.ReadToken()
		if err != nil {
			return err
		}
		*s, err = newStep(token.String())
		return err
	}
	if d.PeekKind() != '{' {
		return spec.Errorf("", `expected a step's name, or an object such as {"take":{"n":8}}`)
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	if d.PeekKind() == '}' {
		return spec.Errorf("", "a step without a name, expected one of %s", strings.Join(opNames, ", "))
	}
	token, err := d.ReadToken()
	if err != nil {
		return err
	}
	if *s, err = newStep(token.String()); err != nil {
		return err
	}
	switch s.Op {
	case OpGeo:
		options := struct {
			Strict bool `json:"strict"`
		}{}
		if err := json.UnmarshalDecode(d, &options); err != nil {
			return err
		}
		s.Strict = options.Strict
	case OpTier:
		options := struct {
			Trickle spec.Share `json:"trickle"`
		}{}
		if err := json.UnmarshalDecode(d, &options); err != nil {
			return err
		}
		s.Trickle = options.Trickle
		s.trickle = bound(s.Trickle)
	case OpTake:
		options := struct {
			N        int    `json:"n"`
			Distinct string `json:"distinct"`
		}{N: s.N}
		if err := json.UnmarshalDecode(d, &options); err != nil {
			return err
		}
		if options.N < 1 || options.N > MaxTake {
			return spec.Errorf("take.n", "%d is out of range, expected 1 to %d", options.N, MaxTake)
		}
		if options.Distinct != "" && options.Distinct != "site" {
			return spec.Errorf("take.distinct", `%q is not known, expected "site"`, options.Distinct)
		}
		s.N, s.Distinct = options.N, options.Distinct == "site"
	default:
		if err := json.UnmarshalDecode(d, &struct{}{}); err != nil {
			return err
		}
	}
	if d.PeekKind() != '}' {
		return spec.Errorf("", "a step has one name, expected the end of the object after %q", s.Op)
	}
	_, err = d.ReadToken()
	return err
}

func newStep(name string) (Step, error) {
	op := slices.Index(opNames, name)
	if op < 0 {
		return Step{}, spec.Errorf("", "unknown step %q, expected one of %s%s",
			name, strings.Join(opNames, ", "), spec.Suggest(name, opNames))
	}
	return Step{Op: Op(op), N: 1}, nil
}

// bound is the number that a random one stays below with the chance s.
func bound(s spec.Share) uint64 {
	if s >= 1 {
		return math.MaxUint64
	}
	return uint64(float64(s) * (1 << 64))
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
		known := []string{"weighted", "failover", "multivalue", "geo"}
		return spec.Errorf("policy", "unknown policy %q, expected one of %s%s",
			s.Policy, strings.Join(known, ", "), spec.Suggest(s.Policy, known))
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
	return nil
}

const maxOnEmpty = 16

func (s *Spec) chain() []Step {
	if s.Steps != nil {
		return s.Steps
	}
	if s.Policy == "" {
		return Policies[defaultPolicy]
	}
	return Policies[s.Policy]
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

// MemberSpec is a member as an operator writes it: the value of pool/<pool>/member/<member>. The
// shorthand, a bare address, is a MemberSpec with that Addr alone.
type MemberSpec struct {
	Addr      []netip.Addr `json:"addr"`                // 1 to health.MaxAddrs
	Weight    *int         `json:"weight,omitzero"`     // 0 to 65535, default 1; 0: only when nothing else is left
	Tier      *int         `json:"tier,omitzero"`       // 1 to 65535, default 1; lower goes first
	Site      string       `json:"site,omitzero"`       // where it stands: a site/<site>
	Serves    []string     `json:"serves,omitzero"`     // whom the step geo keeps it for, see ParseTerm; default everybody
	CheckAddr *netip.Addr  `json:"check_addr,omitzero"` // checked in place of each address
	Port      uint16       `json:"port,omitzero"`       // where it serves, and is checked unless the check says otherwise
	Leaving   bool         `json:"leaving,omitzero"`    // it means to go: it is given no more, and does not linger
}

// Validate says what is wrong with m, as a *spec.Error.
func (m *MemberSpec) Validate() error {
	if len(m.Addr) == 0 || len(m.Addr) > health.MaxAddrs {
		return spec.Errorf("addr", "expected 1 to %d addresses, found %d", health.MaxAddrs, len(m.Addr))
	}
	for i, a := range m.Addr {
		field := fmt.Sprintf("addr[%d]", i)
		if err := checkAddr(field, a); err != nil {
			return err
		}
		if slices.Contains(m.Addr[:i], a) {
			return spec.Errorf(field, "%s is there twice", a)
		}
	}
	if m.CheckAddr != nil {
		if err := checkAddr("check_addr", *m.CheckAddr); err != nil {
			return err
		}
	}
	if m.Weight != nil && (*m.Weight < 0 || *m.Weight > math.MaxUint16) {
		return spec.Errorf("weight", "%d is out of range, expected 0 to 65535", *m.Weight)
	}
	if m.Tier != nil && (*m.Tier < 1 || *m.Tier > math.MaxUint16) {
		return spec.Errorf("tier", "%d is out of range, expected 1 to 65535", *m.Tier)
	}
	return checkServes(m.Serves)
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

func checkAddr(field string, a netip.Addr) error {
	switch {
	case !a.IsValid():
		return spec.Errorf(field, "expected an address, found an empty string")
	case a.Zone() != "":
		return spec.Errorf(field, "%s has a zone, which means nothing elsewhere", a)
	case a.Is4In6():
		return spec.Errorf(field, "%s is IPv4 in IPv6 form, expected %s", a, a.Unmap())
	case a.IsUnspecified() || a.IsMulticast() || a == broadcast:
		return spec.Errorf(field, "%s is no address of one host", a)
	}
	return nil
}

// Compile makes a Member of it.
func (m *MemberSpec) Compile(name string) Member {
	c := Member{Name: name, Addrs: m.Addr, Weight: 1, Tier: 1, Site: m.Site}
	if m.Weight != nil {
		c.Weight = uint16(*m.Weight)
	}
	if m.Tier != nil {
		c.Tier = uint16(*m.Tier)
	}
	for _, text := range m.Serves {
		if t, err := ParseTerm(text); err == nil {
			c.Serves = append(c.Serves, t)
		}
	}
	return c
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
