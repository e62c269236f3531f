//go:build dpdk

package dpdk_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/offload"
)

// TestPathsThatShrinkAreLearned: a router says that a packet was too big for what lies
// behind it, in either family, and senders hear what fits into the tunnel then. Who
// quotes a packet that nobody sent is not believed.
func TestPathsThatShrinkAreLearned(t *testing.T) { // B3
	for outer, family := range []string{"IPv4", "IPv6"} {
		t.Run(family, func(t *testing.T) {
			a, b := newPair(t, nil)
			out := connect(t, a, b, gcm, outer, false)
			a.ping(t, b, netlab.Ping{Size: 56})
			b.sayTooBig(t, a, outer, out.SPI+1, 1290)
			b.sayTooBig(t, a, outer, out.SPI, 1400)
			netlab.Eventually(t, patience, "the SA knows of a path of 1400 octets", func() error {
				for c, err := range a.engine.Export(t.Context(), offload.AllGroups) {
					if err != nil || c.ID == out && c.PathMTU != 1400 {
						return fmt.Errorf("it knows of %d: %w", c.PathMTU, err)
					}
				}
				return nil
			})
			fits := []int{1400 - 20 - 8 - 8 - 16, 1400 - 40 - 8 - 8 - 16}[outer]/4*4 - 2
			r, err := a.ns.Ping(t.Context(), netlab.Ping{To: b.inner[0].String(), Count: 1, Size: 1400, DontFragment: true, Wait: patience})
			if err != nil || r.MTU != fits {
				t.Errorf("A sender of 1428 octets should hear of an MTU of %d, got %d, %v: %s", fits, r.MTU, err, r.Output)
			}
			a.ping(t, b, netlab.Ping{Size: 1440}) // in fragments
		})
	}
}

// sayTooBig plays a router in front of e: it quotes the ESP packet of an SPI that
// another end sent to e.
func (e *end) sayTooBig(t *testing.T, to *end, outer int, spi ipsec.SPI, mtu int) {
	t.Helper()
	network, message := "ip4:icmp", []byte{3, 4, 0, 0, 0, 0, byte(mtu >> 8), byte(mtu)}
	quoted := make([]byte, 20, 28)
	quoted[0], quoted[9] = 0x45, 50
	if outer == 1 {
		network, message = "ip6:ipv6-icmp", []byte{2, 0, 0, 0, 0, 0, byte(mtu >> 8), byte(mtu)}
		quoted = make([]byte, 8, 48)
		quoted[0], quoted[6] = 0x60, 50
		quoted = append(quoted, to.outer[outer].AsSlice()...)
		quoted = append(quoted, e.outer[outer].AsSlice()...)
	} else {
		copy(quoted[12:], to.outer[outer].AsSlice())
		copy(quoted[16:], e.outer[outer].AsSlice())
	}
	quoted = binary.BigEndian.AppendUint32(quoted, uint32(spi))
	message = append(message, append(quoted, 0, 0, 0, 1)...)
	if outer == 0 {
		var sum uint32
		for i := 0; i < len(message); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(message[i:]))
		}
		binary.BigEndian.PutUint16(message[2:], ^uint16(sum>>16+sum))
	}
	err := e.ns.Do(func() error {
		s, err := net.ListenIP(network, &net.IPAddr{IP: e.outer[outer].AsSlice()})
		if err != nil {
			return err
		}
		defer func() { _ = s.Close() }() // it is for one message
		_, err = s.WriteToIP(message, &net.IPAddr{IP: to.outer[outer].AsSlice()})
		return err
	})
	if err != nil {
		t.Fatalf("The message cannot be sent: %v.", err)
	}
}
