package store

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"

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
	tree, err := mmdbwriter.New(mmdbwriter.Options{
		DatabaseType: "GeoIP2-Enterprise", IPVersion: 6, RecordSize: 24,
		IncludeReservedNetworks: true, // those for documentation
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range places {
		if p.Country == "" {
			continue
		}
		record := mmdbtype.Map{
			"continent": mmdbtype.Map{"code": mmdbtype.String(p.Continent)},
			"country":   mmdbtype.Map{"iso_code": mmdbtype.String(p.Country)},
			"location":  mmdbtype.Map{"latitude": mmdbtype.Float64(p.Lat), "longitude": mmdbtype.Float64(p.Lon)},
			"traits":    mmdbtype.Map{"autonomous_system_number": mmdbtype.Uint32(p.ASN)},
		}
		if len(p.Subdivision) > 3 {
			record["subdivisions"] = mmdbtype.Slice{mmdbtype.Map{"iso_code": mmdbtype.String(p.Subdivision[3:])}}
		}
		n := net.IPNet{IP: p.Net.Addr().AsSlice(), Mask: net.CIDRMask(p.Net.Bits(), p.Net.Addr().BitLen())}
		if err := tree.Insert(&n, record); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "places.mmdb")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tree.WriteTo(file); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := geo.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return d
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
