package geo

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// at is a network of a layer.
type at struct {
	prefix netip.Prefix
	Record
}

// layerOf adds networks in order.
func layerOf(t testing.TB, networks ...at) *Layer {
	t.Helper()
	l := NewLayer()
	for _, n := range networks {
		if err := l.Add(n.prefix, n.Record); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

var (
	germany = CountryOf("DE")
	canada  = CountryOf("CA")
	records = []Record{
		{},
		{ASN: 64500},
		{Continent: europe},
		{Country: germany, Continent: europe},
		{Country: germany, Continent: europe, Subdivision: SubdivisionOf(germany, "HE")},
		{Country: germany, Subdivision: SubdivisionOf(germany, "BY"), Place: PointAt(48, 11)},
		{Country: canada, Continent: northAmerica, Subdivision: SubdivisionOf(canada, "QC"), ASN: 64501},
		{Place: PointAt(48, 11)},
	}
)

// find looks through all networks of all layers.
func find(layers [][]at, a netip.Addr) (r Record) {
	for _, networks := range layers {
		for _, n := range networks {
			if !n.prefix.Contains(a) {
				continue
			}
			if r.Country == 0 {
				r.Country = n.Country
			}
			r.ASN, r.Continent = cmp.Or(r.ASN, n.ASN), cmp.Or(r.Continent, n.Continent)
			if r.Subdivision == 0 && n.Country == r.Country {
				r.Subdivision = n.Subdivision
			}
			if r.Place == (Point{}) {
				r.Place = n.Place
			}
		}
	}
	return r
}

// TestCompile compares databases of random layers with a look through all networks, everywhere that one begins or
// ends. (Package mmdb compares lengths too.)
func TestCompile(t *testing.T) {
	random := rand.New(rand.NewPCG(20261123, 7))
	for range 200 {
		var layers [][]at
		var compiled []*Layer
		for range 1 + random.IntN(3) {
			networks := randomNetworks(random)
			layers, compiled = append(layers, networks), append(compiled, layerOf(t, networks...))
		}
		d := Compile(compiled...)
		asked := []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified(), netip.MustParseAddr("255.255.255.255")}
		for _, networks := range layers {
			for _, n := range networks {
				first, last := n.prefix.Addr(), lastOf(n.prefix)
				asked = append(asked, first, last, first.Prev(), last.Next())
			}
		}
		for _, a := range asked {
			if !a.IsValid() { // before the first or behind the last
				continue
			}
			want := find(layers, a)
			var got Record
			got.ASN, _ = d.ASN(a)
			got.Country, got.Continent, _ = d.Country(a)
			got.Subdivision, _ = d.Subdivision(a)
			p, exact, _ := d.Location(a)
			if exact {
				got.Place = p
			} else if middle, _ := want.Country.Middle(); p != middle {
				t.Fatalf("%v is at %v, expected %v, the middle of %v", a, p, middle, want.Country)
			}
			if got != want {
				t.Fatalf("%v: %+v, expected %+v, of %v", a, got, want, layers)
			}
		}
	}
}

// randomNetworks are a few of each of three parts of the address space, the last of which ends with it: in order.
func randomNetworks(random *rand.Rand) (networks []at) {
	for _, part := range []struct {
		first string
		bits  int
	}{{"0.0.0.0", 8}, {"2001:db8::", 60}, {"ffff:ffff:ffff:ffc0::", 60}} {
		a := netip.MustParseAddr(part.first)
		for range 16 {
			p, _ := a.Prefix(part.bits + random.IntN(8))
			if p.Addr() == a && random.IntN(3) > 0 {
				networks = append(networks, at{p, records[random.IntN(len(records))]})
			}
			if a = lastOf(p).Next(); !a.IsValid() {
				break
			}
		}
	}
	return networks
}

func TestLayerOrder(t *testing.T) {
	tests := []struct{ first, second, want string }{ // "" for none
		{"192.0.2.0/24", "192.0.3.0/24", ""},
		{"192.0.2.0/24", "10.0.0.0/8", "10.0.0.0/8 comes after 192.0.2.255, expected networks in order, none within another"},
		{"192.0.2.0/24", "192.0.2.128/25", "192.0.2.128/25 comes after 192.0.2.255, expected networks in order, none within another"},
		{"0.0.0.0/0", "0.0.0.0/0", "0.0.0.0/0 comes after 255.255.255.255, expected networks in order, none within another"},
		{"::/0", "192.0.2.0/24", ""},
		{"2001:db8::/32", "2001:db8::/33", "2001:db8::/33 comes after 2001:db8:ffff:ffff:ffff:ffff:ffff:ffff, expected networks in order, none within another"},
	}
	for _, test := range tests {
		l := layerOf(t, at{netip.MustParsePrefix(test.first), records[1]})
		got := ""
		if err := l.Add(netip.MustParsePrefix(test.second), records[2]); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s, %s: %q, expected %q", test.first, test.second, got, test.want)
		}
	}
}

// TestLayerGoesOn: what is added after a compilation is not in it, and is in the next.
func TestLayerGoesOn(t *testing.T) {
	l := layerOf(t, at{netip.MustParsePrefix("192.0.2.0/25"), records[1]})
	before := Compile(l)
	if err := l.Add(netip.MustParsePrefix("192.0.2.128/25"), records[1]); err != nil {
		t.Fatal(err)
	}
	after, a := Compile(l), netip.MustParseAddr("192.0.2.200")
	if asn, length := before.ASN(a); asn != 0 || length != 25 || before.Files()[0].Networks != 1 {
		t.Errorf("before: %d, length %d, %+v", asn, length, before.Files())
	}
	if asn, length := after.ASN(a); asn != 64500 || length != 24 || after.Files()[0].Networks != 2 {
		t.Errorf("after: %d, length %d, %+v", asn, length, after.Files())
	}
}

func TestKnows(t *testing.T) {
	d := Compile(layerOf(t, at{netip.MustParsePrefix("192.0.2.0/24"), records[3]}))
	if k := d.Knows(); k != (Knows{Country: true, Continent: true}) {
		t.Errorf("%+v", k)
	}
	if d.location != d.country {
		t.Error("of countries alone there are two tables")
	}
	d = Compile(layerOf(t, at{netip.MustParsePrefix("192.0.2.0/24"), records[5]}), layerOf(t, at{netip.MustParsePrefix("::/0"), records[1]}))
	if k := d.Knows(); k != (Knows{ASN: true, Country: true, Subdivision: true, Location: true}) {
		t.Errorf("%+v", k)
	}
}

// TestNoDatabase: nil knows nothing, and so does a database of no layers.
func TestNoDatabase(t *testing.T) {
	for _, d := range []*Database{nil, Compile()} {
		for _, text := range []string{"192.0.2.1", "2001:db8::1"} {
			a := netip.MustParseAddr(text)
			asn, n1 := d.ASN(a)
			c, in, n2 := d.Country(a)
			s, n3 := d.Subdivision(a)
			p, exact, n4 := d.Location(a)
			if asn != 0 || c != 0 || in != 0 || s != 0 || p.IsValid() || exact || n1+n2+n3+n4 != 0 {
				t.Errorf("%s: %d, %v, %v, %v, %v, lengths %d %d %d %d", text, asn, c, in, s, p, n1, n2, n3, n4)
			}
		}
		for first, last := range d.Networks() {
			t.Errorf("%v to %v", first, last)
		}
		if d.Files() != nil || d.Knows() != (Knows{}) || d == nil && d.Bytes() != 0 {
			t.Errorf("%+v %+v %d", d.Files(), d.Knows(), d.Bytes())
		}
	}
}

func TestNetworks(t *testing.T) {
	d := Compile(layerOf(t,
		at{netip.MustParsePrefix("192.0.2.0/25"), records[3]},
		at{netip.MustParsePrefix("192.0.2.128/25"), records[3]},
		at{netip.MustParsePrefix("192.0.3.0/24"), records[4]},
		at{netip.MustParsePrefix("ffff::/16"), records[3]},
	))
	var got []string
	for first, last := range d.Networks() {
		got = append(got, first.String()+"-"+last.String())
	}
	want := []string{"192.0.2.0-192.0.2.255", "192.0.3.0-192.0.3.255", "ffff::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}
	if !slices.Equal(got, want) {
		t.Errorf("%v, expected %v", got, want)
	}
}

func TestDatabaseAllocates(t *testing.T) {
	d := Compile(layerOf(t, at{netip.MustParsePrefix("192.0.2.0/24"), records[5]}, at{netip.MustParsePrefix("2001:db8::/32"), records[6]}))
	four, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	if n := testing.AllocsPerRun(100, func() {
		for _, a := range []netip.Addr{four, six} {
			d.ASN(a)
			d.Country(a)
			d.Subdivision(a)
			d.Location(a)
			Fold(a)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
