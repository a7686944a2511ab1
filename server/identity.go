package server

import (
	"encoding/binary"

	"github.com/miekg/dns"

	"meridian/zones"
)

// MaxIdentity is how many bytes Config.NSID and Config.Version may each have: few enough that
// they never take the place of anything else in a reply.
const MaxIdentity = 128

// identity is what the server says of itself to those who ask (RFC 4892, RFC 5001).
type identity struct {
	nsid          string
	name, version []zones.RRset // TXT; nil: not told
}

func newIdentity(nsid, version string) *identity {
	if max(len(nsid), len(version)) > MaxIdentity {
		panic("server: NSID or Version of more than MaxIdentity bytes")
	}
	return &identity{nsid: nsid, name: txt(nsid), version: txt(version)}
}

// txt is an RRset of one TXT record of one string, owned by the question's name. Nothing that is
// true of this server should be remembered of all that share its address: the TTL is 0.
func txt(s string) []zones.RRset {
	if s == "" {
		return nil
	}
	data := binary.BigEndian.AppendUint16(nil, uint16(1+len(s)))
	data = append(append(data, byte(len(s))), s...)
	return []zones.RRset{{Type: dns.TypeTXT, Count: 1, Data: data}}
}

// answer answers a question of class CHAOS. Nothing but the names of RFC 4892 §3 is there.
func (id *identity) answer(q *zones.Query, r *response) {
	var sets []zones.RRset
	if q.Type == dns.TypeTXT {
		switch string(q.Name.Wire()) {
		case "\x02id\x06server\x00", "\x08hostname\x04bind\x00":
			sets = id.name
		case "\x07version\x06server\x00", "\x07version\x04bind\x00":
			sets = id.version
		}
	}
	if sets == nil {
		r.result, r.err = NotServed, errNotSupported
		return
	}
	r.result, r.aa, r.sets = Result(zones.Found), true, sets
}
