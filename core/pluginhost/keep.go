package pluginhost

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/offload/pluginrpc"
)

// keepDir is below Config.RuntimeDir and holds what outlives a daemon: who drives
// the plugin (lock), how to reach it (process), and where its log goes (stderr).
const keepDir = "dataplane"

// record is what the next daemon must know of a process that lives on. It holds
// the key that opens the process, so nobody else may read it.
type record struct {
	Plugin string // Spec.Name
	Owner  string `json:",omitempty"`
	// PID, and when the process began, in the kernel's ticks: a number alone may
	// be another's by now. Kernel names the life of the kernel that counts them.
	PID     int
	Started uint64
	Kernel  string
	// Socket and Dir are where it listens; empty before its handshake.
	Socket, Dir string
	Protocol    int
	Boot        uint32
	Identity    identity
}

// keeper is the place below a runtime directory where a plugin waits for its next
// daemon. Only one process at a time may have it.
type keeper struct {
	dir  string
	lock *os.File
}

// errDriven says that another daemon is there: the newer one wins only when the
// older is dead.
var errDriven = errors.New("another daemon drives the dataplane")

// openKeeper takes the place, making it if create says so. It is nil where there is
// none.
func openKeeper(runtimeDir string, create bool) (*keeper, error) {
	dir := filepath.Join(runtimeDir, keepDir)
	if create {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("pluginhost: make the directory of plugins that live on: %w", err)
		}
	}
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) && !create {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("pluginhost: directory of plugins that live on: %w", err)
	}
	if stat, ok := info.Sys().(*unix.Stat_t); !info.IsDir() || info.Mode().Perm()&0o077 != 0 || ok && int(stat.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("pluginhost: %s (mode %v) must be a directory that is ours alone", dir, info.Mode())
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("pluginhost: open the lock of the dataplane: %w", err)
	}
	// The kernel lets go of it with the process, however that ends.
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("pluginhost: %w: lock %s: %w", errDriven, lock.Name(), err)
	}
	return &keeper{dir: dir, lock: lock}, nil
}

// close gives the place up.
func (k *keeper) close() {
	if k != nil {
		_ = k.lock.Close()
	}
}

func (k *keeper) recordPath() string { return filepath.Join(k.dir, "process") }

// stderrPath is of a FIFO: unlike a pipe it has another reader when the next
// daemon comes.
func (k *keeper) stderrPath() string { return filepath.Join(k.dir, "stderr") }

// makeStderr makes a fresh FIFO: of an older one a forgotten process may still
// have the other end.
func (k *keeper) makeStderr() error {
	if err := os.Remove(k.stderrPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return unix.Mkfifo(k.stderrPath(), 0o600)
}

// openStderr opens our end of the FIFO.
func (k *keeper) openStderr() (*os.File, error) {
	return os.OpenFile(k.stderrPath(), os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
}

// save replaces the record in one step. It need not survive the machine: neither
// does the process.
func (k *keeper) save(r record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("pluginhost: encode the record of a plugin: %w", err)
	}
	next := k.recordPath() + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("pluginhost: record a plugin: %w", err)
	}
	if err := os.WriteFile(next, b, 0o600); err != nil {
		return fmt.Errorf("pluginhost: record a plugin: %w", err)
	}
	if err := os.Rename(next, k.recordPath()); err != nil {
		return fmt.Errorf("pluginhost: record a plugin: %w", err)
	}
	return nil
}

// load returns the record of a process that a daemon before us has left, nil when
// there is none.
func (k *keeper) load() (*record, error) {
	b, err := os.ReadFile(k.recordPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("pluginhost: read the record of a plugin: %w", err)
	}
	r := new(record)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("pluginhost: %s is damaged: %w", k.recordPath(), err)
	}
	return r, nil
}

// forget removes the record, and the FIFO, of a process that is gone.
func (k *keeper) forget() {
	if k != nil {
		_ = os.Remove(k.recordPath())
		_ = os.Remove(k.stderrPath())
	}
}

// recordOf begins the record of a process that runs as pid.
func recordOf(s Spec, owner string, pid int, id identity) (record, error) {
	started, err := startOf(pid)
	if err != nil {
		return record{}, err
	}
	kernel, err := kernelLife()
	if err != nil {
		return record{}, err
	}
	return record{Plugin: s.Name, Owner: owner, PID: pid, Started: started, Kernel: kernel, Protocol: pluginrpc.ProtocolVersion, Identity: id}, nil
}

// lives tells whether the process of the record is there.
func (r *record) lives() bool {
	kernel, err := kernelLife()
	if err != nil || kernel != r.Kernel || r.PID <= 1 {
		return false
	}
	started, err := startOf(r.PID)
	return err == nil && started == r.Started
}

// fits tells whether the process is one that owner would start by s. A file that was
// replaced since is no reason to stop what works: the next start takes it. One
// whose checksum the operator demands is.
func (r *record) fits(s Spec, owner string) error {
	switch {
	case r.Socket == "" || r.Identity.Plugin == nil:
		return errors.New("it had not come up")
	case r.Plugin != s.Name:
		return fmt.Errorf("it is %s", r.Plugin)
	case r.Owner != owner:
		return fmt.Errorf("it holds the SAs of %q, and we are %q", r.Owner, owner)
	case r.Protocol != pluginrpc.ProtocolVersion:
		return fmt.Errorf("it speaks version %d of the protocol, and we %d", r.Protocol, pluginrpc.ProtocolVersion)
	}
	s.Path = fmt.Sprintf("/proc/%d/exe", r.PID)
	return s.checkSum()
}

// kernelLife is another one after each start of the machine.
func kernelLife() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("pluginhost: name the kernel's life: %w", err)
	}
	return string(bytes.TrimSpace(b)), nil
}

// startOf is when a process began, in ticks since the kernel did: field 22 of
// proc_pid_stat(5). The second field may hold spaces and parentheses. A process
// that has ended and was not waited for has none.
func startOf(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("pluginhost: look for process %d: %w", pid, err)
	}
	const state, start = 0, 19 // of the fields behind the second one
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) <= start || fields[state] == "Z" || fields[state] == "X" {
		return 0, fmt.Errorf("pluginhost: process %d has ended", pid)
	}
	return strconv.ParseUint(fields[start], 10, 64)
}
