package zones

import "bytes"

// names is the table of all names of all zones: an immutable array of shards. A change makes new
// shards of those it touches; readers of the old ones are never disturbed.
type names [shardCount]*shard

const (
	shardBits  = 12
	shardCount = 1 << shardBits
)

// shard is a hash table with open addressing and one arena of records. Neither holds a pointer,
// so the collector passes over a million names as over a few thousand.
type shard struct {
	slots []slot // a power of two, at most three quarters in use
	arena []byte
	used  int
}

type slot struct {
	tag uint32 // bits 20–51 of the hash
	at  uint32 // place of the record in the arena, plus one; 0 is an empty slot
}

var emptyShard = &shard{slots: make([]slot, 1)}

func shardOf(hash uint64) int  { return int(hash >> (64 - shardBits)) }
func tagOf(hash uint64) uint32 { return uint32(hash >> 20) }

// find returns the record of a name in the zone whose apex has zone labels, nil if there is none.
// hash is the name's.
func (t *names) find(hash uint64, name []byte, zone int) record {
	return t[shardOf(hash)].find(hash, name, zone)
}

func (s *shard) find(hash uint64, name []byte, zone int) record {
	mask := uint64(len(s.slots) - 1)
	for i := hash & mask; s.slots[i].at != 0; i = (i + 1) & mask {
		if s.slots[i].tag != tagOf(hash) {
			continue
		}
		r := s.record(s.slots[i])
		if r.zone() == zone && bytes.Equal(r.name(), name) {
			return r
		}
	}
	return nil
}

// findWildcard is find for the wildcard below name.
func (t *names) findWildcard(hash uint64, name []byte, zone int) record {
	s := t[shardOf(hash)]
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

// rebuild makes a shard of those records of s that changed does not name, and of the nodes in
// changed that still hold anything.
func (s *shard) rebuild(changed map[nodeKey]*Node) *shard {
	next := &shard{arena: make([]byte, 0, len(s.arena)+64*len(changed))}
	var hashes []uint64
	s.each(func(r record) bool {
		if _, ok := changed[nodeKey{string(r.name()), r.zone()}]; !ok {
			next.arena = append(next.arena, r...)
		}
		return true
	})
	for _, n := range changed {
		if !n.empty() {
			next.arena = appendRecord(next.arena, n)
		}
	}
	var name Name
	next.each(func(r record) bool {
		name.Read(r.name())
		hashes = append(hashes, name.hash[0])
		return true
	})
	if len(hashes) == 0 {
		return emptyShard
	}
	size := 4
	for len(hashes)*4 > size*3 {
		size *= 2
	}
	next.slots, next.used = make([]slot, size), len(hashes)
	mask, k := uint64(size-1), 0
	for at := 0; at < len(next.arena); at += int(record(next.arena[at:]).size()) {
		i := hashes[k] & mask
		for next.slots[i].at != 0 {
			i = (i + 1) & mask
		}
		next.slots[i] = slot{tagOf(hashes[k]), uint32(at + 1)}
		k++
	}
	return next
}
