package zonefile

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"meridian/spec"
	"meridian/store"
	"meridian/zones"
)

// export applies what a registry holds and exports a zone of it, as the command does.
func export(t testing.TB, zone string, keys map[string]string) (string, error) {
	t.Helper()
	u := store.Update{Revision: 812, Full: true}
	var ours []Key
	for k, v := range keys {
		u.Entries = append(u.Entries, store.Entry{Key: k, Value: []byte(v), Revision: 800})
		ours = append(ours, Key{Key: k, Value: []byte(v)})
	}
	r := store.NewRegistry(slog.New(slog.DiscardHandler))
	s := r.Apply(u)
	faults := map[string]string{}
	for _, f := range r.Faults() {
		faults[f.Key] = (&spec.Error{Field: f.Field, Line: f.Line, Msg: f.Error}).Error()
	}
	var b bytes.Buffer
	err := Write(&b, s, apexOwner(t, zone), ours, faults)
	return strings.ReplaceAll(b.String(), "\t", " "), err
}

func TestWrite(t *testing.T) {
	got, err := export(t, "example.com", map[string]string{
		"zone/example.com/soa":                   `{"ns":["ns1","ns2.example.net."],"ttl":60}`,
		"zone/example.com/name/ns1/A":            "192.0.2.53",
		"zone/example.com/name/@/steer":          `{"pool":"web"}`,
		"zone/example.com/name/@/MX":             "10 mail\n20 @",
		"zone/example.com/name/www/steer":        `{"pool":"web","types":["AAAA"],"ttl":5}`,
		"zone/example.com/name/www/A":            "$TTL 7\n\n; a comment\n192.0.2.1",
		"zone/example.com/name/z/A":              "192.0.2.1",
		"zone/example.com/name/a.z/A":            "192.0.2.1",
		"zone/example.com/name/yljkjljk.a/A":     "192.0.2.1",
		"zone/example.com/name/z.a/A":            "192.0.2.1",
		"zone/example.com/name/*.z/TXT":          `"*"`,
		"zone/example.com/name/\\200.z/A":        "192.0.2.1",
		"zone/example.com/name/\\001.z/A":        "192.0.2.1",
		"zone/example.com/name/\\000.z/A":        "192.0.2.1",
		"zone/example.com/name/$ttl/CNAME":       "$origin",
		"zone/example.com/name/0\\04725/NS":      "ns",
		"zone/example.com/name/broken/A":         "$TTL 60\n192.0.2.1\n192.0.2.256\r\n$INCLUDE\u00e9",
		"zone/example.com/name/broken/TXT":       "good",
		"zone/example.com/name/pending/steer":    `{"pool":"none"}`,
		"zone/example.com/name/c/CNAME":          "d",
		"zone/example.com/name/c/A":              "192.0.2.1",
		"zone/example.com/name/@/NS":             "ns3",
		"zone/example.com/name/UPPER/A":          "192.0.2.1",
		"zone/example.com/name/a..b/A":           "192.0.2.1",
		"zone/example.com/name/evil\nx A 1/NOPE": "a\nb",
		"zone/example.com/name/relay/AMTRELAY":   "10 0 1 192.0.2.1\n10 1 1 192.0.2.2",
		"zone/example.com.au/soa":                `{"ns":["ns1"]}`,
		"zone/example.com.au/name/a/A":           "192.0.2.1",
		"zone/sub.example.com/soa":               `{"ns":["ns1"]}`,
		"zone/sub.example.com/name/a/A":          "192.0.2.1",
		"pool/web/member/a":                      "192.0.2.10",
	})
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(folder + "/export.golden")
	if *update {
		err = os.WriteFile(folder+"/export.golden", []byte(got), 0o644)
		want = []byte(got)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nexpected (-update to accept)\n%s", got, want)
	}
}

func TestWriteErrors(t *testing.T) {
	for _, c := range []struct{ name, key, value, want string }{
		{"no such zone", "zone/example.net/soa", `{"ns":["a"]}`, "zone/example.com/soa: the registry has no such zone"},
		{"no soa", "zone/example.com/name/a/A", "192.0.2.1", "zone/example.com/soa: the zone has names but no soa: without it none is answered"},
		{"broken", "zone/example.com/soa", `{"ns":["a"],"tttl":1}`,
			`zone/example.com/soa: tttl: unknown field (did you mean "ttl"?), expected ns, mname, mbox, ttl, ns_ttl, negative_ttl, refresh, retry, expire, ecs, member_names, explain`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := export(t, "example.com", map[string]string{c.key: c.value})
			if err == nil || err.Error() != c.want || got != "" {
				t.Errorf("got  %v\nwant %s\nand wrote %q", err, c.want, got)
			}
		})
	}
}

// TestSerial: the exported serial is the one that is served.
func TestSerial(t *testing.T) {
	r := store.NewRegistry(slog.New(slog.DiscardHandler))
	u := store.Update{Revision: 5, Full: true, Entries: []store.Entry{{Key: "zone/example.com/soa", Value: []byte(`{"ns":["ns1.example.net."]}`), Revision: 3}}}
	r.Apply(u)
	s := r.Apply(store.Update{Revision: 9, Entries: []store.Entry{{Key: "site/fra", Value: []byte(`{}`), Revision: 9}}})
	apex := apexOwner(t, "example.com")
	serial, _ := s.Serial(apex)
	var b bytes.Buffer
	if err := Write(&b, s, apex, nil, nil); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf(" %d 7200 900 ", serial); !strings.Contains(b.String(), want) || serial != 5 {
		t.Errorf("serial %d, expected 5 in\n%s", serial, b.String())
	}
}

// TestTemplate: every record of a zone with a bit of everything arrives, and is answered.
func TestTemplate(t *testing.T) {
	text, err := os.ReadFile(folder + "/template.zone")
	if err != nil {
		t.Fatal(err)
	}
	apex := apexOwner(t, "example.com")
	keys, remarks := Read("template.zone", text, apex, Folder{})
	if remarks != nil {
		t.Fatal(lines(remarks))
	}
	s := serve(t, keys)
	zp := dns.NewZoneParser(bytes.NewReader(text), "", "")
	records := 0
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		records++
		h := rr.Header()
		n, err := parseName(h.Name)
		if err != nil {
			t.Fatal(err)
		}
		part, ok := s.Part(zones.Owner{Name: n, Zone: apex.Zone}, h.Rrtype)
		if !ok || part.Kind != zones.Static || part.TTL != h.Ttl {
			t.Errorf("%s: %+v, %v", rr, part, ok)
			continue
		}
		q := &zones.Query{Name: *n, Type: h.Rrtype}
		var a zones.Answer
		zones.Resolve(s, q, &a, nil)
		if soa, ok := rr.(*dns.SOA); ok {
			soa.Serial = 77
		}
		delegated := strings.HasSuffix(h.Name, "sub.example.com.") && h.Rrtype != dns.TypeDS
		if !delegated && !slices.ContainsFunc(a.Text(q), func(line string) bool { return strings.EqualFold(line, rr.String()) }) {
			t.Errorf("%s: answered with %s %q", rr, a.Outcome, a.Text(q))
		}
	}
	if zp.Err() != nil || records < 150 {
		t.Errorf("%d records, %v", records, zp.Err())
	}
}

// large is a zone file of n records, some of them in one RRset.
func large(n int) []byte {
	var b bytes.Buffer
	b.WriteString(top)
	for i := 3; i <= n; i++ {
		switch i % 4 {
		case 0:
			fmt.Fprintf(&b, "host%d 600 IN A 10.%d.%d.%d\n", i, i>>16, i>>8&255, i&255)
		case 1:
			fmt.Fprintf(&b, "        AAAA 2001:db8::%x:%x\n", i>>16, i&0xffff)
		case 2:
			fmt.Fprintf(&b, "mail%d MX 10 host%d.example.com.\n", i, i)
		case 3:
			fmt.Fprintf(&b, "        TXT \"v=spf1 include:host%d.example.com -all\"\n", i)
		}
	}
	return b.Bytes()
}

// BenchmarkRead is of a zone of 100 000 records.
func BenchmarkRead(b *testing.B) {
	text, apex := large(100_000), apexOwner(b, "example.com")
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		keys, remarks := Read("large", text, apex, Folder{})
		if len(keys) < 90_000 || len(remarks) > 0 {
			b.Fatalf("%d keys, %d remarks", len(keys), len(remarks))
		}
	}
}

// BenchmarkWrite is of the same zone.
func BenchmarkWrite(b *testing.B) {
	apex := apexOwner(b, "example.com")
	keys, _ := Read("large", large(100_000), apex, Folder{})
	s := serve(b, keys)
	b.ReportAllocs()
	for b.Loop() {
		if err := Write(new(bytes.Buffer), s, apex, keys, nil); err != nil {
			b.Fatal(err)
		}
	}
}
