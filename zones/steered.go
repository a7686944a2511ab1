package zones

import (
	"encoding/binary"
	"math"
	"net/netip"

	"github.com/miekg/dns"

	"meridian/policy"
)

const (
	failOpenTTL = 10 // seconds, at most, of an answer that was given although nothing is up
	passingTTL  = 5  // seconds, at most, of a NODATA that health may end
)

// steer answers with what the pool of p, a part of r, chooses. A CNAME that has to be followed is
// returned: the target in wire form.
func (l *lookup) steer(r record, p stored) (target []byte) {
	a := l.a
	d := &a.Decision
	l.choose(d, l.name, p, l.q.Type)
	switch d.Outcome {
	case policy.Chosen:
		if d.FailOpen {
			a.Error = errFailOpen
		}
		set := RRset{Section: AnswerSection, Hop: uint8(l.hop), Type: l.q.Type, TTL: chosenTTL(p, d)}
		if l.q.Client.Family == policy.Any || d.Pool.OfNames {
			return l.give(r, p, set, d)
		}
		a.addChosen(set, d)
	case policy.NoData:
		if d.Pool == nil {
			l.negative(NoData)
		} else {
			l.passing(errNoMember)
		}
	case policy.ServFail:
		a.fail(errNoMember)
	}
	return nil
}

// give is steer for what is no set of addresses.
func (l *lookup) give(r record, p stored, set RRset, d *policy.Decision) (target []byte) {
	switch {
	case d.Pool.OfNames:
		return l.alias(r, set, d)
	case !p.covers(set.Type): // asked of names, and its on_empty has led to addresses
		l.passing(nil)
	case set.Type == dns.TypeSRV:
		l.services(set, p, d)
	default:
		l.binding(set, p, d)
	}
	return nil
}

// choose asks the pool of a steered name, of which p is the part. The decision d has no pool where
// nobody could ever be given.
func (l *lookup) choose(d *policy.Decision, name *Name, p stored, typ uint16) {
	pool := l.s.Pools[p.pool()]
	client := &l.q.Client
	client.Type, client.Family = typ, familyOf(typ)
	// A pool that has no member yet, or no more, may have one soon: Select makes it a passing NODATA.
	if !pool.CouldGive(client.Family) && len(pool.Members) > 0 {
		l.t.about(name, "is steered by a pool of which no member has such an address, up or not")
		*d = policy.Decision{Outcome: policy.NoData}
		return
	}
	looks := p.flags()&(subnet|noSubnet) == 0 && l.apex.flags()&zoneNoSubnet == 0 || p.flags()&subnet != 0
	if !looks {
		l.t.about(name, "does not look at the client subnet: who asks is the client")
		l.a.asker = *client
		client = &l.a.asker
		client.Subnet = netip.Prefix{}
	}
	policy.Select(d, pool, &l.s.World, client, l.q.Random, &l.a.scratch, l.t.decision())
	if d.Outcome == policy.Chosen && looks { // what is not there passes soon, and is told to everybody
		l.a.Scope = max(l.a.Scope, d.Scope)
	}
}

// familyOf the addresses that answer for a type.
func familyOf(typ uint16) policy.Family {
	switch typ {
	case dns.TypeA:
		return policy.IPv4
	case dns.TypeAAAA:
		return policy.IPv6
	}
	return policy.Any
}

// chosenTTL is that of what was chosen.
func chosenTTL(p stored, d *policy.Decision) uint32 {
	if d.FailOpen {
		return min(p.ttl(), failOpenTTL)
	}
	return p.ttl()
}

// passing is a NODATA that health may end.
func (l *lookup) passing(why *ExtendedError) {
	l.negative(NoData)
	if a := l.a; a.Outcome == NoData {
		a.Error = why
		soa := &a.Sets[len(a.Sets)-1]
		soa.TTL = min(soa.TTL, passingTTL)
	}
}

// addChosen adds the addresses of the decision's members, which are of set.Type, as set.
func (a *Answer) addChosen(set RRset, d *policy.Decision) {
	start, count := len(a.made), 0
	a.made, count = d.AppendRData(a.made, familyOf(set.Type))
	set.Count = uint16(count)
	set.Data = a.made[start:len(a.made):len(a.made)]
	a.Sets = append(a.Sets, set)
}

// addMade adds as set what a.made has from start on.
func (a *Answer) addMade(set RRset, start int) {
	set.Data = a.made[start:len(a.made):len(a.made)]
	a.Sets = append(a.Sets, set)
}

// alias answers, whatever type is asked, with a CNAME to the member that comes first. It stands alone
// (RFC 1034 §3.6.2): the registry sees to that, but a pool may become one of names after it did.
func (l *lookup) alias(r record, set RRset, d *policy.Decision) (target []byte) {
	if !r.alone() {
		l.t.about(l.name, "is steered by a pool of names, but a CNAME cannot stand beside other records")
		l.a.fail(errNotAlone)
		return nil
	}
	return l.addAlias(set, d.Member(d.Picks[0]))
}

// addAlias adds a CNAME to a member, and returns its target if it has to be followed.
func (l *lookup) addAlias(set RRset, m *policy.Member) (target []byte) {
	start := len(l.a.made)
	l.a.appendName(m.CNAME)
	set.Type, set.Count = dns.TypeCNAME, 1
	l.a.addMade(set, start)
	if l.q.Type == dns.TypeCNAME || l.q.Type == dns.TypeANY { // no HINFO beside it (RFC 8482 §4.2)
		return nil
	}
	return l.a.made[start+2:]
}

// alone says whether no record stands at the name but what is steered.
func (r record) alone() bool {
	if r.flags()&hasSOA != 0 {
		return false
	}
	at := r.first()
	for range r.parts() {
		s := r.stored(at)
		if s.kind() == Static {
			return false
		}
		at += len(s)
	}
	return true
}

// steered is the part that steers the name, nil if there is none.
func (r record) steered() stored {
	at := r.first()
	for range r.parts() {
		s := r.stored(at)
		if s.kind() == Steered {
			return s
		}
		at += len(s)
	}
	return nil
}

// services adds an SRV for each member chosen (RFC 2782), as many as a message holds, and the addresses of
// the members' names.
func (l *lookup) services(set RRset, p stored, d *policy.Decision) {
	a, scope := l.a, l.a.Scope
	if l.apex.flags()&zoneMemberNames == 0 {
		l.t.about(l.name, "has no targets to give: the zone's soa does not say member_names")
		a.fail(errNoTargets)
		return
	}
	start := len(a.made)
	for _, k := range d.Picks {
		pool, m := d.Of(k), d.Member(k)
		port := m.Port
		if port == 0 {
			port = binary.BigEndian.Uint16(p.more())
		}
		if port == 0 {
			l.t.member(pool, m, "is left out: it has no port, nor has the steered name")
			continue
		}
		rr := len(a.made)
		a.made = append(a.made, 0, 0)
		a.made = binary.BigEndian.AppendUint16(a.made, m.Tier)
		a.made = binary.BigEndian.AppendUint16(a.made, pool.Health(k.Member()).Weight())
		a.made = binary.BigEndian.AppendUint16(a.made, port)
		var ok bool
		if a.made, ok = appendMemberName(a.made, m.Name, pool.Name, l.apex.name()); !ok {
			l.t.member(pool, m, "is left out: <member>.<pool>.<zone> is no name")
			a.made = a.made[:rr]
			continue
		}
		binary.BigEndian.PutUint16(a.made[rr:], uint16(len(a.made)-rr-2))
		if len(a.made)-start+(int(set.Count)+1)*(rrOverhead-2) > maxRRset {
			l.t.member(pool, m, "is left out, and those after it: no message would hold more")
			a.made = a.made[:rr]
			break
		}
		set.Count++
	}
	if set.Count == 0 {
		a.Scope = scope
		l.passing(errNoService)
		return
	}
	a.addMade(set, start)
	l.hosts(a.made[start:len(a.made):len(a.made)], beforeTarget)
}

// binding adds one HTTPS or SVCB for all members chosen, in ServiceMode and for the name itself
// (RFC 9460 §2.4.3), with their addresses as hints (§7.3).
func (l *lookup) binding(set RRset, p stored, d *policy.Decision) {
	a, params := l.a, p.more()[2:]
	start := len(a.made)
	a.made = append(append(a.made, 0, 0), serviceHead...)
	params = a.appendParams(params, uint16(dns.SVCB_IPV4HINT))
	a.appendHint(dns.SVCB_IPV4HINT, d, policy.IPv4)
	params = a.appendParams(params, uint16(dns.SVCB_IPV6HINT))
	a.appendHint(dns.SVCB_IPV6HINT, d, policy.IPv6)
	a.appendParams(params, math.MaxUint16)
	binary.BigEndian.PutUint16(a.made[start:], uint16(len(a.made)-start-2))
	set.Count = 1
	a.addMade(set, start)
}

const serviceMode = 1 // priority: any but 0

const serviceHead = "\x00\x01\x00" // that priority, and "." as the target

// appendParams appends the SvcParams whose keys come before key, and returns the others.
func (a *Answer) appendParams(params []byte, key uint16) (rest []byte) {
	for rest = params; len(rest) > 0 && binary.BigEndian.Uint16(rest) < key; {
		size := 4 + int(binary.BigEndian.Uint16(rest[2:]))
		a.made, rest = append(a.made, rest[:size]...), rest[size:]
	}
	return rest
}

// appendHint appends a SvcParam of the addresses of a family, if any is chosen.
func (a *Answer) appendHint(key dns.SVCBKey, d *policy.Decision, f policy.Family) {
	start := len(a.made)
	a.made = append(binary.BigEndian.AppendUint16(a.made, uint16(key)), 0, 0)
	list, count := d.AppendRData(a.made, f)
	if count == 0 {
		a.made = a.made[:start]
		return
	}
	from, to := len(a.made), len(a.made) // each without its length
	for from < len(list) {
		size := int(binary.BigEndian.Uint16(list[from:]))
		from += 2
		to += copy(list[to:], list[from:from+size])
		from += size
	}
	a.made = list[:to]
	binary.BigEndian.PutUint16(a.made[start+2:], uint16(to-start-4))
}
