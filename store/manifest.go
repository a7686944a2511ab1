package store

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"meridian/spec"
)

// Manifest is a file of keys: one JSON object, each member a key below the prefix and its value.
// An object is the value as it is; a string is the value's text (a static RRset, the shorthand of
// a member).
type Manifest []ManifestEntry

// ManifestEntry is one key of a manifest.
type ManifestEntry struct {
	Key   string
	Value []byte
	Line  int // of the file, in which the value begins
}

// ParseManifest reads a manifest, whose values are parts of file. Errors are *spec.Error with the line.
func ParseManifest(file []byte) (Manifest, error) {
	d := jsontext.NewDecoder(bytes.NewReader(file))
	wrong := func(offset int64, format string, args ...any) error {
		e := spec.Errorf("", format, args...)
		e.Line = fileLine(file, offset)
		return e
	}
	fail := func(err error) error {
		var syntax *jsontext.SyntacticError
		if errors.As(err, &syntax) {
			return wrong(syntax.ByteOffset, "%v", syntax.Err)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return wrong(int64(len(file)), "the file ends too early")
		}
		return err
	}
	open, err := d.ReadToken()
	if err != nil {
		return nil, fail(err)
	}
	if open.Kind() != '{' {
		return nil, wrong(0, "expected a JSON object of keys and values, found %s", kindText(open.Kind()))
	}
	var m Manifest
	line, counted := 1, int64(0) // of what has been read
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return nil, fail(err)
		}
		key := name.String()
		d.PeekKind() // moves on to the value
		value, err := d.ReadValue()
		if err != nil {
			return nil, fail(err)
		}
		begin := d.InputOffset() - int64(len(value))
		end := begin + int64(len(value))
		line, counted = line+bytes.Count(file[counted:begin], []byte("\n")), begin
		e := ManifestEntry{Key: key, Line: line}
		switch value.Kind() {
		case '{':
			e.Value = file[begin:end:end]
		case '"':
			if e.Value = file[begin+1 : end-1 : end-1]; bytes.IndexByte(e.Value, '\\') >= 0 {
				if e.Value, err = jsontext.AppendUnquote(nil, value); err != nil {
					return nil, fail(err)
				}
			}
		default:
			return nil, wrong(begin, "%s: expected an object or a string, found %s", key, kindText(value.Kind()))
		}
		m = append(m, e)
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, fail(err)
	}
	if _, err := d.ReadToken(); err != io.EOF {
		return nil, wrong(d.InputOffset(), "something follows the end of the object")
	}
	return m, nil
}

func fileLine(file []byte, offset int64) int {
	return 1 + bytes.Count(file[:min(offset, int64(len(file)))], []byte("\n"))
}

// Problem is what is wrong with a key of a manifest.
type Problem struct {
	Line int // of the file; 0 for a key that the file does not have
	Fault
}

func (p Problem) String() string {
	text := p.Key + ": "
	if p.Line > 0 {
		text = fmt.Sprintf("%d: %s", p.Line, text)
	}
	if p.Field != "" {
		text += p.Field + ": "
	}
	return text + p.Error
}

// Lint tells what would be wrong with the registry if the manifest were put into it, and is not
// wrong with it now. now may be empty: the manifest is then looked at for itself.
func Lint(m Manifest, now Update) []Problem { return lint(m, nil, now) }

func lint(m Manifest, deletes []Change, now Update) []Problem {
	quiet := slog.New(slog.DiscardHandler)
	before, after := NewRegistry(quiet), NewRegistry(quiet)
	before.trusting, after.trusting = true, true
	now.Full = true
	before.Apply(now)
	known := map[string]string{}
	for _, f := range before.Faults() {
		known[f.Key] = f.Error
	}
	after.Apply(now)
	next := Update{Revision: now.Revision + 1}
	next.Entries = make([]Entry, 0, len(m)+len(deletes))
	for _, e := range m {
		next.Entries = append(next.Entries, Entry{Key: e.Key, Value: e.Value, Revision: next.Revision})
	}
	for _, c := range deletes {
		next.Entries = append(next.Entries, Entry{Key: c.Key, Deleted: true, Revision: next.Revision})
	}
	after.Apply(next)
	faults := after.Faults()
	if len(faults) == 0 {
		return nil
	}
	entries := map[string]ManifestEntry{}
	for _, e := range m {
		entries[e.Key] = e
	}
	var problems []Problem
	for _, f := range faults {
		e, ours := entries[f.Key]
		if !ours && known[f.Key] == f.Error {
			continue
		}
		p := Problem{Fault: f, Line: e.Line}
		if ours {
			// A string's own lines are not the file's.
			if isObject(e.Value) && f.Line > 1 {
				p.Line += f.Line - 1
			} else if f.Line > 0 {
				p.Error = fmt.Sprintf("line %d: %s", f.Line, p.Error)
			}
		}
		problems = append(problems, p)
	}
	slices.SortStableFunc(problems, func(x, y Problem) int { return cmp.Compare(x.Line, y.Line) })
	return problems
}

func isObject(value []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(value), []byte("{")) }

// Change is one write to the registry.
type Change struct {
	Key          string
	Value        []byte
	Delete       bool
	ReadRevision int64 // the key's revision when it was read; 0: it was not there
}

// Plan returns the changes that make the registry hold what the manifest says, in an order in
// which nothing ever refers to what is not there, and what would be wrong then. Keys that hold
// their value already are left alone. prune, if not "", deletes the keys below it that the
// manifest does not have.
func Plan(m Manifest, prune string, now Update) (changes []Change, problems []Problem) {
	current := map[string]Entry{}
	for _, e := range now.Entries {
		current[e.Key] = e
	}
	wanted := map[string]bool{}
	var puts, deletes []Change
	for _, e := range m {
		wanted[e.Key] = true
		value := bytes.TrimSpace(e.Value)
		if isObject(value) {
			compact := jsontext.Value(bytes.Clone(value))
			if compact.Compact() == nil {
				value = compact
			}
		}
		if old, ok := current[e.Key]; !ok || !bytes.Equal(old.Value, value) {
			puts = append(puts, Change{Key: e.Key, Value: value, ReadRevision: old.Revision})
		}
	}
	for key, e := range current {
		if prune != "" && strings.HasPrefix(key, prune) && !wanted[key] {
			deletes = append(deletes, Change{Key: key, Delete: true, ReadRevision: e.Revision})
		}
	}
	problems = lint(m, deletes, now)
	sortByRank(puts, 1)
	sortByRank(deletes, -1)
	return append(puts, deletes...), problems
}

// sortByRank sorts changes by rank, then key; the other way round where by is -1.
func sortByRank(changes []Change, by int) {
	slices.SortFunc(changes, func(x, y Change) int {
		return by * cmp.Or(cmp.Compare(rank(x.Key), rank(y.Key)), strings.Compare(x.Key, y.Key))
	})
}

// rank orders keys so that what is referred to comes first, and a zone opens only when its names
// are there: no client is told that they are not.
func rank(text string) int {
	switch {
	case ownerPrefix(text) != "": // most are
		return int(kindName)
	case isSOA(text):
		return int(kindName) + 1
	}
	k, _ := parseKey(text)
	return int(k.kind)
}
