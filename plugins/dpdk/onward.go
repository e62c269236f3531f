//go:build dpdk

package dpdk

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/evergate/evergate/plugins/dpdk/loop"
)

// forwarding6 tells whether the host forwards IPv6: other than for IPv4, it does not
// say so when it is asked for a route.
const forwarding6 = "/proc/sys/net/ipv6/conf/all/forwarding"

// onward keeps what the loop was told of packets that leave by a port: the answers of
// the host, for the addresses that packets have had. Engine.mu guards it.
type onward struct {
	slots map[int]loop.Onward
	// forwards6 is the setting of the network's namespace; nil where IPv6 is off.
	forwards6 *os.File
}

func openOnward() (*onward, error) {
	f, err := os.Open(forwarding6)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return &onward{slots: make(map[int]loop.Onward), forwards6: f}, nil
}

func (o *onward) close() error {
	if o.forwards6 == nil {
		return nil
	}
	return o.forwards6.Close()
}

// forwards tells whether the host forwards packets to an address.
func (o *onward) forwards(to netip.Addr) bool {
	if to.Is4() {
		return true // or RouteGet fails
	}
	if o.forwards6 == nil {
		return false
	}
	var b [8]byte
	n, _ := o.forwards6.ReadAt(b[:], 0) // what cannot be read is no
	return bytes.HasPrefix(b[:n], []byte("1"))
}

// onward finds where the host would send what comes out of the TUN device. What leaves
// by no port, to nobody, or to a neighbour that is not known yet is the host's.
func (s *survey) onward(n *network, b loop.Between) loop.Onward {
	out := loop.Onward{Between: b}
	if !n.onward.forwards(b.To) {
		return out
	}
	h := s.lookup(b.To, &netlink.RouteGetOptions{SrcAddr: b.From.AsSlice(), IifIndex: n.tun.index})
	if !h.known {
		return out
	}
	out.Port, out.MTU = h.port, h.mtu
	out.MAC, out.Resolved = s.neighbour(h)
	return out
}

// answerAsked tells the loop where the packets leave that it asked for.
func (e *Engine) answerAsked() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.usable() != nil {
		return
	}
	s := e.network.hops.survey()
	var done []loop.Between
	for _, b := range e.network.plane.Asked() {
		if !slices.Contains(done, b) {
			done = append(done, b)
			e.setOnward(s.onward(e.network, b))
		}
	}
}

func (e *Engine) setOnward(to loop.Onward) {
	slot, err := e.network.plane.SetOnward(to)
	if err != nil {
		e.log.Error("way of inner packets not set", slog.Any("error", err))
		return
	}
	e.network.onward.slots[slot] = to
}

// reviewOnward looks up again where packets leave. With drop, addresses that had none
// since the last time are forgotten.
func (e *Engine) reviewOnward(s *survey, drop bool) {
	for slot, to := range e.network.onward.slots {
		if drop && !e.network.plane.OnwardUsed(slot) {
			e.network.plane.ClearOnward(slot)
			delete(e.network.onward.slots, slot)
			continue
		}
		next := s.onward(e.network, to.Between)
		if s.torn && to.Resolved && !next.Resolved && to.Port == next.Port {
			continue // until the neighbours can be read
		}
		if next != to {
			e.setOnward(next)
		}
	}
}
