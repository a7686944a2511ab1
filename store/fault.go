package store

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"meridian/zones"
)

// Fault is a key whose value is not served as it stands.
type Fault struct {
	Key      string `json:"-"`
	Revision int64  `json:"revision"`       // of the value that is not served
	Field    string `json:"field,omitzero"` // "" where the fault is the key's or the whole value's
	Line     int    `json:"line,omitzero"`  // 0 where the value has one line
	Error    string `json:"error"`
	Serving  int64  `json:"serving,omitzero"` // revision of the value that is served in its place, 0 if none
	Awaits   string `json:"pending,omitzero"` // what it refers to and is not there yet: "pool/web"
}

// fault is a Fault with what it takes to judge it again.
type fault struct {
	Fault
	entry Entry
	part  *zones.Part // of a name whose value was good and is no longer at hand
	wake  string      // what has to come or change for the value to be judged again: "pool/web"
}

// standing says that no value has caused the fault.
func (f *fault) standing() bool { return f.entry.Key == "" }

// faults are the wrong keys of a registry.
type faults struct {
	log     *slog.Logger
	byKey   map[string]*fault
	byOwner map[string]map[string]bool // of names: by "zone/<zone>/name/<owner>/", the keys
	waiting map[string]map[string]bool // by what they await, the keys
	changed bool

	second     time.Time // in which said lines were logged and held were not
	said, held int
}

func newFaults(log *slog.Logger) *faults {
	return &faults{
		log:     log,
		byKey:   map[string]*fault{},
		byOwner: map[string]map[string]bool{},
		waiting: map[string]map[string]bool{},
	}
}

// set records a fault, and logs it unless it was there before.
func (f *faults) set(n *fault) {
	n.Error, n.Field = clip(n.Error), clip(n.Field)
	old := f.byKey[n.Key]
	if old != nil && old.Fault == n.Fault {
		old.entry, old.part = n.entry, n.part
		return
	}
	f.forget(n.Key)
	f.byKey[n.Key], f.changed = n, true
	if owner := ownerPrefix(n.Key); owner != "" {
		put(f.byOwner, owner, n.Key)
	}
	if n.wake != "" {
		put(f.waiting, n.wake, n.Key)
	}
	level, text := slog.LevelWarn, "key rejected"
	if n.Awaits != "" {
		level, text = slog.LevelInfo, "key pending"
	}
	f.say(level, text, "key", clip(n.Key), "revision", n.Revision, "field", n.Field, "error", n.Error, "serving", n.Serving)
}

// maxText is how many bytes of a fault's text are kept: a value may be a thousand times as long.
const maxText = 400

func clip(text string) string { return clipTo(text, maxText) }

func clipTo(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// perSecond is how many lines a second are logged of faults: whoever writes keys does not fill our disk.
const perSecond = 20

// say logs, unless much was logged within this second already.
func (f *faults) say(level slog.Level, text string, args ...any) {
	if now := time.Now(); now.Sub(f.second) >= time.Second {
		if f.held > 0 {
			f.log.Warn("more keys changed their state than are logged", "count", f.held)
		}
		f.second, f.said, f.held = now, 0, 0
	}
	if f.said++; f.said > perSecond {
		f.held++
		return
	}
	f.log.Log(context.Background(), level, text, args...)
}

// clear forgets the fault of a key that is good now, or gone.
func (f *faults) clear(key string) {
	if f.forget(key) {
		f.changed = true
		f.say(slog.LevelInfo, "key mended", "key", clip(key))
	}
}

func (f *faults) forget(key string) bool {
	old := f.byKey[key]
	if old == nil {
		return false
	}
	delete(f.byKey, key)
	drop(f.byOwner, ownerPrefix(key), key)
	drop(f.waiting, old.wake, key)
	return true
}

// list returns the faults by key.
func (f *faults) list() []Fault {
	list := make([]Fault, 0, len(f.byKey))
	for _, key := range slices.Sorted(maps.Keys(f.byKey)) {
		list = append(list, f.byKey[key].Fault)
	}
	return list
}

func put(m map[string]map[string]bool, at, key string) {
	if m[at] == nil {
		m[at] = map[string]bool{}
	}
	m[at][key] = true
}

func drop(m map[string]map[string]bool, at, key string) {
	if delete(m[at], key); len(m[at]) == 0 {
		delete(m, at)
	}
}
