package server

import (
	"encoding/binary"

	"github.com/miekg/dns"

	"meridian/zones"
)

// Sizes of replies in bytes.
const (
	minUDP = 512   // what every client takes (RFC 1035 §4.2.1, RFC 6891 §6.2.3)
	maxUDP = 1232  // what hardly a path has to fragment (DNS flag day 2020, RFC 9715 §3.1); also what we offer to take
	maxTCP = 65535 // RFC 1035 §4.2.2
)

// encode writes the reply over the query in buf: its id and question stay where they are, with the
// case the client chose. It returns the reply's size.
func (w *worker) encode(buf []byte, r *response) int {
	in := w.in
	limit := w.limit()

	var flags byte
	if r.aa {
		flags = flagAA
	}
	at, counts, fits := w.sections(buf, limit-w.optSize(), r.sets)
	if !fits { // RFC 2181 §9: the client drops what came with TC, so nothing comes
		at, counts = in.end, 0
		flags |= flagTC
		w.tally.Truncated++
	}
	if in.edns {
		w.tally.EDNS++
		if in.subnetSize > 0 {
			w.tally.Subnet++
		}
		at = w.opt(buf, at, limit, r)
		counts.add(zones.AdditionalSection, 1)
	}
	if r.result == NotAuth && at+in.tsigSize <= limit { // without room for it, the code has to do
		at += copy(buf[at:], in.tsigError[:in.tsigSize])
		counts.add(zones.AdditionalSection, 1)
	}
	if in.end > headerSize {
		counts += oneQuestion
	}

	h := buf[:headerSize]
	h[2] = flagQR | flags | h[2]&(opcodeBits|flagRD)
	h[3] = h[3]&flagCD | byte(r.result.Rcode()&0xf) // RA, Z and AD are clear (RFC 4035 §3.1.6)
	binary.BigEndian.PutUint64(h[countQD:], uint64(counts))
	w.tally.Results[r.result]++
	return at
}

// counts of the four sections, as a header has them.
type counts uint64

const oneQuestion counts = 1 << 48

func (c *counts) add(section zones.Section, n uint16) { *c += counts(n) << ((32 - 16*section) & 63) }

// limit is the size of the largest reply.
func (w *worker) limit() int {
	switch {
	case w.in.stream:
		return maxTCP
	case w.in.edns:
		return min(max(int(w.in.size), minUDP), maxUDP)
	}
	return minUDP
}

// sections writes the RRsets after the question and returns where they end, and how many records
// each section has. fits is false where they would go beyond room: RRsets of the additional section
// are left off before that.
func (w *worker) sections(buf []byte, room int, sets []zones.RRset) (end int, n counts, fits bool) {
	at := w.in.end
	for i := range sets {
		s := &sets[i]
		switch next := w.rrset(buf, at, room, s); {
		case next > 0:
			at = next
			n.add(s.Section, s.Count)
		case s.Section != zones.AdditionalSection || s.Required:
			return 0, 0, false
		}
	}
	return at, n, true
}

// rrset writes s at buf[at:room] and returns where it ends; 0 if it does not fit.
func (w *worker) rrset(buf []byte, at, room int, s *zones.RRset) (end int) {
	buf = buf[:room]
	owner, pointer := s.Owner, uint16(0)
	if owner == nil {
		first := int(w.names[s.Hop]) + int(s.Offset)
		if pointer = pointerTo(first); pointer == 0 {
			owner = wireName(buf[first:])
		}
	}
	header := uint64(s.Type)<<48 | uint64(w.in.class)<<32 | uint64(s.TTL)
	data := s.Data
	for pointer == 0 && len(data) > 0 {
		size := 2 + count(data, 0)
		if at+len(owner)+8+size > room {
			return 0
		}
		pointer = pointerTo(at)
		at += copy(buf[at:], owner)
		binary.BigEndian.PutUint64(buf[at:], header)
		at += 8 + copy(buf[at+8:], data[:size])
		data = data[size:]
	}
	if s.Type == dns.TypeA {
		return ipv4(buf, at, pointer, header, data)
	}
	for len(data) > 0 {
		size := 2 + count(data, 0)
		end := at + 2 + 8 + size
		if end > room {
			return 0
		}
		rr := buf[at:end]
		binary.BigEndian.PutUint16(rr, pointer)
		binary.BigEndian.PutUint64(rr[2:], header)
		copy(rr[10:], data[:size])
		at, data = end, data[size:]
	}
	if s.Type == dns.TypeCNAME && s.Section == zones.AnswerSection {
		w.names[s.Hop+1] = uint16(at - len(s.Data) + 2)
	}
	return at
}

// ipv4 is the end of rrset for addresses of IPv4: most RRsets are such.
func ipv4(buf []byte, at int, pointer uint16, header uint64, data []byte) (end int) {
	const size, whole = 2 + 4, 2 + 8 + 2 + 4 // of an RR in data, and as it is written
	end = at + len(data)/size*whole
	if end > len(buf) {
		return 0
	}
	for out := buf[at:end]; len(out) >= whole && len(data) >= size; out, data = out[whole:], data[size:] {
		binary.BigEndian.PutUint16(out, pointer)
		binary.BigEndian.PutUint64(out[2:], header)
		*(*[size]byte)(out[10:]) = [size]byte(data)
	}
	return end
}

// pointerTo is the pointer to a name that the message holds from first on (RFC 1035 §4.1.4); 0 if none reaches so far.
func pointerTo(first int) uint16 {
	if first >= 1<<14 {
		return 0
	}
	return 0xc000 | uint16(first)
}

// wireName returns the uncompressed name that b begins with.
func wireName(b []byte) []byte {
	at := 0
	for b[at] != 0 {
		at += 1 + int(b[at])
	}
	return b[:at+1]
}
