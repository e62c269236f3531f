package address

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// lifetime of an address in the kernel, in seconds, and how often it is renewed.
	lifetime   = 4
	renewEvery = time.Second

	defaultAnnouncements = 5
	defaultInterval      = time.Second
)

// Address is one of the unit's.
type Address struct {
	Interface string
	Prefix    netip.Prefix // the address, and the length of its network's prefix
}

// Config of a Mover.
type Config struct {
	Addresses []Address
	// Announcements is how often a new holder announces each address, 0 for 5, and
	// Interval the pause in between, 0 for a second.
	Announcements int
	Interval      time.Duration
	// VirtualMAC puts the addresses on interfaces of their own, whose hardware
	// addresses are made of Unit, the unit's number, and the place of the interface
	// among Addresses: all members must list them in one order.
	VirtualMAC bool
	Unit       uint8
	// Prepare is called, by Run's goroutine, before the addresses come here; it may
	// be nil.
	Prepare func()
	Log     *slog.Logger // nil discards
}

// Mover moves addresses in the network namespace in which it was made. It is safe
// for concurrent use.
type Mover struct {
	cfg    Config
	nl     *netlink.Handle
	packet int // socket, for announcements
	kick   chan struct{}

	mu     sync.Mutex
	wanted bool
	status Status
}

// Status is what a Mover does.
type Status struct {
	// Held: the addresses are ours, since Since.
	Held  bool
	Since time.Time
	// Moves counts how often they came here, Announced the announcements that were
	// sent.
	Moves, Announced uint64
	// Err is what the kernel refused last; nil when all is well.
	Err error
}

// New opens what a Mover needs. The addresses stay where they are until Run.
func New(c Config) (*Mover, error) {
	if c.Announcements == 0 {
		c.Announcements = defaultAnnouncements
	}
	if c.Interval == 0 {
		c.Interval = defaultInterval
	}
	if c.Prepare == nil {
		c.Prepare = func() {}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	for _, a := range c.Addresses {
		if a.Interface == "" || !a.Prefix.IsValid() {
			return nil, fmt.Errorf("address: %v on interface %q is no address", a.Prefix, a.Interface)
		}
	}
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("address: open netlink: %w", err)
	}
	packet, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		nl.Close()
		return nil, fmt.Errorf("address: open a packet socket: %w", err)
	}
	return &Mover{cfg: c, nl: nl, packet: packet, kick: make(chan struct{}, 1)}, nil
}

// Hold says whether the addresses are to be here. It does not wait.
func (m *Mover) Hold(on bool) {
	m.mu.Lock()
	m.wanted = on
	m.mu.Unlock()
	select {
	case m.kick <- struct{}{}:
	default: // it is about to look
	}
}

// Status returns what the Mover does.
func (m *Mover) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.status
}

// Run moves addresses until ctx ends, and then gives them up. It begins by taking
// away what an earlier process has left here. Run once.
func (m *Mover) Run(ctx context.Context) error {
	defer m.close()
	m.release()
	timer := time.NewTimer(renewEvery)
	defer timer.Stop()
	held, left := false, 0
	var renew, announce time.Time
	for {
		m.mu.Lock()
		wanted := m.wanted
		m.mu.Unlock()
		now := time.Now()
		switch {
		case wanted && !held:
			m.cfg.Prepare()
			m.cfg.Log.Info("addresses of the unit taken", "count", len(m.cfg.Addresses))
			held, left, renew, announce = true, m.cfg.Announcements, now, now
			m.note(func(s *Status) { s.Held, s.Since = true, now; s.Moves++ })
		case !wanted && held:
			held = false
			m.release()
			m.note(func(s *Status) { s.Held, s.Since = false, now })
			m.cfg.Log.Info("addresses of the unit given up", "count", len(m.cfg.Addresses))
		}
		wait := time.Hour
		if held {
			if !now.Before(renew) {
				m.hold()
				renew = now.Add(renewEvery)
			}
			if left > 0 && !now.Before(announce) {
				m.announce()
				left--
				announce = now.Add(m.cfg.Interval)
			}
			wait = max(0, time.Until(renew))
			if left > 0 {
				wait = max(0, min(wait, time.Until(announce)))
			}
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			m.release()
			m.note(func(s *Status) { s.Held = false })
			return nil
		case <-m.kick:
		case <-timer.C:
		}
	}
}

func (m *Mover) close() {
	m.nl.Close()
	_ = unix.Close(m.packet)
}

func (m *Mover) note(change func(*Status)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(&m.status)
}

// hold puts the addresses in place, or renews them.
func (m *Mover) hold() {
	var errs []error
	for _, a := range m.cfg.Addresses {
		if err := m.put(a); err != nil {
			errs = append(errs, fmt.Errorf("put %v on %s: %w", a.Prefix, a.Interface, err))
		}
	}
	m.failed(errs)
}

// release takes the addresses away.
func (m *Mover) release() {
	var errs []error
	for _, a := range m.cfg.Addresses {
		if err := m.take(a); err != nil {
			errs = append(errs, fmt.Errorf("take %v from %s: %w", a.Prefix, a.Interface, err))
		}
	}
	m.failed(append(errs, m.removeDevices()...))
}

// failed notes what went wrong, and logs it when it is news.
func (m *Mover) failed(errs []error) {
	err := errors.Join(errs...)
	m.mu.Lock()
	news := err != nil && (m.status.Err == nil || m.status.Err.Error() != err.Error())
	m.status.Err = err
	m.mu.Unlock()
	if news {
		m.cfg.Log.Error("addresses of the unit were not moved", "error", err)
	}
}
