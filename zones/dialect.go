package zones

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// dialect rewrites RDATA that is right, and that BIND reads or even writes, into the one form of it
// that miekg/dns reads.
func dialect(typ uint16, tokens []string) []string {
	if tokens[0] == `\#` {
		return tokens
	}
	switch typ {
	case dns.TypeLOC:
		return fullAngles(tokens)
	case dns.TypeX25, dns.TypeGPOS: // strings without quotes
		return each(tokens, func(_ int, token string) string { return Unquoted(token) })
	case dns.TypeNAPTR: // strings with quotes
		return each(tokens, func(i int, token string) string {
			if i < 2 || i > 4 || token[0] == '"' {
				return token
			}
			return `"` + token + `"`
		})
	case dns.TypeNID, dns.TypeL64: // four digits a group (RFC 6742 §2.1.2, §2.3.2)
		return each(tokens, func(i int, token string) string {
			if i != 1 {
				return token
			}
			return fullGroups(token)
		})
	case dns.TypeCSYNC: // types in any order
		if len(tokens) > 2 {
			tokens = slices.Clone(tokens)
			slices.SortStableFunc(tokens[2:], func(a, b string) int { return cmp.Compare(typeNumber(a), typeNumber(b)) })
		}
	case dns.TypeSVCB, dns.TypeHTTPS: // the target without quotes, keys that have a name by that (RFC 9460 §2.1)
		return each(tokens, func(i int, token string) string {
			for number, name := range map[string]string{"key7": "dohpath", "key8": "ohttp"} {
				if rest, ok := strings.CutPrefix(token, number); ok && (rest == "" || rest[0] == '=') {
					return name + rest
				}
			}
			if list, ok := strings.CutPrefix(token, "mandatory="); ok && !strings.Contains(list, `\`) {
				return "mandatory=" + named(list)
			}
			if i == 1 {
				return Unquoted(token)
			}
			return token
		})
	}
	return tokens
}

// named gives the keys of a list, in quotes or not, that have a name that name.
func named(list string) string {
	keys := strings.Split(strings.Trim(list, `"`), ",")
	for i, key := range keys {
		number, err := strconv.ParseUint(strings.TrimPrefix(key, "key"), 10, 16)
		if name := dns.SVCBKey(number).String(); err == nil && name != "" {
			keys[i] = name
		}
	}
	return strings.Join(keys, ",")
}

// typeNumber of a type; of a word that is none it does not matter.
func typeNumber(text string) uint16 {
	text = strings.ToUpper(text)
	if typ, ok := dns.StringToType[text]; ok {
		return typ
	}
	n, _ := strconv.ParseUint(strings.TrimPrefix(text, "TYPE"), 10, 16)
	return uint16(n)
}

func each(tokens []string, rewrite func(i int, token string) string) []string {
	rewritten := make([]string, len(tokens))
	for i, token := range tokens {
		if rewritten[i] = rewrite(i, token); rewritten[i] == "" {
			rewritten[i] = token // "" is a string, but nothing else that has to be there
		}
	}
	return rewritten
}

// fullAngles adds the minutes and seconds that an angle of LOC may leave out (RFC 1876 §3).
func fullAngles(tokens []string) (full []string) {
	begin := 0
	for _, token := range tokens {
		if len(token) == 1 && strings.Contains("NSEWnsew", token) {
			for len(full) < begin+3 {
				full = append(full, "0")
			}
			begin = len(full) + 1
		}
		full = append(full, token)
	}
	return full
}

var fourGroups = regexp.MustCompile(`^[0-9a-fA-F]{1,4}(:[0-9a-fA-F]{1,4}){3}$`)

// fullGroups fills groups of hexadecimal digits up to four.
func fullGroups(text string) string {
	groups := strings.Split(text, ":")
	for i, g := range groups {
		if len(g) > 0 && len(g) < 4 {
			groups[i] = strings.Repeat("0", 4-len(g)) + g
		}
	}
	return strings.Join(groups, ":")
}

// sizes are how many words the RDATA of a type has, for types of which miekg/dns takes fewer or
// more, and serves something else than is written.
var sizes = map[uint16]struct{ min, max int }{
	dns.TypeSOA:    {7, 7},
	dns.TypeHINFO:  {2, 2},
	dns.TypeISDN:   {2, 2}, // the second may be missing (RFC 1183 §3.2), but would be served as ""
	dns.TypeLOC:    {5, 12},
	dns.TypeDS:     {4, many},
	dns.TypeSSHFP:  {3, many},
	dns.TypeTLSA:   {4, many},
	dns.TypeSMIMEA: {4, many},
	dns.TypeCERT:   {4, many},
}

const many = 1 << 16

// digests are how many hexadecimal digits a DS has, by the type of its digest (RFC 4034 §5.1.4,
// 4509, 6605).
var digests = map[uint8]int{dns.SHA1: 40, dns.SHA256: 64, dns.SHA384: 96}

// check finds what miekg/dns does not.
func check(rr dns.RR, tokens []string) error {
	if tokens[0] == `\#` {
		return nil
	}
	if size, ok := sizes[rr.Header().Rrtype]; ok && (len(tokens) < size.min || len(tokens) > size.max) {
		if size.max == many {
			return fmt.Errorf("expected at least %d words, found %d", size.min, len(tokens))
		}
		if size.min == size.max {
			return fmt.Errorf("expected %d words, found %d", size.min, len(tokens))
		}
		return fmt.Errorf("expected %d to %d words, found %d", size.min, size.max, len(tokens))
	}
	if typ := rr.Header().Rrtype; (typ == dns.TypeNID || typ == dns.TypeL64) && !fourGroups.MatchString(tokens[1]) {
		return fmt.Errorf("%.30q is not four groups of hexadecimal digits", tokens[1])
	}
	if ds, ok := rr.(*dns.DS); ok && digests[ds.DigestType] > 0 && len(ds.Digest) != digests[ds.DigestType] {
		return fmt.Errorf("a digest of type %d has %d digits, found %d", ds.DigestType, digests[ds.DigestType], len(ds.Digest))
	}
	return nil
}

// checkFields finds what miekg/dns lets pass, in either form.
func checkFields(rr dns.RR) error {
	switch rr := rr.(type) {
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
					return fmt.Errorf("%s is mandatory, but not there", key)
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
