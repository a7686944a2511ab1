package zonefile

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/miekg/dns"

	"meridian/zones"
)

// rdataText is the RDATA of rr, which in wire form is wire, as a line of a value: names are absolute, and
// what is the same is written the same. Where miekg/dns writes what it would not read as it was, it
// is hexadecimal.
func rdataText(rr dns.RR, wire []byte) string {
	typ := rr.Header().Rrtype
	if canonical, err := zones.UnpackRData(typ, wire); err == nil {
		rr = canonical
	}
	parts := strings.SplitN(rr.String(), "\t", 5) // owner, TTL, class, type, RDATA
	text := escapeDollar(parts[len(parts)-1])
	if len(parts) == 5 && strings.TrimSpace(text) == text && !strings.ContainsAny(text, "\r\n") {
		if _, same, err := zones.ParseRData(typ, text, "."); err == nil && bytes.Equal(same, wire) {
			return text
		}
	}
	return unknown(wire)
}

// unknown is RDATA in the form that it has for types that one does not know (RFC 3597 §5).
func unknown(wire []byte) string { return strings.TrimSpace(fmt.Sprintf(`\# %d %x`, len(wire), wire)) }

// escapeDollar keeps a name in the first column from being a directive.
func escapeDollar(text string) string {
	if strings.HasPrefix(text, "$") {
		return `\` + text
	}
	return text
}
