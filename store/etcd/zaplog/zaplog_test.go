package zaplog

import (
	"bytes"
	"errors"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/zap"
)

func TestLevels(t *testing.T) {
	for _, tt := range []struct {
		name string
		log  func(*zap.Logger)
		want string
	}{
		{"debug", func(l *zap.Logger) { l.Debug("m") }, "level=DEBUG-4 msg=m\n"},
		{"info", func(l *zap.Logger) { l.Info("m") }, "level=DEBUG msg=m\n"},
		{"warning", func(l *zap.Logger) { l.Warn("m") }, "level=WARN msg=m\n"},
		{"error", func(l *zap.Logger) { l.Error("m") }, "level=ERROR msg=m\n"},
		{"fields in order", func(l *zap.Logger) {
			l.Warn("m", zap.String("z", "a b"), zap.Int("a", 1), zap.Duration("d", time.Second), zap.Error(errors.New("no")), zap.Strings("s", []string{"x", "y"}))
		}, "level=WARN msg=m z=\"a b\" a=1 d=1s error=no s=\"[x y]\"\n"},
		{"with", func(l *zap.Logger) { l.With(zap.Int("a", 1)).Warn("m", zap.Int("b", 2)) }, "level=WARN msg=m a=1 b=2\n"},
		{"skipped", func(l *zap.Logger) { l.Warn("m", zap.Skip(), zap.Int("b", 2)) }, "level=WARN msg=m b=2\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			tt.log(New(logger(&out, slog.LevelDebug-4), OneDown))
			if out.String() != tt.want {
				t.Errorf("got  %s\nwant %s", out.String(), tt.want)
			}
		})
	}
}

func TestNotWanted(t *testing.T) {
	var out bytes.Buffer
	log := logger(&out, slog.LevelInfo)
	New(log, OneDown).Info("etcd's daily work")
	New(log, Quiet).Error("what the caller gets as an error")
	if out.Len() > 0 {
		t.Errorf("logged %s", out.String())
	}
	if New(log, Quiet).Core().Enabled(zap.ErrorLevel) {
		t.Error("an error that is not wanted is enabled")
	}
}

func logger(out *bytes.Buffer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}
