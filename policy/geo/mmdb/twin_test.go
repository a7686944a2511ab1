package mmdb

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/oschwald/maxminddb-golang/v2"

	"meridian/policy/geo"
)

// twin says what a Database should, by looking through all networks of all files.
type twin struct {
	files []file
	edges []netip.Addr        // where a network begins, and behind it, in order
	said  map[netip.Addr]said // what has been asked before
}

type file []known

// known is what a file says of a network.
type known struct {
	prefix      netip.Prefix
	asn         uint32
	country, in string
	subdivision string
	lat, lon    float64
	hasPlace    bool
}

// newTwin reads files by decoding each record as it comes.
func newTwin(t testing.TB, paths ...string) *twin {
	t.Helper()
	w := &twin{said: map[netip.Addr]said{}}
	for _, path := range paths {
		bytes, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		r, err := maxminddb.OpenBytes(bytes)
		if err != nil {
			t.Fatal(err)
		}
		var f file
		for result := range r.Networks() {
			var record map[string]any
			if err := result.Decode(&record); err != nil {
				t.Fatal(path, err)
			}
			p := result.Prefix()
			f = append(f, newKnown(p, record))
			w.edges = append(w.edges, p.Addr(), lastOf(p).Next())
		}
		w.files = append(w.files, f)
	}
	slices.SortFunc(w.edges, netip.Addr.Compare)
	w.edges = slices.Compact(w.edges)
	return w
}

// newKnown reads a record of any layout.
func newKnown(p netip.Prefix, record map[string]any) known {
	k := known{prefix: p}
	at := func(path ...string) any {
		var v any = record
		for _, name := range path {
			if list, ok := v.([]any); ok && len(list) > 0 {
				v = list[0]
			}
			m, _ := v.(map[string]any)
			v = m[name]
		}
		return v
	}
	text := func(v any) string { s, _ := v.(string); return s }
	code := text(at("country", "iso_code"))
	for _, other := range []string{text(at("country_code")), text(at("country")), text(at("registered_country", "iso_code"))} {
		if code == "" && len(other) == 2 {
			code = other
		}
	}
	if c, err := geo.ParseCountry(code); err == nil {
		k.country, k.in = code, c.Continent().String()
		if s, err := geo.ParseSubdivision(code + "-" + text(at("subdivisions", "iso_code"))); err == nil {
			k.subdivision = s.String()
		}
	} else {
		k.in = map[string]string{"EU": "EU", "AP": "AS"}[code]
	}
	for _, own := range []string{text(at("continent", "code")), text(at("continent_code")), text(at("continent"))} {
		if _, err := geo.ParseContinent(own); err == nil {
			k.in = own
			break
		}
	}
	for _, number := range []any{at("autonomous_system_number"), at("asn"), at("traits", "autonomous_system_number")} {
		n, err := strconv.ParseUint(strings.TrimPrefix(fmt.Sprint(number), "AS"), 10, 32)
		if err == nil && k.asn == 0 {
			k.asn = uint32(n)
		}
	}
	lat, _ := degrees(at("latitude"), 90)
	lon, ok := degrees(at("longitude"), 180)
	if !ok {
		lat, _ = degrees(at("location", "latitude"), 90)
		lon, ok = degrees(at("location", "longitude"), 180)
	}
	if ok && !math.IsNaN(lat) && (lat != 0 || lon != 0) {
		k.lat, k.lon, k.hasPlace = lat, lon, true
	}
	return k
}

// degrees is NaN for no coordinate.
func degrees(v any, most float64) (float64, bool) {
	f, ok := v.(float64)
	if single, is := v.(float32); is {
		f, ok = float64(single), true
	}
	if s, is := v.(string); is {
		n, err := strconv.ParseFloat(s, 64)
		f, ok = n, err == nil
	}
	if !ok || f < -most || f > most {
		return math.NaN(), false
	}
	return f, true
}

// said is what a Database says of an address, or of one attribute of it, as text.
type said struct{ asn, country, subdivision, location string }

// says is what w says of an address.
func (w *twin) says(a netip.Addr) said {
	s, asked := w.said[a]
	if !asked {
		s = w.look(a)
		w.said[a] = s
	}
	return s
}

func (w *twin) look(a netip.Addr) said {
	var asn uint32
	var country, in, subdivision, place string
	for _, f := range w.files {
		for _, k := range f {
			// Files have IPv4 at ::/96.
			if !k.prefix.Contains(a) && !(a.Is4() && k.prefix.Addr() == netip.IPv6Unspecified()) {
				continue
			}
			if asn == 0 {
				asn = k.asn
			}
			if country == "" {
				country = k.country
			}
			if in == "" {
				in = k.in
			}
			if subdivision == "" && k.country == country {
				subdivision = k.subdivision
			}
			if place == "" && k.hasPlace {
				place = placeText(geo.PointAt(k.lat, k.lon), true)
			}
		}
	}
	if place == "" && country != "" {
		c, _ := geo.ParseCountry(country)
		middle, _ := c.Middle()
		place = placeText(middle, false)
	}
	return said{fmt.Sprint(asn), country + " " + in, subdivision, place}
}

func placeText(p geo.Point, exact bool) string {
	if !p.IsValid() {
		return ""
	}
	lat, lon := p.LatLon()
	return fmt.Sprintf("%.4f,%.4f,%v", lat, lon, exact)
}

// length is that of the shortest prefix around a all of which has the same value of an attribute. It tries
// one after the other.
func (w *twin) length(a netip.Addr, attribute func(said) string) uint8 {
	for length := 0; ; length++ {
		if p, _ := a.Prefix(length); w.alike(p, attribute) {
			return uint8(length)
		}
	}
}

// alike looks where any network begins within p, and behind it.
func (w *twin) alike(p netip.Prefix, attribute func(said) string) bool {
	want := attribute(w.says(p.Addr()))
	i, _ := slices.BinarySearchFunc(w.edges, p.Addr(), netip.Addr.Compare)
	for ; i < len(w.edges) && p.Contains(w.edges[i]); i++ {
		if attribute(w.says(w.edges[i])) != want {
			return false
		}
	}
	return true
}

// says is what d says of an address, and the four lengths.
func says(d *geo.Database, a netip.Addr) (s said, lengths [4]uint8) {
	asn, n := d.ASN(a)
	s.asn, lengths[0] = fmt.Sprint(asn), n
	c, in, n := d.Country(a)
	s.country, lengths[1] = c.String()+" "+in.String(), n
	part, n := d.Subdivision(a)
	s.subdivision, lengths[2] = part.String(), n
	p, exact, n := d.Location(a)
	s.location, lengths[3] = placeText(p, exact), n
	return s, lengths
}

var attributes = [4]func(said) string{
	func(s said) string { return s.asn }, func(s said) string { return s.country },
	func(s said) string { return s.subdivision }, func(s said) string { return s.location },
}

// agree compares at the first, a middle and the last address of every network, and beside it.
func (w *twin) agree(t *testing.T, d *geo.Database) {
	t.Helper()
	asked := []netip.Addr{netip.IPv4Unspecified(), netip.MustParseAddr("255.255.255.255"), netip.IPv6Unspecified(),
		netip.MustParseAddr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), netip.MustParseAddr("2000::"), netip.MustParseAddr("::192.0.2.1")}
	for _, f := range w.files {
		for _, k := range f {
			first, last := k.prefix.Addr(), lastOf(k.prefix)
			asked = append(asked, first, middle(k.prefix), last, first.Prev(), last.Next())
		}
	}
	for _, a := range asked {
		if !a.IsValid() { // before the first or behind the last
			continue
		}
		got, lengths := says(d, a)
		if want := w.says(a); got != want {
			t.Fatalf("%v: %+v, expected %+v", a, got, want)
		}
		for i, attribute := range attributes {
			if want := w.length(a, attribute); lengths[i] != want {
				t.Fatalf("%v: %q, length %d, expected %d", a, attribute(got), lengths[i], want)
			}
		}
	}
	w.agreeNetworks(t, d, asked)
}

// agreeNetworks checks that the stretches that d yields are in order, of one value each and as large as can
// be, and that nothing is known outside of them.
func (w *twin) agreeNetworks(t *testing.T, d *geo.Database, asked []netip.Addr) {
	t.Helper()
	nothing := said{"0", " ", "", ""}
	type stretch struct{ first, last netip.Addr }
	var all []stretch
	for first, last := range d.Networks() {
		if n := len(all); first.BitLen() != last.BitLen() || last.Less(first) || n > 0 && !all[n-1].last.Less(first) {
			t.Fatalf("%v to %v after %v", first, last, all)
		}
		all = append(all, stretch{first, last})
		value := w.says(first)
		if value == nothing || w.says(last) != value || first.Prev().IsValid() && w.says(first.Prev()) == value || last.Next().IsValid() && w.says(last.Next()) == value {
			t.Fatalf("%v to %v is no stretch: %+v", first, last, value)
		}
	}
	for _, a := range asked {
		within := slices.ContainsFunc(all, func(s stretch) bool { return !a.Less(s.first) && !s.last.Less(a) })
		if a.IsValid() && within != (w.says(a) != nothing) {
			t.Fatalf("%v is in a stretch: %v, and %+v", a, within, w.says(a))
		}
	}
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// middle is the address half way.
func middle(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	if n := p.Bits(); n < 8*len(b) {
		b[n/8] |= 0x80 >> (n % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// TestDatabaseAgrees compares fixtures, alone and in several orders one over the other, with the twin.
func TestDatabaseAgrees(t *testing.T) {
	tests := []string{"", "city", "country", "asn", "flat-ipv4", "flat-ipv6", "ipinfo", "flat-ipv4 flat-ipv6", "asn city",
		"country city", "city country", "asn country city", "flat-ipv4 city flat-ipv6 asn", "ipinfo city", "city ipinfo", "city city"}
	for _, names := range tests {
		t.Run(names, func(t *testing.T) {
			p := paths(strings.Fields(names)...)
			d, err := Open(p...)
			if err != nil {
				t.Fatal(err)
			}
			newTwin(t, p...).agree(t, d)
		})
	}
}

// TestRandomDatabases: few records, so that neighbours are often equal, and few places, so that networks of
// several files lie within and beside each other.
func TestRandomDatabases(t *testing.T) {
	random := rand.New(rand.NewPCG(20261123, 6))
	records := []string{`{}`, `{"country_code":"DE"}`, `{"country_code":"US"}`, `{"continent":{"code":"EU"}}`, `{"asn":"AS1"}`,
		`{"country":{"iso_code":"DE"},"subdivisions":[{"iso_code":"HE"}]}`, `{"country":{"iso_code":"US"},"subdivisions":[{"iso_code":"CA"}]}`,
		`{"country_code":"US","latitude":1.5,"longitude":2.5}`, `{"autonomous_system_number":1,"continent_code":"NA"}`, `{"location":{"latitude":-1.5,"longitude":2.5}}`}
	for range 40 {
		var files []string
		for range 1 + random.IntN(3) {
			networks := []string{`"192.0.2.0/24":{"country_code":"FR"}`}
			for range random.IntN(8) {
				networks = append(networks, fmt.Sprintf(`"%v":%s`, randomNetwork(random), records[random.IntN(len(records))]))
			}
			s := parseSource(t, `{"networks":{`+strings.Join(networks, ",")+`}}`)
			s.RecordSize = []int{24, 28, 32}[random.IntN(3)]
			files = append(files, write(t, "random.mmdb", s.mmdb(t)))
		}
		d, err := Open(files...)
		if err != nil {
			t.Fatal(err)
		}
		newTwin(t, files...).agree(t, d)
	}
}

// randomNetwork keeps clear of the networks under which IPv6 files repeat IPv4.
func randomNetwork(random *rand.Rand) netip.Prefix {
	b := []byte{byte([]int{0, 10, 128, 255}[random.IntN(4)]), byte(random.IntN(2)), byte(random.IntN(256)), 0}
	if random.IntN(2) == 0 {
		b = []byte{0x24, byte(random.IntN(4)), 0, 0, 0, 0, 0, byte(random.IntN(3)), byte(random.IntN(2)) << 7, 15: 0}
	}
	a, _ := netip.AddrFromSlice(b)
	p, _ := a.Prefix(8 + random.IntN(17)) // a long one within a short one would be cut into many
	if random.IntN(4) == 0 && a.Is6() {
		p, _ = a.Prefix(64 + random.IntN(10))
	}
	return p
}
