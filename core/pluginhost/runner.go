package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/hashicorp/go-plugin/runner"
	"golang.org/x/sys/unix"
)

// program is a plugin's process for go-plugin. Unlike go-plugin's own it leads a
// process group, which ends as a whole: a grandchild that lived on would hold
// the pipes, for whose end go-plugin waits, and the plugin's interfaces. And it can
// be left alone, for the next daemon.
type program struct {
	cmd            *exec.Cmd // nil where an earlier daemon started it
	name, path     string    // for people
	keep           *keeper   // nil for a program that ends with us
	began          func(pid int) error
	stdout, stderr *os.File // our ends; an adopted one has no stdout
	pidfd          *os.File
	greeting       greeting
	done           chan struct{}
	err            error // of the process, once done is closed

	mu     sync.Mutex
	number int  // of the process, 0 before it was started
	killed bool // it is not to start any more
	reaped bool // its number may be another's
	never  bool // it cannot be run as it is
}

var _ runner.Runner = (*program)(nil)

// inherited are the variables of the daemon that a plugin gets too.
func inherited() []string {
	var env []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if slices.Contains([]string{"PATH", "HOME", "LANG", "TZ", "GODEBUG", "GOMAXPROCS", "GOMEMLIMIT", "GOGC", "GOTRACEBACK", "GORACE", "GOCOVERDIR"}, name) {
			env = append(env, v)
		}
	}
	return env
}

func newProgram(s Spec, k *keeper) *program {
	// The context is for the start only; kill ends the process, and its group.
	cmd := exec.CommandContext(context.Background(), s.Path, s.Args...)
	cmd.Args[0] = Prefix + s.Name
	cmd.Env = slices.Concat(inherited(), s.Env)
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	return &program{cmd: cmd, name: cmd.Args[0], path: s.Path, keep: k, done: make(chan struct{})}
}

// adoptProgram watches a process that an earlier daemon started.
func adoptProgram(r *record, k *keeper) (*program, error) {
	p := &program{name: Prefix + r.Plugin, keep: k, number: r.PID, done: make(chan struct{})}
	err := p.watch()
	if err == nil && !r.lives() { // as it is now that its number cannot become another's
		err = errors.Join(unix.ESRCH, p.pidfd.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("pluginhost: watch process %d: %w", r.PID, err)
	}
	if p.stderr, err = k.openStderr(); err != nil {
		return nil, errors.Join(fmt.Errorf("pluginhost: read the log of process %d: %w", r.PID, err), p.pidfd.Close())
	}
	go p.reap()
	return p, nil
}

// Start implements runner.Runner.
func (p *program) Start(context.Context) error {
	outw, errw, err := p.pipes()
	if err != nil {
		return err
	}
	p.cmd.Stdout, p.cmd.Stderr = outw, errw
	p.mu.Lock()
	if p.killed {
		err = context.Canceled
	} else if err = p.cmd.Start(); err != nil {
		p.never = !runnable(err)
	} else {
		p.number = p.cmd.Process.Pid
		err = p.watch()
	}
	p.mu.Unlock()
	err = errors.Join(err, outw.Close(), errw.Close()) // the process has its own
	if p.pidfd == nil {
		if p.cmd.Process != nil {
			err = errors.Join(err, p.cmd.Process.Kill(), p.cmd.Wait())
		}
		return errors.Join(err, p.stdout.Close(), p.stderr.Close())
	}
	go p.reap()
	if err == nil && p.began != nil {
		err = p.began(p.pid())
	}
	return err
}

// pipes makes the process's standard output, which has the handshake only, and its
// standard error.
func (p *program) pipes() (outw, errw *os.File, err error) {
	if p.stdout, outw, err = os.Pipe(); err != nil {
		return nil, nil, fmt.Errorf("make a pipe: %w", err)
	}
	if p.keep == nil {
		p.stderr, errw, err = os.Pipe()
	} else if err = p.keep.makeStderr(); err == nil {
		if p.stderr, err = p.keep.openStderr(); err == nil {
			errw, err = os.OpenFile(p.keep.stderrPath(), os.O_WRONLY, 0)
		}
	}
	if err != nil {
		err = errors.Join(fmt.Errorf("make a pipe: %w", err), p.stdout.Close(), outw.Close())
		if p.stderr != nil {
			err = errors.Join(err, p.stderr.Close())
		}
	}
	return outw, errw, err
}

// watch opens the process's pidfd, by which its end shows.
func (p *program) watch() error {
	fd, err := unix.PidfdOpen(p.number, unix.PIDFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("open a pidfd: %w", err)
	}
	p.pidfd = os.NewFile(uintptr(fd), "plugin")
	return nil
}

// errLeft says that the process lives, and is not ours any more.
var errLeft = errors.New("the plugin goes on without us")

// reap ends with the process, or when it is left alone; Wait waits for it.
func (p *program) reap() {
	defer close(p.done)
	raw, err := p.pidfd.SyscallConn()
	if err == nil {
		err = raw.Read(func(fd uintptr) bool { return hasEnded(fd) })
	}
	if err != nil { // leave has closed it
		p.err = errLeft
		return
	}
	p.kill() // what is left of its group
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = errors.New("it is not known how")
	if p.cmd != nil {
		p.err = p.cmd.Wait()
	}
	p.reaped = true
	_ = p.pidfd.Close()
}

// hasEnded tells whether the process of a pidfd has: then it is readable.
func hasEnded(fd uintptr) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return err == nil && n > 0
}

// leave lets the process go on without us.
func (p *program) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.killed, p.reaped = true, true // not by us any more
	_ = p.pidfd.Close()
	if p.stdout != nil {
		_ = p.stdout.Close()
	}
	_ = p.stderr.Close()
}

// kill ends the process group at once, or keeps it from starting; more than once
// is fine. The group of a process that is no child of ours is named by its number
// only while it lives.
func (p *program) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.killed = true
	if p.number == 0 || p.reaped {
		return
	}
	if p.cmd == nil {
		if raw, err := p.pidfd.SyscallConn(); err != nil || raw.Control(func(fd uintptr) {
			if !hasEnded(fd) {
				_ = unix.Kill(-p.number, unix.SIGKILL)
			}
		}) != nil {
			return
		}
		return
	}
	_ = unix.Kill(-p.number, unix.SIGKILL) // it may have ended just now
}

// unfit tells whether the program did not start, or shook no hands, for what it is.
func (p *program) unfit() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.never || p.greeting.strange()
}

// pid is the number of the process, 0 before it was started.
func (p *program) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.number
}

// Wait implements runner.AttachedRunner.
func (p *program) Wait(context.Context) error {
	<-p.done
	var err error
	for _, pipe := range []*os.File{p.stdout, p.stderr} {
		if pipe != nil && !errors.Is(p.err, errLeft) {
			err = errors.Join(err, pipe.Close())
		}
	}
	return errors.Join(err, p.err)
}

// Kill implements runner.AttachedRunner.
func (p *program) Kill(context.Context) error {
	p.kill()
	return nil
}

// ID implements runner.AttachedRunner.
func (p *program) ID() string { return strconv.Itoa(p.pid()) }

// Name implements runner.Runner.
func (p *program) Name() string { return p.name }

// Stdout implements runner.Runner.
func (p *program) Stdout() io.ReadCloser { return overheard{p.stdout, &p.greeting} }

// Stderr implements runner.Runner.
func (p *program) Stderr() io.ReadCloser { return newLogLines(p.stderr) }

// Diagnose implements runner.Runner.
func (p *program) Diagnose(context.Context) string {
	return "Is " + p.path + " a plugin of Evergate, built for this machine?"
}

// PluginToHost implements runner.AddrTranslator: both live in one file system.
func (p *program) PluginToHost(network, addr string) (string, string, error) {
	return network, addr, nil
}

// HostToPlugin implements runner.AddrTranslator.
func (p *program) HostToPlugin(network, addr string) (string, string, error) {
	return network, addr, nil
}
