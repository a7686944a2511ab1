package geo

import (
	"fmt"

	"meridian/spec"
)

// Country is a country of ISO 3166-1, as its place in a table that is part of the program: it means nothing
// outside of it. 0 is none.
type Country uint16

// Countries is how many there are, 0 included, so that an array of that length has a place for each.
const Countries = len(countries)

// ParseCountry reads a code of ISO 3166-1 alpha-2 in capitals, such as "DE", or XK, which stands for Kosovo
// until it has one.
func ParseCountry(code string) (Country, error) {
	if c := CountryOf(code); c != 0 {
		return c, nil
	}
	return 0, fmt.Errorf(`%q is not a country: expected a code of ISO 3166-1 such as "DE"%s`, code, suggestCountry(code))
}

// suggestCountry knows two codes of the European Union's that are not those of ISO.
func suggestCountry(code string) string {
	switch code {
	case "UK":
		code = "gb"
	case "EL":
		code = "gr"
	}
	var known []string
	for _, c := range countries[1:] {
		known = append(known, c.code)
	}
	return spec.Suggest(code, known)
}

// byCode has the place of each code, by codePlace.
var byCode = func() (table [26 * 26]Country) {
	for i, c := range countries[1:] {
		table[codePlace(c.code)] = Country(i + 1)
	}
	return table
}()

// codePlace is −1 for what are not two capitals.
func codePlace(code string) int {
	if len(code) != 2 || code[0]-'A' >= 26 || code[1]-'A' >= 26 {
		return -1
	}
	return int(code[0]-'A')*26 + int(code[1]-'A')
}

// CountryOf is the country of a code as ParseCountry reads them, 0 if there is none.
func CountryOf(code string) Country {
	if at := codePlace(code); at >= 0 {
		return byCode[at]
	}
	return 0
}

// String is the code, "" for 0.
func (c Country) String() string { return countries[c].code }

// Continent is the one that GeoIP2 files the country under; 0 has none.
func (c Country) Continent() Continent { return countries[c].continent }

// Middle is roughly the middle of the country, for clients of which no more is known; ok is false for 0.
func (c Country) Middle() (p Point, ok bool) { return middles[c], c != 0 }

var middles = func() (points [Countries]Point) {
	for i, c := range countries[1:] {
		points[i+1] = PointAt(c.lat, c.lon)
	}
	return points
}()

// Continent is one of seven: AF, AN, AS, EU, NA, OC, SA, as GeoIP2 has them. 0 is none.
type Continent uint8

const (
	africa Continent = iota + 1
	antarctica
	asia
	europe
	northAmerica
	oceania
	southAmerica

	// Continents is how many there are, 0 included.
	Continents = iota + 1
)

var continents = [Continents]string{"", "AF", "AN", "AS", "EU", "NA", "OC", "SA"}

// ParseContinent reads the code of a continent in capitals, such as "EU".
func ParseContinent(code string) (Continent, error) {
	if c := ContinentOf(code); c != 0 {
		return c, nil
	}
	return 0, fmt.Errorf("%q is not a continent: expected AF, AN, AS, EU, NA, OC or SA%s", code, spec.Suggest(code, continents[1:]))
}

// ContinentOf is the continent of a code as ParseContinent reads them, 0 if there is none.
func ContinentOf(code string) Continent {
	for c := Continent(1); c < Continents; c++ {
		if continents[c] == code {
			return c
		}
	}
	return 0
}

// String is the code, "" for 0.
func (c Continent) String() string { return continents[c] }
