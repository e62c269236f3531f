package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/hashicorp/go-plugin/runner"
	"golang.org/x/sys/unix"
)

// program is a plugin's process for go-plugin. Unlike go-plugin's own it leads a
// process group, which ends as a whole: a grandchild that lived on would hold
// the pipes, for whose end go-plugin waits, and the plugin's interfaces.
type program struct {
	cmd            *exec.Cmd
	stdout, stderr *os.File // our ends
	done           chan struct{}
	err            error // of the process, once done is closed

	mu     sync.Mutex
	killed bool // it is not to start any more
	reaped bool // its number may be another's
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

func newProgram(s Spec) *program {
	// The context is for the start only; kill ends the process, and its group.
	cmd := exec.CommandContext(context.Background(), s.Path, s.Args...)
	cmd.Args[0] = Prefix + s.Name
	cmd.Env = slices.Concat(inherited(), s.Env)
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	return &program{cmd: cmd, done: make(chan struct{})}
}

// Start implements runner.Runner.
func (p *program) Start(context.Context) error {
	var outw, errw *os.File
	var err error
	if p.stdout, outw, err = os.Pipe(); err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	if p.stderr, errw, err = os.Pipe(); err != nil {
		return errors.Join(fmt.Errorf("make a pipe: %w", err), p.stdout.Close(), outw.Close())
	}
	p.cmd.Stdout, p.cmd.Stderr = outw, errw
	p.mu.Lock()
	if p.killed {
		err = context.Canceled
	} else {
		err = p.cmd.Start()
	}
	p.mu.Unlock()
	err = errors.Join(err, outw.Close(), errw.Close()) // the process has its own
	if p.cmd.Process == nil {
		return errors.Join(err, p.stdout.Close(), p.stderr.Close())
	}
	go p.reap()
	return err
}

// reap ends with the process; Wait waits for it.
func (p *program) reap() {
	defer close(p.done)
	for {
		err := unix.Waitid(unix.P_PID, p.cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	p.kill() // what is left of its group
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = p.cmd.Wait()
	p.reaped = true
}

// kill ends the process group at once, or keeps it from starting; more than once
// is fine.
func (p *program) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.killed = true
	if p.cmd.Process != nil && !p.reaped {
		_ = unix.Kill(-p.cmd.Process.Pid, unix.SIGKILL) // it may have ended just now
	}
}

// pid is the number of the process, 0 before it was started.
func (p *program) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd.Process == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Wait implements runner.AttachedRunner.
func (p *program) Wait(context.Context) error {
	<-p.done
	return errors.Join(p.stdout.Close(), p.stderr.Close(), p.err)
}

// Kill implements runner.AttachedRunner.
func (p *program) Kill(context.Context) error {
	p.kill()
	return nil
}

// ID implements runner.AttachedRunner.
func (p *program) ID() string { return strconv.Itoa(p.pid()) }

// Name implements runner.Runner.
func (p *program) Name() string { return filepath.Base(p.cmd.Args[0]) }

// Stdout implements runner.Runner.
func (p *program) Stdout() io.ReadCloser { return p.stdout }

// Stderr implements runner.Runner.
func (p *program) Stderr() io.ReadCloser { return newLogLines(p.stderr) }

// Diagnose implements runner.Runner.
func (p *program) Diagnose(context.Context) string {
	return "Is " + p.cmd.Path + " a plugin of Evergate, built for this machine?"
}

// PluginToHost implements runner.AddrTranslator: both live in one file system.
func (p *program) PluginToHost(network, addr string) (string, string, error) {
	return network, addr, nil
}

// HostToPlugin implements runner.AddrTranslator.
func (p *program) HostToPlugin(network, addr string) (string, string, error) {
	return network, addr, nil
}
