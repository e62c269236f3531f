package netlab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Process runs in a namespace. It leads a process group of its own: the group
// is killed when the leader ends, when the lab ends, and when this program
// dies, so what the process itself started does not outlive it either.
type Process struct {
	name string
	tb   TB
	log  Log

	done chan struct{} // closed when the process has ended
	err  error         // of Wait; read after done

	mu     sync.Mutex
	pid    int  // also the id of the process group
	reaped bool // the pid may belong to another process from now on
}

// Start starts cmd in the namespace. What it writes to stdout and stderr,
// where cmd does not say otherwise, goes to the process's Log, which is shown
// when the test fails. cmd belongs to the Process from here on.
func (n *Namespace) Start(cmd *exec.Cmd) *Process { return n.StartPrivate(cmd) }

// StartPrivate is Start with an empty file system of the process's own over
// each of the directories: charon, for one, insists on its pid file in /run.
func (n *Namespace) StartPrivate(cmd *exec.Cmd, dirs ...string) *Process {
	n.lab.tb.Helper()
	name := n.name + "-" + filepath.Base(cmd.Path)
	p := &Process{name: name, tb: n.lab.tb, done: make(chan struct{}), log: n.lab.OpenLog(n.lab.File(name + ".log"))}
	out, err := os.Create(p.log.path)
	if err != nil {
		n.lab.tb.Fatalf("netlab: create the log of %s: %v", name, err)
	}
	defer out.Close()
	if cmd.Stdout == nil {
		cmd.Stdout = out
	}
	if cmd.Stderr == nil {
		cmd.Stderr = out
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := p.start(n, cmd, dirs); err != nil {
		n.lab.tb.Fatalf("netlab: start %s: %v", name, err)
	}
	n.lab.tb.Cleanup(p.cleanup)
	return p
}

// start starts cmd on a thread that stays until cmd has ended, because the
// kernel sends the parent death signal when the thread ends, not the process.
func (p *Process) start(n *Namespace, cmd *exec.Cmd, private []string) error {
	started := make(chan error, 1)
	go func() {
		err := onOwnThread(func() error {
			if err := enter(n, private); err != nil {
				return err
			}
			if err := cmd.Start(); err != nil {
				return err
			}
			p.pid = cmd.Process.Pid
			started <- nil
			p.reap(cmd)
			return nil
		})
		if err != nil {
			started <- err
		}
	}()
	return <-started
}

func enter(n *Namespace, private []string) error {
	if err := netns.Set(n.handle); err != nil {
		return fmt.Errorf("enter namespace %s: %w", n.name, err)
	}
	if len(private) == 0 {
		return nil
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare mounts: %w", err)
	}
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	for _, dir := range private {
		if err := unix.Mount("none", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
			return fmt.Errorf("mount an empty %s: %w", dir, err)
		}
	}
	return nil
}

// reap waits for the leader to end, kills what is left of its group while the
// dead leader still holds the group's id, and only then frees the id.
func (p *Process) reap(cmd *exec.Cmd) {
	for {
		err := unix.Waitid(unix.P_PID, p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	p.mu.Lock()
	p.reaped = true
	// ESRCH cannot come, the zombie is in the group; nothing else matters now.
	_ = unix.Kill(-p.pid, unix.SIGKILL)
	p.mu.Unlock()
	p.err = cmd.Wait()
	close(p.done)
}

func (p *Process) cleanup() {
	p.tb.Helper()
	p.Kill()
	if p.tb.Failed() {
		if text := p.log.Tail(80); text != "" {
			p.tb.Logf("log of %s:\n%s", p.name, text)
		}
	}
}

// Name returns namespace-program.
func (p *Process) Name() string { return p.name }

// PID returns the process id, which is the id of its group, too.
func (p *Process) PID() int { return p.pid }

// Log returns what the process wrote to stdout and stderr.
func (p *Process) Log() Log { return p.log }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Signal sends a signal to the process and all of its group. One that has
// ended gets none, and that is no error.
func (p *Process) Signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		_ = unix.Kill(-p.pid, sig) // it can only have ended
	}
}

// Kill ends the process and its group at once, and returns when the process is
// gone. It may be called again.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.done
}

// Stop asks the process to end (SIGTERM) and returns what it ended with, as
// exec.Cmd.Wait does. A process that takes longer than limit is killed, and
// that is an error.
func (p *Process) Stop(limit time.Duration) error { return p.stop(syscall.SIGTERM, limit) }

func (p *Process) stop(sig syscall.Signal, limit time.Duration) error {
	p.Signal(sig)
	if err := p.Wait(limit); !errors.Is(err, errRunning) {
		return err
	}
	p.Kill()
	return fmt.Errorf("netlab: %s ignored %v for %v and was killed", p.name, sig, limit)
}

var errRunning = errors.New("still running")

// Wait returns what the process ended with, as exec.Cmd.Wait does, or an error
// when it still runs after limit.
func (p *Process) Wait(limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
		return p.err
	case <-timer.C:
		return fmt.Errorf("netlab: %s after %v: %w", p.name, limit, errRunning)
	}
}

// WaitLog waits until the process's log matches, and returns the match and its
// groups. It ends the test when the process ends first, or limit passes.
func (p *Process) WaitLog(expression string, limit time.Duration) []string {
	p.tb.Helper()
	match, err := p.log.poll(expression, limit, p.done)
	if err != nil {
		p.tb.Fatalf("waited up to %v for %s to say %q: %v; its log ends with:\n%s", limit, p.name, expression, err, p.log.Tail(30))
	}
	return match
}

// Output runs a short command in the namespace and returns what it writes to
// stdout. The error holds what it wrote to stderr.
func (n *Namespace) Output(cmd *exec.Cmd) ([]byte, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true // Ctrl-C is ours to pass on
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	var out []byte
	err := n.Do(func() (err error) {
		out, err = cmd.Output()
		return err
	})
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	if err != nil {
		err = fmt.Errorf("netlab: %s in %s: %w", filepath.Base(cmd.Path), n.name, err)
	}
	return out, err
}
