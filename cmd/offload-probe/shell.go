package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/offloadtest"
)

func newShell() *cobra.Command {
	var p plane
	return withFlags(&p, &cobra.Command{
		Use:   "shell [flags] PLUGIN [-- ARG...]",
		Short: "Start the plugin and poke it by hand, or by commands from standard input",
		Long: `Start and configure the plugin, then read commands: from the terminal, with a
history and completion by Tab, or from a file or pipe, where the first that fails
ends the shell. "help" lists them; "#" starts a comment.`,
		Example: `  printf 'install 1 standby\narm 0\nlist\n' | offload-probe shell ./evergate-plugin-x`,
		Args:    cobra.MinimumNArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return runShell(cmd, &p, args) },
	})
}

func withFlags(p *plane, cmd *cobra.Command) *cobra.Command {
	p.flags(cmd)
	return cmd
}

func runShell(cmd *cobra.Command, p *plane, args []string) error {
	open, err := p.open(cmd, args)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	h, err := open(ctx)
	if err != nil {
		return fmt.Errorf("start %s: %w", args[0], err)
	}
	defer func() { _ = h.Close() }() // a killed process has nothing to say
	s := &shell{ctx: ctx, h: h, epoch: offload.NewEpoch(1, ipsec.MemberID(p.member))}
	read, restore, err := s.input(cmd)
	if err != nil {
		return err
	}
	defer restore()
	h.Config.Boot, h.Config.Addresses = 1, append(h.Config.Addresses, h.Local)
	if err := s.do("configure"); err != nil {
		return err
	}
	s.watch()
	defer s.events.wait()
	defer cancel()
	return s.loop(read)
}

// shell is one plugin and who types.
type shell struct {
	ctx         context.Context // the command's
	h           *offloadtest.Harness
	out         io.Writer
	interactive bool
	epoch       offload.Epoch // of the calls
	info        offload.Info
	events      eventLog
}

// readLine returns the next line, io.EOF at the end.
type readLine func() (string, error)

// input reads from the command's input: with an editor when both ends are a
// terminal, whose state restore brings back.
func (s *shell) input(cmd *cobra.Command) (read readLine, restore func(), err error) {
	s.out = cmd.OutOrStdout()
	in, isFile := cmd.InOrStdin().(*os.File)
	out, outIsFile := s.out.(*os.File)
	if !isFile || !outIsFile || !term.IsTerminal(int(in.Fd())) || !term.IsTerminal(int(out.Fd())) {
		lines := bufio.NewScanner(cmd.InOrStdin())
		return func() (string, error) {
			if lines.Scan() {
				return lines.Text(), nil
			}
			if err := lines.Err(); err != nil {
				return "", err
			}
			return "", io.EOF
		}, func() {}, nil
	}
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, nil, fmt.Errorf("set up the terminal: %w", err)
	}
	editor := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{in, out}, "> ")
	editor.AutoCompleteCallback = complete
	s.out, s.interactive = editor, true
	return editor.ReadLine, func() { _ = term.Restore(int(in.Fd()), before) }, nil
}

// complete finishes the name of a command when there is only one that begins so.
func complete(line string, pos int, key rune) (string, int, bool) {
	if key != '\t' || strings.ContainsRune(line, ' ') || pos != len(line) {
		return "", 0, false
	}
	var all []string
	for _, c := range commands() {
		if strings.HasPrefix(c.name, line) {
			all = append(all, c.name)
		}
	}
	if len(all) != 1 {
		return "", 0, false
	}
	return all[0] + " ", len(all[0]) + 1, true
}

func (s *shell) loop(read readLine) error {
	for number := 1; ; number++ {
		line, err := read()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read a command: %w", err)
		}
		err = s.do(line)
		switch {
		case errors.Is(err, errQuit):
			return nil
		case err != nil && !s.interactive:
			return fmt.Errorf("line %d, %q: %w", number, line, err)
		case err != nil:
			fmt.Fprintln(s.out, err)
		}
	}
}

// errQuit ends the shell.
var errQuit = errors.New("quit")

// do carries out one line.
func (s *shell) do(line string) error {
	line, _, _ = strings.Cut(line, "#")
	words := strings.Fields(line)
	if len(words) == 0 {
		return nil
	}
	all := commands()
	i := slices.IndexFunc(all, func(c command) bool { return c.name == words[0] })
	if i < 0 {
		return fmt.Errorf("there is no command %q; try help", words[0])
	}
	ctx, cancel := context.WithTimeout(s.ctx, callTimeout)
	defer cancel()
	return all[i].run(s, ctx, words[1:])
}

// callTimeout bounds each command.
const callTimeout = 30 * time.Second

// maxEventLog bounds the events that nobody has asked for.
const maxEventLog = 10000

// eventLog keeps events until somebody asks.
type eventLog struct {
	done sync.WaitGroup

	mu      sync.Mutex
	waiting []offload.Event
	lost    int
	err     error         // why the stream ended
	changed chan struct{} // closed when something comes
}

// watch reads the plugin's events from now on. On a terminal they are shown at
// once, too.
func (s *shell) watch() {
	s.events.changed = make(chan struct{})
	s.events.done.Go(func() {
		for ev, err := range s.h.Engine.Events(s.ctx) {
			s.events.add(ev, err)
			if s.interactive && err == nil {
				fmt.Fprintf(s.out, "event: %s\n", describe(ev))
			}
		}
	})
}

func (l *eventLog) wait() { l.done.Wait() }

func (l *eventLog) add(ev offload.Event, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil:
		l.err = err
	case len(l.waiting) >= maxEventLog:
		l.lost++
	default:
		l.waiting = append(l.waiting, ev)
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// take returns what came since the last time, and a channel that is closed when
// more comes.
func (l *eventLog) take() (events []offload.Event, lost int, more <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	events, lost = l.waiting, l.lost
	l.waiting, l.lost = nil, 0
	return events, lost, l.changed, l.err
}

// describe writes an event as its name and fields.
func describe(ev offload.Event) string {
	return fmt.Sprintf("%s %+v", eventName(ev), ev)
}

// eventName is that of the contract, such as FirstPacket.
func eventName(ev offload.Event) string {
	return strings.TrimPrefix(fmt.Sprintf("%T", ev), "offload.")
}
