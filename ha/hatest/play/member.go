package play

import (
	"fmt"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/ha/wire"
)

// Cuts are the ways between members that carry nothing: from, to. Zero cuts none.
type Cuts [ipsec.MaxMembers][ipsec.MaxMembers]bool

// Part cuts the network of all in two, side and the others, and joins all else.
func (c *Cuts) Part(all, side ha.Members) {
	for a := range all.All() {
		for b := range all.All() {
			c[a][b] = side.Has(a) != side.Has(b)
		}
	}
}

// Deafen loses what one member says to another; none is deaf to itself.
func (c *Cuts) Deafen(from, to ipsec.MemberID) { c[from][to] = from != to }

// Between tells whether either way between two members is cut.
func (c *Cuts) Between(a, b ipsec.MemberID) bool { return c[a][b] || c[b][a] }

// encodedEvery is how many seeds there are to one whose frames go through their
// encoding, which takes time.
const encodedEvery = 16

// Carried is a frame as it comes out at the other end in the run of a seed: in some of
// them it has been through its encoding, and else it is f itself.
func Carried(seed uint64, f ha.Frame) (ha.Frame, error) {
	if seed%encodedEvery != 0 {
		return f, nil
	}
	b, err := wire.Marshal(f)
	if err == nil {
		f, err = wire.Unmarshal(b)
	}
	if err != nil {
		return f, fmt.Errorf("a frame of member %d does not survive its encoding: %w", f.From, err)
	}
	return f, nil
}

// Unit is what a member is in its unit, where members are joined into so many units by
// turns. It is nil for 0 units: all are gateways of their own. The member with the
// highest id has the highest priority.
func Unit(id ipsec.MemberID, units int, override bool) *ha.Unit {
	if units == 0 {
		return nil
	}
	return &ha.Unit{
		ID: uint8(int(id) % units), Priority: uint8(100 + id), Override: override,
		Serial: fmt.Sprintf("serial-%02d", id), AgeMargin: time.Second,
	}
}
