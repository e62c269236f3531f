package examplenpu

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/offloadtest"
)

// lab is a host without a kernel: packets are handed over by calls, so a test
// sees at once what became of them.
type lab struct {
	*Engine
	mu        sync.Mutex
	sent      [][]byte
	class     byte // of the last one
	delivered int
}

func newLab() *lab {
	l := &lab{Engine: New(Options{Version: "test"})}
	l.host = l
	return l
}

func (l *lab) configure(context.Context, offload.Config, settings) error { return nil }

func (l *lab) close() error { return nil }

func (l *lab) send(o outgoing) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent, l.class = append(l.sent, slices.Clone(o.packet)), o.class
	return nil
}

func (l *lab) deliver([]byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delivered++
	return nil
}

// taken returns what was sent since the last time, decrypted by the SAs that it
// may have left by.
func (l *lab) taken(by ...ipsec.SA) ([]offloadtest.Sent, error) {
	l.mu.Lock()
	packets := l.sent
	l.sent = nil
	l.mu.Unlock()
	var all []offloadtest.Sent
	for _, b := range packets {
		i := slices.IndexFunc(by, func(sa ipsec.SA) bool { return uint32(sa.ID.SPI) == binary.BigEndian.Uint32(b) })
		if i < 0 {
			return nil, fmt.Errorf("a packet with the spi %x left", b[:4])
		}
		sent, err := peerOpens(by[i], b)
		if err != nil {
			return nil, err
		}
		all = append(all, sent)
	}
	return all, nil
}

// peerOpens tries both upper halves that the sequence number can have: tests
// start just before the lower half wraps.
func peerOpens(sa ipsec.SA, b []byte) (offloadtest.Sent, error) {
	t, err := newTransform(sa)
	if err != nil {
		return offloadtest.Sent{}, err
	}
	seq := sa.Sequence.Next>>32<<32 | uint64(binary.BigEndian.Uint32(b[4:]))
	sent := offloadtest.Sent{SPI: sa.ID.SPI, Seq: seq, IV: slices.Clone(b[headerLen : headerLen+t.ivLen()])}
	if _, _, err = t.open(slices.Clone(b), seq); err != nil && sa.Algorithms.ESN {
		sent.Seq += 1 << 32
		_, _, err = t.open(slices.Clone(b), sent.Seq)
	}
	return sent, err
}

// clientPacket is one that the outbound sa selects.
func clientPacket(sa ipsec.SA) []byte {
	return udp4(sa.Selectors.Local[0].Min.Next(), sa.Selectors.Remote[0].Min)
}

func udp4(src, dst netip.Addr) []byte {
	b := make([]byte, 32)
	b[0], b[3], b[8], b[9] = 0x45, byte(len(b)), 64, protoUDP
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	b[25] = 12 // the UDP length
	return b
}

// Send implements offloadtest.Traffic.
func (l *lab) Send(ctx context.Context, sa ipsec.SA, n int) ([]offloadtest.Sent, error) {
	return l.SendOver(ctx, sa, n)
}

// SendOver implements offloadtest.Links.
func (l *lab) SendOver(_ context.Context, sa ipsec.SA, n int, links ...ipsec.SA) ([]offloadtest.Sent, error) {
	for range n {
		l.fromHost(clientPacket(sa))
	}
	return l.taken(append(links, sa)...)
}

// Deliver implements offloadtest.Traffic.
func (l *lab) Deliver(_ context.Context, sa ipsec.SA, seqs ...uint64) (int, error) {
	inner := udp4(sa.Selectors.Remote[0].Min, sa.Selectors.Local[0].Min.Next())
	l.delivered = 0
	err := l.arrive(sa, seqs, inner)
	return l.delivered, err
}

// arrive gives the plane packets as the other end of sa makes them.
func (l *lab) arrive(sa ipsec.SA, seqs []uint64, inner []byte) error {
	t, err := newTransform(sa)
	if err != nil {
		return err
	}
	for _, seq := range seqs {
		iv := binary.BigEndian.AppendUint64(make([]byte, t.ivLen()-8, t.ivLen()), seq)
		l.fromNetwork(t.seal(nil, sa.ID.SPI, seq, iv, inner, protoIPv4), netip.AddrPortFrom(sa.Remote, 0), 0)
	}
	return nil
}

// DeliverOver implements offloadtest.Links.
func (l *lab) DeliverOver(_ context.Context, link ipsec.SA, seqs []uint64, sa ipsec.SA, links ...ipsec.SA) ([]offloadtest.Sent, error) {
	if err := l.arrive(link, seqs, clientPacket(sa)); err != nil {
		return nil, err
	}
	return l.taken(append(links, sa)...)
}

// Reset implements offloadtest.Faults.
func (l *lab) Reset(context.Context) error {
	l.ResetFirmware()
	return nil
}

// Flood implements offloadtest.Faults.
func (l *lab) Flood(_ context.Context, n int) error {
	for range n {
		l.events.push(offload.MTUChanged{MTU: 1280})
	}
	return nil
}

// TestExampleKeepsTheContract leaves no clause out: there are packets, links and
// faults.
func TestExampleKeepsTheContract(t *testing.T) { // B8
	offloadtest.Run(t, func(context.Context) (*offloadtest.Harness, error) {
		l := newLab()
		return &offloadtest.Harness{Engine: l, Traffic: l, Links: l, Faults: l, Close: l.Close}, nil
	})
}
