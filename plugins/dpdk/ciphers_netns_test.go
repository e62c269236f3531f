//go:build dpdk

package dpdk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/offloadtest"
	"github.com/evergate/evergate/plugins/dpdk"
	"github.com/evergate/evergate/plugins/softesp/esptest"
)

// cipherBurst is how many packets are under way at once.
const cipherBurst = 32

// TestCiphersAgreeWithASecondImplementation has every cipher encrypt and decrypt packets
// of many lengths, in bursts, between an engine and plain code over Go's library. With
// extended sequence numbers the upper half, which is not sent, is not zero. Among those
// that come in, some are forged: they are dropped, and take nobody along.
func TestCiphersAgreeWithASecondImplementation(t *testing.T) {
	e := dpdk.New(dpdk.Options{Version: "test", EAL: process})
	w := newWire(t, e)
	h := &offloadtest.Harness{Engine: w, Local: w.local, Remote: w.remote}
	info, err := w.Configure(t.Context(), offload.Config{Boot: 1, Addresses: []netip.Addr{w.local}, Settings: w.settings})
	if err != nil {
		t.Fatalf("The dataplane cannot be configured: %v.", err)
	}
	// Who knows no neighbour yet drops all but a few of a burst.
	ping := netlab.Ping{To: w.local.String(), Count: 1, Wait: patience}
	if r, err := w.peer.Ping(t.Context(), ping); err != nil || r.Err() != nil {
		t.Fatalf("The engine's host should answer: %v, %s.", err, r.Output)
	}
	for n, c := range info.Transforms {
		in, out := h.Pair(c.Algorithms, uint32(n+1), 1)
		x := exchange{w: w, in: in, out: out, seq: 1}
		if c.Algorithms.ESN {
			x.seq = 2<<32 + 1000
		}
		if err := x.run(t.Context()); err != nil {
			t.Errorf("%v does not agree with the second implementation: %v.", c.Algorithms, err)
			break // packets of this one are still under way
		}
	}
	if err := w.close(); err != nil {
		t.Errorf("The sockets did not close: %v.", err)
	}
	if err := e.Close(); err != nil {
		t.Errorf("The dataplane did not end cleanly: %v.", err)
	}
}

// exchange is the packets of a pair of SAs, numbered from seq in both directions.
type exchange struct {
	w            *wire
	in, out      ipsec.SA
	seq          uint64 // of the next inbound packet
	good, forged uint64 // inbound packets
}

// lengths are of payloads of UDP: each remainder of blocks, few blocks and many, and a
// full packet. Ciphers that IPsec-MB has in the way of whole bursts get all of them.
func (x *exchange) lengths() []int {
	step := 1
	if e := x.in.Algorithms.Encryption; e == ipsec.EncrAESCTR || e == ipsec.EncrNull || e == ipsec.EncrChaCha20Poly1305 {
		step = 13
	}
	ns := []int{1372}
	for n := 0; n <= 260; n += step {
		ns = append(ns, n)
	}
	return ns
}

func (x *exchange) run(ctx context.Context) error {
	x.out.Sequence.Next, x.in.Sequence.Highest = x.seq, x.seq-1
	placed, err := x.w.Install(ctx, offload.NewEpoch(1, 1), offload.Active, x.in, x.out)
	if err == nil {
		err = errors.Join(placed[0].Err, placed[1].Err)
	}
	if err != nil {
		return err
	}
	for ns := range slices.Chunk(x.lengths(), cipherBurst) {
		if err := errors.Join(x.outward(ns), x.inward(ns)); err != nil {
			return err
		}
	}
	none := offload.Counters{Placement: offload.Placement{ID: x.in.ID}}
	c, err := x.w.settled(ctx, none, int(x.good+x.forged))
	if want := (offload.Drops{Authentication: x.forged}); err == nil && (c.Packets != x.good || c.Drops != want) {
		err = fmt.Errorf("of %d authentic and %d forged packets the SA counts %d and %+v", x.good, x.forged, c.Packets, c.Drops)
	}
	return err
}

// content of a payload is nowhere the same.
func content(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + n)
	}
	return b
}

// outward has the engine encrypt payloads.
func (x *exchange) outward(lengths []int) error {
	to := netip.AddrPortFrom(x.out.Selectors.Remote[0].Min, suitePort)
	for _, n := range lengths {
		if _, err := x.w.plain.WriteToUDPAddrPort(content(n), to); err != nil {
			return err
		}
	}
	b := make([]byte, 2048)
	for _, n := range lengths {
		if err := x.w.esp.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		got, _, err := x.w.esp.ReadFromIP(b)
		if err != nil {
			return fmt.Errorf("before a payload of %d octets is on the wire: %w", n, err)
		}
		p, err := esptest.KeysOf(x.out).Open(b[:got], uint32(x.out.Sequence.Next>>32))
		if err != nil {
			return fmt.Errorf("a payload of %d octets left wrong: %w", n, err)
		}
		if p.SPI != x.out.ID.SPI || len(p.Payload) < 28 || !bytes.Equal(p.Payload[28:], content(n)) {
			return fmt.Errorf("a payload of %d octets left as %+v", n, p)
		}
	}
	return nil
}

// inward has the engine decrypt payloads. Behind each third packet comes a forged one.
func (x *exchange) inward(lengths []int) error {
	from, to := netip.AddrPortFrom(x.in.Selectors.Remote[0].Min, 1000), netip.AddrPortFrom(suiteInner, suitePort)
	for i, n := range lengths {
		inner := udpPacketOf(from, to, content(n))
		if err := x.inject(inner, false); err != nil {
			return err
		}
		if i%3 != 0 {
			continue
		}
		if err := x.inject(inner, true); err != nil {
			return err
		}
	}
	b := make([]byte, 2048)
	for _, n := range lengths {
		if err := x.w.plain.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		got, err := x.w.plain.Read(b)
		if err != nil {
			return fmt.Errorf("before a payload of %d octets is behind the tunnel: %w", n, err)
		}
		if !bytes.Equal(b[:got], content(n)) {
			return fmt.Errorf("a payload of %d octets came as %d octets, %x", n, got, b[:got])
		}
	}
	return nil
}

// inject sends one ESP packet as the peer; a forged one has a wrong bit in its IV, its
// ciphertext or its ICV, where it has them, one after the other.
func (x *exchange) inject(inner []byte, forged bool) error {
	b, err := esptest.KeysOf(x.in).Seal(esptest.Packet{SPI: x.in.ID.SPI, Seq: x.seq, Payload: inner, Next: 4})
	if err != nil {
		return err
	}
	x.seq++
	if forged {
		places := []int{8, len(b) / 2, len(b) - x.in.Algorithms.ICVLen(), len(b) - 1}
		b[places[x.forged%uint64(len(places))]] ^= 0x10
		x.forged++
	} else {
		x.good++
	}
	_, err = x.w.esp.WriteToIP(b, &net.IPAddr{IP: x.w.local.AsSlice()})
	return err
}
