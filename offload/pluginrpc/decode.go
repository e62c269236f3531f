package pluginrpc

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	offloadv1 "github.com/evergate/evergate/offload/proto/offload/v1"
)

// A decoder turns messages into Go values. What a message can say and the Go
// type cannot, such as port 70000 or an address of five octets, is its error; it
// keeps the first one. Whether the values make sense together is the engine's
// business. Any message may lack any part of itself: only getters are used on
// what could be nil.
type decoder struct{ err error }

func (d *decoder) fail(field string, value any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: field %s of the message is %v", offload.ErrInvalid, field, value)
	}
}

func narrow[T ~uint8 | ~uint16](d *decoder, field string, v uint32) T {
	if uint32(T(v)) != v {
		d.fail(field, v)
		return 0
	}
	return T(v)
}

func (d *decoder) addr(field string, b []byte) netip.Addr {
	if len(b) == 0 {
		return netip.Addr{}
	}
	a, ok := netip.AddrFromSlice(b)
	if !ok {
		d.fail(field, fmt.Sprintf("%d octets", len(b)))
	}
	return a
}

func (d *decoder) said(m *offloadv1.SAID) ipsec.SAID {
	return ipsec.SAID{
		SPI:   ipsec.SPI(m.GetSpi()),
		Dst:   d.addr("said.destination", m.GetDestination()),
		Proto: narrow[ipsec.Protocol](d, "said.protocol", m.GetProtocol()),
		Port:  narrow[uint16](d, "said.port", m.GetPort()),
	}
}

func (d *decoder) algorithms(m *offloadv1.Algorithms) ipsec.Algorithms {
	return ipsec.Algorithms{
		Encryption: narrow[ipsec.EncryptionID](d, "algorithms.encryption", m.GetEncryption()),
		KeyBits:    narrow[uint16](d, "algorithms.key_bits", m.GetKeyBits()),
		Integrity:  narrow[ipsec.IntegrityID](d, "algorithms.integrity", m.GetIntegrity()),
		ESN:        m.GetEsn(),
	}
}

func (d *decoder) encap(m *offloadv1.Encap) *ipsec.Encap {
	if m == nil {
		return nil
	}
	return &ipsec.Encap{
		LocalPort:  narrow[uint16](d, "encap.local_port", m.GetLocalPort()),
		RemotePort: narrow[uint16](d, "encap.remote_port", m.GetRemotePort()),
	}
}

func (d *decoder) link(m *offloadv1.Link) *ipsec.Link {
	if m == nil {
		return nil
	}
	return &ipsec.Link{Member: narrow[ipsec.MemberID](d, "link.member", m.GetMember())}
}

func (d *decoder) selector(m *offloadv1.TrafficSelector) ipsec.TrafficSelector {
	return ipsec.TrafficSelector{
		Proto:   narrow[uint8](d, "traffic_selector.protocol", m.GetProtocol()),
		PortMin: narrow[uint16](d, "traffic_selector.port_min", m.GetPortMin()),
		PortMax: narrow[uint16](d, "traffic_selector.port_max", m.GetPortMax()),
		Min:     d.addr("traffic_selector.address_min", m.GetAddressMin()),
		Max:     d.addr("traffic_selector.address_max", m.GetAddressMax()),
	}
}

func decodeLimits(m *offloadv1.Limits) ipsec.Limits {
	return ipsec.Limits{Time: time.Duration(m.GetTimeNanos()), Bytes: m.GetBytes(), Packets: m.GetPackets()}
}

func decodeLifetime(m *offloadv1.Lifetime) ipsec.Lifetime {
	return ipsec.Lifetime{
		Soft: decodeLimits(m.GetSoft()),
		Hard: decodeLimits(m.GetHard()),
		Age:  time.Duration(m.GetAgeNanos()),
	}
}

func decodeSequence(m *offloadv1.Sequence) ipsec.Sequence {
	return ipsec.Sequence{Next: m.GetNext(), Ceiling: m.GetCeiling(), Highest: m.GetHighest(), Bitmap: m.GetBitmap()}
}

// decodeRole leaves a role that does not exist to the engine, which refuses it: a
// role is an argument of the call.
func decodeRole(m offloadv1.Role) offload.Role {
	if m < 0 || m > 255 {
		return 0
	}
	return offload.Role(m)
}

func (d *decoder) change(m *offloadv1.Change) offload.Change {
	c := offload.Change{ID: d.said(m.GetId())}
	if m.GetSequence() != nil {
		seq := decodeSequence(m.GetSequence())
		c.Sequence = &seq
	}
	if e := m.GetEndpoint(); e != nil {
		c.Endpoint = &offload.Endpoint{
			Local:  d.addr("endpoint.local", e.GetLocal()),
			Remote: d.addr("endpoint.remote", e.GetRemote()),
			Encap:  d.encap(e.GetEncap()),
		}
	}
	if m.GetLifetime() != nil {
		life := decodeLifetime(m.GetLifetime())
		c.Lifetime = &life
	}
	if m.PathMtu != nil {
		mtu := narrow[uint16](d, "change.path_mtu", m.GetPathMtu())
		c.PathMTU = &mtu
	}
	if m.Group != nil {
		group := offload.Group(m.GetGroup())
		c.Group = &group
	}
	if m.Role != nil {
		role := decodeRole(m.GetRole())
		c.Role = &role
	}
	return c
}

func (d *decoder) placement(m *offloadv1.Placement) offload.Placement {
	p := offload.Placement{
		ID:     d.said(m.GetId()),
		NPU:    offload.NPUID(m.GetNpu()),
		WhyNot: decodeNoNPU(m.GetWhyNot()),
		Role:   decodeRole(m.GetRole()),
	}
	for _, id := range m.GetSelectorIds() {
		p.SelectorIDs = append(p.SelectorIDs, offload.SelectorID(id))
	}
	if m.GetError() != nil {
		p.Err = decodeItemError(m.GetError())
	}
	return p
}

func (d *decoder) counters(m *offloadv1.Counters) offload.Counters {
	drops := m.GetDrops()
	return offload.Counters{
		Placement:  d.placement(m.GetPlacement()),
		Direction:  ipsec.Direction(m.GetDirection()),
		Tunnel:     ipsec.TunnelID(m.GetTunnel()),
		Group:      offload.Group(m.GetGroup()),
		Link:       d.link(m.GetLink()),
		Generation: m.GetGeneration(),
		Packets:    m.GetPackets(),
		Bytes:      m.GetBytes(),
		Idle:       time.Duration(m.GetIdleNanos()),
		Sequence:   decodeSequence(m.GetSequence()),
		PathMTU:    narrow[uint16](d, "counters.path_mtu", m.GetPathMtu()),
		Relayed:    m.GetRelayed(),
		Held:       m.GetHeld(),
		Drops: offload.Drops{
			Replayed:       drops.GetReplayed(),
			Authentication: drops.GetAuthentication(),
			Malformed:      drops.GetMalformed(),
			Selector:       drops.GetSelector(),
			Lifetime:       drops.GetLifetime(),
			Ceiling:        drops.GetCeiling(),
			Standby:        drops.GetStandby(),
			TooBig:         drops.GetTooBig(),
			Queue:          drops.GetQueue(),
		},
	}
}

func (d *decoder) config(m *offloadv1.ConfigureRequest) offload.Config {
	return offload.Config{
		Member: narrow[ipsec.MemberID](d, "configure.member", m.GetMember()),
		Boot:   m.GetBoot(),
		Addresses: decodeEach(m.GetAddresses(), func(b []byte) netip.Addr {
			return d.addr("configure.addresses", b)
		}),
		IKESocket: m.GetIkeSocket(),
		Settings:  m.GetSettings(),
	}
}

func (d *decoder) info(m *offloadv1.InfoResponse) offload.Info {
	return offload.Info{
		Name:          m.GetName(),
		Version:       m.GetVersion(),
		ContractMinor: m.GetContractMinor(),
		BootID:        m.GetBootId(),
		NPUs: decodeEach(m.GetNpus(), func(n *offloadv1.NPU) offload.NPU {
			return offload.NPU{ID: offload.NPUID(n.GetId()), Name: n.GetName(), Emulated: n.GetEmulated()}
		}),
		Transforms: decodeEach(m.GetTransforms(), func(c *offloadv1.Capability) offload.Capability {
			return offload.Capability{
				Algorithms:  d.algorithms(c.GetAlgorithms()),
				NPUInbound:  c.GetNpuInbound(),
				NPUOutbound: c.GetNpuOutbound(),
			}
		}),
		MaxSAs:             int(m.GetMaxSas()),
		MaxReplayWindow:    m.GetMaxReplayWindow(),
		TransportMode:      m.GetTransportMode(),
		Links:              m.GetLinks(),
		IVSource:           decodeIVSource(m.GetIvSource()),
		EnforcesCeiling:    m.GetEnforcesCeiling(),
		HoldsPackets:       m.GetHoldsPackets(),
		CeilingMargin:      m.GetCeilingMargin(),
		ReportsFirstPacket: m.GetReportsFirstPacket(),
		OwnsNATT:           m.GetOwnsNatt(),
		SocketOptions: decodeEach(m.GetSocketOptions(), func(o *offloadv1.SocketOption) offload.SocketOption {
			return offload.SocketOption{Level: int(o.GetLevel()), Name: int(o.GetName()), Value: int(o.GetValue())}
		}),
		PlaintextInterface: m.GetPlaintextInterface(),
	}
}

func decodeStat(m *offloadv1.Stat) offload.Stat {
	return offload.Stat{Name: m.GetName(), Value: m.GetValue()}
}

// decodeIVSource takes a source that this version does not know as unspecified,
// which is the careful reading.
func decodeIVSource(m offloadv1.IVSource) offload.IVSource {
	if m < 0 || m > offloadv1.IVSource_IV_SOURCE_SEQUENCE {
		return offload.IVUnspecified
	}
	return offload.IVSource(m)
}

// event returns nil for an event that this version does not know.
func (d *decoder) event(m *offloadv1.EventsResponse) offload.Event {
	switch ev := m.GetEvent().(type) {
	case *offloadv1.EventsResponse_FirstPacket:
		return offload.FirstPacket{
			ID:     d.said(ev.FirstPacket.GetId()),
			Tunnel: ipsec.TunnelID(ev.FirstPacket.GetTunnel()),
			Group:  offload.Group(ev.FirstPacket.GetGroup()),
		}
	case *offloadv1.EventsResponse_Activated:
		return offload.Activated{
			Tunnel: ipsec.TunnelID(ev.Activated.GetTunnel()),
			Group:  offload.Group(ev.Activated.GetGroup()),
			Epoch:  offload.Epoch(ev.Activated.GetEpoch()),
		}
	case *offloadv1.EventsResponse_Acquire:
		return offload.Acquire{Local: d.selector(ev.Acquire.GetLocal()), Remote: d.selector(ev.Acquire.GetRemote())}
	case *offloadv1.EventsResponse_Expired:
		return offload.Expired{ID: d.said(ev.Expired.GetId()), Hard: ev.Expired.GetHard()}
	case *offloadv1.EventsResponse_LeaseLow:
		return offload.LeaseLow{
			ID:        d.said(ev.LeaseLow.GetId()),
			Next:      ev.LeaseLow.GetNext(),
			Exhausted: ev.LeaseLow.GetExhausted(),
		}
	case *offloadv1.EventsResponse_MtuChanged:
		return offload.MTUChanged{
			ID:  d.said(ev.MtuChanged.GetId()),
			MTU: narrow[uint16](d, "mtu_changed.mtu", ev.MtuChanged.GetMtu()),
		}
	case *offloadv1.EventsResponse_PeerMoved:
		return offload.PeerMoved{
			ID: d.said(ev.PeerMoved.GetId()),
			Remote: netip.AddrPortFrom(
				d.addr("peer_moved.address", ev.PeerMoved.GetAddress()),
				narrow[uint16](d, "peer_moved.port", ev.PeerMoved.GetPort())),
		}
	case *offloadv1.EventsResponse_Placed:
		return offload.Placed{Placement: d.placement(ev.Placed.GetPlacement())}
	case *offloadv1.EventsResponse_Reset_:
		return offload.Reset{BootID: ev.Reset_.GetBootId()}
	case *offloadv1.EventsResponse_Overrun:
		return offload.Overrun{Lost: ev.Overrun.GetLost()}
	default:
		return nil
	}
}

// decodeNoNPU takes a reason that this version does not know as the device's.
func decodeNoNPU(m offloadv1.NoNPU) offload.NoNPU {
	switch m {
	case offloadv1.NoNPU_NO_NPU_UNSPECIFIED:
		return offload.InNPU
	case offloadv1.NoNPU_NO_NPU_NONE:
		return offload.NoSuchNPU
	case offloadv1.NoNPU_NO_NPU_NOT_YET:
		return offload.NotYet
	case offloadv1.NoNPU_NO_NPU_NO_ROOM:
		return offload.NoRoom
	case offloadv1.NoNPU_NO_NPU_ALGORITHM:
		return offload.NoAlgorithm
	case offloadv1.NoNPU_NO_NPU_MODE:
		return offload.NoMode
	case offloadv1.NoNPU_NO_NPU_ROLE:
		return offload.NoNPURole
	case offloadv1.NoNPU_NO_NPU_DISABLED:
		return offload.DisabledBySetting
	default:
		return offload.DeviceRefused
	}
}

func decodeEach[M, G any](messages []M, decode func(M) G) []G {
	if len(messages) == 0 {
		return nil
	}
	out := make([]G, len(messages))
	for i, m := range messages {
		out[i] = decode(m)
	}
	return out
}
