package zonefile

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/miekg/dns"
)

// parser reads and writes RDATA with miekg/dns.
type parser struct {
	buf [maxRR]byte
}

const (
	rrHeader = 11 // bytes of the root as owner, type, class, TTL, length
	maxRR    = rrHeader + 1<<16 - 1
)

// atLine is how miekg/dns ends its messages; we know the line.
var atLine = regexp.MustCompile(`(: "(\\"|[^"])*")?( at)? line: \d+:\d+$`)

// read reads RDATA given as tokens.
func (p *parser) read(typ uint16, tokens []string, origin string) (rr dns.RR, wire []byte, err error) {
	if len(tokens) == 0 {
		return nil, nil, errors.New("it is empty")
	}
	rr, wire, err = p.parse(typ, strings.Join(dialect(typ, tokens), " "), origin)
	if err == nil {
		err = check(rr, tokens)
	}
	return rr, wire, err
}

// parse reads RDATA in the form of zone files. origin is absolute. wire is the RDATA, uncompressed.
func (p *parser) parse(typ uint16, text, origin string) (rr dns.RR, wire []byte, err error) {
	if text == "" { // of which miekg/dns makes a record without RDATA, as updates have them
		return nil, nil, errors.New("it is empty")
	}
	zp := dns.NewZoneParser(strings.NewReader(". 0 IN "+dns.Type(typ).String()+" "+text+"\n"), origin, "")
	rr, ok := zp.Next()
	if err := zp.Err(); err != nil {
		return nil, nil, errors.New(atLine.ReplaceAllString(strings.TrimPrefix(err.Error(), "dns: "), ""))
	}
	if !ok {
		return nil, nil, errors.New("it is empty")
	}
	if _, more := zp.Next(); more || zp.Err() != nil {
		return nil, nil, errors.New("it goes on")
	}
	wire, err = p.pack(rr)
	return rr, wire, err
}

// pack is the RDATA of rr, whose owner is the root, in wire form.
func (p *parser) pack(rr dns.RR) (wire []byte, err error) {
	// miekg/dns packs the relay by a type in which it has left the discovery bit (RFC 8777 §4.2.3).
	if relay, ok := rr.(*dns.AMTRELAY); ok && relay.GatewayType > 1<<7 {
		return nil, errors.New("a relay with the discovery bit cannot be served yet")
	}
	end, err := dns.PackRR(rr, p.buf[:], 0, nil, false)
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "dns: "))
	}
	return bytes.Clone(p.buf[rrHeader:end]), nil
}

// text is the RDATA of rr, which in wire form is wire, as a line of a value: names are absolute, and
// what is the same is written the same. Where miekg/dns writes what it would not read as it was, it
// is hexadecimal.
func (p *parser) text(rr dns.RR, wire []byte) string {
	h := *rr.Header()
	h.Rdlength = uint16(len(wire))
	if canonical, _, err := dns.UnpackRRWithHeader(h, wire, 0); err == nil {
		rr = canonical
	}
	parts := strings.SplitN(rr.String(), "\t", 5) // owner, TTL, class, type, RDATA
	text := escapeDollar(parts[len(parts)-1])
	if len(parts) == 5 && strings.TrimSpace(text) == text && !strings.ContainsAny(text, "\r\n") {
		if _, same, err := p.parse(h.Rrtype, text, "."); err == nil && bytes.Equal(same, wire) {
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
