package store

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"meridian/spec"
)

// maxDepth bounds the nesting of a value: nothing that an operator writes nests deeper than 6.
const maxDepth = 32

// decode reads a JSON value strictly into v: an unknown field, a duplicate, a null, a wrong type
// or range is an error that names field and line. v's own Validate, where it has one, has the
// last word.
func decode(value []byte, v any) *spec.Error {
	if err := scan(value); err != nil {
		return err
	}
	if err := json.Unmarshal(value, v, json.RejectUnknownMembers(true)); err != nil {
		return explain(value, err)
	}
	var err error
	switch v := v.(type) {
	case interface{ Validate() error }:
		err = v.Validate()
	case interface{ Complete() error }:
		err = v.Complete()
	}
	if err == nil {
		return nil
	}
	e := asError(err)
	if e.Line == 0 {
		e.Line = lineOf(value, e.Field)
	}
	return e
}

// asError is err as a *spec.Error.
func asError(err error) *spec.Error {
	var e *spec.Error
	if !errors.As(err, &e) {
		e = spec.Errorf("", "%v", err)
	}
	return e
}

// scan finds what is wrong with the JSON itself, and what JSON allows but we do not.
func scan(value []byte) *spec.Error {
	d := jsontext.NewDecoder(bytes.NewReader(value))
	switch text := bytes.TrimSpace(value); {
	case len(text) == 0:
		return spec.Errorf("", "an empty value, expected a JSON object")
	case text[0] != '{':
		return spec.Errorf("", "expected a JSON object, found %.40q", text)
	}
	for {
		token, err := d.ReadToken()
		var syntax *jsontext.SyntacticError
		switch {
		case errors.As(err, &syntax):
			e := spec.Errorf(fieldText(syntax.JSONPointer), "%v", syntax.Err)
			e.Line = lineAt(value, syntax.ByteOffset)
			return e
		case err != nil: // the end
			return nil
		case token.Kind() == 'n':
			e := spec.Errorf(fieldText(d.StackPointer()), "null is no value: leave the field out")
			e.Line = lineAt(value, d.InputOffset())
			return e
		case d.StackDepth() > maxDepth:
			return spec.Errorf("", "nested deeper than %d", maxDepth)
		}
	}
}

// explain turns the decoder's error into one for the person who wrote the value.
func explain(value []byte, err error) *spec.Error {
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		if errors.Is(err, jsontext.ErrDuplicateName) { // scan saw none: a key of a map, in another spelling
			return &spec.Error{Field: fieldText(syntax.JSONPointer), Msg: "it is there twice, once in another spelling", Line: lineAt(value, syntax.ByteOffset)}
		}
		return &spec.Error{Msg: "something follows the end of the object", Line: lineAt(value, syntax.ByteOffset)}
	}
	var semantic *json.SemanticError
	if !errors.As(err, &semantic) {
		return spec.Errorf("", "%v", err)
	}
	e := &spec.Error{Field: fieldText(semantic.JSONPointer), Line: lineAt(value, semantic.ByteOffset)}
	var own *spec.Error
	var wrong *time.ParseError
	switch {
	case errors.As(semantic.Err, &own):
		e.Msg = own.Msg
		if own.Field != "" {
			e.Field += "." + own.Field
		}
	case errors.Is(semantic.Err, json.ErrUnknownName):
		known := fieldsOf(semantic.GoType)
		e.Msg = "unknown field" + spec.Suggest(semantic.JSONPointer.LastToken(), known)
		if len(known) > 0 {
			e.Msg += ", expected " + strings.Join(known, ", ")
		}
	case semantic.GoType == reflect.TypeFor[netip.Addr]() && semantic.JSONKind == '"':
		e.Msg = addrError(semantic.Err)
	case semantic.GoType == reflect.TypeFor[netip.Prefix]() && semantic.JSONKind == '"':
		e.Msg = prefixError(semantic.Err)
	case errors.As(semantic.Err, &wrong):
		e.Msg = fmt.Sprintf("%q is not %s", wrong.Value, typeText(reflect.TypeFor[time.Time]()))
	case semantic.JSONKind == '0' && len(semantic.JSONValue) > 0:
		e.Msg = fmt.Sprintf("%s is not %s", semantic.JSONValue, typeText(semantic.GoType))
	case semantic.JSONKind == '"' && semantic.Err != nil:
		e.Msg = semantic.Err.Error()
	default:
		e.Msg = fmt.Sprintf("expected %s, found %s", typeText(semantic.GoType), kindText(semantic.JSONKind))
	}
	return e
}

var parseAddr = regexp.MustCompile(`^ParseAddr\(("(?:.*)")\): (.*)$`)

// addrError puts netip's words for a wrong address into ours.
func addrError(err error) string {
	return parseAddr.ReplaceAllString(err.Error(), "$1 is not an IP address: $2")
}

var parsePrefix = regexp.MustCompile(`^netip\.ParsePrefix\(("(?:[^"\\]|\\.)*")\): (?:ParseAddr\("(?:[^"\\]|\\.)*"\): )?(.*)$`)

// prefixError is addrError for a network.
func prefixError(err error) string {
	return parsePrefix.ReplaceAllString(err.Error(), `$1 is not a network such as "10.0.0.0/8": $2`)
}

// fieldText spells a JSON pointer as a person would: /steps/1/take → steps[1].take.
func fieldText(p jsontext.Pointer) string {
	var b strings.Builder
	for token := range p.Tokens() {
		if _, err := strconv.Atoi(token); err == nil && b.Len() > 0 {
			b.WriteString("[" + token + "]")
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(token)
	}
	return b.String()
}

// lineAt is the line of an offset, 0 where the value has one line only.
func lineAt(value []byte, offset int64) int {
	if bytes.Count(bytes.TrimSpace(value), []byte("\n")) == 0 {
		return 0
	}
	offset = min(offset, int64(len(value)))
	// An offset may stand before the white space that precedes what it means.
	for offset < int64(len(value)) && strings.IndexByte(" \t\r\n,:", value[offset]) >= 0 {
		offset++
	}
	return 1 + bytes.Count(value[:offset], []byte("\n"))
}

// lineOf is the line in which a field of value stands, 0 where it does not or there is one line.
func lineOf(value []byte, field string) int {
	d := jsontext.NewDecoder(bytes.NewReader(value))
	for field != "" {
		if _, err := d.ReadToken(); err != nil {
			return 0
		}
		if fieldText(d.StackPointer()) == field {
			return lineAt(value, d.InputOffset())
		}
	}
	return 0
}

func fieldsOf(t reflect.Type) (names []string) {
	if t == nil || t.Kind() != reflect.Struct {
		return nil
	}
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if strings.Contains(options, "inline") || f.Anonymous {
			names = append(names, fieldsOf(f.Type)...)
		} else if name != "" {
			names = append(names, name)
		}
	}
	return names
}

func kindText(k jsontext.Kind) string {
	switch k {
	case '"':
		return "a string"
	case '0':
		return "a number"
	case 't', 'f':
		return "true or false"
	case '{':
		return "an object"
	case '[':
		return "a list"
	}
	return "nothing"
}

func typeText(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[spec.Duration]():
		return `a duration such as "2s"`
	case reflect.TypeFor[spec.Share]():
		return `a share such as "5%"`
	case reflect.TypeFor[netip.Addr]():
		return "an IP address in quotes"
	case reflect.TypeFor[time.Time]():
		return `a time such as "2026-11-22T18:00:00+01:00"`
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeText(t.Elem())
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Uint16:
		return "a whole number from 0 to 65535"
	case reflect.Uint32:
		return "a whole number from 0 to 4294967295"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "a list"
	}
	return "an object"
}
