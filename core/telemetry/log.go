package telemetry

import (
	"io"
	"log/slog"
)

// NewLogger returns a logger that writes lines of text, or of JSON, from level
// upwards. A *slog.LevelVar makes the level one that can change.
func NewLogger(w io.Writer, level slog.Leveler, json bool) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if json {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
