package softesp

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/ikesock"
	"github.com/evergate/evergate/plugins/softesp/device"
	"github.com/evergate/evergate/plugins/softesp/esptest"
	"github.com/evergate/evergate/plugins/softesp/packet"
)

// bench is an engine without devices: its two goroutines are called by hand.
type bench struct {
	e       *Engine
	tx      *transmitter
	rx      *receiver
	in, out *association
	frames  sink
}

// sink counts what would go to the TUN device.
type sink struct{ frames, octets int }

func (s *sink) WritePacket(_ []byte, pieces [][]byte) {
	s.frames++
	for _, p := range pieces {
		s.octets += len(p)
	}
}

var (
	benchLocal  = netip.MustParseAddr("192.0.2.1")
	benchRemote = netip.MustParseAddr("192.0.2.2")
	benchHere   = netip.MustParseAddr("10.1.0.1")
	benchThere  = netip.MustParseAddr("10.2.0.1")
)

func newBench(tb testing.TB, a ipsec.Algorithms) *bench {
	tb.Helper()
	e, err := New(Options{})
	if err != nil {
		tb.Fatalf("The engine cannot be made: %v.", err)
	}
	b := &bench{e: e}
	b.in = b.add(tb, a, ipsec.Inbound)
	b.out = b.add(tb, a, ipsec.Outbound)
	n := &network{e: e}
	socket := &device.Socket{SocketConfig: device.SocketConfig{Local: benchLocal, Kind: device.UDP, Port: nattPort, Whole: true}}
	local := localSockets{addr: benchLocal}
	local.by[device.UDP][asIndex(true)] = socket
	set := &socketSet{bySlot: []localSockets{local}}
	b.tx = &transmitter{n: n, e: e, outQueue: new(outQueue)}
	b.tx.turns = &b.tx.order
	b.tx.prepare()
	b.tx.sockets.Store(set)
	onward := &transmitter{n: n, e: e, user: user{role: asRelay}, outQueue: new(outQueue)}
	onward.prepare()
	onward.sockets.Store(set)
	b.rx = &receiver{n: n, e: e, inQueue: &inQueue{stats: &e.stats, onward: onward}, opened: make([]opened, 0, maxOpened)}
	b.rx.turns = &b.rx.order
	b.rx.joiner = packet.NewCoalescer(&b.frames)
	b.rx.from = arrival{socket: socket, train: new(device.Received)}
	return b
}

func (b *bench) add(tb testing.TB, a ipsec.Algorithms, d ipsec.Direction) *association {
	tb.Helper()
	e, errE := a.EncryptionKeyLen()
	i, errI := a.Integrity.KeyLen()
	if errE != nil || errI != nil {
		tb.Fatalf("%v has no key lengths.", a)
	}
	one := func(addr netip.Addr) []ipsec.TrafficSelector {
		return []ipsec.TrafficSelector{ipsec.SelectorOf(netip.PrefixFrom(addr, addr.BitLen()))}
	}
	sa := ipsec.SA{
		ID: ipsec.SAID{SPI: 0x1000_0000 + ipsec.SPI(d), Dst: benchLocal, Proto: ipsec.ESP}, Direction: d,
		Tunnel: 1, Generation: 1, Algorithms: a,
		Encryption: ipsec.NewKey(make([]byte, e)), Integrity: ipsec.NewKey(make([]byte, i)),
		Local: benchLocal, Remote: benchRemote, Encap: &ipsec.Encap{LocalPort: nattPort, RemotePort: nattPort},
		Selectors: ipsec.Selectors{Local: one(benchHere), Remote: one(benchThere)},
	}
	as, err := b.e.newAssociation(offload.Active, sa, nil)
	if err != nil {
		tb.Fatalf("The SA cannot be made: %v.", err)
	}
	b.e.publish(nil, as)
	b.e.outbound.commit()
	return as
}

// ipv4 makes a TCP or UDP packet without the checksum of either.
func ipv4(src, dst netip.Addr, proto byte, payload int) []byte {
	l4 := 8
	if proto == packet.ProtoTCP {
		l4 = 20
	}
	p := make([]byte, 20+l4+payload)
	p[0], p[6], p[8], p[9] = 0x45, 0x40, 64, proto
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	copy(p[12:], src.AsSlice())
	copy(p[16:], dst.AsSlice())
	if proto == packet.ProtoTCP {
		p[32], p[33] = 5<<4, 0x10
	} else {
		binary.BigEndian.PutUint16(p[24:], uint16(8+payload))
	}
	return p
}

// trainFrame is a super-packet of TCP as the TUN device gives it.
func trainFrame(payload, segment int) []byte {
	frame := make([]byte, packet.VnetLen)
	frame[0], frame[1] = 1, 1
	binary.LittleEndian.PutUint16(frame[4:], uint16(segment))
	binary.LittleEndian.PutUint16(frame[6:], 20)
	binary.LittleEndian.PutUint16(frame[8:], 16)
	return append(frame, ipv4(benchHere, benchThere, packet.ProtoTCP, payload)...)
}

// transmit encrypts one frame and forgets it.
func (b *bench) transmit(frame []byte) {
	b.tx.packet(frame)
	b.encrypt()
	b.forget()
}

// encrypt ends the taking of a batch, and makes messages of it.
func (b *bench) encrypt() {
	b.tx.settle()
	b.tx.encrypt()
}

// forget ends a batch as flush does, but sends nothing.
func (b *bench) forget() {
	b.tx.batched = b.tx.batched[:0]
	b.tx.used = 0
}

// deliver ends a batch of received packets.
func (b *bench) deliver() {
	b.rx.deliver()
	b.rx.run.settle(b.e, 0)
	b.rx.joiner.Flush()
}

// TestSuperPacketsMakeTrains: 44 segments leave as one message of equal datagrams.
func TestSuperPacketsMakeTrains(t *testing.T) {
	b := newBench(t, gcm)
	socket, err := device.OpenSocket(device.SocketConfig{Local: netip.MustParseAddr("127.0.0.1"), Whole: true})
	if err != nil {
		t.Fatalf("A socket cannot be opened: %v.", err)
	}
	defer socket.Close()
	b.tx.sockets.Load().bySlot[0].by[device.UDP][asIndex(true)] = socket
	b.tx.packet(trainFrame(44*1300, 1300))
	b.encrypt()
	if n := len(b.tx.batched); n != 1 {
		t.Fatalf("The segments should make one message, got %d.", n)
	}
	m := b.tx.batched[0]
	if m.count != 44 || len(m.Data) != 44*m.Segment || m.Segment != b.out.geometry.Len(1340) {
		t.Errorf("44 datagrams of %d octets should be sent, got %d of %d in %d.", b.out.geometry.Len(1340), m.count, m.Segment, len(m.Data))
	}
	for i := range 44 {
		p, err := esptest.KeysOf(b.out.SA).Open(m.Data[i*m.Segment:(i+1)*m.Segment], 0)
		if err != nil || p.Seq != uint64(i+1) || len(p.Payload) != 1340 {
			t.Fatalf("Datagram %d should hold segment %d, got %d octets with number %d, %v.", i, i, len(p.Payload), p.Seq, err)
		}
	}
}

// peerPackets seals n packets for the inbound SA.
func (b *bench) peerPackets(tb testing.TB, n int) [][]byte {
	tb.Helper()
	var out [][]byte
	for i := range n {
		p, err := esptest.KeysOf(b.in.SA).Seal(esptest.Packet{
			SPI: b.in.ID.SPI, Seq: uint64(i + 1), Next: 4, Payload: ipv4(benchThere, benchHere, packet.ProtoUDP, 1300),
		})
		if err != nil {
			tb.Fatalf("The peer cannot seal: %v.", err)
		}
		out = append(out, p)
	}
	return out
}

// TestBatchesCostNoAllocation carries batches through both directions, for an AEAD
// and for a cipher with a separate MAC.
func TestBatchesCostNoAllocation(t *testing.T) {
	for _, a := range []ipsec.Algorithms{gcm, {Encryption: ipsec.EncrAESCBC, KeyBits: 128, Integrity: ipsec.AuthHMACSHA1_96}} {
		b := newBench(t, a)
		train, frame := trainFrame(40*1300, 1300), make([]byte, device.FrameLen)
		n := testing.AllocsPerRun(50, func() {
			b.transmit(frame[:copy(frame, train)])
		})
		if n != 0 {
			t.Errorf("Sending a train of 40 with %v allocates %v times.", a, n)
		}
		packets := b.peerPackets(t, 60)
		next := 0
		n = testing.AllocsPerRun(50, func() {
			b.rx.esp(packets[next])
			b.deliver()
			next++
		})
		if n != 0 || b.in.packets.Load() != uint64(next) {
			t.Errorf("Receiving with %v allocates %v times; %d of %d packets passed.", a, n, b.in.packets.Load(), next)
		}
	}
}

// TestRelayingCostsNoAllocation opens packets of a link and sends what is in them.
func TestRelayingCostsNoAllocation(t *testing.T) {
	b := newBench(t, gcm)
	sa := b.in.SA
	sa.ID.SPI += 0x100
	sa.Link, sa.Selectors = &ipsec.Link{Member: 3}, ipsec.Selectors{}
	link, err := b.e.newAssociation(offload.Active, sa, nil)
	if err != nil {
		t.Fatalf("The SA of the link cannot be made: %v.", err)
	}
	b.e.publish(nil, link)
	var packets [][]byte
	for i := range 60 {
		p, err := esptest.KeysOf(sa).Seal(esptest.Packet{
			SPI: sa.ID.SPI, Seq: uint64(i + 1), Next: 4, Payload: ipv4(benchHere, benchThere, packet.ProtoUDP, 1300),
		})
		if err != nil {
			t.Fatalf("The member cannot seal: %v.", err)
		}
		packets = append(packets, p)
	}
	next := 0
	n := testing.AllocsPerRun(50, func() {
		b.rx.esp(packets[next])
		b.deliver()
		b.rx.onward.settle()
		b.rx.onward.encrypt()
		b.rx.onward.batched = b.rx.onward.batched[:0]
		b.rx.onward.used = 0
		next++
	})
	if n != 0 || b.out.packets.Load() != uint64(next) || link.packets.Load() != uint64(next) {
		t.Errorf("Relaying allocates %v times; of %d packets %d arrived and %d left.", n, next, link.packets.Load(), b.out.packets.Load())
	}
}

// FuzzReceive throws octets at the receiver, as datagrams of port 4500 and as
// protocol 50; the SPI is mostly right.
func FuzzReceive(f *testing.F) {
	b := newBench(f, gcm)
	for _, p := range b.peerPackets(f, 2) {
		f.Add(p, uint16(0), false)
	}
	f.Add([]byte{0, 0, 0, 0, 1, 2, 3}, uint16(3), true)
	f.Add([]byte{0xff}, uint16(1), true)
	f.Fuzz(func(t *testing.T, data []byte, segment uint16, bare bool) {
		b := newBench(t, gcm)
		b.rx.ike = make([]ikesock.Datagram, 0, ikeBatch)
		if len(data) >= 4 && !bare {
			binary.BigEndian.PutUint32(data, uint32(b.in.ID.SPI))
		}
		got := device.Received{Data: data, Segment: max(int(segment), 1)}
		b.rx.from.train = &got
		b.rx.udp(&got)
		b.rx.raw(data)
		b.deliver()
		b.rx.handOver()
		if n := b.in.packets.Load(); n > 1 {
			t.Fatalf("%d packets passed of octets that hold one at most.", n)
		}
	})
}

func BenchmarkTransmitTrain(b *testing.B) {
	w := newBench(b, gcm)
	train, frame := trainFrame(44*1360, 1360), make([]byte, device.FrameLen)
	b.SetBytes(44 * 1360)
	b.ReportAllocs()
	for b.Loop() {
		w.transmit(frame[:copy(frame, train)])
	}
}

func BenchmarkReceive(b *testing.B) {
	w := newBench(b, gcm)
	c, err := w.in.cipher(user{queue: 1})
	if err != nil {
		b.Fatalf("The cipher cannot be made: %v.", err)
	}
	inner := ipv4(benchThere, benchHere, packet.ProtoTCP, 1360)
	p := make([]byte, c.Len(len(inner)))
	b.SetBytes(int64(len(inner)))
	b.ReportAllocs()
	var seq uint64
	for b.Loop() {
		seq++
		copy(p[c.HeaderLen():], inner)
		c.Seal(p, len(inner), 4, w.in.ID.SPI, seq, seq) // about half of the time
		w.rx.esp(p)
		w.deliver()
	}
	if w.in.packets.Load() != seq {
		b.Fatalf("%d of %d packets passed.", w.in.packets.Load(), seq)
	}
}

// BenchmarkPolicy finds one of 100,000 dialup clients.
func BenchmarkPolicy(b *testing.B) {
	w := newBench(b, gcm)
	for i := range uint32(100_000) {
		addr := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, 0x0a800000+i)))
		a := &association{serial: uint64(i)}
		a.Selectors = ipsec.Selectors{
			Local:  []ipsec.TrafficSelector{ipsec.AnySelector(false)},
			Remote: []ipsec.TrafficSelector{ipsec.SelectorOf(netip.PrefixFrom(addr, 32))},
		}
		w.e.outbound.stage(a)
	}
	w.e.outbound.commit()
	h := packet.Header{Src: benchHere, Dst: netip.MustParseAddr("10.128.200.7"), Proto: 17, HasPorts: true}
	b.ReportAllocs()
	for b.Loop() {
		if w.e.outbound.find(&h) == nil {
			b.Fatal("The client should be found.")
		}
	}
}

func BenchmarkInboundTable(b *testing.B) {
	w := newBench(b, gcm)
	for i := range uint32(100_000) {
		a := &association{}
		a.ID.SPI = ipsec.SPI(0x2000_0000 + i*40503)
		a.path.Store(&path{local: benchLocal})
		w.e.inbound.replace(nil, a)
	}
	b.ReportAllocs()
	var i uint32
	for b.Loop() {
		i = (i + 7919) % 100_000
		if w.e.inbound.find(ipsec.SPI(0x2000_0000+i*40503), benchLocal) == nil {
			b.Fatal("The SA should be found.")
		}
	}
}

// BenchmarkTransmitSmall encrypts packets of 64 octets, a batch of them at a time.
func BenchmarkTransmitSmall(b *testing.B) {
	w := newBench(b, gcm)
	small, frame := append(make([]byte, packet.VnetLen), ipv4(benchHere, benchThere, packet.ProtoUDP, 36)...), make([]byte, device.FrameLen)
	b.SetBytes(64)
	b.ReportAllocs()
	for b.Loop() {
		if w.tx.packet(frame[:copy(frame, small)]); len(w.tx.jobs) == maxFrames {
			w.encrypt()
			w.forget()
		}
	}
}
