package geo

import (
	"math/bits"
	"unsafe"
)

// index finds a place in a sorted list of stretches, from which to walk on to the right one. It is a tree
// of nodes, each of which divides what lies between its first and last stretch into slots of equal width: so
// it follows them to where they lie close together (IPv6 is dense under few first bits and empty elsewhere).
// It looks at upper halves of addresses alone.
//
// Where there are many, an address costs what it takes to fetch from memory what no cache holds. So slots
// are few, to stay in a cache, and the walk is along neighbours, which come with one fetch or two; and no
// node is large, so that none spends its slots on empty space.
type index struct {
	nodes []node
	slots []uint32 // of all nodes: a place in the list, or inner and a node
}

// node divides what lies from base on.
type node struct {
	base   uint64 // where its first stretch begins
	before uint32 // the place of the stretch before that
	first  uint32 // of its slots
	last   uint32 // of them; it has no end
	shift  uint8  // a slot is 1<<shift wide
}

const (
	inner = 1 << 31 // marks a slot that leads to another node

	shared  = 3  // a slot is for 1<<shared stretches, give or take,
	scanned = 24 // and for so many at most: else, unless all begin in one /64, they have a node of their own
	maxBits = 10 // a node has 1<<maxBits slots at most
)

// newIndex returns the index of a sorted list of at least one stretch, at most 1<<31.
func newIndex(list []stretch) index {
	var x index
	x.add(list, 0, len(list))
	return x
}

// add makes a node of the stretches from place i up to j.
func (x *index) add(list []stretch, i, j int) (id uint32) {
	id = uint32(len(x.nodes))
	span := list[j-1].high - list[i].high
	n := node{base: list[i].high, before: uint32(max(i-1, 0)), first: uint32(len(x.slots))}
	n.shift = uint8(max(0, bits.Len64(span)-min(max(1, bits.Len(uint(j-i-1))-shared), maxBits)))
	n.last = n.first + uint32(span>>n.shift)
	x.nodes = append(x.nodes, n)
	x.slots = append(x.slots, make([]uint32, n.last-n.first+1)...)
	for s := n.first; s <= n.last; s++ {
		from := i
		for i < j && (list[i].high-n.base)>>n.shift == uint64(s-n.first) {
			i++
		}
		if i-from > scanned && list[i-1].high != list[from].high {
			x.slots[s] = inner | x.add(list, from, i)
		} else {
			x.slots[s] = uint32(max(from-1, 0)) // what begins with the slot may begin later in its lower half
		}
	}
	return id
}

// near returns the place of a stretch that begins before v, or of the first. The last one that begins at v or
// before it is at most scanned further on, unless more than that begin in v's /64.
func (x *index) near(v uint64) int {
	n := &x.nodes[0]
	for {
		if v < n.base {
			return int(n.before)
		}
		at := x.slots[min(uint64(n.first)+(v-n.base)>>n.shift, uint64(n.last))]
		if at&inner == 0 {
			return int(at)
		}
		n = &x.nodes[at&^inner]
	}
}

func (x *index) bytes() int { return int(unsafe.Sizeof(node{}))*len(x.nodes) + 4*len(x.slots) }
