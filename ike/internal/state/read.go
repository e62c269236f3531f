package state

import (
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/internal/statepb"
	"github.com/evergate/evergate/ike/suite"
)

// Reader turns messages into state. It reads on after an error, so that what uses
// it looks at Err once, at the end.
type Reader struct {
	Now time.Time // what times count from
	err error
}

// Err is the first thing that made no sense.
func (r *Reader) Err() error { return r.err }

// Fail notes that something makes no sense.
func (r *Reader) Fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// Number narrows a number that is small in a sound snapshot. One that is too large
// is noted at r.
func Number[T ~uint8 | ~uint16](r interface{ Fail(err error) }, v uint32) T {
	if uint32(T(v)) != v {
		r.Fail(fmt.Errorf("the number %d is too large", v))
	}
	return T(v)
}

// Count reads a number of things.
func (r *Reader) Count(v uint32) int {
	if v > math.MaxInt32 {
		r.Fail(fmt.Errorf("the count %d is too large", v))
	}
	return int(v)
}

// Time is the zero time for nil.
func (r *Reader) Time(d *int64) time.Time {
	if d == nil {
		return time.Time{}
	}
	return r.Now.Add(time.Duration(*d))
}

// Addr is the zero address for no octets.
func (r *Reader) Addr(b []byte) netip.Addr {
	a, ok := netip.AddrFromSlice(b)
	if !ok && len(b) > 0 {
		r.Fail(fmt.Errorf("an address has %d octets", len(b)))
	}
	return a
}

// Endpoint reads an address and a port.
func (r *Reader) Endpoint(m *statepb.Endpoint) netip.AddrPort {
	return netip.AddrPortFrom(r.Addr(m.GetAddress()), Number[uint16](r, m.GetPort()))
}

// KE restores a key exchange under way, nil where there is no private key.
func (r *Reader) KE(group uint32, private []byte) *suite.KE {
	if len(private) == 0 {
		return nil
	}
	ke, err := suite.RestoreKE(Number[ipsec.GroupID](r, group), ipsec.CopyKey(private))
	if err != nil {
		r.Fail(err)
	}
	return ke
}

// Suite reads the algorithms of an IKE SA.
func (r *Reader) Suite(m *statepb.Suite) suite.Suite {
	return suite.Suite{
		Encryption: Number[ipsec.EncryptionID](r, m.GetEncryption()), KeyBits: Number[uint16](r, m.GetKeyBits()),
		Integrity: Number[ipsec.IntegrityID](r, m.GetIntegrity()), PRF: Number[ipsec.PRFID](r, m.GetPrf()),
		Group: Number[ipsec.GroupID](r, m.GetGroup()),
	}
}

// LimitsOf reads the limits of a lifetime.
func LimitsOf(m *statepb.Limits) ipsec.Limits {
	return ipsec.Limits{Time: time.Duration(m.GetTime()), Bytes: m.GetBytes(), Packets: m.GetPackets()}
}

// Selectors reads the selectors of both ends.
func (r *Reader) Selectors(m *statepb.Selectors) ipsec.Selectors {
	return ipsec.Selectors{Local: r.selectors(m.GetLocal()), Remote: r.selectors(m.GetRemote())}
}

func (r *Reader) selectors(list []*statepb.Selector) []ipsec.TrafficSelector {
	var out []ipsec.TrafficSelector
	for _, m := range list {
		s := ipsec.TrafficSelector{
			Proto: Number[uint8](r, m.Proto), PortMin: Number[uint16](r, m.PortMin), PortMax: Number[uint16](r, m.PortMax),
			Min: r.Addr(m.Min), Max: r.Addr(m.Max),
		}
		if err := s.Validate(); err != nil {
			r.Fail(err)
		}
		out = append(out, s)
	}
	return out
}
