// Package zones holds what is served: an immutable Snapshot of all names of all zones, how it is
// changed, and Resolve, which answers a Query from it (RFC 1034 §4.3.2).
package zones

import (
	"github.com/miekg/dns"

	"meridian/policy"
)

// Snapshot is the configuration compiled at one revision of the registry. It is immutable but for
// the health words of its pools. Make the next one with Edit.
type Snapshot struct {
	Revision int64
	Pools    []*policy.Pool // by policy.ID; nil where no pool has that ID
	Names    int            // that exist, empty non-terminals included

	names  *names
	refs   []int32              // by policy.ID: steered names that refer to the pool
	apexes [maxLabels + 1]int32 // zones whose apex has i labels
	depths [2]uint64            // bit i: apexes[i] > 0
}

// New returns a snapshot that holds nothing.
func New() *Snapshot {
	s := &Snapshot{names: new(names)}
	for i := range s.names {
		s.names[i] = emptyShard
	}
	return s
}

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
// that is none of ours.
func (s *Snapshot) zoneOf(name *Name, deepest int) record {
	for depth := deepest; depth >= 0; depth-- {
		if s.depths[depth/64]&(1<<(depth%64)) == 0 {
			continue
		}
		apex := s.names.find(name.suffixHash(depth), name.suffix(depth), depth)
		if apex != nil && apex.flags()&hasSOA != 0 {
			return apex
		}
	}
	return nil
}

// Part returns what a key, given by owner and type, has made of itself.
func (s *Snapshot) Part(o Owner, typ uint16) (Part, bool) {
	r := s.names.find(o.Name.suffixHash(int(o.Name.labels)), o.Name.Wire(), o.Zone)
	if r == nil {
		return Part{}, false
	}
	for i, at := 0, r.first(); i < r.parts(); i++ {
		var p Part
		if p, at = r.part(at); p.Type == typ {
			return p, true
		}
	}
	return Part{}, false
}

// Parts returns what all keys of an owner have made of themselves.
func (s *Snapshot) Parts(o Owner) (parts []Part) {
	r := s.names.find(o.Name.suffixHash(int(o.Name.labels)), o.Name.Wire(), o.Zone)
	if r == nil {
		return nil
	}
	for i, at := 0, r.first(); i < r.parts(); i++ {
		var p Part
		p, at = r.part(at)
		parts = append(parts, p)
	}
	return parts
}

// Each calls f with every part of every name, in no order.
func (s *Snapshot) Each(f func(Owner, Part)) {
	for _, sh := range s.names {
		sh.each(func(r record) bool {
			if r.parts() == 0 {
				return true
			}
			n := new(Name)
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
