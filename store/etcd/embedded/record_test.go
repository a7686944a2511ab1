package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
)

// recorded is a logger that keeps what it logs, as "LEVEL message key=value", and that.
func recorded(level slog.Level) (*slog.Logger, func() []string) {
	r := &recorder{level: level}
	return slog.New(r), func() []string {
		r.mu.Lock()
		defer r.mu.Unlock()
		return slices.Clone(r.entries)
	}
}

type recorder struct {
	level   slog.Level
	mu      sync.Mutex
	entries []string
}

func (r *recorder) Enabled(_ context.Context, l slog.Level) bool { return l >= r.level }

func (r *recorder) Handle(_ context.Context, rec slog.Record) error {
	s := rec.Level.String() + " " + rec.Message
	rec.Attrs(func(a slog.Attr) bool {
		s += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		return true
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(r.entries, s)
	return nil
}

func (r *recorder) WithAttrs([]slog.Attr) slog.Handler { return r }
func (r *recorder) WithGroup(string) slog.Handler      { return r }
