package zonefile

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// top is the SOA and NS of a zone file that is good so far; the line that follows is line 4.
const top = `$TTL 300
@ SOA ns1.example.net. hostmaster 1 7200 900 1209600 30
@ NS ns1.example.net.
`

// readText reads a file named "z" in a folder of a few.
func readText(t testing.TB, text string) ([]Key, []Remark) {
	t.Helper()
	files := fstest.MapFS{
		"good":       {Data: []byte("included A 192.0.2.1\n")},
		"bad":        {Data: []byte("\n\nbad A 192.0.2.256\n")},
		"itself":     {Data: []byte("$INCLUDE itself\n")},
		"one":        {Data: []byte("$INCLUDE two\n")},
		"two":        {Data: []byte("\n$INCLUDE one\n")},
		"dir/a":      {Data: []byte("a A 192.0.2.1\n")},
		"bad-origin": {Data: []byte("$ORIGIN a..b\nx A 192.0.2.1\n")},
	}
	for _, c := range "abcdefghi" {
		files["deep-"+string(c)] = &fstest.MapFile{Data: []byte("$INCLUDE deep-" + string(c+1) + "\n")}
	}
	return Read("z", []byte(text), apexOwner(t, "example.com"), Folder{FS: files, Dir: "/zones"})
}

func TestRemarks(t *testing.T) {
	for _, c := range []struct{ name, lines, want string }{
		{"owner out of the zone", "www.example.org. A 192.0.2.1", "z:4: www.example.org. is not in zone example.com"},
		{"owner that ends like the zone", "@.xexample.com. A 192.0.2.1", "z:4: @.xexample.com. is not in zone example.com"},
		{"parent of the zone", "com. A 192.0.2.1", "z:4: com. is not in zone example.com"},
		{"label too long", strings.Repeat("a", 64) + " A 192.0.2.1",
			`z:4: "` + strings.Repeat("a", 64) + `.example.com" has a label of 64 bytes, at most 63 are allowed`},
		{"empty label", "a..b A 192.0.2.1", `z:4: "a..b.example.com" has an empty label`},
		{"escape out of range", `a\300 A 192.0.2.1`, `z:4: \300 is not an escape, expected at most 255`},
		{"owner missing after a bad one", "a..b A 192.0.2.1\n AAAA ::1\nb A 192.0.2.1\n AAAA ::1",
			"z:4: \"a..b.example.com\" has an empty label\nz:5: no owner: there is none here, and no good one in the lines before"},
		{"type unknown", "a AAAAA 192.0.2.1", `z:4: "AAAAA" is not a type (did you mean "AAAA"?); a type that has no name here is written as TYPE123 \# 4 0A000001 (RFC 3597)`},
		{"type number too large", "a TYPE65536 \\# 0", `z:4: "TYPE65536" is not a type, expected TYPE0 to TYPE65535; a type that has no name here is written as TYPE123 \# 4 0A000001 (RFC 3597)`},
		{"type that is a question", "a ANY 192.0.2.1", `z:4: ANY cannot be set: it is a question, not a record`},
		{"type missing", "a 60 IN", "z:4: it ends before the type"},
		{"owner alone", "a", "z:4: it ends before the type"},
		{"class", "a CH TXT chaos", "z:4: class CH is not served, expected IN"},
		{"class by number", "a CLASS3 TXT chaos", "z:4: class CLASS3 is not served, expected IN"},
		{"TTL with a wrong unit", "a 1y A 192.0.2.1", `z:4: "1y" is not a TTL, expected seconds, or such as 1h30m`},
		{"TTL with a number left over", "a 1h30 A 192.0.2.1", `z:4: "1h30" is not a TTL, expected seconds, or such as 1h30m`},
		{"TTL too large", "a 4294967296 A 192.0.2.1", `z:4: "4294967296" is not a TTL, expected seconds, or such as 1h30m`},
		{"RDATA missing", "a A", `z:4: "" is not RDATA of type A (it is empty)`},
		{"RDATA wrong", "a A 192.0.2.256", `z:4: "192.0.2.256" is not RDATA of type A (bad A A)`},
		{"RDATA goes on", "a A 192.0.2.1 192.0.2.2", `z:4: "192.0.2.1 192.0.2.2" is not RDATA of type A (garbage after rdata)`},
		{"RDATA too short", "a MX 10", `z:4: "10" is not RDATA of type MX (bad MX Mx)`},
		{"RDATA not hexadecimal", `a TYPE666 \# 2 0g0h`, `z:4: "\\# 2 0g0h" is not RDATA of type TYPE666 (encoding/hex: invalid byte: U+0067 'g')`},
		{"SOA without MINIMUM", "@ SOA ns1.example.net. hostmaster 1 7200 900 1209600",
			`z:4: "ns1.example.net. hostmaster 1 7200 900 1209600" is not RDATA of type SOA (expected 7 words, found 6)`},
		{"strings too many", "a HINFO one two three", `z:4: "one two three" is not RDATA of type HINFO (expected 2 words, found 3)`},
		{"digest missing", "a TLSA 3 1 1", `z:4: "3 1 1" is not RDATA of type TLSA (TLSA Certificate is missing)`},
		{"digest cut short", "a DS 60485 5 1 2BB183AF5F22588179A53B0A", `z:4: "60485 5 1 2BB183AF5F22588179A53B0A" is not RDATA of type DS (a digest of type 1 has 40 digits, found 24)`},
		{"group too long", "a NID 10 14:4fff:ff20:ee640", `z:4: "10 14:4fff:ff20:ee640" is not RDATA of type NID ("14:4fff:ff20:ee640" is not four groups of hexadecimal digits)`},
		{"string for a name", `a SVCB 1 "" port=1`, `z:4: "1 \"\" port=1" is not RDATA of type SVCB (SVCB key can't contain double quotes)`},
		{"words too many", "a LOC 42 0 0 N 71 0 0 W 0m 1m 1m 1m 1m", `z:4: "42 0 0 N 71 0 0 W 0m 1m 1m 1m 1m" is not RDATA of type LOC (expected 5 to 12 words, found 13)`},
		{"RDATA of a relay", "a AMTRELAY 10 1 4 x", `z:4: "10 1 4 x" is not RDATA of type AMTRELAY (type 4 of a gateway is not known, expected 0 to 3)`},
		{"RDATA cut short", `a MX \# 2 000a`, `z:4: "\\# 2 000a" is not RDATA of type MX (MX Mx is missing)`},
		{"RDATA that goes on", `a A \# 5 0a00000101`, `z:4: "\\# 5 0a00000101" is not RDATA of type A (these bytes are no A)`},
		{"escape in RDATA", `a TXT "\256"`, `z:4: "\"\\256\"" is not RDATA of type TXT (\256 is not an escape, expected at most 255)`},
		{"generated owner in quotes", `$GENERATE 1-1 "a$" A 192.0.2.1`, "z:4: $GENERATE: \"\\\"a1\\\"\" is not an owner: a quote in a name is written as \\\"\nz:4: $GENERATE: that was for 1, the rest up to 1 is not made"},
		{"tag of a CAA", `a CAA 0 is-sue "ca.test"`, `z:4: "0 is-sue \"ca.test\"" is not RDATA of type CAA ("is-sue" is not a tag, expected letters and digits)`},
		{"address of X.25", "a X25 123", `z:4: "123" is not RDATA of type X25 ("123" is not an address of X.25, expected four digits or more)`},
		{"obsolete type", "a MD b", "z:4: MD cannot be set: it is obsolete, an MX says the same (RFC 1035 §3.3.4)"},
		{"obsolete type by number", `a TYPE4 \# 3 016100`, "z:4: MF cannot be set: it is obsolete, an MX says the same (RFC 1035 §3.3.5)"},
		{"hint of the other family", "a HTTPS 1 . ipv6hint=::ffff:192.0.2.1", `z:4: "1 . ipv6hint=::ffff:192.0.2.1" is not RDATA of type HTTPS (wrong at "ipv6hint=::ffff:192.0.2.1")`},
		{"owner in quotes", `"a" A 192.0.2.1`, `z:4: "\"a\"" is not an owner: a quote in a name is written as \"`},
		{"DS at the apex", "@ DS 1 8 99 0123", "z:4: DS of @: the DS of a zone stands on its parent's side of the cut (RFC 4035 §2.4)"},
		{"quote open", "a TXT \"one\ntwo\"\nb A 192.0.2.256",
			"z:4: a quoted string does not end in its line\nz:5: a quoted string does not end in its line\nz:6: \"192.0.2.256\" is not RDATA of type A (bad A A)"},
		{"owner missing after a broken line", "a A 192.0.2.1\nb TXT \"x\n  AAAA ::1",
			"z:5: a quoted string does not end in its line\nz:6: no owner: there is none here, and no good one in the lines before"},
		{"parenthesis open", "a MX (\n10\nmail\n\nb A 192.0.2.1", `z:4: "(" without ")"`},
		{"parenthesis closed", "a MX 10 mail )\nb A 192.0.2.256", "z:4: \")\" without \"(\"\nz:5: \"192.0.2.256\" is not RDATA of type A (bad A A)"},
		{"line of a record in parentheses", "; a comment\n\na SRV ( ; more\n 1 2\n 3\n)\nb A x",
			"z:6: \"1 2 3\" is not RDATA of type SRV (bad SRV Target)\nz:10: \"x\" is not RDATA of type A (bad A A)"},

		{"SOA twice", "@ SOA ns2.example.net. hostmaster 1 7200 900 1209600 30", "z:4: a second SOA, unlike that of z:2"},
		{"SOA below", "a SOA ns2.example.net. hostmaster 1 7200 900 1209600 30", "z:4: an SOA below the apex of zone example.com: what begins there is another zone"},
		{"CNAME at the apex", "@ CNAME www", "z:4: a zone's apex has SOA and NS, so it cannot be a CNAME (RFC 1034 §3.6.2)"},
		{"CNAME beside", "a A 192.0.2.1\na CNAME b", "z:5: CNAME cannot stand beside the A of z:4: a CNAME has no neighbour (RFC 2181 §10.1)"},
		{"beside a CNAME", "a CNAME b\na A 192.0.2.1\na TXT x",
			"z:5: A cannot stand beside the CNAME of z:4: a CNAME has no neighbour (RFC 2181 §10.1)\n" +
				"z:6: TXT cannot stand beside the CNAME of z:4: a CNAME has no neighbour (RFC 2181 §10.1)"},
		{"two CNAMEs", "a CNAME b\na CNAME c", "z:5: a name has one CNAME at most, and there is that of z:4"},
		{"two DNAMEs", "a DNAME b\na DNAME c", "z:5: a name has one DNAME at most, and there is that of z:4"},
		{"NS of the root", "@ NS .", `z:3: the NS of zone example.com: ns[1]: "." is no host`},
		{"too many NS", repeat(16, func(i int) string { return fmt.Sprintf("@ NS ns%d.example.org.", i) }), "z:3: the NS of zone example.com: ns: expected 1 to 16 host names, found 17"},
		{"RRset too large", repeat(4000, func(i int) string { return fmt.Sprintf("a A 10.0.%d.%d", i/256, i%256) }), "z:3754: A of a: the records take more than 60000 bytes: no message would hold them"},

		{"directive misspelt", "$ORGIN a\n", `z:4: $ORGIN is not a directive (did you mean "$ORIGIN"?)`},
		{"directive unknown", "$DATE x\n", `z:4: $DATE is not a directive`},
		{"origin missing", "$ORIGIN\na A x", "z:4: $ORIGIN: expected a name, found 0\nz:4: the rest of z is not read: what it says depends on this line"},
		{"origin wrong", "$ORIGIN a..b\na A x", "z:4: $ORIGIN: \"a..b.example.com\" has an empty label\nz:4: the rest of z is not read: what it says depends on this line"},
		{"TTL missing", "$TTL", "z:4: $TTL: expected a TTL, found 0\nz:4: the rest of z is not read: what it says depends on this line"},
		{"TTL wrong", "$TTL x", "z:4: $TTL: \"x\" is not a TTL, expected seconds, or such as 1h30m\nz:4: the rest of z is not read: what it says depends on this line"},

		{"include missing", "$INCLUDE", "z:4: $INCLUDE: expected a file and perhaps an origin, found 0 words"},
		{"include of what is not there", "$INCLUDE none", "z:4: $INCLUDE none: file does not exist"},
		{"include with a wrong origin", "$INCLUDE good a..b", `z:4: $INCLUDE: "a..b.example.com" has an empty label`},
		{"include of a folder", "$INCLUDE dir", "z:4: $INCLUDE dir: it is not a regular file"},
		{"include out of the folder", "$INCLUDE ../etc/passwd", "z:4: $INCLUDE ../etc/passwd: it lies outside of /zones, the folder of the zone file"},
		{"include out of the folder and back", "$INCLUDE dir/../../zones/good", "z:4: $INCLUDE dir/../../zones/good: it lies outside of /zones, the folder of the zone file"},
		{"include of an absolute path", "$INCLUDE /etc/passwd", "z:4: $INCLUDE /etc/passwd: it lies outside of /zones, the folder of the zone file"},
		{"include of a path that begins like the folder", "$INCLUDE /zones2/x", "z:4: $INCLUDE /zones2/x: it lies outside of /zones, the folder of the zone file"},
		{"include of an absolute path in the folder", "$INCLUDE /zones/dir/../good", ""},
		{"include of what is bad", "$INCLUDE bad", `bad:3: "192.0.2.256" is not RDATA of type A (bad A A)`},
		{"include of a bad origin", "$INCLUDE bad-origin\nb A x", "bad-origin:1: $ORIGIN: \"a..b.example.com\" has an empty label\n" +
			"bad-origin:1: the rest of bad-origin is not read: what it says depends on this line\nz:5: \"x\" is not RDATA of type A (bad A A)"},
		{"include of itself", "$INCLUDE z", "z:4: $INCLUDE z: it is being read already, and includes itself"},
		{"include of what includes itself", "$INCLUDE itself", "itself:1: $INCLUDE itself: it is being read already, and includes itself"},
		{"include in a circle", "$INCLUDE one", "two:2: $INCLUDE one: it is being read already, and includes itself"},
		{"include too deep", "$INCLUDE deep-a", "deep-h:1: $INCLUDE deep-i: more than 8 files include each other"},

		{"generate too short", "$GENERATE 1-2 a A", "z:4: $GENERATE: expected a range, an owner, a type and RDATA, found 3 words"},
		{"generate without range", "$GENERATE 1 a A 1.1.1.1", `z:4: $GENERATE: "1" is not a range, expected such as 1-100 or 0-254/2`},
		{"generate backwards", "$GENERATE 2-1 a A 1.1.1.1", `z:4: $GENERATE: range 2-1 is empty`},
		{"generate without step", "$GENERATE 1-2/0 a A 1.1.1.1", `z:4: $GENERATE: range 1-2/0 is empty`},
		{"generate too many", "$GENERATE 0-65536 a$ A 1.1.1.1", `z:4: $GENERATE: range 0-65536: expected at most 65536 numbers`},
		{"generate to too much", "$GENERATE 1-4294967296 a A 1.1.1.1", `z:4: $GENERATE: range 1-4294967296: a number is larger than 2147483647`},
		{"generate with a bad form", "$GENERATE 1-2 a${0,3,q} A 1.1.1.1", "z:4: $GENERATE: \"${0,3,q}\" is not a number's form, expected such as ${0,3,x}\n" +
			"z:4: $GENERATE: that was for 1, the rest up to 2 is not made"},
		{"generate below 0", "$GENERATE 5-6 a${-6} A 1.1.1.1", "z:4: $GENERATE: offset -6 leads out of 0 to 2147483647\nz:4: $GENERATE: that was for 5, the rest up to 6 is not made"},
		{"generate too wide", "$GENERATE 1-2 a${0,254} A 1.1.1.1", "z:4: $GENERATE: width 254 is out of range, expected at most 253\nz:4: $GENERATE: that was for 1, the rest up to 2 is not made"},
		{"generate out of the zone", "$GENERATE 1-2 a$.org. A 1.1.1.1", "z:4: $GENERATE: a1.org. is not in zone example.com\nz:4: $GENERATE: that was for 1, the rest up to 2 is not made"},
		{"generate until it is wrong", "$GENERATE 254-260 a$ A 192.0.2.$", "z:4: \"192.0.2.256\" is not RDATA of type A (bad A A)\nz:4: $GENERATE: that was for 256, the rest up to 260 is not made"},
		{"generate a type unknown", "$GENERATE 1-2 a AAAAA ::1", `z:4: $GENERATE: "AAAAA" is not a type (did you mean "AAAA"?); a type that has no name here is written as TYPE123 \# 4 0A000001 (RFC 3597)`},
		{"generate nothing", `$GENERATE 1-2 a TXT ""`, "z:4: \"\" is not RDATA of type TXT (it is empty)\nz:4: $GENERATE: that was for 1, the rest up to 2 is not made"},
		{"generate a directive", "$GENERATE 1-1 $$INCLUDE /etc/passwd A 192.0.2.1", `z:4: $GENERATE: "/etc/passwd" is not a type; a type that has no name here is written as TYPE123 \# 4 0A000001 (RFC 3597)`},
		{"generate an open quote", `$GENERATE 1-1 a TXT "\"x"`, "z:4: $GENERATE: a quoted string does not end in its line\nz:4: $GENERATE: that was for 1, the rest up to 1 is not made"},
	} {
		t.Run(c.name, func(t *testing.T) {
			keys, remarks := readText(t, top+c.lines)
			got := strings.TrimSuffix(lines(remarks), "\n")
			if got != c.want {
				t.Errorf("got\n%s\nexpected\n%s", got, c.want)
			}
			for _, r := range remarks {
				if !r.Refused {
					t.Errorf("not refused: %s", r)
				}
			}
			if !strings.Contains(c.want, "the NS of zone") {
				lint(t, keys) // what is left is good
			}
		})
	}
}

// repeat is n lines, made of their numbers.
func repeat(n int, line func(i int) string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(line(i) + "\n")
	}
	return b.String()
}

func TestTooManyIncluded(t *testing.T) {
	_, remarks := readText(t, top+repeat(1001, func(i int) string { return fmt.Sprintf("$INCLUDE good at%d", i) }))
	if got, want := lines(remarks), "z:1004: $INCLUDE good: more than 1000 files are included\n"; got != want {
		t.Errorf("got\n%sexpected\n%s", got, want)
	}
}

// TestNoFolder: a file read from standard input lies nowhere.
func TestNoFolder(t *testing.T) {
	_, remarks := Read("-", []byte(top+"$INCLUDE good\n"), apexOwner(t, "example.com"), Folder{})
	if got, want := lines(remarks), "-:4: $INCLUDE good: nothing can be included here\n"; got != want {
		t.Errorf("got\n%sexpected\n%s", got, want)
	}
}

// TestIncludeRoot: a root keeps symbolic links from leading out of the folder.
func TestIncludeRoot(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"outside": "a A 192.0.2.1\n", "zones/good": "b A 192.0.2.2\n"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"out": "../outside", "absolute": dir + "/outside", "up": "..", "in": "good"} {
		if err := os.Symlink(to, filepath.Join(dir, "zones", link)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir + "/zones")
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	text := top + "$INCLUDE out\n$INCLUDE absolute\n$INCLUDE up/outside\n$INCLUDE in\n$INCLUDE " + dir + "/zones/good eu\n"
	keys, remarks := Read("z", []byte(text), apexOwner(t, "example.com"), Folder{FS: root.FS(), Dir: dir + "/zones"})
	want := "z:4: $INCLUDE out: path escapes from parent\n" +
		"z:5: $INCLUDE absolute: path escapes from parent\n" +
		"z:6: $INCLUDE up/outside: path escapes from parent\n"
	if got := lines(remarks); got != want {
		t.Errorf("got\n%sexpected\n%s", got, want)
	}
	if len(keys) != 3 {
		t.Errorf("keys\n%sexpected b and b.eu", keyText(keys))
	}
}

// TestZoneMissing: what a zone must have.
func TestZoneMissing(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "", "z: no SOA of zone example.com (RFC 1035 §5.2)"},
		{"no SOA", "$TTL 300\n@ NS ns1.example.net.\na A 192.0.2.1", "z: no SOA of zone example.com (RFC 1035 §5.2)"},
		{"SOA of another zone", strings.ReplaceAll(top, "@", "example.org."), "z:2: example.org. is not in zone example.com\n" +
			"z:3: example.org. is not in zone example.com\nz: no SOA of zone example.com (RFC 1035 §5.2)"},
		{"no NS", "$TTL 300\n\n@ SOA ns1.example.net. hostmaster 1 7200 900 1209600 30", "z:3: zone example.com has no NS at its apex (RFC 1034 §4.2.1)"},
		{"no TTL", "@ NS ns1.example.net.\n@ SOA ns1.example.net. hostmaster 1 7200 900 1209600 30",
			"z:1: no TTL: there is none here, no $TTL and no other record's before\n" +
				"z:2: no TTL: the SOA's MINIMUM, 30, is taken, as by BIND\nz:2: zone example.com has no NS at its apex (RFC 1034 §4.2.1)"},
		{"a number of the SOA", "$TTL 300\n@ SOA ns1.example.net. hostmaster 1 7200 900 2147483648 30\n@ NS ns1.example.net.",
			"z:2: the SOA of zone example.com: expire: 2147483648 is out of range, expected 0 to 2147483647 seconds"},
		{"MINIMUM as TTL", "@ SOA ns1.example.net. hostmaster 1 7200 900 0 2147483648\n@ 300 NS ns1.example.net.",
			"z:1: no TTL: there is none here, no $TTL and no other record's before\nz: no SOA of zone example.com (RFC 1035 §5.2)"},
		{"owner missing", " SOA ns1.example.net. hostmaster 1 7200 900 1209600 30",
			"z:1: no owner: there is none here, and no good one in the lines before\nz: no SOA of zone example.com (RFC 1035 §5.2)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			keys, remarks := readText(t, c.text)
			if got := strings.TrimSuffix(lines(remarks), "\n"); got != c.want {
				t.Errorf("got\n%s\nexpected\n%s", got, c.want)
			}
			for _, k := range keys {
				if strings.HasSuffix(k.Key, "/soa") {
					t.Errorf("%s %s", k.Key, k.Value)
				}
			}
		})
	}
}

// TestForms: what editors and systems do to a file.
func TestForms(t *testing.T) {
	want, _ := readText(t, top+"a TXT (one\n two)\nb A 192.0.2.1\n")
	text := top + "a TXT (one\ntwo)\nb A 192.0.2.1"
	for name, text := range map[string]string{
		"no line break at the end": text,
		"carriage returns":         strings.ReplaceAll(text, "\n", "\r\n"),
		"byte order mark":          "\ufeff" + text,
		"tabs":                     strings.ReplaceAll(text, " ", "\t"),
	} {
		if got, remarks := readText(t, text); keyText(got) != keyText(want) || remarks != nil {
			t.Errorf("%s: got\n%s%s\nexpected\n%s", name, keyText(got), lines(remarks), keyText(want))
		}
	}
}
