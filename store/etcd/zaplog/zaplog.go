// Package zaplog leads what etcd's client and server log, by zap, to a slog.Logger.
package zaplog

import (
	"context"
	"io"
	"log/slog"
	"os"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc/grpclog"
)

// gRPC has one logger a process, which writes errors on standard error by default, and which may
// only be set before gRPC is used. What it has to say also comes back as the errors of the calls,
// so it is silent, unless gRPC's own variable asks for it.
func init() {
	if os.Getenv("GRPC_GO_LOG_SEVERITY_LEVEL") == "" {
		grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	}
}

// New returns a zap logger that logs with log. Level says at which level an entry of etcd's is
// logged. Stacks and callers are left out: they are etcd's, not ours.
func New(log *slog.Logger, level func(zapcore.Entry) slog.Level, options ...zap.Option) *zap.Logger {
	return zap.New(&core{handler: log.Handler(), level: level}, options...)
}

// Quiet logs everything as debugging: of a caller who gets all that matters as errors.
func Quiet(zapcore.Entry) slog.Level { return slog.LevelDebug }

// OneDown logs warnings and errors as what they are, and etcd's accounts of its daily work, which
// are on its info level, as debugging.
func OneDown(e zapcore.Entry) slog.Level {
	switch {
	case e.Level >= zapcore.ErrorLevel:
		return slog.LevelError
	case e.Level == zapcore.WarnLevel:
		return slog.LevelWarn
	case e.Level == zapcore.InfoLevel:
		return slog.LevelDebug
	}
	return slog.LevelDebug - 4
}

// core is a zapcore.Core above a slog.Handler.
type core struct {
	handler slog.Handler
	level   func(zapcore.Entry) slog.Level
}

func (c *core) Enabled(l zapcore.Level) bool {
	return c.handler.Enabled(context.Background(), c.level(zapcore.Entry{Level: l}))
}

func (c *core) With(fields []zapcore.Field) zapcore.Core {
	return &core{handler: c.handler.WithAttrs(attrs(fields)), level: c.level}
}

func (c *core) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.handler.Enabled(context.Background(), c.level(e)) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c *core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	r := slog.NewRecord(e.Time, c.level(e), e.Message, 0)
	r.AddAttrs(attrs(fields)...)
	return c.handler.Handle(context.Background(), r)
}

func (c *core) Sync() error { return nil }

// attrs puts each field's value into an attribute. Zap's own encoder of maps knows all the kinds of
// a field; one field at a time keeps their order.
func attrs(fields []zapcore.Field) []slog.Attr {
	out := make([]slog.Attr, 0, len(fields))
	for _, f := range fields {
		enc := zapcore.NewMapObjectEncoder()
		f.AddTo(enc)
		if v, ok := enc.Fields[f.Key]; ok {
			out = append(out, slog.Any(f.Key, v))
		}
	}
	return out
}
