package zones

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"meridian/policy"
	"meridian/spec"
)

const (
	defaultTTL      = 300
	defaultSteerTTL = 30
	defaultNegative = 30
	maxTTL          = 1<<31 - 1 // RFC 2181 §8
	rrOverhead      = 12        // bytes of an RR beside its RDATA: owner as a pointer, type, class, TTL, length
	maxRRset        = 60000     // bytes that it takes in a message: less than one over TCP holds (65535)
)

// Timers of a zone's SOA unless it says others, in seconds. Only secondaries obey them.
const (
	soaRefresh = 7200
	soaRetry   = 900
	soaExpire  = 1209600
)

const soaSerialFromEnd = 20 // five numbers of four bytes end the SOA's RDATA (RFC 1035 §3.3.13)

func soaSerial(p Part) uint32 {
	return binary.BigEndian.Uint32(p.data[len(p.data)-soaSerialFromEnd:])
}

// negativeTTL of a zone: the lesser of the SOA's TTL and its MINIMUM (RFC 2308 §5).
func negativeTTL(soa Part) uint32 {
	return min(soa.TTL, binary.BigEndian.Uint32(soa.data[len(soa.data)-4:]))
}

// SOA is the value of zone/<zone>/soa: what makes the zone, its SOA and its NS.
type SOA struct {
	NS          []string `json:"ns"`                    // host names of the name servers, at least one
	MName       string   `json:"mname,omitzero"`        // primary server as the SOA tells it; default the first of NS
	Mbox        string   `json:"mbox,omitzero"`         // mailbox as a name; default hostmaster.<zone>
	TTL         *int64   `json:"ttl,omitzero"`          // of SOA and NS, seconds; default 300
	NSTTL       *int64   `json:"ns_ttl,omitzero"`       // of the NS where it is another, seconds
	NegativeTTL *int64   `json:"negative_ttl,omitzero"` // of NXDOMAIN and NODATA (MINIMUM), seconds; default 30
	Refresh     *int64   `json:"refresh,omitzero"`      // for secondaries, seconds; default 7200
	Retry       *int64   `json:"retry,omitzero"`        // for secondaries, seconds; default 900
	Expire      *int64   `json:"expire,omitzero"`       // for secondaries, seconds; default 1209600
}

// Compile makes the SOA's and the NS's RRsets for the zone at apex. Errors are *spec.Error.
func (s *SOA) Compile(apex Owner, revision int64) (soa, ns Part, err error) {
	var seconds [6]uint32
	for i, f := range []struct {
		field string
		value *int64
		def   uint32
	}{
		{"ttl", s.TTL, defaultTTL}, {"ns_ttl", cmp.Or(s.NSTTL, s.TTL), defaultTTL},
		{"refresh", s.Refresh, soaRefresh}, {"retry", s.Retry, soaRetry}, {"expire", s.Expire, soaExpire},
		{"negative_ttl", s.NegativeTTL, defaultNegative},
	} {
		if seconds[i], err = checkTTL(f.field, f.value, f.def); err != nil {
			return soa, ns, err
		}
	}
	if len(s.NS) == 0 || len(s.NS) > 16 {
		return soa, ns, spec.Errorf("ns", "expected 1 to 16 host names, found %d", len(s.NS))
	}
	var hosts [][]byte
	for i, text := range s.NS {
		field := fmt.Sprintf("ns[%d]", i)
		host, err := absolute(field, text, apex)
		if err != nil {
			return soa, ns, err
		}
		if len(host) == 1 {
			return soa, ns, spec.Errorf(field, `"." is no host`)
		}
		if slices.ContainsFunc(hosts, func(h []byte) bool { return string(h) == string(host) }) {
			return soa, ns, spec.Errorf(field, "%q is there twice", text)
		}
		hosts = append(hosts, host)
	}
	mbox, err := absolute("mbox", cmp.Or(s.Mbox, "hostmaster"), apex)
	if err != nil {
		return soa, ns, err
	}
	mname := hosts[0]
	if s.MName != "" {
		if mname, err = absolute("mname", s.MName, apex); err != nil {
			return soa, ns, err
		}
	}
	rdata := append(slices.Clone(mname), mbox...)
	rdata = binary.BigEndian.AppendUint32(rdata, uint32(revision))
	for _, v := range seconds[2:] {
		rdata = binary.BigEndian.AppendUint32(rdata, v)
	}
	return StaticPart(dns.TypeSOA, seconds[0], [][]byte{rdata}, revision), StaticPart(dns.TypeNS, seconds[1], hosts, revision), nil
}

func checkTTL(field string, v *int64, def uint32) (uint32, error) {
	if v == nil {
		return def, nil
	}
	if *v < 0 || *v > maxTTL {
		return 0, spec.Errorf(field, "%d is out of range, expected 0 to %d seconds", *v, maxTTL)
	}
	return uint32(*v), nil
}

// absolute reads a name that is relative to the zone unless it ends in a dot.
func absolute(field, text string, zone Owner) ([]byte, error) {
	if strings.Contains(text, "@") {
		return nil, spec.Errorf(field, `%q: a mailbox is written as a name, with "." for "@"`, text)
	}
	full := text
	switch apex := zone.ZoneText(); {
	case text == "" || text == ".":
	case dns.IsFqdn(text):
		full = strings.TrimSuffix(text, ".")
	case apex != ".":
		full = text + "." + apex
	}
	n, err := ParseName(full)
	if err != nil {
		return nil, spec.Errorf(field, "%v", err)
	}
	return slices.Clone(n.Wire()), nil
}

// Steer is the value of zone/<zone>/name/<owner>/steer.
type Steer struct {
	Pool  string   `json:"pool"`
	TTL   *int64   `json:"ttl,omitzero"`   // seconds; default 30
	Types []string `json:"types,omitzero"` // of "A" and "AAAA"; default both
}

// SteeredTypes are the types a pool can answer for, and what Steer has by default.
var SteeredTypes = []uint16{dns.TypeA, dns.TypeAAAA}

// Compile makes a part that sends the types to the pool of that ID. Errors are *spec.Error.
func (s *Steer) Compile(pool policy.ID, revision int64) (Part, error) {
	ttl, err := checkTTL("ttl", s.TTL, defaultSteerTTL)
	if err != nil {
		return Part{}, err
	}
	if s.Pool == "" {
		return Part{}, spec.Errorf("pool", "expected the name of a pool")
	}
	if s.Types != nil && len(s.Types) == 0 {
		return Part{}, spec.Errorf("types", `expected "A", "AAAA" or both`)
	}
	types := SteeredTypes
	if s.Types != nil {
		types = nil
		for i, text := range s.Types {
			typ := dns.StringToType[text]
			if !slices.Contains(SteeredTypes, typ) {
				return Part{}, spec.Errorf(fmt.Sprintf("types[%d]", i), `%q cannot be steered, expected "A" or "AAAA"`, text)
			}
			if slices.Contains(types, typ) {
				return Part{}, spec.Errorf(fmt.Sprintf("types[%d]", i), "%q is there twice", text)
			}
			types = append(types, typ)
		}
	}
	return SteeredPart(pool, ttl, types, revision), nil
}

// notServed are types that a zone cannot hold: meta types, what a server makes itself, and what no
// server takes any more.
var notServed = map[uint16]string{
	dns.TypeSOA:      `the zone's "soa" key makes it`,
	dns.TypeMD:       "it is obsolete, an MX says the same (RFC 1035 §3.3.4)",
	dns.TypeMF:       "it is obsolete, an MX says the same (RFC 1035 §3.3.5)",
	dns.TypeOPT:      "it belongs to messages, not to zones",
	dns.TypeTKEY:     "it belongs to messages, not to zones",
	dns.TypeTSIG:     "it belongs to messages, not to zones",
	dns.TypeIXFR:     "it is a question, not a record",
	dns.TypeAXFR:     "it is a question, not a record",
	dns.TypeMAILA:    "it is a question, not a record",
	dns.TypeMAILB:    "it is a question, not a record",
	dns.TypeANY:      "it is a question, not a record",
	dns.TypeNXNAME:   "it is a question, not a record",
	dns.TypeNone:     "it is reserved",
	dns.TypeReserved: "it is reserved",
}

// ParseType reads the <TYPE> of a key: a type's name in capitals, or TYPE123 (RFC 3597) for a type
// that has none.
func ParseType(text string) (uint16, error) {
	typ, ok := dns.StringToType[text]
	if !ok {
		upper := strings.ToUpper(text)
		if number, isNumber := strings.CutPrefix(upper, "TYPE"); isNumber {
			v, err := strconv.ParseUint(number, 10, 16)
			if err != nil {
				return 0, fmt.Errorf("%q is not a type, expected TYPE0 to TYPE65535", text)
			}
			typ = uint16(v)
		} else if _, ok = dns.StringToType[upper]; ok {
			return 0, fmt.Errorf("types are in capitals: %s", upper)
		} else {
			names := make([]string, 0, len(dns.StringToType))
			for name := range dns.StringToType {
				names = append(names, name)
			}
			slices.Sort(names)
			return 0, fmt.Errorf("%q is not a type%s", text, spec.Suggest(text, names))
		}
	}
	why, no := notServed[typ]
	if !no && 128 <= typ && typ <= 255 { // not assigned yet, but none will be data (RFC 6895 §3.1)
		why, no = notServed[dns.TypeANY], true
	}
	if no {
		return 0, fmt.Errorf("%s cannot be set: %s", dns.Type(typ), why)
	}
	if canonical := dns.Type(typ).String(); canonical != text {
		return 0, fmt.Errorf("%s is written %s", text, canonical)
	}
	return typ, nil
}

// ParseRRset reads the value of a static RRset: an optional line "$TTL n", then RDATA in the form
// of zone files (RFC 1035 §5.1), one a line. Names without a final dot are relative to the zone.
// Errors are *spec.Error with the line.
func ParseRRset(o Owner, typ uint16, value string, revision int64) (Part, error) {
	if p, ok := plainRRset(typ, value, revision); ok {
		return p, nil
	}
	return parseRRset(o, typ, value, revision)
}

func parseRRset(o Owner, typ uint16, value string, revision int64) (Part, error) {
	ttl := uint32(defaultTTL)
	var rdata [][]byte
	seen, size := map[string]int{}, 0
	lines := strings.Split(strings.TrimSuffix(value, "\n"), "\n")
	for i, line := range lines {
		at := func(format string, args ...any) *spec.Error {
			e := spec.Errorf("", format, args...)
			if len(lines) > 1 {
				e.Line = i + 1
			}
			return e
		}
		line = strings.TrimSpace(strings.TrimSuffix(line, "\r"))
		if text, ok := strings.CutPrefix(line, "$TTL"); ok {
			if i > 0 {
				return Part{}, at(`"$TTL" is of the first line`)
			}
			v, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
			if err != nil || text[0] > ' ' {
				return Part{}, at(`%q is not a TTL, expected "$TTL" and whole seconds`, line)
			}
			if ttl, err = checkTTL("", &v, 0); err != nil {
				return Part{}, at("$TTL: %v", err)
			}
			continue
		}
		if line == "" || line[0] == ';' {
			continue
		}
		_, wire, err := ParseRData(typ, line, dns.Fqdn(o.ZoneText()))
		if err != nil {
			hint := ""
			if example := examples[typ]; example != "" {
				hint = ", expected such as: " + example
			}
			return Part{}, at("%q is not RDATA of type %s (%v)%s", line, dns.Type(typ), err, hint)
		}
		if first, twice := seen[string(wire)]; twice {
			return Part{}, at("%q is in line %d already", line, first)
		}
		seen[string(wire)] = i + 1
		rdata = append(rdata, wire)
		if size += rrOverhead + len(wire); size > maxRRset {
			return Part{}, at("the records take more than %d bytes: no message would hold them", maxRRset)
		}
	}
	switch {
	case len(rdata) == 0:
		return Part{}, spec.Errorf("", "expected at least one line of RDATA")
	case len(rdata) > 1 && (typ == dns.TypeCNAME || typ == dns.TypeDNAME):
		return Part{}, spec.Errorf("", "a name has one %s at most, found %d", dns.Type(typ), len(rdata))
	case typ == dns.TypeNS && o.Apex():
		return Part{}, spec.Errorf("", `the NS of a zone's apex are made by its "soa" key`)
	case typ == dns.TypeDS && o.Apex():
		return Part{}, spec.Errorf("", "the DS of a zone stands on its parent's side of the cut (RFC 4035 §2.4)")
	case typ == dns.TypeCNAME && o.Apex():
		return Part{}, spec.Errorf("", "a zone's apex has SOA and NS, so it cannot be a CNAME (RFC 1034 §3.6.2)")
	}
	return StaticPart(typ, ttl, rdata, revision), nil
}

// examples of RDATA for those who got it wrong.
var examples = map[uint16]string{
	dns.TypeA:     "192.0.2.1",
	dns.TypeAAAA:  "2001:db8::1",
	dns.TypeCAA:   `0 issue "ca.example.net"`,
	dns.TypeCNAME: "www.example.net.",
	dns.TypeHTTPS: `1 . alpn="h2,h3"`,
	dns.TypeMX:    "10 mail.example.net.",
	dns.TypeNS:    "ns1.example.net.",
	dns.TypePTR:   "www.example.net.",
	dns.TypeSRV:   "10 5 443 www.example.net.",
	dns.TypeTXT:   `"text in quotes"`,
}
