package geo

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"time"

	"github.com/oschwald/maxminddb-golang/v2"
)

// File is a file that a Database was compiled from.
type File struct {
	Path     string
	Type     string    // as its metadata say, such as "GeoLite2-City"
	Built    time.Time // as its metadata say
	Size     int       // bytes
	Networks int       // that have a record
	Knows    Knows
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

func (r *record) knows() Knows {
	return Knows{r.asn != 0, r.country != 0, r.continent != 0, r.subdivision != 0, r.place.IsValid()}
}

// layer is a file, read: the places in records of what it says of each address, 0 for nothing.
type layer struct {
	File
	records   []record // each once; the first says nothing
	four, six *cutter
	end       [2]point // of the last network of each family
}

// readLayer reads a file into memory, for one that is mapped must not change in place. Errors name it.
func readLayer(path string) (*layer, error) {
	bytes, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w, expected an MMDB file", path, err)
	}
	l := &layer{File: File{Path: path, Size: len(bytes)}, records: make([]record, 1), four: newCutter(0), six: newCutter(0)}
	if err := l.read(bytes); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return l, nil
}

func readFile(path string) ([]byte, error) {
	s, err := os.Stat(path)
	if err != nil {
		if e := (*fs.PathError)(nil); errors.As(err, &e) {
			err = e.Err // without the path once more
		}
		return nil, err
	}
	if s.IsDir() {
		return nil, errors.New("it is a directory")
	}
	if !s.Mode().IsRegular() { // it may have no end
		return nil, errors.New("it is no regular file")
	}
	if s.Size() == 0 {
		return nil, errors.New("it is empty")
	}
	return os.ReadFile(path)
}

func (l *layer) read(bytes []byte) error {
	reader, err := maxminddb.OpenBytes(bytes)
	if err != nil {
		return fmt.Errorf("%w, expected an MMDB file", err)
	}
	l.Type, l.Built = reader.Metadata.DatabaseType, reader.Metadata.BuildTime().UTC()
	// Each node has two leaves at most. Where branches share nodes there may be more, and in a corrupt file so
	// many that a walk never ends.
	most := 16 * (min(uint64(reader.Metadata.NodeCount), uint64(len(bytes))) + 1)
	leaves := uint64(0)
	places := map[uintptr]uint32{} // of records by their offsets
	known := map[record]uint32{{}: 0}
	for result := range reader.Networks(maxminddb.IncludeNetworksWithoutData()) {
		if err := result.Err(); err != nil {
			return fmt.Errorf("%w, expected an MMDB file that is whole", err)
		}
		if leaves++; leaves > most {
			return fmt.Errorf("its tree has more than %d leaves and %d nodes, expected an MMDB file that is whole", most, reader.Metadata.NodeCount)
		}
		if !result.Found() {
			continue
		}
		place, read := places[result.Offset()]
		if !read {
			var f fields
			if err := result.Decode(&f); err != nil {
				return fmt.Errorf("the record of %v: %w, expected an MMDB file that is whole", result.Prefix(), err)
			}
			r := f.record()
			if place, read = known[r]; !read {
				place = uint32(len(l.records))
				known[r] = place
				l.records = append(l.records, r)
				l.Knows = l.Knows.or(r.knows())
			}
			places[result.Offset()] = place
		}
		l.Networks++
		l.add(result.Prefix(), place)
	}
	if l.Knows == (Knows{}) {
		return fmt.Errorf("none of its %d networks (type %q) has a field that says where it is: expected country, country_code, continent, subdivisions, location, latitude and longitude, or autonomous_system_number", l.Networks, l.Type)
	}
	return nil
}

// add adds a network behind those of its family that there are.
func (l *layer) add(p netip.Prefix, place uint32) {
	family, c := 0, l.four
	if p.Addr().Is6() {
		family, c = 1, l.six
		if p.Addr() == netip.IPv6Unspecified() && p.Bits() < 96 {
			l.add(netip.PrefixFrom(netip.IPv4Unspecified(), 0), place) // files have IPv4 at ::/96
		}
	}
	n := newNetwork(Entry{Prefix: p}, 0)
	if l.end[family] != n.first {
		c.cut(l.end[family], 0)
	}
	c.cut(n.first, place)
	l.end[family] = n.last().after()
}

// finish cuts where the last network of each family ends.
func (l *layer) finish() {
	for i, c := range []*cutter{l.four, l.six} {
		if l.end[i] != (point{}) {
			c.cut(l.end[i], 0)
		}
	}
}
