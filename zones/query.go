package zones

import (
	"encoding/binary"

	"github.com/miekg/dns"

	"meridian/policy"
)

// Query is a question as Resolve takes it.
type Query struct {
	Type   uint16
	Random uint64        // fresh for each query: the same number gives the same answer
	Client policy.Client // Family is filled in by Resolve
	Name   Name
}

// Outcome says how a query ended.
type Outcome uint8

const (
	Found       Outcome = iota // an answer, a chain of CNAMEs out of our zones included
	NoData                     // the name exists, the type does not (RFC 2308 §2.2)
	NXDomain                   // the name does not exist (RFC 8020)
	Referral                   // the name lies in a zone delegated away (RFC 1034 §4.3.2 3b)
	Refused                    // no zone of ours
	NameTooLong                // a DNAME would make a name of more than 255 bytes (RFC 6672 §2.2)
	ServFail                   // a key that was never valid, or a pool that wants it so
)

func (o Outcome) String() string {
	return [...]string{"found", "nodata", "nxdomain", "referral", "refused", "name_too_long", "servfail"}[o]
}

// Rcode of the header (RFC 1035 §4.1.1).
func (o Outcome) Rcode() uint8 {
	switch o {
	case NXDomain:
		return dns.RcodeNameError
	case Refused:
		return dns.RcodeRefused
	case NameTooLong:
		return dns.RcodeYXDomain
	case ServFail:
		return dns.RcodeServerFailure
	}
	return dns.RcodeSuccess
}

// Section of a message that an RRset goes into.
type Section uint8

const (
	AnswerSection Section = iota
	AuthoritySection
	AdditionalSection
)

// RRset is one RRset of an Answer. Its owner is a name that the message holds already: the
// question (hop 0) or the target of the hop-th CNAME, from byte Offset on; or else Owner.
type RRset struct {
	Section  Section
	Hop      uint8
	Offset   uint8
	Required bool // of the additional section: without it the client is lost, so TC if there is no room
	Type     uint16
	Count    uint16
	TTL      uint32 // seconds
	Owner    []byte // wire form; nil: Hop and Offset say it
	Data     []byte // for each RR, uint16 length (network order) and RDATA
}

// ExtendedError is an extended DNS error (RFC 8914).
type ExtendedError struct {
	Code uint16
	Text string
}

// Extended errors that Resolve gives (RFC 8914 §4).
var (
	errFailOpen = &ExtendedError{dns.ExtendedErrorCodeOther, "no member of the pool is up: all are given"}
	errNotOurs  = &ExtendedError{dns.ExtendedErrorCodeNotAuthoritative, ""}
	errBroken   = &ExtendedError{dns.ExtendedErrorCodeInvalidData, "the registry's value for this name is not valid"}
	errNoMember = &ExtendedError{dns.ExtendedErrorCodeOther, "no member of the pool is up"}

	errNotAlone  = &ExtendedError{dns.ExtendedErrorCodeInvalidData, "the pool is of names, and a CNAME cannot stand beside other records"}
	errNoTargets = &ExtendedError{dns.ExtendedErrorCodeInvalidData, "SRV needs the zone's member_names as targets"}
	errNoService = &ExtendedError{dns.ExtendedErrorCodeOther, "no member that was chosen has a port"}
)

// Answer is what Resolve found: RRsets in the order of sections, to be encoded. It is reused from
// query to query, and with it all its memory; what it holds is valid until the next.
type Answer struct {
	Outcome  Outcome
	AA       bool           // authoritative (RFC 1034 §6.2.1)
	Error    *ExtendedError // nil: none
	Sets     []RRset
	Decision policy.Decision // of the pool asked last; Pool is nil if none was
	Scope    uint8           // clients of a prefix of this length have the same candidates (RFC 7871 §7.2.1); 0: all have

	last    lastApex
	current Name          // the target of a chain of CNAMEs
	target  Name          // a host whose addresses are looked for
	made    []byte        // RDATA that no arena holds: what pools choose, CNAMEs made from a DNAME
	asker   policy.Client // the query's, without a subnet
	pool    *policy.Pool  // of the member whose own name was found; nil: it is above such names
	who     int           // that member
	scratch policy.Scratch
	visited [maxHops]uint64 // hashes of the names of that chain
}

func (a *Answer) reset() {
	a.Outcome, a.AA, a.Error, a.Sets, a.Scope = Found, false, nil, a.Sets[:0], 0
	a.Decision = policy.Decision{}
	a.made = a.made[:0]
}

// add adds an RRset whose owner is the name looked up, from byte offset on. It is none of an SOA.
func (l *lookup) add(section Section, offset uint8, p stored, ttl uint32) {
	l.a.Sets = append(l.a.Sets, RRset{
		Section: section, Hop: uint8(l.hop), Offset: offset,
		Type: p.typ(), Count: p.count(), TTL: ttl, Data: p.plain(),
	})
}

// addSOA is add for an SOA, whose part may say more than its records.
func (l *lookup) addSOA(section Section, offset uint8, p stored, ttl uint32) {
	l.add(section, offset, p, ttl)
	l.a.Sets[len(l.a.Sets)-1].Data = p.data()
}

// RRs calls f with the RDATA of each RR of the set.
func (s *RRset) RRs(f func(rdata []byte)) {
	for d := s.Data; len(d) > 0; {
		size := 2 + int(binary.BigEndian.Uint16(d))
		f(d[2:size])
		d = d[size:]
	}
}
