package pluginrpc

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// watchParent returns a channel that is closed when the process that started
// this one is gone, and a func that ends the watch and waits for it.
//
// A pidfd is used, because PR_SET_PDEATHSIG fires when the thread that started
// us ends, and Go's threads come and go.
func watchParent() (gone <-chan struct{}, forget func(), err error) {
	pid := os.Getppid()
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, nil, fmt.Errorf("pluginrpc: open a pidfd of the parent process %d: %w", pid, err)
	}
	parent := os.NewFile(uintptr(fd), "parent")
	raw, err := parent.SyscallConn()
	if err != nil {
		return nil, nil, fmt.Errorf("pluginrpc: watch the parent process %d: %w", pid, err)
	}
	ch, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		// A parent that ended before the pidfd was opened left us with another
		// one, and nobody reads the handshake.
		if readerGone(stdout) || raw.Read(exited) == nil {
			close(ch)
		}
	}()
	return ch, func() {
		_ = parent.Close() // ends raw.Read
		<-done
	}, nil
}

const stdout = 1 // the file descriptor: go-plugin gives os.Stdout another one

// exited tells whether the process of a pidfd has ended: then it is readable.
func exited(fd uintptr) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return err == nil && n > 0
}

// readerGone tells whether fd is a pipe or socket whose other end was closed.
func readerGone(fd int32) bool {
	fds := []unix.PollFd{{Fd: fd}} // errors and hang-ups come unasked
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0
}
