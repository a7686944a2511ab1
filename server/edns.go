package server

import (
	"encoding/binary"
	"net/netip"

	"github.com/miekg/dns"
)

// optRecord is what the OPT record of a query says (RFC 6891 §6.1). Its options are named after
// what they ask for.
type optRecord struct {
	edns       bool // there is one
	version    uint8
	do         bool   // RFC 3225
	size       uint16 // of the largest reply over UDP, as offered
	nsid       bool   // RFC 5001
	keepalive  bool   // RFC 7828
	subnetSize int    // RFC 7871: bytes of message.subnet; 0: none
}

// options reads those of an OPT record; unknown ones are ignored (RFC 6891 §6.1.2).
func (m *message) options(b []byte) bool {
	for len(b) > 0 {
		if len(b) < 4 {
			return false
		}
		code, end := binary.BigEndian.Uint16(b), 4+count(b, 2)
		if end > len(b) {
			return false
		}
		switch content := b[4:end]; code {
		case dns.EDNS0NSID:
			m.nsid = true // whatever it holds (RFC 5001 §2.2)
		case dns.EDNS0SUBNET:
			if m.subnetSize > 0 || !validSubnet(content) { // of two nobody knows which is meant
				return false
			}
			m.subnetSize = copy(m.subnet[:], content)
			m.query.Client.Subnet = clientSubnet(content)
		case dns.EDNS0TCPKEEPALIVE:
			switch {
			case !m.stream: // RFC 7828 §3.3.1: over UDP it is passed over
			case len(content) > 0: // only servers say a time (§3.2.1)
				return false
			default:
				m.keepalive = true
			}
		}
		b = b[end:]
	}
	return true
}

const maxSubnet = 4 + 16 // bytes of a client subnet option's content

// validSubnet says whether b is a client subnet as a query may have it (RFC 7871 §6): uint16
// family, uint8 source prefix length, uint8 scope prefix length, which is 0, and as much of the
// address as the source prefix takes, the bits beyond it 0.
func validSubnet(b []byte) bool {
	if len(b) < 4 {
		return false
	}
	var longest int
	switch binary.BigEndian.Uint16(b) {
	case 0: // of no address at all: clients that want no tailoring say that, too (§7.1.2)
	case 1:
		longest = 32
	case 2:
		longest = 128
	default: // an unknown family MUST be rejected (§7.2.1)
		return false
	}
	bits, scope, addr := int(b[2]), b[3], b[4:]
	if bits > longest || scope != 0 || len(addr) != (bits+7)/8 {
		return false
	}
	return bits%8 == 0 || addr[len(addr)-1]<<(bits%8) == 0
}

// clientSubnet is what a valid client subnet says: the zero value where that is no address.
func clientSubnet(b []byte) netip.Prefix {
	switch addr := b[4:]; binary.BigEndian.Uint16(b) {
	case 1:
		var a [4]byte
		copy(a[:], addr)
		return netip.PrefixFrom(netip.AddrFrom4(a), int(b[2]))
	case 2:
		var a [16]byte
		copy(a[:], addr)
		return netip.PrefixFrom(netip.AddrFrom16(a), int(b[2]))
	}
	return netip.Prefix{}
}

// optSize is how much room the OPT record of the reply takes, its extended error apart.
func (w *worker) optSize() int {
	in := w.in
	if !in.edns {
		return 0
	}
	size := 11
	if in.nsid && w.self.nsid != "" {
		size += 4 + len(w.self.nsid)
	}
	if in.subnetSize > 0 {
		size += 4 + in.subnetSize
	}
	if in.keepalive {
		size += 4 + 2
	}
	return size
}

// opt writes the OPT record of a reply (RFC 6891 §6.1.3) at buf[at:] and returns where it ends.
// There is room for it without an extended error, which comes along if it fits (RFC 8914 §3).
func (w *worker) opt(buf []byte, at, limit int, r *response) int {
	in := w.in
	h := buf[at : at+11]
	h[0] = 0 // the root
	binary.BigEndian.PutUint32(h[1:], uint32(dns.TypeOPT)<<16|maxUDP)
	flags := uint32(r.result.Rcode()>>4) << 24 // then the version, 0
	if in.do {
		flags |= 1 << 15
	}
	binary.BigEndian.PutUint32(h[5:], flags)
	start := at + 11
	end := start
	if in.nsid && w.self.nsid != "" {
		end = option(buf, end, dns.EDNS0NSID, len(w.self.nsid))
		copy(buf[end-len(w.self.nsid):], w.self.nsid)
	}
	if in.subnetSize > 0 { // RFC 7871 §7.2.1
		end = option(buf, end, dns.EDNS0SUBNET, in.subnetSize)
		content := buf[end-in.subnetSize : end]
		copy(content, in.subnet[:in.subnetSize])
		if content[2] > 0 { // who names no network is told of none
			content[3] = r.scope
		}
	}
	if in.keepalive {
		end = option(buf, end, dns.EDNS0TCPKEEPALIVE, 2)
		binary.BigEndian.PutUint16(buf[end-2:], w.idle)
	}
	if r.err != nil && end+6+len(r.err.Text) <= limit {
		end = option(buf, end, dns.EDNS0EDE, 2+len(r.err.Text))
		content := buf[end-2-len(r.err.Text) : end]
		binary.BigEndian.PutUint16(content, r.err.Code)
		copy(content[2:], r.err.Text)
	}
	binary.BigEndian.PutUint16(h[9:], uint16(end-start))
	return end
}

// option writes the header of an option with content of size bytes and returns where that ends.
func option(buf []byte, at int, code uint16, size int) int {
	binary.BigEndian.PutUint16(buf[at:], code)
	binary.BigEndian.PutUint16(buf[at+2:], uint16(size))
	return at + 4 + size
}
