package examplenpu

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/ikesock"
)

// machine is the host that we run on. Decrypted packets go through a TUN device,
// ESP and IKE through sockets on each of our addresses. Each of these has one
// goroutine that reads.
type machine struct {
	e     *Engine
	tasks sync.WaitGroup

	// mu guards what configure replaces; it is taken after Engine.mu.
	mu      sync.RWMutex
	tun     *tun
	sockets map[netip.Addr]*sockets
	ike     *ikesock.Conn
}

func newMachine(e *Engine) *machine { return &machine{e: e, sockets: make(map[netip.Addr]*sockets)} }

func (m *machine) configure(ctx context.Context, c offload.Config, s settings) (err error) {
	device := m.tun
	if device == nil || device.name != s.tunName {
		if device, err = openTUN(s.tunName); err != nil {
			return err
		}
	}
	opened := make(map[netip.Addr]*sockets)
	undo := func(err error) error {
		for _, o := range opened {
			err = errors.Join(err, o.close())
		}
		if device != m.tun {
			err = errors.Join(err, device.close())
		}
		return err
	}
	if err := device.up(s.tunMTU); err != nil {
		return undo(err)
	}
	for _, a := range c.Addresses {
		if m.sockets[a] != nil || opened[a] != nil {
			continue
		}
		if opened[a], err = openSockets(ctx, a); err != nil {
			delete(opened, a)
			return undo(err)
		}
	}
	var ike *ikesock.Conn
	if c.IKESocket != "" {
		if ike, err = ikesock.Dial(ctx, c.IKESocket); err != nil {
			return undo(err)
		}
	}
	m.replace(device, opened, c.Addresses, ike)
	return nil
}

// replace puts what was opened in place, starts its readers, and closes what is
// no longer wanted.
func (m *machine) replace(device *tun, opened map[netip.Addr]*sockets, wanted []netip.Addr, ike *ikesock.Conn) {
	m.mu.Lock()
	var gone []func() error
	if device != m.tun {
		if m.tun != nil {
			gone = append(gone, m.tun.close)
		}
		m.tun = device
		m.tasks.Go(func() { m.readTUN(device) })
	}
	if m.ike != nil {
		gone = append(gone, m.ike.Close)
	}
	if m.ike = ike; ike != nil {
		m.tasks.Go(func() { m.readIKE(ike) })
	}
	for a, s := range m.sockets {
		if !slices.Contains(wanted, a) {
			gone = append(gone, s.close)
			delete(m.sockets, a)
		}
	}
	for a, s := range opened {
		m.sockets[a] = s
		m.tasks.Go(func() { m.readUDP(s) })
		m.tasks.Go(func() { m.readESP(s) })
	}
	m.mu.Unlock()
	for _, end := range gone {
		if err := end(); err != nil {
			m.e.log.Warn("old sockets did not close", "error", err)
		}
	}
}

func (m *machine) close() error {
	m.mu.Lock()
	var err error
	if m.tun != nil {
		err = errors.Join(err, m.tun.close())
	}
	for _, s := range m.sockets {
		err = errors.Join(err, s.close())
	}
	if m.ike != nil {
		err = errors.Join(err, m.ike.Close())
	}
	m.mu.Unlock()
	m.tasks.Wait()
	return err
}

func (m *machine) send(o outgoing) error {
	m.mu.RLock()
	s := m.sockets[o.local]
	m.mu.RUnlock()
	switch {
	case s == nil:
		return fmt.Errorf("examplenpu: send from %v, which is none of our addresses", o.local)
	case o.encap != nil:
		return s.sendUDP(o.packet, netip.AddrPortFrom(o.remote, o.encap.RemotePort), o.class)
	default:
		return s.sendESP(o.packet, o.remote, o.class)
	}
}

func (m *machine) deliver(packet []byte) error {
	m.mu.RLock()
	device := m.tun
	m.mu.RUnlock()
	_, err := device.file.Write(packet)
	return err
}

// maxPacket is the longest IP packet in octets.
const maxPacket = 65535

func (m *machine) readTUN(device *tun) {
	b := make([]byte, maxPacket)
	for {
		n, err := device.file.Read(b)
		if err != nil {
			m.ended("tun device", err)
			return
		}
		m.e.fromHost(b[:n])
	}
}

// readESP reads packets of protocol 50.
func (m *machine) readESP(s *sockets) {
	b := make([]byte, maxPacket)
	for {
		packet, from, class, err := s.receiveESP(b)
		if err != nil {
			m.ended("esp socket", err)
			return
		}
		m.e.fromNetwork(packet, netip.AddrPortFrom(from, 0), class)
	}
}

// readUDP reads port 4500, on which ESP, IKE and NAT keepalives arrive.
//
// "The Non-ESP Marker is 4 zero-valued bytes aligning with the SPI field of an
// ESP packet." RFC 3948 section 2.2.
func (m *machine) readUDP(s *sockets) {
	b := make([]byte, maxPacket)
	for {
		datagram, from, class, err := s.receiveUDP(b)
		switch {
		case err != nil:
			m.ended("udp socket", err)
			return
		case len(datagram) == 1 && datagram[0] == keepalive:
			m.e.stats.keepalives.Add(1)
		case len(datagram) > markerLen && [markerLen]byte(datagram) == [markerLen]byte{}:
			m.toDaemon(ikesock.Datagram{Local: s.local, Remote: from, Payload: datagram[markerLen:]})
		default:
			m.e.fromNetwork(datagram, from, class)
		}
	}
}

const (
	markerLen = 4    // RFC 3948 section 2.2
	keepalive = 0xff // RFC 3948 section 2.3
	nattPort  = 4500
	ikeBatch  = 32 // messages from the daemon at a time
)

func (m *machine) toDaemon(d ikesock.Datagram) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.ike == nil || m.ike.WriteBatch([]ikesock.Datagram{d}) == 0 {
		m.e.stats.ikeLost.Add(1)
		return
	}
	m.e.stats.ikeIn.Add(1)
}

// readIKE sends what the daemon gives, until that ends or comes back with another
// Configure.
func (m *machine) readIKE(ike *ikesock.Conn) {
	batch := make([]ikesock.Datagram, ikeBatch)
	var b []byte
	for {
		n, err := ike.ReadBatch(batch)
		if err != nil {
			m.ended("socket of the daemon", err)
			return
		}
		for _, d := range batch[:n] {
			b = append(b[:0], make([]byte, markerLen)...)
			b = append(b, d.Payload...)
			if d.Keepalive {
				b = append(b[:0], keepalive)
			}
			m.sendIKE(d, b)
		}
	}
}

func (m *machine) sendIKE(d ikesock.Datagram, b []byte) {
	m.mu.RLock()
	s := m.sockets[d.Local.Addr()]
	m.mu.RUnlock()
	if s == nil || s.sendUDP(b, d.Remote, 0) != nil {
		m.e.stats.ikeLost.Add(1)
		return
	}
	m.e.stats.ikeOut.Add(1)
}

// ended notes why a reader ended; that we closed what it read is no news.
func (m *machine) ended(what string, err error) {
	if !closedByUs(err) {
		m.e.log.Warn("reader ended", "of", what, "error", err)
	}
}
