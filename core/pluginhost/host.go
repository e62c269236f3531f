package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evergate/evergate/offload"
)

// MaxRuntimeDir is how long the path of Config.RuntimeDir may be: a socket's path
// has 107 octets, of which go-plugin's names take 39.
const MaxRuntimeDir = 68

// Config of a Host. Plugin, RuntimeDir, Boot and Log must be set.
type Config struct {
	Plugin Spec
	// RuntimeDir is an existing directory for sockets, writable by its owner
	// only, with a path of at most MaxRuntimeDir octets.
	RuntimeDir string
	// Boot returns a number that is higher than all it returned before, in any
	// run of this member (offload.Config.Boot). It is called for every process,
	// and for every Reset of one.
	Boot func() (uint32, error)
	// Down, unless nil, is called when a process that was up is gone. It must not
	// wait. The offload.Reset of the next process follows.
	Down func()
	Log  *slog.Logger

	// Outlive, unless 0, is for how long a plugin goes on when this daemon is gone:
	// forwarding, until the next daemon adopts it, or it ends by itself. 0 means
	// that it ends with the daemon.
	Outlive time.Duration
	// Owner says whose SAs a plugin holds: one that was left by another owner, by a
	// gateway of that name with another memory, is replaced.
	Owner string

	// StartTimeout is for a plugin's first sign of life; 0 means 15 s.
	StartTimeout time.Duration
	// CallTimeout is for one call, or for the next item of an Export; 0 means
	// 10 s.
	CallTimeout time.Duration
	// WaitTimeout is how long a call waits for a plugin to come up again; 0 means
	// 5 s. For the very first start it waits as long as that takes.
	WaitTimeout time.Duration
	// HealthInterval and HealthTimeout are for the question whether the plugin
	// still answers; 0 means 2 s and 10 s.
	HealthInterval, HealthTimeout time.Duration
	// StopTimeout is how long a plugin may take to end when asked; 0 means 5 s.
	// go-plugin gives it 2 s of that.
	StopTimeout time.Duration
	// MinPause and MaxPause are the first and the longest rest before a plugin
	// is started again; 0 means 200 ms and 30 s. One that lived for SettledAfter
	// gets the first rest again; 0 means 1 minute.
	MinPause, MaxPause, SettledAfter time.Duration
}

// Host runs one plugin and is the engine that it serves. It is safe for
// concurrent use.
type Host struct {
	config Config
	log    *slog.Logger
	events queue
	// keep is Run's; leaving is set by Leave.
	keep    *keeper
	leaving atomic.Bool

	// configuring is held while a process gets to know its Configure.
	configuring sync.Mutex
	wanted      *offload.Config // the last good one, Boot aside

	mu      sync.Mutex
	running bool
	current *process
	changed chan struct{} // closed when current changes, or a process has failed
	status  Status
	tally   tally
}

var _ offload.Engine = (*Host)(nil)

// New makes a Host; Run starts it.
func New(c Config) (*Host, error) {
	switch {
	case c.Plugin.Path == "" || c.Plugin.Name == "":
		return nil, errors.New("pluginhost: no plugin to run")
	case c.Boot == nil || c.Log == nil:
		return nil, errors.New("pluginhost: a host needs Boot and Log")
	}
	if len(c.RuntimeDir) > MaxRuntimeDir {
		return nil, fmt.Errorf("pluginhost: runtime directory %s: a path of %d octets leaves no room for a socket's, at most %d", c.RuntimeDir, len(c.RuntimeDir), MaxRuntimeDir)
	}
	info, err := os.Stat(c.RuntimeDir)
	if err != nil {
		return nil, fmt.Errorf("pluginhost: runtime directory: %w", err)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf("pluginhost: runtime directory %s may be written to by others (mode %v)", c.RuntimeDir, info.Mode())
	}
	for d, otherwise := range map[*time.Duration]time.Duration{
		&c.StartTimeout: 15 * time.Second, &c.CallTimeout: 10 * time.Second, &c.WaitTimeout: 5 * time.Second,
		&c.HealthInterval: 2 * time.Second, &c.HealthTimeout: 10 * time.Second, &c.StopTimeout: 5 * time.Second,
		&c.MinPause: 200 * time.Millisecond, &c.MaxPause: 30 * time.Second, &c.SettledAfter: time.Minute,
	} {
		if *d <= 0 {
			*d = otherwise
		}
	}
	return &Host{
		config: c, log: c.Log.With("dataplane", c.Plugin.Name), changed: make(chan struct{}),
		status: Status{Name: c.Plugin.Name, Path: c.Plugin.Path, State: Stopped},
	}, nil
}

// State of a Host.
type State string

// The states.
const (
	Starting State = "starting" // a process is starting
	Up       State = "up"       // it serves
	Down     State = "down"     // it failed, and rests before it is started again
	Stopped  State = "stopped"  // Run is not running
)

// Status is what is known of the plugin, for people and metrics.
type Status struct {
	Name, Path string
	State      State
	PID        int          // 0 when there is no process
	UpSince    time.Time    // zero unless Up
	Info       offload.Info // of the process that is or was up last
	// Boot is the boot number of the process that is or was up last.
	Boot uint32
	// Adopted: an earlier daemon has started the process.
	Adopted bool
	// Starts counts attempts to start a process, Failures those and the lives
	// that ended unasked, Hangs those of them that we ended.
	Starts, Failures, Hangs uint64
	// LastError says why the last failure was one, at LastFailure. Unfit: it was an
	// ErrUnfit.
	LastError   string
	LastFailure time.Time
	Unfit       bool
	// TimedOut counts calls without an answer, EventsLost events that nobody
	// read.
	TimedOut, EventsLost uint64
}

// Status returns what is known of the plugin.
func (h *Host) Status() Status {
	h.mu.Lock()
	s := h.status
	h.mu.Unlock()
	h.events.mu.Lock()
	s.EventsLost = h.events.total
	h.events.mu.Unlock()
	return s
}

// report changes the status.
func (h *Host) report(change func(s *Status)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(&h.status)
}

// setCurrent tells those who wait that p, nil for none, is the process to talk
// to.
func (h *Host) setCurrent(p *process) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.current = p
	h.turn()
}

// turn tells those who wait that there is news. The caller holds mu.
func (h *Host) turn() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// Serving tells whether there is a process to talk to. The channel is closed when
// that may have changed.
func (h *Host) Serving() (serving bool, changed <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.current != nil, h.changed
}

// plane waits a moment for a process to talk to, but for none that does not fit; it
// looks at the state before it gives up, so the wait for a start that is bounded by
// itself may be longer.
func (h *Host) plane(ctx context.Context, doing string) (*process, error) {
	timer := time.NewTimer(h.config.WaitTimeout)
	defer timer.Stop()
	for {
		h.mu.Lock()
		p, changed, status := h.current, h.changed, h.status
		h.mu.Unlock()
		switch {
		case p != nil:
			return p, nil
		case status.Unfit:
			return nil, status.unavailable(doing)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("pluginhost: %s: wait for plugin %s: %w", doing, status.Name, ctx.Err())
		case <-timer.C:
			// As it is now: when the wait began, nothing may have been started.
			h.mu.Lock()
			status = h.status
			h.mu.Unlock()
			if status.State == Starting && status.Failures == 0 {
				timer.Reset(h.config.WaitTimeout)
				continue
			}
			return nil, status.unavailable(doing)
		}
	}
}
