package zonefile

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"meridian/zones"
)

const (
	maxGenerated = 1 << 16 // records of one $GENERATE: the addresses of a /16
	maxWidth     = 253     // of a number in it
)

var rangeForm = regexp.MustCompile(`^(\d+)-(\d+)(?:/(\d+))?$`)

// generate makes the records of a line "$GENERATE range owner [TTL] [class] type RDATA", as BIND
// does: "$" in owner and RDATA is a number of the range. RDATA that is one quoted string stands for
// what is in it.
func (r *reader) generate(sc *scope, at Place, args []string) {
	if len(args) < 4 {
		r.refuse(at, "$GENERATE: expected a range, an owner, a type and RDATA, found %d words", len(args))
		return
	}
	first, last, step, err := parseRange(args[0])
	if err != nil {
		r.refuse(at, "$GENERATE: %v", err)
		return
	}
	h, err := parseHeader(args[2:])
	if err != nil {
		r.refuse(at, "$GENERATE: %v", err)
		return
	}
	rdata := strings.Join(h.rdata, " ")
	if len(h.rdata) == 1 {
		rdata = zones.Unquoted(rdata)
	}
	before := r.refused
	for n := first; n <= last; n += step {
		r.generateOne(sc, at, n, args[1], h, rdata)
		if r.refused > before {
			r.refuse(at, "$GENERATE: that was for %d, the rest up to %d is not made", n, last)
			return
		}
	}
}

func parseRange(text string) (first, last, step int64, err error) {
	m := rangeForm.FindStringSubmatch(text)
	if m == nil {
		return 0, 0, 0, fmt.Errorf("%q is not a range, expected such as 1-100 or 0-254/2", text)
	}
	step = 1
	for i, v := range []*int64{&first, &last, &step} {
		if m[i+1] == "" {
			continue
		}
		if *v, err = strconv.ParseInt(m[i+1], 10, 32); err != nil {
			return 0, 0, 0, fmt.Errorf("range %s: a number is larger than %d", text, 1<<31-1)
		}
	}
	switch {
	case step == 0 || last < first:
		return 0, 0, 0, fmt.Errorf("range %s is empty", text)
	case (last-first)/step >= maxGenerated:
		return 0, 0, 0, fmt.Errorf("range %s: expected at most %d numbers", text, maxGenerated)
	}
	return first, last, step, nil
}

func (r *reader) generateOne(sc *scope, at Place, n int64, owner string, h header, rdata string) {
	owner, err := expand(owner, n)
	if err != nil {
		r.refuse(at, "$GENERATE: %v", err)
		return
	}
	o, err := r.owner(owner, sc.origin)
	if err != nil {
		r.refuse(at, "$GENERATE: %v", err)
		return
	}
	if rdata, err = expand(rdata, n); err != nil {
		r.refuse(at, "$GENERATE: %v", err)
		return
	}
	l := lexer{text: rdata}
	e, _ := l.next() // one that is empty is refused as RDATA
	if e.fault != "" {
		r.refuse(at, "$GENERATE: %s", e.fault)
		return
	}
	r.record(sc, *o, h, e.tokens, at)
}

// modifier is what may follow a "$": what to add, how many characters to fill, in which base; "n"
// are hexadecimal digits from the last to the first, as labels.
var modifier = regexp.MustCompile(`^\{([+-]?\d+)(?:,(\d+)(?:,([doxXnN]))?)?\}`)

// expand puts the number in for each "$" of text. "$$" and "\$" are dollar signs.
func expand(text string, n int64) (string, error) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text):
			b.WriteString(text[i : i+2])
			i++
		case c != '$':
			b.WriteByte(c)
		case strings.HasPrefix(text[i:], "$$"):
			b.WriteByte('$')
			i++
		case strings.HasPrefix(text[i:], "${"):
			m := modifier.FindStringSubmatch(text[i+1:])
			if m == nil {
				return "", fmt.Errorf("%.20q is not a number's form, expected such as ${0,3,x}", text[i:])
			}
			number, err := format(n, m[1], m[2], m[3])
			if err != nil {
				return "", err
			}
			b.WriteString(number)
			i += len(m[0])
		default:
			b.WriteString(strconv.FormatInt(n, 10))
		}
	}
	return b.String(), nil
}

// format writes n with a modifier's parts.
func format(n int64, offset, width, base string) (string, error) {
	by, err := strconv.ParseInt(offset, 10, 32)
	if n += by; err != nil || n < 0 || n > 1<<31-1 {
		return "", fmt.Errorf("offset %s leads out of 0 to %d", offset, 1<<31-1)
	}
	fill := 0
	if width != "" {
		if fill, err = strconv.Atoi(width); err != nil || fill > maxWidth {
			return "", fmt.Errorf("width %s is out of range, expected at most %d", width, maxWidth)
		}
	}
	switch base {
	case "o":
		return fmt.Sprintf("%0*o", fill, n), nil
	case "x":
		return fmt.Sprintf("%0*x", fill, n), nil
	case "X":
		return fmt.Sprintf("%0*X", fill, n), nil
	case "n", "N":
		return nibbles(n, fill, base), nil
	}
	return fmt.Sprintf("%0*d", fill, n), nil
}

// nibbles is n as names below ip6.arpa have it. width counts the dots, as BIND does.
func nibbles(n int64, width int, base string) string {
	digits := "0123456789abcdef"
	if base == "N" {
		digits = strings.ToUpper(digits)
	}
	var b strings.Builder
	for {
		b.WriteByte(digits[n&15])
		if n >>= 4; n == 0 && b.Len() >= width {
			return b.String()
		}
		b.WriteByte('.')
		if n == 0 && b.Len() >= width {
			return b.String()
		}
	}
}
