package zones

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"

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

func checkTTL(field string, v *int64, def uint32) (uint32, error) {
	if v == nil {
		return def, nil
	}
	if *v < 0 || *v > maxTTL {
		return 0, spec.Errorf(field, "%d is out of range, expected 0 to %d seconds", *v, maxTTL)
	}
	return uint32(*v), nil
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
