package transport

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

func TestReconnectAfterACut(t *testing.T) {
	g := newGroup(t)
	a, b := g.pair()
	for range 5 {
		first := a.session(2).ID
		a.wire.cut()
		eventually(t, "both have another session", func() bool {
			id := a.session(2).ID
			return id != 0 && id != first && b.session(1).ID == id
		})
		a.mustSend(2, text(Record, "again"))
	}
	eventually(t, "frames arrive again", func() bool { return len(b.received(1)) > 0 })
	a.wantOrder(t)
	b.wantOrder(t)
}

// One end loses a stream that the other believes alive: the loser's word makes
// room for the next, whichever of them decides.
func TestStreamThatIsDeadAtOneEnd(t *testing.T) {
	for name, loser := range map[string]ipsec.MemberID{"the one that decides": 1, "the other": 2} {
		t.Run(name, func(t *testing.T) {
			g := newGroup(t)
			a, b := g.pair()
			ends := map[ipsec.MemberID]*member{1: a, 2: b}
			first := a.session(2).ID
			ends[loser].peerOf(g.addr(3 - loser)).session().abandon(t)
			eventually(t, "both have another session", func() bool {
				id := a.session(2).ID
				return id != 0 && id != first && b.session(1).ID == id
			})
			a.wantOrder(t)
			b.wantOrder(t)
		})
	}
}

// abandon ends a session so that the other end sees nothing of it, as if this
// host had lost its state: the socket is taken away, and stays open.
func (s *session) abandon(t *testing.T) {
	t.Helper()
	raw := s.raw.(*heardConn)
	f, err := raw.Conn.(*net.TCPConn).File() // a second descriptor of the stream
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	s.end(errCut)
}

func TestRestartedMemberReplacesItsOldSession(t *testing.T) {
	for name, restarted := range map[string]ipsec.MemberID{"the one that decides": 1, "the other": 2} {
		t.Run(name, func(t *testing.T) {
			g := newGroup(t)
			a, b := g.pair()
			ends := map[ipsec.MemberID]*member{1: a, 2: b}
			first := ends[3-restarted].session(restarted).ID
			// It dies without a word: its end of the stream stays open, unread.
			old := ends[restarted]
			old.peerOf(g.addr(3 - restarted)).session().abandon(t)
			old.wire.deaf.Store(true)
			old.stop()
			next := g.start(g.config(restarted, 3-restarted))
			next.wantPeers(3 - restarted)
			eventually(t, "the other has the new session", func() bool {
				id := ends[3-restarted].session(restarted).ID
				return id != 0 && id != first && id == next.session(3-restarted).ID
			})
			ends[3-restarted].wantOrder(t)
		})
	}
}

// Bulk is sent in one direction while claims and records are in between: each
// class keeps its order, and nothing is lost or doubled.
func TestOrderUnderLoad(t *testing.T) {
	g := newGroup(t)
	a, b := g.pair()
	const each = 3000
	next := [Classes]int{}
	for next != [Classes]int{each, each, each, each} {
		for c := range next {
			if next[c] == each {
				continue
			}
			body := binary.BigEndian.AppendUint32(make([]byte, 0, 300), uint32(next[c]))
			if a.Send(2, Frame{Type: 1, Class: Class(c), Body: body[:300]}) == Queued {
				next[c]++
			}
		}
	}
	eventually(t, "all has come", func() bool { return len(b.received(1)) == Classes*each })
	var seen [Classes]uint32
	for _, f := range b.received(1) {
		if n := binary.BigEndian.Uint32(f.Body); n != seen[f.Class] {
			t.Fatalf("Frame %d of class %v came where %d was next.", n, f.Class, seen[f.Class])
		}
		seen[f.Class]++
	}
}

func TestBlockedPeerBlocksNoOther(t *testing.T) {
	g := newGroup(t)
	a, c := g.start(g.config(1, 2, 3)), g.start(g.config(3, 1))
	blocked := newInbox()
	blocked.block = make(chan struct{})
	cb := g.config(2, 1)
	cb.Receiver = blocked
	g.start(cb)
	a.wantPeers(2, 3)
	body := make([]byte, 32<<10)
	var queued int
	for a.Send(2, Frame{Class: Bulk, Body: body}) == Queued {
		queued++
	}
	p := a.peer(g.addr(2))
	if p.Full[Bulk] != 1 || p.Queued[Bulk].Octets == 0 || p.Queued[Bulk].Octets > a.cfg.Limits.QueueOctets {
		t.Errorf("The queue is full and bounded, and Full counts; the status says %+v, %+v.", p.Full, p.Queued)
	}
	for range 100 {
		a.mustSend(3, text(Record, "unhindered"))
	}
	eventually(t, "C has all that is for it", func() bool { return len(c.received(1)) == 100 })
	if o := a.Heartbeat(2, []byte("alive")); o != Queued {
		t.Errorf("A stream that is stuck should not stop heartbeats, got %v.", o)
	}
	eventually(t, "B hears the heartbeat", func() bool { return len(blocked.heard()) > 0 })

	close(blocked.block)
	eventually(t, "A learns that there is room", func() bool {
		a.inbox.mu.Lock()
		defer a.inbox.mu.Unlock()
		return slices.Contains(a.rooms, Bulk)
	})
	eventually(t, "B has all that was queued", func() bool { return len(blocked.received(1)) == queued })
}

// A peer that never reads again is given up.
func TestStuckStreamIsGivenUp(t *testing.T) {
	g := newGroup(t)
	c := g.config(1, 2)
	c.Stall, c.Ping = 2*time.Second, 500*time.Millisecond
	us := g.start(c)
	conn := g.join(2)
	us.wantPeers(2)
	ctx, cancel := context.WithCancel(t.Context())
	alive := make(chan struct{})
	go func() { // it pings, but does not read
		defer close(alive)
		for ctx.Err() == nil {
			if _, err := conn.Write(appendFrame(nil, Frame{Type: typePing, Body: make([]byte, 8)})); err != nil {
				return
			}
			pause(ctx, 20*time.Millisecond)
		}
	}()
	body := make([]byte, 256<<10)
	eventually(t, "its session ends", func() bool {
		us.Send(2, Frame{Class: Bulk, Body: body})
		return len(us.ended()) > 0
	})
	cancel()
	<-alive
}

func TestHeartbeatsOnTheWire(t *testing.T) {
	g := newGroup(t)
	a, b := g.pair()
	hear := func(n int) {
		t.Helper()
		eventually(t, "B hears A", func() bool { return len(b.heard()) == n })
	}
	for i := range 3 {
		if o := a.Heartbeat(2, []byte{byte(i)}); o != Queued {
			t.Fatalf("A heartbeat should leave, got %v.", o)
		}
		hear(i + 1)
	}
	b.Heartbeat(1, nil)
	eventually(t, "A hears B, and knows the round trip", func() bool {
		return len(a.heard()) == 1 && a.heard()[0].RTT > 0 && a.peer(g.addr(2)).Heartbeats.RTT > 0
	})

	// Somebody at the address of A sends what A has sent, changed and again,
	// and rubbish.
	wire := a.wire.sentBeats()
	forger, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(g.addr(1), 0)), net.UDPAddrFromAddrPort(g.addrPort(2)))
	if err != nil {
		t.Fatal(err)
	}
	defer forger.Close()
	forged := slices.Clone(wire[0])
	binary.BigEndian.PutUint64(forged[12:], 1000)
	unknown := slices.Clone(wire[0])
	unknown[4] ^= 1
	for _, bad := range [][]byte{wire[0], wire[2], forged, unknown, []byte("rubbish"), make([]byte, 1400)} {
		forger.Write(bad)
	}
	eventually(t, "B counts each by its reason", func() bool {
		h := b.peer(g.addr(1)).Heartbeats
		return h.Replayed == 2 && h.Forged == 1 && h.Outdated == 1 && h.Malformed == 2
	})
	stranger, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(g.addr(9), 0)), net.UDPAddrFromAddrPort(g.addrPort(2)))
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	stranger.Write(wire[0])
	eventually(t, "B counts the stranger", func() bool { return b.Stats().StrangeHeartbeats == 1 })

	// Two are lost on the way.
	a.wire.silence(true)
	a.Heartbeat(2, nil)
	a.Heartbeat(2, nil)
	a.wire.silence(false)
	a.Heartbeat(2, []byte("last"))
	hear(4)
	s := b.peer(g.addr(1)).Heartbeats
	if s.Received != 4 || s.Lost != 2 || s.Last.IsZero() {
		t.Errorf("B heard 4 and missed 2, but shows %+v.", s)
	}
	if sent := a.peer(g.addr(2)).Heartbeats.Sent; sent != 6 {
		t.Errorf("A sent 6, but shows %d.", sent)
	}
	if o := a.Heartbeat(2, make([]byte, MaxHeartbeat+1)); o != TooLong {
		t.Errorf("A heartbeat has a longest length, got %v.", o)
	}
	if o := a.Heartbeat(5, nil); o != Away {
		t.Errorf("There is no member 5, got %v.", o)
	}
}

// The stream is cut and cannot be made again: heartbeats go on, so nobody is
// declared dead for it.
func TestHeartbeatsOutliveTheStream(t *testing.T) {
	g := newGroup(t)
	a, b := g.pair()
	a.wire.deaf.Store(true)
	b.wire.deaf.Store(true)
	a.wantNoOther() // it would have keys of its own
	b.wantNoOther()
	a.wire.cut()
	b.wire.cut()
	a.wantPeers()
	b.wantPeers()
	a.Heartbeat(2, []byte("still here"))
	eventually(t, "B hears A without a stream", func() bool { return len(b.heard()) == 1 })
	a.wire.deaf.Store(false)
	b.wire.deaf.Store(false)
	a.wantPeers(2)
	b.wantPeers(1)
	a.Heartbeat(2, []byte("with new keys"))
	eventually(t, "B hears A with the keys of the new session", func() bool { return len(b.heard()) == 2 })
}

// What a listener on the link sees is TLS 1.3 and sealed datagrams.
func TestNothingOnTheLinkCanBeRead(t *testing.T) { // B4
	g := newGroup(t)
	a, b := g.pair()
	secret := []byte("key material of a tunnel")
	a.mustSend(2, Frame{Type: 1, Class: Record, Body: secret})
	b.mustSend(1, Frame{Type: 1, Class: Bulk, Body: bytes.Repeat(secret, 1000)})
	a.Heartbeat(2, secret)
	exported, _, err := a.Export(2, "esp", nil, 32)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "all has come", func() bool {
		return len(a.received(2)) == 1 && len(b.received(1)) == 1 && len(b.heard()) == 1
	})
	var streams, beats [][]byte
	for _, m := range []*member{a, b} {
		m.wire.mu.Lock()
		for _, c := range m.wire.conns {
			c.mu.Lock()
			streams = append(streams, slices.Clone(c.in), slices.Clone(c.out))
			c.mu.Unlock()
		}
		beats = append(beats, m.wire.beats...)
		m.wire.mu.Unlock()
	}
	names := [][]byte{secret, exported.Reveal(), []byte("evergate:group"), []byte("Evergate group")}
	for _, octets := range slices.Concat(streams, beats) {
		for _, name := range names {
			if bytes.Contains(octets, name) {
				t.Errorf("%q can be read on the link.", name)
			}
		}
	}
	var heard int
	for _, octets := range streams {
		if len(octets) > 0 {
			wantTLS13(t, octets)
			heard++
		}
	}
	if heard < 4 || len(beats) != 1 {
		t.Errorf("Both ends of a stream in both directions, and a heartbeat, should have been heard, not %d and %d.", heard, len(beats))
	}
}

// wantTLS13 reads one direction of a stream, record by record.
func wantTLS13(t *testing.T, octets []byte) {
	t.Helper()
	const alert, handshake, application = 21, 22, 23
	for i := 0; len(octets) >= 5; i++ {
		n := int(binary.BigEndian.Uint16(octets[3:]))
		switch typ := octets[0]; {
		case i == 0 && typ == handshake:
			// supported_versions (43) says TLS 1.3 in the server's hello, and
			// offers it alone in the client's.
			hello := octets[:min(len(octets), 5+n)]
			if !bytes.Contains(hello, []byte{0, 43, 0, 2, 3, 4}) && !bytes.Contains(hello, []byte{0, 43, 0, 3, 2, 3, 4}) {
				t.Error("The hello does not say TLS 1.3.")
			}
		case typ == application, typ == 20, typ == alert && i > 0:
		default:
			t.Errorf("Record %d is of type %d: not sealed.", i, typ)
		}
		octets = octets[min(len(octets), 5+n):]
	}
}
