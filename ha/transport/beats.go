package transport

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// Heartbeat seals a payload of at most MaxHeartbeat octets and sends it to a
// member, over every link that leads there, in the caller's goroutine and without
// waiting for anything. The payload stays the caller's. Queued means that it left
// over one of them; nobody says whether it arrives.
func (m *Mesh) Heartbeat(to ipsec.MemberID, payload []byte) Outcome {
	if len(payload) > MaxHeartbeat {
		return TooLong
	}
	if to >= ipsec.MaxMembers {
		return Away
	}
	p := m.beats[to].Load()
	if p == nil {
		return Away
	}
	k, _ := p.beatKeys()
	if k == nil || k.peer != to {
		return Away
	}
	out := Full
	for i, w := range m.ways {
		if !p.addrs[i].IsValid() {
			continue
		}
		// Each copy has a number of its own, so that both ends know of each link
		// whether it works.
		now := time.Now()
		if err := w.udp.Load().send(k.seal(now, now.Sub(m.started), payload), p.addrs[i]); err != nil {
			p.n.beatsUnsent.Add(1)
			p.n.ways[i].unsent.Add(1)
			continue
		}
		p.n.beatsSent.Add(1)
		out = Queued
	}
	return out
}

// beatSocket is where heartbeats leave, once Run has opened it.
type beatSocket struct{ datagrams }

// listenBeats receives heartbeats that come over a way until its socket is closed,
// which the end of ctx does.
func (m *Mesh) listenBeats(ctx context.Context, way int) {
	udp := m.ways[way].udp.Load()
	defer context.AfterFunc(ctx, func() { udp.Close() })()
	b := make([]byte, maxDatagram)
	for {
		n, from, err := udp.receive(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			m.n.receiveErrors.Add(1)
			pause(ctx, receivePause)
			continue
		}
		m.receiveBeat(b[:n], from.Addr().Unmap(), way)
	}
}

// receivePause keeps a socket that yields only errors from taking a processor.
const receivePause = 10 * time.Millisecond

func (m *Mesh) receiveBeat(b []byte, from netip.Addr, way int) {
	p := m.peerOf(from)
	if p == nil {
		m.n.strangeBeats.Add(1)
		return
	}
	h, err := parseBeatHead(b)
	if err == nil {
		err = p.openBeat(b, h, way)
	}
	switch {
	case err == nil:
	case errors.Is(err, errBeatFormat):
		p.n.beatsMalformed.Add(1)
	case errors.Is(err, errBeatSession):
		p.n.beatsOutdated.Add(1)
	case errors.Is(err, errBeatReplay):
		p.n.beatsReplayed.Add(1)
	default:
		p.n.beatsForged.Add(1)
	}
}

// openBeat tries the keys of the present session and of the one before.
func (p *peer) openBeat(b []byte, h beatHead, way int) error {
	last, previous := p.beatKeys()
	for _, k := range []*beatKeys{last, previous} {
		if k == nil || k.session != h.session {
			continue
		}
		now := time.Now()
		beat, lost, err := k.open(b, h, now, now.Sub(p.mesh.started))
		if err != nil {
			return err
		}
		p.n.beatsReceived.Add(1)
		p.n.beatsLost.Add(lost)
		p.n.beatAt.Store(int64(now.Sub(p.mesh.started)))
		p.n.ways[way].received.Add(1)
		p.n.ways[way].at.Store(int64(now.Sub(p.mesh.started)))
		if beat.RTT > 0 {
			p.n.beatRTT.Store(int64(beat.RTT))
		}
		p.mesh.cfg.Receiver.ReceiveHeartbeat(beat)
		return nil
	}
	return errBeatSession
}

func (p *peer) beatKeys() (last, previous *beatKeys) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last, p.previous
}

// useKeys makes k the keys for what is sent. Those before it still open what is
// under way, unless another member is at the address now.
func (p *peer) useKeys(k *beatKeys) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.previous, p.last = p.last, k
	if p.previous != nil && p.previous.peer != k.peer {
		p.previous = nil
	}
}
