package zonefile

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/miekg/dns"

	"meridian/zones"
)

// WriteManifest writes keys as a manifest, one a line.
func WriteManifest(w io.Writer, keys []Key) error {
	b := bufio.NewWriter(w)
	b.WriteString("{")
	for i, k := range keys {
		if i > 0 {
			b.WriteString(",")
		}
		key, err := jsontext.AppendQuote(nil, k.Key)
		if err != nil {
			return err
		}
		value := k.Value
		if !strings.HasSuffix(k.Key, "/soa") {
			if value, err = jsontext.AppendQuote(nil, k.Value); err != nil {
				return err
			}
		}
		fmt.Fprintf(b, "\n  %s: %s", key, value)
	}
	b.WriteString("\n}\n")
	return b.Flush()
}

// Write writes the zone at apex as a zone file: its SOA, with the serial that it has in s, and NS,
// then its names in canonical order (RFC 4034 §6.1), types by number. keys are the zone's names as
// the registry holds them; s is made of them. faults are, by key, what keeps some from being
// served. Those become comments, and so do steered names, which a zone file cannot say.
func Write(w io.Writer, s *zones.Snapshot, apex zones.Owner, keys []Key, faults map[string]string) error {
	made, ok := apexOf(s, apex)
	if !ok {
		soa := zones.KeyOf(apex, dns.TypeSOA)
		return fmt.Errorf("%s: %s", soa, cmp.Or(faults[soa], "the registry has no such zone"))
	}
	x := &writer{Writer: bufio.NewWriter(w), snapshot: s}
	x.comment("zone %s at revision %d of the registry", apex.ZoneText(), s.Revision)
	for _, rr := range append([]dns.RR{made.soa}, made.ns...) {
		wire, err := zones.PackRData(rr)
		if err != nil {
			return err
		}
		x.record(apex, rr.Header().Ttl, rr, wire)
	}
	for v := range inOrder(s, apex, keys) {
		if fault, ok := faults[v.Key.Key]; ok {
			x.leaveOut(v, "is not served: "+fault)
		} else if err := x.value(v); err != nil {
			x.leaveOut(v, "cannot be written: "+err.Error())
		}
	}
	return x.Flush()
}

// value is the value of a name's key.
type value struct {
	Key
	owner zones.Owner // nil Name: the key is spelled in a way that makes none
	last  string      // of the key: "steer" or a type
}

// inOrder yields the values of a zone's names in the order in which they are written: as the snapshot
// has the names in order, then those that it has not. The owner is good until the next one is asked for.
func inOrder(s *zones.Snapshot, apex zones.Owner, keys []Key) iter.Seq[value] {
	prefix := "zone/" + apex.ZoneText() + "/name/"
	byOwner := make(map[string][]value, len(keys))
	for _, k := range keys {
		if rest, ok := strings.CutPrefix(k.Key, prefix); ok {
			owner, last, _ := strings.Cut(rest, "/")
			byOwner[owner] = append(byOwner[owner], value{Key: k, last: last})
		}
	}
	return func(yield func(value) bool) {
		of := func(owner string, o zones.Owner) bool {
			values := byOwner[owner]
			delete(byOwner, owner)
			slices.SortFunc(values, func(x, y value) int {
				a, _ := zones.ParseType(x.last)
				b, _ := zones.ParseType(y.last)
				return cmp.Or(cmp.Compare(a, b), cmp.Compare(x.Key.Key, y.Key.Key))
			})
			for _, v := range values {
				v.owner = o
				if !yield(v) {
					return false
				}
			}
			return true
		}
		for o := range s.Zone(apex) {
			if !of(o.Text(), o) {
				return
			}
		}
		for _, owner := range slices.Sorted(maps.Keys(byOwner)) {
			o, _ := zones.ParseOwner(apex.ZoneText(), owner)
			if !of(owner, o) {
				return
			}
		}
	}
}

type writer struct {
	*bufio.Writer
	snapshot *zones.Snapshot
}

// value writes a value that is served as it stands, all of it or nothing.
func (x *writer) value(v value) error {
	if v.last == "steer" {
		return x.steered(v)
	}
	typ, err := zones.ParseType(v.last)
	if err != nil {
		return err
	}
	origin := absolute(v.owner.ZoneText(), ".")
	var rrs []dns.RR
	var wires [][]byte
	for line := range strings.Lines(string(v.Value)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == ';' || strings.HasPrefix(line, "$TTL") {
			continue
		}
		rr, wire, err := zones.ParseRData(typ, line, origin)
		if err != nil {
			return err
		}
		rrs, wires = append(rrs, rr), append(wires, wire)
	}
	part, _ := x.snapshot.Part(v.owner, typ)
	for i, rr := range rrs {
		x.record(v.owner, part.TTL, rr, wires[i])
	}
	return nil
}

func (x *writer) record(o zones.Owner, ttl uint32, rr dns.RR, wire []byte) {
	typ := rr.Header().Rrtype
	name, text := dns.Type(typ).String(), rdataText(rr, wire)
	if dns.TypeUINFO <= typ && typ <= dns.TypeGID { // which BIND has no presentation of
		name, text = fmt.Sprintf("TYPE%d", typ), unknown(wire)
	}
	if strings.Contains(text, "ohttp") && (typ == dns.TypeSVCB || typ == dns.TypeHTTPS) { // BIND has no name for this key
		text = unknown(wire)
	}
	fmt.Fprintf(x, "%s\t%d\tIN\t%s\t%s\n", ownerText(o), ttl, name, text)
}

// ownerText is the owner as zone files have it: absolute, "/" as it is.
func ownerText(o zones.Owner) string {
	text, _, err := dns.UnpackDomainName(o.Name.Wire(), 0)
	if err != nil {
		return absolute(o.Name.String(), ".")
	}
	return escapeDollar(text)
}

func (x *writer) steered(v value) error {
	var written zones.Steer
	if err := json.Unmarshal(v.Value, &written); err != nil {
		return err
	}
	part, _ := x.snapshot.Part(v.owner, zones.TypeSteer)
	var types []string
	for _, typ := range zones.Steerable {
		if part.Covers(typ) {
			types = append(types, dns.Type(typ).String())
		}
	}
	x.comment("%s is steered, which a zone file cannot say: pool %s, %s, TTL %d",
		ownerText(v.owner), written.Pool, strings.Join(types, " and "), part.TTL)
	return nil
}

// leaveOut writes a value as a comment, so that nothing of it is lost.
func (x *writer) leaveOut(v value, why string) {
	x.comment("%s %s", v.Key.Key, why)
	for line := range strings.Lines(string(v.Value)) {
		x.comment("  %s", strings.TrimRight(line, "\r\n"))
	}
}

// comment writes one line, whatever bytes keys and values are made of.
func (x *writer) comment(format string, args ...any) {
	x.WriteString("; ")
	for _, c := range []byte(fmt.Sprintf(format, args...)) {
		if c < ' ' || c >= 0x7f {
			fmt.Fprintf(x, `\%03d`, c)
		} else {
			x.WriteByte(c)
		}
	}
	x.WriteByte('\n')
}
