package state

import (
	"net/netip"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/internal/statepb"
	"github.com/evergate/evergate/ike/suite"
)

// Writer turns state into messages; times count from Now.
type Writer struct{ Now time.Time }

// Time is nil for the zero time.
func (w Writer) Time(at time.Time) *int64 {
	if at.IsZero() {
		return nil
	}
	return proto.Int64(int64(at.Sub(w.Now)))
}

// Endpoint writes an address and a port.
func Endpoint(a netip.AddrPort) *statepb.Endpoint {
	return &statepb.Endpoint{Address: a.Addr().AsSlice(), Port: uint32(a.Port())}
}

// Limits writes the limits of a lifetime.
func Limits(l ipsec.Limits) *statepb.Limits {
	return &statepb.Limits{Time: int64(l.Time), Bytes: l.Bytes, Packets: l.Packets}
}

// Suite writes the algorithms of an IKE SA.
func Suite(s suite.Suite) *statepb.Suite {
	return &statepb.Suite{
		Encryption: uint32(s.Encryption), KeyBits: uint32(s.KeyBits),
		Integrity: uint32(s.Integrity), Prf: uint32(s.PRF), Group: uint32(s.Group),
	}
}

// Selectors writes the selectors of both ends.
func Selectors(s ipsec.Selectors) *statepb.Selectors {
	return &statepb.Selectors{Local: selectors(s.Local), Remote: selectors(s.Remote)}
}

func selectors(list []ipsec.TrafficSelector) []*statepb.Selector {
	var out []*statepb.Selector
	for _, s := range list {
		out = append(out, &statepb.Selector{
			Proto: uint32(s.Proto), PortMin: uint32(s.PortMin), PortMax: uint32(s.PortMax),
			Min: s.Min.AsSlice(), Max: s.Max.AsSlice(),
		})
	}
	return out
}
