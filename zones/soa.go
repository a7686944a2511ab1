package zones

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"meridian/spec"
)

// Timers of a zone's SOA unless it says others, in seconds. Only secondaries obey them.
const (
	soaRefresh = 7200
	soaRetry   = 900
	soaExpire  = 1209600
)

const soaSerialFromEnd = 20 // five numbers of four bytes end the SOA's RDATA (RFC 1035 §3.3.13)

func soaSerial(p Part) uint32 {
	return binary.BigEndian.Uint32(p.data[len(p.data)-soaSerialFromEnd:])
}

// negativeTTL of a zone: the lesser of the SOA's TTL and its MINIMUM (RFC 2308 §5), which ends its data.
func negativeTTL(ttl uint32, data []byte) uint32 {
	return min(ttl, binary.BigEndian.Uint32(data[len(data)-4:]))
}

// SOA is the value of zone/<zone>/soa: what makes the zone, its SOA and its NS.
type SOA struct {
	NS          []string `json:"ns"`                    // host names of the name servers; required; 1 to 16, those without a final dot relative to the zone
	MName       string   `json:"mname,omitzero"`        // the primary server as the SOA tells it; default the first of ns; a name
	Mbox        string   `json:"mbox,omitzero"`         // the mailbox of who is responsible; default hostmaster.<zone>; a name
	TTL         *int64   `json:"ttl,omitzero"`          // TTL of SOA and NS, in seconds; default 300; 0 to 2147483647
	NSTTL       *int64   `json:"ns_ttl,omitzero"`       // TTL of the NS where it is another, in seconds; default ttl; 0 to 2147483647
	NegativeTTL *int64   `json:"negative_ttl,omitzero"` // TTL of NXDOMAIN and NODATA (MINIMUM), in seconds; default 30; 0 to 2147483647
	Refresh     *int64   `json:"refresh,omitzero"`      // how often secondaries look, in seconds; default 7200; 0 to 2147483647
	Retry       *int64   `json:"retry,omitzero"`        // and how often after a failure, in seconds; default 900; 0 to 2147483647
	Expire      *int64   `json:"expire,omitzero"`       // and for how long they serve without success, in seconds; default 1209600; 0 to 2147483647

	ECS         *bool          `json:"ecs,omitzero"`          // whether steered names look at the client subnet (RFC 7871) unless they say it themselves; default true
	MemberNames bool           `json:"member_names,omitzero"` // whether <member>.<pool>.<zone> exists, for pools that the zone steers to; default false
	Explain     []netip.Prefix `json:"explain,omitzero"`      // networks to which _explain.<name> says why; default 127.0.0.0/8 and ::1/128; [] is nobody
}

// Compile makes the SOA's and the NS's RRsets for the zone at apex. Errors are *spec.Error.
func (s *SOA) Compile(apex Owner, revision int64) (soa, ns Part, err error) {
	var seconds [6]uint32
	for i, f := range []struct {
		field string
		value *int64
		def   uint32
	}{
		{"ttl", s.TTL, defaultTTL}, {"ns_ttl", cmp.Or(s.NSTTL, s.TTL), defaultTTL},
		{"refresh", s.Refresh, soaRefresh}, {"retry", s.Retry, soaRetry}, {"expire", s.Expire, soaExpire},
		{"negative_ttl", s.NegativeTTL, defaultNegative},
	} {
		if seconds[i], err = checkTTL(f.field, f.value, f.def); err != nil {
			return soa, ns, err
		}
	}
	if len(s.NS) == 0 || len(s.NS) > 16 {
		return soa, ns, spec.Errorf("ns", "expected 1 to 16 host names, found %d", len(s.NS))
	}
	var hosts [][]byte
	for i, text := range s.NS {
		field := fmt.Sprintf("ns[%d]", i)
		host, err := absolute(field, text, apex)
		if err != nil {
			return soa, ns, err
		}
		if len(host) == 1 {
			return soa, ns, spec.Errorf(field, `"." is no host`)
		}
		if slices.ContainsFunc(hosts, func(h []byte) bool { return string(h) == string(host) }) {
			return soa, ns, spec.Errorf(field, "%q is there twice", text)
		}
		hosts = append(hosts, host)
	}
	mbox, err := absolute("mbox", cmp.Or(s.Mbox, "hostmaster"), apex)
	if err != nil {
		return soa, ns, err
	}
	mname := hosts[0]
	if s.MName != "" {
		if mname, err = absolute("mname", s.MName, apex); err != nil {
			return soa, ns, err
		}
	}
	networks, err := s.networks()
	if err != nil {
		return soa, ns, err
	}
	rdata := append(slices.Clone(mname), mbox...)
	rdata = binary.BigEndian.AppendUint32(rdata, uint32(revision))
	for _, v := range seconds[2:] {
		rdata = binary.BigEndian.AppendUint32(rdata, v)
	}
	soa = StaticPart(dns.TypeSOA, seconds[0], [][]byte{rdata}, revision)
	if soa.more = networks; s.ECS != nil && !*s.ECS {
		soa.flags |= noSubnet
	}
	if s.MemberNames {
		soa.flags |= memberNames
	}
	return soa, StaticPart(dns.TypeNS, seconds[1], hosts, revision), nil
}

const maxNetworks = 64

// networks are those of Explain, each as appendNetwork writes it; nil where nothing is said.
func (s *SOA) networks() (list []byte, err error) {
	if s.Explain == nil {
		return nil, nil
	}
	if len(s.Explain) > maxNetworks {
		return nil, spec.Errorf("explain", "expected at most %d networks, found %d", maxNetworks, len(s.Explain))
	}
	list = []byte{}
	for i, p := range s.Explain {
		field := fmt.Sprintf("explain[%d]", i)
		switch {
		case !p.IsValid():
			return nil, spec.Errorf(field, `expected a network such as "10.0.0.0/8", found an empty string`)
		case p.Addr().Is4In6():
			return nil, spec.Errorf(field, `"%s" is IPv4 in IPv6 form, expected a network such as "10.0.0.0/8"`, p)
		case p != p.Masked():
			return nil, spec.Errorf(field, `"%s" has bits set beyond the prefix, expected "%s"`, p, p.Masked())
		case slices.Contains(s.Explain[:i], p):
			return nil, spec.Errorf(field, `"%s" is there twice`, p)
		}
		list = appendNetwork(list, p)
	}
	return list, nil
}

// appendNetwork appends uint8 bytes of the address, uint8 bits of the prefix, and the address.
func appendNetwork(b []byte, p netip.Prefix) []byte {
	addr := p.Addr().AsSlice()
	return append(append(b, byte(len(addr)), byte(p.Bits())), addr...)
}

// cutNetwork returns the network that b begins with, and what follows it. ok is false where that is none.
func cutNetwork(b []byte) (p netip.Prefix, rest []byte, ok bool) {
	if len(b) < 2 || len(b)-2 < int(b[0]) {
		return p, nil, false
	}
	addr, ok := netip.AddrFromSlice(b[2 : 2+b[0]])
	p = netip.PrefixFrom(addr, int(b[1]))
	return p, b[2+b[0]:], ok && p.IsValid()
}

// ExplainFrom says whether the zone that has this apex explains its answers to who asks from addr.
func (s *Snapshot) ExplainFrom(apex Owner, addr netip.Addr) bool {
	soa, ok := s.Part(apex, dns.TypeSOA)
	if !ok || soa.Kind != Static {
		return false
	}
	addr = addr.Unmap()
	if soa.more == nil {
		return addr.IsLoopback()
	}
	for list := soa.more; len(list) > 0; {
		var p netip.Prefix
		if p, list, ok = cutNetwork(list); ok && p.Contains(addr) {
			return true
		}
	}
	return false
}

// absolute reads a name that is relative to the zone unless it ends in a dot.
func absolute(field, text string, zone Owner) ([]byte, error) {
	if strings.Contains(text, "@") {
		return nil, spec.Errorf(field, `%q: a mailbox is written as a name, with "." for "@"`, text)
	}
	full := text
	switch apex := zone.ZoneText(); {
	case text == "" || text == ".":
	case dns.IsFqdn(text):
		full = strings.TrimSuffix(text, ".")
	case apex != ".":
		full = text + "." + apex
	}
	n, err := ParseName(full)
	if err != nil {
		return nil, spec.Errorf(field, "%v", err)
	}
	return slices.Clone(n.Wire()), nil
}
