package netio

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/ikesock"
)

// The ports of IKE (RFC 7296 section 2) and of IKE and ESP in UDP (RFC 3948).
const (
	PortIKE  = 500
	PortNATT = 4500
)

// Config of a Mux.
type Config struct {
	// PortIKE and PortNATT replace 500 and 4500 where they are not zero.
	PortIKE, PortNATT uint16
	// IKESocket is the path of the socket to the dataplane
	// (offload.Config.IKESocket).
	IKESocket string
	// Deliver gets what comes in, at most BatchSize datagrams a call. It is
	// called by one goroutine per socket, several at a time; a call that waits
	// fills that socket's queue in the kernel, which is bounded. The slice is
	// valid during the call, the payloads are the callee's.
	Deliver func([]ike.Datagram)
	Log     *slog.Logger
}

// Sources say where IKE arrives.
type Sources struct {
	// Addresses are those at which we speak IKE.
	Addresses []netip.Addr
	// PlaneOwnsNATT: the dataplane has port 4500 (offload.Info.OwnsNATT).
	PlaneOwnsNATT bool
	// NATTOptions are set on port 4500 where it is ours
	// (offload.Info.SocketOptions).
	NATTOptions []offload.SocketOption
}

// Mux is all sockets of IKE as one. It is safe for concurrent use.
type Mux struct {
	config  Config
	n       counters
	plane   *ikesock.Server
	readers sync.WaitGroup

	setting sync.Mutex // one Set at a time

	mu    sync.RWMutex
	conns map[netip.AddrPort]*Conn
	set   Sources
}

// New makes a Mux that has the socket to the dataplane only; Set opens others.
// Close it.
func New(c Config) (*Mux, error) {
	if c.Deliver == nil || c.Log == nil {
		return nil, errors.New("netio: a mux needs Deliver and Log")
	}
	if c.PortIKE == 0 {
		c.PortIKE = PortIKE
	}
	if c.PortNATT == 0 {
		c.PortNATT = PortNATT
	}
	plane, err := ikesock.Listen(c.IKESocket)
	if err != nil {
		return nil, fmt.Errorf("netio: open the socket to the dataplane: %w", err)
	}
	m := &Mux{config: c, plane: plane, conns: map[netip.AddrPort]*Conn{}}
	m.readers.Go(m.readPlane)
	return m, nil
}

// Set opens and closes sockets until they are those that s asks for; those that
// stay lose nothing. When some cannot be opened it says which and why, and opens
// and closes none, but for sockets whose options changed: those close first,
// because a name cannot be bound twice.
//
// Where the dataplane takes port 4500 over, Set comes before its Configure;
// where it gives the port back, after.
func (m *Mux) Set(s Sources) error {
	m.setting.Lock()
	defer m.setting.Unlock()
	wanted := m.wanted(s)
	old, err := m.closeChanged(s)
	if err != nil {
		return err
	}
	next, opened, err := m.open(wanted, old)
	if err != nil {
		return errors.Join(err, closeAll(opened))
	}
	m.mu.Lock()
	m.conns, m.set = next, s
	m.mu.Unlock()
	for _, c := range opened {
		m.readers.Go(func() { m.read(c) })
		m.config.Log.Info("ike socket opened", "local", c.Local())
	}
	var unwanted []*Conn
	for local, c := range old {
		if next[local] == nil {
			unwanted = append(unwanted, c)
			m.config.Log.Info("ike socket closed", "local", local)
		}
	}
	return closeAll(unwanted)
}

// wanted lists the sockets that s asks for.
func (m *Mux) wanted(s Sources) map[netip.AddrPort]Options {
	w := map[netip.AddrPort]Options{}
	for _, a := range s.Addresses {
		w[netip.AddrPortFrom(a, m.config.PortIKE)] = Options{}
		if !s.PlaneOwnsNATT {
			w[netip.AddrPortFrom(a, m.config.PortNATT)] = Options{NATT: true, Socket: s.NATTOptions}
		}
	}
	return w
}

// closeChanged closes the sockets whose options are others in s, and returns
// those that remain.
func (m *Mux) closeChanged(s Sources) (map[netip.AddrPort]*Conn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if slices.Equal(m.set.NATTOptions, s.NATTOptions) {
		return m.conns, nil
	}
	remain := map[netip.AddrPort]*Conn{}
	var changed []*Conn
	for local, c := range m.conns {
		if c.natt {
			changed = append(changed, c)
		} else {
			remain[local] = c
		}
	}
	m.conns = remain
	return remain, closeAll(changed)
}

// open returns the wanted sockets, of which it opened those that old lacks.
func (m *Mux) open(wanted map[netip.AddrPort]Options, old map[netip.AddrPort]*Conn) (map[netip.AddrPort]*Conn, []*Conn, error) {
	next := map[netip.AddrPort]*Conn{}
	var opened []*Conn
	var failed []error
	for local, o := range wanted {
		c := old[local]
		if c == nil {
			var err error
			if c, err = listen(local, o, &m.n); err != nil {
				failed = append(failed, err)
				continue
			}
			opened = append(opened, c)
		}
		next[local] = c
	}
	return next, opened, errors.Join(failed...)
}

func closeAll(conns []*Conn) error {
	var failed []error
	for _, c := range conns {
		failed = append(failed, c.Close())
	}
	return errors.Join(failed...)
}

// read delivers what one socket yields, until it is closed.
func (m *Mux) read(c *Conn) {
	ds := make([]ike.Datagram, BatchSize)
	for {
		n, err := c.ReadBatch(ds)
		if err != nil {
			return
		}
		m.config.Deliver(ds[:n])
		clear(ds)
	}
}

// readPlane delivers what the dataplane hands up, until Close.
func (m *Mux) readPlane() {
	in, ds := make([]ikesock.Datagram, BatchSize), make([]ike.Datagram, BatchSize)
	for {
		n, err := m.plane.ReadBatch(in)
		if err != nil {
			return
		}
		ours := m.ours(ds[:0], in[:n])
		m.n.received.Add(uint64(len(ours)))
		m.config.Deliver(ours)
		clear(in) // the payloads are the callee's now
		clear(ds)
	}
}

// ours appends the datagrams to our addresses. The dataplane has others, those of
// links between members, on which nobody is to speak IKE with us.
func (m *Mux) ours(ds []ike.Datagram, in []ikesock.Datagram) []ike.Datagram {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, d := range in {
		if slices.Contains(m.set.Addresses, d.Local.Addr()) {
			ds = append(ds, ike.Datagram(d))
		}
	}
	m.n.elsewhere.Add(uint64(len(in) - len(ds)))
	return ds
}

// Send sends each datagram from its Local address and port, and returns how
// many went. It never waits: the others are dropped and counted. The caller
// keeps the payloads.
func (m *Mux) Send(ds []ike.Datagram) int {
	sent := 0
	for len(ds) > 0 {
		n := 1
		for n < len(ds) && ds[n].Local == ds[0].Local {
			n++
		}
		sent += m.sendFrom(ds[0].Local, ds[:n])
		ds = ds[n:]
	}
	return sent
}

// sendFrom sends datagrams of one local address and port.
func (m *Mux) sendFrom(local netip.AddrPort, ds []ike.Datagram) int {
	m.mu.RLock()
	c := m.conns[local]
	plane := m.set.PlaneOwnsNATT && local.Port() == m.config.PortNATT && slices.Contains(m.set.Addresses, local.Addr())
	m.mu.RUnlock()
	switch {
	case c != nil:
		return c.WriteBatch(ds)
	case plane:
		out := make([]ikesock.Datagram, len(ds))
		for i, d := range ds {
			out[i] = ikesock.Datagram(d)
		}
		sent := m.plane.WriteBatch(out)
		m.n.sent.Add(uint64(sent))
		return sent
	default:
		m.n.noSocket.Add(uint64(len(ds)))
		return 0
	}
}

// Stats returns the counters.
func (m *Mux) Stats() Stats {
	s := m.n.stats()
	s.Plane = m.plane.Stats()
	return s
}

// Close closes all sockets and returns when Deliver is called no more. Deliver
// must not wait for it.
func (m *Mux) Close() error {
	m.setting.Lock()
	defer m.setting.Unlock()
	m.mu.Lock()
	var conns []*Conn
	for _, c := range m.conns {
		conns = append(conns, c)
	}
	m.conns, m.set = map[netip.AddrPort]*Conn{}, Sources{}
	m.mu.Unlock()
	err := errors.Join(closeAll(conns), m.plane.Close())
	m.readers.Wait()
	return err
}
