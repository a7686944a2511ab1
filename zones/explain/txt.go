package explain

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"meridian/zones"
)

// An explanation can be had by DNS: the TXT of _explain.www.example.com explains the A of www.example.com, that
// of _aaaa._explain.www.example.com the AAAA. It takes the place of "there is no such name": what is in the
// registry goes before.

var label = []byte("\x08_explain") // in wire form

// TXT answers a question for TXT that asks for an explanation: with one record a line, each numbered
// for those who put them into another order. It is nil where q asks for none, or may not.
func TXT(s *zones.Snapshot, q *zones.Query, server string) []zones.RRset {
	typ, name, ok := split(q.Name.Wire())
	if !ok {
		return nil
	}
	asked := *q
	asked.Name.Read(name)
	zone, ours := s.ZoneOf(&asked.Name)
	if !ours || !s.ExplainFrom(zone, q.Client.Addr) {
		return nil
	}
	if own, _ := s.ZoneOf(&q.Name); s.Exists(zones.Owner{Name: &q.Name, Zone: own.Zone}) {
		return nil
	}
	var err error
	if asked.Type, err = ParseType(typ); err != nil {
		return txt([]string{"type: " + Clean(err.Error())})
	}
	e := Resolve(s, &asked)
	e.Server = server
	return txt(strings.Split(e.text(), "\n"))
}

// split cuts the wire form of a name that asks for an explanation into the type and the name asked for.
func split(wire []byte) (typ string, name []byte, ok bool) {
	if len(wire) < 2 || wire[1] != '_' { // the root has one byte
		return "", nil, false
	}
	if name, ok = bytes.CutPrefix(wire, label); ok {
		return "A", name, true
	}
	end := 1 + int(wire[0])
	if name, ok = bytes.CutPrefix(wire[end:], label); !ok {
		return "", nil, false
	}
	return string(wire[2:end]), name, true
}

const (
	// maxLine is how many bytes of a line are shown: a step may keep a thousand members.
	maxLine = 1000

	// Bytes of RDATA that the first lines have, and the last ones: a message holds 65,535, with the name asked
	// for and what EDNS adds.
	maxFirst, maxLast = 44_000, 16_000
)

// txt makes an RRset of lines, empty ones left out. Its owner is the question's name; it is nobody's to keep.
func txt(text []string) []zones.RRset {
	lines := text[:0]
	for _, line := range text {
		if strings.TrimSpace(line) == "" {
			continue
		}
		line = strings.ReplaceAll(line, "\t", " ")
		if len(line) > maxLine {
			line = fmt.Sprintf("%s... (%d bytes more)", line[:maxLine], len(line)-maxLine)
		}
		lines = append(lines, line)
	}
	first, last := fitting(lines)
	digits := max(2, len(strconv.Itoa(len(lines))))
	set := zones.RRset{Section: zones.AnswerSection, Type: dns.TypeTXT}
	add := func(number int, line string) {
		set.Data = appendTXT(set.Data, fmt.Sprintf("%0*d %s", digits, number, line))
		set.Count++
	}
	for i, line := range lines {
		switch {
		case i < first || i >= last:
			add(i+1, line)
		case i == first:
			add(i+1, fmt.Sprintf("... %d lines left out: meridian explain shows them", last-first))
		}
	}
	return []zones.RRset{set}
}

// fitting says which lines do not fit into a message: those from the first to before the last.
func fitting(lines []string) (first, last int) {
	room := maxFirst + maxLast
	for first < len(lines) && room >= maxLast+sizeOfTXT(lines[first]) {
		room -= sizeOfTXT(lines[first])
		first++
	}
	last = len(lines)
	for last > first && room >= sizeOfTXT(lines[last-1]) {
		room -= sizeOfTXT(lines[last-1])
		last--
	}
	return first, last
}

// sizeOfTXT is how many bytes a record takes, at most, with a number before the line.
func sizeOfTXT(line string) int {
	const fixed = 2 + 2 + 2 + 4 + 2 // pointer to the owner, type, class, TTL, length
	return fixed + len("12345 ") + len(line) + 1 + (len(line)+6)/maxString
}

const maxString = 255 // bytes of a character string (RFC 1035 §3.3)

// appendTXT appends the RDATA of a TXT record, after its length, with the line cut into strings.
func appendTXT(b []byte, line string) []byte {
	at := len(b)
	b = append(b, 0, 0)
	for len(line) > 0 {
		n := min(len(line), maxString)
		b = append(append(b, byte(n)), line[:n]...)
		line = line[n:]
	}
	binary.BigEndian.PutUint16(b[at:], uint16(len(b)-at-2))
	return b
}
