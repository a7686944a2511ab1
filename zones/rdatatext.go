package zones

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/miekg/dns"
)

// atLine is how miekg/dns ends its messages; our own field says the line.
var atLine = regexp.MustCompile(`(: "(\\"|[^"])*")?( at)? line: \d+:\d+$`)

// ParseRData reads RDATA in the form of zone files (RFC 1035 §5.1, RFC 3597 §5), in the forms that
// BIND takes. origin is absolute. wire is uncompressed.
func ParseRData(typ uint16, text, origin string) (rr dns.RR, wire []byte, err error) {
	words, err := splitWords(text)
	if err != nil {
		return nil, nil, err
	}
	if len(words) == 0 { // of which miekg/dns makes a record without RDATA, as updates have them
		return nil, nil, errors.New("it is empty")
	}
	if words[0] == `\#` {
		return parseUnknown(typ, words)
	}
	if rr, err = parseText(dns.Type(typ).String(), strings.Join(dialect(typ, words), " "), origin); err != nil {
		return nil, nil, err
	}
	if err = cmp.Or(check(rr, words), checkFields(rr)); err != nil {
		return nil, nil, err
	}
	wire, err = PackRData(rr)
	return rr, wire, err
}

func parseText(typ, text, origin string) (dns.RR, error) {
	zp := dns.NewZoneParser(strings.NewReader(". 0 IN "+typ+" "+text+"\n"), origin, "")
	rr, ok := zp.Next()
	if err := zp.Err(); err != nil {
		return nil, errors.New(atLine.ReplaceAllString(strings.TrimPrefix(err.Error(), "dns: "), ""))
	}
	if !ok {
		return nil, errors.New("it is empty")
	}
	if _, more := zp.Next(); more || zp.Err() != nil {
		return nil, errors.New("it goes on")
	}
	return rr, nil
}

// parseUnknown reads RDATA in the form of unknown types. Of a known type it has to be what that type
// has, to the last byte: miekg/dns takes what is cut short, and what goes on.
func parseUnknown(typ uint16, words []string) (rr dns.RR, wire []byte, err error) {
	const noType = "TYPE65280" // of private use (RFC 6895 §3.1): its RDATA stays as it is
	unknown, err := parseText(noType, strings.Join(words, " "), ".")
	if err != nil {
		return nil, nil, err
	}
	if wire, err = hex.DecodeString(unknown.(*dns.RFC3597).Rdata); err != nil {
		return nil, nil, err
	}
	if rr, err = UnpackRData(typ, wire); err != nil {
		return nil, nil, fmt.Errorf("not what a %s has", dns.Type(typ))
	}
	if err = checkFields(rr); err != nil {
		return nil, nil, err
	}
	_, isUnknown := rr.(*dns.RFC3597)
	mayBeEmpty := isUnknown || typ == dns.TypeNULL || typ == dns.TypeAPL
	same, err := PackRData(rr)
	if err != nil || !bytes.Equal(same, wire) || len(wire) == 0 && !mayBeEmpty || len(wire) > 0 && lacksName(rr) {
		return nil, nil, fmt.Errorf("not what a %s has", dns.Type(typ))
	}
	return rr, wire, nil
}

// lacksName says whether a name of the RDATA of rr is missing: that of the root is ".".
func lacksName(rr dns.RR) bool { return anyLacksName(reflect.ValueOf(rr).Elem()) }

func anyLacksName(fields reflect.Value) bool {
	for i := range fields.NumField() {
		f := fields.Type().Field(i)
		switch v := fields.Field(i); {
		case f.Anonymous && v.Kind() == reflect.Struct: // HTTPS is a SVCB
			if anyLacksName(v) {
				return true
			}
		case v.Kind() == reflect.String && strings.HasSuffix(f.Tag.Get("dns"), "domain-name") && v.Len() == 0:
			return true
		}
	}
	return false
}

// discovery is the bit in front of the type of an AMTRELAY's relay (RFC 8777 §4.2.2). miekg/dns takes
// it for a part of the type, and then the relay for none.
const discovery = 1 << 7

// PackRData is the RDATA of rr in wire form, uncompressed.
func PackRData(rr dns.RR) ([]byte, error) {
	var bit uint8
	if relay, ok := rr.(*dns.AMTRELAY); ok && relay.GatewayType&discovery != 0 {
		plain := *relay
		plain.GatewayType &^= discovery
		rr, bit = &plain, discovery
	}
	owner := rr.Header().Name
	rr.Header().Name = "."
	defer func() { rr.Header().Name = owner }()
	wire := make([]byte, dns.Len(rr)+1)
	end, err := dns.PackRR(rr, wire, 0, nil, false)
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "dns: "))
	}
	const rrHeader = 11 // the root as owner, type, class, TTL, length
	if bit != 0 {
		wire[rrHeader+1] |= bit
	}
	return wire[rrHeader:end:end], nil
}

// UnpackRData is the record of the root that has the RDATA. It can be packed and written again: miekg/dns
// itself unpacks some strings without the escapes that it then expects.
func UnpackRData(typ uint16, wire []byte) (dns.RR, error) {
	isDiscovery := typ == dns.TypeAMTRELAY && len(wire) > 1 && wire[1]&discovery != 0
	if isDiscovery {
		wire = bytes.Clone(wire)
		wire[1] &^= discovery
	}
	h := dns.RR_Header{Name: ".", Rrtype: typ, Class: dns.ClassINET, Rdlength: uint16(len(wire))}
	rr, _, err := dns.UnpackRRWithHeader(h, wire, 0)
	if err != nil {
		return nil, err
	}
	switch rr := rr.(type) {
	case *dns.AMTRELAY:
		if isDiscovery {
			rr.GatewayType |= discovery
		}
	case *dns.CAA:
		rr.Value = strings.ReplaceAll(rr.Value, `\`, `\\`)
	case *dns.URI:
		rr.Target = strings.ReplaceAll(rr.Target, `\`, `\\`)
	}
	return rr, nil
}
