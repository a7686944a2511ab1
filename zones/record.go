package zones

import (
	"encoding/binary"

	"github.com/miekg/dns"

	"meridian/policy"
)

// A record is all that is known of one name in one zone, as bytes in a shard's arena:
//
//	0  uint32  size of the record
//	4  uint32  children: names one label below that exist
//	8  uint16  parts
//	10 uint8   zone: labels of the zone's apex
//	11 uint8   bytes of the name
//	12 uint8   flags: which of the types that steer a look-up are there, good or broken, and what the SOA says of all of its zone
//	then the name in wire form,
//	then the parts, one a key:
//	0  uint16  type
//	2  uint8   kind
//	3  uint8   flags: what the key says in yes and no
//	4  uint32  TTL in seconds
//	8  uint64  revision of the key that it was made from
//	16 uint16  RRs
//	18 uint32  bytes of what follows
//	22 for each RR, uint16 length (network order) and RDATA, or what Kind says
//	then, where the flags say so, more that the key says, and uint16 bytes of that
//
// Numbers are little endian but for RDATA and its length, which are as they go out.
type record []byte

const (
	recordHeader = 13
	partHeader   = 22
)

func (r record) size() uint32     { return binary.LittleEndian.Uint32(r) }
func (r record) children() uint32 { return binary.LittleEndian.Uint32(r[4:]) }
func (r record) parts() int       { return int(binary.LittleEndian.Uint16(r[8:])) }
func (r record) zone() int        { return int(r[10]) }
func (r record) flags() uint8     { return r[12] }
func (r record) name() []byte     { return r[recordHeader : recordHeader+int(r[11])] }
func (r record) first() int       { return recordHeader + int(r[11]) }

// Kind says what a part's data is.
type Kind uint8

const (
	Static  Kind = iota // an RRset
	Steered             // uint32 pool, then the types steered, uint16 each
	Broken              // a key that was never valid: its types (as for Steered) are SERVFAIL
)

// Type numbers that stand for keys which name no type of their own. Neither is ever asked for:
// 0 and 65535 are reserved (RFC 6895 §3.1).
const (
	TypeSteer   uint16 = 0      // name/<owner>/steer
	TypeUnknown uint16 = 0xffff // name/<owner>/<a type nobody knows>
)

// Flags of a part.
const (
	noSubnet    uint8 = 1 << iota // of a steered name, or the zone's SOA: the client subnet is not looked at
	subnet                        // of a steered name: it is, whatever the zone says
	memberNames                   // of an SOA: members have names in the zone
	hasMore                       // as it is stored: there is more
)

// Part is what one key says of a name.
type Part struct {
	Type     uint16
	Kind     Kind
	flags    uint8
	TTL      uint32 // seconds
	Revision int64  // of the key's value that it was made from
	Count    uint16 // RRs
	data     []byte
	more     []byte // of a steered name: see Steer.service; of an SOA: see appendNetwork; nil: nothing is said
}

// stored is a Part as a record holds it, header and data: a look-up reads of it what it needs.
type stored []byte

func (s stored) typ() uint16   { return binary.LittleEndian.Uint16(s) }
func (s stored) kind() Kind    { return Kind(s[2]) }
func (s stored) ttl() uint32   { return binary.LittleEndian.Uint32(s[4:]) }
func (s stored) count() uint16 { return binary.LittleEndian.Uint16(s[16:]) }
func (s stored) flags() uint8  { return s[3] }

func (s stored) data() []byte {
	if s.flags()&hasMore != 0 {
		return s.beforeMore()
	}
	return s[partHeader:]
}

// plain is data of a part that has no more: most are such.
func (s stored) plain() []byte { return s[partHeader:] }

// beforeMore is data of a part that has more. It is no part of what most look-ups do.
//
//go:noinline
func (s stored) beforeMore() []byte { return s[partHeader:s.moreAt():s.moreAt()] }

const moreSize = 2 // bytes of the size of more

// moreAt is where more begins, which is there.
func (s stored) moreAt() int {
	end := len(s) - moreSize
	return end - int(binary.LittleEndian.Uint16(s[end:]))
}

// more is what the key says beyond data; nil: nothing.
func (s stored) more() []byte {
	if s.flags()&hasMore == 0 {
		return nil
	}
	return s[s.moreAt() : len(s)-moreSize : len(s)-moreSize]
}

func (s stored) part() Part {
	return Part{
		Type: s.typ(), Kind: s.kind(), flags: s.flags() &^ hasMore, TTL: s.ttl(), Revision: int64(binary.LittleEndian.Uint64(s[8:])),
		Count: s.count(), data: s.data(), more: s.more(),
	}
}

// covers says whether s answers for typ: its own type, or one of those it lists.
func (s stored) covers(typ uint16) bool {
	if s.kind() == Static {
		return s.typ() == typ
	}
	return s.lists(typ)
}

func (s stored) lists(typ uint16) bool {
	list := s.data()
	if s.kind() == Steered {
		list = list[4:]
	}
	return listed(list, typ)
}

// stored returns the part at offset at. The next one begins where it ends.
func (r record) stored(at int) stored {
	end := at + partHeader + int(binary.LittleEndian.Uint32(r[at+18:]))
	return stored(r[at:end:end])
}

// part is stored, read, and where the next one begins.
func (r record) part(at int) (Part, int) {
	s := r.stored(at)
	return s.part(), at + len(s)
}

// find returns the static RRset of a type, nil if there is none.
func (r record) find(typ uint16) stored {
	if s := r.covering(typ); s != nil && s.kind() == Static {
		return s
	}
	return nil
}

// covering returns the part that answers for a type, nil if there is none.
func (r record) covering(typ uint16) stored {
	at := r.first()
	for range r.parts() {
		s := r.stored(at)
		if s.covers(typ) {
			return s
		}
		at += len(s)
	}
	return nil
}

// Flags of a record.
const (
	hasSOA = 1 << iota
	hasNS
	hasDNAME
	hasSteer
	zoneNoSubnet    // of an apex: names of the zone do not look at the client subnet unless they say so
	zoneMemberNames // of an apex: members have names in the zone
)

func flagsOf(parts []Part) (flags uint8) {
	for _, p := range parts {
		switch p.Type {
		case dns.TypeSOA:
			flags |= hasSOA
			if p.flags&noSubnet != 0 {
				flags |= zoneNoSubnet
			}
			if p.flags&memberNames != 0 {
				flags |= zoneMemberNames
			}
		case TypeSteer:
			flags |= hasSteer
		case dns.TypeNS:
			flags |= hasNS
		case dns.TypeDNAME:
			flags |= hasDNAME
		}
	}
	return flags
}

func appendRecord(b []byte, n *Node) []byte {
	start := len(b)
	b = append(b, make([]byte, 4)...)
	b = binary.LittleEndian.AppendUint32(b, n.children)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(n.parts)))
	b = append(b, byte(n.zone), byte(len(n.name)), flagsOf(n.parts))
	b = append(b, n.name...)
	for _, p := range n.parts {
		b = binary.LittleEndian.AppendUint16(b, p.Type)
		size := len(p.data)
		if p.more != nil {
			p.flags |= hasMore
			size += len(p.more) + moreSize
		}
		b = append(b, byte(p.Kind), p.flags)
		b = binary.LittleEndian.AppendUint32(b, p.TTL)
		b = binary.LittleEndian.AppendUint64(b, uint64(p.Revision))
		b = binary.LittleEndian.AppendUint16(b, p.Count)
		b = binary.LittleEndian.AppendUint32(b, uint32(size))
		b = append(b, p.data...)
		if p.more != nil {
			b = append(b, p.more...)
			b = binary.LittleEndian.AppendUint16(b, uint16(len(p.more)))
		}
	}
	binary.LittleEndian.PutUint32(b[start:], uint32(len(b)-start))
	return b
}

// Pool of a Steered part.
func (p Part) Pool() policy.ID   { return policy.ID(binary.LittleEndian.Uint32(p.data)) }
func (s stored) pool() policy.ID { return policy.ID(binary.LittleEndian.Uint32(s[partHeader:])) }

// MemberNames says whether p is an SOA's part that has members named in its zone.
func (p Part) MemberNames() bool { return p.flags&memberNames != 0 }

// typeList of a Steered or Broken part, as bytes.
func (p Part) typeList() []byte {
	if p.Kind == Steered {
		return p.data[4:]
	}
	return p.data
}

// Covers says whether the part answers for typ: its own type, or one of those it lists.
func (p Part) Covers(typ uint16) bool {
	if p.Kind == Static {
		return p.Type == typ
	}
	return listed(p.typeList(), typ)
}

// listed says whether typ is in a list of types.
func listed(list []byte, typ uint16) bool {
	for ; len(list) >= 2; list = list[2:] {
		if binary.LittleEndian.Uint16(list) == typ {
			return true
		}
	}
	return false
}

// SteeredPart sends types to a pool.
func SteeredPart(pool policy.ID, ttl uint32, types []uint16, revision int64) Part {
	data := binary.LittleEndian.AppendUint32(nil, uint32(pool))
	return Part{Type: TypeSteer, Kind: Steered, TTL: ttl, Revision: revision, data: appendTypes(data, types)}
}

// BrokenPart stands for a key of type typ that was never valid and would have answered types.
func BrokenPart(typ uint16, types []uint16, revision int64) Part {
	return Part{Type: typ, Kind: Broken, Revision: revision, data: appendTypes(nil, types)}
}

func appendTypes(b []byte, types []uint16) []byte {
	for _, t := range types {
		b = binary.LittleEndian.AppendUint16(b, t)
	}
	return b
}

// StaticPart is an RRset. Each RDATA is uncompressed wire form.
func StaticPart(typ uint16, ttl uint32, rdata [][]byte, revision int64) Part {
	var data []byte
	for _, rd := range rdata {
		data = binary.BigEndian.AppendUint16(data, uint16(len(rd)))
		data = append(data, rd...)
	}
	return Part{Type: typ, Kind: Static, TTL: ttl, Revision: revision, Count: uint16(len(rdata)), data: data}
}

// firstRData of a Static part.
func (p Part) firstRData() []byte   { return firstRData(p.data) }
func (s stored) firstRData() []byte { return firstRData(s.data()) }

func firstRData(data []byte) []byte { return data[2 : 2+int(binary.BigEndian.Uint16(data))] }
