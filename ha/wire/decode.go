package wire

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	hav1 "github.com/evergate/evergate/ha/proto/ha/v1"
)

// ErrMalformed is wrapped by every error of Unmarshal.
var ErrMalformed = errors.New("ha/wire: malformed frame")

// MaxFrame is the longest frame in octets that Unmarshal takes: a full one of
// the machine's, and one record of any size that it keeps.
const MaxFrame = 16 << 20

// Unmarshal decodes a frame. It owns b from then on, as keys stay in it.
func Unmarshal(b []byte) (ha.Frame, error) {
	if len(b) > MaxFrame {
		return ha.Frame{}, fmt.Errorf("%w: %d octets are more than %d", ErrMalformed, len(b), MaxFrame)
	}
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
	for _, r := range m.GetRecords() {
		f.Records = append(f.Records, d.record(r))
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

func (d *decoder) record(m *hav1.Record) ha.Record {
	switch k := m.GetKind().(type) {
	case *hav1.Record_Hello:
		return d.hello(k.Hello)
	case *hav1.Record_PutIke:
		return d.putIKE(k.PutIke)
	case *hav1.Record_PutChild:
		r := k.PutChild
		return ha.PutChild{Tunnel: ipsec.TunnelID(r.GetTunnel()), Version: decodeVersion(r.GetVersion()), Child: d.child(r.GetChild())}
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
	case *hav1.Record_Supply:
		r := k.Supply
		return ha.Supply{
			Tunnel: ipsec.TunnelID(r.GetTunnel()), Version: decodeVersion(r.GetVersion()), IKE: decodeIKE(r.GetIke()),
			Children: decodeEach(r.GetChildren(), d.child),
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
	case *hav1.Record_Counters:
		return ha.Counters{SAs: decodeEach(k.Counters.GetSas(), d.counted)}
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
	h := ha.Hello{Armed: d.members("hello.armed", m.GetArmed()), Classes: m.GetClasses()}
	if len(m.GetDisks()) > len(h.Disks) {
		d.fail("hello.disks", len(m.GetDisks()))
		return h
	}
	for i, disk := range m.GetDisks() {
		h.Disks[i] = ha.DiskID(disk)
	}
	return h
}

func (d *decoder) putIKE(m *hav1.PutIKE) ha.PutIKE {
	return ha.PutIKE{
		Tunnel: ipsec.TunnelID(m.GetTunnel()), Version: decodeVersion(m.GetVersion()), Title: d.title(m.GetTitle()),
		Children: decodeEach(m.GetChildren(), d.bound), IKE: decodeIKE(m.GetIke()), Unknown: unknown(m),
	}
}

// unknown are the fields of a message that this version does not know.
func unknown(m proto.Message) []byte {
	if u := m.ProtoReflect().GetUnknown(); len(u) > 0 {
		return u
	}
	return nil
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

func decodeIKE(m *hav1.IKE) ha.IKE {
	return ha.IKE{Class: m.GetClass(), State: ipsec.NewKey(m.GetState()), Facts: m.GetFacts()}
}

func (d *decoder) unsynced(m hav1.Unsynced) ha.Unsynced {
	if m < 0 || m > hav1.Unsynced_UNSYNCED_NO_ROOM {
		return ha.NoRoom // for a reason that is not known here
	}
	return ha.Unsynced(m)
}

func decodeUsage(m *hav1.Usage) ha.Usage {
	return ha.Usage{Packets: m.GetPackets(), Bytes: m.GetBytes(), Idle: time.Duration(m.GetIdleNanos())}
}

func (d *decoder) counted(m *hav1.Counted) ha.Counted {
	return ha.Counted{ID: d.said(m.GetId()), Sequence: decodeSequence(m.GetSequence()), Used: decodeUsage(m.GetUsed())}
}

func (d *decoder) child(m *hav1.Child) ha.Child {
	return ha.Child{
		In: d.sa(m.GetIn()), Out: d.sa(m.GetOut()),
		Holders: d.members("child.holders", m.GetHolders()), Barred: d.members("child.barred", m.GetBarred()),
		Bound: m.GetBound(), InUsed: decodeUsage(m.GetInUsed()), OutUsed: decodeUsage(m.GetOutUsed()), Unknown: unknown(m),
	}
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

func (d *decoder) selector(m *hav1.TrafficSelector) ipsec.TrafficSelector {
	return ipsec.TrafficSelector{
		Proto:   narrow[uint8](d, "traffic_selector.protocol", m.GetProtocol()),
		PortMin: narrow[uint16](d, "traffic_selector.port_min", m.GetPortMin()),
		PortMax: narrow[uint16](d, "traffic_selector.port_max", m.GetPortMax()),
		Min:     d.addr("traffic_selector.address_min", m.GetAddressMin()),
		Max:     d.addr("traffic_selector.address_max", m.GetAddressMax()),
	}
}

func decodeLimits(m *hav1.Limits) ipsec.Limits {
	return ipsec.Limits{Time: time.Duration(m.GetTimeNanos()), Bytes: m.GetBytes(), Packets: m.GetPackets()}
}

func decodeSequence(m *hav1.Sequence) ipsec.Sequence {
	return ipsec.Sequence{Next: m.GetNext(), Ceiling: m.GetCeiling(), Highest: m.GetHighest(), Bitmap: m.GetBitmap()}
}

func (d *decoder) sa(m *hav1.SA) ipsec.SA {
	return ipsec.SA{
		ID: d.said(m.GetId()), Direction: narrow[ipsec.Direction](d, "sa.direction", m.GetDirection()),
		Mode: narrow[ipsec.Mode](d, "sa.mode", m.GetMode()), Tunnel: ipsec.TunnelID(m.GetTunnel()), Pair: ipsec.SPI(m.GetPair()),
		Group: d.member("sa.group", m.GetGroup()), Sender: d.member("sa.sender", m.GetSender()), Generation: m.GetGeneration(),
		Algorithms: ipsec.Algorithms{
			Encryption: narrow[ipsec.EncryptionID](d, "sa.encryption", m.GetEncryption()),
			KeyBits:    narrow[uint16](d, "sa.key_bits", m.GetKeyBits()),
			Integrity:  narrow[ipsec.IntegrityID](d, "sa.integrity", m.GetIntegrity()),
			ESN:        m.GetEsn(),
		},
		Encryption: ipsec.NewKey(m.GetEncryptionKey()), Integrity: ipsec.NewKey(m.GetIntegrityKey()),
		Local: d.addr("sa.local", m.GetLocal()), Remote: d.addr("sa.remote", m.GetRemote()), Encap: d.encap(m.GetEncap()),
		Selectors: ipsec.Selectors{
			Local:  decodeEach(m.GetLocalSelectors(), d.selector),
			Remote: decodeEach(m.GetRemoteSelectors(), d.selector),
		},
		Lifetime: ipsec.Lifetime{
			Soft: decodeLimits(m.GetSoft()), Hard: decodeLimits(m.GetHard()), Age: time.Duration(m.GetAgeNanos()),
		},
		ReplayWindow: m.GetReplayWindow(), Sequence: decodeSequence(m.GetSequence()),
		PathMTU: narrow[uint16](d, "sa.path_mtu", m.GetPathMtu()),
		Header: ipsec.HeaderPolicy{
			DF: narrow[ipsec.DFPolicy](d, "sa.df", m.GetDf()), HideDSCP: m.GetHideDscp(),
			DSCP: narrow[uint8](d, "sa.dscp", m.GetDscp()),
		},
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
