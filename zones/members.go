package zones

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"meridian/policy"
)

// memberTTL is that of a member's own name, in seconds.
const memberTTL = defaultSteerTTL

// memberZone is a zone in which members have names, <member>.<pool>.<zone>: those of the pools that its
// names steer to, and of the pools that these lead to, as a member or by on_empty. The names are in no
// shard: they are made where a look-up finds nothing else.
//
// Names of members and pools may hold dots. Where two pools fit, as web and b.web do for a.b.web, the
// longer name has the word if it has such a member.
type memberZone struct {
	refs  map[policy.ID]int32  // names of the zone that steer to the pool
	pools map[string]policy.ID // by name; noPool for what such a name ends with, after a dot
}

const noPool = ^policy.ID(0)

// memberZone counts what the names of a zone steer to.
func (s *Snapshot) memberZone(apex Owner) *memberZone {
	z := &memberZone{refs: map[policy.ID]int32{}}
	for _, parts := range s.Zone(apex) {
		for _, p := range parts {
			if p.Kind == Steered {
				z.refs[p.Pool()]++
			}
		}
	}
	return z
}

// with is z after some more, or fewer, names steer to each pool.
func (z *memberZone) with(changes map[policy.ID]int32) *memberZone {
	next := &memberZone{refs: maps.Clone(z.refs)}
	for id, by := range changes {
		if next.refs[id] += by; next.refs[id] == 0 {
			delete(next.refs, id)
		}
	}
	return next
}

// of is z among these pools.
func (z *memberZone) of(pools []*policy.Pool) *memberZone {
	next := &memberZone{z.refs, map[string]policy.ID{}}
	queue := slices.Collect(maps.Keys(z.refs))
	seen := map[policy.ID]bool{}
	for len(queue) > 0 {
		id := queue[0]
		queue = queue[1:]
		if seen[id] || int(id) >= len(pools) || pools[id] == nil {
			continue
		}
		seen[id] = true
		queue = appendLed(queue, pools[id])
		name := pools[id].Name
		next.pools[name] = id
		for _, rest, more := strings.Cut(name, "."); more; _, rest, more = strings.Cut(rest, ".") {
			if _, ok := next.pools[rest]; !ok {
				next.pools[rest] = noPool
			}
		}
	}
	return next
}

// appendLed appends the pools that p leads to.
func appendLed(ids []policy.ID, p *policy.Pool) []policy.ID {
	ids = append(ids, p.Children()...)
	for _, f := range p.OnEmpty {
		if f.Kind == policy.FallbackPool {
			ids = append(ids, f.Pool)
		}
	}
	return ids
}

// sameShape says whether p and q, of which either may be nil, have one name and lead to the same pools.
func sameShape(p, q *policy.Pool) bool {
	if p == nil || q == nil {
		return p == q
	}
	return p.Name == q.Name && slices.Equal(appendLed(nil, p), appendLed(nil, q))
}

// memberEdits are changes of an edit to zones in which members have names.
type memberEdits struct {
	zones  map[string]Owner               // by apex in wire form: an SOA that says member_names has come or gone
	refs   map[string]map[policy.ID]int32 // by apex, of zones that were such before: names that steer to each pool
	shapes bool                           // a pool has another name, or leads to others
}

// zone notes that an SOA that says member_names comes or goes.
func (m *memberEdits) zone(o Owner) {
	if m.zones == nil {
		m.zones = map[string]Owner{}
	}
	m.zones[string(o.Name.suffix(o.Zone))] = o.Top().Clone()
}

// steer notes that one name more, or fewer, steers to a pool.
func (m *memberEdits) steer(was map[string]*memberZone, o Owner, id policy.ID, by int) {
	apex := o.Name.suffix(o.Zone)
	if len(was) == 0 || was[string(apex)] == nil {
		return
	}
	if m.refs == nil {
		m.refs = map[string]map[policy.ID]int32{}
	}
	if m.refs[string(apex)] == nil {
		m.refs[string(apex)] = map[policy.ID]int32{}
	}
	m.refs[string(apex)][id] += int32(by)
}

// apply returns the zones in which members have names, once next holds all other changes.
func (m *memberEdits) apply(next *Snapshot) map[string]*memberZone {
	changed := map[string]*memberZone{}
	for apex, o := range m.zones {
		switch r := next.record(o); {
		case r == nil || r.flags()&zoneMemberNames == 0:
			changed[apex] = nil
		case next.members[apex] == nil:
			changed[apex] = next.memberZone(o)
		}
	}
	for apex, refs := range m.refs {
		maps.DeleteFunc(refs, func(_ policy.ID, by int32) bool { return by == 0 })
		if _, done := changed[apex]; !done && len(refs) > 0 {
			changed[apex] = next.members[apex].with(refs)
		}
	}
	if m.shapes {
		for apex, z := range next.members {
			if _, done := changed[apex]; !done {
				changed[apex] = z
			}
		}
	}
	if len(changed) == 0 {
		return next.members
	}
	members := map[string]*memberZone{}
	maps.Copy(members, next.members)
	for apex, z := range changed {
		if z == nil {
			delete(members, apex)
		} else {
			members[apex] = z.of(next.Pools)
		}
	}
	return members
}

// member goes on from the closest encloser that has labels labels, to names that exist for a member's
// sake: made says whether that is any, and whole whether it is the name itself. Then l.a.pool and l.a.who
// are whom it stands for.
func (l *lookup) member(encloser int) (made, whole bool) {
	z := l.s.members[string(l.apex.name())]
	if z == nil {
		return false, false
	}
	var room [maxName]byte
	name, zone := l.name, l.apex.zone()
	text := room[:copy(room[:], name.wire[:name.offset(zone)])] // length bytes become dots as it goes down
	for labels := zone + 1; labels <= int(name.labels); labels++ {
		at := int(name.offset(labels))
		label := text[at+1 : at+1+int(text[at])]
		if bytes.IndexByte(label, '.') >= 0 || labels > encloser && !l.stands(z, text[at+1:]) {
			return labels > encloser+1, false
		}
		text[at] = '.'
	}
	return true, true
}

// stands says whether a name, relative to the zone, exists for a member's sake.
func (l *lookup) stands(z *memberZone, name []byte) bool {
	l.a.pool = nil
	_, exists := z.pools[string(name)]
	for at := bytes.IndexByte(name, '.') + 1; at > 0; {
		if id, ok := z.pools[string(name[at:])]; ok && id != noPool {
			pool, member := l.s.Pools[id], name[:at-1]
			for i := range pool.Members {
				text := pool.Members[i].Name
				if text == string(member) {
					l.a.pool, l.a.who = pool, i
					return true
				}
				before := len(text) - len(member) - 1
				exists = exists || before >= 0 && text[before] == '.' && text[before+1:] == string(member)
			}
		}
		next := bytes.IndexByte(name[at:], '.') + 1
		if next == 0 {
			break
		}
		at += next
	}
	return exists
}

// answerMember answers for a member's own name, as found by member, whatever the member's health. A
// CNAME that has to be followed is returned: the target in wire form.
func (l *lookup) answerMember() (target []byte) {
	pool, who := l.a.pool, l.a.who
	if pool == nil || pool.Members[who].Pool != "" { // its members have names of their own
		l.negative(NoData)
		return nil
	}
	m, typ := &pool.Members[who], l.q.Type
	l.t.member(pool, m, "answers with all that it has, whatever its health")
	set := RRset{Section: AnswerSection, Hop: uint8(l.hop), Type: typ, TTL: memberTTL}
	switch {
	case m.CNAME != "":
		return l.addAlias(set, m)
	case typ == dns.TypeANY:
		l.any()
	case !l.a.addMember(set, m):
		l.negative(NoData)
	}
	return nil
}

// addMember adds a member's addresses of set.Type, as set, if it has any.
func (a *Answer) addMember(set RRset, m *policy.Member) bool {
	if set.Type != dns.TypeA && set.Type != dns.TypeAAAA {
		return false
	}
	start, family := len(a.made), familyOf(set.Type)
	for _, addr := range m.Addrs {
		if policy.FamilyOf(addr) != family {
			continue
		}
		set.Count++
		if family == policy.IPv4 {
			four := addr.As4()
			a.made = append(append(a.made, 0, 4), four[:]...)
		} else {
			six := addr.As16()
			a.made = append(append(a.made, 0, 16), six[:]...)
		}
	}
	if set.Count > 0 {
		a.addMade(set, start)
	}
	return set.Count > 0
}

// appendMemberName appends <member>.<pool>.<zone> in wire form. ok is false where that is no name.
func appendMemberName(b []byte, member, pool string, apex []byte) (out []byte, ok bool) {
	start := len(b)
	for _, text := range [...]string{member, pool} {
		for more := true; more; {
			var label string
			label, text, more = strings.Cut(text, ".")
			if len(label) == 0 || len(label) > maxLabel {
				return b, false
			}
			b = append(append(b, byte(len(label))), label...)
		}
	}
	b = append(b, apex...)
	return b, len(b)-start <= maxName
}

// appendName appends to a.made uint16 length (network order) and the name, which was found to be one
// when its key was read.
func (a *Answer) appendName(text string) {
	var wire [maxName]byte
	size, _ := dns.PackDomainName(text, wire[:], 0, nil, false)
	a.made = append(binary.BigEndian.AppendUint16(a.made, uint16(size)), wire[:size]...)
}
