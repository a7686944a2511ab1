package mmdb

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/oschwald/maxminddb-golang/v2/mmdbdata"

	"meridian/policy/geo"
)

// fields are those of a record in a file that count. Layouts differ in where they stand:
//
//	GeoIP2, GeoLite2, DB-IP  {"continent":{"code":"EU"},"country":{"iso_code":"DE"},"registered_country":{"iso_code":"DE"},
//	                          "subdivisions":[{"iso_code":"HE"}],"location":{"latitude":50.1,"longitude":8.7}}
//	the same, ASN            {"autonomous_system_number":64500}, in ISP and Enterprise files also below "traits"
//	flat                     {"country_code":"DE","latitude":50.1,"longitude":8.7,"state1":"Hesse"}
//	ipinfo                   {"continent":"EU","country":"DE","asn":"AS64500"}, or "continent_code" and "country_code" beside names
//
// state1 is a name in some language, from which no code follows. Fields of another type than these do not count,
// since the same name is something else elsewhere; so it is with codes that are in no table.
type fields struct {
	asn         uint32
	country     string
	registered  string
	continent   geo.Continent
	subdivision string
	lat, lon    coordinate
}

// coordinate is a latitude or longitude in degrees, if known.
type coordinate struct {
	degrees float64
	known   bool
}

// maxFields is far more than any map in any layout has.
const maxFields = 1000

// UnmarshalMaxMindDBCursor reads a record.
func (f *fields) UnmarshalMaxMindDBCursor(c mmdbdata.Cursor) (mmdbdata.Cursor, error) {
	return each(c, f.top)
}

// top reads a field that stands at the top.
func (f *fields) top(name string, c mmdbdata.Cursor) (next mmdbdata.Cursor, err error) {
	switch name {
	case "country":
		next, err = code(c, "iso_code", &f.country)
	case "country_code":
		next, err = text(c, &f.country)
	case "registered_country":
		next, err = code(c, "iso_code", &f.registered)
	case "continent", "continent_code":
		var known string
		if next, err = code(c, "code", &known); f.continent == 0 {
			f.continent = geo.ContinentOf(known)
		}
	case "subdivisions":
		next, err = first(c, func(c mmdbdata.Cursor) (mmdbdata.Cursor, error) { return code(c, "iso_code", &f.subdivision) })
	case "location":
		next, err = each(c, f.location)
	case "traits":
		next, err = each(c, f.network)
	case "latitude", "longitude":
		next, err = f.location(name, c)
	default:
		next, err = f.network(name, c)
	}
	return next, err
}

func (f *fields) location(name string, c mmdbdata.Cursor) (next mmdbdata.Cursor, err error) {
	switch name {
	case "latitude":
		return number(c, &f.lat)
	case "longitude":
		return number(c, &f.lon)
	}
	return c.Skip()
}

func (f *fields) network(name string, c mmdbdata.Cursor) (next mmdbdata.Cursor, err error) {
	switch name {
	case "autonomous_system_number", "asn":
		return asn(c, &f.asn)
	}
	return c.Skip()
}

// record is what the fields mean.
func (f *fields) record() geo.Record {
	code := f.country
	if code == "" {
		code = f.registered // a network that is in no one country, or that nobody can place
	}
	r := geo.Record{ASN: f.asn, Country: geo.CountryOf(code), Continent: f.continent}
	r.Subdivision = geo.SubdivisionOf(r.Country, f.subdivision)
	if r.Continent == 0 {
		r.Continent = r.Country.Continent()
	}
	if r.Continent == 0 {
		switch code {
		case "EU": // somewhere in Europe
			r.Continent = geo.ContinentOf("EU")
		case "AP": // somewhere in the region of APNIC
			r.Continent = geo.ContinentOf("AS")
		}
	}
	// 0°N 0°E is open sea: it stands for a place that is not known.
	if f.lat.within(90) && f.lon.within(180) && (f.lat.degrees != 0 || f.lon.degrees != 0) {
		r.Place = geo.PointAt(f.lat.degrees, f.lon.degrees)
	}
	return r
}

func (c coordinate) within(most float64) bool {
	return c.known && c.degrees >= -most && c.degrees <= most // NaN is not
}

// each reads the fields of a map, and passes over anything else.
func each(c mmdbdata.Cursor, read func(name string, c mmdbdata.Cursor) (mmdbdata.Cursor, error)) (mmdbdata.Cursor, error) {
	if kind, err := c.Kind(); err != nil || kind != mmdbdata.KindMap {
		return skip(c, err)
	}
	m, err := c.Map()
	if err != nil {
		return c, err
	}
	if m.Size() > maxFields {
		return c, fmt.Errorf("a map of %d fields", m.Size())
	}
	name, value, more := m.Next(mmdbdata.Cursor{})
	for more {
		next, err := read(string(name), value)
		if err != nil {
			return c, err
		}
		name, value, more = m.Next(next)
	}
	return m.End()
}

// code reads a code, which stands alone or in a map below a name. It never puts nothing in the place of one.
func code(c mmdbdata.Cursor, below string, value *string) (mmdbdata.Cursor, error) {
	if kind, err := c.Kind(); err != nil || kind != mmdbdata.KindMap {
		var alone string
		next, err := text(c, &alone)
		if *value == "" && len(alone) == 2 { // it may be a name
			*value = alone
		}
		return next, err
	}
	return each(c, func(name string, c mmdbdata.Cursor) (mmdbdata.Cursor, error) {
		if name == below {
			return text(c, value)
		}
		return c.Skip()
	})
}

// first reads the first of a list, and passes over anything else.
func first(c mmdbdata.Cursor, read func(mmdbdata.Cursor) (mmdbdata.Cursor, error)) (mmdbdata.Cursor, error) {
	if kind, err := c.Kind(); err != nil || kind != mmdbdata.KindSlice {
		return skip(c, err)
	}
	list, err := c.Slice()
	if err != nil {
		return c, err
	}
	i, one, more := list.Next(mmdbdata.Cursor{})
	for more {
		reader := mmdbdata.Cursor.Skip
		if i == 0 {
			reader = read
		}
		next, err := reader(one)
		if err != nil {
			return c, err
		}
		i, one, more = list.Next(next)
	}
	return list.End()
}

func text(c mmdbdata.Cursor, value *string) (next mmdbdata.Cursor, err error) {
	if kind, err := c.Kind(); err != nil || kind != mmdbdata.KindString {
		return skip(c, err)
	}
	*value, next, err = c.ReadString()
	return next, err
}

// number reads a number, or a text that is one.
func number(c mmdbdata.Cursor, value *coordinate) (next mmdbdata.Cursor, err error) {
	kind, err := c.Kind()
	if err != nil {
		return c, err
	}
	switch kind {
	case mmdbdata.KindFloat32, mmdbdata.KindFloat64:
		value.degrees, next, err = c.ReadFloat()
		value.known = err == nil
	case mmdbdata.KindString:
		var digits string
		digits, next, err = c.ReadString()
		degrees, bad := strconv.ParseFloat(digits, 64)
		*value = coordinate{degrees, bad == nil}
	default:
		next, err = c.Skip()
	}
	return next, err
}

// asn reads the number of an autonomous system, as a number or as a text such as "AS64500".
func asn(c mmdbdata.Cursor, value *uint32) (next mmdbdata.Cursor, err error) {
	kind, err := c.Kind()
	if err != nil {
		return c, err
	}
	var number uint64
	switch kind {
	case mmdbdata.KindUint16, mmdbdata.KindUint32, mmdbdata.KindUint64:
		number, next, err = c.ReadUint()
	case mmdbdata.KindString:
		var digits string
		digits, next, err = c.ReadString()
		number, _ = strconv.ParseUint(strings.TrimPrefix(digits, "AS"), 10, 32)
	default:
		next, err = c.Skip()
	}
	if number <= 1<<32-1 {
		*value = uint32(number)
	}
	return next, err
}

// skip passes over a value, unless something was wrong with it already.
func skip(c mmdbdata.Cursor, err error) (mmdbdata.Cursor, error) {
	if err != nil {
		return c, err
	}
	return c.Skip()
}
