package geo

import (
	"math"
	"net/netip"
	"testing"
)

func TestCountries(t *testing.T) {
	for c := Country(1); int(c) < Countries; c++ {
		if c > 1 && (c-1).String() >= c.String() {
			t.Errorf("%v after %v", c, c-1)
		}
		if got, err := ParseCountry(c.String()); got != c || err != nil {
			t.Errorf("%v is %v, %v", c, got, err)
		}
		p, ok := c.Middle()
		if !ok || math.Abs(p.X*p.X+p.Y*p.Y+p.Z*p.Z-1) > 1e-12 || c.Continent() == 0 {
			t.Errorf("%v: %v, %v", c, p, c.Continent())
		}
		for d := range c {
			if q, _ := d.Middle(); q == p {
				t.Errorf("%v and %v have one middle", c, d)
			}
		}
	}
	if Countries != 251 {
		t.Errorf("%d countries, expected 249 of ISO 3166-1, XK and none", Countries)
	}
	if p, ok := Country(0).Middle(); ok || p.IsValid() || Country(0).Continent() != 0 || Country(0).String() != "" {
		t.Error("no country is somewhere")
	}
	tests := []struct {
		code, in string
		lat, lon float64
	}{{"DE", "EU", 51, 10}, {"US", "NA", 39.8, -98.6}, {"BR", "SA", -10, -55}, {"AU", "OC", -25, 134}, {"JP", "AS", 36, 138}, {"ZA", "AF", -29, 24}, {"XK", "EU", 42.6, 20.9}, {"AQ", "AN", -90, 0}, {"FJ", "OC", -18, 178}}
	for _, test := range tests {
		c, err := ParseCountry(test.code)
		p, _ := c.Middle()
		if km := p.Km(PointAt(test.lat, test.lon)); err != nil || km > 100 || c.Continent().String() != test.in {
			t.Errorf("%s: %v, %.0f km off, in %v", test.code, err, km, c.Continent())
		}
	}
}

func TestCodeFaults(t *testing.T) {
	country := func(s string) error { _, err := ParseCountry(s); return err }
	continent := func(s string) error { _, err := ParseContinent(s); return err }
	subdivision := func(s string) error { _, err := ParseSubdivision(s); return err }
	tests := []struct {
		parse      func(string) error
		code, want string // "" for none
	}{
		{country, "DE", ""},
		{country, "", `"" is not a country: expected a code of ISO 3166-1 such as "DE"`},
		{country, "de", `"de" is not a country: expected a code of ISO 3166-1 such as "DE" (did you mean "DE"?)`},
		{country, "UK", `"UK" is not a country: expected a code of ISO 3166-1 such as "DE" (did you mean "GB"?)`},
		{country, "EL", `"EL" is not a country: expected a code of ISO 3166-1 such as "DE" (did you mean "GR"?)`},
		{country, "D\xc3", "\"D\\xc3\" is not a country: expected a code of ISO 3166-1 such as \"DE\""},
		{continent, "EU", ""},
		{continent, "", `"" is not a continent: expected AF, AN, AS, EU, NA, OC or SA`},
		{continent, "eu", `"eu" is not a continent: expected AF, AN, AS, EU, NA, OC or SA (did you mean "EU"?)`},
		{subdivision, "GB-ENG", ""},
		{subdivision, "FR-75", ""},
		{subdivision, "AT-9", ""},
		{subdivision, "", `"" is not a subdivision: expected a code of ISO 3166-2 such as "DE-HE"`},
		{subdivision, "DE", `"DE" is not a subdivision: expected a code of ISO 3166-2 such as "DE-HE"`},
		{subdivision, "DE-", `"DE-" is not a subdivision: expected a code of ISO 3166-2 such as "DE-HE"`},
		{subdivision, "DE-he", `"DE-he" is not a subdivision: expected a code of ISO 3166-2 such as "DE-HE"`},
		{subdivision, "DE-HE S", `"DE-HE S" is not a subdivision: expected a code of ISO 3166-2 such as "DE-HE"`},
		{subdivision, "DE-HESS", `"DE-HESS" is not a subdivision: expected a code of ISO 3166-2 such as "DE-HE"`},
		{subdivision, "UK-ENG", `"UK-ENG" is not a subdivision: "UK" is not a country: expected a code of ISO 3166-2 such as "DE-HE" (did you mean "GB"?)`},
	}
	for _, test := range tests {
		got := ""
		if err := test.parse(test.code); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%q: %s, expected %s", test.code, got, test.want)
		}
	}
}

func TestSubdivision(t *testing.T) {
	seen := map[Subdivision]string{0: ""}
	for _, code := range []string{"DE-HE", "DE-H", "DE-HES", "GB-ENG", "FR-75", "FR-7", "FR-75C", "AT-9", "ZW-ZZZ", "AD-0", "AD-00", "AD-000", "AD-999"} {
		s, err := ParseSubdivision(code)
		if err != nil || s.String() != code || s.Country().String() != code[:2] {
			t.Errorf("%s is %v of %v, %v", code, s, s.Country(), err)
		}
		if other, ok := seen[s]; ok {
			t.Errorf("%s and %q are one", code, other)
		}
		seen[s] = code
	}
	if s := Subdivision(0); s.String() != "" || s.Country() != 0 {
		t.Errorf("none is %v of %v", s, s.Country())
	}
}

func TestPoint(t *testing.T) {
	tests := []struct{ lat1, lon1, lat2, lon2, km float64 }{ // by the haversine formula, of 6371 km
		{0, 0, 0, 0, 0},
		{0, 0, 0, 1, 111.19493},
		{50.1109, 8.6821, 50.1109, 8.6822, 0.00713},
		{50.1109, 8.6821, 52.52, 13.405, 423.52802},
		{0, 179.5, 0, -179.5, 111.19493},
		{90, 0, -90, 0, 20015.08680},
		{90, 77, 90, -12, 0},
		{0, 0, 0, 180, 20015.08680},
		{34.05, -118.24, -33.87, 151.21, 12073.69563},
	}
	for _, test := range tests {
		p, q := PointAt(test.lat1, test.lon1), PointAt(test.lat2, test.lon2)
		if km := p.Km(q); math.Abs(km-test.km) > 0.00001 || km != q.Km(p) {
			t.Errorf("%v: %v km, expected %v", test, km, test.km)
		}
		if !p.IsValid() || !q.IsValid() {
			t.Errorf("%v is not valid", test)
		}
		lat, lon := q.LatLon()
		if math.Abs(lat-test.lat2) > 1e-9 || math.Abs(lat) != 90 && math.Abs(lon-test.lon2) > 1e-9 {
			t.Errorf("%v is at %v, %v", test, lat, lon)
		}
	}
	if (Point{}).IsValid() {
		t.Error("no place is one")
	}
}

func TestFold(t *testing.T) {
	tests := []struct {
		addr, want string
		offset     uint8
	}{
		{"192.0.2.1", "192.0.2.1", 0},
		{"::ffff:192.0.2.1", "192.0.2.1", 96},
		{"2002:c000:201::1", "192.0.2.1", 16},
		{"2002::", "0.0.0.0", 16},
		{"2001:0:cb00:7101:8000:63bf:3fff:fdfe", "192.0.2.1", 96}, // RFC 4380 §4: the last 32 bits inverted
		{"2001::", "255.255.255.255", 96},
		{"64:ff9b::192.0.2.1", "192.0.2.1", 96},
		{"64:ff9b:1::192.0.2.1", "64:ff9b:1::c000:201", 0}, // RFC 8215: for use within networks, of any format
		{"64:ff9b::1:192.0.2.1", "64:ff9b::1:c000:201", 0},
		{"::192.0.2.1", "::192.0.2.1", 0}, // deprecated, RFC 4291 §2.5.5.1
		{"::fffe:192.0.2.1", "::fffe:c000:201", 0},
		{"2001:1::1", "2001:1::1", 0},
		{"2001:db8::1", "2001:db8::1", 0},
		{"2003::1", "2003::1", 0},
		{"::", "::", 0},
	}
	for _, test := range tests {
		got, offset := Fold(netip.MustParseAddr(test.addr))
		if got != netip.MustParseAddr(test.want) || offset != test.offset {
			t.Errorf("%s: %v, offset %d, expected %s, %d", test.addr, got, offset, test.want, test.offset)
		}
	}
	if a, offset := Fold(netip.Addr{}); a.IsValid() || offset != 0 {
		t.Errorf("no address: %v, %d", a, offset)
	}
}

func BenchmarkKm(b *testing.B) {
	p, q, sum := PointAt(50, 8), PointAt(-33, 151), 0.0
	for b.Loop() {
		sum += p.Km(q)
	}
}

func BenchmarkFold(b *testing.B) {
	a := netip.MustParseAddr("2001:0:cb00:7101:8000:63bf:3fff:fdfe")
	for b.Loop() {
		Fold(a)
	}
}
