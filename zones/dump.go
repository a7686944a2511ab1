package zones

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"github.com/miekg/dns"

	"meridian/policy"
)

// A dump is the names of a snapshot as memory holds them:
//
//	uint64  revision
//	uint32  shards
//	then for each shard: uint32 bytes of its arena, and the arena
//
// Numbers are little endian. It changes with the record and the hash: whoever
// keeps dumps has to know of which form they are.

// maxDumpPools bounds the pool IDs of a dump, and with them what counting their references takes.
const maxDumpPools = 1 << 22

// Dump writes the names of s, in many small writes: w should be buffered. Pools are not in it.
func (s *Snapshot) Dump(w io.Writer) error {
	head := binary.LittleEndian.AppendUint64(nil, uint64(s.Revision))
	if _, err := w.Write(binary.LittleEndian.AppendUint32(head, uint32(len(s.names.shards)))); err != nil {
		return err
	}
	var size [4]byte
	for _, sh := range s.names.shards {
		binary.LittleEndian.PutUint32(size[:], uint32(len(sh.arena)))
		if _, err := w.Write(size[:]); err != nil {
			return err
		}
		if _, err := w.Write(sh.arena); err != nil {
			return err
		}
	}
	return nil
}

// Load reads what Dump has written, and no byte beyond it. The snapshot has no pools: before it is
// asked anything, those of Referred have to be set. Load takes no byte on trust: an error says in
// which shard, and where in it, stands what no Edit could have made.
func Load(r io.Reader) (*Snapshot, error) {
	var head [12]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, fmt.Errorf("the names end in their head: %w", err)
	}
	shards := int(binary.LittleEndian.Uint32(head[8:]))
	if shards != fewShards && shards != manyShards {
		return nil, fmt.Errorf("%d shards, expected %d or %d", shards, fewShards, manyShards)
	}
	s := &Snapshot{Revision: int64(binary.LittleEndian.Uint64(head[:])), names: newNames(shards)}
	l := loader{s: s}
	for at := range s.names.shards {
		arena, err := readArena(r)
		if err != nil {
			return nil, fmt.Errorf("the names end in shard %d of %d: %w", at, shards, err)
		}
		if len(arena) == 0 {
			continue
		}
		if s.names.shards[at], err = l.shard(at, arena); err != nil {
			return nil, fmt.Errorf("shard %d, %w", at, err)
		}
	}
	for at, sh := range s.names.shards {
		if err := l.link(sh); err != nil {
			return nil, fmt.Errorf("shard %d, %w", at, err)
		}
	}
	for at, sh := range s.names.shards {
		whole := sh.each(func(r record) bool {
			l.names.add(r.name(), r.zone(), false)
			return !r.empty()
		})
		if !whole {
			return nil, fmt.Errorf("shard %d holds a name with nothing at it or below", at)
		}
	}
	s.order = s.order.change(&l.names)
	for _, apex := range l.named {
		if s.members == nil {
			s.members = map[string]*memberZone{}
		}
		s.members[string(apex.Name.Wire())] = s.memberZone(apex)
	}
	return s, nil
}

// Referred yields the IDs of the pools that steered names refer to.
func (s *Snapshot) Referred() iter.Seq[policy.ID] {
	return func(yield func(policy.ID) bool) {
		for id, n := range s.refs {
			if n > 0 && !yield(policy.ID(id)) {
				return
			}
		}
	}
}

// readArena reads the size of an arena and the arena. What a size claims is taken from memory as far
// as bytes come to fill it.
func readArena(r io.Reader) ([]byte, error) {
	const step = 64 << 10
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	size := int64(binary.LittleEndian.Uint32(head[:]))
	arena := make([]byte, 0, min(size, step))
	for int64(len(arena)) < size {
		have := len(arena)
		more := int(min(size-int64(have), int64(max(have, step))))
		arena = slices.Grow(arena, more)[:have+more]
		if _, err := io.ReadFull(r, arena[have:]); err != nil {
			return nil, err
		}
	}
	return arena, nil
}

// loader makes a snapshot of arenas.
type loader struct {
	s      *Snapshot
	name   Name // of the record at hand
	inner  Name // a name in its RDATA
	hashes []uint64
	list   []Part // of the record at hand
	names  indexEdits
	named  []Owner // apexes of zones in which members have names
}

// shard checks an arena and makes the shard of it that has the place at. Children are counted anew
// by link.
func (l *loader) shard(at int, arena []byte) (*shard, error) {
	l.hashes = l.hashes[:0]
	for start := 0; start < len(arena); {
		r, err := l.record(arena[start:])
		if err == nil && l.s.names.of(l.name.hash[0]) != at {
			err = fmt.Errorf("%s belongs into shard %d", &l.name, l.s.names.of(l.name.hash[0]))
		}
		if err != nil {
			return nil, fmt.Errorf("byte %d: %w", start, err)
		}
		binary.LittleEndian.PutUint32(r[4:], 0)
		l.hashes = append(l.hashes, l.name.hash[0])
		start += len(r)
	}
	sh := &shard{arena: arena}
	sh.index(l.hashes)
	if twice := sh.twice(l.hashes); twice != nil {
		return nil, fmt.Errorf("%s is there twice", nameText(twice.name()))
	}
	return sh, nil
}

// twice returns a record that another has the name of. hashes are the records', in their order.
func (s *shard) twice(hashes []uint64) record {
	at := uint32(1)
	for _, hash := range hashes {
		r := record(s.arena[at-1:])
		r = r[:r.size()]
		if sl, _ := s.slot(hash, r.name(), r.zone()); sl.at != at {
			return r
		}
		at += r.size()
	}
	return nil
}

// link counts every record of a shard as a child of the name above it.
func (l *loader) link(sh *shard) (err error) {
	sh.each(func(r record) bool {
		l.name.Read(r.name())
		above := int(l.name.labels) - 1
		if above < r.zone() {
			return true // an apex
		}
		parent := l.s.names.find(l.name.suffixHash(above), l.name.suffix(above), r.zone())
		if parent == nil {
			err = fmt.Errorf("%s: the name above it is missing", &l.name)
			return false
		}
		binary.LittleEndian.PutUint32(parent[4:], parent.children()+1)
		return true
	})
	return err
}

// record returns the record that b begins with, checked, and counts it in. Its name is in l.name.
func (l *loader) record(b []byte) (record, error) {
	if len(b) < recordHeader || int64(record(b).size()) > int64(len(b)) {
		return nil, errors.New("a record goes beyond the end")
	}
	r := record(b)
	r = r[:r.size()]
	if len(r) < recordHeader || r.first() > len(r) {
		return nil, fmt.Errorf("a record of %d bytes has no room for its name", len(r))
	}
	if size, ok := l.name.Read(r.name()); !ok || size != len(r.name()) || string(l.name.Wire()) != string(r.name()) {
		return nil, fmt.Errorf("%q is no name in canonical form", r.name())
	}
	if r.zone() > int(l.name.labels) {
		return nil, fmt.Errorf("%s in a zone of %d labels", &l.name, r.zone())
	}
	if err := l.parts(r); err != nil {
		return nil, fmt.Errorf("%s: %w", &l.name, err)
	}
	l.s.Names++
	return r, nil
}

// parts checks the parts of a record and counts them in.
func (l *loader) parts(r record) error {
	l.list = l.list[:0]
	at := r.first()
	for range r.parts() {
		if at+partHeader > len(r) || int64(at)+partHeader+int64(binary.LittleEndian.Uint32(r[at+18:])) > int64(len(r)) {
			return errors.New("a part goes beyond the record's end")
		}
		if s := r.stored(at); s.flags()&hasMore != 0 && (len(s) < partHeader+moreSize || s.moreAt() < partHeader) {
			return errors.New("what a part says more goes beyond its start")
		}
		var p Part
		p, at = r.part(at)
		if err := l.part(r, p); err != nil {
			return fmt.Errorf("part of %s: %w", dns.Type(p.Type), err)
		}
		l.list = append(l.list, p)
	}
	if at != len(r) {
		return fmt.Errorf("%d bytes follow the last part", len(r)-at)
	}
	if want := flagsOf(l.list); r.flags() != want {
		return fmt.Errorf("flags %#x, expected %#x", r.flags(), want)
	}
	slices.SortFunc(l.list, func(a, b Part) int { return int(a.Type) - int(b.Type) })
	for i := 1; i < len(l.list); i++ {
		if typ := l.list[i].Type; typ == l.list[i-1].Type {
			return fmt.Errorf("part of %s: there twice", dns.Type(typ))
		}
	}
	return nil
}

func (l *loader) part(r record, p Part) error {
	if p.Type == dns.TypeSOA && r.zone() != int(l.name.labels) {
		return errors.New("not at an apex")
	}
	switch p.Kind {
	case Static:
		if p.Type == TypeSteer || p.Type == TypeUnknown {
			return errors.New("no type that an RRset has")
		}
		if err := l.rdata(p); err != nil {
			return err
		}
	case Steered:
		if p.Type != TypeSteer || len(p.data) < 4+2 || len(p.data)%2 != 0 {
			return fmt.Errorf("%d bytes steer nothing", len(p.data))
		}
		for list := p.typeList(); len(list) > 0; list = list[2:] {
			if typ := binary.LittleEndian.Uint16(list); !slices.Contains(Steerable, typ) {
				return fmt.Errorf("%s cannot be steered", dns.Type(typ))
			}
		}
		id := p.Pool()
		if id >= maxDumpPools {
			return fmt.Errorf("pool %d, expected less than %d", id, maxDumpPools)
		}
		if missing := int(id) + 1 - len(l.s.refs); missing > 0 {
			l.s.refs = append(l.s.refs, make([]int32, missing)...)
		}
		l.s.refs[id]++
	case Broken:
		if len(p.data)%2 != 0 {
			return fmt.Errorf("a list of types of %d bytes", len(p.data))
		}
	default:
		return fmt.Errorf("kind %d", p.Kind)
	}
	if err := l.more(p); err != nil {
		return err
	}
	if p.Type == dns.TypeSOA {
		l.s.count(r.zone(), 1)
		if p.flags&memberNames != 0 {
			l.named = append(l.named, Owner{newName(r.name()), r.zone()})
		}
	}
	return nil
}

// more checks the flags of a part and what it says beyond its data.
func (l *loader) more(p Part) error {
	var allowed uint8
	whole := p.more == nil
	switch {
	case p.Kind == Static && p.Type == dns.TypeSOA:
		allowed = noSubnet | memberNames
		rest, ok := p.more, true
		for len(rest) > 0 && ok {
			_, rest, ok = cutNetwork(rest)
		}
		whole = ok
	case p.Kind == Steered:
		allowed = noSubnet | subnet
		whole = validService(p)
	}
	if p.flags&^allowed != 0 || p.flags == noSubnet|subnet {
		return fmt.Errorf("flags %#x", p.flags)
	}
	if !whole {
		return fmt.Errorf("%x is nothing that it can say beside its records", p.more)
	}
	return nil
}

// validService says whether p, a steered name's, has what its types need: see Steer.service.
func validService(p Part) bool {
	binds := p.Covers(dns.TypeHTTPS) || p.Covers(dns.TypeSVCB)
	if !binds && !p.Covers(dns.TypeSRV) {
		return p.more == nil
	}
	if len(p.more) < 2 {
		return false
	}
	rest := p.more[2:]
	for binds && len(rest) >= 4 {
		size := 4 + int(binary.BigEndian.Uint16(rest[2:]))
		if size > len(rest) {
			return false
		}
		rest = rest[size:]
	}
	return len(rest) == 0
}

// rdata checks an RRset: whole records, as many as it says, those that Resolve looks into of their
// type's shape.
func (l *loader) rdata(p Part) error {
	count := 0
	for data := p.data; len(data) > 0; count++ {
		if len(data) < 2 || len(data)-2 < int(binary.BigEndian.Uint16(data)) {
			return errors.New("RDATA goes beyond the part's end")
		}
		size := 2 + int(binary.BigEndian.Uint16(data))
		if !l.shape(p.Type, data[2:size]) {
			return fmt.Errorf("%x is no RDATA of this type", data[2:size])
		}
		data = data[size:]
	}
	single := p.Type == dns.TypeSOA || p.Type == dns.TypeCNAME || p.Type == dns.TypeDNAME
	if count != int(p.Count) || count == 0 || single && count > 1 {
		return fmt.Errorf("%d records, %d are said to be there", count, p.Count)
	}
	return nil
}

// shape says whether RDATA has the names that Resolve and those who send its answers follow.
func (l *loader) shape(typ uint16, rdata []byte) bool {
	var before, names, after int // bytes, names, bytes; -1 is any number
	switch typ {
	case dns.TypeNS, dns.TypeCNAME, dns.TypeDNAME:
		names = 1
	case dns.TypeMX:
		before, names = 2, 1
	case dns.TypeSRV:
		before, names = 6, 1
	case dns.TypeSVCB, dns.TypeHTTPS:
		before, names, after = 2, 1, -1
	case dns.TypeSOA:
		names, after = 2, soaSerialFromEnd
	default:
		return true
	}
	if len(rdata) < before {
		return false
	}
	rdata = rdata[before:]
	for range names {
		size, ok := l.inner.Read(rdata)
		if !ok {
			return false
		}
		rdata = rdata[size:]
	}
	return after < 0 || len(rdata) == after
}
