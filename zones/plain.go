package zones

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// What a million keys say is nearly always written in the plainest way. What follows reads that, and
// leaves all else to those who read everything and say what is wrong.

// plain are the bytes that stand for themselves in any label, on the wire and in the canonical spelling.
var plain = func() (t [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyz0123456789-_*") {
		t[c] = true
	}
	return t
}()

// ReadPlain sets n to the name of an owner in a zone, as keys spell both, "@" the apex, and returns how
// many labels the zone has. ok is false where it takes more than plain to read them; what n is then
// does not matter. What it takes is spelled canonically.
func (n *Name) ReadPlain(zone, owner string) (apex int, ok bool) {
	at := 0
	if owner != "@" {
		if at, ok = n.appendPlain(0, owner); !ok {
			return 0, false
		}
	}
	below := n.labels
	if at == 0 {
		below = 0
	}
	n.labels = below
	if at, ok = n.appendPlain(at, zone); !ok {
		return 0, false
	}
	n.wire[at] = 0
	n.start[n.labels], n.size = uint8(at), uint8(at+1)
	n.rehash()
	return int(n.labels - below), true
}

// appendPlain puts labels behind the at bytes that n has, and returns how many it has then.
func (n *Name) appendPlain(at int, text string) (size int, ok bool) {
	if at == 0 {
		n.labels = 0
	}
	if at+1+len(text)+1 > maxName { // a length before each label, the root after the last
		return 0, false
	}
	label := at
	for i := 0; i <= len(text); i++ {
		if i < len(text) && plain[text[i]] {
			n.wire[at+1+i] = text[i]
			continue
		}
		length := at + i - label
		if i < len(text) && text[i] != '.' || length == 0 || length > maxLabel {
			return 0, false
		}
		n.wire[label] = byte(length)
		n.start[n.labels] = uint8(label)
		n.labels++
		label = at + 1 + i
	}
	return label, true
}

// plainRRset is ParseRRset for addresses, perhaps below a TTL.
func plainRRset(typ uint16, value string, revision int64) (Part, bool) {
	if typ != dns.TypeA && typ != dns.TypeAAAA {
		return Part{}, false
	}
	ttl := uint32(defaultTTL)
	if rest, ok := strings.CutPrefix(value, "$TTL "); ok {
		digits, text, _ := strings.Cut(rest, "\n")
		v, err := strconv.ParseUint(digits, 10, 31)
		if err != nil {
			return Part{}, false
		}
		ttl, value = uint32(v), text
	}
	const few = 16 // of more, those that are there twice are not looked for so
	var addrs [few]netip.Addr
	var wires [few][]byte
	n := 0
	for more := true; more; n++ {
		var line string
		line, value, more = strings.Cut(value, "\n")
		if more = more && value != ""; n == few {
			return Part{}, false
		}
		addr, err := netip.ParseAddr(line)
		if err != nil || addr.Zone() != "" || addr.Is4() != (typ == dns.TypeA) || slices.Contains(addrs[:n], addr) {
			return Part{}, false
		}
		addrs[n], wires[n] = addr, addr.AsSlice()
	}
	return StaticPart(typ, ttl, wires[:n], revision), true
}
