package wire

import (
	"fmt"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/ipsec/field"
	"github.com/evergate/evergate/ha"
	hav1 "github.com/evergate/evergate/ha/proto/ha/v1"
)

// Marshal encodes a frame.
func Marshal(f ha.Frame) ([]byte, error) {
	m := &hav1.Frame{
		Protocol: uint32(f.Protocol), Highest: uint32(f.Highest), Group: uint32(f.Group), From: uint32(f.From), To: uint32(f.To),
		Life: uint32(f.Life), ToLife: uint32(f.ToLife), Disk: uint64(f.Disk), ToDisk: uint64(f.ToDisk), Count: f.Count,
		Unfit: f.Unfit, Leaving: f.Leaving, Standby: f.Role == ha.Standby,
		Ack:    &hav1.Ack{Stream: f.Ack.Stream, Seq: f.Ack.Seq, Notes: f.Ack.Notes, After: f.Ack.After, Arrived: f.Ack.Arrived},
		Stream: f.Stream, First: f.First, Standing: encodeStanding(f.Standing),
	}
	size := m.SizeVT()
	room := size
	for _, r := range f.Records {
		room += octets(r)
	}
	head := make([]byte, size, room)
	if _, err := m.MarshalToSizedBufferVT(head); err != nil {
		return nil, fmt.Errorf("ha/wire: encode a frame for member %d: %w", f.To, err)
	}
	w := field.NewWriter(head)
	for _, r := range f.Records {
		if err := writeRecord(w, r); err != nil {
			return nil, fmt.Errorf("ha/wire: encode a %T for member %d: %w", r, f.To, err)
		}
	}
	return w.Message(), nil
}

func writeRecord(w *field.Writer, r ha.Record) error {
	m := w.Begin(recordsField)
	if !writeTunnel(w, r) {
		b, err := encodeRecord(r).MarshalVT()
		if err != nil {
			return err
		}
		w.Raw(b)
	}
	w.End(m)
	return nil
}

func encodeStanding(s *ha.Standing) *hav1.Standing {
	if s == nil {
		return nil
	}
	return &hav1.Standing{
		Unit: uint32(s.Unit), Primary: s.Primary, Term: s.Term, Failed: uint32(s.Failed), Yielded: s.Yielded,
		Override: s.Override, Priority: uint32(s.Priority), AgeNanos: int64(s.Age), Serial: s.Serial,
	}
}

func encodeRecord(r ha.Record) *hav1.Record {
	m := &hav1.Record{}
	switch r := r.(type) {
	case ha.Hello:
		m.Kind = &hav1.Record_Hello{Hello: encodeHello(r)}
	case ha.DropChild:
		m.Kind = &hav1.Record_DropChild{DropChild: &hav1.DropChild{
			Tunnel: uint64(r.Tunnel), Version: encodeVersion(r.Version), Child: encodeSAID(r.Child),
		}}
	case ha.Remove:
		m.Kind = &hav1.Record_Remove{Remove: &hav1.Remove{Tunnel: uint64(r.Tunnel), Epoch: uint64(r.Epoch), Final: r.Final, Answer: r.Answer}}
	case ha.Claim:
		m.Kind = &hav1.Record_Claim{Claim: &hav1.Claim{
			Tunnel: uint64(r.Tunnel), From: encodeVersion(r.From), Version: encodeVersion(r.Version),
			Title: encodeTitle(r.Title), Children: encodeEach(r.Children, encodeBound),
		}}
	case ha.Need:
		m.Kind = &hav1.Record_Need{Need: &hav1.Need{Tunnel: uint64(r.Tunnel)}}
	case ha.Owned:
		m.Kind = &hav1.Record_Owned{Owned: &hav1.Owned{
			Tunnel: uint64(r.Tunnel), Epoch: uint64(r.Epoch), Title: encodeTitle(r.Title),
			Children: encodeEach(r.Children, encodeBound),
		}}
	case ha.Unheld:
		m.Kind = &hav1.Record_Unheld{Unheld: &hav1.Unheld{Tunnel: uint64(r.Tunnel), Why: hav1.Unsynced(r.Why)}}
	case ha.Handoff:
		m.Kind = &hav1.Record_Handoff{Handoff: &hav1.Handoff{Tunnel: uint64(r.Tunnel), Epoch: uint64(r.Epoch)}}
	case ha.Taken:
		m.Kind = &hav1.Record_Taken{Taken: &hav1.Taken{Tunnel: uint64(r.Tunnel), Epoch: uint64(r.Epoch)}}
	default:
		encodeRest(m, r)
	}
	return m
}

// encodeRest encodes the records that are about single SAs and about syncing.
func encodeRest(m *hav1.Record, r ha.Record) {
	switch r := r.(type) {
	case ha.Propose:
		m.Kind = &hav1.Record_Propose{Propose: &hav1.Propose{
			Tunnel: uint64(r.Tunnel), Epoch: uint64(r.Epoch), Child: encodeSAID(r.Child), From: r.From, To: r.To,
		}}
	case ha.Grant:
		m.Kind = &hav1.Record_Grant{Grant: &hav1.Grant{
			Tunnel: uint64(r.Tunnel), Epoch: uint64(r.Epoch), Child: encodeSAID(r.Child), To: r.To,
		}}
	case ha.Refuse:
		m.Kind = &hav1.Record_Refuse{Refuse: &hav1.Refuse{
			Tunnel: uint64(r.Tunnel), Epoch: uint64(r.Epoch), Child: encodeSAID(r.Child), Bound: r.Bound, Sent: r.Sent,
		}}
	case ha.Address:
		m.Kind = &hav1.Record_Address{Address: &hav1.Address{
			Tunnel: uint64(r.Tunnel), Version: encodeVersion(r.Version), Local: r.Endpoint.Local.AsSlice(),
			Remote: r.Endpoint.Remote.AsSlice(), Encap: encodeEncap(r.Endpoint.Encap),
		}}
	case ha.MTU:
		m.Kind = &hav1.Record_Mtu{Mtu: &hav1.MTU{
			Tunnel: uint64(r.Tunnel), Epoch: uint64(r.Epoch), Sa: encodeSAID(r.SA), Mtu: uint32(r.MTU),
		}}
	case ha.Digest:
		m.Kind = &hav1.Record_Digest{Digest: &hav1.Digest{Round: r.Round, Sums: r.Sums[:]}}
	case ha.Want:
		m.Kind = &hav1.Record_Want{Want: &hav1.Want{Round: r.Round, Buckets: r.Buckets}}
	case ha.Listing:
		m.Kind = &hav1.Record_Listing{Listing: &hav1.Listing{
			Bucket:  uint32(r.Bucket),
			Tunnels: encodeEach(r.Tunnels, func(t ipsec.TunnelID) uint64 { return uint64(t) }),
		}}
	case ha.Synced:
		m.Kind = &hav1.Record_Synced{Synced: &hav1.Synced{Round: r.Round}}
	}
}

func encodeHello(h ha.Hello) *hav1.Hello {
	m := &hav1.Hello{Armed: uint32(h.Armed), Classes: h.Classes, Adopts: h.Adopts}
	for _, d := range h.Disks {
		m.Disks = append(m.Disks, uint64(d))
	}
	return m
}

func encodeVersion(v ha.Version) *hav1.Version {
	return &hav1.Version{Epoch: uint64(v.Epoch), Change: v.Change}
}

func encodeTitle(t ha.Title) *hav1.Title {
	return &hav1.Title{Past: uint32(t.Past), QuietNanos: int64(t.Quiet), Reclaimed: t.Reclaimed}
}

func encodeBound(b ha.Bound) *hav1.Bound {
	return &hav1.Bound{Child: encodeSAID(b.Child), Bound: b.Bound}
}

func encodeSAID(id ipsec.SAID) *hav1.SAID {
	return &hav1.SAID{Spi: uint32(id.SPI), Destination: id.Dst.AsSlice(), Protocol: uint32(id.Proto), Port: uint32(id.Port)}
}

func encodeEncap(e *ipsec.Encap) *hav1.Encap {
	if e == nil {
		return nil
	}
	return &hav1.Encap{LocalPort: uint32(e.LocalPort), RemotePort: uint32(e.RemotePort)}
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
