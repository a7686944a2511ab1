package zonefile

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"meridian/spec"
	"meridian/zones"
)

// draft is the zone as far as it has been read, and what there is to say of it.
type draft struct {
	apex    zones.Owner
	file    string // the outermost
	soa     *record
	names   map[string]*name // by owner in wire form; the apex's NS among them
	seen    map[string]Place // by owner, type and RDATA
	leftOut map[uint16]*leftOut
	remarks []Remark
	refused int
}

// record is one of the zone.
type record struct {
	owner owner
	typ   uint16
	ttl   uint32 // seconds
	rr    dns.RR
	wire  []byte // RDATA
	text  string // RDATA
	place Place
}

// name is what one owner has.
type name struct {
	text string // as keys spell it
	sets []*rrset
}

type rrset struct {
	typ    uint16
	ttl    uint32
	lines  []string // RDATA, in the order of the file
	places []Place  // of lines
	mixed  bool     // TTLs differed
}

// leftOut counts the records of a type that are left out.
type leftOut struct {
	remark int // of remarks
	count  int
}

// signers are the types that the signer of a zone makes: what it made for another server does not
// fit what we answer, and keys without signatures are none.
var signers = map[uint16]string{
	dns.TypeRRSIG:      "a signer makes it",
	dns.TypeNSEC:       "a signer makes it",
	dns.TypeNSEC3:      "a signer makes it",
	dns.TypeNSEC3PARAM: "a signer makes it",
	dns.TypeSIG:        "a signer made it, before RFC 3755",
	dns.TypeNXT:        "a signer made it, before RFC 3755",
	dns.TypeDNSKEY:     "it is the key of a signer, and of no use without signatures",
	dns.TypeCDS:        "it is the key of a signer, and of no use without signatures",
	dns.TypeCDNSKEY:    "it is the key of a signer, and of no use without signatures",
	dns.TypeZONEMD:     "it is the digest of the zone as another server had it",
}

func (d *draft) refuse(at Place, format string, args ...any) {
	d.refused++
	d.remarks = append(d.remarks, Remark{Place: at, Refused: true, Text: fmt.Sprintf(format, args...)})
}

func (d *draft) note(at Place, format string, args ...any) {
	d.remarks = append(d.remarks, Remark{Place: at, Text: fmt.Sprintf(format, args...)})
}

// add takes a record in, or refuses it.
func (d *draft) add(rec record) {
	at, typ := rec.place, dns.Type(rec.typ)
	key := rec.identity()
	first, twice := d.seen[key]
	n := d.names[rec.owner.wire]
	switch {
	case twice && rec.typ == dns.TypeSOA:
		d.note(at, "the SOA of %s again, as at the end of a transfer", first)
		return
	case twice:
		d.note(at, "the same %s record as in %s: it is taken once", typ, first)
		return
	case rec.typ == dns.TypeSOA:
		d.addSOA(rec, key)
		return
	case rec.typ == dns.TypeCNAME && rec.owner.Apex():
		d.refuse(at, "a zone's apex has SOA and NS, so it cannot be a CNAME (RFC 1034 §3.6.2)")
		return
	}
	if n == nil {
		n = &name{text: rec.owner.Text()}
		d.names[rec.owner.wire] = n
	}
	for _, other := range n.sets {
		if other.typ != rec.typ && (other.typ == dns.TypeCNAME || rec.typ == dns.TypeCNAME) {
			d.refuse(at, "%s cannot stand beside the %s of %s: a CNAME has no neighbour (RFC 2181 §10.1)", typ, dns.Type(other.typ), other.places[0])
			return
		}
		if other.typ == rec.typ && (rec.typ == dns.TypeCNAME || rec.typ == dns.TypeDNAME) {
			d.refuse(at, "a name has one %s at most, and there is that of %s", typ, other.places[0])
			return
		}
	}
	d.seen[key] = at
	s := n.find(rec.typ)
	if s == nil {
		s = &rrset{typ: rec.typ, ttl: rec.ttl}
		n.sets = append(n.sets, s)
	}
	s.take(d, rec)
}

func (n *name) find(typ uint16) *rrset {
	for _, s := range n.sets {
		if s.typ == typ {
			return s
		}
	}
	return nil
}

// take adds a record. An RRset has one TTL (RFC 2181 §5.2), of several the lowest: nobody is to
// keep a record for longer than somebody wanted.
func (s *rrset) take(d *draft, rec record) {
	if rec.ttl != s.ttl {
		if !s.mixed {
			d.note(rec.place, "TTL %d, but %d in %s: the lowest of the RRset is taken (RFC 2181 §5.2)", rec.ttl, s.ttl, s.places[0])
		}
		s.mixed = true
		s.ttl = min(s.ttl, rec.ttl)
	}
	s.lines = append(s.lines, rec.text)
	s.places = append(s.places, rec.place)
}

// ofNames are types whose RDATA holds names and numbers alone.
var ofNames = []uint16{
	dns.TypeNS, dns.TypeCNAME, dns.TypePTR, dns.TypeDNAME, dns.TypeMX, dns.TypeSRV, dns.TypeSOA,
	dns.TypeKX, dns.TypeRT, dns.TypeAFSDB, dns.TypeRP, dns.TypeMINFO, dns.TypeMB, dns.TypeMG, dns.TypeMR,
}

// identity is the same for records that are. Capitals make no difference in names.
func (rec *record) identity() string {
	rdata := string(rec.wire)
	if slices.Contains(ofNames, rec.typ) {
		rdata = strings.ToLower(rec.text)
	}
	return rec.owner.wire + string([]byte{byte(rec.typ >> 8), byte(rec.typ)}) + rdata
}

func (d *draft) addSOA(rec record, key string) {
	switch {
	case !rec.owner.Apex():
		d.refuse(rec.place, "an SOA below the apex of zone %s: what begins there is another zone", d.apex.ZoneText())
	case d.soa != nil:
		d.refuse(rec.place, "a second SOA, unlike that of %s", d.soa.place)
	default:
		d.soa = &rec
		d.seen[key] = rec.place
	}
}

// leaveOut notes that a type is left out, once.
func (d *draft) leaveOut(typ uint16, at Place) {
	l := d.leftOut[typ]
	if l == nil {
		l = &leftOut{remark: len(d.remarks)}
		d.leftOut[typ] = l
		d.note(at, "")
	}
	more := ""
	if l.count++; l.count > 1 {
		more = fmt.Sprintf(" (%d records)", l.count)
	}
	d.remarks[l.remark].Text = fmt.Sprintf("%s is left out: %s%s", dns.Type(typ), signers[typ], more)
}

// keys makes the keys of what has been taken, and refuses what only the whole can show.
func (d *draft) keys() []Key {
	var keys []Key
	if key, ok := d.soaKey(); ok {
		keys = append(keys, key)
	}
	var order []string
	byOrder := map[string]*name{}
	for wire, n := range d.names {
		key := canonicalOrder(wire)
		order = append(order, key)
		byOrder[key] = n
	}
	slices.Sort(order)
	for _, key := range order {
		n := byOrder[key]
		slices.SortFunc(n.sets, func(x, y *rrset) int { return int(x.typ) - int(y.typ) })
		for _, s := range n.sets {
			if key, ok := d.setKey(n, s); ok {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// setKey makes the key of an RRset. It says its TTL always: whoever reads the value sees it.
func (d *draft) setKey(n *name, s *rrset) (key Key, ok bool) {
	o, err := zones.ParseOwner(d.apex.ZoneText(), n.text)
	if err == nil && o.Apex() && s.typ == dns.TypeNS {
		return key, false
	}
	value := fmt.Sprintf("$TTL %d\n%s", s.ttl, strings.Join(s.lines, "\n"))
	if err == nil {
		_, err = zones.ParseRRset(o, s.typ, value, 0)
	}
	if err != nil {
		at := s.places[0]
		var e *spec.Error
		if errors.As(err, &e) && e.Line > 1 {
			at, err = s.places[e.Line-2], errors.New(e.Msg) // its line is ours
		}
		d.refuse(at, "%s of %s: %v", dns.Type(s.typ), n.text, err)
		return key, false
	}
	return Key{Key: zones.KeyOf(o, s.typ), Value: []byte(value), Place: s.places[0]}, true
}
