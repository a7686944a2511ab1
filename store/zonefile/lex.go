package zonefile

import (
	"strings"

	"meridian/zones"
)

// lexer splits a zone file into entries (RFC 1035 §5.1): lines, but for what stands in parentheses.
type lexer struct {
	text string
	at   int
	line int // of at
}

// entry is what one line of a zone file says, or several that parentheses make one.
type entry struct {
	line   int      // in which it begins
	blank  bool     // it begins with white space: the owner is left out
	tokens []string // as written, escapes and quotes included
	fault  string   // why it cannot be read; tokens are those before the fault
}

// next returns the next entry that says something; ok is false at the end.
func (l *lexer) next() (e entry, ok bool) {
	for l.at < len(l.text) {
		if e = l.entry(); len(e.tokens) > 0 || e.fault != "" {
			return e, true
		}
	}
	return entry{}, false
}

func (l *lexer) entry() entry {
	e := entry{line: l.line, blank: l.text[l.at] == ' ' || l.text[l.at] == '\t'}
	depth := 0
	for l.at < len(l.text) {
		switch l.text[l.at] {
		case '\n':
			l.at++
			l.line++
			if depth == 0 {
				return e
			}
		case ' ', '\t', '\r':
			l.at++
		case ';':
			l.skipLine()
		case '(':
			l.at++
			depth++
		case ')':
			l.at++
			if depth--; depth < 0 {
				e.fault = `")" without "("`
				l.skipLine()
				return e
			}
		default:
			token, closed := l.token()
			e.tokens = append(e.tokens, token)
			if !closed {
				e.fault = "a quoted string does not end in its line"
				return e
			}
		}
	}
	if depth > 0 {
		e.fault = `"(" without ")"`
	}
	return e
}

// skipLine goes to the end of the line, not over it.
func (l *lexer) skipLine() {
	if i := strings.IndexByte(l.text[l.at:], '\n'); i >= 0 {
		l.at += i
	} else {
		l.at = len(l.text)
	}
}

// token reads up to what ends a token. closed is false where the line ends in a quoted string.
func (l *lexer) token() (token string, closed bool) {
	begin := l.at
	l.at, closed = zones.WordEnd(l.text, begin)
	return l.text[begin:l.at], closed
}
