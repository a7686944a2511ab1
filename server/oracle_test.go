package server

import (
	"slices"

	"github.com/miekg/dns"
)

// oracle answers from a plain list of records: slowly, and obviously as RFC 1034 §4.3.2 says.
type oracle []entry

type entry struct {
	owner string
	zone  string // the apex of the deepest zone that holds it
	rr    dns.RR
}

func newOracle(rrs []dns.RR) oracle {
	var o oracle
	for _, rr := range rrs {
		o = append(o, entry{owner: dns.CanonicalName(rr.Header().Name), rr: rr})
	}
	for i := range o {
		o[i].zone = o.zone(o[i].owner)
	}
	return o
}

// zone returns the apex of the deepest zone that holds name, "" for none.
func (o oracle) zone(name string) (apex string) {
	for _, e := range o {
		if e.rr.Header().Rrtype == dns.TypeSOA && dns.IsSubDomain(e.owner, name) && len(e.owner) > len(apex) {
			apex = e.owner
		}
	}
	return apex
}

// set returns the RRset of a name, with as its owner; TypeANY stands for all types.
func (o oracle) set(name string, typ uint16, as string) (set []dns.RR) {
	for _, e := range o {
		if e.owner == name && (typ == dns.TypeANY || e.rr.Header().Rrtype == typ) {
			rr := dns.Copy(e.rr)
			rr.Header().Name = as
			set = append(set, rr)
		}
	}
	return set
}

// exists says whether there is anything at name or below it in its zone (RFC 8020).
func (o oracle) exists(zone, name string) bool {
	return slices.ContainsFunc(o, func(e entry) bool {
		return e.zone == zone && dns.IsSubDomain(name, e.owner)
	})
}

// cut returns the topmost delegation at name or above it, "" for none.
func (o oracle) cut(zone, name string) (cut string) {
	for _, e := range o {
		if e.rr.Header().Rrtype == dns.TypeNS && e.zone == zone && e.owner != zone &&
			dns.IsSubDomain(e.owner, name) && (cut == "" || len(e.owner) < len(cut)) {
			cut = e.owner
		}
	}
	return cut
}

// hosts returns the addresses, in the zone, of the hosts that rrs name; those that a cut hides as glue
// alone.
func (o oracle) hosts(zone string, rrs []dns.RR, glue bool) (addrs []dns.RR) {
	seen := map[string]bool{}
	for _, rr := range rrs {
		host := ""
		switch rr := rr.(type) {
		case *dns.NS:
			host = dns.CanonicalName(rr.Ns)
		case *dns.MX:
			host = dns.CanonicalName(rr.Mx)
		case *dns.SRV:
			host = dns.CanonicalName(rr.Target)
		}
		if host != "" && !seen[host] && o.zone(host) == zone && (glue || o.cut(zone, host) == "") {
			seen[host] = true
			addrs = append(append(addrs, o.set(host, dns.TypeA, host)...), o.set(host, dns.TypeAAAA, host)...)
		}
	}
	return addrs
}

func (o oracle) soa(zone string) []dns.RR {
	set := o.set(zone, dns.TypeSOA, zone)
	soa := set[0].(*dns.SOA)
	soa.Hdr.Ttl = min(soa.Hdr.Ttl, soa.Minttl)
	return set
}

func parent(name string) string {
	at, end := dns.NextLabel(name, 0)
	if end {
		return "."
	}
	return name[at:]
}

func (o oracle) reply(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.CheckingDisabled = q.CheckingDisabled
	name, typ := dns.CanonicalName(q.Question[0].Name), q.Question[0].Qtype
	seen := map[string]bool{}
	for len(seen) < 16 && !seen[name] {
		zone := o.zone(name)
		if zone == "" {
			if len(seen) == 0 {
				m.Rcode = dns.RcodeRefused
			}
			return m
		}
		m.Authoritative = true
		if cut := o.cut(zone, name); cut != "" {
			m.Authoritative = len(seen) > 0
			m.Ns = o.set(cut, dns.TypeNS, cut)
			m.Extra = o.hosts(zone, m.Ns, true)
			return m
		}
		seen[name] = true
		at := name
		if !o.exists(zone, name) {
			encloser := name
			for !o.exists(zone, encloser) {
				encloser = parent(encloser)
			}
			if at = "*." + encloser; len(o.set(at, dns.TypeANY, at)) == 0 {
				m.Rcode = dns.RcodeNameError
				m.Ns = o.soa(zone)
				return m
			}
		}
		if set := o.set(at, typ, name); typ != dns.TypeANY && len(set) > 0 {
			m.Answer = append(m.Answer, set...)
			m.Extra = o.hosts(zone, set, false)
			return m
		}
		cname := o.set(at, dns.TypeCNAME, name)
		switch {
		case typ == dns.TypeANY && len(cname) > 0: // RFC 8482 §4.2
			m.Answer = append(m.Answer, cname...)
			return m
		case typ == dns.TypeANY && len(o.set(at, dns.TypeANY, at)) > 0:
			m.Answer = append(m.Answer, &dns.HINFO{
				Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeHINFO, Class: dns.ClassINET, Ttl: 3600}, Cpu: "RFC8482"})
			return m
		case len(cname) == 0:
			m.Ns = o.soa(zone)
			return m
		}
		m.Answer = append(m.Answer, cname...)
		name = dns.CanonicalName(cname[0].(*dns.CNAME).Target)
	}
	return m
}
