package zones

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func mustName(t testing.TB, text string) *Name {
	t.Helper()
	n, err := ParseName(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestParseName(t *testing.T) {
	tests := []struct{ text, wire, canonical string }{
		{".", "\x00", "."},
		{"com", "\x03com\x00", "com"},
		{"www.example.com", "\x03www\x07example\x03com\x00", "www.example.com"},
		{"WWW.Example.COM", "\x03www\x07example\x03com\x00", "www.example.com"},
		{"*.example", "\x01*\x07example\x00", "*.example"},
		{`\*.example`, "\x01*\x07example\x00", "*.example"},
		{"_sip._tcp", "\x04_sip\x04_tcp\x00", "_sip._tcp"},
		{"0/25.2.0.192.in-addr.arpa", "\x040/25\x012\x010\x03192\x07in-addr\x04arpa\x00", `0\04725.2.0.192.in-addr.arpa`},
		{`a\.b.c`, "\x03a.b\x01c\x00", `a\.b.c`},
		{`a\046b.c`, "\x03a.b\x01c\x00", `a\.b.c`},
		{`a\\b`, "\x03a\\b\x00", `a\\b`},
		{`\101xample`, "\x07example\x00", "example"},
		{`\069xample`, "\x07example\x00", "example"}, // "E", folded
		{`a\ b`, "\x03a b\x00", `a\032b`},
		{`\000\255`, "\x02\x00\xff\x00", `\000\255`},
		{"ü", "\x02\xc3\xbc\x00", `\195\188`},
		{"Ä", "\x02\xc3\x84\x00", `\195\132`}, // no letter but ASCII's is folded
		{"a@b", "\x03a@b\x00", "a@b"},
		{"@.b", "\x01@\x01b\x00", `\064.b`},
		{"a\"(;$)", "\x06a\"(;$)\x00", "a\"(;$)"},
		{"a\x7f", "\x02a\x7f\x00", `a\127`},
		{strings.Repeat("a", 63), "\x3f" + strings.Repeat("a", 63) + "\x00", strings.Repeat("a", 63)},
	}
	for _, test := range tests {
		n, err := ParseName(test.text)
		if err != nil {
			t.Errorf("%q: %v", test.text, err)
			continue
		}
		if string(n.Wire()) != test.wire || n.String() != test.canonical {
			t.Errorf("%q is %q, %s, want %q, %s", test.text, n.Wire(), n, test.wire, test.canonical)
		}
	}
}

// The limits of RFC 1035 §2.3.4: 63 bytes a label, 255 bytes a name, and so 127 labels.
func TestParseNameLimits(t *testing.T) {
	a63 := strings.Repeat("a", 63)
	longest := a63 + "." + a63 + "." + a63 + "." + strings.Repeat("a", 61)
	if n := mustName(t, longest); len(n.Wire()) != maxName || n.labels != 4 {
		t.Errorf("%d bytes, %d labels, want %d and 4", len(n.Wire()), n.labels, maxName)
	}
	deepest := strings.TrimSuffix(strings.Repeat("a.", 127), ".")
	if n := mustName(t, deepest); len(n.Wire()) != maxName || int(n.labels) != maxLabels {
		t.Errorf("%d bytes, %d labels, want %d and %d", len(n.Wire()), n.labels, maxName, maxLabels)
	}
	tests := []struct{ text, want string }{
		{"", "an empty name"},
		{"a..b", `"a..b" has an empty label`},
		{".a", `".a" has an empty label`},
		{"a.", `"a." has an empty label`},
		{"..", `".." has an empty label`},
		{a63 + "a.b", fmt.Sprintf("%q has a label of 64 bytes, at most 63 are allowed", a63+"a.b")},
		{longest + "a", fmt.Sprintf("%q takes 256 bytes, at most 255 are allowed", longest+"a")},
		{deepest + ".a", fmt.Sprintf("%q takes 257 bytes, at most 255 are allowed", deepest+".a")},
		{`a\`, `a name ends in "\"`},
		{`a\1`, `\1 is not an escape, expected three digits`},
		{`a\12b`, `\12b is not an escape, expected three digits`},
		{`a\256`, `\256 is not an escape, expected at most 255`},
	}
	for _, test := range tests {
		if n, err := ParseName(test.text); fmt.Sprint(err) != test.want {
			t.Errorf("%q is %v, %v, want %s", test.text, n, err, test.want)
		}
	}
}

func TestNameRead(t *testing.T) {
	tests := []struct {
		wire string
		want string // "" if it is none
		size int
	}{
		{"\x00", ".", 1},
		{"\x03CoM\x00", "com", 5},
		{"\x03www\x07example\x03com\x00\x00\x01\x00\x01", "www.example.com", 17},
		{"", "", 0},
		{"\x03", "", 0},
		{"\x03com", "", 0},
		{"\x03co", "", 0},
		{"\xc0\x0c", "", 0},        // a pointer
		{"\x03www\xc0\x0c", "", 0}, // a pointer after a label
		{"\x40abc\x00", "", 0},     // an extended label (RFC 6891 §4.2)
		{"\x80abc\x00", "", 0},     // reserved
		{"\x40" + strings.Repeat("a", 64) + "\x00", "", 0},
		{strings.Repeat("\x01a", 127) + "\x00", strings.Repeat("a.", 126) + "a", 255},
		{strings.Repeat("\x01a", 128) + "\x00", "", 0},
		{strings.Repeat("\x01a", 125) + "\x03aaa\x00", strings.Repeat("a.", 125) + "aaa", 255},
		{strings.Repeat("\x01a", 125) + "\x04aaaa\x00", "", 0},
		{strings.Repeat("\x01a", 127) + "\x01", "", 0},
	}
	var n Name
	for _, test := range tests {
		size, ok := n.Read([]byte(test.wire))
		if ok != (test.want != "") || size != test.size {
			t.Errorf("%q: %d bytes, %t, want %d", test.wire, size, ok, test.size)
		}
		if ok && n.String() != test.want {
			t.Errorf("%q is %s, want %s", test.wire, n.String(), test.want)
		}
	}
}

// checkName says where a name is not what its wire form says.
func checkName(t *testing.T, n *Name) {
	t.Helper()
	wire := n.Wire()
	labels := dns.CountLabel(dns.Fqdn(n.String()))
	if int(n.labels) != labels || labelCount(wire) != labels {
		t.Fatalf("%q: %d labels, labelCount says %d, want %d", wire, n.labels, labelCount(wire), labels)
	}
	// Each suffix is a name of its own, with the same hash.
	for i := 0; i <= labels; i++ {
		var own Name
		if size, ok := own.Read(n.suffix(i)); !ok || size != len(n.suffix(i)) || int(own.labels) != i {
			t.Fatalf("%q: the last %d labels %q read as %d labels, %t", wire, i, n.suffix(i), own.labels, ok)
		}
		if !bytes.Equal(wire[n.offset(i):], own.Wire()) {
			t.Fatalf("%q: the last %d labels do not begin at %d", wire, i, n.offset(i))
		}
		if got := n.suffixHash(i); got != own.hash[0] {
			t.Fatalf("%q: hash of the last %d labels is %x, of %q itself %x", wire, i, got, own.Wire(), own.hash[0])
		}
		var star Name
		if _, ok := star.Read(append([]byte("\x01*"), own.Wire()...)); ok {
			if got := n.wildcardHash(i); got != star.hash[0] {
				t.Fatalf("%q: hash of the wildcard below the last %d labels is %x, of %q itself %x", wire, i, got, star.Wire(), star.hash[0])
			}
		}
	}
	// The canonical spelling reads as the same name, and is its own.
	again, err := ParseName(n.String())
	if err != nil {
		t.Fatalf("%q is spelt %q: %v", wire, n.String(), err)
	}
	if !bytes.Equal(again.Wire(), wire) || again.String() != n.String() {
		t.Fatalf("%q is spelt %q, which reads as %q, spelt %q", wire, n.String(), again.Wire(), again.String())
	}
	if strings.Contains(n.String(), "/") {
		t.Fatalf("%q is spelt %q", wire, n.String())
	}
}

// A name that is read into one that held another is as if read into a new one.
func TestNameReadAgain(t *testing.T) {
	var used Name
	for _, text := range []string{
		"a-rather-long-label-of-some-length.example.com", "b.example.com", ".", "ab", "*.c", strings.Repeat("x", 63), "12345678.1234567",
	} {
		n := mustName(t, text)
		checkName(t, n)
		used.Read(n.Wire())
		checkName(t, &used)
	}
}

// Names that differ in anything differ in hash.
func TestNameHash(t *testing.T) {
	seen := map[uint64]string{}
	add := func(text string) {
		h := mustName(t, text).hash[0]
		if other, ok := seen[h]; ok && other != text {
			t.Fatalf("%q and %q have the same hash", text, other)
		}
		seen[h] = text
	}
	for i := range 30_000 {
		add(fmt.Sprintf("host%d.example.com", i))
		add(fmt.Sprintf("%d.%d.example.com", i%256, i/256))
	}
	for _, text := range []string{"ab.c", "a.bc", `a\.bc`, `abc`, `a\000`, `a`, `\000`, `\000.\000`, `\000\000`, `\001\000`, "a.a", "aa", "a.a.a", "."} {
		add(text)
	}
}

// The names of one zone fill all shards about alike: none holds more than twice its part.
func TestNameHashSpreads(t *testing.T) {
	for _, form := range []string{"host%d.example.com", "www.customer%06d.example.net"} {
		shards := map[int]int{}
		most := 0
		const each = 40
		for i := range each * manyShards {
			at := newNames(manyShards).of(mustName(t, fmt.Sprintf(form, i)).hash[0])
			shards[at]++
			most = max(most, shards[at])
		}
		if most > 2*each || len(shards) != manyShards {
			t.Errorf("%s: %d shards in use, the fullest holds %d, %d on average", form, len(shards), most, each)
		}
	}
}

func TestOwner(t *testing.T) {
	tests := []struct {
		zone, owner     string
		name, text, zon string
		apex            bool
	}{
		{"example.com", "@", "example.com", "@", "example.com", true},
		{"example.com", "www", "www.example.com", "www", "example.com", false},
		{"Example.COM", "WWW", "www.example.com", "www", "example.com", false},
		{"example.com", "a.b", "a.b.example.com", "a.b", "example.com", false},
		{"example.com", "*", "*.example.com", "*", "example.com", false},
		{"example.com", `\064`, `\064.example.com`, `\064`, "example.com", false}, // not the apex
		{"example.com", `a\.b`, `a\.b.example.com`, `a\.b`, "example.com", false},
		{"example.com", ".", "example.com", "@", "example.com", true}, // "@" is the right spelling
		{".", "@", ".", "@", ".", true},
		{".", "com", "com", "com", ".", false},
	}
	for _, test := range tests {
		o, err := ParseOwner(test.zone, test.owner)
		if err != nil {
			t.Errorf("%s in %s: %v", test.owner, test.zone, err)
			continue
		}
		if o.Name.String() != test.name || o.Text() != test.text || o.ZoneText() != test.zon || o.Apex() != test.apex {
			t.Errorf("%s in %s is %s: %s in %s, apex %t", test.owner, test.zone, o.Name, o.Text(), o.ZoneText(), o.Apex())
		}
		top := o.Top()
		if !top.Apex() || top.Name.String() != test.zon || top.Zone != o.Zone {
			t.Errorf("%s in %s: its top is %s", test.owner, test.zone, top.Name)
		}
		checkName(t, o.Name)
		checkName(t, top.Name)
	}
}

func TestOwnerErrors(t *testing.T) {
	long := strings.TrimSuffix(strings.Repeat(strings.Repeat("a", 49)+".", 5), ".") // 251 bytes
	tests := []struct{ zone, owner, want string }{
		{"", "www", "an empty name"},
		{"example.com", "", "an empty name"},
		{"example.com", "a..b", `"a..b" has an empty label`},
		{"example..com", "@", `"example..com" has an empty label`},
		{"example.com", long, fmt.Sprintf(`%q in zone "example.com" takes 263 bytes, at most 255 are allowed`, long)},
	}
	for _, test := range tests {
		if _, err := ParseOwner(test.zone, test.owner); fmt.Sprint(err) != test.want {
			t.Errorf("%q in %q: %v, want %s", test.owner, test.zone, err, test.want)
		}
	}
}

func TestKeyOf(t *testing.T) {
	tests := []struct {
		zone, owner string
		typ         uint16
		want        string
	}{
		{"example.com", "@", dns.TypeSOA, "zone/example.com/soa"},
		{"example.com", "@", dns.TypeMX, "zone/example.com/name/@/MX"},
		{"example.com", "www", TypeSteer, "zone/example.com/name/www/steer"},
		{"example.com", "www", TypeUnknown, "zone/example.com/name/www/<unknown type>"},
		{"example.com", "www", 65280, "zone/example.com/name/www/TYPE65280"},
		{"2.0.192.in-addr.arpa", `0\04725`, dns.TypeNS, `zone/2.0.192.in-addr.arpa/name/0\04725/NS`},
	}
	for _, test := range tests {
		o, err := ParseOwner(test.zone, test.owner)
		if err != nil {
			t.Fatal(err)
		}
		if got := KeyOf(o, test.typ); got != test.want {
			t.Errorf("got %s, want %s", got, test.want)
		}
	}
}

// naiveRead is Read label by label: the name in lower case, "" if b begins with none.
func naiveRead(b []byte) string {
	var name []byte
	for {
		if len(b) == 0 || b[0] > 63 || len(b) < 1+int(b[0]) {
			return ""
		}
		size := 1 + int(b[0])
		for _, c := range b[:size] {
			if 'A' <= c && c <= 'Z' {
				c |= 0x20
			}
			name = append(name, c)
		}
		if len(name) > 255 {
			return ""
		}
		if size == 1 {
			return string(name)
		}
		b = b[size:]
	}
}

// Read is what its naive twin and miekg/dns say, and every spelling comes back.
func FuzzName(f *testing.F) {
	f.Add([]byte("\x03WWW\x07example\x03com\x00\x00\x01"))
	f.Add([]byte("\x01*\x00"))
	f.Add([]byte("\x01@\x02./\x03a\\b\x00"))
	f.Add([]byte("\x00"))
	f.Add([]byte("\xc0\x00"))
	f.Add([]byte(strings.Repeat("\x01a", 127) + "\x00"))
	f.Add([]byte(strings.Repeat("\x01a", 125) + "\x03\xffA\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var n Name
		size, ok := n.Read(b)
		want := naiveRead(b)
		if ok != (want != "") || size != len(want) {
			t.Fatalf("%q: %d bytes, %t, want %q", b, size, ok, want)
		}
		if !ok {
			return
		}
		if string(n.Wire()) != want {
			t.Fatalf("%q is read as %q, want %q", b, n.Wire(), want)
		}
		checkName(t, &n)
		theirs, end, err := dns.UnpackDomainName(b, 0)
		if err != nil || end != size {
			t.Fatalf("%q takes %d bytes, miekg/dns says %d, %v", b, size, end, err)
		}
		if theirs != "." {
			m, err := ParseName(strings.TrimSuffix(theirs, "."))
			if err != nil || !bytes.Equal(m.Wire(), n.Wire()) {
				t.Fatalf("%q is spelt %q by miekg/dns: %v, %v", b[:size], theirs, m, err)
			}
		}
	})
}
