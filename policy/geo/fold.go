package geo

import (
	"encoding/binary"
	"net/netip"
)

// Fold returns the IPv4 address that an IPv6 address carries, and how many bits of the IPv6 address stand
// before it, so that n bits of the one are offset+n of the other: mapped (::ffff:0:0/96, RFC 4291 §2.5.5.2),
// 6to4 (2002::/16, RFC 3056 §2), Teredo (2001::/32, the client's, which is inverted, RFC 4380 §4), NAT64
// (64:ff9b::/96, RFC 6052 §2.1). Any other address comes back as it is, with offset 0.
func Fold(a netip.Addr) (folded netip.Addr, offset uint8) {
	if !a.Is6() {
		return a, 0
	}
	b := a.As16()
	high, low := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	switch {
	case high == 0 && low>>32 == 0xffff, high == 0x64_ff9b<<32 && low>>32 == 0:
		return netip.AddrFrom4([4]byte(b[12:])), 96
	case high>>48 == 0x2002:
		return netip.AddrFrom4([4]byte(b[2:])), 16
	case high>>32 == 0x2001_0000:
		return netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]}), 96
	}
	return a, 0
}

// Folded are the networks whose addresses Fold takes for IPv4.
var Folded = []netip.Prefix{
	netip.MustParsePrefix("::ffff:0:0/96"), // mapped (RFC 4291 §2.5.5.2)
	netip.MustParsePrefix("64:ff9b::/96"),  // NAT64 (RFC 6052 §2.1)
	netip.MustParsePrefix("2002::/16"),     // 6to4 (RFC 3056 §2)
	netip.MustParsePrefix("2001::/32"),     // Teredo (RFC 4380 §4)
}

// FoldedIn returns which of Folded a network lies in; ok is false where it lies in none.
func FoldedIn(p netip.Prefix) (in netip.Prefix, ok bool) {
	for _, f := range Folded {
		if p.Bits() >= f.Bits() && f.Contains(p.Addr()) {
			return f, true
		}
	}
	return in, false
}
