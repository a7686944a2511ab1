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
		at, counts = in.end, [3]uint16{}
		flags |= flagTC
		w.tally.Truncated++
	}
	if in.edns {
		w.tally.EDNS++
		if in.subnetSize > 0 {
			w.tally.Subnet++
		}
		at = w.opt(buf, at, limit, r)
		counts[zones.AdditionalSection]++
	}
	if r.result == NotAuth && at+in.tsigSize <= limit { // without room for it, the code has to do
		at += copy(buf[at:], in.tsigError[:in.tsigSize])
		counts[zones.AdditionalSection]++
	}

	buf[2] = flagQR | flags | buf[2]&(opcodeBits|flagRD)
	buf[3] = buf[3]&flagCD | byte(r.result.Rcode()&0xf) // RA, Z and AD are clear (RFC 4035 §3.1.6)
	questions := uint16(1)
	if in.end == headerSize {
		questions = 0
	}
	binary.BigEndian.PutUint16(buf[countQD:], questions)
	binary.BigEndian.PutUint16(buf[countAN:], counts[zones.AnswerSection])
	binary.BigEndian.PutUint16(buf[countNS:], counts[zones.AuthoritySection])
	binary.BigEndian.PutUint16(buf[countAR:], counts[zones.AdditionalSection])
	w.tally.Results[r.result]++
	return at
}

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
func (w *worker) sections(buf []byte, room int, sets []zones.RRset) (end int, counts [3]uint16, fits bool) {
	at := w.in.end
	w.names = append(w.names[:0], headerSize)
	for i := range sets {
		s := &sets[i]
		next, n := w.rrset(buf, at, room, s)
		switch {
		case next > 0:
			at = next
			counts[s.Section] += n
		case s.Section != zones.AdditionalSection || s.Required:
			return 0, counts, false
		}
	}
	return at, counts, true
}

// rrset writes s at buf[at:room] and returns where it ends and how many records it has; 0 if it
// does not fit.
func (w *worker) rrset(buf []byte, at, room int, s *zones.RRset) (end int, n uint16) {
	const maxPointer = 1<<14 - 1 // RFC 1035 §4.1.4
	first := at                  // where the name stands that a pointer can show
	if s.Owner == nil {
		first = w.names[s.Hop] + int(s.Offset)
	}
	header := uint64(s.Type)<<48 | uint64(w.in.class)<<32 | uint64(s.TTL)
	for data := s.Data; len(data) > 0; n++ {
		if first != at && first <= maxPointer {
			if at+2 > room {
				return 0, 0
			}
			binary.BigEndian.PutUint16(buf[at:], 0xc000|uint16(first))
			at += 2
		} else {
			name := s.Owner
			if name == nil {
				name = wireName(buf[first:])
			}
			if at+len(name) > room {
				return 0, 0
			}
			at += copy(buf[at:], name)
		}
		size := 2 + int(binary.BigEndian.Uint16(data))
		end := at + 8 + size
		if end > room {
			return 0, 0
		}
		rr := buf[at:end]
		binary.BigEndian.PutUint64(rr, header)
		copy(rr[8:], data[:size])
		if s.Type == dns.TypeCNAME && s.Section == zones.AnswerSection {
			w.names = append(w.names, at+10)
		}
		at, data = end, data[size:]
	}
	return at, n
}

// wireName returns the uncompressed name that b begins with.
func wireName(b []byte) []byte {
	at := 0
	for b[at] != 0 {
		at += 1 + int(b[at])
	}
	return b[:at+1]
}
