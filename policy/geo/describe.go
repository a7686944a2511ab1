package geo

import (
	"fmt"
	"net/netip"
)

// What follows says in words what look-ups find, and around which addresses: for explanations.

// ASNText describes what ASN finds.
func (d *Database) ASNText(a netip.Addr) string {
	if n, _ := d.ASN(a); n != 0 {
		return fmt.Sprintf("asn %d (%s)", n, stretchText(d.asn, a))
	}
	return d.unknown("asn", d.Knows().ASN)
}

// SubdivisionText describes what Subdivision finds.
func (d *Database) SubdivisionText(a netip.Addr) string {
	if s, _ := d.Subdivision(a); s != 0 {
		return fmt.Sprintf("subdivision %s (%s)", s, stretchText(d.subdivision, a))
	}
	return d.unknown("subdivision", d.Knows().Subdivision)
}

// CountryText describes what Country finds.
func (d *Database) CountryText(a netip.Addr) string {
	country, continent, _ := d.Country(a)
	switch {
	case country != 0:
		return fmt.Sprintf("country %s, continent %s (%s)", country, continent, stretchText(d.country, a))
	case continent != 0:
		return fmt.Sprintf("continent %s, its country is not known (%s)", continent, stretchText(d.country, a))
	}
	return d.unknown("country", d.Knows().Country || d.Knows().Continent)
}

// LocationText describes what Location finds.
func (d *Database) LocationText(a netip.Addr) string {
	p, isExact, _ := d.Location(a)
	if !p.IsValid() {
		return d.unknown("place", d.Knows().Country || d.Knows().Location)
	}
	lat, lon := p.LatLon()
	how := "exact"
	if !isExact {
		country, _, _ := d.Country(a)
		how = "the middle of " + country.String()
	}
	return fmt.Sprintf("at %.2f, %.2f, %s (%s)", lat, lon, how, stretchText(d.location, a))
}

func (d *Database) unknown(what string, knows bool) string {
	switch {
	case d == nil:
		return what + " not known: there is no database"
	case !knows:
		return what + " not known: the database has none"
	}
	return what + " not known: the database does not say"
}

// stretchText is the addresses around a of which a table says the same.
func stretchText(t *Table, a netip.Addr) string {
	first, last := t.Range(a)
	return fmt.Sprintf("%s–%s", first, last)
}
