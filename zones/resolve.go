package zones

import (
	"slices"

	"github.com/miekg/dns"

	"meridian/policy"
)

const (
	maxHops     = 16 // CNAMEs followed for one query
	failOpenTTL = 10 // seconds, at most, of an answer that was given although nothing is up
	passingTTL  = 5  // seconds, at most, of a NODATA that health may end
)

// Resolve answers q from s: RFC 1034 §4.3.2, with RFC 2308 for what is not there, RFC 4592 for
// wildcards and RFC 6604 for the code at the end of a chain of CNAMEs. t may be nil.
func Resolve(s *Snapshot, q *Query, a *Answer, t *Trace) {
	a.reset()
	name := &q.Name
	for hop := 0; ; hop++ {
		apex := s.zoneOf(name) // step 2: the nearest zone above the name
		if apex == nil {
			if hop == 0 {
				a.Outcome, a.Error = Refused, errNotOurs
				t.about(name, "lies in no zone of this server")
			} else {
				t.about(name, "lies in no zone of this server: the resolver goes on from there")
			}
			return
		}
		t.zone(name, apex)
		if hop == 0 {
			a.AA = true
		}
		found := s.match(apex, name) // step 3: down from the apex, label by label
		switch found.kind {
		case cut:
			s.refer(found.at, name, hop, a, t)
			return
		case missing:
			a.negative(NXDomain, apex, name, hop, t)
			return
		}
		next := s.answer(found.at, apex, name, hop, q, a, t)
		if next == nil {
			return
		}
		a.visited[hop] = name.suffixHash(int(name.labels))
		a.current.Read(next)
		name = &a.current
		if hop+1 == maxHops || slices.Contains(a.visited[:hop+1], name.suffixHash(int(name.labels))) {
			t.about(name, "ends the chain of CNAMEs: it is a loop, or too long")
			return
		}
	}
}

// position is where match has come to.
type position struct {
	kind matchKind
	at   record // the name, the wildcard that stands in for it, or the cut above it
}

type matchKind uint8

const (
	exact    matchKind = iota
	wildcard           // RFC 4592 §3.3
	cut                // an NS RRset below the apex, at the name or above it
	missing
)

// match goes down from the apex to the name.
func (s *Snapshot) match(apex record, name *Name) position {
	zone := apex.zone()
	encloser, at := zone, apex
	for labels := zone + 1; labels <= int(name.labels); labels++ {
		child := s.names.find(name.suffixHash(labels), name.suffix(labels), zone)
		if child == nil {
			break
		}
		if child.has(dns.TypeNS) {
			return position{cut, child}
		}
		encloser, at = labels, child
	}
	if encloser == int(name.labels) {
		return position{exact, at}
	}
	// The closest encloser exists, the name does not (RFC 4592 §3.3.1). The wildcard may be an
	// empty non-terminal: then the answer is NODATA (§4.9).
	star := s.names.findWildcard(name.wildcardHash(encloser), name.suffix(encloser), zone)
	if star != nil {
		return position{wildcard, star}
	}
	return position{kind: missing}
}

// answer puts into a what the keys at r say of the type asked. A CNAME that has to be followed is
// returned: the target in wire form.
func (s *Snapshot) answer(r, apex record, name *Name, hop int, q *Query, a *Answer, t *Trace) (next []byte) {
	var cname Part
	for i, at := 0, r.first(); i < r.parts(); i++ {
		var p Part
		p, at = r.part(at)
		switch {
		case p.Covers(q.Type):
			t.part(r, p)
			switch p.Kind {
			case Static:
				a.add(AnswerSection, hop, 0, p, p.TTL)
			case Steered:
				s.steer(p, apex, name, hop, q, a, t)
			case Broken:
				a.fail()
			}
			return nil
		case p.Type == dns.TypeCNAME:
			cname = p
		}
	}
	switch {
	case q.Type == dns.TypeANY && r.parts() > 0:
		a.Sets = append(a.Sets, minimalAny)
		a.Sets[len(a.Sets)-1].Hop = uint8(hop)
		t.about(name, "exists; type ANY is answered by one HINFO (RFC 8482)")
	case cname.Type != dns.TypeCNAME:
		a.negative(NoData, apex, name, hop, t)
	case cname.Kind == Broken:
		t.part(r, cname)
		a.fail()
	default:
		t.part(r, cname)
		a.add(AnswerSection, hop, 0, cname, cname.TTL)
		return cname.firstRData()
	}
	return nil
}

// steer asks the pool.
func (s *Snapshot) steer(p Part, apex record, name *Name, hop int, q *Query, a *Answer, t *Trace) {
	pool := s.Pools[p.Pool()]
	q.Client.Family = policy.IPv4
	if q.Type == dns.TypeAAAA {
		q.Client.Family = policy.IPv6
	}
	// A pool that has no member yet, or no more, may have one soon: Select makes it a passing NODATA.
	if len(pool.Members) > 0 && !pool.CouldGive(q.Client.Family) {
		t.about(name, "is steered by a pool of which no member has such an address, up or not")
		a.negative(NoData, apex, name, hop, t)
		return
	}
	d := policy.Select(pool, s.Pools, q.Client, q.Random, &a.scratch, t.decision())
	a.Decision = d
	switch d.Outcome {
	case policy.Chosen:
		ttl := p.TTL
		if d.FailOpen {
			ttl = min(ttl, failOpenTTL)
			a.Error = errFailOpen
		}
		a.addChosen(hop, q.Type, ttl, &d)
	case policy.NoData:
		a.negative(NoData, apex, name, hop, t)
		if a.Outcome == NoData {
			a.Error = errNoMember
			soa := &a.Sets[len(a.Sets)-1]
			soa.TTL = min(soa.TTL, passingTTL)
		}
	case policy.ServFail:
		a.fail()
		a.Error = errNoMember
	}
}

// negative adds the SOA that says how long "not there" may be believed (RFC 2308 §3).
func (a *Answer) negative(outcome Outcome, apex record, name *Name, hop int, t *Trace) {
	soa, ok := apex.find(dns.TypeSOA)
	if !ok {
		t.about(name, "is not there, but the zone's soa was never valid: without it nobody can be told so")
		a.fail()
		return
	}
	a.Outcome = outcome
	a.add(AuthoritySection, hop, name.offset(apex.zone()), soa, negativeTTL(soa))
	t.negative(name, outcome)
}

// fail makes the answer a SERVFAIL, without records.
func (a *Answer) fail() {
	a.Outcome, a.AA, a.Error, a.Sets = ServFail, false, errBroken, a.Sets[:0]
}

// refer sends the client on to the name servers of a zone that is delegated away. Glue, DS and
// the like have their place here.
func (s *Snapshot) refer(at record, name *Name, hop int, a *Answer, t *Trace) {
	ns, ok := at.find(dns.TypeNS)
	if !ok {
		a.fail()
		return
	}
	a.Outcome = Referral
	if hop == 0 {
		a.AA = false
	}
	cutLabels := labelCount(at.name())
	a.add(AuthoritySection, hop, name.offset(cutLabels), ns, ns.TTL)
	t.cut(name, at)
}

func labelCount(wire []byte) int {
	n := 0
	for at := 0; wire[at] != 0; at += 1 + int(wire[at]) {
		n++
	}
	return n
}

// minimalAny answers type ANY (RFC 8482 §4.2).
var minimalAny = RRset{
	Section: AnswerSection, Type: dns.TypeHINFO, Count: 1, TTL: 3600,
	Data: []byte("\x00\x09\x07RFC8482\x00"),
}
