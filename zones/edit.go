package zones

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"

	"github.com/miekg/dns"

	"meridian/policy"
	"meridian/policy/geo"
)

// Edit gathers changes to a snapshot. It is used by one goroutine; the snapshot it started from
// goes on being read meanwhile.
type Edit struct {
	next    Snapshot
	changes map[int]*shard     // by shard: the names that were changed, as they are now
	zones   map[string]touched // by apex in wire form: zones whose serial changes
	refs    map[policy.ID]int32
	members memberEdits
	pools   bool   // next.Pools is our own copy
	parts   []Part // of the name at hand
}

type touched struct {
	apex     Owner
	revision int64
}

// Node is what a record is made of.
type Node struct {
	name     []byte // wire form
	zone     int
	children uint32
	parts    []Part
}

// Edit begins a change of s.
func (s *Snapshot) Edit() *Edit {
	return &Edit{next: *s, changes: map[int]*shard{}, zones: map[string]touched{}, refs: map[policy.ID]int32{}}
}

// find returns the name made of the last labels labels of o as it stands in this edit, nil if it does
// not exist. The record is good until the next change.
func (e *Edit) find(o Owner, labels int) record {
	if r := e.changed(o, labels); r == nil {
		return e.next.names.find(o.Name.suffixHash(labels), o.Name.suffix(labels), o.Zone)
	} else if !r.empty() {
		return r
	}
	return nil
}

// changed is find among what was changed, where names may be empty that exist no more.
func (e *Edit) changed(o Owner, labels int) record {
	hash := o.Name.suffixHash(labels)
	c := e.changes[e.next.names.of(hash)]
	if c == nil {
		return nil
	}
	return c.find(hash, o.Name.suffix(labels), o.Zone)
}

// put puts a name in the place of what was known of it.
func (e *Edit) put(o Owner, labels int, children uint32, parts []Part) {
	if e.next.Names >= fewNames && len(e.next.names.shards) == fewShards {
		e.next.names = e.next.names.spread()
		e.changes = spread(maps.Values(e.changes), e.next.names)
	}
	hash := o.Name.suffixHash(labels)
	at := e.next.names.of(hash)
	if e.changes[at] == nil {
		e.changes[at] = newShard()
	}
	e.changes[at].add(hash, &Node{o.Name.suffix(labels), o.Zone, children, parts})
}

// Parts returns what the owner's keys have made of themselves so far.
func (e *Edit) Parts(o Owner) []Part { return e.AppendParts(nil, o) }

// AppendParts appends Parts.
func (e *Edit) AppendParts(parts []Part, o Owner) []Part {
	return e.find(o, int(o.Name.labels)).appendParts(parts)
}

// Part returns the part of a type.
func (e *Edit) Part(o Owner, typ uint16) (Part, bool) {
	return e.find(o, int(o.Name.labels)).partOf(typ)
}

// Put sets a part in the place of any earlier one of its type.
func (e *Edit) Put(o Owner, p Part) {
	r := e.find(o, int(o.Name.labels))
	e.parts = append(without(r.appendParts(e.parts[:0]), p.Type), p)
	e.set(o, r, e.parts)
}

// Remove takes the part of a type away.
func (e *Edit) Remove(o Owner, typ uint16) {
	r := e.find(o, int(o.Name.labels))
	if _, there := r.partOf(typ); there {
		e.parts = without(r.appendParts(e.parts[:0]), typ)
		e.set(o, r, e.parts)
	}
}

func without(parts []Part, typ uint16) []Part {
	return slices.DeleteFunc(parts, func(p Part) bool { return p.Type == typ })
}

// Set puts parts, no two of one type, in the place of all that the owner has.
func (e *Edit) Set(o Owner, parts []Part) {
	if r := e.find(o, int(o.Name.labels)); r != nil || len(parts) > 0 {
		e.set(o, r, parts)
	}
}

// set is Set, where r is what find says of the owner.
func (e *Edit) set(o Owner, r record, parts []Part) {
	labels := int(o.Name.labels)
	children, existed := uint32(0), r != nil
	if existed {
		children = r.children()
		for i, at := 0, r.first(); i < r.parts(); i++ {
			var p Part
			p, at = r.part(at)
			e.count(o, p, -1)
		}
	}
	for _, p := range parts {
		e.count(o, p, 1)
	}
	e.put(o, labels, children, parts)
	switch exists := len(parts) > 0 || children > 0; {
	case exists && !existed:
		e.link(o, labels)
	case existed && !exists:
		e.unlink(o, labels)
	}
}

// count keeps what the snapshot counts: names steered by each pool, zones by depth.
func (e *Edit) count(o Owner, p Part, by int) {
	switch {
	case p.Kind == Steered:
		e.refs[p.Pool()] += int32(by)
		e.members.steer(e.next.members, o, p.Pool(), by)
	case p.Type == dns.TypeSOA:
		e.next.count(o.Zone, by)
		if p.flags&memberNames != 0 {
			e.members.zone(o)
		}
	}
}

// References is how many steered names refer to a pool by now.
func (e *Edit) References(id policy.ID) int { return e.next.References(id) + int(e.refs[id]) }

// Exists says whether the owner's name exists by now, an empty non-terminal included.
func (e *Edit) Exists(o Owner) bool { return e.find(o, int(o.Name.labels)) != nil }

// link makes a name that has come to exist a child of the name above it, which then exists too:
// as an empty non-terminal if nothing else (RFC 8020).
func (e *Edit) link(o Owner, labels int) {
	for e.next.Names++; labels > o.Zone; e.next.Names++ {
		labels--
		parent := e.find(o, labels)
		if e.setChildren(o, labels, parent, 1); parent != nil {
			return
		}
	}
}

func (e *Edit) unlink(o Owner, labels int) {
	for e.next.Names--; labels > o.Zone; e.next.Names-- {
		labels--
		if !e.setChildren(o, labels, e.find(o, labels), -1) {
			return
		}
	}
}

// setChildren gives a name as many children more or fewer, and says whether it is empty then. What has
// a million children must not be put anew with each: they are counted in place.
func (e *Edit) setChildren(o Owner, labels int, r record, by int) (empty bool) {
	own := e.changed(o, labels)
	if own == nil {
		children := uint32(0)
		if r != nil {
			children = r.children()
		}
		e.parts = r.appendParts(e.parts[:0])
		e.put(o, labels, children, e.parts)
		own = e.changed(o, labels)
	}
	binary.LittleEndian.PutUint32(own[4:], own.children()+uint32(by))
	return own.empty()
}

// Touch marks the owner's zone as changed at revision: its serial becomes the low 32 bits of it.
func (e *Edit) Touch(o Owner, revision int64) {
	apex := o.Name.suffix(o.Zone)
	t, ok := e.zones[string(apex)]
	switch {
	case !ok:
		e.zones[string(apex)] = touched{Owner{newName(apex), o.Zone}, revision}
	case t.revision < revision:
		t.revision = revision
		e.zones[string(apex)] = t
	}
}

// SetPool puts a pool in its place, or takes it away if p is nil.
func (e *Edit) SetPool(id policy.ID, p *policy.Pool) {
	if !e.pools {
		e.next.Pools, e.pools = slices.Clone(e.next.Pools), true
	}
	for int(id) >= len(e.next.Pools) {
		e.next.Pools = append(e.next.Pools, nil)
	}
	e.members.shapes = e.members.shapes || !sameShape(e.next.Pools[id], p)
	e.next.Pools[id] = p
}

// Pools are those of the snapshot to come, by ID.
func (e *Edit) Pools() []*policy.Pool { return e.next.Pools }

// SetGeo puts a database in the place of the one there is; nil: none.
func (e *Edit) SetGeo(d *geo.Database) { e.next.Geo = d }

// Commit returns the changed snapshot. The edit is of no more use.
func (e *Edit) Commit(revision int64) *Snapshot {
	for _, t := range e.zones {
		e.setSerial(t)
	}
	next := e.next
	next.Revision = revision
	if len(e.changes) > 0 {
		shards := slices.Clone(next.names.shards)
		var order indexEdits
		for at, changes := range e.changes {
			order.compare(shards[at], changes)
			shards[at] = shards[at].with(changes)
			delete(e.changes, at) // of many, those done with can be collected
		}
		next.names, next.order = &names{shards, next.names.shift}, next.order.change(&order)
	}
	if len(e.refs) > 0 {
		next.refs = slices.Clone(next.refs)
		for id, by := range e.refs {
			for int(id) >= len(next.refs) {
				next.refs = append(next.refs, 0)
			}
			next.refs[id] += by
		}
	}
	next.members = e.members.apply(&next)
	return &next
}

// compare takes in the names that come and go when changes are made to a shard.
func (x *indexEdits) compare(old, changes *shard) {
	changes.newest(func(hash uint64, r record) {
		if was := old.find(hash, r.name(), r.zone()) != nil; was == r.empty() {
			x.add(r.name(), r.zone(), was)
		}
	})
}

func (e *Edit) setSerial(t touched) {
	soa, ok := e.Part(t.apex, dns.TypeSOA)
	if !ok || soa.Kind != Static {
		return
	}
	r := e.find(t.apex, t.apex.Zone)
	e.parts = r.appendParts(e.parts[:0])
	for i, p := range e.parts {
		if p.Type == dns.TypeSOA {
			p.data = bytes.Clone(p.data)
			binary.BigEndian.PutUint32(p.data[len(p.data)-soaSerialFromEnd:], uint32(t.revision))
			e.parts[i] = p
		}
	}
	e.put(t.apex, t.apex.Zone, r.children(), e.parts)
}
