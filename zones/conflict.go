package zones

import "github.com/miekg/dns"

// Conflict returns the part of the same name that p cannot stand beside: a CNAME has no neighbour
// (RFC 2181 §10.1), and a type is either steered or static.
func Conflict(parts []Part, p Part) (with Part, conflict bool) {
	for _, other := range parts {
		switch {
		case other.Kind == Broken || other.Type == p.Type:
			continue
		case other.Type == dns.TypeCNAME || p.Type == dns.TypeCNAME,
			other.Kind == Steered && other.Covers(p.Type),
			p.Kind == Steered && p.Covers(other.Type):
			return other, true
		}
	}
	return Part{}, false
}
