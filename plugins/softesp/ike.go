package softesp

import (
	"context"
	"net/netip"
	"sync"

	"github.com/evergate/evergate/offload/ikesock"
	"github.com/evergate/evergate/plugins/softesp/device"
)

const (
	// markerLen is the non-ESP marker before IKE messages on port 4500: four
	// zeros, where ESP has its SPI (RFC 3948 section 2.2).
	markerLen = 4
	// keepalive is the one octet of a NAT keepalive (RFC 3948 section 2.3).
	keepalive = 0xff
	// ikeBatch is how many datagrams pass at a time.
	ikeBatch = 32
)

// ikeBridge carries the IKE packets of port 4500 between our sockets and the
// daemon.
type ikeBridge struct {
	n    *network
	conn *ikesock.Conn
	// batch is held while sockets are in use, as worker.batch is.
	batch sync.Mutex
}

func dialIKE(ctx context.Context, n *network, path string) (*ikeBridge, error) {
	conn, err := ikesock.Dial(ctx, path)
	if err != nil {
		return nil, err
	}
	return &ikeBridge{n: n, conn: conn}, nil
}

// run sends what the daemon gives until the connection ends: by Close, or because
// the daemon went away, whose successor calls Configure.
func (b *ikeBridge) run() {
	in := make([]ikesock.Datagram, ikeBatch)
	var sender device.Sender
	var out []byte
	for {
		got, err := b.conn.ReadBatch(in)
		if err != nil {
			b.n.e.log.Info("connection to the daemon ended", "reason", err)
			return
		}
		b.batch.Lock()
		for _, d := range in[:got] {
			out = b.send(&sender, out[:0], d)
		}
		b.batch.Unlock()
	}
}

// send sends one datagram, built in buf, from the socket of its local address.
// It may be fragmented on the way: IKE has no path MTU discovery.
func (b *ikeBridge) send(sender *device.Sender, buf []byte, d ikesock.Datagram) []byte {
	s := b.n.rx[0].sockets.Load().ofAddress(d.Local.Addr().Unmap())
	if s == nil {
		b.n.e.stats.ikeError.Add(1)
		return buf
	}
	buf = append(buf, make([]byte, s.HeaderLen())...)
	if d.Keepalive {
		buf = append(buf, keepalive)
	} else {
		buf = append(buf, 0, 0, 0, 0) // the non-ESP marker
		buf = append(buf, d.Payload...)
	}
	to := device.NewDestination(netip.AddrPortFrom(d.Remote.Addr().Unmap(), d.Remote.Port()))
	s.PutHeader(buf, to)
	m := [1]device.Message{{Data: buf, To: to}}
	if _, err := sender.Send(s, m[:]); err != nil {
		b.n.e.stats.ikeError.Add(1)
	}
	return buf
}

// ofAddress returns the UDP socket of a local address that may fragment.
func (s *socketSet) ofAddress(a netip.Addr) *device.Socket {
	if s == nil {
		return nil
	}
	for i := range s.bySlot {
		if s.bySlot[i].addr == a {
			return s.bySlot[i].by[device.UDP][asIndex(false)]
		}
	}
	return nil
}

// deliver hands received IKE messages to the daemon.
func (b *ikeBridge) deliver(ds []ikesock.Datagram) int {
	if b == nil {
		return 0
	}
	return b.conn.WriteBatch(ds)
}
