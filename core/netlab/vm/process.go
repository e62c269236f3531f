package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
)

// runTied runs a program to its end, and returns what it wrote to stderr. The
// program is killed when its context ends, and by the kernel when this process
// dies. started is called once it runs or could not be started.
func runTied(cmd *exec.Cmd, started func()) (stderr string, err error) {
	var said bytes.Buffer
	cmd.Stderr = &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	// The kernel sends the parent death signal when the thread ends that
	// started the child, so that thread is kept until then.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = cmd.Start()
	started()
	if err == nil {
		err = cmd.Wait()
	}
	return strings.TrimSpace(said.String()), err
}

// A share is a virtiofsd that serves the host's files to one machine.
type share struct {
	socket string
	cancel context.CancelFunc
	done   chan struct{}
	said   string // by virtiofsd; read after done
}

// virtiofsd is where Debian puts the program; it is on no PATH.
const virtiofsd = "/usr/lib/qemu/virtiofsd"

// startShare starts virtiofsd on a new socket of that path.
func startShare(ctx context.Context, socket string) (*share, error) {
	if _, err := os.Stat(virtiofsd); err != nil {
		return nil, fmt.Errorf("vm: %s is not installed: run make deps", virtiofsd)
	}
	// Listening before it starts saves waiting for it.
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("vm: listen for the machine: %w", err)
	}
	listener.SetUnlinkOnClose(false) // the directory goes as a whole
	file, err := listener.File()
	if err := errors.Join(err, listener.Close()); err != nil {
		return nil, fmt.Errorf("vm: hand over the listening socket: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &share{socket: socket, cancel: cancel, done: make(chan struct{})}
	cmd := exec.CommandContext(ctx, virtiofsd, "--fd=3", "-f", "-o", "source=/,sandbox=chroot,cache=always")
	cmd.ExtraFiles = []*os.File{file}
	go func() {
		defer close(s.done)
		// How it ends tells nothing: it ends when QEMU hangs up, and when it
		// ends before, QEMU and the machine fail, too.
		s.said, _ = runTied(cmd, func() { file.Close() })
	}()
	return s, nil
}

func (s *share) stop() {
	s.cancel()
	<-s.done
}
