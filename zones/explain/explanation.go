// Package explain puts into words how a query is answered, and why: for people, for programs, and for
// dig. It answers with the code that the server answers with.
package explain

import (
	"io"
	"iter"
	"net/netip"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/miekg/dns"

	"meridian/policy"
	"meridian/zones"
)

// Explanation says how a query is answered, and why. Its JSON is the response of /explain.
type Explanation struct {
	Name          string         `json:"name"` // absolute, in lower case
	Type          string         `json:"type"`
	Client        netip.Addr     `json:"client"`
	Subnet        netip.Prefix   `json:"subnet,omitzero"` // for whom it asks (RFC 7871)
	Server        string         `json:"server,omitzero"` // that answers, by its name
	Site          string         `json:"site,omitzero"`   // where it and its checker stand
	Revision      int64          `json:"revision"`        // of the registry
	Random        uint64         `json:"random,string"`   // that decided the draws
	Notes         []string       `json:"notes,omitzero"`  // what it is made of, where that is not a server's own
	Outcome       string         `json:"outcome"`         // a zones.Outcome
	Rcode         string         `json:"rcode"`
	Records       []Record       `json:"records"`
	ExtendedError *ExtendedError `json:"extended_error,omitzero"`
	Trace         zones.Trace    `json:"trace"`
}

// Record is one of the answer's.
type Record struct {
	Section string `json:"section"` // "answer", "authority" or "additional"
	Record  string `json:"record"`  // as zone files have it
}

// ExtendedError is one of RFC 8914.
type ExtendedError struct {
	Code uint16 `json:"code"`
	Name string `json:"name"`
	Text string `json:"text,omitzero"`
}

// Resolve answers q from s as the server would answer a query, and says how.
func Resolve(s *zones.Snapshot, q *zones.Query) *Explanation {
	var a zones.Answer
	e := &Explanation{
		Name:     dns.Fqdn(q.Name.String()),
		Type:     dns.Type(q.Type).String(),
		Client:   q.Client.Addr,
		Subnet:   q.Client.Subnet,
		Revision: s.Revision,
		Random:   q.Random,
	}
	zones.Resolve(s, q, &a, &e.Trace)
	e.Outcome = a.Outcome.String()
	e.Rcode = dns.RcodeToString[int(a.Outcome.Rcode())]
	if a.Error != nil {
		e.ExtendedError = &ExtendedError{a.Error.Code, dns.ExtendedErrorCodeToString[a.Error.Code], a.Error.Text}
	}
	lines := a.Text(q)
	e.Records = make([]Record, 0, len(lines))
	for i := range a.Sets {
		section := [...]string{"answer", "authority", "additional"}[a.Sets[i].Section]
		for range a.Sets[i].Count {
			e.Records = append(e.Records, Record{section, lines[len(e.Records)]})
		}
	}
	return e
}

// Question is what was asked, to be asked again with the same random number.
func (e *Explanation) Question() Question {
	q := Question{Name: e.Name, Type: e.Type, Random: strconv.FormatUint(e.Random, 10)}
	if e.Client.IsValid() {
		q.Client = e.Client.String()
	}
	if e.Subnet.IsValid() {
		q.Subnet = e.Subnet.String()
	}
	return q
}

// WriteJSON writes e as /explain gives it.
func (e *Explanation) WriteJSON(w io.Writer) error {
	if err := json.MarshalWrite(w, e, jsontext.WithIndent("  ")); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// Read reads what WriteJSON has written.
func Read(r io.Reader) (*Explanation, error) {
	e := new(Explanation)
	if err := json.UnmarshalRead(r, e); err != nil {
		return nil, err
	}
	return e, nil
}

// LooksUp says whether a step looked for the client in anything.
func (e *Explanation) LooksUp() bool {
	for run := range e.runs() {
		if slices.ContainsFunc(run.Steps, func(s policy.StepTrace) bool { return s.LookedUp != nil }) {
			return true
		}
	}
	return false
}

// runs yields the runs of all pools that were asked.
func (e *Explanation) runs() iter.Seq[*policy.PoolTrace] {
	return func(yield func(*policy.PoolTrace) bool) {
		for _, step := range e.Trace.Steps {
			if step.Decision == nil {
				continue
			}
			for i := range step.Decision.Runs {
				if !yield(&step.Decision.Runs[i]) {
					return
				}
			}
		}
	}
}

// SetHealth gives the members of s the health that they had in e.
// Nothing else may use s meanwhile. What is a member in e but not in s is passed over.
func (e *Explanation) SetHealth(s *zones.Snapshot) {
	words := map[string][]policy.MemberTrace{}
	for run := range e.runs() {
		if run.Members != nil {
			words[run.Pool] = run.Members
		}
	}
	for _, p := range s.Pools {
		if p == nil {
			continue
		}
		for _, m := range words[p.Name] {
			if i := p.Member(m.Member); i >= 0 {
				p.SetWord(i, m.Health)
				p.SetWithdrawn(i, m.Out)
			}
		}
	}
}
