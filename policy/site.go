package policy

import (
	"regexp"
	"slices"
	"strings"

	"meridian/policy/geo"
	"meridian/spec"
)

// Site is a place where members and checkers stand: the value of site/<site>.
type Site struct {
	Country     string   `json:"country,omitzero"`     // the country, by ISO 3166-1; default none; such as "DE"
	Subdivision string   `json:"subdivision,omitzero"` // the part of it, by ISO 3166-2; default none; such as "DE-HE", of the country
	Continent   string   `json:"continent,omitzero"`   // the continent; default none; AF, AN, AS, EU, NA, OC or SA
	Lat         *float64 `json:"lat,omitzero"`         // degrees north; default the middle of the country; -90 to 90, with lon
	Lon         *float64 `json:"lon,omitzero"`         // degrees east; default the middle of the country; -180 to 180, with lat
}

var (
	countryForm     = regexp.MustCompile(`^[A-Z]{2}$`)
	subdivisionForm = regexp.MustCompile(`^[A-Z]{2}-[A-Z0-9]{1,3}$`)
	continents      = []string{"AF", "AN", "AS", "EU", "NA", "OC", "SA"}
)

// Validate says what is wrong with s, as a *spec.Error.
func (s *Site) Validate() error {
	switch {
	case s.Country != "" && !countryForm.MatchString(s.Country):
		return spec.Errorf("country", `%q is not a country, expected two capitals such as "DE"`, s.Country)
	case s.Subdivision != "" && !subdivisionForm.MatchString(s.Subdivision):
		return spec.Errorf("subdivision", `%q is not a subdivision, expected a code such as "DE-HE"`, s.Subdivision)
	case s.Subdivision != "" && s.Country != "" && !strings.HasPrefix(s.Subdivision, s.Country):
		return spec.Errorf("subdivision", "%q does not lie in country %q", s.Subdivision, s.Country)
	case s.Continent != "" && !slices.Contains(continents, s.Continent):
		return spec.Errorf("continent", "%q is not a continent, expected one of %s", s.Continent, strings.Join(continents, ", "))
	case (s.Lat == nil) != (s.Lon == nil):
		return spec.Errorf("", `"lat" and "lon" go together`)
	case s.Lat != nil && !(*s.Lat >= -90 && *s.Lat <= 90):
		return spec.Errorf("lat", "%v is out of range, expected -90 to 90", *s.Lat)
	case s.Lon != nil && !(*s.Lon >= -180 && *s.Lon <= 180):
		return spec.Errorf("lon", "%v is out of range, expected -180 to 180", *s.Lon)
	}
	return nil
}

// Point is where the site is: in the middle of its country if no more is said, not valid if not even that.
func (s *Site) Point() geo.Point {
	if s.Lat != nil {
		return geo.PointAt(*s.Lat, *s.Lon)
	}
	country, _ := geo.ParseCountry(s.Country)
	middle, _ := country.Middle()
	return middle
}
