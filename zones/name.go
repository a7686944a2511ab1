package zones

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"
)

const (
	maxName   = 255 // bytes of a name on the wire, the root's included (RFC 1035 §2.3.4)
	maxLabel  = 63
	maxLabels = 127
)

// Name is a domain name in canonical wire form (lower case, uncompressed), with the hash of each
// of its suffixes, so that a look-up of any ancestor costs no second pass.
type Name struct {
	size   uint8                 // bytes of wire in use, the root's included
	labels uint8                 // the root's not counted
	hash   [maxLabels + 1]uint64 // of the suffix that begins with label i; [labels] is the root's
	start  [maxLabels + 1]uint8
	wire   [maxName + 9]byte // room to read eight bytes at any place
}

// Wire returns the name in wire form. It belongs to n.
func (n *Name) Wire() []byte { return n.wire[:n.size] }

// suffix returns the wire form of the last labels labels.
func (n *Name) suffix(labels int) []byte { return n.wire[n.offset(labels):n.size] }

// offset is where the last labels labels begin.
func (n *Name) offset(labels int) uint8 { return n.start[int(n.labels)-labels] }

// suffixHash is the hash of the last labels labels.
func (n *Name) suffixHash(labels int) uint64 { return n.hash[int(n.labels)-labels] }

// Read sets n from an uncompressed name at the start of b, folding its case (RFC 4343), and
// returns how many bytes the name takes there. ok is false where b ends early, a label is a
// pointer or of an unknown kind, or the name is longer than 255 bytes.
//
// What follows the name in memory may be read, but is of no account.
func (n *Name) Read(b []byte) (size int, ok bool) {
	end := min(len(b), maxName)
	if cap(b) < len(n.wire) {
		var room [len(n.wire)]byte
		copy(room[:], b)
		b = room[:]
	}
	from := (*[len(n.wire)]byte)(b[:len(n.wire)])
	at, labels := 0, 0
	for at < end {
		length := int(from[at])
		if length == 0 {
			n.start[labels], n.wire[at] = uint8(at), 0
			n.labels, n.size = uint8(labels), uint8(at+1)
			n.rehash()
			return at + 1, true
		}
		next := at + 1 + length
		if length > maxLabel || next >= end {
			break
		}
		n.start[labels&maxLabels] = uint8(at)
		labels++
		for ; at < next; at += 8 { // a length is no letter: it is less than any
			binary.LittleEndian.PutUint64(n.wire[uint8(at):], lower8(eight(from, uint8(at))))
		}
		at = next
	}
	return 0, false
}

// lower8 makes capitals small in eight bytes at once.
func lower8(b uint64) uint64 {
	const each = 0x0101010101010101
	low := b &^ (0x80 * each)
	fromA := low + (0x80-'A')*each // the high bit of each byte says: not before 'A'
	afterZ := low + (0x80-'Z'-1)*each
	capital := (fromA &^ afterZ &^ b) & (0x80 * each)
	return b + capital>>2 // 0x20 more
}

const rootHash = 0x243f6a8885a308d3

// rehash sets the hashes: each continues that of the suffix behind it with a label, the length
// first.
func (n *Name) rehash() {
	h := uint64(rootHash)
	i := n.labels & maxLabels
	n.hash[i] = h
	for i > 0 {
		i--
		at := n.start[i]
		size := 1 + n.wire[at]
		for ; size > 8; size -= 8 {
			h = mix(h ^ eight(&n.wire, at))
			at += 8
		}
		beyond := 64 - 8*size // bits that are not the label's
		h = mix(h ^ eight(&n.wire, at)<<(beyond&63)>>(beyond&63))
		n.hash[i] = h
	}
}

// eight is what eight bytes of wire say.
func eight(wire *[maxName + 9]byte, at uint8) uint64 {
	return binary.LittleEndian.Uint64(wire[at:])
}

func mix(h uint64) uint64 {
	hi, lo := bits.Mul64(h, 0x9e3779b97f4a7c15)
	return hi ^ lo
}

// wildcardHash is the hash of the wildcard below the last labels labels.
func (n *Name) wildcardHash(labels int) uint64 { return mix(n.suffixHash(labels) ^ ('*'<<8 | 1)) }

// ParseName reads a name as keys spell it: labels joined by dots, no final dot, RFC 1035 §5.1
// escapes; "." is the root. Case is folded.
func ParseName(text string) (*Name, error) {
	wire, err := parseWire(text)
	if err != nil {
		return nil, err
	}
	if len(wire) > maxName {
		return nil, fmt.Errorf("%q takes %d bytes, at most %d are allowed", text, len(wire), maxName)
	}
	return newName(wire), nil
}

// newName is the name that wire holds, which is one.
func newName(wire []byte) *Name {
	n := new(Name)
	n.Read(wire)
	return n
}

// parseWire is ParseName without a limit to the name as a whole, and without folding.
func parseWire(text string) ([]byte, error) {
	if text == "" {
		return nil, fmt.Errorf("an empty name")
	}
	if text == "." {
		return []byte{0}, nil
	}
	wire := make([]byte, 1, len(text)+2)
	label := 0 // where the length of the label begun stands
	end := func() error {
		switch size := len(wire) - label - 1; {
		case size == 0:
			return fmt.Errorf("%q has an empty label", text)
		case size > maxLabel:
			return fmt.Errorf("%q has a label of %d bytes, at most %d are allowed", text, size, maxLabel)
		default:
			wire[label] = byte(size)
		}
		label = len(wire)
		wire = append(wire, 0)
		return nil
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '.':
			if err := end(); err != nil {
				return nil, err
			}
		case c == '\\':
			value, size, err := unescape(text[i:])
			if err != nil {
				return nil, err
			}
			wire = append(wire, value)
			i += size - 1
		default:
			wire = append(wire, c)
		}
	}
	if err := end(); err != nil {
		return nil, err
	}
	return wire, nil // end has appended the root's length
}

func unescape(text string) (value byte, size int, err error) {
	if len(text) < 2 {
		return 0, 0, fmt.Errorf(`a name ends in "\"`)
	}
	if text[1] < '0' || text[1] > '9' {
		return text[1], 2, nil
	}
	if len(text) < 4 {
		return 0, 0, fmt.Errorf("%s is not an escape, expected three digits", text)
	}
	v := 0
	for _, c := range []byte(text[1:4]) {
		if c < '0' || c > '9' {
			return 0, 0, fmt.Errorf("%s is not an escape, expected three digits", text[:4])
		}
		v = v*10 + int(c-'0')
	}
	if v > 255 {
		return 0, 0, fmt.Errorf("%s is not an escape, expected at most 255", text[:4])
	}
	return byte(v), 4, nil
}

// String returns the canonical spelling: what ParseName reads, without a final dot.
func (n *Name) String() string { return nameText(n.Wire()) }

// nameText spells an uncompressed name. "/" is escaped, since names stand in keys.
func nameText(wire []byte) string {
	if len(wire) <= 1 {
		return "."
	}
	var b strings.Builder
	for at := 0; wire[at] != 0; at += 1 + int(wire[at]) {
		if at > 0 {
			b.WriteByte('.')
		}
		label := wire[at+1 : at+1+int(wire[at])]
		for _, c := range label {
			switch {
			case c == '.' || c == '\\':
				b.WriteByte('\\')
				b.WriteByte(c)
			case c <= ' ' || c >= 0x7f || c == '/' || c == '@' && len(label) == 1:
				fmt.Fprintf(&b, "\\%03d", c)
			default:
				b.WriteByte(c)
			}
		}
	}
	return b.String()
}

// Owner is a name in a zone.
type Owner struct {
	Name *Name
	Zone int // labels of the zone's apex, which is a suffix of Name
}

// ParseOwner reads the <zone> and <owner> of a key: owner is relative, "@" the apex.
func ParseOwner(zone, owner string) (Owner, error) {
	n, err := ParseName(zone)
	if err != nil {
		return Owner{}, err
	}
	apex := int(n.labels)
	if owner == "@" {
		return Owner{n, apex}, nil
	}
	relative, err := parseWire(owner)
	if err != nil {
		return Owner{}, err
	}
	wire := append(relative[:len(relative)-1], n.Wire()...)
	if len(wire) > maxName {
		return Owner{}, fmt.Errorf("%q in zone %q takes %d bytes, at most %d are allowed", owner, zone, len(wire), maxName)
	}
	n.Read(wire)
	return Owner{n, apex}, nil
}

// Apex says whether the owner is its zone's apex.
func (o Owner) Apex() bool { return int(o.Name.labels) == o.Zone }

// Top is the zone's apex.
func (o Owner) Top() Owner {
	if o.Apex() {
		return o
	}
	return Owner{newName(o.Name.suffix(o.Zone)), o.Zone}
}

// ZoneText is the canonical spelling of the zone.
func (o Owner) ZoneText() string { return nameText(o.Name.suffix(o.Zone)) }

// Text is the canonical spelling of the owner in its zone.
func (o Owner) Text() string {
	if o.Apex() {
		return "@"
	}
	relative := append(append([]byte{}, o.Name.wire[:o.Name.offset(o.Zone)]...), 0)
	return nameText(relative)
}
