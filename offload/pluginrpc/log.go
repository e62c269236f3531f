package pluginrpc

import (
	"io"
	"log/slog"
	"strings"
	"time"
)

// NewLogger returns a logger for a plugin process. Its lines are JSON in the
// form of hclog, which go-plugin takes from a plugin's standard error and the
// daemon passes on to its own log, attributes included. module is the name under
// which they appear there. w must be the process's own standard error, opened
// before Serve is called.
func NewLogger(w io.Writer, module string, level slog.Leveler) *slog.Logger {
	h := slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: asHCLog})
	return slog.New(h).With("@module", module)
}

// asHCLog renames the keys that hclog has other names for.
func asHCLog(groups []string, a slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return a
	}
	switch v := a.Value.Any().(type) {
	case time.Time:
		if a.Key == slog.TimeKey {
			return slog.String("@timestamp", v.Format("2006-01-02T15:04:05.000000Z07:00"))
		}
	case slog.Level:
		if a.Key == slog.LevelKey {
			return slog.String("@level", strings.ToLower(v.String()))
		}
	case string:
		if a.Key == slog.MessageKey {
			return slog.String("@message", v)
		}
	}
	return a
}
