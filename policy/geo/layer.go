package geo

import (
	"fmt"
	"net/netip"
	"time"
)

// Record is what is known of a network. What is not known is 0.
type Record struct {
	ASN         uint32 // number of the autonomous system that announces it
	Country     Country
	Continent   Continent
	Subdivision Subdivision // of Country
	Place       Point
}

// Knows says which attributes are known, of some address at least.
type Knows struct {
	ASN, Country, Continent, Subdivision bool
	Location                             bool // more than countries' middles
}

func (k Knows) or(l Knows) Knows {
	return Knows{k.ASN || l.ASN, k.Country || l.Country, k.Continent || l.Continent,
		k.Subdivision || l.Subdivision, k.Location || l.Location}
}

func (r *Record) knows() Knows {
	return Knows{r.ASN != 0, r.Country != 0, r.Continent != 0, r.Subdivision != 0, r.Place.IsValid()}
}

// File is what a Layer was read from.
type File struct {
	Path     string
	Type     string    // in its own words, such as "GeoLite2-City"
	Built    time.Time // likewise
	Size     int       // bytes
	Networks int       // that have a record
	Knows    Knows
}

// Layer is what one file says of addresses, to be compiled into a Database, more than once if need be. Add
// counts networks and what they know; the rest of File is its reader's to say.
type Layer struct {
	File
	four, six edge
	records   []Record // each once; the first says nothing
	places    map[Record]uint32
}

// edge is the stretches of a family so far: their values are places in Layer.records.
type edge struct {
	*cutter
	begun bool
	last  point // of the last network, once begun
}

// NewLayer returns one that says nothing.
func NewLayer() *Layer {
	return &Layer{
		four: edge{cutter: newCutter(0)}, six: edge{cutter: newCutter(0)},
		records: make([]Record, 1), places: map[Record]uint32{{}: 0},
	}
}

// Add says that r is known of a network. Networks of a family come in order and none lies within another;
// host bits do not count.
func (l *Layer) Add(p netip.Prefix, r Record) error {
	e := &l.six
	if p.Addr().Is4() {
		e = &l.four
	}
	n := newNetwork(Entry{Prefix: p}, 0)
	if e.begun && !e.last.less(n.first) {
		return fmt.Errorf("%v comes after %v, expected networks in order, none within another", p, e.last.addr(p.Addr().Is4()))
	}
	place, known := l.places[r]
	if !known {
		place = uint32(len(l.records))
		l.places[r] = place
		l.records = append(l.records, r)
		l.Knows = l.Knows.or(r.knows())
	}
	l.Networks++
	e.cut(n.first, place)
	e.begun, e.last = true, n.last()
	if behind := e.last.after(); behind != (point{}) { // that is not the end of all addresses
		e.cut(behind, 0)
	}
	return nil
}
