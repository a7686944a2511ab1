package server

import (
	"encoding/binary"

	"github.com/miekg/dns"
)

const (
	maxName = 255                     // bytes (RFC 1035 §2.3.4)
	maxTSIG = 2*maxName + 10 + 10 + 6 // bytes of a TSIG record without MAC and other data
)

// badKey reads the TSIG record of a message and appends to b the one of the reply that says that
// its key is not known (RFC 8945 §5.2.1, §5.3.2): the same, with error 17 and without MAC. b is empty and
// has room for maxTSIG bytes. size is how long that one is; ok is false where the record is
// malformed (§4.2).
//
// The RDATA: name of the algorithm, uint48 time, uint16 fudge, uint16 size of the MAC, the MAC,
// uint16 id of the message as signed, uint16 error, uint16 size of other data, the other data.
func badKey(b, msg []byte, owner int, rdata []byte) (size int, ok bool) {
	b, ok = appendName(b, msg, owner)
	if !ok {
		return 0, false
	}
	header := len(b)
	b = append(b, 0, byte(dns.TypeTSIG), 0, dns.ClassANY, 0, 0, 0, 0, 0, 0)
	algorithm := len(b)
	if b, ok = appendName(b, rdata, 0); !ok { // a pointer is none: it would lead into the RDATA
		return 0, false
	}
	rdata = rdata[len(b)-algorithm:]
	if len(rdata) < 10 {
		return 0, false
	}
	b = append(b, rdata[:8]...)
	mac := 10 + count(rdata, 8)
	if len(rdata) < mac+6 || len(rdata) != mac+6+count(rdata, mac+4) {
		return 0, false
	}
	b = append(b, 0, 0, rdata[mac], rdata[mac+1], 0, dns.RcodeBadKey, 0, 0)
	binary.BigEndian.PutUint16(b[header+8:], uint16(len(b)-algorithm))
	return len(b), true
}

// appendName appends the name at msg[at:] to b, its pointers followed. Each must lead further back
// than the one before, so that there is an end.
func appendName(b, msg []byte, at int) (name []byte, ok bool) {
	for start, before := len(b), at; at < len(msg); {
		switch length := int(msg[at]); {
		case length == 0:
			return append(b, 0), true
		case length >= 0xc0:
			if at+2 > len(msg) {
				return nil, false
			}
			at = count(msg, at) & 0x3fff
			if at >= before {
				return nil, false
			}
			before = at
		case length >= 0x40 || at+1+length > len(msg) || len(b)-start+1+length >= maxName:
			return nil, false
		default:
			b = append(b, msg[at:at+1+length]...)
			at += 1 + length
		}
	}
	return nil, false
}
