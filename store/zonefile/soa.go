package zonefile

import (
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/miekg/dns"

	"meridian/zones"
)

// soaKey makes the key of SOA and NS. It says only what is not so by itself.
func (d *draft) soaKey() (key Key, ok bool) {
	var ns *rrset
	if n := d.names[string(d.apex.Name.Wire())]; n != nil {
		ns = n.find(dns.TypeNS)
	}
	switch {
	case d.soa == nil:
		d.refuse(Place{File: d.file}, "no SOA of zone %s (RFC 1035 §5.2)", d.apex.ZoneText())
		return key, false
	case ns == nil:
		d.refuse(d.soa.place, "zone %s has no NS at its apex (RFC 1034 §4.2.1)", d.apex.ZoneText())
		return key, false
	}
	written := zones.SOA{NS: make([]string, len(ns.lines))}
	for i, host := range ns.lines {
		written.NS[i] = hostText(host)
	}
	usual, err := compile(&written, d.apex)
	if err != nil {
		d.refuse(ns.places[0], "the NS of zone %s: %v", d.apex.ZoneText(), err)
		return key, false
	}
	soa := d.soa.rr.(*dns.SOA)
	if written.MName = hostText(soa.Ns); written.MName == hostText(usual.soa.Ns) {
		written.MName = ""
	}
	if written.Mbox = hostText(soa.Mbox); written.Mbox == hostText(usual.soa.Mbox) {
		written.Mbox = ""
	}
	for _, f := range []struct {
		field        **int64
		value, usual uint32
	}{
		{&written.TTL, d.soa.ttl, usual.soa.Hdr.Ttl}, {&written.NSTTL, ns.ttl, d.soa.ttl},
		{&written.NegativeTTL, soa.Minttl, usual.soa.Minttl}, {&written.Refresh, soa.Refresh, usual.soa.Refresh},
		{&written.Retry, soa.Retry, usual.soa.Retry}, {&written.Expire, soa.Expire, usual.soa.Expire},
	} {
		if f.value != f.usual {
			*f.field = new(int64(f.value))
		}
	}
	value, err := json.Marshal(written)
	if err == nil {
		_, err = compile(&written, d.apex)
	}
	if err != nil {
		d.refuse(d.soa.place, "the SOA of zone %s: %v", d.apex.ZoneText(), err)
		return key, false
	}
	return Key{Key: zones.KeyOf(d.apex, dns.TypeSOA), Value: value, Place: d.soa.place}, true
}

// hostText is an absolute name as the value of a soa has it, where an "@" is taken for a mistake.
func hostText(name string) string {
	n, err := parseName(name)
	if err != nil {
		return name // what Compile says of it is said
	}
	return absolute(strings.ReplaceAll(n.String(), "@", `\064`), ".")
}

// apexRecords are what a soa makes.
type apexRecords struct {
	soa *dns.SOA
	ns  []dns.RR
}

// compile is what a value of soa makes. Errors are *spec.Error.
func compile(written *zones.SOA, apex zones.Owner) (apexRecords, error) {
	soa, ns, err := written.Compile(apex, 1)
	if err != nil {
		return apexRecords{}, err
	}
	e := zones.New().Edit()
	e.Put(apex, soa)
	e.Put(apex, ns)
	made, _ := apexOf(e.Commit(1), apex)
	return made, nil
}

// apexOf returns SOA and NS of a zone, if it is served.
func apexOf(s *zones.Snapshot, apex zones.Owner) (made apexRecords, ok bool) {
	soa, ns := records(s, apex, dns.TypeSOA), records(s, apex, dns.TypeNS)
	if len(soa) != 1 {
		return made, false
	}
	made.soa, ok = soa[0].(*dns.SOA)
	made.ns = ns
	return made, ok
}

// records are what answers a question for a type of the apex.
func records(s *zones.Snapshot, apex zones.Owner, typ uint16) (rrs []dns.RR) {
	q := &zones.Query{Name: *apex.Name, Type: typ}
	var a zones.Answer
	zones.Resolve(s, q, &a, nil)
	for i := range a.Sets {
		set := &a.Sets[i]
		if set.Section != zones.AnswerSection || set.Type != typ {
			continue
		}
		set.RRs(func(rdata []byte) {
			h := dns.RR_Header{Name: ".", Rrtype: typ, Class: dns.ClassINET, Ttl: set.TTL, Rdlength: uint16(len(rdata))}
			if rr, _, err := dns.UnpackRRWithHeader(h, rdata, 0); err == nil {
				rrs = append(rrs, rr)
			}
		})
	}
	return rrs
}
