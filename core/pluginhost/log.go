package pluginhost

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log" //nolint:depguard // hclog's interface names it
	"log/slog"
	"slices"

	"github.com/hashicorp/go-hclog"
)

// bridge is an hclog.Logger that writes to slog: go-plugin takes the lines of a
// plugin's standard error apart and hands them to it, named after the plugin.
// What go-plugin says of its own affairs has no name and goes to debug.
type bridge struct {
	log     *slog.Logger
	name    string
	implied []any
}

var _ hclog.Logger = (*bridge)(nil)

func newBridge(l *slog.Logger) *bridge { return &bridge{log: l} }

// slogLevel is slog's word for a level.
func slogLevel(l hclog.Level) slog.Level {
	switch l {
	case hclog.Info, hclog.NoLevel:
		return slog.LevelInfo
	case hclog.Warn:
		return slog.LevelWarn
	case hclog.Error:
		return slog.LevelError
	default:
		return slog.LevelDebug
	}
}

// Log implements hclog.Logger.
func (b *bridge) Log(level hclog.Level, msg string, args ...any) {
	l := slogLevel(level)
	if b.name == "" {
		l = slog.LevelDebug
	}
	b.log.LogAttrs(context.Background(), l, msg, attrs(args)...) //nolint:sloglint // the words are the plugin's
}

// attrs makes attributes of hclog's key value pairs. The time of the line is
// left out: slog has its own.
func attrs(args []any) []slog.Attr {
	var out []slog.Attr
	for pair := range slices.Chunk(args, 2) {
		key, ok := pair[0].(string)
		switch {
		case ok && key == "timestamp":
		case ok && len(pair) == 2:
			out = append(out, slog.Any(key, pair[1]))
		default:
			out = append(out, slog.String("extra", fmt.Sprint(pair...)))
		}
	}
	return out
}

// Trace implements hclog.Logger.
func (b *bridge) Trace(msg string, args ...any) { b.Log(hclog.Trace, msg, args...) }

// Debug implements hclog.Logger.
func (b *bridge) Debug(msg string, args ...any) { b.Log(hclog.Debug, msg, args...) }

// Info implements hclog.Logger.
func (b *bridge) Info(msg string, args ...any) { b.Log(hclog.Info, msg, args...) }

// Warn implements hclog.Logger.
func (b *bridge) Warn(msg string, args ...any) { b.Log(hclog.Warn, msg, args...) }

// Error implements hclog.Logger.
func (b *bridge) Error(msg string, args ...any) { b.Log(hclog.Error, msg, args...) }

func (b *bridge) enabled(l hclog.Level) bool {
	return b.log.Enabled(context.Background(), slogLevel(l))
}

// IsTrace implements hclog.Logger.
func (b *bridge) IsTrace() bool { return b.enabled(hclog.Trace) }

// IsDebug implements hclog.Logger.
func (b *bridge) IsDebug() bool { return b.enabled(hclog.Debug) }

// IsInfo implements hclog.Logger.
func (b *bridge) IsInfo() bool { return b.enabled(hclog.Info) }

// IsWarn implements hclog.Logger.
func (b *bridge) IsWarn() bool { return b.enabled(hclog.Warn) }

// IsError implements hclog.Logger.
func (b *bridge) IsError() bool { return b.enabled(hclog.Error) }

// ImpliedArgs implements hclog.Logger.
func (b *bridge) ImpliedArgs() []any { return b.implied }

// With implements hclog.Logger.
func (b *bridge) With(args ...any) hclog.Logger {
	log := slog.New(b.log.Handler().WithAttrs(attrs(args)))
	return &bridge{log, b.name, slices.Concat(b.implied, args)}
}

// Name implements hclog.Logger.
func (b *bridge) Name() string { return b.name }

// Named implements hclog.Logger.
func (b *bridge) Named(name string) hclog.Logger { return &bridge{b.log, name, b.implied} }

// ResetNamed implements hclog.Logger.
func (b *bridge) ResetNamed(name string) hclog.Logger { return b.Named(name) }

// SetLevel implements hclog.Logger; the level is slog's business.
func (b *bridge) SetLevel(hclog.Level) {}

// GetLevel implements hclog.Logger.
func (b *bridge) GetLevel() hclog.Level {
	for _, l := range []hclog.Level{hclog.Trace, hclog.Info, hclog.Warn, hclog.Error} {
		if b.enabled(l) {
			return l
		}
	}
	return hclog.Off
}

// StandardLogger implements hclog.Logger.
func (b *bridge) StandardLogger(o *hclog.StandardLoggerOptions) *log.Logger {
	return log.New(b.StandardWriter(o), "", 0)
}

// StandardWriter implements hclog.Logger.
func (b *bridge) StandardWriter(*hclog.StandardLoggerOptions) io.Writer { return lineWriter{b} }

// lineWriter logs what is written to it.
type lineWriter struct{ b *bridge }

func (w lineWriter) Write(p []byte) (int, error) {
	w.b.Info(string(bytes.TrimRight(p, "\n")))
	return len(p), nil
}
