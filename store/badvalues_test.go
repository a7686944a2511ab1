package store

import (
	"os"
	"strings"
	"testing"
)

const badValues = "../testdata/registry/bad-values.txt"

// neighbours are asked before and after each bad value.
var neighbours = []string{
	"example.com SOA", "example.com NS", "example.com MX", "www.example.com A", "www.example.com AAAA",
	"gslb.example.com A", "gslb.example.com AAAA", "alias.example.com A", "x.wild.example.com TXT",
	"nothere.example.com A", "example.net SOA", "a.example.net A",
}

// good is the registry that bad values are put into.
const good = `txn put zone/example.com/soa {"ns":["ns1.example.net."]} | ` +
	`put zone/example.com/name/@/MX 10 mail | ` +
	`put zone/example.com/name/www/A 192.0.2.1 | ` +
	`put zone/example.com/name/www/AAAA 2001:db8::1 | ` +
	`put zone/example.com/name/gslb/steer {"pool":"web"} | ` +
	`put zone/example.com/name/alias/CNAME gslb | ` +
	`put zone/example.com/name/*.wild/TXT "wild" | ` +
	`put zone/example.net/soa {"ns":["ns1.example.net."]} | ` +
	`put zone/example.net/name/a/A 192.0.2.2 | ` +
	`put site/fra {"country":"DE"} | ` +
	`put check/web {"http":{"path":"/healthz"}} | ` +
	`put map/office/hq {"net":{"10.0.0.0/8":"hq"},"asn":{"64499":"us","64500":"us"},"country":{"DE":"eu"},"default":"abroad"} | ` +
	`put pool/web/policy {"policy":"failover","check":"web"} | ` +
	`put pool/web/member/fra1 {"addr":["192.0.2.10","2001:db8::10"],"site":"fra"} | ` +
	`put pool/web/member/fra2 192.0.2.11`

// TestBadValues puts every value of the file into a good registry. Each must become a fault of its
// own key, in exactly the words of the file, and change no answer of any other key.
func TestBadValues(t *testing.T) {
	text, err := os.ReadFile(badValues)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	cases := 0
	for block := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n\n") {
		command, want, _ := strings.Cut(strings.TrimSpace(block), "\n")
		if strings.HasPrefix(command, "#") {
			out.WriteString(block + "\n\n")
			continue
		}
		cases++
		got := badValue(t, command)
		out.WriteString(command + "\n" + got + "\n\n")
		if !*update && got != strings.TrimSpace(want) {
			t.Errorf("%s\n  want: %s\n  got:  %s", command, want, got)
		}
	}
	if *update {
		if err := os.WriteFile(badValues, []byte(strings.TrimSpace(out.String())+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if cases < 50 {
		t.Errorf("only %d cases read", cases)
	}
}

// badValue puts one bad value and returns what is said of it.
func badValue(t *testing.T, command string) string {
	s := newScene()
	s.run(t, good)
	before := answers(t, s)
	command = strings.NewReplacer(`\xff`, "\xff", "<deep>", strings.Repeat("[", 100), "<long>", strings.Repeat("a", 64)).Replace(command)
	key, _, _ := strings.Cut(command, " ")
	s.run(t, "put "+command)
	faults := s.registry.Faults()
	if len(faults) != 1 || faults[0].Key != key {
		t.Errorf("%s: expected one fault, of this key, found %+v", command, faults)
		return "no fault"
	}
	said := s.run(t, "faults")
	if after := answers(t, s); after != before {
		t.Errorf("%s: answers changed: %s", command, diff(before, after))
	}
	// The good value, or none where there was none, mends it.
	if old, there := mendedBy(key); there {
		s.run(t, "put "+key+" "+old)
	} else {
		s.run(t, "del "+key)
	}
	if left := s.run(t, "faults"); left != "" {
		t.Errorf("%s: not mended: %s", command, left)
	}
	return strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(said), key))
}

func mendedBy(key string) (value string, there bool) {
	for put := range strings.SplitSeq(strings.TrimPrefix(good, "txn "), " | ") {
		if rest, ok := strings.CutPrefix(put, "put "+key+" "); ok {
			return rest, true
		}
	}
	return "", false
}

// answers to all questions, serials apart: they change with every write.
func answers(t *testing.T, s *scene) string {
	var b strings.Builder
	for _, q := range neighbours {
		text := s.run(t, "ask "+q)
		for line := range strings.Lines(text) {
			if f := strings.Fields(line); len(f) > 6 && f[3] == "SOA" {
				f[6] = "serial"
				line = strings.Join(f, " ") + "\n"
			}
			b.WriteString(q + ": " + line)
		}
	}
	return b.String()
}
