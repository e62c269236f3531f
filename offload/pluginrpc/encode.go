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
	return &offloadv1.SAID{
		Spi:         uint32(id.SPI),
		Destination: encodeAddr(id.Dst),
		Protocol:    uint32(id.Proto),
		Port:        uint32(id.Port),
	}
}

func encodeAlgorithms(a ipsec.Algorithms) *offloadv1.Algorithms {
	return &offloadv1.Algorithms{
		Encryption: uint32(a.Encryption),
		KeyBits:    uint32(a.KeyBits),
		Integrity:  uint32(a.Integrity),
		Esn:        a.ESN,
	}
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
	return &offloadv1.TrafficSelector{
		Protocol:   uint32(t.Proto),
		PortMin:    uint32(t.PortMin),
		PortMax:    uint32(t.PortMax),
		AddressMin: encodeAddr(t.Min),
		AddressMax: encodeAddr(t.Max),
	}
}

func encodeLimits(l ipsec.Limits) *offloadv1.Limits {
	return &offloadv1.Limits{TimeNanos: int64(l.Time), Bytes: l.Bytes, Packets: l.Packets}
}

func encodeLifetime(l ipsec.Lifetime) *offloadv1.Lifetime {
	return &offloadv1.Lifetime{
		Soft:     encodeLimits(l.Soft),
		Hard:     encodeLimits(l.Hard),
		AgeNanos: int64(l.Age),
	}
}

func encodeSequence(s ipsec.Sequence) *offloadv1.Sequence {
	return &offloadv1.Sequence{Next: s.Next, Ceiling: s.Ceiling, Highest: s.Highest, Bitmap: s.Bitmap}
}

func encodeSA(sa ipsec.SA) *offloadv1.SA {
	return &offloadv1.SA{
		Id:            encodeSAID(sa.ID),
		Direction:     offloadv1.Direction(sa.Direction),
		Mode:          offloadv1.Mode(sa.Mode) + offloadv1.Mode_MODE_TUNNEL,
		Tunnel:        uint64(sa.Tunnel),
		Pair:          uint32(sa.Pair),
		Group:         uint32(sa.Group),
		Sender:        uint32(sa.Sender),
		Generation:    sa.Generation,
		Algorithms:    encodeAlgorithms(sa.Algorithms),
		EncryptionKey: sa.Encryption.Reveal(),
		IntegrityKey:  sa.Integrity.Reveal(),
		Local:         encodeAddr(sa.Local),
		Remote:        encodeAddr(sa.Remote),
		Encap:         encodeEncap(sa.Encap),
		Selectors: &offloadv1.Selectors{
			Local:  encodeEach(sa.Selectors.Local, encodeSelector),
			Remote: encodeEach(sa.Selectors.Remote, encodeSelector),
		},
		Lifetime:     encodeLifetime(sa.Lifetime),
		ReplayWindow: sa.ReplayWindow,
		Sequence:     encodeSequence(sa.Sequence),
		PathMtu:      uint32(sa.PathMTU),
		Header: &offloadv1.HeaderPolicy{
			Df:       offloadv1.DFPolicy(sa.Header.DF) + offloadv1.DFPolicy_DF_POLICY_COPY,
			HideDscp: sa.Header.HideDSCP,
			Dscp:     uint32(sa.Header.DSCP),
		},
		Link: encodeLink(sa.Link),
	}
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

func encodePlacement(p offload.Placement) *offloadv1.Placement {
	ids := make([]uint32, len(p.SelectorIDs))
	for i, id := range p.SelectorIDs {
		ids[i] = uint32(id)
	}
	m := &offloadv1.Placement{
		Id:          encodeSAID(p.ID),
		Npu:         uint32(p.NPU),
		SelectorIds: ids,
		WhyNot:      encodeNoNPU(p.WhyNot),
		Role:        offloadv1.Role(p.Role),
	}
	if p.Err != nil {
		m.Error = encodeItemError(p.Err)
	}
	return m
}

func encodeCounters(c offload.Counters) *offloadv1.Counters {
	return &offloadv1.Counters{
		Placement:  encodePlacement(c.Placement),
		Direction:  offloadv1.Direction(c.Direction),
		Tunnel:     uint64(c.Tunnel),
		Group:      uint32(c.Group),
		Generation: c.Generation,
		Packets:    c.Packets,
		Bytes:      c.Bytes,
		IdleNanos:  int64(c.Idle),
		Sequence:   encodeSequence(c.Sequence),
		PathMtu:    uint32(c.PathMTU),
		Link:       encodeLink(c.Link),
		Relayed:    c.Relayed,
		Drops: &offloadv1.Drops{
			Replayed:       c.Drops.Replayed,
			Authentication: c.Drops.Authentication,
			Malformed:      c.Drops.Malformed,
			Selector:       c.Drops.Selector,
			Lifetime:       c.Drops.Lifetime,
			Ceiling:        c.Drops.Ceiling,
			Standby:        c.Drops.Standby,
			TooBig:         c.Drops.TooBig,
			Queue:          c.Drops.Queue,
		},
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
