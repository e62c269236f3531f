package vm

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/evergate/evergate/core/netlab/vm/job"
)

// streams are pipes from QEMU to writers of ours.
type streams struct {
	writers []*os.File // QEMU's ends
	copying sync.WaitGroup
}

// openStreams opens a pipe for each of the writers; nil discards.
func openStreams(to ...io.Writer) (*streams, error) {
	s := &streams{}
	for _, w := range to {
		r, pipe, err := os.Pipe()
		if err != nil {
			s.closeWriters()
			return nil, fmt.Errorf("vm: open a pipe to the machine: %w", err)
		}
		s.writers = append(s.writers, pipe)
		if w == nil {
			w = io.Discard
		}
		s.copying.Go(func() {
			defer r.Close()
			// Whoever does not take what the command writes has stopped
			// caring; the machine still must be able to go on.
			if _, err := io.Copy(w, r); err != nil {
				_, _ = io.Copy(io.Discard, r)
			}
		})
	}
	return s, nil
}

// closeWriters closes our copies of QEMU's ends.
func (s *streams) closeWriters() {
	for _, w := range s.writers {
		w.Close()
	}
}

// wait returns when everything that QEMU wrote has been copied.
func (s *streams) wait() { s.copying.Wait() }

// What is kept of the console: enough for a kernel's account of its crash.
const (
	keptLines  = 200
	keptOfLine = 1024
)

// console keeps the last lines of the serial console, and what it says about
// the command's end.
type console struct {
	line  []byte // the last one, not ended yet
	lines []string
	up    bool   // the machine runs the command
	onUp  func() // is called then, unless nil
	found job.Result
	ended bool // found was found
}

// Write implements io.Writer.
func (c *console) Write(p []byte) (int, error) {
	for _, b := range p {
		switch {
		case b == '\n':
			c.endLine()
		case len(c.line) < keptOfLine:
			c.line = append(c.line, b)
		}
	}
	return len(p), nil
}

func (c *console) endLine() {
	line := strings.TrimRight(string(c.line), "\r")
	c.line = c.line[:0]
	if job.Up(line) {
		if c.up = true; c.onUp != nil {
			c.onUp()
		}
		return
	}
	if r, ok := job.Parse(line); ok {
		c.found, c.ended = r, true
		return
	}
	if len(c.lines) == keptLines {
		c.lines = c.lines[1:]
	}
	c.lines = append(c.lines, line)
}

// result returns how the command ended, if that was said.
func (c *console) result() (job.Result, bool) { return c.found, c.ended }

// tail returns the last lines.
func (c *console) tail() string {
	return strings.TrimSpace(strings.Join(append(c.lines, string(c.line)), "\n"))
}
