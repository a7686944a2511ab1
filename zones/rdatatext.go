package zones

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/miekg/dns"
)

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
	if err = cmp.Or(checkWords(typ, words), checkFields(rr)); err != nil {
		return nil, nil, err
	}
	wire, err = PackRData(rr)
	return rr, wire, err
}

// parseText reads RDATA that miekg/dns reads. typ is the type's name.
func parseText(typ, text, origin string) (dns.RR, error) {
	zp := dns.NewZoneParser(strings.NewReader(". 0 IN "+typ+" "+text+"\n"), origin, "")
	rr, ok := zp.Next()
	if err := zp.Err(); err != nil {
		return nil, textError(err)
	}
	if !ok {
		return nil, errors.New("it is empty")
	}
	if _, more := zp.Next(); more || zp.Err() != nil {
		return nil, errors.New("it goes on")
	}
	return rr, nil
}

// parserError is the form of the errors of miekg/dns: what is wrong, perhaps not said, and where.
var parserError = regexp.MustCompile(`^dns: (.*?)(?:: ("(?:\\"|[^"])*"))?(?: at)? line: \d+:\d+$`)

// textError leaves out what our own message says: the word and the line.
func textError(err error) error {
	parts := parserError.FindStringSubmatch(err.Error())
	switch {
	case parts == nil:
		return err
	case parts[1] == "":
		return fmt.Errorf("wrong at %s", parts[2])
	}
	return errors.New(parts[1])
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
	wrong := fmt.Errorf("these bytes are no %s", dns.Type(typ))
	if rr, err = UnpackRData(typ, wire); err != nil {
		return nil, nil, wrong
	}
	if same, err := PackRData(rr); err != nil || !bytes.Equal(same, wire) || len(wire) == 0 && !mayBeEmpty(rr) {
		return nil, nil, wrong
	}
	return rr, wire, checkFields(rr)
}

func mayBeEmpty(rr dns.RR) bool {
	switch rr.(type) {
	case *dns.RFC3597, *dns.NULL, *dns.APL:
		return true
	}
	return false
}

// discovery is the bit in front of the type of an AMTRELAY's relay (RFC 8777 §4.2.2). miekg/dns takes
// it for a part of the type, and then the relay for none.
const discovery = 1 << 7

// PackRData is the RDATA of rr in wire form, uncompressed.
func PackRData(rr dns.RR) ([]byte, error) {
	rr = dns.Copy(rr)
	rr.Header().Name = "."
	relay, ok := rr.(*dns.AMTRELAY)
	isDiscovery := ok && relay.GatewayType&discovery != 0
	if isDiscovery {
		relay.GatewayType &^= discovery
	}
	wire := make([]byte, dns.Len(rr)+1)
	end, err := dns.PackRR(rr, wire, 0, nil, false)
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "dns: "))
	}
	const rrHeader = 11 // the root as owner, type, class, TTL, length
	wire = wire[rrHeader:end:end]
	if isDiscovery {
		wire[1] |= discovery
	}
	return wire, nil
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
