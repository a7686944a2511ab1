package zones

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// dialect rewrites RDATA that is right, and that BIND reads or even writes, into the one form of it
// that miekg/dns reads.
func dialect(typ uint16, words []string) []string {
	switch typ {
	case dns.TypeLOC:
		return fullAngles(words)
	case dns.TypeX25, dns.TypeGPOS: // strings without quotes
		return each(words, func(_ int, word string) string { return Unquoted(word) })
	case dns.TypeNAPTR: // strings with quotes
		return each(words, func(i int, word string) string {
			if i < 2 || i > 4 || word[0] == '"' {
				return word
			}
			return `"` + word + `"`
		})
	case dns.TypeNID, dns.TypeL64: // four digits a group (RFC 6742 §2.1.2, §2.3.2)
		return each(words, func(i int, word string) string {
			if i != 1 {
				return word
			}
			return fullGroups(word)
		})
	case dns.TypeCSYNC: // types in any order
		if len(words) > 2 {
			words = slices.Clone(words)
			slices.SortStableFunc(words[2:], func(a, b string) int { return cmp.Compare(typeNumber(a), typeNumber(b)) })
		}
	case dns.TypeDS, dns.TypeDLV: // the type of the digest by name
		return each(words, func(i int, word string) string {
			if number := digestNumbers[strings.ToUpper(word)]; i == 2 && number != "" {
				return number
			}
			return word
		})
	case dns.TypeSVCB, dns.TypeHTTPS: // the target without quotes, keys that have a name by that (RFC 9460 §2.1)
		return each(words, func(i int, word string) string {
			key, list, _ := strings.Cut(word, "=")
			switch {
			case i == 1:
				return Unquoted(word)
			case lateKeys[key] != "":
				return lateKeys[key] + word[len(key):]
			case key == "mandatory" && !strings.Contains(list, `\`):
				return key + "=" + namedKeys(list)
			}
			return word
		})
	}
	return words
}

// digestNumbers of the names that BIND reads.
var digestNumbers = map[string]string{"SHA1": "1", "SHA-1": "1", "SHA256": "2", "SHA-256": "2", "SHA384": "4", "SHA-384": "4"}

// lateKeys of SVCB have got a name that miekg/dns knows, and whose values are written as before
// (RFC 9461 §5, RFC 9540 §4).
var lateKeys = map[string]string{"key7": "dohpath", "key8": "ohttp"}

// namedKeys writes the keys of a list, in quotes or not, by name where they have one.
func namedKeys(list string) string {
	keys := strings.Split(strings.Trim(list, `"`), ",")
	for i, key := range keys {
		digits, _ := strings.CutPrefix(key, "key")
		if number, err := strconv.ParseUint(digits, 10, 16); err == nil && digits != key {
			keys[i] = cmp.Or(dns.SVCBKey(number).String(), key)
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

func each(words []string, rewrite func(i int, word string) string) []string {
	rewritten := make([]string, len(words))
	for i, word := range words {
		if rewritten[i] = rewrite(i, word); rewritten[i] == "" {
			rewritten[i] = word // "" is a string, but nothing else that has to be there
		}
	}
	return rewritten
}

// fullAngles adds the minutes and seconds that an angle of LOC may leave out (RFC 1876 §3).
func fullAngles(words []string) (full []string) {
	begin := 0
	for _, word := range words {
		if len(word) == 1 && strings.Contains("NSEWnsew", word) {
			for len(full) < begin+3 {
				full = append(full, "0")
			}
			begin = len(full) + 1
		}
		full = append(full, word)
	}
	return full
}

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
