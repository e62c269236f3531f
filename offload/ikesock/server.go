package ikesock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// acceptPause is how long the server rests after it could not accept, which
// happens when the process has no file descriptor left.
const acceptPause = 100 * time.Millisecond

// Server is the daemon's end: it talks to the dataplane that connected last.
// It is safe for concurrent use; one goroutine reads at a time.
type Server struct {
	listener *net.UnixListener
	lock     *os.File // held, so that no second daemon takes the name
	n        counters
	accepts  sync.WaitGroup

	mu      sync.Mutex
	current *Conn
	changed chan struct{} // closed when current or closed changes
	closed  bool
}

// Listen makes the socket at path, with mode 0600. Its directory must exist and
// be writable by its owner only, for whoever may write there can swap the socket
// for another. A file with ".lock" behind the name lies beside it until Close. A
// socket that a crashed daemon left behind is replaced; one that is in use is an
// error.
func Listen(path string) (*Server, error) {
	lock, err := prepare(path)
	if err != nil {
		return nil, fmt.Errorf("ikesock: listen on %s: %w", path, err)
	}
	// The mode of an unbound socket becomes that of its name, so at no time can
	// others connect.
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var mode error
		err := raw.Control(func(fd uintptr) { mode = unix.Fchmod(int(fd), 0o600) })
		return errors.Join(err, mode)
	}}
	l, err := config.Listen(context.Background(), "unixpacket", path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ikesock: listen on %s: %w", path, err), dropLock(lock))
	}
	ul, ok := l.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(fmt.Errorf("ikesock: %T is not a unix socket", l), l.Close(), dropLock(lock))
	}
	s := &Server{listener: ul, lock: lock, changed: make(chan struct{})}
	s.accepts.Go(s.accept)
	return s, nil
}

// prepare checks the directory, takes the lock and clears a stale socket away.
// The lock is its owner's until it is closed, a crash included; to ask a live
// daemon by connecting to it would replace its dataplane.
func prepare(path string) (*os.File, error) {
	if limit := len(unix.RawSockaddrUnix{}.Path) - 1; len(path) > limit {
		return nil, fmt.Errorf("a socket's path has at most %d octets, this one %d", limit, len(path))
	}
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	if dir.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf("directory %s may be written to by others (mode %v)", filepath.Dir(path), dir.Mode())
	}
	lock, err := takeLock(path + ".lock")
	if err != nil {
		return nil, err
	}
	if err := removeStale(path); err != nil {
		return nil, errors.Join(err, dropLock(lock))
	}
	return lock, nil
}

// maxLockTries bounds how often a lock is tried again that was dropped meanwhile.
const maxLockTries = 10

// takeLock returns the file of that name, locked.
func takeLock(path string) (*os.File, error) {
	for range maxLockTries {
		lock, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			return nil, errors.Join(fmt.Errorf("another daemon listens there: %w", err), lock.Close())
		}
		// Who held it before may have removed the name between our two calls; then
		// the next daemon would lock another file.
		if named(lock, path) {
			return lock, nil
		}
		if err := lock.Close(); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%s was removed %d times while it was locked", path, maxLockTries)
}

// named tells whether path is the name of an open file.
func named(f *os.File, path string) bool {
	have, err1 := f.Stat()
	there, err2 := os.Lstat(path)
	return err1 == nil && err2 == nil && os.SameFile(have, there)
}

// dropLock removes a lock while it is held, so that nobody else's goes.
func dropLock(lock *os.File) error {
	err := os.Remove(lock.Name())
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, lock.Close())
}

// removeStale removes the socket at path, if there is one, and nothing else.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode()&os.ModeSocket == 0:
		return errors.New("there is a file of that name, which is no socket")
	}
	return os.Remove(path)
}

// accept runs until Close.
func (s *Server) accept() {
	for {
		sock, err := s.listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(acceptPause)
			continue
		}
		if c, err := newConn(sock, &s.n); err == nil {
			s.replace(c)
		}
	}
}

// replace makes c, which may be nil, the current connection and closes the one
// before it: what that one had not delivered is lost, as UDP loses.
func (s *Server) replace(c *Conn) {
	s.mu.Lock()
	if s.closed && c != nil { // it came in while we were closing
		s.mu.Unlock()
		_ = c.Close()
		return
	}
	old := s.current
	s.current = c
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	if old != nil {
		_ = old.Close() // nothing is left to do with it
	}
}

// ReadBatch waits for datagrams of whichever dataplane is connected, as
// Conn.ReadBatch does. That a dataplane comes or goes is no error: the only one
// is net.ErrClosed, after Close.
func (s *Server) ReadBatch(ds []Datagram) (int, error) {
	for {
		s.mu.Lock()
		c, changed, closed := s.current, s.changed, s.closed
		s.mu.Unlock()
		switch {
		case closed:
			return 0, net.ErrClosed
		case c == nil:
			<-changed
			continue
		}
		n, err := c.ReadBatch(ds)
		if err == nil {
			return n, nil
		}
		s.lost(c)
	}
}

// lost forgets c unless a newer connection has replaced it.
func (s *Server) lost(c *Conn) {
	s.mu.Lock()
	if s.current == c {
		s.current = nil
	}
	s.mu.Unlock()
	_ = c.Close() // nothing is left to do with it
}

// WriteBatch hands ds to the dataplane and returns how many it took; without a
// dataplane none. It never waits: the others are dropped and counted.
func (s *Server) WriteBatch(ds []Datagram) int {
	s.mu.Lock()
	c := s.current
	s.mu.Unlock()
	if c == nil {
		s.n.gone.Add(uint64(len(ds)))
		return 0
	}
	return c.WriteBatch(ds)
}

// Connected tells whether a dataplane is connected.
func (s *Server) Connected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current != nil
}

// Stats returns the counters, over all dataplanes that were connected.
func (s *Server) Stats() Stats { return s.n.stats() }

// Close removes the socket, ends the connection and wakes a waiting ReadBatch.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	err := s.listener.Close()
	s.replace(nil)
	s.accepts.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil // for the second time
	}
	if err = errors.Join(err, dropLock(s.lock)); err != nil {
		return fmt.Errorf("ikesock: close: %w", err)
	}
	return nil
}
