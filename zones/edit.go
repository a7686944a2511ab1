package zones

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/miekg/dns"

	"meridian/policy"
)

// Edit gathers changes to a snapshot. It is used by one goroutine; the snapshot it started from
// goes on being read meanwhile.
type Edit struct {
	next   Snapshot
	shards map[int]map[nodeKey]*Node
	zones  map[nodeKey]touched // whose serial changes
	refs   map[policy.ID]int32
	pools  bool // next.Pools is our own copy
}

type touched struct {
	owner    Owner
	revision int64
}

type nodeKey struct {
	name string // wire form
	zone int
}

// Node is a name while it is edited.
type Node struct {
	name     []byte
	zone     int
	children uint32
	parts    []Part
}

func (n *Node) empty() bool { return len(n.parts) == 0 && n.children == 0 }

// Edit begins a change of s.
func (s *Snapshot) Edit() *Edit {
	return &Edit{
		next:   *s,
		shards: map[int]map[nodeKey]*Node{},
		zones:  map[nodeKey]touched{},
		refs:   map[policy.ID]int32{},
	}
}

// node returns the name made of the last labels labels of o, as it stands in this edit.
func (e *Edit) node(o Owner, labels int) *Node {
	name, hash := o.Name.suffix(labels), o.Name.suffixHash(labels)
	at, key := shardOf(hash), nodeKey{string(name), o.Zone}
	nodes := e.shards[at]
	if nodes == nil {
		nodes = map[nodeKey]*Node{}
		e.shards[at] = nodes
	}
	if n := nodes[key]; n != nil {
		return n
	}
	n := &Node{name: bytes.Clone(name), zone: o.Zone}
	if r := e.next.names.find(hash, name, o.Zone); r != nil {
		n.children = r.children()
		for i, at := 0, r.first(); i < r.parts(); i++ {
			var p Part
			p, at = r.part(at)
			n.parts = append(n.parts, p)
		}
	}
	nodes[key] = n
	return n
}

// Parts returns what the owner's keys have made of themselves so far.
func (e *Edit) Parts(o Owner) []Part { return e.node(o, int(o.Name.labels)).parts }

// Part returns the part of a type.
func (e *Edit) Part(o Owner, typ uint16) (Part, bool) {
	for _, p := range e.Parts(o) {
		if p.Type == typ {
			return p, true
		}
	}
	return Part{}, false
}

// Put sets a part in the place of any earlier one of its type.
func (e *Edit) Put(o Owner, p Part) {
	e.Remove(o, p.Type)
	n := e.node(o, int(o.Name.labels))
	wasEmpty := n.empty()
	n.parts = append(n.parts, p)
	e.count(o, p, 1)
	if wasEmpty {
		e.link(o, int(o.Name.labels))
	}
}

// Remove takes the part of a type away.
func (e *Edit) Remove(o Owner, typ uint16) {
	n := e.node(o, int(o.Name.labels))
	for i, p := range n.parts {
		if p.Type == typ {
			n.parts = slices.Delete(slices.Clone(n.parts), i, i+1)
			e.count(o, p, -1)
			if n.empty() {
				e.unlink(o, int(o.Name.labels))
			}
			return
		}
	}
}

// count keeps what the snapshot counts: names steered by each pool, zones by depth.
func (e *Edit) count(o Owner, p Part, by int) {
	switch {
	case p.Kind == Steered:
		e.refs[p.Pool()] += int32(by)
	case p.Type == dns.TypeSOA:
		e.next.count(o.Zone, by)
	}
}

// References is how many steered names refer to a pool by now.
func (e *Edit) References(id policy.ID) int { return e.next.References(id) + int(e.refs[id]) }

// Exists says whether the owner's name exists by now, an empty non-terminal included.
func (e *Edit) Exists(o Owner) bool { return !e.node(o, int(o.Name.labels)).empty() }

// link makes a name that has come to exist a child of the name above it, which then exists too:
// as an empty non-terminal if nothing else (RFC 8020).
func (e *Edit) link(o Owner, labels int) {
	for e.next.Names++; labels > o.Zone; e.next.Names++ {
		labels--
		parent := e.node(o, labels)
		wasEmpty := parent.empty()
		parent.children++
		if !wasEmpty {
			return
		}
	}
}

func (e *Edit) unlink(o Owner, labels int) {
	for e.next.Names--; labels > o.Zone; e.next.Names-- {
		labels--
		parent := e.node(o, labels)
		if parent.children--; !parent.empty() {
			return
		}
	}
}

// Touch marks the owner's zone as changed at revision: its serial becomes the low 32 bits of it.
func (e *Edit) Touch(o Owner, revision int64) {
	key := nodeKey{string(o.Name.suffix(o.Zone)), o.Zone}
	if t, ok := e.zones[key]; !ok || t.revision < revision {
		e.zones[key] = touched{o, revision}
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
	e.next.Pools[id] = p
}

// Commit returns the changed snapshot. The edit is of no more use.
func (e *Edit) Commit(revision int64) *Snapshot {
	for _, t := range e.zones {
		e.setSerial(t)
	}
	next := e.next
	next.Revision = revision
	if len(e.shards) > 0 {
		shards := *next.names
		for at, nodes := range e.shards {
			shards[at] = shards[at].rebuild(nodes)
		}
		next.names = &shards
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
	return &next
}

func (e *Edit) setSerial(t touched) {
	apex := e.node(t.owner, t.owner.Zone)
	for i, p := range apex.parts {
		if p.Type == dns.TypeSOA && p.Kind == Static {
			apex.parts = slices.Clone(apex.parts)
			p.data = bytes.Clone(p.data)
			binary.BigEndian.PutUint32(p.data[len(p.data)-soaSerialFromEnd:], uint32(t.revision))
			apex.parts[i] = p
		}
	}
}
