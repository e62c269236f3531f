package pluginrpc

import (
	"net/netip"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	offloadv1 "github.com/evergate/evergate/offload/proto/offload/v1"
)

// The encoders cannot fail: every value of the Go types has a message.

func encodeAddr(a netip.Addr) []byte { return a.AsSlice() }

func encodeSAID(id ipsec.SAID) *offloadv1.SAID {
	m := &offloadv1.SAID{}
	fillSAID(m, id)
	return m
}

func fillSAID(m *offloadv1.SAID, id ipsec.SAID) {
	m.Spi, m.Destination = uint32(id.SPI), encodeAddr(id.Dst)
	m.Protocol, m.Port = uint32(id.Proto), uint32(id.Port)
}

func encodeAlgorithms(a ipsec.Algorithms) *offloadv1.Algorithms {
	m := &offloadv1.Algorithms{}
	fillAlgorithms(m, a)
	return m
}

func fillAlgorithms(m *offloadv1.Algorithms, a ipsec.Algorithms) {
	m.Encryption, m.KeyBits = uint32(a.Encryption), uint32(a.KeyBits)
	m.Integrity, m.Esn = uint32(a.Integrity), a.ESN
}

func encodeEncap(e *ipsec.Encap) *offloadv1.Encap {
	if e == nil {
		return nil
	}
	return &offloadv1.Encap{LocalPort: uint32(e.LocalPort), RemotePort: uint32(e.RemotePort)}
}

func encodeLink(l *ipsec.Link) *offloadv1.Link {
	if l == nil {
		return nil
	}
	return &offloadv1.Link{Member: uint32(l.Member)}
}

func encodeSelector(t ipsec.TrafficSelector) *offloadv1.TrafficSelector {
	m := &offloadv1.TrafficSelector{}
	fillSelector(m, t)
	return m
}

func fillSelector(m *offloadv1.TrafficSelector, t ipsec.TrafficSelector) {
	m.Protocol, m.PortMin, m.PortMax = uint32(t.Proto), uint32(t.PortMin), uint32(t.PortMax)
	m.AddressMin, m.AddressMax = encodeAddr(t.Min), encodeAddr(t.Max)
}

func fillLimits(m *offloadv1.Limits, l ipsec.Limits) {
	m.TimeNanos, m.Bytes, m.Packets = int64(l.Time), l.Bytes, l.Packets
}

func encodeLifetime(l ipsec.Lifetime) *offloadv1.Lifetime {
	m := &offloadv1.Lifetime{Soft: &offloadv1.Limits{}, Hard: &offloadv1.Limits{}, AgeNanos: int64(l.Age)}
	fillLimits(m.Soft, l.Soft)
	fillLimits(m.Hard, l.Hard)
	return m
}

func encodeSequence(s ipsec.Sequence) *offloadv1.Sequence {
	m := &offloadv1.Sequence{}
	fillSequence(m, s)
	return m
}

func fillSequence(m *offloadv1.Sequence, s ipsec.Sequence) {
	m.Next, m.Ceiling, m.Highest, m.Bitmap = s.Next, s.Ceiling, s.Highest, s.Bitmap
}

func encodeChange(c offload.Change) *offloadv1.Change {
	m := &offloadv1.Change{Id: encodeSAID(c.ID)}
	if c.Sequence != nil {
		m.Sequence = encodeSequence(*c.Sequence)
	}
	if c.Endpoint != nil {
		m.Endpoint = &offloadv1.Endpoint{
			Local:  encodeAddr(c.Endpoint.Local),
			Remote: encodeAddr(c.Endpoint.Remote),
			Encap:  encodeEncap(c.Endpoint.Encap),
		}
	}
	if c.Lifetime != nil {
		m.Lifetime = encodeLifetime(*c.Lifetime)
	}
	if c.PathMTU != nil {
		mtu := uint32(*c.PathMTU)
		m.PathMtu = &mtu
	}
	if c.Group != nil {
		group := uint32(*c.Group)
		m.Group = &group
	}
	if c.Role != nil {
		m.Role = offloadv1.Role(*c.Role).Enum()
	}
	return m
}

func encodeStat(s offload.Stat) *offloadv1.Stat {
	return &offloadv1.Stat{Name: s.Name, Value: s.Value}
}

// flatPlacement is to a Placement what flatSA is to an SA.
type flatPlacement struct {
	placement offloadv1.Placement
	id        offloadv1.SAID
	selector  [1]uint32
}

func encodePlacement(p offload.Placement) *offloadv1.Placement {
	f := &flatPlacement{}
	fillPlacement(f, p)
	return &f.placement
}

// fillPlacement overwrites what was in f.
func fillPlacement(f *flatPlacement, p offload.Placement) {
	fillSAID(&f.id, p.ID)
	m := &f.placement
	m.Id, m.Npu, m.SelectorIds = &f.id, uint32(p.NPU), f.selector[:0]
	for _, id := range p.SelectorIDs {
		m.SelectorIds = append(m.SelectorIds, uint32(id))
	}
	m.WhyNot, m.Role, m.Error = encodeNoNPU(p.WhyNot), offloadv1.Role(p.Role), nil
	if p.Err != nil {
		m.Error = encodeItemError(p.Err)
	}
}

func encodeCounters(c offload.Counters) *offloadv1.Counters {
	f := &flatCounters{}
	fillCounters(f, c)
	return &f.counters
}

// fillCounters overwrites what was in f.
func fillCounters(f *flatCounters, c offload.Counters) {
	fillPlacement(&f.placement, c.Placement)
	fillSequence(&f.sequence, c.Sequence)
	m := &f.counters
	m.Placement, m.Sequence = &f.placement.placement, &f.sequence
	m.Direction, m.Tunnel, m.Group = offloadv1.Direction(c.Direction), uint64(c.Tunnel), uint32(c.Group)
	m.Generation, m.Packets, m.Bytes, m.IdleNanos = c.Generation, c.Packets, c.Bytes, int64(c.Idle)
	m.PathMtu, m.Link, m.Relayed, m.Held = uint32(c.PathMTU), encodeLink(c.Link), c.Relayed, c.Held
	m.Drops = encodeDrops(c.Drops)
}

// encodeDrops leaves out what nearly no SA has.
func encodeDrops(d offload.Drops) *offloadv1.Drops {
	if d == (offload.Drops{}) {
		return nil
	}
	return &offloadv1.Drops{
		Replayed:       d.Replayed,
		Authentication: d.Authentication,
		Malformed:      d.Malformed,
		Selector:       d.Selector,
		Lifetime:       d.Lifetime,
		Ceiling:        d.Ceiling,
		Standby:        d.Standby,
		TooBig:         d.TooBig,
		Queue:          d.Queue,
	}
}

func encodeConfig(c offload.Config) *offloadv1.ConfigureRequest {
	return &offloadv1.ConfigureRequest{
		Member:    uint32(c.Member),
		Boot:      c.Boot,
		Addresses: encodeEach(c.Addresses, encodeAddr),
		IkeSocket: c.IKESocket,
		Settings:  c.Settings,
	}
}

func encodeInfo(i offload.Info) *offloadv1.InfoResponse {
	return &offloadv1.InfoResponse{
		Name:          i.Name,
		Version:       i.Version,
		ContractMinor: i.ContractMinor,
		BootId:        i.BootID,
		Npus: encodeEach(i.NPUs, func(n offload.NPU) *offloadv1.NPU {
			return &offloadv1.NPU{Id: uint32(n.ID), Name: n.Name, Emulated: n.Emulated}
		}),
		Transforms: encodeEach(i.Transforms, func(c offload.Capability) *offloadv1.Capability {
			return &offloadv1.Capability{
				Algorithms:  encodeAlgorithms(c.Algorithms),
				NpuInbound:  c.NPUInbound,
				NpuOutbound: c.NPUOutbound,
			}
		}),
		MaxSas:             int64(i.MaxSAs),
		MaxReplayWindow:    i.MaxReplayWindow,
		TransportMode:      i.TransportMode,
		Links:              i.Links,
		IvSource:           offloadv1.IVSource(i.IVSource),
		EnforcesCeiling:    i.EnforcesCeiling,
		HoldsPackets:       i.HoldsPackets,
		CeilingMargin:      i.CeilingMargin,
		ReportsFirstPacket: i.ReportsFirstPacket,
		OwnsNatt:           i.OwnsNATT,
		SocketOptions: encodeEach(i.SocketOptions, func(o offload.SocketOption) *offloadv1.SocketOption {
			return &offloadv1.SocketOption{Level: int64(o.Level), Name: int64(o.Name), Value: int64(o.Value)}
		}),
		PlaintextInterface: i.PlaintextInterface,
	}
}

// encodeEvent returns nil for an event that the protocol does not have.
func encodeEvent(ev offload.Event) *offloadv1.EventsResponse {
	m := &offloadv1.EventsResponse{}
	switch ev := ev.(type) {
	case offload.FirstPacket:
		m.Event = &offloadv1.EventsResponse_FirstPacket{FirstPacket: &offloadv1.FirstPacket{
			Id: encodeSAID(ev.ID), Tunnel: uint64(ev.Tunnel), Group: uint32(ev.Group),
		}}
	case offload.Activated:
		m.Event = &offloadv1.EventsResponse_Activated{Activated: &offloadv1.Activated{
			Tunnel: uint64(ev.Tunnel), Group: uint32(ev.Group), Epoch: uint64(ev.Epoch),
		}}
	case offload.Acquire:
		m.Event = &offloadv1.EventsResponse_Acquire{Acquire: &offloadv1.Acquire{
			Local: encodeSelector(ev.Local), Remote: encodeSelector(ev.Remote),
		}}
	case offload.Expired:
		m.Event = &offloadv1.EventsResponse_Expired{Expired: &offloadv1.Expired{Id: encodeSAID(ev.ID), Hard: ev.Hard}}
	case offload.LeaseLow:
		m.Event = &offloadv1.EventsResponse_LeaseLow{LeaseLow: &offloadv1.LeaseLow{
			Id: encodeSAID(ev.ID), Next: ev.Next, Exhausted: ev.Exhausted,
		}}
	case offload.MTUChanged:
		m.Event = &offloadv1.EventsResponse_MtuChanged{MtuChanged: &offloadv1.MTUChanged{
			Id: encodeSAID(ev.ID), Mtu: uint32(ev.MTU),
		}}
	case offload.PeerMoved:
		m.Event = &offloadv1.EventsResponse_PeerMoved{PeerMoved: &offloadv1.PeerMoved{
			Id: encodeSAID(ev.ID), Address: encodeAddr(ev.Remote.Addr()), Port: uint32(ev.Remote.Port()),
		}}
	case offload.Placed:
		m.Event = &offloadv1.EventsResponse_Placed{Placed: &offloadv1.Placed{Placement: encodePlacement(ev.Placement)}}
	case offload.Reset:
		m.Event = &offloadv1.EventsResponse_Reset_{Reset_: &offloadv1.Reset{BootId: ev.BootID}}
	case offload.Overrun:
		m.Event = &offloadv1.EventsResponse_Overrun{Overrun: &offloadv1.Overrun{Lost: ev.Lost}}
	default:
		return nil
	}
	return m
}

func encodeNoNPU(w offload.NoNPU) offloadv1.NoNPU {
	switch w {
	case offload.InNPU:
		return offloadv1.NoNPU_NO_NPU_UNSPECIFIED
	case offload.NoSuchNPU:
		return offloadv1.NoNPU_NO_NPU_NONE
	case offload.NotYet:
		return offloadv1.NoNPU_NO_NPU_NOT_YET
	case offload.NoRoom:
		return offloadv1.NoNPU_NO_NPU_NO_ROOM
	case offload.NoAlgorithm:
		return offloadv1.NoNPU_NO_NPU_ALGORITHM
	case offload.NoMode:
		return offloadv1.NoNPU_NO_NPU_MODE
	case offload.NoNPURole:
		return offloadv1.NoNPU_NO_NPU_ROLE
	case offload.DisabledBySetting:
		return offloadv1.NoNPU_NO_NPU_DISABLED
	default:
		return offloadv1.NoNPU_NO_NPU_REFUSED
	}
}

func encodeEach[G, M any](values []G, encode func(G) M) []M {
	if len(values) == 0 {
		return nil
	}
	out := make([]M, len(values))
	for i, v := range values {
		out[i] = encode(v)
	}
	return out
}
