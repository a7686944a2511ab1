package zonefile

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"meridian/spec"
	"meridian/zones"
)

// reader reads a file and those it includes.
type reader struct {
	draft
	folder   Folder
	open     []string // files being read, outermost first, as paths in folder
	included int      // files so far

	// As in BIND, these go on from file to file.
	stated, given ttl // by $TTL; by the last record that had one (RFC 1035 §5.1)
}

// ttl is one that may not be known.
type ttl struct {
	seconds uint32
	known   bool
}

// scope is what a file has said of the lines that follow.
type scope struct {
	file   string // for remarks
	origin string // absolute
	owner  *owner // of the last record; nil: none yet, or one that was refused
}

// owner is the owner of a record in the zone.
type owner struct {
	zones.Owner
	wire string
}

const maxTTL = 1<<31 - 1 // RFC 2181 §8

func newReader(file string, apex zones.Owner, folder Folder) *reader {
	return &reader{
		draft: draft{
			apex: apex, file: file,
			names: map[string]*name{}, seen: map[string]Place{}, leftOut: map[uint16]*leftOut{},
		},
		folder: folder,
		open:   []string{filepath.Base(file)},
	}
}

// read reads a file from its first line to its last.
func (r *reader) read(sc *scope, text string) {
	l := lexer{text: strings.TrimPrefix(text, "\ufeff"), line: 1}
	for {
		e, ok := l.next()
		if !ok {
			return
		}
		at := Place{sc.file, e.line}
		switch {
		case e.fault != "":
			r.refuse(at, "%s", e.fault)
			sc.owner = nil
		case !e.blank && e.tokens[0][0] == '$':
			if !r.directive(sc, at, e.tokens) {
				r.refuse(at, "the rest of %s is not read: what it says depends on this line", sc.file)
				return
			}
		default:
			r.line(sc, at, e)
		}
	}
}

// line takes in a line that is a record.
func (r *reader) line(sc *scope, at Place, e entry) {
	tokens := e.tokens
	if !e.blank {
		var err error
		if sc.owner, err = r.owner(tokens[0], sc.origin); err != nil {
			r.refuse(at, "%v", err)
			return
		}
		tokens = tokens[1:]
	}
	if sc.owner == nil {
		r.refuse(at, "no owner: there is none here, and no good one in the lines before")
		return
	}
	h, err := parseHeader(tokens)
	if err != nil {
		r.refuse(at, "%v", err)
		return
	}
	r.record(sc, *sc.owner, h, h.rdata, at)
}

func (r *reader) owner(text, origin string) (*owner, error) {
	if zones.HasQuote(text) { // BIND and NSD take the quotes off
		return nil, fmt.Errorf(`%.60q is not an owner: a quote in a name is written as \"`, text)
	}
	full := absolute(text, origin)
	n, err := parseName(full)
	if err != nil {
		return nil, err
	}
	wire := n.Wire()
	for at := wire; ; at = at[1+int(at[0]):] {
		if bytes.Equal(at, r.apex.Name.Wire()) {
			return &owner{zones.Owner{Name: n, Zone: r.apex.Zone}, string(wire)}, nil
		}
		if at[0] == 0 {
			return nil, fmt.Errorf("%s is not in zone %s", full, r.apex.ZoneText())
		}
	}
}

// header is what a record says before its RDATA.
type header struct {
	ttl   ttl
	large bool // its TTL was larger than there are
	typ   uint16
	rdata []string // tokens
}

// parseHeader reads TTL and class, either of which may be missing or come first, and the type.
func parseHeader(tokens []string) (header, error) {
	var h header
	hasClass := false
	for i, token := range tokens {
		switch {
		case isDigit(token[0]) && !h.ttl.known:
			seconds, err := parseTTL(token)
			if err != nil {
				return h, err
			}
			h.ttl = ttl{uint32(seconds), true}
			if seconds > maxTTL {
				h.ttl.seconds, h.large = 0, true
			}
		case isClass(token) && !hasClass:
			if class := strings.ToUpper(token); class != "IN" && class != "CLASS1" {
				return h, fmt.Errorf("class %s is not served, expected IN", class)
			}
			hasClass = true
		default:
			var err error
			h.typ, err = parseType(token)
			h.rdata = tokens[i+1:]
			return h, err
		}
	}
	return h, fmt.Errorf("it ends before the type")
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isClass(token string) bool {
	token = strings.ToUpper(token)
	number, generic := strings.CutPrefix(token, "CLASS") // RFC 3597 §5
	if generic {
		_, err := strconv.ParseUint(number, 10, 16)
		return err == nil
	}
	return slices.Contains([]string{"IN", "CH", "HS", "CS"}, token)
}

// parseTTL reads seconds, or weeks, days, hours, minutes and seconds as BIND has them: 1h30m.
func parseTTL(text string) (seconds uint64, err error) {
	wrong := fmt.Errorf("%.20q is not a TTL, expected seconds, or such as 1h30m", text)
	units := map[byte]uint64{'w': 7 * 86400, 'd': 86400, 'h': 3600, 'm': 60, 's': 1}
	for rest := text; rest != ""; {
		digits := 0
		for digits < len(rest) && isDigit(rest[digits]) {
			digits++
		}
		n, err := strconv.ParseUint(rest[:digits], 10, 32)
		if err != nil {
			return 0, wrong
		}
		if digits == len(rest) {
			if digits != len(text) { // a number without unit stands alone
				return 0, wrong
			}
			return n, nil
		}
		unit, ok := units[rest[digits]|0x20]
		if seconds += n * unit; !ok || seconds > 1<<32-1 {
			return 0, wrong
		}
		rest = rest[digits+1:]
	}
	return seconds, nil
}

// parseType reads a type in small letters or capitals, or TYPE123 (RFC 3597 §5).
func parseType(text string) (uint16, error) {
	upper := strings.ToUpper(text)
	typ, known := dns.StringToType[upper]
	if number, ok := strings.CutPrefix(upper, "TYPE"); ok && !known {
		v, err := strconv.ParseUint(number, 10, 16)
		typ, known = uint16(v), err == nil
	}
	if !known {
		_, err := zones.ParseType(text)
		return 0, fmt.Errorf(`%w; a type that has no name here is written as TYPE123 \# 4 0A000001 (RFC 3597)`, err)
	}
	if typ == dns.TypeSOA {
		return typ, nil
	}
	return zones.ParseType(dns.Type(typ).String())
}

// record takes in a record. rdata are tokens.
func (r *reader) record(sc *scope, o owner, h header, rdata []string, at Place) {
	if signers[h.typ] != "" {
		if h.ttl.known {
			r.given = h.ttl
		}
		r.leaveOut(h.typ, at)
		return
	}
	if len(rdata) == 0 && h.typ == dns.TypeAPL { // which may be empty (RFC 3123 §4)
		rdata = []string{`\#`, "0"}
	}
	rr, wire, err := zones.ParseRData(h.typ, strings.Join(rdata, " "), sc.origin)
	if err != nil {
		r.refuse(at, "%.60q is not RDATA of type %s (%v)", strings.Join(rdata, " "), dns.Type(h.typ), err)
		return
	}
	if h.large {
		r.note(at, "a TTL of more than %d is taken as 0 (RFC 2181 §8)", maxTTL)
	}
	seconds, ok := r.ttlOf(h, rr, at)
	if !ok {
		r.refuse(at, "no TTL: there is none here, no $TTL and no other record's before")
		return
	}
	text := rdataText(rr, wire)
	r.add(record{owner: o, typ: h.typ, ttl: seconds, rr: rr, wire: wire, text: text, place: at})
}

// ttlOf is the TTL that a record has or gets: $TTL's (RFC 2308 §4) before that of the record before
// it (RFC 1035 §5.1).
func (r *reader) ttlOf(h header, rr dns.RR, at Place) (seconds uint32, ok bool) {
	switch soa, isSOA := rr.(*dns.SOA); {
	case h.ttl.known:
		r.given = h.ttl
		return h.ttl.seconds, true
	case r.stated.known:
		return r.stated.seconds, true
	case r.given.known:
		return r.given.seconds, true
	case isSOA && soa.Minttl <= maxTTL: // what MINIMUM once was for
		r.note(at, "no TTL: the SOA's MINIMUM, %d, is taken, as by BIND", soa.Minttl)
		r.stated = ttl{soa.Minttl, true}
		return soa.Minttl, true
	}
	return 0, false
}

// directives there are.
var directives = []string{"$ORIGIN", "$TTL", "$INCLUDE", "$GENERATE"}

// directive obeys one. ok is false where what follows cannot be read without it.
func (r *reader) directive(sc *scope, at Place, tokens []string) (ok bool) {
	name, args := strings.ToUpper(tokens[0]), tokens[1:]
	switch name {
	case "$ORIGIN":
		if len(args) != 1 {
			r.refuse(at, "$ORIGIN: expected a name, found %d", len(args))
			return false
		}
		origin := absolute(args[0], sc.origin)
		if _, err := parseName(origin); err != nil {
			r.refuse(at, "$ORIGIN: %v", err)
			return false
		}
		sc.origin = origin
	case "$TTL":
		if len(args) != 1 {
			r.refuse(at, "$TTL: expected a TTL, found %d", len(args))
			return false
		}
		seconds, err := parseTTL(args[0])
		if err != nil {
			r.refuse(at, "$TTL: %v", err)
			return false
		}
		if seconds > maxTTL {
			r.note(at, "$TTL: more than %d is taken as 0 (RFC 2181 §8)", maxTTL)
			seconds = 0
		}
		r.stated = ttl{uint32(seconds), true}
	case "$INCLUDE":
		r.include(*sc, at, args)
	case "$GENERATE":
		r.generate(sc, at, args)
	default:
		r.refuse(at, "%s is not a directive%s", tokens[0], spec.Suggest(name, directives))
	}
	return true
}
