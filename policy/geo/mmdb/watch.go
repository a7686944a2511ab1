package mmdb

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"meridian/policy/geo"
)

// Watcher keeps a Database like the files that it is made from. Each file stands for itself: while what it holds
// cannot be used, what was read of it before counts on.
type Watcher struct {
	log   *slog.Logger
	files []*watched
}

// NewWatcher watches files, of which the first named counts first (geo.Compile).
func NewWatcher(paths []string, log *slog.Logger) *Watcher {
	w := &Watcher{log: log}
	for _, path := range paths {
		w.files = append(w.files, &watched{state: State{File: geo.File{Path: path}}})
	}
	return w
}

// State is how a file stands.
type State struct {
	geo.File           // what was read of it, and counts; Path alone: nothing
	Loaded   time.Time // when that was
	Error    string    // why what the file holds now does not count; "" if it does
	Failed   time.Time // since when
	Failures uint64    // times that it could not be read, or held what cannot be used
}

// States says how the files stand, in order. Any goroutine may call it.
func (w *Watcher) States() []State {
	var states []State
	for _, f := range w.files {
		f.mu.Lock()
		states = append(states, f.state)
		f.mu.Unlock()
	}
	return states
}

// Load reads all files that can be used, and returns what comes of them, nil of none. It is called before Run.
func (w *Watcher) Load() *geo.Database {
	for _, f := range w.files {
		f.look(true, w.log)
	}
	return w.compile()
}

// Run looks at the files until ctx is done, and publishes what comes of them when one has changed and has then
// stood still from one look to the next: a copy takes its time.
func (w *Watcher) Run(ctx context.Context, every time.Duration, publish func(*geo.Database)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		changed := false
		for _, f := range w.files {
			changed = f.look(false, w.log) || changed
		}
		if changed {
			publish(w.compile())
		}
	}
}

func (w *Watcher) compile() *geo.Database {
	var layers []*geo.Layer
	for _, f := range w.files {
		if f.layer != nil {
			layers = append(layers, f.layer)
		}
	}
	if len(layers) == 0 {
		return nil
	}
	return geo.Compile(layers...)
}

// watched is a file that is watched. One goroutine looks at it.
type watched struct {
	layer *geo.Layer // what counts of it; nil: nothing
	seen  mark       // at the last look
	tried mark       // when it was read; zero to try again

	mu    sync.Mutex
	state State
}

// mark changes when a file does. The time of the inode's change tells of what keeps its size and its time of
// modification, and of permissions.
type mark struct {
	device, inode     uint64
	size              int64
	modified, changed unix.Timespec
}

func markOf(path string) (mark, error) {
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err != nil {
		return mark{}, err
	}
	return mark{s.Dev, s.Ino, s.Size, s.Mtim, s.Ctim}, nil
}

// look reads the file if it has changed, and has then stood still since the last look unless this is the first. It
// says whether there is another layer.
func (f *watched) look(first bool, log *slog.Logger) (changed bool) {
	path := f.state.Path
	now, err := markOf(path)
	still := first || now == f.seen
	f.seen = now
	if err != nil {
		f.tried = mark{}
		f.unreadable(err, log)
		return false
	}
	if now == f.tried || !still {
		return false
	}
	start := time.Now()
	bytes, err := readFile(path)
	if err != nil {
		f.unreadable(err, log)
		return false
	}
	if after, err := markOf(path); !first && (err != nil || after != now) {
		return false
	}
	f.tried = now
	l, err := decode(bytes)
	if err != nil {
		f.fail(err, log)
		return false
	}
	l.Path, f.layer = path, l
	f.mu.Lock()
	f.state = State{File: l.File, Loaded: time.Now(), Failures: f.state.Failures}
	f.mu.Unlock()
	log.Info("geo database read", "path", path, "type", l.Type, "built", l.Built.Format(time.DateOnly),
		"networks", l.Networks, "took", time.Since(start).Round(time.Millisecond))
	return true
}

// unreadable is fail for what every look finds again until it changes.
func (f *watched) unreadable(err error, log *slog.Logger) {
	err = fmt.Errorf("%w, expected an MMDB file", err)
	if err.Error() != f.state.Error {
		f.fail(err, log)
	}
}

func (f *watched) fail(err error, log *slog.Logger) {
	f.mu.Lock()
	f.state.Error = err.Error()
	f.state.Failures++
	if f.state.Failed.IsZero() {
		f.state.Failed = time.Now()
	}
	f.mu.Unlock()
	if f.layer == nil {
		log.Error("geo database not read: going on without it", "path", f.state.Path, "reason", err)
	} else {
		log.Error("geo database refused: the one read before counts on", "path", f.state.Path, "reason", err, "built", f.layer.Built.Format(time.DateOnly))
	}
}
