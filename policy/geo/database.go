package geo

import (
	"iter"
	"math"
	"net/netip"
	"slices"
	"unsafe"
)

// Database says where addresses are, compiled from layers: a table an attribute, in which neighbours of
// equal value are one stretch. So every look-up gives, beside the value, the length of the shortest prefix
// around the address all of which has that value, as Table.Lookup does. It is immutable. A nil Database knows
// nothing.
type Database struct {
	files       []File
	knows       Knows
	asn         *Table // of numbers
	country     *Table // of Country | Continent<<16
	subdivision *Table // of Subdivision
	location    *Table // of Country, or exact | the place of a point; it may be country's
	points      []Point
}

// exact marks a value of Database.location that is the place of a point.
const exact = 1 << 31

// Compile makes a Database of layers. Of several that know an attribute of an address the first counts, but of
// a country other than the one that counts no subdivision does.
func Compile(layers ...*Layer) *Database {
	d := &Database{}
	var four, six []*family
	for _, l := range layers {
		d.files = append(d.files, l.File)
		d.knows = d.knows.or(l.Knows)
		four, six = append(four, &l.four.family), append(six, &l.six.family)
	}
	points := map[Point]uint32{}
	d.asn, d.country, d.subdivision, d.location = &Table{}, &Table{}, &Table{}, &Table{}
	d.asn.four, d.country.four, d.subdivision.four, d.location.four = d.attributes(layers, four, points)
	d.asn.six, d.country.six, d.subdivision.six, d.location.six = d.attributes(layers, six, points)
	d.points = slices.Clip(d.points)
	// Without exact places each stretch of location is one or more of country's.
	if !d.knows.Location && len(d.location.four.stretches) == len(d.country.four.stretches) &&
		len(d.location.six.stretches) == len(d.country.six.stretches) {
		d.location = d.country
	}
	return d
}

// attributes makes the families of one kind out of those of the layers.
func (d *Database) attributes(layers []*Layer, families []*family, points map[Point]uint32) (asn, country, subdivision, location family) {
	a, c, s, l := newCutter(0), newCutter(0), newCutter(0), newCutter(0)
	sweep(families, func(at point, in []int) bool {
		var r Record
		for i, layer := range layers {
			r.overlay(&layer.records[families[i].stretches[in[i]].value])
		}
		a.cut(at, r.ASN)
		c.cut(at, uint32(r.Country)|uint32(r.Continent)<<16)
		s.cut(at, uint32(r.Subdivision))
		place := uint32(r.Country)
		if r.Place.IsValid() {
			n, known := points[r.Place]
			if !known {
				n = uint32(len(d.points))
				points[r.Place] = n
				d.points = append(d.points, r.Place)
			}
			place = exact | n
		}
		l.cut(at, place)
		return true
	})
	return a.done(), c.done(), s.done(), l.done()
}

// overlay takes from o what r does not know.
func (r *Record) overlay(o *Record) {
	if r.ASN == 0 {
		r.ASN = o.ASN
	}
	if r.Country == 0 {
		r.Country = o.Country
	}
	if r.Continent == 0 {
		r.Continent = o.Continent
	}
	if r.Subdivision == 0 && o.Country == r.Country {
		r.Subdivision = o.Subdivision
	}
	if !r.Place.IsValid() {
		r.Place = o.Place
	}
}

// sweep goes through families side by side. It yields each place where a stretch of any begins, in order, and
// which stretch of each lies there.
func sweep(families []*family, yield func(at point, in []int) bool) {
	in := make([]int, len(families))
	for at := (point{}); yield(at, in); {
		next, more := point{}, false
		for i, f := range families {
			if in[i]+1 < len(f.stretches) {
				if p := f.start(in[i] + 1); !more || p.less(next) {
					next, more = p, true
				}
			}
		}
		if !more {
			return
		}
		for i, f := range families {
			if in[i]+1 < len(f.stretches) && f.start(in[i]+1) == next {
				in[i]++
			}
		}
		at = next
	}
}

// ASN returns the number of the autonomous system that announces an address, 0 where it is not known.
func (d *Database) ASN(a netip.Addr) (asn uint32, length uint8) {
	if d == nil {
		return 0, 0
	}
	return d.asn.Lookup(a)
}

// Country returns the country and the continent of an address, each 0 where it is not known: the continent
// may be known alone.
func (d *Database) Country(a netip.Addr) (c Country, in Continent, length uint8) {
	if d == nil {
		return 0, 0, 0
	}
	value, length := d.country.Lookup(a)
	return Country(value), Continent(value >> 16), length
}

// Subdivision returns the subdivision of an address, 0 where it is not known. Layers of flat files never say.
func (d *Database) Subdivision(a netip.Addr) (s Subdivision, length uint8) {
	if d == nil {
		return 0, 0
	}
	value, length := d.subdivision.Lookup(a)
	return Subdivision(value), length
}

// Location returns the place of an address: exact, as a file has it, or else the middle of its country. Where
// neither is known the place is not valid.
func (d *Database) Location(a netip.Addr) (p Point, isExact bool, length uint8) {
	if d == nil {
		return Point{}, false, 0
	}
	value, length := d.location.Lookup(a)
	if value&exact != 0 {
		return d.points[value&^exact], true, length
	}
	return middles[Country(value)], false, length
}

// Files returns what d was compiled from, in order.
func (d *Database) Files() []File {
	if d == nil {
		return nil
	}
	return d.files
}

// Knows says which attributes any file knows.
func (d *Database) Knows() Knows {
	if d == nil {
		return Knows{}
	}
	return d.knows
}

// Bytes is how much memory look-ups use.
func (d *Database) Bytes() int {
	if d == nil {
		return 0
	}
	sum := int(unsafe.Sizeof(Point{})) * len(d.points)
	for _, t := range d.tables() {
		sum += t.Bytes()
	}
	return sum
}

// tables are those of d, each once.
func (d *Database) tables() []*Table {
	tables := []*Table{d.asn, d.country, d.subdivision}
	if d.location != d.country {
		tables = append(tables, d.location)
	}
	return tables
}

// Networks yields the first and the last address of every stretch all of which has one value of each
// attribute, and the next stretch others: in order, IPv4 before IPv6. Those of which nothing is known are left
// out.
func (d *Database) Networks() iter.Seq2[netip.Addr, netip.Addr] {
	return func(yield func(first, last netip.Addr) bool) {
		if d == nil {
			return
		}
		var four, six []*family
		for _, t := range d.tables() {
			four, six = append(four, &t.four), append(six, &t.six)
		}
		_ = stretchesOf(four, true, yield) && stretchesOf(six, false, yield)
	}
}

// stretchesOf yields where any of the families has a value, and says whether more is wanted.
func stretchesOf(families []*family, is4 bool, yield func(first, last netip.Addr) bool) (more bool) {
	more = true
	known, first := false, point{}
	sweep(families, func(at point, in []int) bool {
		if known {
			more = yield(first.addr(is4), at.before().addr(is4))
		}
		known, first = false, at
		for i, f := range families {
			known = known || f.stretches[in[i]].value != 0
		}
		return more
	})
	if known && more {
		more = yield(first.addr(is4), point{math.MaxUint64, math.MaxUint64}.addr(is4))
	}
	return more
}
