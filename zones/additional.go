package zones

import (
	"bytes"
	"encoding/binary"

	"github.com/miekg/dns"

	"meridian/policy"
)

// maxAdditional is how many hosts of an RRset get their addresses along with it.
const maxAdditional = 16

// additional adds the addresses of the hosts that an answer names, as far as its zone has them
// (RFC 1034 §4.3.2 step 6), so that the client need not ask again.
func (l *lookup) additional(p stored) {
	switch p.typ() {
	case dns.TypeNS:
		l.hosts(p.data(), 0)
	case dns.TypeMX, dns.TypeSVCB, dns.TypeHTTPS:
		l.hosts(p.data(), 2)
	case dns.TypeSRV:
		l.hosts(p.data(), beforeTarget)
	}
}

const beforeTarget = 6 // bytes of an SRV's RDATA

// hosts is additional for RRset data of which each RDATA has the host's name behind so many bytes.
func (l *lookup) hosts(data []byte, before int) {
	hosts := 0
	for ; len(data) > 0 && hosts < maxAdditional; hosts++ {
		size := 2 + int(binary.BigEndian.Uint16(data))
		l.host(data[2+before : size])
		data = data[size:]
	}
}

// host adds the addresses of a host, with whose name rdata begins, if they are this zone's to tell.
func (l *lookup) host(rdata []byte) {
	there := lookup{s: l.s, q: l.q, a: l.a, apex: l.apex, name: &l.a.target}
	if l.inZone(rdata) && l.s.zoneOf(&l.a.target, int(l.a.target.labels), &l.a.last).zone() == l.apex.zone() { // not of a zone of ours below
		owner := rdata[:l.a.target.size]
		switch found := there.match(); {
		case found.kind == exact:
			l.addresses(found.at, owner, false)
		case found.kind == ofMember && l.a.pool != nil && !l.a.tells(owner):
			for _, typ := range addressTypes {
				l.a.addMember(RRset{Section: AdditionalSection, Owner: owner, Type: typ, TTL: memberTTL}, &l.a.pool.Members[l.a.who])
			}
		}
	}
}

// glue adds the addresses of name servers as far as the zone has them, hidden by a cut or not. Those
// below this cut nobody else can tell: they are required (RFC 9471 §3).
func (l *lookup) glue(ns stored, cutName []byte) {
	for data := ns.data(); len(data) > 0; {
		size := 2 + int(binary.BigEndian.Uint16(data))
		host := data[2:size]
		data = data[size:]
		if !l.inZone(host) {
			continue
		}
		target := &l.a.target
		if r := l.s.names.find(target.suffixHash(int(target.labels)), target.Wire(), l.apex.zone()); r != nil {
			l.addresses(r, host, isBelow(host, cutName))
		}
	}
}

// inZone reads the name that rdata begins with into l.a.target and says whether it lies in the zone
// of the name looked up.
func (l *lookup) inZone(rdata []byte) bool {
	target, zone := &l.a.target, l.apex.zone()
	_, ok := target.Read(rdata)
	return ok && int(target.labels) >= zone && bytes.Equal(target.suffix(zone), l.apex.name())
}

// addresses adds those that the keys at r say of owner. What a pool chooses comes along where it is
// required: elsewhere the client asks for it, and has a choice made for it.
func (l *lookup) addresses(r record, owner []byte, required bool) {
	if l.a.tells(owner) {
		return
	}
	for _, typ := range addressTypes {
		p := r.covering(typ)
		if p == nil {
			continue
		}
		set := RRset{Section: AdditionalSection, Owner: owner, Required: required, Type: typ, TTL: p.ttl()}
		switch {
		case p.kind() == Static:
			set.Count, set.Data = p.count(), p.data()
			l.a.Sets = append(l.a.Sets, set)
		case p.kind() == Steered && required:
			l.steeredGlue(p, set)
		}
	}
}

var addressTypes = [...]uint16{dns.TypeA, dns.TypeAAAA}

// tells says whether the addresses of a host are there already: one may be named twice, by two SRV for
// instance.
func (a *Answer) tells(owner []byte) bool {
	for i := range a.Sets {
		if s := &a.Sets[i]; s.Section == AdditionalSection && bytes.EqualFold(s.Owner, owner) {
			return true
		}
	}
	return false
}

// steeredGlue adds, as set, what the pool would answer for a name server, were it not below a cut.
func (l *lookup) steeredGlue(p stored, set RRset) {
	host := &l.a.target
	l.t.about(host, "is steered: its glue is what the pool chooses")
	var d policy.Decision
	if l.choose(&d, host, p, set.Type); d.Outcome == policy.Chosen && !d.Pool.OfNames {
		set.TTL = chosenTTL(p, &d)
		l.a.addChosen(set, &d)
	}
}

// isBelow says whether name, of whatever case, is cutName or lies below it.
func isBelow(name, cutName []byte) bool {
	for at := 0; len(name)-at >= len(cutName); at += 1 + int(name[at]) {
		if bytes.EqualFold(name[at:], cutName) {
			return true
		}
		if name[at] == 0 {
			break
		}
	}
	return false
}
