package xfrm

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/xfrm/xfrmnl"
)

// offloadMode says what of ESP goes to devices.
type offloadMode string

// The modes.
const (
	// offloadAuto is offloadCrypto where a device can do it.
	offloadAuto   offloadMode = "auto"
	offloadOff    offloadMode = "off"
	offloadCrypto offloadMode = "crypto"
	// offloadPacket leaves all of ESP to the device, numbers and limits included.
	offloadPacket offloadMode = "packet"
)

func (m offloadMode) valid() bool {
	return slices.Contains([]offloadMode{offloadAuto, offloadOff, offloadCrypto, offloadPacket}, m)
}

// feature is ethtool's name of NETIF_F_HW_ESP.
const feature = "esp-hw-offload"

// npu is a network device that takes ESP.
type npu struct {
	index    int
	name     string
	emulated bool
	mode     offloadMode
	// takes are the algorithms that it has accepted, by direction.
	takes map[ipsec.Algorithms]map[ipsec.Direction]bool
	// refusal is why it did not take what it was last asked for.
	refusal error
}

func (n *npu) id() offload.NPUID { return offload.NPUID(n.index) }

// findNPUs lists the devices of the namespace that say that they take ESP. One that
// comes later is found when the dataplane starts again.
func (k *kernel) findNPUs(s settings) error {
	links, err := k.links.LinkList()
	if err != nil {
		return fmt.Errorf("list network devices: %w", err)
	}
	tool, err := ethtool.NewEthtool()
	if err != nil {
		return fmt.Errorf("ask devices for their features: %w", err)
	}
	defer tool.Close()
	for _, l := range links {
		name := l.Attrs().Name
		features, err := tool.Features(name)
		if err != nil || !features[feature] {
			continue // also of devices that know no features
		}
		driver, err := tool.DriverName(name)
		if err != nil {
			return fmt.Errorf("ask %s for its driver: %w", name, err)
		}
		k.npus = append(k.npus, &npu{index: l.Attrs().Index, name: name, emulated: driver == "netdevsim", mode: s.offloadTo(name)})
	}
	return nil
}

// ask finds out what a device takes. One that shall have whole packets and takes none,
// or whose kernel knows no such thing, gets the cryptography.
func (e *Engine) ask(n *npu) {
	if e.askFor(n) || n.mode != offloadPacket {
		return
	}
	e.log.Warn("device takes no whole packets, and gets the cryptography only", "device", n.name, "reason", n.refusal)
	n.mode = offloadCrypto
	e.askFor(n)
}

// askFor gives a device SAs that nothing uses, and tells whether it took any.
func (e *Engine) askFor(n *npu) (takes bool) {
	n.takes = make(map[ipsec.Algorithms]map[ipsec.Direction]bool)
	for i := range e.transforms {
		c := &e.transforms[i]
		n.takes[c.Algorithms] = make(map[ipsec.Direction]bool)
		for _, d := range []ipsec.Direction{ipsec.Inbound, ipsec.Outbound} {
			took := n.mode != offloadOff && e.accepts(n, c.Algorithms, d)
			n.takes[c.Algorithms][d] = took
			takes = takes || took
			c.NPUInbound = c.NPUInbound || took && d == ipsec.Inbound
			c.NPUOutbound = c.NPUOutbound || took && d == ipsec.Outbound
		}
	}
	return takes
}

// accepts tells whether a device takes an SA.
func (e *Engine) accepts(n *npu, a ipsec.Algorithms, d ipsec.Direction) bool {
	s, err := e.trial(a, netip.AddrFrom4([4]byte{192, 0, 0, 8}))
	if err != nil {
		return false
	}
	s.Offload = n.offload(d)
	if n.refusal = e.kernel.conn.AddState(s); n.refusal != nil {
		return false
	}
	got, err := e.kernel.conn.State(s)
	return errors.Join(err, e.kernel.conn.DeleteState(s)) == nil && got.Offload != nil
}

func (n *npu) offload(d ipsec.Direction) *xfrmnl.Offload {
	return &xfrmnl.Offload{Device: n.index, Inbound: d == ipsec.Inbound, Packet: n.mode == offloadPacket}
}

// choose finds the device for an SA, by the way to its peer, and says why there is
// none.
func (e *Engine) choose(a *association) (*npu, offload.NoNPU) {
	if len(e.kernel.npus) == 0 {
		return nil, offload.NoSuchNPU
	}
	peer := a.state.Dst
	if !a.outbound() {
		peer = a.state.Src
	}
	routes, err := e.kernel.links.RouteGetWithOptions(peer.AsSlice(), &netlink.RouteGetOptions{Mark: offload.OuterMark})
	if err != nil || len(routes) == 0 {
		return nil, offload.NoSuchNPU
	}
	at := slices.IndexFunc(e.kernel.npus, func(n *npu) bool { return n.index == routes[0].LinkIndex })
	if at < 0 {
		return nil, offload.NoSuchNPU
	}
	switch n := e.kernel.npus[at]; {
	case n.mode == offloadOff:
		return nil, offload.DisabledBySetting
	case !n.takes[a.algorithms][a.direction]:
		return nil, offload.NoAlgorithm
	case a.state.Encap != nil:
		return n, offload.NoMode // unless the device takes it all the same
	default:
		return n, offload.DeviceRefused
	}
}

// add gives a state to the kernel, and to a device that takes it. What became of it
// is read back: the kernel goes on in software without a word.
func (e *Engine) add(a *association) error {
	n, why := e.choose(a)
	a.npu, a.whyNot, a.whole = 0, why, false
	if n == nil {
		a.state.Offload = nil
		return e.kernel.conn.AddState(a.state)
	}
	a.state.Offload = n.offload(a.direction)
	a.state.Offload.Packet = a.state.Offload.Packet && !a.parted
	if e.kernel.conn.AddState(a.state) != nil {
		a.state.Offload = nil
		return e.kernel.conn.AddState(a.state)
	}
	st, err := e.kernel.conn.State(a.state)
	if err != nil {
		return err
	}
	e.placed(a, st)
	return nil
}

// placed notes where the kernel says that an SA is.
func (e *Engine) placed(a *association, st xfrmnl.State) {
	if st.Offload == nil {
		return
	}
	for _, n := range e.kernel.npus {
		if n.index == st.Offload.Device {
			a.npu, a.whyNot, a.whole = n.id(), offload.InNPU, st.Offload.Packet
		}
	}
}

// policyOffload gives a policy to the device that has whole packets of its one SA: the
// kernel uses such states for such policies only.
func (a *association) policyOffload() *xfrmnl.Offload {
	if !a.whole {
		return nil
	}
	return a.state.Offload
}

// part leaves only the cryptography of a new SA to its device, which took its state for
// whole packets and not its policies.
func (e *Engine) part(a *association) error {
	if err := e.kernel.conn.DeleteState(a.state); err != nil {
		return err
	}
	a.parted = true
	if err := e.put(a); err != nil {
		return err
	}
	return e.settle(a.keys())
}

// count takes the numbers of an SA from its packets where a device gives them: the
// kernel does not see them.
func (a *association) count(st *xfrmnl.State) {
	if a.whole && a.outbound() {
		st.Replay.Sent = max(st.Replay.Sent, a.shift+st.Current.Packets)
	}
}
