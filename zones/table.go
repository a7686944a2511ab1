package zones

import (
	"bytes"
	"iter"
	"math/bits"
	"slices"
)

// names is the table of all names of all zones: an immutable array of shards. A change makes new
// shards of those it touches; readers of the old ones are never disturbed.
type names struct {
	shards []*shard // fewShards or manyShards
	shift  uint8    // a hash shifted right by it is the place of its shard
}

// A shard each for few names would be spread over so much memory that the processor's cache holds
// less of it. Many names need many, since a change makes all of a shard anew.
const (
	fewShards  = 1 << 6
	manyShards = 1 << 12
	fewNames   = 128 * fewShards // more than those need many
)

func newNames(shards int) *names {
	return &names{slices.Repeat([]*shard{emptyShard}, shards), uint8(64 - bits.TrailingZeros(uint(shards)))}
}

// of is the place of a name's shard.
func (t *names) of(hash uint64) int { return int(hash >> (t.shift & 63)) }

// spread returns the same names in many shards.
func (t *names) spread() *names {
	next := newNames(manyShards)
	for at, sh := range spread(slices.Values(t.shards), next) {
		sh.arena = slices.Clone(sh.arena)
		next.shards[at] = sh
	}
	return next
}

// spread puts the newest records of shards into new ones, by their place in t.
func spread(shards iter.Seq[*shard], t *names) map[int]*shard {
	next := map[int]*shard{}
	for sh := range shards {
		sh.newest(func(hash uint64, r record) {
			at := t.of(hash)
			if next[at] == nil {
				next[at] = newShard()
			}
			next[at].arena = append(next[at].arena, r...)
			next[at].added(hash, record(next[at].arena[len(next[at].arena)-len(r):]))
		})
	}
	return next
}

// shard is a hash table with open addressing and one arena of records. Neither holds a pointer,
// so the collector passes over a million names as over a few thousand.
type shard struct {
	slots []slot // a power of two, at most three quarters in use
	arena []byte
	used  int
	dead  bool // while it is made: a record in the arena has a newer one, or holds nothing
}

type slot struct {
	tag uint32 // bits 20–51 of the hash
	at  uint32 // place of the record in the arena, plus one; 0 is an empty slot
}

var emptyShard = newShard()

// newShard returns an empty shard for add.
func newShard() *shard { return &shard{slots: make([]slot, 1)} }

func tagOf(hash uint64) uint32 { return uint32(hash >> 20) }

// find returns the record of a name in the zone whose apex has zone labels, nil if there is none.
// hash is the name's.
func (t *names) find(hash uint64, name []byte, zone int) record {
	return t.shards[t.of(hash)].find(hash, name, zone)
}

func (s *shard) find(hash uint64, name []byte, zone int) record {
	_, r := s.slot(hash, name, zone)
	return r
}

// findWildcard is find for the wildcard below name.
func (t *names) findWildcard(hash uint64, name []byte, zone int) record {
	s := t.shards[t.of(hash)]
	mask := uint64(len(s.slots) - 1)
	for i := hash & mask; s.slots[i].at != 0; i = (i + 1) & mask {
		if s.slots[i].tag != tagOf(hash) {
			continue
		}
		r := s.record(s.slots[i])
		if own := r.name(); r.zone() == zone && own[0] == 1 && own[1] == '*' && bytes.Equal(own[2:], name) {
			return r
		}
	}
	return nil
}

func (s *shard) record(sl slot) record {
	at := int(sl.at - 1)
	size := int(record(s.arena[at:]).size())
	return record(s.arena[at : at+size : at+size])
}

// each calls f with every record, until f returns false.
func (s *shard) each(f func(record) bool) bool {
	for at := 0; at < len(s.arena); {
		r := record(s.arena[at:])
		size := int(r.size())
		if !f(r[:size:size]) {
			return false
		}
		at += size
	}
	return true
}

// add puts a record of the name with that hash behind those of s, which may have an older one of it.
// s is still being made.
func (s *shard) add(hash uint64, n *Node) {
	start := len(s.arena)
	s.arena = appendRecord(s.arena, n)
	s.added(hash, record(s.arena[start:]))
}

// added enters r, the last record of the arena.
func (s *shard) added(hash uint64, r record) {
	at := uint32(len(s.arena) - len(r) + 1)
	s.dead = s.dead || r.empty()
	if older, _ := s.slot(hash, r.name(), r.zone()); older != nil {
		older.at = at
		s.dead = true
		return
	}
	if s.used++; s.used*4 > len(s.slots)*3 {
		s.grow()
	}
	s.place(hash, at)
}

// slot is where the place of a name's record stands, and the record; nil if there is none.
func (s *shard) slot(hash uint64, name []byte, zone int) (*slot, record) {
	slots, tag := s.slots, tagOf(hash)
	mask := uint64(len(slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		sl := &slots[i]
		if sl.at == 0 {
			return nil, nil
		}
		if sl.tag != tag {
			continue
		}
		if r := record(s.arena[sl.at-1:]); r.zone() == zone && bytes.Equal(r.name(), name) {
			size := r.size()
			return sl, r[:size:size]
		}
	}
}

// likely is the place of the first record that may be of a name with that hash, plus one; 0 if there is
// none. It looks at slots alone.
func (s *shard) likely(hash uint64) uint32 {
	mask, tag := uint64(len(s.slots)-1), tagOf(hash)
	for i := hash & mask; ; i = (i + 1) & mask {
		if sl := &s.slots[i]; sl.at == 0 || sl.tag == tag {
			return sl.at
		}
	}
}

func (s *shard) place(hash uint64, at uint32) {
	mask := uint64(len(s.slots) - 1)
	i := hash & mask
	for s.slots[i].at != 0 {
		i = (i + 1) & mask
	}
	s.slots[i] = slot{tagOf(hash), at}
}

// grow doubles the slots.
func (s *shard) grow() {
	old := s.slots
	s.slots = make([]slot, max(4, 2*len(old)))
	var name Name
	for _, sl := range old {
		if sl.at != 0 {
			name.Read(record(s.arena[sl.at-1:]).name())
			s.place(name.hash[0], sl.at)
		}
	}
}

// with returns the shard that has the records of s but for those that changes has newer ones of, and
// these, as far as they hold anything. changes is of no more use.
func (s *shard) with(changes *shard) *shard {
	if s == emptyShard && !changes.dead {
		changes.arena = slices.Clip(slices.Clone(changes.arena))
		return changes
	}
	next := &shard{arena: make([]byte, 0, len(s.arena)+len(changes.arena))}
	hashes := make([]uint64, 0, s.used+changes.used)
	var name Name
	s.each(func(r record) bool {
		if name.Read(r.name()); changes.find(name.hash[0], r.name(), r.zone()) == nil {
			next.arena, hashes = append(next.arena, r...), append(hashes, name.hash[0])
		}
		return true
	})
	changes.newest(func(hash uint64, r record) {
		if !r.empty() {
			next.arena, hashes = append(next.arena, r...), append(hashes, hash)
		}
	})
	if len(hashes) == 0 {
		return emptyShard
	}
	if len(next.arena) < cap(next.arena)*7/8 {
		next.arena = slices.Clone(next.arena)
	}
	next.index(hashes)
	return next
}

// newest calls f with the newest record of every name, and the name's hash.
func (s *shard) newest(f func(hash uint64, r record)) {
	var name Name
	at := uint32(1)
	s.each(func(r record) bool {
		name.Read(r.name())
		if sl, _ := s.slot(name.hash[0], r.name(), r.zone()); sl.at == at {
			f(name.hash[0], r)
		}
		at += r.size()
		return true
	})
}

// index makes the slots of a shard whose records have these hashes, in their order.
func (s *shard) index(hashes []uint64) {
	size := 4
	for len(hashes)*4 > size*3 {
		size *= 2
	}
	s.slots, s.used = make([]slot, size), len(hashes)
	at := uint32(1)
	for _, hash := range hashes {
		s.place(hash, at)
		at += record(s.arena[at-1:]).size()
	}
}

func (r record) empty() bool { return r.parts() == 0 && r.children() == 0 }

// appendParts appends the parts of a record, which may be nil.
func (r record) appendParts(parts []Part) []Part {
	if r == nil {
		return parts
	}
	for i, at := 0, r.first(); i < r.parts(); i++ {
		var p Part
		p, at = r.part(at)
		parts = append(parts, p)
	}
	return parts
}

// partOf returns the part that the key of a type has made. The record may be nil.
func (r record) partOf(typ uint16) (Part, bool) {
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
