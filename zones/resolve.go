package zones

import (
	"slices"

	"github.com/miekg/dns"
)

const maxHops = 16 // CNAMEs followed for one query

// Resolve answers q from s: RFC 1034 §4.3.2, with RFC 6672 for DNAME, RFC 2308 for what is not
// there, RFC 4592 for wildcards and RFC 6604 for the code at the end of a chain of CNAMEs. t may
// be nil.
func Resolve(s *Snapshot, q *Query, a *Answer, t *Trace) {
	a.reset()
	l := lookup{s: s, q: q, a: a, t: t, name: &q.Name}
	for l.zone() { // step 2: the nearest zone above the name
		found := l.match() // step 3: down from its apex, label by label
		var target []byte
		switch found.kind {
		case exact, wildcard:
			target = l.answer(found.at)
		case cut:
			l.refer(found.at)
		case redirected:
			target = l.redirect(found.at)
		case ofMember:
			target = l.answerMember()
		case missing:
			l.negative(NXDomain)
		}
		if target == nil || !l.follow(target) {
			return
		}
	}
}

// lookup is a query on its way: one name after another along a chain of CNAMEs.
type lookup struct {
	s *Snapshot
	q *Query
	a *Answer
	t *Trace

	name *Name  // that is looked up now: the question's, or the target of the hop-th CNAME
	hop  int    // CNAMEs so far
	apex record // of the zone that name lies in
}

// zone finds the zone of the name. Without one the answer is as far as this server can take it.
func (l *lookup) zone() bool {
	l.apex = l.s.zoneOf(l.name, int(l.name.labels), &l.a.last)
	if l.q.Type == dns.TypeDS && l.apex != nil && l.apex.zone() == int(l.name.labels) {
		// DS belongs to the parent's side of a cut (RFC 4035 §3.1.4.1).
		if parent := l.s.zoneOf(l.name, int(l.name.labels)-1, &l.a.last); parent != nil {
			l.apex = parent
		}
	}
	switch {
	case l.apex != nil:
		l.t.zone(l.name, l.apex)
		l.a.AA = l.a.AA || l.hop == 0
		return true
	case l.hop > 0:
		l.t.about(l.name, "lies in no zone of this server: the resolver goes on from there")
	default:
		l.a.Outcome, l.a.Error = Refused, errNotOurs
		l.t.about(l.name, "lies in no zone of this server")
	}
	return false
}

// position is where match has come to.
type position struct {
	kind matchKind
	at   record // the name, the wildcard that stands in for it, or the cut or DNAME above it
}

type matchKind uint8

const (
	exact      matchKind = iota
	wildcard             // RFC 4592 §3.3
	cut                  // an NS RRset below the apex, at the name or above it
	redirected           // a DNAME above the name (RFC 6672 §2.3)
	ofMember             // the name is a member's own, or above such
	missing
)

// match goes down from the apex to the name.
func (l *lookup) match() position {
	zone, name := l.apex.zone(), l.name
	encloser, at := zone, l.apex
	for encloser < int(name.labels) {
		if at.flags()&hasDNAME != 0 {
			return position{redirected, at}
		}
		child := l.s.names.find(name.suffixHash(encloser+1), name.suffix(encloser+1), zone)
		if child == nil {
			break
		}
		encloser, at = encloser+1, child
		if child.flags()&hasNS != 0 && !(l.q.Type == dns.TypeDS && encloser == int(name.labels)) {
			return position{cut, child}
		}
	}
	if encloser == int(name.labels) {
		return position{exact, at}
	}
	// The closest encloser exists, the name does not (RFC 4592 §3.3.1). The wildcard may be an
	// empty non-terminal: then the answer is NODATA (§4.9). A member's own name goes before it.
	if l.apex.flags()&zoneMemberNames != 0 {
		if made, whole := l.member(encloser); whole {
			return position{kind: ofMember}
		} else if made {
			return position{kind: missing}
		}
	}
	star := l.s.names.findWildcard(name.wildcardHash(encloser), name.suffix(encloser), zone)
	if star != nil {
		return position{wildcard, star}
	}
	return position{kind: missing}
}

// answer adds what the keys at r say of the type asked. A CNAME that has to be followed is
// returned: the target in wire form.
func (l *lookup) answer(r record) (target []byte) {
	if p := r.covering(l.q.Type); p != nil {
		l.t.part(r, p)
		switch p.kind() {
		case Static:
			if l.q.Type == dns.TypeSOA {
				l.addSOA(AnswerSection, 0, p, p.ttl())
				break
			}
			l.add(AnswerSection, 0, p, p.ttl())
			l.additional(p)
		case Steered:
			return l.steer(r, p)
		case Broken:
			l.a.fail(errBroken)
		}
		return nil
	}
	if r.flags()&hasSteer != 0 {
		if p := r.steered(); p != nil && l.s.Pools[p.pool()].OfNames && r.alone() {
			l.t.part(r, p)
			return l.steer(r, p)
		}
	}
	if r.parts() == 0 {
		l.negative(NoData)
		return nil
	}
	cname := r.covering(dns.TypeCNAME)
	switch {
	case l.q.Type == dns.TypeANY && cname != nil && cname.kind() == Static: // no HINFO beside it (RFC 8482 §4.2)
		l.t.part(r, cname)
		l.add(AnswerSection, 0, cname, cname.ttl())
	case l.q.Type == dns.TypeANY:
		l.any()
	case cname == nil:
		l.negative(NoData)
	case cname.kind() == Broken:
		l.t.part(r, cname)
		l.a.fail(errBroken)
	default:
		l.t.part(r, cname)
		l.add(AnswerSection, 0, cname, cname.ttl())
		return cname.firstRData()
	}
	return nil
}

// any answers type ANY (RFC 8482 §4.2).
func (l *lookup) any() {
	set := minimalAny
	set.Hop = uint8(l.hop)
	l.a.Sets = append(l.a.Sets, set)
	l.t.about(l.name, "exists; type ANY is answered by one HINFO (RFC 8482)")
}

// follow goes on with the target of a CNAME, unless the chain has become a loop, or too long.
func (l *lookup) follow(target []byte) bool {
	a := l.a
	a.visited[l.hop] = l.name.suffixHash(int(l.name.labels))
	l.hop++
	a.current.Read(target)
	l.name = &a.current
	if l.hop == maxHops || slices.Contains(a.visited[:l.hop], l.name.suffixHash(int(l.name.labels))) {
		l.t.about(l.name, "ends the chain of CNAMEs: it is a loop, or too long")
		return false
	}
	return true
}

// redirect answers for a name below a DNAME: with the DNAME, and a CNAME made from it that is then
// followed (RFC 6672 §3).
func (l *lookup) redirect(at record) (target []byte) {
	dname := at.find(dns.TypeDNAME)
	if dname == nil {
		l.a.fail(errBroken)
		return nil
	}
	labels := labelCount(at.name())
	l.t.part(at, dname)
	l.add(AnswerSection, l.name.offset(labels), dname, dname.ttl())
	prefix, suffix := l.name.wire[:l.name.offset(labels)], dname.firstRData()
	if len(prefix)+len(suffix) > maxName {
		l.a.Outcome = NameTooLong
		l.t.about(l.name, "would become longer than 255 bytes")
		return nil
	}
	start := len(l.a.made)
	l.a.made = append(l.a.made, 0, byte(len(prefix)+len(suffix)))
	l.a.made = append(append(l.a.made, prefix...), suffix...)
	data := l.a.made[start:len(l.a.made):len(l.a.made)]
	l.a.Sets = append(l.a.Sets, RRset{
		Section: AnswerSection, Hop: uint8(l.hop), Type: dns.TypeCNAME, Count: 1, TTL: dname.ttl(), Data: data,
	})
	if l.q.Type == dns.TypeCNAME {
		return nil // it is what was asked for
	}
	return data[2:]
}

// negative adds the SOA that says how long "not there" may be believed (RFC 2308 §3).
func (l *lookup) negative(outcome Outcome) {
	soa := l.apex.find(dns.TypeSOA)
	if soa == nil {
		l.t.about(l.name, "is not there, but the zone's soa was never valid: without it nobody can be told so")
		l.a.fail(errBroken)
		return
	}
	l.a.Outcome = outcome
	l.addSOA(AuthoritySection, l.name.offset(l.apex.zone()), soa, negativeTTL(soa.ttl(), soa.data()))
	l.t.negative(l.name, outcome)
}

// refer sends the client on to the name servers of a zone that is delegated away.
func (l *lookup) refer(at record) {
	ns := at.find(dns.TypeNS)
	if ns == nil {
		l.a.fail(errBroken)
		return
	}
	l.a.Outcome = Referral
	l.a.AA = l.a.AA && l.hop > 0
	l.t.cut(l.name, at)
	cutName := at.name()
	l.add(AuthoritySection, l.name.offset(labelCount(cutName)), ns, ns.ttl())
	l.glue(ns, cutName)
}

// fail makes the answer a SERVFAIL, without records.
func (a *Answer) fail(why *ExtendedError) {
	a.Outcome, a.AA, a.Error, a.Sets = ServFail, false, why, a.Sets[:0]
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
