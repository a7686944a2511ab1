// Package geo compiles networks into a table that says, of any address, what it belongs to and how far
// around it that stays so.
package geo

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"
	"slices"
	"sort"
	"unsafe"
)

// Entry gives a network a value. 0 is the value of what no network covers.
type Entry struct {
	Prefix netip.Prefix
	Value  uint32
}

// Table is an immutable map of addresses of both families to values. Of networks within each other the
// longest prefix counts.
type Table struct {
	four, six family
}

// NewTable compiles entries, in any order; host bits of a prefix do not count. Of two for the same network
// the later one counts. IPv4 in IPv6 form is IPv6.
func NewTable(entries []Entry) *Table {
	var four, six []network
	for i, e := range entries {
		if n := newNetwork(e, i); e.Prefix.Addr().Is4() {
			four = append(four, n)
		} else {
			six = append(six, n)
		}
	}
	return &Table{newFamily(four), newFamily(six)}
}

// Lookup returns the value of an address, 0 where no network covers it, and the length of the shortest
// prefix around it of which every address has that value: 0 to 32 for IPv4, 0 to 128 for IPv6. It is what
// RFC 7871 §7.2.1 calls the scope.
func (t *Table) Lookup(a netip.Addr) (value uint32, length uint8) {
	f, x := t.family(a)
	i := f.find(x)
	return f.stretches[i].value, f.scope(i, x)
}

// Range returns the first and the last address of the stretch around a, all of which has one value.
func (t *Table) Range(a netip.Addr) (first, last netip.Addr) {
	f, x := t.family(a)
	i := f.find(x)
	end := point{math.MaxUint64, math.MaxUint64}
	if i+1 < len(f.stretches) {
		end = f.start(i + 1).before()
	}
	return f.start(i).addr(a.Is4()), end.addr(a.Is4())
}

// Bytes is how much memory the table takes.
func (t *Table) Bytes() int { return t.four.bytes() + t.six.bytes() }

func (t *Table) family(a netip.Addr) (*family, point) {
	if a.Is4() {
		return &t.four, pointOf(a)
	}
	return &t.six, pointOf(a)
}

// point is an address as a number of 128 bits. One of IPv4 stands at the top, so that the bits of both
// families count from the same end, and has zeros below it.
type point struct{ high, low uint64 }

func pointOf(a netip.Addr) point {
	if a.Is4() {
		b := a.As4()
		return point{high: uint64(binary.BigEndian.Uint32(b[:])) << 32}
	}
	b := a.As16()
	return point{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func (p point) addr(four bool) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], p.high)
	binary.BigEndian.PutUint64(b[8:], p.low)
	if four {
		return netip.AddrFrom4([4]byte(b[:4]))
	}
	return netip.AddrFrom16(b)
}

func (p point) less(q point) bool {
	return p.high < q.high || p.high == q.high && p.low < q.low
}

// before is p − 1, after is p + 1; both go round.
func (p point) before() point {
	low, borrow := bits.Sub64(p.low, 1, 0)
	return point{p.high - borrow, low}
}

func (p point) after() point {
	low, carry := bits.Add64(p.low, 1, 0)
	return point{p.high + carry, low}
}

// common is how many bits p and q, which differ, begin with in common.
func (p point) common(q point) int {
	if p.high != q.high {
		return bits.LeadingZeros64(p.high ^ q.high)
	}
	return 64 + bits.LeadingZeros64(p.low^q.low)
}

// network is an entry on its way into a family.
type network struct {
	first  point
	value  uint32
	order  uint32 // the place of the entry
	length uint8
}

func newNetwork(e Entry, order int) network {
	return network{pointOf(e.Prefix.Masked().Addr()), e.Value, uint32(order), uint8(e.Prefix.Bits())}
}

func (n *network) last() point {
	if n.length > 64 {
		return point{n.first.high, n.first.low | math.MaxUint64>>(n.length-64)}
	}
	return point{n.first.high | math.MaxUint64>>n.length, math.MaxUint64}
}

// compareNetworks orders networks by where they begin, and puts those within another after it. (A million
// are compared twenty million times.)
func compareNetworks(x, y network) int {
	switch {
	case x.first.high != y.first.high:
		return cmp.Compare(x.first.high, y.first.high)
	case x.first.low != y.first.low:
		return cmp.Compare(x.first.low, y.first.low)
	case x.length != y.length:
		return int(x.length) - int(y.length)
	}
	return cmp.Compare(x.order, y.order)
}

// family is the addresses of one family, cut into stretches: each begins where the one before it ends, and
// has another value. What no network covers is a stretch as well.
type family struct {
	stretches []stretch // the first begins at 0
	lows      []uint64  // lower halves of where stretches begin; the first is 0
	index     index
}

// stretch has 16 bytes, so that one reach into memory gets its end and value too.
type stretch struct {
	high  uint64 // where it begins, the upper half
	low   uint32 // the lower half, as a place in lows: it is 0 for IPv4, and up to /64
	value uint32
}

// newFamily cuts networks, which it sorts, into stretches.
func newFamily(networks []network) family {
	slices.SortFunc(networks, compareNetworks)
	c := newCutter(len(networks))
	for _, n := range networks {
		c.close(n.first)
		c.cut(n.first, n.value)
		c.open = append(c.open, n)
	}
	c.close(point{}.before()) // nothing begins after the last address, so what ends there needs no cut
	return c.done()
}

// cutter makes the stretches of a family, in order.
type cutter struct {
	family
	open []network // around the place that it has come to, the innermost last
}

// newCutter begins with one stretch of value 0, and has room for n more.
func newCutter(n int) *cutter {
	return &cutter{family: family{stretches: make([]stretch, 1, 1+n), lows: make([]uint64, 1)}}
}

// close cuts where open networks end that end before at: there, the one around them goes on.
func (c *cutter) close(at point) {
	for n := len(c.open); n > 0 && c.open[n-1].last().less(at); n-- {
		value := uint32(0)
		if n > 1 {
			value = c.open[n-2].value
		}
		c.cut(c.open[n-1].last().after(), value)
		c.open = c.open[:n-1]
	}
}

// cut begins a stretch, unless it has the value of the one before it. Of cuts at one place the last counts.
func (c *cutter) cut(at point, value uint32) {
	n := len(c.stretches)
	if c.start(n-1) == at {
		if n--; n == 0 {
			c.stretches[0].value = value
			return
		}
		c.stretches = c.stretches[:n]
	}
	if c.stretches[n-1].value == value {
		return
	}
	s := stretch{high: at.high, value: value}
	if at.low != 0 {
		s.low = uint32(len(c.lows))
		c.lows = append(c.lows, at.low)
	}
	c.stretches = append(c.stretches, s)
}

// done returns the family, in no more memory than it needs.
func (c *cutter) done() family {
	f := family{stretches: slices.Clone(c.stretches), lows: slices.Clone(c.lows)}
	f.index = newIndex(f.stretches)
	return f
}

// start is where stretch i begins.
func (f *family) start(i int) point {
	s := &f.stretches[i]
	return point{s.high, f.lows[s.low]}
}

// find returns the stretch that x lies in.
func (f *family) find(x point) int {
	i := f.index.near(x.high)
	for range scanned + 1 {
		if i+1 == len(f.stretches) || f.begins(i+1, x) {
			return i
		}
		i++
	}
	// More than that begin within one /64, which the index does not look into.
	return i + sort.Search(len(f.stretches)-i-1, func(n int) bool { return f.begins(i+1+n, x) })
}

// begins says whether stretch i begins after x.
func (f *family) begins(i int, x point) bool {
	s := &f.stretches[i]
	return s.high > x.high || s.high == x.high && s.low != 0 && f.lows[s.low] > x.low
}

// scope is the length of the shortest prefix around x that lies within stretch i, as x does: longer than
// what x has in common with the last address before it, and with the first one after.
func (f *family) scope(i int, x point) uint8 {
	length := 0
	if i > 0 {
		length = 1 + x.common(f.start(i).before())
	}
	if i+1 < len(f.stretches) {
		length = max(length, 1+x.common(f.start(i+1)))
	}
	return uint8(length)
}

func (f *family) bytes() int {
	return int(unsafe.Sizeof(stretch{}))*len(f.stretches) + 8*len(f.lows) + f.index.bytes()
}
