//go:build dpdk

package dpdk

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/dpdk/loop"
)

// card is a port that speaks rte_security, as a place for SAs. How many it holds it
// says when it is full.
type card struct {
	port     int
	name     string
	npu      offload.NPUID
	emulated bool
}

// spot is what decides which card an SA may be in. The zero value is none.
type spot struct {
	port          int // 1 more than its index
	local, remote netip.Addr
	udp           bool
}

// openCards lists the ports that offer something for IPsec, behind NPUs that there
// are already, and notes in the log what that is, of cryptodevs too.
func (e *Engine) openCards(n *network, s settings, npus int) []card {
	var out []card
	for i, d := range s.ports {
		offers := n.portOffers(i)
		if len(offers) == 0 {
			continue
		}
		npus++
		c := card{port: i, name: d.name, npu: offload.NPUID(npus), emulated: slices.Contains(s.emulated, d.name)}
		e.log.Info("port encrypts", slog.String("port", c.name), slog.Any("offloads", offers), slog.Bool("emulated", c.emulated))
		out = append(out, c)
	}
	for _, d := range e.devices {
		if slices.ContainsFunc(probes(), func(sa ipsec.SA) bool { return d.Offers(loop.LookasideProtocol, sa) != loop.NotOffered }) {
			e.log.Info("cryptodev does all of esp, and is used for its ciphers only", slog.String("cryptodev", d.Name))
		}
	}
	return out
}

// probes are SAs to ask a device about, whatever their algorithm.
func probes() []ipsec.SA {
	gcm := ipsec.Algorithms{Encryption: ipsec.EncrAESGCM16, KeyBits: 128}
	return []ipsec.SA{{Direction: ipsec.Inbound, Algorithms: gcm}, {Direction: ipsec.Outbound, Algorithms: gcm}}
}

// portOffers lists what a port does for IPsec through rte_security, by the names of
// setting npu-offload.
func (n *network) portOffers(port int) []string {
	var out []string
	for _, o := range []struct {
		name string
		loop.Offload
	}{{offloadInlineProtocol, loop.InlineProtocol}, {offloadInlineCrypto, loop.InlineCrypto}} {
		if slices.ContainsFunc(probes(), func(sa ipsec.SA) bool { return n.plane.PortOffers(port, o.Offload, sa) != loop.NotOffered }) {
			out = append(out, o.name)
		}
	}
	return out
}

// inlines tells whether some card takes algorithms in a direction.
func (e *Engine) inlines(a ipsec.Algorithms, d ipsec.Direction) bool {
	return slices.ContainsFunc(e.cards, func(c card) bool {
		return e.network.plane.PortOffers(c.port, loop.InlineCrypto, ipsec.SA{Algorithms: a, Direction: d}) == loop.Offered
	})
}

// spotOf is where an SA may be in a card: at the port that leads to its peer. Inbound
// packets are expected there, too.
func (e *Engine) spotOf(s *survey, sa ipsec.SA) spot {
	if len(e.cards) == 0 {
		return spot{}
	}
	h := s.route(sa.Local, sa.Remote)
	if !h.known || !slices.ContainsFunc(e.cards, func(c card) bool { return c.port == h.port }) {
		return spot{}
	}
	return spot{h.port + 1, sa.Local, sa.Remote, sa.Encap != nil}
}

// cardFor is the card of a spot, if it does what an SA needs, or else why not.
//
// Where sequence numbers and IVs are the card's own (INLINE_PROTOCOL), leases, IVs of
// a member and exports of the window could not be kept (invariants I1, I2 and I9): it
// lacks a mode in which they are the loop's. Nor is the checksum of UDP, which IPv6
// cannot do without (RFC 3948 section 2.1): it would be that of ciphertext, which is not
// there before the card has made it.
func (e *Engine) cardFor(at spot, sa ipsec.SA) (*card, offload.NoNPU) {
	summed := sa.Direction == ipsec.Outbound && sa.Encap != nil && sa.Remote.Is6()
	for i := range e.cards {
		c := &e.cards[i]
		if c.port+1 != at.port {
			continue
		}
		switch offers := e.network.plane.PortOffers(c.port, loop.InlineCrypto, sa); {
		case offers == loop.LacksAlgorithm:
			return nil, offload.NoAlgorithm
		case offers != loop.Offered || summed:
			return nil, offload.NoMode
		default:
			return c, offload.InNPU
		}
	}
	return nil, offload.NoSuchNPU
}

// inline makes a description whose work a card does, with a library for what the card
// does not see.
func (e *Engine) inline(c *card, sa ipsec.SA, prefix uint64) (*loop.Description, place, error) {
	libraries := func(d *cryptodev) bool { return !d.Hardware }
	made, at, err := e.describeAt(libraries, sa, prefix)
	if err != nil {
		return nil, place{}, err
	}
	at.release() // the card has it
	if err := e.network.plane.Inline(made, sa, c.port); err != nil {
		made.Free()
		return nil, place{}, err
	}
	return made, place{npu: c.npu}, nil
}

// refusal is why a device did not take an SA that it could.
func refusal(err error) offload.NoNPU {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.ENOMEM) {
		return offload.NoRoom
	}
	return offload.DeviceRefused
}

// settle moves an SA whose spot is another one now into a card or out of one.
func (e *Engine) settle(s *survey, a *association) error {
	if len(e.cards) == 0 || e.spotOf(s, a.SA) == a.at.spot {
		return nil
	}
	described, at, err := e.describe(s, a.SA, e.ivPrefix(a.SA))
	if err != nil {
		return err
	}
	old := a.at
	e.network.plane.SetDescription(a.loop, described) // drains
	a.at = at
	old.release()
	if at.npu != old.npu || at.whyNot != old.whyNot {
		e.events.add(0, offload.Placed{Placement: a.placement()})
	}
	return nil
}
