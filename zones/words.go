package zones

import (
	"errors"
	"strings"
)

// splitWords splits RDATA into words, escapes and quotes included. Parentheses and what follows a ";"
// say nothing.
func splitWords(text string) (words []string, err error) {
	depth := 0
	for at := 0; at < len(text); {
		switch text[at] {
		case ' ', '\t', '\r', '\n':
			at++
		case ';':
			if i := strings.IndexByte(text[at:], '\n'); i >= 0 {
				at += i
			} else {
				at = len(text)
			}
		case '(':
			at++
			depth++
		case ')':
			at++
			if depth--; depth < 0 {
				return nil, errors.New(`")" without "("`)
			}
		default:
			end, closed := WordEnd(text, at)
			if !closed {
				return nil, errors.New("a quoted string does not end in its line")
			}
			if err := checkEscapes(text[at:end]); err != nil {
				return nil, err
			}
			words = append(words, text[at:end])
			at = end
		}
	}
	if depth > 0 {
		return nil, errors.New(`"(" without ")"`)
	}
	return words, nil
}

// WordEnd is where the word of a zone file ends that begins at text[at:]. closed is false where the
// line ends in a quoted string.
func WordEnd(text string, at int) (end int, closed bool) {
	quoted := false
	for ; at < len(text); at++ {
		switch c := text[at]; {
		case c == '\n':
			return at, !quoted
		case c == '\\' && at+1 < len(text) && text[at+1] != '\n' && text[at+1] != '\r':
			at++
		case c == '"':
			quoted = !quoted
		case !quoted && strings.IndexByte(" \t\r;()", c) >= 0:
			return at, true
		}
	}
	return at, !quoted
}

// checkEscapes finds what begins like an escape of three digits and is none, which miekg/dns takes for
// something else.
func checkEscapes(word string) error {
	for i := 0; i < len(word); i++ {
		if word[i] != '\\' {
			continue
		}
		_, size, err := unescape(word[i:])
		if err != nil {
			return err
		}
		i += size - 1
	}
	return nil
}

// Unquoted is what a word that is one quoted string means, and any other as it is.
func Unquoted(word string) string {
	if len(word) < 2 || word[0] != '"' || word[len(word)-1] != '"' {
		return word
	}
	inner := word[1 : len(word)-1]
	if HasQuote(inner) { // two strings, with nothing between them
		return word
	}
	return strings.ReplaceAll(inner, `\"`, `"`)
}

// HasQuote says whether a word has a quote that is not escaped.
func HasQuote(word string) bool { return strings.Contains(withoutEscaped.Replace(word), `"`) }

var withoutEscaped = strings.NewReplacer(`\\`, "", `\"`, "")
