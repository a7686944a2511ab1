// Package zonefile translates between zone files (RFC 1035 §5, with what BIND has added) and the
// keys of a zone in the registry.
package zonefile

import (
	"fmt"
	"io/fs"
	"strings"

	"meridian/zones"
)

// Key is one key of the registry, below the prefix, and its value.
type Key struct {
	Key   string
	Value []byte
	Place Place // of the first record that it is made of, if it was read from a file
}

// Place is where in a zone file something stands.
type Place struct {
	File string
	Line int // in which the record or directive begins; 0 is the file as a whole
}

func (p Place) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// Remark says what has not been taken as it stands in the file.
type Remark struct {
	Place
	Refused bool // it is wrong, and nothing came of it; else it was left out or changed as a standard says
	Text    string
}

func (r Remark) String() string { return r.Place.String() + ": " + r.Text }

// Folder is where $INCLUDE finds files: below FS, and nowhere else.
type Folder struct {
	FS  fs.FS  // such as os.Root has; nil: nothing can be included
	Dir string // absolute path of FS: an absolute path in $INCLUDE has to begin with it
}

// Read reads a zone file and returns the keys of the zone: its soa, then its names in canonical
// order (RFC 4034 §6.1), with types by number. file is its name for remarks, and where it lies in
// folder. The keys are fit for the registry also where remarks are refusals: they lack what was
// refused.
//
// What BIND does with a file is done here, but for this: all that is wrong is said, not just the
// first; records out of the zone are refused, not passed over; of TTLs that differ in an RRset the
// lowest is taken; and the records that a signer makes are left out.
func Read(file string, text []byte, apex zones.Owner, folder Folder) ([]Key, []Remark) {
	r := newReader(file, apex, folder)
	r.read(&scope{file: file, origin: absolute(apex.ZoneText(), ".")}, string(text))
	return r.keys(), r.remarks
}

// absolute is a name with a final dot; "@" is the origin, and without a final dot it is relative to
// that. origin is absolute.
func absolute(name, origin string) string {
	switch {
	case name == "@":
		return origin
	case isAbsolute(name):
		return name
	case origin == ".":
		return name + "."
	}
	return name + "." + origin
}

func isAbsolute(name string) bool {
	rest, ok := strings.CutSuffix(name, ".")
	escapes := len(rest) - len(strings.TrimRight(rest, `\`))
	return ok && escapes%2 == 0
}

// parseName reads an absolute name.
func parseName(text string) (*zones.Name, error) {
	if text != "." {
		text = strings.TrimSuffix(text, ".")
	}
	return zones.ParseName(text)
}

// canonicalOrder is a string for a name in wire form that sorts as RFC 4034 §6.1 says: by labels from
// the right, a name before what is below it.
func canonicalOrder(wire string) string {
	var labels []string
	for at := 0; wire[at] != 0; at += 1 + int(wire[at]) {
		labels = append(labels, wire[at+1:at+1+int(wire[at])])
	}
	var b strings.Builder
	b.Grow(len(wire))
	for i := len(labels) - 1; i >= 0; i-- {
		for _, c := range []byte(labels[i]) {
			if c <= 1 { // 0 ends a label, and comes before all that one can hold
				b.WriteByte(1)
			}
			b.WriteByte(c)
		}
		b.WriteByte(0)
	}
	return b.String()
}
