// Package mmdb reads MaxMind DB files (https://maxmind.github.io/MaxMind-DB/) into the layers of a geo.Database.
package mmdb

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"

	"github.com/oschwald/maxminddb-golang/v2"

	"meridian/policy/geo"
)

// Open compiles files, in the order in which they count (geo.Compile). Errors name the file.
func Open(paths ...string) (*geo.Database, error) {
	var layers []*geo.Layer
	for _, path := range paths {
		l, err := Read(path)
		if err != nil {
			return nil, err
		}
		layers = append(layers, l)
	}
	return geo.Compile(layers...), nil
}

// Read reads a file into memory, for one that is mapped must not change in place. Errors name it.
func Read(path string) (*geo.Layer, error) {
	bytes, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w, expected an MMDB file", path, err)
	}
	l, err := decode(bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	l.Path = path
	return l, nil
}

// readFile is os.ReadFile of what can be an MMDB file. Errors do not name it.
func readFile(path string) ([]byte, error) {
	s, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, nameless(err)
	case s.IsDir():
		return nil, errors.New("it is a directory")
	case !s.Mode().IsRegular(): // it may have no end
		return nil, errors.New("it is no regular file")
	case s.Size() == 0:
		return nil, errors.New("it is empty")
	}
	bytes, err := os.ReadFile(path)
	return bytes, nameless(err)
}

// nameless is an error without the name of the file.
func nameless(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// decode reads all records of a file.
func decode(bytes []byte) (*geo.Layer, error) {
	reader, err := maxminddb.OpenBytes(bytes)
	if err != nil {
		return nil, fmt.Errorf("%w, expected an MMDB file", err)
	}
	l := geo.NewLayer()
	l.Type, l.Built, l.Size = reader.Metadata.DatabaseType, reader.Metadata.BuildTime().UTC(), len(bytes)
	if y := l.Built.Year(); y < 1970 || y > 9999 { // which no JSON takes
		return nil, fmt.Errorf("its build time is %d s after 1970, expected an MMDB file that is whole", reader.Metadata.BuildEpoch)
	}
	// Each node has two leaves at most. Where branches share nodes there may be more, and in a corrupt file so
	// many that a walk never ends.
	most := 16 * (min(uint64(reader.Metadata.NodeCount), uint64(len(bytes))) + 1)
	leaves := uint64(0)
	records := map[uintptr]geo.Record{} // by their offsets
	for result := range reader.Networks(maxminddb.IncludeNetworksWithoutData()) {
		if err := result.Err(); err != nil {
			return nil, fmt.Errorf("%w, expected an MMDB file that is whole", err)
		}
		if leaves++; leaves > most {
			return nil, fmt.Errorf("its tree has more than %d leaves and %d nodes, expected an MMDB file that is whole", most, reader.Metadata.NodeCount)
		}
		if !result.Found() {
			continue
		}
		r, read := records[result.Offset()]
		if !read {
			var f fields
			if err := result.Decode(&f); err != nil {
				return nil, fmt.Errorf("the record of %v: %w, expected an MMDB file that is whole", result.Prefix(), err)
			}
			r = f.record()
			records[result.Offset()] = r
		}
		if err := add(l, result.Prefix(), r); err != nil {
			return nil, err
		}
	}
	if l.Knows == (geo.Knows{}) {
		return nil, fmt.Errorf("none of its %d networks (type %q) has a field that says where it is: expected country, country_code, continent, subdivisions, location, latitude and longitude, or autonomous_system_number", l.Networks, l.Type)
	}
	return l, nil
}

// add adds a network, and all of IPv4 where it lies around ::/96, at which files have that.
func add(l *geo.Layer, p netip.Prefix, r geo.Record) error {
	if p.Addr() == netip.IPv6Unspecified() && p.Bits() < 96 {
		if err := l.Add(netip.PrefixFrom(netip.IPv4Unspecified(), 0), r); err != nil {
			return err
		}
	}
	return l.Add(p, r)
}
