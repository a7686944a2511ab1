package store

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"meridian/policy"
	"meridian/spec"
	"meridian/zones"
)

// ownerPrefix is what the keys of one name have in common: "zone/<zone>/name/<owner>/"; "" for
// other keys.
func ownerPrefix(key string) string {
	_, _, last := cutNameKey(key)
	return key[:last]
}

// cutNameKey cuts "zone/<zone>/name/<owner>/<last>". last is where <last> begins, 0 for other keys.
func cutNameKey(key string) (zone, owner string, last int) {
	rest, ok := strings.CutPrefix(key, "zone/")
	if !ok {
		return "", "", 0
	}
	zone, rest, _ = strings.Cut(rest, "/")
	rest, ok = strings.CutPrefix(rest, "name/")
	owner, rest, more := strings.Cut(rest, "/")
	if !ok || !more || strings.Contains(rest, "/") {
		return "", "", 0
	}
	return zone, owner, len(key) - len(rest)
}

// zoneOf is the <zone> of a key that has one.
func zoneOf(key string) string {
	zone, _, _ := strings.Cut(key[len("zone/"):], "/")
	return zone
}

// takeSOA makes or changes a zone.
func (b *batch) takeSOA(k key, e Entry) {
	b.touch(k.owner, e.Revision)
	b.orphans[zoneOf(k.text)] = k.owner
	old, had := b.prev.Part(k.owner, dns.TypeSOA)
	had = had && old.Kind == zones.Static
	if e.Deleted {
		b.edit.Remove(k.owner, dns.TypeSOA)
		b.edit.Remove(k.owner, dns.TypeNS)
		b.faults.clear(k.text)
		return
	}
	var written zones.SOA
	err := decode(e.Value, &written)
	if err == nil {
		soa, ns, cerr := written.Compile(k.owner, e.Revision)
		if cerr == nil {
			b.edit.Put(k.owner, soa)
			b.edit.Put(k.owner, ns)
			b.faults.clear(k.text)
			b.wake(k.text)
			return
		}
		err = asError(cerr)
		err.Line = lineOf(e.Value, err.Field)
	}
	if !had {
		b.reject(e, err, 0)
		b.edit.Put(k.owner, zones.BrokenPart(dns.TypeSOA, []uint16{dns.TypeSOA, dns.TypeNS}, e.Revision))
		return
	}
	b.reject(e, err, old.Revision)
	if ns, ok := b.prev.Part(k.owner, dns.TypeNS); ok {
		b.edit.Put(k.owner, old)
		b.edit.Put(k.owner, ns)
	}
}

// takeNames brings the names up to date, all keys of one together.
func (b *batch) takeNames() {
	queue := sortByKey(b.queue[kindName])
	for len(queue) > 0 {
		prefix := ownerPrefix(queue[0].Key)
		n := 1
		for n < len(queue) && strings.HasPrefix(queue[n].Key, prefix) {
			n++
		}
		b.takeName(prefix, queue[:n])
		queue = queue[n:]
	}
	b.queue[kindName] = nil
}

// claim is what one key of a name wants to be.
type claim struct {
	typ    uint16 // zones.TypeSteer for "steer", zones.TypeUnknown where nobody knows it
	entry  Entry
	part   zones.Part  // if err is nil
	err    *spec.Error // why it cannot be
	awaits string      // what it refers to and is not there: the reason of err
	lacks  *spec.Error // it is served as far as it can be, but this is missing
	wake   string      // what has to change for err to pass, beside the name itself, or come for lacks to
}

// takeName brings a name up to date. Its keys are judged in the order in which they were written,
// so that of two in conflict the later one is wrong, on every server alike.
func (b *batch) takeName(prefix string, entries []Entry) {
	first, err := parseNameKey(entries[0].Key, &b.name)
	if first.text == "" { // what is wrong with the owner is wrong with all of its keys
		for _, e := range entries {
			b.refuseKey(e, err)
		}
		return
	}
	o, zone := first.owner, zoneOf(prefix)
	if b.orphans[zone].Name == nil {
		b.orphans[zone] = o.Top().Clone()
	}
	b.judgeName(o, prefix, entries)
	newest := int64(0)
	for _, e := range entries {
		newest = max(newest, e.Revision)
		if e.Deleted {
			b.faults.clear(e.Key)
		}
	}
	if zone != b.touched.zone || newest > b.touched.revision {
		b.touch(o, newest)
		b.touched.zone, b.touched.revision = zone, newest
	}
}

// judgeName takes what is new of a name's keys, and judges all of them.
func (b *batch) judgeName(o zones.Owner, prefix string, entries []Entry) {
	b.parts = b.prev.AppendParts(b.parts[:0], o)
	before := keysOf(o, b.parts)
	b.parts = b.edit.AppendParts(b.parts[:0], o)
	claims := b.claims(o, prefix, entries)
	slices.SortFunc(claims, func(x, y claim) int {
		return cmp.Or(cmp.Compare(x.entry.Revision, y.entry.Revision), strings.Compare(x.entry.Key, y.entry.Key))
	})
	b.parts = slices.DeleteFunc(b.parts, func(p zones.Part) bool { return !madeBySOA(o, p.Type) })
	var refused []claim
	for _, c := range claims {
		if c.err == nil || c.awaits != "" {
			if with, conflict := zones.Conflict(b.parts, c.part); conflict {
				c.awaits = ""
				c.err = spec.Errorf("", "it cannot stand beside %s, which was written earlier", zones.KeyOf(o, with.Type))
			}
		}
		if c.err == nil && b.compiled {
			if err, pool := b.besideNames(o, c.part); err != nil {
				c.err, c.wake = err, pool
			}
		}
		if c.err != nil {
			refused = append(refused, c)
			continue
		}
		b.put(c.part)
		if c.lacks == nil {
			b.faults.clear(c.entry.Key)
			continue
		}
		b.faults.set(&fault{
			Fault: Fault{
				Key: c.entry.Key, Revision: c.entry.Revision, Serving: c.entry.Revision,
				Field: c.lacks.Field, Line: c.lacks.Line, Error: c.lacks.Msg, Awaits: c.wake,
			},
			entry: c.entry, wake: c.wake,
		})
	}
	for _, c := range refused {
		b.refuse(o, c)
	}
	b.edit.Set(o, b.parts)
	b.countKeys(zoneOf(prefix), keysOf(o, b.parts)-before)
	for _, p := range b.parts {
		if p.Kind == zones.Steered && b.mayBeOfNames(p.Pool()) {
			b.named[prefix] = true
		}
	}
}

// put puts a part into b.parts, in the place of an earlier one of its type.
func (b *batch) put(p zones.Part) {
	b.parts = append(slices.DeleteFunc(b.parts, func(old zones.Part) bool { return old.Type == p.Type }), p)
}

// claims gathers what the keys of a name want to be: those of this batch, which are by key, and those
// that were there before, of which b.parts is what came of them.
func (b *batch) claims(o zones.Owner, prefix string, entries []Entry) []claim {
	b.claimed = b.claimed[:0]
	for i, e := range entries {
		if i+1 < len(entries) && entries[i+1].Key == e.Key || e.Deleted {
			continue
		}
		b.claimed = append(b.claimed, b.claim(o, e))
	}
	mentioned := func(text string) bool {
		_, there := slices.BinarySearchFunc(entries, text, func(e Entry, text string) int { return strings.Compare(e.Key, text) })
		return there
	}
	faulty := b.faults.byOwner[prefix]
	for _, text := range slices.Sorted(maps.Keys(faulty)) {
		if mentioned(text) {
			continue
		}
		f := b.faults.byKey[text]
		if f.part != nil {
			b.claimed = append(b.claimed, claim{typ: f.part.Type, entry: f.entry, part: *f.part})
			continue
		}
		b.claimed = append(b.claimed, b.claim(o, f.entry))
	}
	for _, p := range b.parts {
		if p.Kind == zones.Broken || madeBySOA(o, p.Type) {
			continue
		}
		text := prefix + typeWord(p.Type)
		if mentioned(text) || faulty[text] {
			continue
		}
		b.claimed = append(b.claimed, claim{typ: p.Type, entry: Entry{Key: text, Revision: p.Revision}, part: p})
	}
	return b.claimed
}

// madeBySOA says whether the part is one that the zone's soa makes.
func madeBySOA(o zones.Owner, typ uint16) bool {
	return o.Apex() && (typ == dns.TypeSOA || typ == dns.TypeNS)
}

// claim decodes one key of a name. What was good at this revision already is taken as it was.
func (b *batch) claim(o zones.Owner, e Entry) claim {
	c := claim{entry: e}
	if c.typ, c.err = parseType(e.Key[strings.LastIndexByte(e.Key, '/')+1:]); c.err != nil {
		return c
	}
	if b.faults.byKey[e.Key] == nil {
		if last, ok := b.prev.Part(o, c.typ); ok && last.Revision == e.Revision && last.Kind != zones.Broken {
			c.part = last
			return c
		}
	}
	var err error
	switch c.typ {
	case zones.TypeSteer:
		var written zones.Steer
		if written, c.err = b.steer(e.Value); c.err != nil {
			return c
		}
		var id policy.ID
		if p := b.pools[written.Pool]; p.there() {
			id = p.id
		} else if written.Pool != "" {
			c.awaits = "pool/" + written.Pool
			c.err = spec.Errorf("pool", "%s is not there yet", c.awaits)
		}
		if c.part, err = written.Compile(id, e.Revision); err != nil {
			c.err, c.awaits = asError(err), ""
			c.err.Line = lineOf(e.Value, c.err.Field)
		} else if c.err == nil && c.part.Covers(dns.TypeSRV) && !b.memberNames(o) {
			field := fmt.Sprintf("types[%d]", slices.Index(written.Types, "SRV"))
			soa := zones.KeyOf(o.Top(), dns.TypeSOA)
			c.lacks = spec.Errorf(field, `the targets of SRV are the names of members, which %s has to allow with "member_names":true: SERVFAIL until then`, soa)
			c.lacks.Line, c.wake = lineOf(e.Value, field), soa
		}
	default:
		if c.part, err = zones.ParseRRset(o, c.typ, string(e.Value), e.Revision); err != nil {
			c.err = asError(err)
		}
	}
	return c
}

// memberNames says whether members have names in the owner's zone by now.
func (b *batch) memberNames(o zones.Owner) bool {
	soa, ok := b.edit.Part(o.Top(), dns.TypeSOA)
	return ok && soa.MemberNames()
}

// judgeNamed judges the names again whose pools have turned out to be of names, or no more: they answer with
// a CNAME, and that stands alone (RFC 1034 §3.6.2).
func (b *batch) judgeNamed() {
	b.compiled = true
	steered := false
	for id := range b.flipped {
		steered = steered || b.edit.References(id) > 0
		for text := range b.faults.waiting["pool/"+b.poolIDs[id].name] {
			if prefix := ownerPrefix(text); prefix != "" {
				b.named[prefix] = true
			}
		}
	}
	if steered {
		b.prev.Each(func(o zones.Owner, p zones.Part) {
			if p.Kind == zones.Steered && b.flipped[p.Pool()] {
				b.named[ownerPrefix(zones.KeyOf(o, p.Type))] = true
			}
		})
	}
	for _, prefix := range slices.Sorted(maps.Keys(b.named)) {
		k, _ := parseNameKey(prefix+"steer", &b.name)
		before := b.edit.Parts(k.owner)
		b.judgeName(k.owner, prefix, nil)
		if !slices.EqualFunc(before, b.edit.Parts(k.owner), samePart) {
			b.touch(k.owner, b.update.Revision)
		}
	}
}

func samePart(p, q zones.Part) bool {
	return p.Type == q.Type && p.Kind == q.Kind && p.Revision == q.Revision
}

// mayBeOfNames says whether a pool may turn out to be of names when it is compiled, or is.
func (b *batch) mayBeOfNames(id policy.ID) bool {
	p := b.poolIDs[id]
	if may, known := b.mayName[id]; known {
		return may
	}
	may := p.compiled != nil && p.compiled.OfNames
	for _, m := range p.members {
		may = may || m.value.CNAME != "" || m.value.Pool != ""
	}
	b.mayName[id] = may
	return may
}

// besideNames says what part, a good one, cannot stand beside where a pool of names has the name. wake is the
// pool.
func (b *batch) besideNames(o zones.Owner, part zones.Part) (err *spec.Error, wake string) {
	if part.Kind == zones.Steered {
		pool, ok := b.poolOfNames(part.Pool())
		if !ok {
			return nil, ""
		}
		if o.Apex() {
			return spec.Errorf("pool", "%s is of names, and a CNAME cannot stand at a zone's apex", pool), pool
		}
		for _, other := range b.parts {
			if other.Kind == zones.Static {
				return spec.Errorf("pool", "%s is of names, and a CNAME cannot stand beside %s, which was written earlier", pool, zones.KeyOf(o, other.Type)), pool
			}
		}
		return nil, ""
	}
	for _, other := range b.parts {
		if other.Kind != zones.Steered {
			continue
		}
		if pool, ok := b.poolOfNames(other.Pool()); ok {
			return spec.Errorf("", "it cannot stand beside %s, which was written earlier: %s is of names, and answers with a CNAME", zones.KeyOf(o, other.Type), pool), pool
		}
	}
	return nil, ""
}

// poolOfNames says whether the pool of that ID is one of names, and returns "pool/<pool>".
func (b *batch) poolOfNames(id policy.ID) (key string, ok bool) {
	p := b.poolIDs[id]
	return "pool/" + p.name, p.compiled != nil && p.compiled.OfNames
}

// maxSteers is how many values of steered names a batch remembers.
const maxSteers = 1000

// steer decodes the value of a steered name. Of a million, most say the same.
func (b *batch) steer(value []byte) (zones.Steer, *spec.Error) {
	if known, ok := b.steers[string(value)]; ok {
		return known, nil
	}
	var written zones.Steer
	if err := decode(value, &written); err != nil {
		return written, err
	}
	if b.steers == nil {
		b.steers = map[string]zones.Steer{}
	}
	if len(b.steers) < maxSteers {
		b.steers[string(value)] = written
	}
	return written, nil
}

// refuse makes a fault of a claim, and puts into b.parts what is served in its place. The last good value
// serves on if it still can; a key that was never valid still makes its name exist.
func (b *batch) refuse(o zones.Owner, c claim) {
	f := &fault{
		Fault: Fault{
			Key: c.entry.Key, Revision: c.entry.Revision,
			Field: c.err.Field, Line: c.err.Line, Error: c.err.Msg, Awaits: c.awaits,
		},
		entry: c.entry, wake: cmp.Or(c.awaits, c.wake),
	}
	if c.entry.Value == nil {
		f.part = &c.part
	}
	last, ok := b.prev.Part(o, c.typ)
	if madeBySOA(o, c.typ) {
		b.faults.set(f)
		return
	}
	if ok && last.Kind != zones.Broken {
		beside, _ := b.besideNames(o, last)
		if _, conflict := zones.Conflict(b.parts, last); !conflict && (beside == nil || !b.compiled) {
			b.put(last)
			f.Serving = last.Revision
			b.faults.set(f)
			return
		}
	}
	types := []uint16{c.typ}
	if c.typ == zones.TypeSteer {
		types = zones.SteeredTypes
		if c.part.Kind == zones.Steered { // so far it is right
			types = slices.DeleteFunc(slices.Clone(zones.Steerable), func(typ uint16) bool { return !c.part.Covers(typ) })
		}
	}
	b.put(zones.BrokenPart(c.typ, types, c.entry.Revision))
	b.faults.set(f)
}

// settleZones gives the zones of a registry that was read whole their serials, and reports names
// that no soa makes a zone of.
func (b *batch) settleZones() {
	if b.update.Full {
		// A zone that was not served before changed at this revision at the latest.
		for _, e := range b.queue[kindSOA] {
			if _, served := b.prev.Serial(b.keys[e.Key].owner); !served {
				b.touch(b.keys[e.Key].owner, b.update.Revision)
			}
		}
	}
	for zone, apex := range b.orphans {
		text := "zone/" + zone + "/soa"
		_, made := b.edit.Part(apex, dns.TypeSOA)
		if made || !b.edit.Exists(apex) {
			b.mended(text)
			delete(b.orphans, zone)
			continue
		}
		b.standing(text, text, "the zone has names but no soa: without it none is answered")
	}
}

// touch has the zone's serial become the revision's, or stay where that would be a step back: a key
// that waited is taken in later than it was written, and an etcd may have been restored from a copy.
func (b *batch) touch(o zones.Owner, revision int64) {
	if serial, ok := b.prev.Serial(o); ok {
		revision = max(revision, b.prev.Revision+ahead(serial, b.prev.Revision))
	}
	if serial, ok := b.serials[o.ZoneText()]; ok {
		revision += max(0, ahead(serial, revision))
	}
	b.edit.Touch(o, revision)
}

// ahead is how far a serial is ahead of a revision's, below zero if it is behind (RFC 1982 §3.2).
func ahead(serial uint32, revision int64) int64 { return int64(int32(serial - uint32(revision))) }

// countKeys counts more, or fewer, keys of a zone's names.
func (r *Registry) countKeys(zone string, by int) {
	if by == 0 {
		return
	}
	r.nameKeys += by
	if r.keysOf[zone] += by; r.keysOf[zone] == 0 {
		delete(r.keysOf, zone)
	}
}

// keysOf is how many of an owner's parts are keys of the name.
func keysOf(o zones.Owner, parts []zones.Part) (n int) {
	for _, p := range parts {
		if !madeBySOA(o, p.Type) {
			n++
		}
	}
	return n
}
