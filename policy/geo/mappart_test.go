package geo

import (
	"errors"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"meridian/spec"
)

// part reads "10.0.0.0/8=office 192.0.2.0/24=lab AS64500=us DE=eu *=rest".
func part(text string) Part {
	var p Part
	for one := range strings.FieldsSeq(text) {
		key, tag, _ := strings.Cut(one, "=")
		if digits, isASN := strings.CutPrefix(key, "AS"); isASN && digits != "" {
			n, err := strconv.ParseUint(digits, 10, 32)
			if err != nil {
				panic(err)
			}
			put(&p.ASN, uint32(n), tag)
		} else if key == "*" {
			p.Default = tag
		} else if strings.Contains(key, "/") {
			put(&p.Net, netip.MustParsePrefix(key), tag)
		} else {
			put(&p.Country, key, tag)
		}
	}
	return p
}

func put[K comparable](m *map[K]string, key K, tag string) {
	if *m == nil {
		*m = map[K]string{}
	}
	(*m)[key] = tag
}

const noTag = "is not a tag: expected 1 to 63 small letters, digits, dots, hyphens and underscores, a letter or digit at both ends"

func TestPartFaults(t *testing.T) {
	tests := []struct {
		part Part
		want string // "" for none
	}{
		{part("10.0.0.0/8=office"), ""},
		{part("*=us"), ""},
		{part("0.0.0.0/0=a ::/0=b 192.0.2.1/32=c-1_x.y *=a"), ""},
		{part("AS64500=us"), ""},
		{part("AS1=a AS4294967295=b"), ""},
		{part("DE=eu AS=oceania"), ""},
		{part("10.0.0.0/8=office AS64500=us DE=eu *=us"), ""},
		{Part{}, `it says nothing, expected "net", "asn", "country" or "default"`},
		{Part{Net: map[netip.Prefix]string{}}, `net: expected at least one network, such as {"10.0.0.0/8":"office"}`},
		{Part{Net: map[netip.Prefix]string{{}: "office"}}, `net: expected a network such as "10.0.0.0/8"`},
		{part("10.1.2.3/8=office"), "net.10.1.2.3/8: bits are set beyond the prefix, expected 10.0.0.0/8"},
		{part("2001:db8::1/32=office"), "net.2001:db8::1/32: bits are set beyond the prefix, expected 2001:db8::/32"},
		{part("::ffff:10.1.0.0/112=office"), "net.::ffff:10.1.0.0/112: IPv4 in IPv6 form, expected 10.1.0.0/16"},
		{part("10.0.0.0/8=Office"), `net.10.0.0.0/8: "Office" ` + noTag},
		{part("10.0.0.0/8="), `net.10.0.0.0/8: "" ` + noTag},
		{part("*=" + strings.Repeat("x", 64)), `default: "` + strings.Repeat("x", 64) + `" ` + noTag},
		{part("10.0.0.1/8=a 10.0.0.1/9=B 9.0.0.1/8=c"), "net.9.0.0.1/8: bits are set beyond the prefix, expected 9.0.0.0/8"}, // the first

		{Part{ASN: map[uint32]string{}}, `asn: expected at least one number, such as {"64500":"us"}`},
		{part("AS0=us"), `asn[0]: "0" is not the number of an autonomous system: expected "1" to "4294967295"`},
		{part("AS64500=US"), `asn[64500]: "US" ` + noTag},
		{part("AS9=B AS64500=C AS10=A"), `asn[9]: "B" ` + noTag}, // the first as numbers go

		{Part{Country: map[string]string{}}, `country: expected at least one country, such as {"DE":"eu"}`},
		{part("de=eu"), `country.de: "de" is not a country: expected a code of ISO 3166-1 such as "DE" (did you mean "DE"?)`},
		{part("UK=eu"), `country.UK: "UK" is not a country: expected a code of ISO 3166-1 such as "DE" (did you mean "GB"?)`},
		{Part{Country: map[string]string{"": "eu"}}, `country: "" is not a country: expected a code of ISO 3166-1 such as "DE"`},
		{part("DE="), `country.DE: "" ` + noTag},
		{part("US=A FR=B DE=eu"), `country.FR: "B" ` + noTag},

		{part("10.0.0.0/8=A AS1=A DE=A *=A"), `net.10.0.0.0/8: "A" ` + noTag}, // the first as a map is looked at
		{part("10.0.0.0/8=a AS1=A DE=A *=A"), `asn[1]: "A" ` + noTag},
		{part("10.0.0.0/8=a AS1=a DE=A *=A"), `country.DE: "A" ` + noTag},
		{part("10.0.0.0/8=a AS1=a DE=a *=A"), `default: "A" ` + noTag},
	}
	for _, test := range tests {
		got := ""
		if err := test.part.Validate(); err != nil {
			got = err.Error()
			if e := (*spec.Error)(nil); !errors.As(err, &e) {
				t.Errorf("%q is no *spec.Error", got)
			}
		}
		if got != test.want {
			t.Errorf("%+v: %q, expected %q", test.part, got, test.want)
		}
	}
}

// TestPartRead: what is written is read, or refused at its place.
func TestPartRead(t *testing.T) {
	tests := []struct {
		text string
		want any // the part, or the error with its place
	}{
		{`{"net":{"10.0.0.0/8":"office"},"asn":{"64500":"us"},"country":{"DE":"eu"},"default":"us"}`, part("10.0.0.0/8=office AS64500=us DE=eu *=us")},
		{`{"asn":{"4294967295":"a","0":"b"}}`, part("AS4294967295=a AS0=b")}, // 0 is Validate's to refuse
		{`{}`, Part{}},
		{`{"net":{},"asn":{},"country":{}}`, Part{Net: map[netip.Prefix]string{}, ASN: map[uint32]string{}, Country: map[string]string{}}},
		{`{"asn":{"AS64500":"us"}}`, `/asn/AS64500 "AS64500" is not the number of an autonomous system: expected "1" to "4294967295" (did you mean "64500"?)`},
		{`{"asn":{"as 64500":"us"}}`, `/asn/as 64500 "as 64500" is not the number of an autonomous system: expected "1" to "4294967295" (did you mean "64500"?)`},
		{`{"asn":{"064500":"us"}}`, `/asn/064500 "064500" is not the number of an autonomous system: expected "1" to "4294967295" (did you mean "64500"?)`},
		{`{"asn":{"4294967296":"us"}}`, `/asn/4294967296 "4294967296" is not the number of an autonomous system: expected "1" to "4294967295"`},
		{`{"asn":{"-1":"us"}}`, `/asn/-1 "-1" is not the number of an autonomous system: expected "1" to "4294967295"`},
		{`{"asn":{"":"us"}}`, `/asn/ "" is not the number of an autonomous system: expected "1" to "4294967295"`},
		{`{"asn":{"00":"us"}}`, `/asn/00 "00" is not the number of an autonomous system: expected "1" to "4294967295"`},
		{`{"default":""}`, `/default "" ` + noTag},
		{`{"default":"US"}`, `/default "US" ` + noTag},
	}
	for _, test := range tests {
		var got any
		var p Part
		var at *json.SemanticError
		switch err := json.Unmarshal([]byte(test.text), &p, json.RejectUnknownMembers(true)); {
		case err == nil:
			got = p
		case errors.As(err, &at):
			got = string(at.JSONPointer) + " " + at.Err.Error()
		default:
			got = err.Error()
		}
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %v, expected %v", test.text, got, test.want)
		}
	}
}
