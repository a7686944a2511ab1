package zones

import (
	"fmt"

	"github.com/miekg/dns"

	"meridian/policy"
)

// Trace records how an answer came about, in the order in which it did. All methods do nothing on
// a nil *Trace.
type Trace struct {
	Steps []TraceStep `json:"steps"`
}

// TraceStep is one sentence of a Trace, or the decision of a pool.
type TraceStep struct {
	Text     string        `json:"text,omitzero"`
	Decision *policy.Trace `json:"decision,omitzero"`
}

func (t *Trace) say(format string, args ...any) {
	t.Steps = append(t.Steps, TraceStep{Text: fmt.Sprintf(format, args...)})
}

// about is say for a name. Its arguments cost nothing where t is nil, as those of say would.
func (t *Trace) about(name *Name, text string) {
	if t == nil {
		return
	}
	t.say("%s %s", name, text)
}

func (t *Trace) member(pool *policy.Pool, m *policy.Member, text string) {
	if t != nil {
		t.say("member %s of pool %s %s", m.Name, pool.Name, text)
	}
}

func (t *Trace) negative(name *Name, outcome Outcome) {
	if t == nil {
		return
	}
	if outcome == NXDomain {
		t.say("%s does not exist", name)
	} else {
		t.say("%s exists, but nothing of the type asked", name)
	}
}

func (t *Trace) cut(name *Name, at record) {
	if t == nil {
		return
	}
	t.say("%s is delegated away at %s", name, nameText(at.name()))
}

func (t *Trace) zone(name *Name, apex record) {
	if t != nil {
		t.sayZone(name, apex)
	}
}

func (t *Trace) sayZone(name *Name, apex record) {
	soa := apex.find(dns.TypeSOA)
	if soa == nil {
		t.say("%s lies in zone %s, whose soa was never valid", name, nameText(apex.name()))
		return
	}
	t.say("%s lies in zone %s, serial %d", name, nameText(apex.name()), soaSerial(soa.part()))
}

// part says which key answers.
func (t *Trace) part(r record, s stored) {
	if t != nil {
		t.sayPart(r, s)
	}
}

func (t *Trace) sayPart(r record, s stored) {
	p, n := s.part(), new(Name)
	n.Read(r.name())
	key := KeyOf(Owner{n, r.zone()}, p.Type)
	switch p.Kind {
	case Static:
		records := "records"
		if p.Count == 1 {
			records = "record"
		}
		t.say("%s answers with %d %s (revision %d)", key, p.Count, records, p.Revision)
	case Steered:
		t.say("%s asks a pool (revision %d)", key, p.Revision)
	case Broken:
		t.say("%s was never valid (revision %d)", key, p.Revision)
	}
}

func (t *Trace) decision() *policy.Trace {
	if t == nil {
		return nil
	}
	d := new(policy.Trace)
	t.Steps = append(t.Steps, TraceStep{Decision: d})
	return d
}

// KeyOf is the registry's key, below the prefix, of an owner's part of a type.
func KeyOf(o Owner, typ uint16) string {
	if o.Apex() && typ == dns.TypeSOA {
		return "zone/" + o.ZoneText() + "/soa"
	}
	last := dns.Type(typ).String()
	switch typ {
	case TypeSteer:
		last = "steer"
	case TypeUnknown:
		last = "<unknown type>"
	}
	return "zone/" + o.ZoneText() + "/name/" + o.Text() + "/" + last
}

// Text returns the answer's records as zone files have them, one a line.
func (a *Answer) Text(q *Query) []string {
	var lines []string
	wires := [][]byte{q.Name.Wire()}
	for i := range a.Sets {
		s := &a.Sets[i]
		owner := s.Owner
		if owner == nil {
			owner = wires[s.Hop][s.Offset:]
		}
		name, _, _ := dns.UnpackDomainName(owner, 0)
		s.RRs(func(rdata []byte) {
			h := dns.RR_Header{Name: name, Rrtype: s.Type, Class: dns.ClassINET, Ttl: s.TTL, Rdlength: uint16(len(rdata))}
			rr, _, err := dns.UnpackRRWithHeader(h, rdata, 0)
			if err != nil {
				lines = append(lines, fmt.Sprintf("%s: %v", h.String(), err))
				return
			}
			lines = append(lines, rr.String())
			if s.Type == dns.TypeCNAME {
				wires = append(wires, rdata)
			}
		})
	}
	return lines
}
