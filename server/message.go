package server

import (
	"encoding/binary"
	"net/netip"

	"github.com/miekg/dns"

	"meridian/zones"
)

// The header of a message (RFC 1035 §4.1.1, RFC 4035 §3): uint16 id, two bytes of flags, uint16
// counts of the four sections.
const (
	headerSize = 12

	flagQR     = 0x80 // of byte 2
	opcodeBits = 0x78
	flagAA     = 0x04
	flagTC     = 0x02
	flagRD     = 0x01
	flagCD     = 0x10 // of byte 3

	countQD, countAN, countNS, countAR = 4, 6, 8, 10
)

func opcode(msg []byte) int { return int(msg[2]&opcodeBits) >> 3 }

func count(msg []byte, at int) int { return int(binary.BigEndian.Uint16(msg[at:])) }

// message is what is known of a query.
type message struct {
	form   form
	stream bool   // it came over TCP
	class  uint16 // of the question
	end    int    // of the question; that of the header if no question could be read
	optRecord
	subnet [maxSubnet]byte // content of the client subnet option: subnetSize bytes
	query  zones.Query

	tsigSize  int           // 0: the message is not signed
	tsigError [maxTSIG]byte // the TSIG of an error reply: tsigSize bytes
}

// form of a message.
type form uint8

const (
	noQuery form = iota // too short, or a reply: to be met with silence
	malformed
	wellFormed
)

// read parses a message into m.
func (m *message) read(msg []byte) {
	m.form = noQuery
	switch {
	case len(msg) < headerSize || msg[2]&flagQR != 0: // two servers answering each other's replies would never end
	case m.parse(msg):
		m.form = wellFormed
	default:
		m.form = malformed
	}
}

// parse reads a message of at least headerSize bytes into m and says whether it is well formed. If
// not, m holds as much as could be read.
//
// A query has nothing in its answer and authority sections but for the SOA of an IXFR (RFC 1995
// §3), and nothing after its last record: whatever comes with either is garbled, or a try to show
// different parsers different messages.
func (m *message) parse(msg []byte) bool {
	h := msg[:headerSize]
	m.end, m.tsigSize, m.optRecord, m.query.Client.Subnet = headerSize, 0, optRecord{}, netip.Prefix{}
	if count(h, countQD) != 1 || !m.question(msg) { // RFC 9619
		if count(h, countQD) == 0 {
			m.records(msg, headerSize) // a reply has an OPT where the query has (RFC 6891 §6.1.1)
		}
		return false
	}
	end, ok := m.end, true
	if count(h, countAN)+count(h, countNS)+count(h, countAR) > 0 {
		end, ok = m.records(msg, end)
	}
	return ok && end == len(msg) &&
		count(h, countAN) == 0 && (count(h, countNS) == 0 || m.query.Type == dns.TypeIXFR)
}

// question reads the one question, which ends at m.end.
func (m *message) question(msg []byte) bool {
	size, ok := m.query.Name.Read(msg[headerSize:])
	if !ok || headerSize+size+4 > len(msg) {
		return false
	}
	end := headerSize + size + 4
	m.query.Type = binary.BigEndian.Uint16(msg[end-4:])
	m.class = binary.BigEndian.Uint16(msg[end-2:])
	m.end = end
	return true
}

// records passes over the records from at on, reads those that concern the message, and returns
// where they end.
func (m *message) records(msg []byte, at int) (end int, ok bool) {
	head := msg[:headerSize]
	before := count(head, countAN) + count(head, countNS)
	total := before + count(head, countAR)
	for i := range total {
		owner := at
		if at, ok = skipName(msg, at); !ok || at+10 > len(msg) {
			return 0, false
		}
		h := msg[at : at+10] // uint16 type, uint16 class, uint32 TTL, uint16 size of the RDATA
		rdata := at + 10
		end := rdata + count(h, 8)
		if end > len(msg) {
			return 0, false
		}
		switch typ := binary.BigEndian.Uint16(h); {
		case i < before:
		case typ == dns.TypeOPT:
			if m.edns || msg[owner] != 0 { // one at most, owned by the root (RFC 6891 §6.1.1, §6.1.2)
				return 0, false
			}
			m.edns = true
			m.size = binary.BigEndian.Uint16(h[2:])
			m.version = h[5]
			m.do = h[6]&0x80 != 0
			if m.version == 0 && !m.options(msg[rdata:end]) { // another version may have them in another form
				return 0, false
			}
		case typ == dns.TypeTSIG:
			if i != total-1 { // RFC 8945 §5.2
				return 0, false
			}
			if m.tsigSize, ok = badKey(m.tsigError[:0], msg, owner, msg[rdata:end]); !ok {
				return 0, false
			}
		}
		at = end
	}
	return at, true
}

// skipName returns where the name at at ends, compressed or not.
func skipName(msg []byte, at int) (end int, ok bool) {
	for at < len(msg) {
		switch length := int(msg[at]); {
		case length == 0:
			return at + 1, true
		case length >= 0xc0:
			return at + 2, at+2 <= len(msg)
		case length >= 0x40: // RFC 6891 §5: these label types were given up
			return 0, false
		default:
			at += 1 + length
		}
	}
	return 0, false
}
