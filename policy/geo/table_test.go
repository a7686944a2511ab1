package geo

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// naive is what a Table should say, found by looking through all entries.
type naive []Entry

func (n naive) value(a netip.Addr) (value uint32) {
	longest := -1
	for _, e := range n {
		if e.Prefix.Contains(a) && e.Prefix.Bits() >= longest {
			longest, value = e.Prefix.Bits(), e.Value
		}
	}
	return value
}

// scope tries one length after the other.
func (n naive) scope(a netip.Addr) (length uint8) {
	for {
		p, _ := a.Prefix(int(length))
		if n.alike(p, n.value(a)) {
			return length
		}
		length++
	}
}

// alike says whether every address of p has the value: it is enough to look where an entry begins within
// it, and after it has ended.
func (n naive) alike(p netip.Prefix, value uint32) bool {
	if n.value(p.Addr()) != value {
		return false
	}
	for _, e := range n {
		if !p.Overlaps(e.Prefix) || e.Prefix.Bits() <= p.Bits() {
			continue
		}
		after := lastOf(e.Prefix).Next()
		if n.value(e.Prefix.Addr()) != value || p.Contains(after) && n.value(after) != value {
			return false
		}
	}
	return true
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// agree compares a table with what is naive, at an address.
func agree(t *testing.T, table *Table, n naive, a netip.Addr) {
	t.Helper()
	value, length := table.Lookup(a)
	if want := n.value(a); value != want {
		t.Fatalf("%v has value %d, expected %d, of %v", a, value, want, n)
	}
	if want := n.scope(a); length != want {
		t.Fatalf("%v has scope %d, expected %d, of %v", a, length, want, n)
	}
	first, last := table.Range(a)
	if a.Less(first) || last.Less(a) || n.value(first) != value || n.value(last) != value {
		t.Fatalf("%v lies in %v to %v, of %v", a, first, last, n)
	}
	for _, beside := range []netip.Addr{first.Prev(), last.Next()} {
		if beside.IsValid() && n.value(beside) == value {
			t.Fatalf("%v lies in %v to %v, and %v has the same value, of %v", a, first, last, beside, n)
		}
	}
}

// agreeAround compares at the edges of every entry and beside them.
func agreeAround(t *testing.T, entries []Entry) {
	t.Helper()
	table := NewTable(entries)
	for _, e := range entries {
		first, last := e.Prefix.Masked().Addr(), lastOf(e.Prefix)
		for _, a := range []netip.Addr{first, last, first.Prev(), last.Next()} {
			if a.IsValid() {
				agree(t, table, entries, a)
			}
		}
	}
	for _, a := range []string{"0.0.0.0", "255.255.255.255", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db8::1", "192.0.2.1"} {
		agree(t, table, entries, netip.MustParseAddr(a))
	}
}

func TestTable(t *testing.T) {
	tests := map[string]struct {
		entries string // "PREFIX=VALUE …"
		addr    string
		value   uint32
		length  uint8
	}{
		"nothing":                   {"", "192.0.2.1", 0, 0},
		"nothing in this family":    {"10.0.0.0/8=1", "2001:db8::1", 0, 0},
		"all":                       {"0.0.0.0/0=1", "192.0.2.1", 1, 0},
		"a network":                 {"192.0.2.0/24=1", "192.0.2.1", 1, 24},
		"a hole beside a network":   {"192.0.2.0/24=1", "192.0.3.1", 0, 24},
		"a hole far from it":        {"192.0.2.0/24=1", "10.0.0.1", 0, 1},
		"the longer prefix":         {"10.0.0.0/8=1 10.1.0.0/16=2", "10.1.2.3", 2, 16},
		"around the longer prefix":  {"10.0.0.0/8=1 10.1.0.0/16=2", "10.0.2.3", 1, 16},
		"no value within another":   {"10.0.0.0/8=1 10.1.0.0/16=0", "10.1.2.3", 0, 16},
		"equal neighbours":          {"10.0.0.0/9=1 10.128.0.0/9=1", "10.1.2.3", 1, 8},
		"equal halves of all":       {"0.0.0.0/1=1 128.0.0.0/1=1", "10.1.2.3", 1, 0},
		"equal, but no one prefix":  {"10.1.0.0/16=1 10.2.0.0/16=1", "10.2.0.1", 1, 16},
		"equal within":              {"10.0.0.0/8=1 10.1.0.0/16=1", "10.1.2.3", 1, 8},
		"a host":                    {"192.0.2.1/32=1", "192.0.2.1", 1, 32},
		"beside a host":             {"192.0.2.1/32=1", "192.0.2.0", 0, 32},
		"the last host":             {"255.255.255.255/32=1", "255.255.255.255", 1, 32},
		"before the last host":      {"255.255.255.255/32=1", "255.255.255.254", 0, 32},
		"the first host":            {"0.0.0.0/32=1", "0.0.0.0", 1, 32},
		"the later of two":          {"10.0.0.0/8=1 10.0.0.0/8=2", "10.1.2.3", 2, 8},
		"host bits":                 {"10.1.2.3/8=1", "10.200.0.1", 1, 8},
		"an IPv6 network":           {"2001:db8::/32=1", "2001:db8::1", 1, 32},
		"all of IPv6":               {"::/0=1", "2001:db8::1", 1, 0},
		"an IPv6 host":              {"2001:db8::1/128=1", "2001:db8::1", 1, 128},
		"beside an IPv6 host":       {"2001:db8::1/128=1", "2001:db8::2", 0, 127},
		"the last IPv6 host":        {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128=1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 1, 128},
		"within a /64":              {"2001:db8::/65=1 2001:db8:0:0:8000::/65=2", "2001:db8::1", 1, 65},
		"equal halves of a /64":     {"2001:db8::/65=1 2001:db8:0:0:8000::/65=1", "2001:db8::1", 1, 64},
		"IPv4 in IPv6 form is IPv6": {"::ffff:0:0/96=1 0.0.0.0/0=2", "::ffff:192.0.2.1", 1, 96},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			entries := parseEntries(t, test.entries)
			a := netip.MustParseAddr(test.addr)
			if value, length := NewTable(entries).Lookup(a); value != test.value || length != test.length {
				t.Errorf("value %d, scope %d, expected %d, %d", value, length, test.value, test.length)
			}
			for i := range entries {
				entries[i].Prefix = entries[i].Prefix.Masked()
			}
			agreeAround(t, entries)
		})
	}
}

func parseEntries(t *testing.T, text string) (entries []Entry) {
	for i := 0; i < len(text); {
		var one string
		n, _ := fmt.Sscan(text[i:], &one)
		if n == 0 {
			break
		}
		i += len(one) + 1
		var e Entry
		for j := range one {
			if one[j] == '=' {
				e.Prefix = netip.MustParsePrefix(one[:j])
				fmt.Sscan(one[j+1:], &e.Value)
			}
		}
		entries = append(entries, e)
	}
	return entries
}

// TestRandomTables compares with the naive twin: few values, so that neighbours are often equal, and few
// places, so that networks lie within and beside each other.
func TestRandomTables(t *testing.T) {
	random := rand.New(rand.NewPCG(20261123, 0))
	for range 100 {
		var entries []Entry
		for range random.IntN(40) {
			entries = append(entries, randomEntry(random))
		}
		agreeAround(t, entries)
	}
}

func randomEntry(random *rand.Rand) Entry {
	b := make([]byte, 4)
	if random.IntN(2) == 0 {
		b = make([]byte, 16)
	}
	length := random.IntN(8*len(b) + 1)
	if random.IntN(8) == 0 {
		length = []int{0, 1, 8 * len(b), 8*len(b) - 1, min(64, 8*len(b)), min(65, 8*len(b))}[random.IntN(6)]
	}
	for i := range b {
		if random.IntN(2) == 0 {
			b[i] = []byte{0, 0xff, 0x80, 0x20}[random.IntN(4)]
		}
	}
	a, _ := netip.AddrFromSlice(b)
	p, _ := a.Prefix(length)
	return Entry{p, uint32(random.IntN(4))}
}

// TestCrowded puts more networks close together than one slot of the index takes: each within one that is
// twice as large, in one /64, and evenly.
func TestCrowded(t *testing.T) {
	var nested, deep, even []Entry
	for length := range 129 {
		p, _ := netip.MustParseAddr("2a00:1450:4001:81f::200e").Prefix(length)
		nested = append(nested, Entry{p, uint32(1 + length%3)})
		if length <= 32 {
			p, _ = netip.MustParseAddr("203.0.113.77").Prefix(length)
			nested = append(nested, Entry{p, uint32(1 + length%3)})
		}
	}
	for i := range 50 {
		a := netip.MustParseAddr("2001:db8::").As16()
		a[15] = byte(2 * i)
		deep = append(deep, Entry{netip.PrefixFrom(netip.AddrFrom16(a), 128), uint32(1 + i%3)})
		a[5], a[15] = byte(i), 0
		even = append(even, Entry{netip.PrefixFrom(netip.AddrFrom16(a), 48), uint32(1 + i)})
	}
	for name, entries := range map[string][]Entry{"nested": nested, "in one /64": deep, "even": even} {
		t.Run(name, func(t *testing.T) { agreeAround(t, entries) })
	}
}

func FuzzTable(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{4, 10, 0, 0, 0, 8, 1, 4, 10, 1, 0, 0, 16, 2, 4, 10, 2, 0, 0, 16, 1})
	f.Add([]byte{4, 0, 0, 0, 0, 0, 1, 4, 255, 255, 255, 255, 32, 2, 4, 0, 0, 0, 0, 32, 0})
	f.Add([]byte{6, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 128, 1, 6, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 1})
	f.Fuzz(func(t *testing.T, bytes []byte) {
		var entries []Entry
		for len(entries) < 60 {
			size := 4
			if len(bytes) > 0 && bytes[0] == 6 {
				size = 16
			}
			if len(bytes) < size+3 {
				break
			}
			a, _ := netip.AddrFromSlice(bytes[1 : 1+size])
			p, _ := a.Prefix(int(bytes[1+size]) % (8*size + 1))
			entries = append(entries, Entry{p, uint32(bytes[2+size])})
			bytes = bytes[size+3:]
		}
		agreeAround(t, entries)
	})
}

// TestSmallTable: a map of three networks is no burden to have.
func TestSmallTable(t *testing.T) {
	if n := NewTable(parseEntries(t, "10.0.0.0/8=1 172.16.0.0/12=2 192.168.0.0/16=3")).Bytes(); n > 500 {
		t.Errorf("three networks take %d bytes, expected some hundred", n)
	}
}

func TestLookupAllocates(t *testing.T) {
	table := NewTable(parseEntries(t, "10.0.0.0/8=1 2001:db8::/32=2"))
	four, six := netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("2001:db8::1")
	if n := testing.AllocsPerRun(100, func() { table.Lookup(four); table.Lookup(six) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// networks makes n networks as the registries have assigned them, and as many addresses to ask for: IPv4
// /20 to /24 of all unicast space, IPv6 /29 to /48 below some dozens of /12.
func networks(n int, six bool) (entries []Entry, asked []netip.Addr) {
	random := rand.New(rand.NewPCG(7, uint64(n)))
	tops := []uint64{0x2001_0000_0000_0000, 0x2400_0000_0000_0000, 0x2600_0000_0000_0000, 0x2800_0000_0000_0000, 0x2a00_0000_0000_0000, 0x2c00_0000_0000_0000}
	for range n {
		var b [16]byte
		var p netip.Prefix
		if six {
			binary.BigEndian.PutUint64(b[:], tops[random.IntN(6)]+random.Uint64N(1<<57))
			p = netip.PrefixFrom(netip.AddrFrom16(b), 29+random.IntN(20))
		} else {
			binary.BigEndian.PutUint32(b[:], 1<<24+random.Uint32N(223<<24))
			p = netip.PrefixFrom(netip.AddrFrom4([4]byte(b[:4])), 20+random.IntN(5))
		}
		asked = append(asked, p.Addr())
		entries = append(entries, Entry{p.Masked(), 1 + random.Uint32N(200)})
	}
	random.Shuffle(n, func(i, j int) { asked[i], asked[j] = asked[j], asked[i] })
	return entries, asked[:min(n, 1<<16)]
}

var benchmarks = []struct {
	name string
	n    int
	six  bool
}{
	{"IPv4/3", 3, false}, {"IPv4/1000", 1000, false}, {"IPv4/100000", 100_000, false}, {"IPv4/1000000", 1_000_000, false},
	{"IPv6/3", 3, true}, {"IPv6/1000", 1000, true}, {"IPv6/100000", 100_000, true}, {"IPv6/1000000", 1_000_000, true},
}

func BenchmarkLookup(b *testing.B) {
	for _, bench := range benchmarks {
		b.Run(bench.name, func(b *testing.B) {
			entries, asked := networks(bench.n, bench.six)
			table := NewTable(entries)
			i, sum := 0, uint32(0)
			for b.Loop() {
				value, length := table.Lookup(asked[i])
				sum += value + uint32(length)
				if i++; i == len(asked) {
					i = 0
				}
			}
			b.ReportMetric(float64(table.Bytes())/float64(bench.n), "B/network")
		})
	}
}

func BenchmarkNewTable(b *testing.B) {
	for _, bench := range benchmarks {
		b.Run(bench.name, func(b *testing.B) {
			entries, _ := networks(bench.n, bench.six)
			for b.Loop() {
				NewTable(entries)
			}
		})
	}
}
