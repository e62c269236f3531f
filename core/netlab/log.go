package netlab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"time"
)

// Log is a text file that a process appends to, from some offset on. It is a
// value: Now returns a later part of the same file.
type Log struct {
	tb   TB
	path string
	from int64
}

// OpenLog returns the log at path. The file need not exist yet.
func (l *Lab) OpenLog(path string) Log { return Log{tb: l.tb, path: path} }

// Path returns the name of the file.
func (l Log) Path() string { return l.path }

// Text returns the log's present text.
func (l Log) Text() string {
	l.tb.Helper()
	b, err := os.ReadFile(l.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.tb.Fatalf("netlab: read log: %v", err)
	}
	if int64(len(b)) < l.from {
		return ""
	}
	return string(b[l.from:])
}

// Now returns the log from its present end on, for what an action adds to it.
func (l Log) Now() Log {
	l.tb.Helper()
	l.from += int64(len(l.Text()))
	return l
}

// Tail returns up to n last lines.
func (l Log) Tail(n int) string {
	l.tb.Helper()
	lines := strings.Split(strings.TrimRight(l.Text(), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// Wait returns the first match of the expression and its groups, and ends the
// test when there is none within limit.
func (l Log) Wait(expression string, limit time.Duration) []string {
	l.tb.Helper()
	match, err := l.poll(expression, limit, nil)
	if err != nil {
		l.tb.Fatalf("waited up to %v for the log to say %q: %v; it ends with:\n%s", limit, expression, err, l.Tail(30))
	}
	return match
}

// poll is Wait that returns its error. When ended is closed, it looks once
// more and gives up.
func (l Log) poll(expression string, limit time.Duration, ended <-chan struct{}) ([]string, error) {
	l.tb.Helper()
	re, err := regexp.Compile("(?m)" + expression)
	if err != nil {
		return nil, fmt.Errorf("netlab: %w", err)
	}
	var match []string
	gone := false
	err = Poll(l.tb.Context(), limit, func() error {
		select {
		case <-ended:
			gone = true
		default:
		}
		if match = re.FindStringSubmatch(l.Text()); match == nil && !gone {
			return errors.New("not there")
		}
		return nil
	})
	if err == nil && match == nil {
		err = errors.New("the process ended before")
	}
	return match, err
}
