package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// stage is what the audience sees: colour and a line that moves on a terminal,
// plain lines elsewhere.
type stage struct {
	w        io.Writer
	terminal bool
	plugin   string // the gateways' dataplane

	open    string // the step that is under way
	started time.Time
	done    []string
	costs   []cost
	steps   int
	begin   time.Time
}

func newStage(f *os.File) *stage {
	return &stage{w: f, terminal: term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "", begin: time.Now()}
}

// dataplane is the part of a gateway's configuration that names its plugin.
func (s *stage) dataplane() string { return fmt.Sprintf("\ndataplane: {plugin: %q}\n", s.plugin) }

const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
	cyan  = "36"
)

func (s *stage) paint(code, text string) string {
	if !s.terminal {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *stage) title(text string) { fmt.Fprintf(s.w, "%s\n", s.paint(bold, text)) }

func (s *stage) act(name, text string) {
	fmt.Fprintf(s.w, "\n%s\n", s.paint(cyan, name+": "+text))
	s.done = append(s.done, name)
}

// step shows what is being done, and how it came out. A step that ends the
// program never returns; failed closes its line.
func (s *stage) step(text string, do func() string) {
	s.open, s.started = text, time.Now()
	if s.terminal {
		fmt.Fprintf(s.w, "  … %s", text)
	}
	detail := do()
	took := time.Since(s.started).Round(10 * time.Millisecond)
	if s.terminal {
		fmt.Fprint(s.w, "\r\x1b[K")
	}
	line := fmt.Sprintf("  %s %s", s.paint(green, "✓"), text)
	if detail != "" {
		line += ": " + detail
	}
	fmt.Fprintf(s.w, "%s %s\n", line, s.paint(dim, fmt.Sprintf("(%v)", took)))
	s.open = ""
	s.steps++
}

// text prints what is no step.
func (s *stage) text(text string) { fmt.Fprint(s.w, text) }

// cost is what a failover was to the client.
type cost struct {
	of                       string // the act
	lost                     int    // pings
	gap, detection, takeover time.Duration
}

// cost keeps it for the summary.
func (s *stage) cost(c cost) { s.costs = append(s.costs, c) }

// show prints a program's output, indented, below the host's prompt.
func (s *stage) show(host, command, output string) {
	fmt.Fprintf(s.w, "\n    %s\n", s.paint(bold, host+" # "+command))
	for line := range strings.Lines(strings.TrimRight(output, "\n")) {
		fmt.Fprintf(s.w, "    %s\n", strings.TrimRight(line, "\n"))
	}
	fmt.Fprintln(s.w)
}

// failed closes the line of the step that was under way.
func (s *stage) failed() {
	if s.open == "" {
		return
	}
	if s.terminal {
		fmt.Fprint(s.w, "\r\x1b[K")
	}
	fmt.Fprintf(s.w, "  %s %s\n", s.paint(red, "✗"), s.open)
	s.open = ""
}

// logf is for what the lab has to say beside its errors: the logs of the
// programs that it ran.
func (s *stage) logf(verbose bool) func(string, ...any) {
	return func(format string, args ...any) {
		if verbose {
			fmt.Fprintf(os.Stderr, format+"\n", args...)
		}
	}
}

func (s *stage) summary() {
	fmt.Fprintf(s.w, "\n%s %d steps in %v: %s. Everything was taken down.\n",
		s.paint(green, "All of it worked:"), s.steps, time.Since(s.begin).Round(time.Second), strings.Join(s.done, ", "))
	if len(s.costs) == 0 {
		return
	}
	fmt.Fprintf(s.w, "\nWhat the death of its gateway cost a client (same SAs before and after, its TCP transfer arrived whole):\n\n")
	fmt.Fprintf(s.w, "  %s\n", s.paint(bold, fmt.Sprintf("%-10s %12s %12s %24s %24s", "run", "pings lost", "gap", "detection by the router", "takeover by the member")))
	for _, c := range s.costs {
		fmt.Fprintf(s.w, "  %-10s %12d %12s %24s %24s\n", c.of, c.lost, milliseconds(c.gap), milliseconds(c.detection), milliseconds(c.takeover))
	}
}
