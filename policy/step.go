package policy

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"meridian/health"
	"meridian/spec"
)

// Op is what a step does.
type Op uint8

const (
	OpUp       Op = iota // keeps members that are up
	OpGeo                // keeps members that serve the client
	OpNearest            // keeps those next to the client
	OpTier               // keeps the lowest tier
	OpShed               // takes members off by chance
	OpWeighted           // orders by a draw
	OpTake               // keeps the first N
)

var opNames = []string{"up", "geo", "nearest", "tier", "shed", "weighted", "take"}

func (o Op) String() string { return opNames[o] }

// Policies are the short names and the chains they stand for.
var Policies = map[string][]Step{
	"weighted":     {{Op: OpUp}, {Op: OpWeighted}, {Op: OpTake, Take: Take{N: 1}}},
	"failover":     {{Op: OpUp}, {Op: OpTier}, {Op: OpWeighted}, {Op: OpTake, Take: Take{N: 1}}},
	"multivalue":   {{Op: OpUp}, {Op: OpWeighted}, {Op: OpTake, Take: Take{N: 8}}},
	"sticky":       {{Op: OpUp}, {Op: OpWeighted, Weighted: Weighted{By: "client"}}, {Op: OpTake, Take: Take{N: 1}}},
	"geo":          {{Op: OpUp}, {Op: OpGeo}, {Op: OpWeighted}, {Op: OpTake, Take: Take{N: 1}}},
	"geoproximity": {{Op: OpUp}, {Op: OpNearest, Nearest: Nearest{By: "distance"}}, {Op: OpWeighted}, {Op: OpTake, Take: Take{N: 1}}},
	"latency": {
		{Op: OpUp}, {Op: OpNearest, Nearest: Nearest{By: "rtt", Within: "10ms"}}, {Op: OpWeighted}, {Op: OpTake, Take: Take{N: 1}},
	},
}

const defaultPolicy = "weighted"

// policyNames are the short names, the plain ones first.
var policyNames = []string{"weighted", "failover", "multivalue", "sticky", "geo", "geoproximity", "latency"}

func init() {
	for _, chain := range Policies {
		for i := range chain {
			if err := chain[i].complete(); err != nil {
				panic(err) // a name above is misspelled
			}
		}
	}
}

// Step is one link of the chain: in JSON its name, or an object of that name with options, and perhaps
// "when": {"take":{"n":8},"when":{"continent":["EU"]}}.
type Step struct {
	Op       Op
	Geo      Geo
	Nearest  Nearest
	Tier     Tier
	Shed     Shed
	Weighted Weighted
	Take     Take
	When     *When // nil: always
}

// Geo are the options of the step geo.
type Geo struct {
	Strict bool `json:"strict,omitzero"` // a match or nothing; default false: where nobody matches, all stay
}

// Nearest are the options of the step nearest.
type Nearest struct {
	By     string `json:"by,omitzero"`     // what is measured; required; "distance" or "rtt"
	Within string `json:"within,omitzero"` // how much farther than the best may stay; default "0"; a share of it such as "20%", by distance a length such as "500km", by rtt a time such as "10ms"

	rtt   bool
	ratio float64 // of the best that may stay: 1 and above
	more  float64 // and beyond that: km or ms
}

// Tier are the options of the step tier.
type Tier struct {
	Trickle  spec.Share `json:"trickle,omitzero"`  // chance of the next tier instead of the lowest; default "0%"; "0%" to "100%"
	Failback string     `json:"failback,omitzero"` // when to go back to a lower tier; default "auto": at once; "manual" (once latch/<pool> is deleted), or after it was up for "1s" to "24h"

	trickle uint64 // Trickle as a bound on a random number
	after   time.Duration
}

// Shed are the options of the step shed: either a percent, or low and high.
type Shed struct {
	Low     *spec.Share `json:"low,omitzero"`     // load from which members are taken off; default none, then percent is said; "0%" to "100%"
	High    *spec.Share `json:"high,omitzero"`    // load from which all are; default none, as low; above low, to "100%"
	Percent *spec.Share `json:"percent,omitzero"` // or the chance to be taken off whatever the load; default none; "0%" to "100%"

	percent uint64 // Percent as a bound on a random number
}

// Weighted are the options of the step weighted.
type Weighted struct {
	By string `json:"by,omitzero"` // what decides the draws; default "random"; or "client": every draw of the chain follows from the client's network (/24, /56)
}

// Take are the options of the step take.
type Take struct {
	N        int    `json:"n,omitzero"`        // how many are kept; default 1; 1 to 64
	Distinct string `json:"distinct,omitzero"` // what no two of them have in common; default none: no matter; "site"
}

// MaxTake is the most members that one take keeps.
const MaxTake = 64

func (s *Step) options() any {
	switch s.Op {
	case OpGeo:
		return &s.Geo
	case OpNearest:
		return &s.Nearest
	case OpTier:
		return &s.Tier
	case OpShed:
		return &s.Shed
	case OpWeighted:
		return &s.Weighted
	case OpTake:
		return &s.Take
	}
	return &struct{}{}
}

// sticky says whether the step makes the draws of its chain follow from the client.
func (s *Step) sticky() bool { return s.Op == OpWeighted && s.Weighted.By == "client" }

// remembers says whether the step goes by what Pool.more holds.
func (s *Step) remembers() bool {
	return s.Op == OpNearest || s.Op == OpShed || s.sticky() || s.Op == OpTier && s.Tier.latches()
}

// asks says whether the step looks at who the client is.
func (s *Step) asks() bool {
	return s.Op == OpGeo || s.Op == OpNearest || s.sticky() || s.When.asks()
}

func (s Step) String() string {
	var words []string
	switch s.Op {
	case OpGeo:
		if s.Geo.Strict {
			words = append(words, "strict")
		}
	case OpNearest:
		words = append(words, "by "+s.Nearest.By)
		if s.Nearest.Within != "" {
			words = append(words, "within "+s.Nearest.Within)
		}
	case OpTier:
		if s.Tier.Trickle > 0 {
			words = append(words, "trickle "+shareText(s.Tier.Trickle))
		}
		if s.Tier.latches() {
			words = append(words, "failback "+s.Tier.Failback)
		}
	case OpShed:
		if s.Shed.Percent != nil {
			words = append(words, shareText(*s.Shed.Percent))
		} else {
			words = append(words, "from "+shareText(*s.Shed.Low)+" to "+shareText(*s.Shed.High)+" load")
		}
	case OpWeighted:
		if s.sticky() {
			words = append(words, "by client")
		}
	case OpTake:
		words = append(words, strconv.Itoa(s.Take.N))
		if s.Take.Distinct != "" {
			words = append(words, "distinct by site")
		}
	}
	if s.When != nil {
		words = append(words, "when "+s.When.String())
	}
	if len(words) == 0 {
		return s.Op.String()
	}
	return s.Op.String() + " " + strings.Join(words, ", ")
}

func shareText(s spec.Share) string {
	text, _ := s.MarshalText()
	return string(text)
}

// MarshalJSONTo writes what UnmarshalJSONFrom reads: the name alone where no option differs from its
// default.
func (s Step) MarshalJSONTo(e *jsontext.Encoder) error {
	options, err := json.Marshal(s.options())
	if err != nil {
		return err
	}
	if (string(options) == "{}" || s.Op == OpTake && s.Take == Take{N: 1}) && s.When == nil {
		return e.WriteToken(jsontext.String(s.Op.String()))
	}
	object := []jsontext.Token{jsontext.BeginObject, jsontext.String(s.Op.String())}
	for _, t := range object {
		if err := e.WriteToken(t); err != nil {
			return err
		}
	}
	if err := e.WriteValue(options); err != nil {
		return err
	}
	if s.When != nil {
		if err := e.WriteToken(jsontext.String("when")); err != nil {
			return err
		}
		if err := json.MarshalEncode(e, s.When); err != nil {
			return err
		}
	}
	return e.WriteToken(jsontext.EndObject)
}

// UnmarshalJSONFrom reads "up" or {"take":{"n":8}}.
func (s *Step) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	*s = Step{}
	if d.PeekKind() == '"' {
		token, err := d.ReadToken()
		if err != nil {
			return err
		}
		if err := s.named(token.String()); err != nil {
			return err
		}
		return s.complete()
	}
	if d.PeekKind() != '{' {
		return spec.Errorf("", `expected a step's name, or an object such as {"take":{"n":8}}`)
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	name := ""
	for d.PeekKind() != '}' {
		token, err := d.ReadToken()
		if err != nil {
			return err
		}
		word := token.String()
		switch {
		case word == "when":
			s.When = new(When)
			err = json.UnmarshalDecode(d, s.When)
		case name != "":
			err = spec.Errorf("", "a step has one name, expected the end of the object after %q", name)
		default:
			name = word
			if err = s.named(name); err == nil {
				err = json.UnmarshalDecode(d, s.options())
			}
		}
		if err != nil {
			return err
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	if name == "" {
		return spec.Errorf("", "a step without a name, expected one of %s", strings.Join(opNames, ", "))
	}
	return s.complete()
}

func (s *Step) named(name string) error {
	op := slices.Index(opNames, name)
	if op < 0 {
		return spec.Errorf("", "unknown step %q, expected one of %s%s",
			name, strings.Join(opNames, ", "), spec.Suggest(name, opNames))
	}
	if s.Op = Op(op); s.Op == OpTake {
		s.Take.N = 1
	}
	return nil
}

// complete checks the options of a step and reads those that are written as text.
func (s *Step) complete() error {
	if s.When != nil {
		if err := s.When.complete(); err != nil {
			return err
		}
	}
	switch s.Op {
	case OpNearest:
		return s.Nearest.complete()
	case OpTier:
		s.Tier.trickle = bound(s.Tier.Trickle)
		return s.Tier.complete()
	case OpShed:
		return s.Shed.complete()
	case OpWeighted:
		if by := s.Weighted.By; by != "" && by != "random" && by != "client" {
			return spec.Errorf("weighted.by", `%q is not known, expected "random" or "client"`, by)
		}
	case OpTake:
		if s.Take.N < 1 || s.Take.N > MaxTake {
			return spec.Errorf("take.n", "%d is out of range, expected 1 to %d", s.Take.N, MaxTake)
		}
		if s.Take.Distinct != "" && s.Take.Distinct != "site" {
			return spec.Errorf("take.distinct", `%q is not known, expected "site"`, s.Take.Distinct)
		}
	}
	return nil
}

// latches says whether the step keeps to the pool's latch.
func (t *Tier) latches() bool { return t.Failback == "manual" || t.after > 0 }

const maxFailback = 24 * time.Hour

func (t *Tier) complete() error {
	if t.Failback == "" || t.Failback == "auto" || t.Failback == "manual" {
		return nil
	}
	d, err := time.ParseDuration(t.Failback)
	if err != nil {
		return spec.Errorf("tier.failback", `%q is not known, expected "auto", "manual" or a time such as "5m"`, t.Failback)
	}
	if d < time.Second || d > maxFailback {
		return spec.Errorf("tier.failback", "%v is out of range, expected 1s to 24h", d)
	}
	t.after = d
	return nil
}

// within is how far a member may be to stay, where the best is least away.
func (n *Nearest) within(least float64) float64 { return least*n.ratio + n.more }

// chance of a member to be taken off, as a bound on a random number.
func (s *Shed) chance(w health.Word) uint64 {
	if s.Percent != nil {
		return s.percent
	}
	load, ok := w.Load()
	if !ok {
		return 0
	}
	low, high := float64(*s.Low), float64(*s.High)
	return bound(spec.Share(max(0, (load-low)/(high-low))))
}

func (n *Nearest) complete() error {
	if n.By != "distance" && n.By != "rtt" {
		return spec.Errorf("nearest.by", `%q is not known, expected "distance" or "rtt"`, n.By)
	}
	n.rtt, n.ratio = n.By == "rtt", 1
	if n.Within == "" || n.Within == "0" {
		return nil
	}
	if digits, ok := strings.CutSuffix(n.Within, "%"); ok {
		if v, err := strconv.ParseFloat(digits, 64); err == nil && v >= 0 && v <= 10_000 {
			n.ratio = 1 + v/100
			return nil
		}
	}
	if n.rtt {
		if d, err := time.ParseDuration(n.Within); err == nil && d >= 0 && d <= time.Minute {
			n.more = float64(d) / float64(time.Millisecond)
			return nil
		}
		return spec.Errorf("nearest.within", `%q is not known, by rtt expected a time such as "10ms" or a share such as "20%%"`, n.Within)
	}
	if digits, ok := strings.CutSuffix(n.Within, "km"); ok {
		if v, err := strconv.ParseFloat(digits, 64); err == nil && v >= 0 && v <= 50_000 {
			n.more = v
			return nil
		}
	}
	return spec.Errorf("nearest.within", `%q is not known, by distance expected a length such as "500km" or a share such as "20%%"`, n.Within)
}

func (s *Shed) complete() error {
	switch {
	case s.Percent != nil && (s.Low != nil || s.High != nil):
		return spec.Errorf("shed.percent", `a step shed has either "percent", or "low" and "high"`)
	case s.Percent != nil:
		s.percent = bound(*s.Percent)
	case s.Low == nil || s.High == nil:
		return spec.Errorf("shed", `expected "percent", or "low" and "high"`)
	case *s.Low >= *s.High:
		return spec.Errorf("shed.low", "%s is not below high, %s", shareText(*s.Low), shareText(*s.High))
	}
	return nil
}

// bound is the number that a random one stays below with the chance s.
func bound(s spec.Share) uint64 {
	if s >= 1 {
		return math.MaxUint64
	}
	return uint64(float64(s) * (1 << 64))
}

// When limits a step to some queries: to those that fit each of the fields that are there, by one entry
// of it at least.
type When struct {
	CIDR      []string `json:"cidr,omitzero"`      // the client's address lies in one of these networks; default any; at least one
	Country   []string `json:"country,omitzero"`   // and in one of these countries, by ISO 3166-1; default any; at least one such as "DE"
	Continent []string `json:"continent,omitzero"` // and in one of these continents; default any; of AF, AN, AS, EU, NA, OC, SA
	ASN       []uint32 `json:"asn,omitzero"`       // and one of these autonomous systems announces it; default any; at least one number
	QType     []string `json:"qtype,omitzero"`     // and one of these types is asked for; default any; at least one such as "AAAA"

	condition *condition
}

func (w *When) asks() bool {
	return w != nil && (w.CIDR != nil || w.Country != nil || w.Continent != nil || w.ASN != nil)
}

func (w When) String() string {
	var parts []string
	add := func(what string, n int, list any) {
		if n > 0 {
			parts = append(parts, what+" is one of "+strings.Trim(fmt.Sprint(list), "[]"))
		}
	}
	add("cidr", len(w.CIDR), w.CIDR)
	add("country", len(w.Country), w.Country)
	add("continent", len(w.Continent), w.Continent)
	add("asn", len(w.ASN), w.ASN)
	add("qtype", len(w.QType), w.QType)
	return strings.Join(parts, " and ")
}
