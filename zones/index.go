package zones

import (
	"bytes"
	"encoding/binary"
	"slices"
	"sort"
	"strings"
)

// index holds the names of all zones in order: a zone's stand together, in canonical order (RFC 4034
// §6.1). It is immutable. A change makes the chunk, the page and the list of pages anew that it
// touches; the rest is shared.
//
// A name stands in it as a key, whose bytes sort as the names do: the labels of the zone from the
// right, an empty label, the labels below the zone from the right. Each label ends in a zero; in a
// label, a 1 is written before a 0 and before a 1.
type index []page

// page is some hundred chunks.
type page []chunk

// chunk is some hundred keys, never none. Each has, as varints, how many bytes it begins with that the
// one before it begins with too, and how many follow; then those.
type chunk string

const (
	chunkKeys  = 128 // the most that a chunk has
	fewKeys    = 32  // with fewer, a chunk that is written anew takes in the next one
	pageChunks = 256 // the most that a page has
)

// appendIndexKey appends the key of a name in wire form in a zone whose apex has that many labels.
func appendIndexKey(b, name []byte, zone int) []byte {
	var starts [maxLabels]uint8
	labels := 0
	for at := 0; name[at] != 0; at += 1 + int(name[at]) {
		starts[labels] = uint8(at)
		labels++
	}
	for i := labels - 1; i >= -1; i-- {
		if labels-1-i == zone {
			b = append(b, 0)
		}
		if i < 0 {
			break
		}
		at := int(starts[i])
		for _, c := range name[at+1 : at+1+int(name[at])] {
			if c <= 1 {
				b = append(b, 1)
			}
			b = append(b, c)
		}
		b = append(b, 0)
	}
	return b
}

// indexZone is how many bytes of a key its zone takes, the empty label included.
func indexZone(key []byte) int {
	for at := 0; ; at++ {
		if key[at] == 0 {
			return at + 1
		}
		for ; key[at] != 0; at++ {
			if key[at] == 1 {
				at++
			}
		}
	}
}

// readIndexKey sets n to the name of a key and returns the labels of its zone.
func (n *Name) readIndexKey(key []byte) (zone int) {
	var wire [maxName]byte
	at := len(wire) - 1 // where the root stands
	labels := 0
	for i := 0; i < len(key); i++ {
		if key[i] == 0 {
			zone = labels
			continue
		}
		var label [maxLabel]byte
		size := 0
		for ; key[i] != 0; i++ {
			if key[i] == 1 {
				i++
			}
			label[size] = key[i]
			size++
		}
		at -= 1 + size
		wire[at] = byte(size)
		copy(wire[at+1:], label[:size])
		labels++
	}
	n.Read(wire[at:])
	return zone
}

// first is the first key of a chunk.
func (c chunk) first() string {
	shared, size, at := c.lengths(0)
	return string(c[at : at+shared+size])
}

// lengths reads the two numbers of the key at offset at, and returns where its bytes begin.
func (c chunk) lengths(at int) (shared, size, next int) {
	shared, at = c.varint(at)
	size, at = c.varint(at)
	return shared, size, at
}

func (c chunk) varint(at int) (v, next int) {
	for shift := 0; ; shift += 7 {
		b := c[at]
		at++
		v |= int(b&0x7f) << shift
		if b < 0x80 {
			return v, at
		}
	}
}

// chunkReader goes through the keys of a chunk.
type chunkReader struct {
	chunk chunk
	at    int
	key   []byte // where next has said true
}

func (r *chunkReader) next() bool {
	if r.at == len(r.chunk) {
		return false
	}
	shared, size, at := r.chunk.lengths(r.at)
	r.key = append(r.key[:shared], r.chunk[at:at+size]...)
	r.at = at + size
	return true
}

// place is where in the page a key is, or would be.
func (p page) place(key []byte) int {
	n := sort.Search(len(p), func(i int) bool { return p[i].first() > string(key) })
	return max(0, n-1)
}

// place is the page that a key is in, or would be.
func (x index) place(key []byte) int {
	n := sort.Search(len(x), func(i int) bool { return x[i][0].first() > string(key) })
	return max(0, n-1)
}

// from calls f with every key from key on, in order, until it returns false. The key that f is given
// is good until f returns.
func (x index) from(key []byte, f func(key []byte) bool) {
	if len(x) == 0 {
		return
	}
	i := x.place(key)
	for j := x[i].place(key); i < len(x); i, j = i+1, 0 {
		for ; j < len(x[i]); j++ {
			for r := (chunkReader{chunk: x[i][j]}); r.next(); {
				if bytes.Compare(r.key, key) >= 0 && !f(r.key) {
					return
				}
			}
		}
	}
}

// indexEdits are the names that come and go with a commit. They are gathered by zone, so that what is
// sorted is short.
type indexEdits struct {
	zones map[string]*zoneEdits // by what keys of the zone begin with
	key   []byte
}

type zoneEdits struct {
	zone  string
	rest  []byte // what follows the zone in the keys, one after another
	edits []indexEdit
}

type indexEdit struct {
	head     uint64 // first bytes of rest[at:], zeros where that is shorter: what most comparisons need
	at, size uint32
	gone     bool
}

// add takes in a name that comes, or is gone.
func (x *indexEdits) add(name []byte, zone int, gone bool) {
	x.key = appendIndexKey(x.key[:0], name, zone)
	cut := indexZone(x.key)
	z := x.zones[string(x.key[:cut])]
	if z == nil {
		z = &zoneEdits{zone: string(x.key[:cut])}
		if x.zones == nil {
			x.zones = map[string]*zoneEdits{}
		}
		x.zones[z.zone] = z
	}
	rest := x.key[cut:]
	var head [8]byte
	copy(head[:], rest)
	z.edits = append(z.edits, indexEdit{binary.BigEndian.Uint64(head[:]), uint32(len(z.rest)), uint32(len(rest)), gone})
	z.rest = append(z.rest, rest...)
}

func (z *zoneEdits) compare(a, b indexEdit) int {
	switch {
	case a.head < b.head:
		return -1
	case a.head > b.head:
		return 1
	}
	return bytes.Compare(z.rest[a.at:a.at+a.size], z.rest[b.at:b.at+b.size])
}

// sorted returns the edits in order, standing at the first.
func (x *indexEdits) sorted() *editCursor {
	c := &editCursor{}
	for _, z := range x.zones {
		slices.SortFunc(z.edits, z.compare)
		c.zones = append(c.zones, z)
	}
	slices.SortFunc(c.zones, func(a, b *zoneEdits) int { return strings.Compare(a.zone, b.zone) })
	c.next()
	return c
}

// editCursor goes through sorted edits.
type editCursor struct {
	zones []*zoneEdits // the first is at hand
	at    int          // in it, of the next edit
	key   []byte       // nil after the last
	gone  bool
}

func (c *editCursor) next() {
	for len(c.zones) > 0 && c.at == len(c.zones[0].edits) {
		c.zones, c.at = c.zones[1:], 0
	}
	if len(c.zones) == 0 {
		c.key = nil
		return
	}
	z := c.zones[0]
	e := z.edits[c.at]
	c.at++
	c.key, c.gone = append(append(c.key[:0], z.zone...), z.rest[e.at:e.at+e.size]...), e.gone
}

// before says whether the edit at hand comes before end, where that is not "".
func (c *editCursor) before(end string) bool {
	return c.key != nil && (end == "" || string(c.key) < end)
}

// change returns the index after edits.
func (x index) change(edits *indexEdits) index {
	if len(edits.zones) == 0 {
		return x
	}
	var next index
	var w chunkWriter
	done := 0 // pages of x that are in next, or have been written anew
	for c := edits.sorted(); c.key != nil; done++ {
		at, end := 0, ""
		var old page
		if len(x) > 0 {
			at = x.place(c.key)
			old = x[at]
		}
		next = append(next, x[done:at]...)
		if done = at; at+1 < len(x) {
			end = x[at+1][0].first()
		}
		next = append(next, old.change(&w, c, end)...)
	}
	if done < len(x) {
		next = append(next, x[done:]...)
	}
	return next
}

// change makes the edits of c that come before end, and returns the pages that are then in the place
// of p.
func (p page) change(w *chunkWriter, c *editCursor, end string) (pages []page) {
	done := 0
	for c.before(end) {
		at := p.place(c.key)
		w.chunks = append(w.chunks, p[done:at]...)
		for done = at; ; {
			var old chunk
			limit := end
			if done < len(p) {
				old = p[done]
			}
			if done++; done < len(p) {
				limit = p[done].first()
			}
			old.change(w, c, limit)
			if len(w.ends) >= fewKeys || done >= len(p) {
				break
			}
		}
		w.flush()
	}
	if done < len(p) {
		w.chunks = append(w.chunks, p[done:]...)
	}
	for n := (len(w.chunks) + pageChunks - 1) / pageChunks; n > 0; n-- {
		size := (len(w.chunks) + n - 1) / n
		pages = append(pages, slices.Clone(w.chunks[:size]))
		w.chunks = w.chunks[size:]
	}
	return pages
}

// change writes the keys of a chunk, with the edits that come before end.
func (c chunk) change(w *chunkWriter, edits *editCursor, end string) {
	r := chunkReader{chunk: c}
	for more := r.next(); more || edits.before(end); {
		order := -1 // of the chunk's key before the edit's
		switch {
		case !more:
			order = 1
		case edits.before(end):
			order = bytes.Compare(r.key, edits.key)
		}
		if order < 0 {
			w.add(r.key)
			more = r.next()
			continue
		}
		if order == 0 {
			more = r.next()
		}
		if !edits.gone {
			w.add(edits.key)
		}
		edits.next()
	}
}

// chunkWriter makes chunks of keys that come in order. It keeps the last ones back, so that no chunk is
// short while its neighbour is long.
type chunkWriter struct {
	chunks page
	keys   []byte // kept back, one after another
	ends   []int  // of each in keys
	buf    []byte
}

func (w *chunkWriter) add(key []byte) {
	w.keys = append(w.keys, key...)
	w.ends = append(w.ends, len(w.keys))
	if len(w.ends) == 2*chunkKeys {
		w.write(chunkKeys)
	}
}

// flush makes chunks of what was kept back.
func (w *chunkWriter) flush() {
	if n := len(w.ends); n > chunkKeys {
		w.write(n / 2)
	}
	if n := len(w.ends); n > 0 {
		w.write(n)
	}
}

// write makes a chunk of the first n keys that were kept back.
func (w *chunkWriter) write(n int) {
	w.buf = w.buf[:0]
	var last []byte
	start := 0
	for _, end := range w.ends[:n] {
		key := w.keys[start:end]
		shared := 0
		for shared < min(len(key), len(last)) && key[shared] == last[shared] {
			shared++
		}
		w.buf = binary.AppendUvarint(w.buf, uint64(shared))
		w.buf = binary.AppendUvarint(w.buf, uint64(len(key)-shared))
		w.buf = append(w.buf, key[shared:]...)
		last, start = key, end
	}
	w.chunks = append(w.chunks, chunk(w.buf))
	w.keys = append(w.keys[:0], w.keys[start:]...)
	w.ends = append(w.ends[:0], w.ends[n:]...)
	for i := range w.ends {
		w.ends[i] -= start
	}
}
