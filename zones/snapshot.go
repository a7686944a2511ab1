// Package zones holds what is served: an immutable Snapshot of all names of all zones, how it is
// changed, and Resolve, which answers a Query from it (RFC 1034 §4.3.2).
package zones

import (
	"bytes"
	"iter"
	"math/bits"

	"github.com/miekg/dns"

	"meridian/policy"
)

// Snapshot is the configuration compiled at one revision of the registry. It is immutable but for
// the health words of its pools. Make the next one with Edit.
type Snapshot struct {
	policy.World
	Revision int64
	Names    int // that exist, empty non-terminals included

	names  *names
	order  index                // of all that is in names
	refs   []int32              // by policy.ID: steered names that refer to the pool
	apexes [maxLabels + 1]int32 // zones whose apex has i labels
	depths [2]uint64            // bit i: apexes[i] > 0

	members map[string]*memberZone // by apex in wire form: zones in which members have names
}

// New returns a snapshot that holds nothing.
func New() *Snapshot { return &Snapshot{names: newNames(fewShards)} }

// Zones is how many zones are served.
func (s *Snapshot) Zones() int {
	n := 0
	for _, count := range s.apexes {
		n += int(count)
	}
	return n
}

// References is how many steered names refer to a pool.
func (s *Snapshot) References(id policy.ID) int {
	if int(id) >= len(s.refs) {
		return 0
	}
	return int(s.refs[id])
}

// zoneOf returns the apex of the deepest zone, of at most deepest labels, that name lies in, nil where
// that is none of ours. last is the apex found before, which most queries find again.
func (s *Snapshot) zoneOf(name *Name, deepest int, last *lastApex) record {
	for depth := min(deepest, s.deepestZone()); depth >= 0; depth-- {
		if s.depths[depth/64]&(1<<(depth%64)) == 0 {
			continue
		}
		hash, suffix := name.suffixHash(depth), name.suffix(depth)
		in := s.names.shards[s.names.of(hash)]
		if in == last.in && depth == last.apex.zone() && bytes.Equal(last.apex.name(), suffix) {
			return last.apex
		}
		if apex := in.find(hash, suffix, depth); apex != nil && apex.flags()&hasSOA != 0 {
			*last = lastApex{in, apex}
			return apex
		}
	}
	return nil
}

// lastApex is an apex found in a shard. Since that never changes, the apex will be found there as long
// as a snapshot has the shard.
type lastApex struct {
	in   *shard
	apex record
}

// Part returns what a key, given by owner and type, has made of itself.
func (s *Snapshot) Part(o Owner, typ uint16) (Part, bool) { return s.record(o).partOf(typ) }

// Parts returns what all keys of an owner have made of themselves.
func (s *Snapshot) Parts(o Owner) []Part { return s.AppendParts(nil, o) }

// AppendParts appends Parts.
func (s *Snapshot) AppendParts(parts []Part, o Owner) []Part { return s.record(o).appendParts(parts) }

func (s *Snapshot) record(o Owner) record {
	return s.names.find(o.Name.suffixHash(int(o.Name.labels)), o.Name.Wire(), o.Zone)
}

// Each calls f with every part of every name, in no order. The owner is good until f returns.
func (s *Snapshot) Each(f func(Owner, Part)) {
	n := new(Name)
	for _, sh := range s.names.shards {
		sh.each(func(r record) bool {
			if r.parts() == 0 {
				return true
			}
			n.Read(r.name())
			for i, at := 0, r.first(); i < r.parts(); i++ {
				var p Part
				p, at = r.part(at)
				f(Owner{n, r.zone()}, p)
			}
			return true
		})
	}
}

// Zone yields the names of the zone at apex that exist, in canonical order (RFC 4034 §6.1), and what
// their keys have made of themselves: nothing at an empty non-terminal. The owner is good until the
// next one is asked for.
func (s *Snapshot) Zone(apex Owner) iter.Seq2[Owner, []Part] {
	return func(yield func(Owner, []Part) bool) {
		key := appendIndexKey(nil, apex.Name.suffix(apex.Zone), apex.Zone)
		var parts []Part
		o := Owner{new(Name), apex.Zone}
		s.order.from(key, func(k []byte) bool {
			if !bytes.HasPrefix(k, key) {
				return false
			}
			o.Name.readIndexKey(k)
			r := s.names.find(o.Name.hash[0], o.Name.Wire(), o.Zone)
			parts = r.appendParts(parts[:0])
			return yield(o, parts)
		})
	}
}

// Clone is a copy of o that does not share its name.
func (o Owner) Clone() Owner {
	n := *o.Name
	return Owner{&n, o.Zone}
}

// deepestZone is how many labels the apex has that has most; −1 without zones.
func (s *Snapshot) deepestZone() int {
	if s.depths[1] != 0 {
		return 63 + bits.Len64(s.depths[1])
	}
	return bits.Len64(s.depths[0]) - 1
}

func (s *Snapshot) count(depth, by int) {
	s.apexes[depth] += int32(by)
	if s.apexes[depth] > 0 {
		s.depths[depth/64] |= 1 << (depth % 64)
	} else {
		s.depths[depth/64] &^= 1 << (depth % 64)
	}
}

// Serial of the zone, and whether it is served.
func (s *Snapshot) Serial(o Owner) (uint32, bool) {
	apex := s.names.find(o.Name.suffixHash(o.Zone), o.Name.suffix(o.Zone), o.Zone)
	if apex == nil {
		return 0, false
	}
	soa := apex.find(dns.TypeSOA)
	if soa == nil {
		return 0, false
	}
	return soaSerial(soa.part()), true
}
