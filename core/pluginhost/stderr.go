package pluginhost

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
)

// logLines reads a plugin's standard error for go-plugin, which panics on a log
// line whose @message, @level or @timestamp is not a string: such a line reaches
// it as plain text. A plugin must not be able to end the daemon.
type logLines struct {
	io.Closer
	lines *bufio.Reader
	rest  []byte // of the line that was read last
}

const notALogLine = "not a log line: "

func newLogLines(r io.ReadCloser) *logLines {
	return &logLines{Closer: r, lines: bufio.NewReader(r)}
}

// Read implements io.Reader.
func (l *logLines) Read(p []byte) (int, error) {
	if len(l.rest) == 0 {
		// A line that is longer than the buffer comes in pieces, none of which
		// is JSON by itself.
		line, err := l.lines.ReadSlice('\n')
		switch {
		case len(line) > 0:
		case errors.Is(err, os.ErrClosed):
			return 0, io.EOF // who leaves the plugin to another daemon closes its own end
		default:
			return 0, err
		}
		if !harmless(line) {
			l.rest = append(l.rest[:0], notALogLine...)
		}
		l.rest = append(l.rest, line...)
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

// harmless tells whether go-plugin can take a line apart, or does not try to.
func harmless(line []byte) bool {
	var entry map[string]json.RawMessage
	if json.Unmarshal(line, &entry) != nil {
		return true
	}
	for _, key := range []string{"@message", "@level", "@timestamp"} {
		if v, ok := entry[key]; ok && (len(v) == 0 || v[0] != '"') {
			return false
		}
	}
	return true
}
