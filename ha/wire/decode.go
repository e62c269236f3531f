package wire

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/ipsec/field"
	"github.com/evergate/evergate/ha"
	hav1 "github.com/evergate/evergate/ha/proto/ha/v1"
)

// ErrMalformed is wrapped by every error of Unmarshal.
var ErrMalformed = errors.New("ha/wire: malformed frame")

// MaxFrame is the longest frame in octets that Unmarshal takes: a full one of
// the machine's, and one record of any size that it keeps.
const MaxFrame = 16 << 20

// recordsField is the number of Frame.records.
const recordsField = 15

// Unmarshal decodes a frame. It keeps nothing of b.
func Unmarshal(b []byte) (ha.Frame, error) {
	if len(b) > MaxFrame {
		return ha.Frame{}, fmt.Errorf("%w: %d octets are more than %d", ErrMalformed, len(b), MaxFrame)
	}
	var (
		d       decoder
		head    []byte // all but the records
		records []ha.Record
		err     error
	)
	if n := field.Count(b, recordsField); n > 0 {
		records = make([]ha.Record, 0, n)
	}
	for r := field.NewReader(b, &err); r.Next(); {
		if r.Field() == recordsField {
			records = append(records, d.record(&r))
		} else {
			head = append(head, r.Raw()...)
		}
	}
	if err = errors.Join(err, d.err); err != nil {
		return ha.Frame{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	f, err := unmarshalHead(head)
	f.Records = records
	return f, err
}

// unmarshalHead decodes a frame without records.
func unmarshalHead(b []byte) (ha.Frame, error) {
	m := &hav1.Frame{}
	if err := m.UnmarshalVT(b); err != nil {
		return ha.Frame{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	d := &decoder{}
	f := ha.Frame{
		Protocol: narrow[uint16](d, "protocol", m.GetProtocol()), Highest: narrow[uint16](d, "highest", m.GetHighest()), Group: narrow[uint8](d, "group", m.GetGroup()),
		From: d.member("from", m.GetFrom()), To: d.member("to", m.GetTo()),
		Life: ha.Life(m.GetLife()), ToLife: ha.Life(m.GetToLife()), Disk: ha.DiskID(m.GetDisk()),
		ToDisk: ha.DiskID(m.GetToDisk()), Count: m.GetCount(),
		Unfit: m.GetUnfit(), Leaving: m.GetLeaving(),
		Ack: ha.Ack{
			Stream: m.GetAck().GetStream(), Seq: m.GetAck().GetSeq(), Notes: m.GetAck().GetNotes(), After: m.GetAck().GetAfter(),
			Arrived: m.GetAck().GetArrived(),
		},
		Stream: m.GetStream(), First: m.GetFirst(), Standing: d.standing(m.GetStanding()),
	}
	if m.GetStandby() {
		f.Role = ha.Standby
	}
	if d.err != nil {
		return ha.Frame{}, d.err
	}
	return f, nil
}

func (d *decoder) standing(m *hav1.Standing) *ha.Standing {
	if m == nil {
		return nil
	}
	return &ha.Standing{
		Unit: narrow[uint8](d, "unit", m.GetUnit()), Primary: m.GetPrimary(), Term: m.GetTerm(),
		Failed: narrow[uint8](d, "failed", m.GetFailed()), Yielded: m.GetYielded(), Override: m.GetOverride(),
		Priority: narrow[uint8](d, "priority", m.GetPriority()), Age: time.Duration(m.GetAgeNanos()), Serial: m.GetSerial(),
	}
}

// A decoder keeps the first thing that a message says and a Go type cannot.
type decoder struct{ err error }

func (d *decoder) fail(field string, value any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: field %s is %v", ErrMalformed, field, value)
	}
}

func narrow[T ~uint8 | ~uint16](d *decoder, field string, v uint32) T {
	if uint32(T(v)) != v {
		d.fail(field, v)
		return 0
	}
	return T(v)
}

func (d *decoder) member(field string, v uint32) ipsec.MemberID {
	if v >= ipsec.MaxMembers {
		d.fail(field, v)
		return 0
	}
	return ipsec.MemberID(v)
}

func (d *decoder) members(field string, v uint32) ha.Members { return narrow[ha.Members](d, field, v) }

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

// record decodes the present field. Of a record of several kinds the last that is
// known counts, as protobuf has it.
func (d *decoder) record(r *field.Reader) ha.Record {
	out := ha.Record(ha.Unknown{})
	for m := r.Message(); m.Next(); {
		switch m.Field() {
		case kindPutIKE, kindPutChild, kindSupply, kindReturn, kindCounters:
			out = readTunnel(&m)
		default:
			k := &hav1.Record{}
			if err := k.UnmarshalVT(m.Raw()); err != nil {
				d.fail("record", err)
			}
			if rec := d.other(k); k.GetKind() != nil {
				out = rec
			}
		}
	}
	return out
}

// other decodes the records that are not of the kinds that carry tunnels.
func (d *decoder) other(m *hav1.Record) ha.Record {
	switch k := m.GetKind().(type) {
	case *hav1.Record_Hello:
		return d.hello(k.Hello)
	case *hav1.Record_DropChild:
		r := k.DropChild
		return ha.DropChild{Tunnel: ipsec.TunnelID(r.GetTunnel()), Version: decodeVersion(r.GetVersion()), Child: d.said(r.GetChild())}
	case *hav1.Record_Remove:
		r := k.Remove
		return ha.Remove{Tunnel: ipsec.TunnelID(r.GetTunnel()), Epoch: ha.Epoch(r.GetEpoch()), Final: r.GetFinal(), Answer: r.GetAnswer()}
	case *hav1.Record_Claim:
		r := k.Claim
		return ha.Claim{
			Tunnel: ipsec.TunnelID(r.GetTunnel()), From: decodeVersion(r.GetFrom()), Version: decodeVersion(r.GetVersion()),
			Title: d.title(r.GetTitle()), Children: decodeEach(r.GetChildren(), d.bound),
		}
	case *hav1.Record_Need:
		return ha.Need{Tunnel: ipsec.TunnelID(k.Need.GetTunnel())}
	case *hav1.Record_Owned:
		r := k.Owned
		return ha.Owned{
			Tunnel: ipsec.TunnelID(r.GetTunnel()), Epoch: ha.Epoch(r.GetEpoch()), Title: d.title(r.GetTitle()),
			Children: decodeEach(r.GetChildren(), d.bound),
		}
	case *hav1.Record_Unheld:
		r := k.Unheld
		return ha.Unheld{Tunnel: ipsec.TunnelID(r.GetTunnel()), Why: d.unsynced(r.GetWhy())}
	case *hav1.Record_Handoff:
		return ha.Handoff{Tunnel: ipsec.TunnelID(k.Handoff.GetTunnel()), Epoch: ha.Epoch(k.Handoff.GetEpoch())}
	case *hav1.Record_Taken:
		return ha.Taken{Tunnel: ipsec.TunnelID(k.Taken.GetTunnel()), Epoch: ha.Epoch(k.Taken.GetEpoch())}
	default:
		return d.rest(m)
	}
}

// rest decodes the records that are about single SAs and about syncing.
func (d *decoder) rest(m *hav1.Record) ha.Record {
	switch k := m.GetKind().(type) {
	case *hav1.Record_Propose:
		r := k.Propose
		return ha.Propose{
			Tunnel: ipsec.TunnelID(r.GetTunnel()), Epoch: ha.Epoch(r.GetEpoch()), Child: d.said(r.GetChild()),
			From: r.GetFrom(), To: r.GetTo(),
		}
	case *hav1.Record_Grant:
		r := k.Grant
		return ha.Grant{Tunnel: ipsec.TunnelID(r.GetTunnel()), Epoch: ha.Epoch(r.GetEpoch()), Child: d.said(r.GetChild()), To: r.GetTo()}
	case *hav1.Record_Refuse:
		r := k.Refuse
		return ha.Refuse{Tunnel: ipsec.TunnelID(r.GetTunnel()), Epoch: ha.Epoch(r.GetEpoch()), Child: d.said(r.GetChild()), Bound: r.GetBound(), Sent: r.GetSent()}
	case *hav1.Record_Address:
		r := k.Address
		return ha.Address{Tunnel: ipsec.TunnelID(r.GetTunnel()), Version: decodeVersion(r.GetVersion()), Endpoint: ha.Endpoint{
			Local: d.addr("address.local", r.GetLocal()), Remote: d.addr("address.remote", r.GetRemote()), Encap: d.encap(r.GetEncap()),
		}}
	case *hav1.Record_Mtu:
		r := k.Mtu
		return ha.MTU{
			Tunnel: ipsec.TunnelID(r.GetTunnel()), Epoch: ha.Epoch(r.GetEpoch()), SA: d.said(r.GetSa()),
			MTU: narrow[uint16](d, "mtu.mtu", r.GetMtu()),
		}
	case *hav1.Record_Digest:
		return d.digest(k.Digest)
	case *hav1.Record_Want:
		return ha.Want{Round: k.Want.GetRound(), Buckets: k.Want.GetBuckets()}
	case *hav1.Record_Listing:
		return ha.Listing{
			Bucket:  narrow[uint8](d, "listing.bucket", k.Listing.GetBucket()),
			Tunnels: decodeEach(k.Listing.GetTunnels(), func(t uint64) ipsec.TunnelID { return ipsec.TunnelID(t) }),
		}
	case *hav1.Record_Synced:
		return ha.Synced{Round: k.Synced.GetRound()}
	default:
		return ha.Unknown{}
	}
}

func (d *decoder) hello(m *hav1.Hello) ha.Hello {
	h := ha.Hello{Armed: d.members("hello.armed", m.GetArmed()), Classes: m.GetClasses(), Adopts: m.GetAdopts()}
	if len(m.GetDisks()) > len(h.Disks) {
		d.fail("hello.disks", len(m.GetDisks()))
		return h
	}
	for i, disk := range m.GetDisks() {
		h.Disks[i] = ha.DiskID(disk)
	}
	return h
}

func (d *decoder) digest(m *hav1.Digest) ha.Digest {
	r := ha.Digest{Round: m.GetRound()}
	if len(m.GetSums()) != len(r.Sums) {
		d.fail("digest.sums", len(m.GetSums()))
		return r
	}
	copy(r.Sums[:], m.GetSums())
	return r
}

func decodeVersion(m *hav1.Version) ha.Version {
	return ha.Version{Epoch: ha.Epoch(m.GetEpoch()), Change: m.GetChange()}
}

func (d *decoder) title(m *hav1.Title) ha.Title {
	return ha.Title{
		Past: d.members("title.past", m.GetPast()), Quiet: time.Duration(m.GetQuietNanos()), Reclaimed: m.GetReclaimed(),
	}
}

func (d *decoder) bound(m *hav1.Bound) ha.Bound {
	return ha.Bound{Child: d.said(m.GetChild()), Bound: m.GetBound()}
}

func (d *decoder) unsynced(m hav1.Unsynced) ha.Unsynced {
	if m < 0 || m > hav1.Unsynced_UNSYNCED_NO_ROOM {
		return ha.NoRoom // for a reason that is not known here
	}
	return ha.Unsynced(m)
}

func (d *decoder) said(m *hav1.SAID) ipsec.SAID {
	return ipsec.SAID{
		SPI: ipsec.SPI(m.GetSpi()), Dst: d.addr("said.destination", m.GetDestination()),
		Proto: narrow[ipsec.Protocol](d, "said.protocol", m.GetProtocol()),
		Port:  narrow[uint16](d, "said.port", m.GetPort()),
	}
}

func (d *decoder) encap(m *hav1.Encap) *ipsec.Encap {
	if m == nil {
		return nil
	}
	return &ipsec.Encap{
		LocalPort:  narrow[uint16](d, "encap.local_port", m.GetLocalPort()),
		RemotePort: narrow[uint16](d, "encap.remote_port", m.GetRemotePort()),
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
