package zonefile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"meridian/zones"
)

// unlikeBIND are the fixtures that BIND takes in another way, and why.
var unlikeBIND = map[string]string{
	"mixed-ttl": "BIND takes the first TTL of an RRset, we the lowest",
	"signed":    "we leave out what a signer makes",
}

// TestBIND reads every fixture with BIND's own tool and compares what both make of it, on the wire;
// and what we export BIND has to accept, and to find the same in it. It runs where bind9-utils is
// installed (make test-interop).
func TestBIND(t *testing.T) {
	for _, tool := range []string{"named-compilezone", "named-checkzone"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed (bind9-utils)", tool)
		}
	}
	for _, f := range fixtures(t) {
		t.Run(f.name, func(t *testing.T) {
			keys, _ := f.read(t)
			want := wireRecords(t, f.apex, keys)
			if _, unlike := unlikeBIND[f.name]; !unlike {
				compare(t, "BIND reads the fixture as", bindRecords(t, folder, f.apex, f.name+".zone"), want)
			}
			var file bytes.Buffer
			if err := Write(&file, serve(t, keys), f.apex, keys, nil); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "exported"), file.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			runBIND(t, dir, "named-checkzone", f.apex, "exported")
			compare(t, "BIND reads what we export as", bindRecords(t, dir, f.apex, "exported"), want)
		})
	}
}

func compare(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s\n%s\nexpected\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func runBIND(t *testing.T, dir, tool string, apex zones.Owner, args ...string) {
	t.Helper()
	file := args[len(args)-1]
	args = append([]string{"-i", "none", "-k", "ignore", "-r", "ignore"}, args[:len(args)-1]...)
	c := exec.Command(tool, append(args, apex.ZoneText(), file)...)
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", tool, err, out)
	}
}

// bindRecords is what BIND reads in a file, one record a line: owner, TTL, type, RDATA, in wire form.
func bindRecords(t *testing.T, dir string, apex zones.Owner, file string) (list []string) {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "raw")
	runBIND(t, dir, "named-compilezone", apex, "-F", "raw", "-o", raw, file)
	b, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	// A header of six numbers, then RRsets: length of all, class, type, type covered, TTL, count,
	// length and bytes of the owner, then for each record length and bytes of the RDATA.
	for b = b[24:]; len(b) > 0; {
		size := binary.BigEndian.Uint32(b)
		set := b[:size]
		b = b[size:]
		typ, ttl, count := binary.BigEndian.Uint16(set[6:]), binary.BigEndian.Uint32(set[10:]), binary.BigEndian.Uint32(set[14:])
		ownerEnd := 20 + int(binary.BigEndian.Uint16(set[18:]))
		owner := fold(set[20:ownerEnd])
		rest := set[ownerEnd:]
		for range count {
			end := 2 + int(binary.BigEndian.Uint16(rest))
			list = append(list, wireRecord(owner, ttl, typ, rest[2:end]))
			rest = rest[end:]
		}
	}
	slices.Sort(list)
	return list
}

// wireRecords is what is served of keys.
func wireRecords(t *testing.T, apex zones.Owner, keys []Key) (list []string) {
	t.Helper()
	s := serve(t, keys)
	made, ok := apexOf(s, apex)
	if !ok {
		t.Fatal("no SOA")
	}
	for _, rr := range append([]dns.RR{made.soa}, made.ns...) {
		wire, err := zones.PackRData(rr)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, wireRecord(apex.Name.Wire(), rr.Header().Ttl, rr.Header().Rrtype, wire))
	}
	for v := range inOrder(s, apex, keys) {
		typ, err := zones.ParseType(v.last)
		if err != nil {
			t.Fatal(err)
		}
		var ttl uint32
		for line := range strings.Lines(string(v.Value)) {
			if _, err := fmt.Sscanf(line, "$TTL %d", &ttl); err == nil {
				continue
			}
			_, wire, err := zones.ParseRData(typ, strings.TrimSuffix(line, "\n"), ".")
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, wireRecord(v.owner.Name.Wire(), ttl, typ, wire))
		}
	}
	slices.Sort(list)
	return list
}

func wireRecord(owner []byte, ttl uint32, typ uint16, rdata []byte) string {
	switch typ {
	case dns.TypeSOA: // the serial is the registry's, and the names are folded
		rdata = bytes.Clone(rdata)
		clear(rdata[len(rdata)-20 : len(rdata)-16])
		copy(rdata, fold(rdata[:len(rdata)-20]))
	case dns.TypeNS:
		rdata = fold(rdata)
	}
	return fmt.Sprintf("%q %d %s %x", owner, ttl, dns.Type(typ), rdata)
}

// fold makes the capitals of names in wire form small (RFC 4343).
func fold(wire []byte) []byte {
	wire = bytes.Clone(wire)
	for i, c := range wire {
		if 'A' <= c && c <= 'Z' {
			wire[i] += 'a' - 'A'
		}
	}
	return wire
}
