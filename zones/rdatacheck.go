package zones

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// What follows finds what miekg/dns lets pass, and clients or BIND would not: a zone that we serve
// must be one that others can take over.

// sizes are how many words the RDATA of a type has, for types of which miekg/dns takes fewer or
// more, and serves something else than is written.
var sizes = map[uint16]struct{ min, max int }{
	dns.TypeSOA:   {7, 7},
	dns.TypeHINFO: {2, 2},
	dns.TypeISDN:  {2, 2}, // the second may be missing (RFC 1183 §3.2), but would be served as ""
	dns.TypeLOC:   {5, 12},
}

var (
	fourGroups = regexp.MustCompile(`^[0-9a-fA-F]{1,4}(:[0-9a-fA-F]{1,4}){3}$`)
	locNumber  = regexp.MustCompile(`^-?[0-9.]+[mM]?$`)
)

// checkWords finds what does not show in the record that was made of the words.
func checkWords(typ uint16, words []string) error {
	if size, ok := sizes[typ]; ok && (len(words) < size.min || len(words) > size.max) {
		if size.min == size.max {
			return fmt.Errorf("expected %d words, found %d", size.min, len(words))
		}
		return fmt.Errorf("expected %d to %d words, found %d", size.min, size.max, len(words))
	}
	switch typ {
	case dns.TypeNID, dns.TypeL64:
		if !fourGroups.MatchString(words[1]) {
			return fmt.Errorf("%.30q is not four groups of hexadecimal digits", words[1])
		}
	case dns.TypeLOC:
		return checkLOC(fullAngles(words))
	}
	return nil
}

// checkLOC: numbers are written in digits, and an altitude has its range (RFC 1876 §2, §3). words
// are as fullAngles makes them.
func checkLOC(words []string) error {
	const letterNS, letterEW, altitude = 3, 7, 8
	for i, word := range words {
		if i != letterNS && i != letterEW && !locNumber.MatchString(word) {
			return fmt.Errorf("%.30q is not a number", word)
		}
	}
	const lowest, highest = -100000, 42849672.95 // metres
	if m, err := strconv.ParseFloat(strings.TrimRight(words[altitude], "mM"), 64); err != nil || m < lowest || m > highest {
		return fmt.Errorf("altitude %.30s is out of range, expected %d to %.2f metres", words[altitude], int(lowest), highest)
	}
	return nil
}

// checkFields finds what is wrong in a record, however it was written.
func checkFields(rr dns.RR) error {
	if field := absentField(reflect.ValueOf(rr).Elem()); field != "" {
		return fmt.Errorf("%s %s is missing", dns.Type(rr.Header().Rrtype), field)
	}
	switch rr := rr.(type) {
	case *dns.DS:
		return checkDigest(digests, rr.DigestType, rr.Digest)
	case *dns.DLV:
		return checkDigest(digests, rr.DigestType, rr.Digest)
	case *dns.SSHFP:
		return checkDigest(fingerprints, rr.Type, rr.FingerPrint)
	case *dns.CAA:
		if !caaTag.MatchString(rr.Tag) {
			return fmt.Errorf("%.30q is not a tag, expected letters and digits", rr.Tag)
		}
	case *dns.X25:
		if !x25Address.MatchString(rr.PSDNAddress) {
			return fmt.Errorf("%.30q is not an address of X.25, expected four digits or more", rr.PSDNAddress)
		}
	case *dns.LOC:
		const equator, degree = 1 << 31, 3600_000
		if max(rr.Latitude, equator)-min(rr.Latitude, equator) > 90*degree || max(rr.Longitude, equator)-min(rr.Longitude, equator) > 180*degree {
			return errors.New("it lies beyond the poles, or beyond 180 degrees")
		}
	case *dns.IPSECKEY:
		return checkGateway(rr.GatewayType, len(rr.GatewayAddr), rr.GatewayHost)
	case *dns.AMTRELAY:
		return checkGateway(rr.GatewayType&^discovery, len(rr.GatewayAddr), rr.GatewayHost)
	case *dns.SVCB:
		return checkSVCB(rr)
	case *dns.HTTPS:
		return checkSVCB(&rr.SVCB)
	}
	return nil
}

// absentField is the first field of a record that RDATA cut short has not got, though it cannot be
// empty; "" if all are there. The name of the root is ".".
func absentField(fields reflect.Value) string {
	if fields.Type() == reflect.TypeFor[dns.RFC3597]() {
		return ""
	}
	for i := range fields.NumField() {
		f, v := fields.Type().Field(i), fields.Field(i)
		if f.Anonymous { // HTTPS is a SVCB
			return absentField(v)
		}
		if v.Kind() != reflect.String || v.Len() > 0 {
			continue
		}
		switch f.Tag.Get("dns") {
		case "domain-name", "cdomain-name", "hex", "base64":
			return f.Name
		}
	}
	return ""
}

// Digits of a digest, by its type.
var (
	digests      = map[uint8]int{dns.SHA1: 40, dns.SHA256: 64, dns.SHA384: 96} // RFC 4034 §5.1.4, 4509, 6605
	fingerprints = map[uint8]int{1: 40, 2: 64}                                 // RFC 4255 §3.1.2, 6594 §4
)

func checkDigest(digits map[uint8]int, typ uint8, digest string) error {
	if n := digits[typ]; n > 0 && len(digest) != n {
		return fmt.Errorf("a digest of type %d has %d digits, found %d", typ, n, len(digest))
	}
	return nil
}

var (
	caaTag     = regexp.MustCompile(`^[0-9a-zA-Z]+$`) // RFC 8659 §4.1
	x25Address = regexp.MustCompile(`^[0-9]{4,}$`)    // RFC 1183 §3.1
)

func checkGateway(typ uint8, addr int, host string) error {
	switch {
	case typ > dns.IPSECGatewayHost:
		return fmt.Errorf("type %d of a gateway is not known, expected 0 to 3", typ)
	case typ == dns.IPSECGatewayHost && host == "", (typ == dns.IPSECGatewayIPv4 || typ == dns.IPSECGatewayIPv6) && addr == 0:
		return errors.New("the gateway is missing")
	}
	return nil
}

// checkSVCB finds what makes clients pass over the record (RFC 9460 §7.1.1, §8).
func checkSVCB(rr *dns.SVCB) error {
	has := map[dns.SVCBKey]bool{}
	for _, kv := range rr.Value {
		has[kv.Key()] = true
	}
	for _, kv := range rr.Value {
		switch kv := kv.(type) {
		case *dns.SVCBMandatory:
			for _, key := range kv.Code {
				if key == dns.SVCB_MANDATORY || !has[key] {
					return fmt.Errorf("%s is mandatory, but not there", cmp.Or(key.String(), "what is no key"))
				}
			}
		case *dns.SVCBAlpn:
			if len(kv.Alpn) == 0 || slices.Contains(kv.Alpn, "") {
				return errors.New("alpn: expected at least one protocol")
			}
		case *dns.SVCBNoDefaultAlpn:
			if !has[dns.SVCB_ALPN] {
				return errors.New("no-default-alpn stands beside an alpn")
			}
		}
	}
	return nil
}
