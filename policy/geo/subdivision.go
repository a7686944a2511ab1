package geo

import (
	"fmt"
	"strings"
)

// Subdivision is a code of ISO 3166-2 such as DE-HE, packed into a number: six bits a character, the hyphen
// left out. So it means the same in every database, and no table of all of them is needed. 0 is none.
type Subdivision uint32

// alphabet is the characters of a Subdivision by their numbers. 0 is none.
const alphabet = " ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// ParseSubdivision reads the code of a country (as ParseCountry does), a hyphen, and one to three capitals or
// digits. It does not know which of these are in use.
func ParseSubdivision(code string) (Subdivision, error) {
	country, part, ok := strings.Cut(code, "-")
	c := CountryOf(country)
	s := SubdivisionOf(c, part)
	switch {
	case ok && c == 0:
		return 0, fmt.Errorf(`%q is not a subdivision: %q is not a country: expected a code of ISO 3166-2 such as "DE-HE"%s`, code, country, suggestCountry(country))
	case !ok || s == 0:
		return 0, fmt.Errorf(`%q is not a subdivision: expected a code of ISO 3166-2 such as "DE-HE"`, code)
	}
	return s, nil
}

// SubdivisionOf is the part of a country that has a code, 0 if that is not one to three capitals or digits.
func SubdivisionOf(c Country, part string) Subdivision {
	if c == 0 || part == "" || len(part) > 3 {
		return 0
	}
	s := Subdivision(0)
	for _, char := range []byte(c.String() + part) {
		n := strings.IndexByte(alphabet, char)
		if n <= 0 {
			return 0
		}
		s = s<<6 | Subdivision(n)
	}
	return s << (6 * (3 - len(part)))
}

// String is the code, "" for 0.
func (s Subdivision) String() string {
	if s == 0 {
		return ""
	}
	var text []byte
	for shift := 24; shift >= 0; shift -= 6 {
		text = append(text, alphabet[s>>shift&63])
	}
	return s.Country().String() + "-" + strings.TrimRight(string(text[2:]), " ")
}

// Country is the country that s is a part of; 0 is part of none.
func (s Subdivision) Country() Country {
	if s == 0 {
		return 0
	}
	return byCode[int(s>>24&63-1)*26+int(s>>18&63-1)]
}
