package mmdb

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oschwald/maxminddb-golang/v2"

	"meridian/policy/geo"
)

// TestLayouts: what each layout says is found, and what it does not say is not known.
func TestLayouts(t *testing.T) {
	tests := []struct{ files, addr, want string }{
		{"city", "192.0.2.1", "DE EU /24, DE-HE /25, 50.1109,8.6821,true /25"},
		{"city", "192.0.2.200", "DE EU /24, DE-BE /25, 52.5200,13.4050,true /25"},
		{"city", "203.0.113.1", "JP AS /27,  /26, 36.0000,138.0000,false /27"},
		{"city", "203.0.113.33", " EU /27,  /26,  /27"},
		{"city", "203.0.113.65", "FR EU /27,  /27, 46.0000,2.0000,false /27"}, // a latitude of 91
		{"city", "203.0.113.97", "GB EU /27, GB-ENG /27, 54.0000,-2.0000,false /27"},
		{"city", "203.0.113.129", "  /27,  /25,  /25"}, // T1 is no country
		{"city", "203.0.113.161", " EU /27,  /25,  /25"},
		{"city", "203.0.113.193", " AS /27,  /25,  /25"},
		{"city", "203.0.113.225", "  /27,  /25,  /25"},
		{"city", "2001:db8:8000::1", "BR SA /64, BR-SP /64, -23.5500,-46.6300,true /64"},
		{"city", "ffff:ffff::1", "AQ AN /32,  /1, -90.0000,0.0000,false /32"}, // LONG is no code of a subdivision
		{"country", "192.0.2.1", "AT EU /24,  /0, 47.3300,13.3300,false /24"},
		{"country", "255.1.2.3", "  /3,  /0,  /3"}, // ZZ is no country
		{"flat-ipv4", "192.0.2.1", "DE EU /24,  /0, 50.1109,8.6821,true /24"},
		{"flat-ipv4", "203.0.113.1", "JP AS /25,  /0, 36.0000,138.0000,false /25"},
		{"flat-ipv4", "203.0.113.200", "  /25,  /0,  /25"},
		{"flat-ipv4", "2001:db8::1", "  /0,  /0,  /0"},
		{"flat-ipv6", "2001:db8::1", "DE EU /34,  /0, 50.1109,8.6821,true /34"},
		{"flat-ipv6", "2001:db8:4000::1", "US NA /34,  /0, 39.8000,-98.6000,false /34"},
		{"flat-ipv6", "2001:db8:8000::1", "  /33,  /0,  /33"},
		{"flat-ipv4 flat-ipv6", "192.0.2.1", "DE EU /24,  /0, 50.1109,8.6821,true /24"},
		{"flat-ipv4 flat-ipv6", "2001:db8::1", "DE EU /34,  /0, 50.1109,8.6821,true /34"},
		{"ipinfo", "192.0.2.1", "DE EU /24,  /0, 51.0000,10.0000,false /24"},
		{"ipinfo", "203.0.113.1", "  /5,  /0,  /5"},
		{"country city", "192.0.2.1", "AT EU /24,  /6, 50.1109,8.6821,true /25"}, // DE-HE is no part of AT
		{"country city", "198.51.100.200", "CA NA /25,  /25, 34.0500,-118.2400,true /24"},
		{"country city", "198.51.100.1", "US NA /25, US-CA /25, 34.0500,-118.2400,true /24"},
		{"city country", "203.0.113.33", "SG EU /27,  /26, 1.3700,103.8000,false /27"},
		{"city country", "203.0.113.225", "SG AS /26,  /25, 1.3700,103.8000,false /25"},
	}
	for _, test := range tests {
		d := open(t, strings.Fields(test.files)...)
		s, n := says(d, netip.MustParseAddr(test.addr))
		got := fmt.Sprintf("%s /%d, %s /%d, %s /%d", s.country, n[1], s.subdivision, n[2], s.location, n[3])
		if got != test.want {
			t.Errorf("%s of %s: %q, expected %q", test.addr, test.files, got, test.want)
		}
	}
}

func TestASN(t *testing.T) {
	tests := []struct {
		file, addr string
		asn        uint32
		length     uint8
	}{
		{"asn", "192.0.2.1", 64500, 25}, // two records, one number
		{"asn", "192.0.2.65", 64500, 25},
		{"asn", "198.51.100.1", 4200000001, 24},
		{"asn", "203.0.113.1", 0, 5},
		{"asn", "2001:db8::1", 64500, 32},
		{"ipinfo", "192.0.2.1", 64500, 24},
		{"ipinfo", "198.51.100.1", 64510, 24},
		{"ipinfo", "203.0.113.1", 0, 5},
		{"ipinfo", "2001:db8::1", 0, 0}, // "AS64500x"
		{"city", "192.0.2.1", 0, 0},
	}
	for _, test := range tests {
		asn, length := open(t, test.file).ASN(netip.MustParseAddr(test.addr))
		if asn != test.asn || length != test.length {
			t.Errorf("%s of %s: %d, length %d, expected %d, %d", test.addr, test.file, asn, length, test.asn, test.length)
		}
	}
}

func TestFiles(t *testing.T) {
	d := open(t, "city", "asn")
	built := time.Unix(1_780_000_000, 0).UTC()
	want := []geo.File{
		{Path: "../../../testdata/geo/city.mmdb", Type: "GeoLite2-City", Built: built, Knows: geo.Knows{Country: true, Continent: true, Subdivision: true, Location: true}},
		{Path: "../../../testdata/geo/asn.mmdb", Type: "GeoLite2-ASN", Built: built, Knows: geo.Knows{ASN: true}},
	}
	for i, f := range d.Files() {
		if s, err := os.Stat(f.Path); err != nil || int64(f.Size) != s.Size() || f.Networks < 6 {
			t.Errorf("%+v, of a file of %d bytes", f, s.Size())
		}
		f.Size, f.Networks = 0, 0
		if f != want[i] {
			t.Errorf("%+v, expected %+v", f, want[i])
		}
	}
	if k := d.Knows(); k != (geo.Knows{ASN: true, Country: true, Continent: true, Subdivision: true, Location: true}) {
		t.Errorf("%+v", k)
	}
	if k := open(t, "flat-ipv4").Knows(); k != (geo.Knows{Country: true, Continent: true, Location: true}) {
		t.Errorf("%+v", k)
	}
}

// TestIPv4AtTheRoot: what a file says of a network around ::/96 it says of IPv4.
func TestIPv4AtTheRoot(t *testing.T) {
	l := geo.NewLayer()
	if err := add(l, netip.MustParsePrefix("::/64"), geo.Record{Country: geo.CountryOf("DE")}); err != nil {
		t.Fatal(err)
	}
	d := geo.Compile(l)
	for _, addr := range []string{"0.0.0.0", "192.0.2.1", "255.255.255.255", "::1"} {
		if c, _, _ := d.Country(netip.MustParseAddr(addr)); c.String() != "DE" {
			t.Errorf("%s: %v, expected DE", addr, c)
		}
	}
}

func TestOpenFaults(t *testing.T) {
	city, err := os.ReadFile(filepath.Join(fixtures, "city.mmdb"))
	if err != nil {
		t.Fatal(err)
	}
	unknown := parseSource(t, `{"type":"Anonymous","networks":{"192.0.2.0/24":{"is_anonymous":true},"10.0.0.0/8":{"country_code":"ZZ"}}}`)
	tests := map[string]struct{ path, want string }{
		"missing":         {filepath.Join(t.TempDir(), "none.mmdb"), "no such file or directory, expected an MMDB file"},
		"a directory":     {t.TempDir(), "it is a directory, expected an MMDB file"},
		"a device":        {"/dev/zero", "it is no regular file, expected an MMDB file"},
		"empty":           {write(t, "empty.mmdb", nil), "it is empty, expected an MMDB file"},
		"text":            {write(t, "text.mmdb", []byte("country_code,DE\n")), "error opening database: invalid MaxMind DB file, expected an MMDB file"},
		"the first half":  {write(t, "half.mmdb", city[:len(city)/2]), "error opening database: invalid MaxMind DB file, expected an MMDB file"},
		"no known field":  {write(t, "unknown.mmdb", unknown.mmdb(t)), `none of its 2 networks (type "Anonymous") has a field that says where it is: expected country, country_code, continent, subdivisions, location, latitude and longitude, or autonomous_system_number`},
		"no build time":   {write(t, "time.mmdb", builtAt(t, city, 1<<48)), "its build time is 281474976710656 s after 1970, expected an MMDB file that is whole"},
		"the second half": {write(t, "tail.mmdb", city[len(city)/2:]), ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Open(append(paths("asn"), test.path)...)
			if err == nil {
				t.Fatal("no error")
			}
			if got := err.Error(); !strings.HasPrefix(got, test.path+": ") || test.want != "" && got != test.path+": "+test.want {
				t.Errorf("%q, expected %q", got, test.path+": "+test.want)
			}
		})
	}
}

// builtAt is a file with another time of build, in seconds after 1970.
func builtAt(t *testing.T, file []byte, seconds uint64) []byte {
	t.Helper()
	at := bytes.Index(file, []byte("build_epoch"))
	if at < 0 {
		t.Fatal("no build_epoch")
	}
	at += len("build_epoch")
	size := int(file[at]) // of an extended type, of which the next byte says which
	changed := append(bytes.Clone(file[:at]), 8, file[at+1])
	changed = binary.BigEndian.AppendUint64(changed, seconds)
	return append(changed, file[at+2+size:]...)
}

// TestFlips: with any one byte another, a file is compiled or refused, and the walk ends.
func TestFlips(t *testing.T) {
	file, err := os.ReadFile(filepath.Join(fixtures, "flat-ipv6.mmdb"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range file {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			bad := bytes.Clone(file)
			bad[i] ^= flip
			openBytes(bad)
		}
	}
}

// TestSharedNodes: a tree whose nodes are few and whose leaves are 2^30 is refused before a walk to its end.
func TestSharedNodes(t *testing.T) {
	file, err := os.ReadFile(filepath.Join(fixtures, "flat-ipv4.mmdb"))
	if err != nil {
		t.Fatal(err)
	}
	const nodes = 30
	for i := range nodes { // of two records of 24 bits each
		next := byte(i + 1)
		copy(file[6*i:], []byte{0, 0, next, 0, 0, next})
	}
	r, err := maxminddb.OpenBytes(file)
	if err != nil {
		t.Fatal(err)
	}
	count := byte(r.Metadata.NodeCount)
	copy(file[6*(nodes-1):], []byte{0, 0, count, 0, 0, count}) // that is no network
	path := write(t, "shared.mmdb", file)
	want := fmt.Sprintf("%s: its tree has more than %d leaves and %d nodes, expected an MMDB file that is whole", path, 16*(int(count)+1), count)
	if _, err := Open(path); err == nil || err.Error() != want {
		t.Errorf("%v, expected %s", err, want)
	}
}

// openBytes compiles a file from memory and walks through it.
func openBytes(bytes []byte) {
	l, err := decode(bytes)
	if err != nil {
		return
	}
	d := geo.Compile(l)
	for first := range d.Networks() {
		says(d, first)
	}
}

func FuzzOpen(f *testing.F) {
	for _, path := range paths("city", "country", "asn", "flat-ipv4", "flat-ipv6", "ipinfo") {
		file, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(file, uint16(0), byte(0))
		f.Add(file, uint16(7), byte(0x40))
	}
	f.Fuzz(func(t *testing.T, file []byte, at uint16, flip byte) {
		if len(file) > 0 {
			file = bytes.Clone(file)
			file[int(at)%len(file)] ^= flip
		}
		openBytes(file)
	})
}
