package store

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	"meridian/policy/geo"
)

// place is where the clients of a network are.
type place struct {
	Net         netip.Prefix `json:"net"`
	Country     string       `json:"country"`
	Subdivision string       `json:"subdivision"` // ISO 3166-2: "DE-HE"
	Continent   string       `json:"continent"`
	Lat         float64      `json:"lat"`
	Lon         float64      `json:"lon"`
	ASN         uint32       `json:"asn"`
}

func readPlaces(t *testing.T) map[string]place {
	t.Helper()
	var places map[string]place
	readJSON(t, vendorFiles+"places.json", &places)
	return places
}

// database knows the places, but for those that have no country.
func database(t *testing.T, places map[string]place) *geo.Database {
	t.Helper()
	inOrder := slices.SortedFunc(maps.Values(places), func(p, q place) int { return p.Net.Addr().Compare(q.Net.Addr()) })
	l := geo.NewLayer()
	for _, p := range inOrder {
		if p.Country == "" {
			continue
		}
		country, err := geo.ParseCountry(p.Country)
		if err != nil {
			t.Fatal(err)
		}
		r := geo.Record{ASN: p.ASN, Country: country, Continent: geo.ContinentOf(p.Continent), Place: geo.PointAt(p.Lat, p.Lon)}
		if p.Subdivision != "" {
			if r.Subdivision, err = geo.ParseSubdivision(p.Subdivision); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Add(p.Net, r); err != nil {
			t.Fatal(err)
		}
	}
	return geo.Compile(l)
}

// The database says of every place what places.json does.
func TestPlaces(t *testing.T) {
	places := readPlaces(t)
	d := database(t, places)
	for name, p := range places {
		country, continent, _ := d.Country(p.Net.Addr())
		subdivision, _ := d.Subdivision(p.Net.Addr())
		asn, _ := d.ASN(p.Net.Addr())
		point, exact, length := d.Location(p.Net.Addr())
		if country.String() != p.Country || continent.String() != p.Continent || subdivision.String() != p.Subdivision || asn != p.ASN {
			t.Errorf("%s is in %v, %v, %v, AS %d", name, country, continent, subdivision, asn)
		}
		known := p.Country != ""
		if exact != known || known && (point.Km(geo.PointAt(p.Lat, p.Lon)) > 1 || int(length) > p.Net.Bits()) {
			t.Errorf("%s is at %v, exact %v, in /%d", name, point, exact, length)
		}
	}
}
