package gate

import (
	"encoding/binary"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/ipsec"
)

// Held is an SA that is held back.
type Held struct {
	// Packets that it met. Of a standby SA they include those that its armed group
	// let pass, and inbound all of them.
	Packets uint64
	// Shut: it carries nothing.
	Shut bool
}

// Holds returns what is held back in a direction, by reqid.
func (g *Gate) Holds(d ipsec.Direction) (map[uint32]Held, error) {
	out := make(map[uint32]Held)
	err := g.list(mapOf(d), func(e element) { out[e.reqID] = Held{Packets: e.packets, Shut: e.shut} })
	return out, err
}

// Notes returns the notes, by reqid.
func (g *Gate) Notes() (map[uint32][]byte, error) {
	out := make(map[uint32][]byte)
	err := g.list(setNotes, func(e element) { out[e.reqID] = e.note })
	return out, err
}

// AllTold returns the SAs whose first packet was told.
func (g *Gate) AllTold() (map[uint32]bool, error) {
	out := make(map[uint32]bool)
	err := g.list(setTold, func(e element) { out[e.reqID] = true })
	return out, err
}

// Held returns one SA that is held back.
func (g *Gate) Held(d ipsec.Direction, reqID uint32) (held Held, err error) {
	err = g.query(mapOf(d), 0, func(e element) { held = Held{Packets: e.packets, Shut: e.shut} }, reqID)
	return held, err
}

// element is one of a set.
type element struct {
	reqID   uint32
	packets uint64
	shut    bool
	note    []byte
}

// list yields the elements of a set.
func (g *Gate) list(set string, yield func(element)) error {
	return g.query(set, netlink.Dump, yield)
}

// query yields the elements of a set that are named, or all with netlink.Dump.
func (g *Gate) query(set string, flags netlink.HeaderFlags, yield func(element), reqIDs ...uint32) error {
	data, err := encode(func(ae *attributes) {
		if len(reqIDs) > 0 {
			elements(ae, g.table, set, nil, reqIDs...)
			return
		}
		ae.String(unix.NFTA_SET_ELEM_LIST_TABLE, g.table)
		ae.String(unix.NFTA_SET_ELEM_LIST_SET, set)
	})
	if err != nil {
		return fmt.Errorf("gate: read %s: %w", set, err)
	}
	answers, err := g.ask.Exchange(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETSETELEM, Flags: netlink.Request | flags},
		Data:   append([]byte{inet, unix.NFNETLINK_V0, 0, 0}, data...),
	})
	if err != nil {
		return fmt.Errorf("gate: read %s: %w", set, err)
	}
	for _, m := range answers {
		each(m.Data, func(ad *netlink.AttributeDecoder) {
			if ad.Type() == unix.NFTA_SET_ELEM_LIST_ELEMENTS {
				ad.Nested(func(ad *netlink.AttributeDecoder) error {
					for ad.Next() {
						ad.Nested(func(ad *netlink.AttributeDecoder) error {
							yield(elementOf(ad))
							return nil
						})
					}
					return nil
				})
			}
		})
	}
	return nil
}

func elementOf(ad *netlink.AttributeDecoder) element {
	var e element
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_SET_ELEM_KEY:
			inside(ad, unix.NFTA_DATA_VALUE, func(ad *netlink.AttributeDecoder) {
				if b := ad.Bytes(); len(b) == 4 {
					e.reqID = binary.NativeEndian.Uint32(b)
				}
			})
		case unix.NFTA_SET_ELEM_DATA:
			inside(ad, unix.NFTA_DATA_VERDICT, func(ad *netlink.AttributeDecoder) {
				inside(ad, unix.NFTA_VERDICT_CODE, func(ad *netlink.AttributeDecoder) { e.shut = ad.Uint32() == dropVerdict })
			})
		case unix.NFTA_SET_ELEM_EXPR:
			inside(ad, unix.NFTA_EXPR_DATA, func(ad *netlink.AttributeDecoder) {
				inside(ad, unix.NFTA_COUNTER_PACKETS, func(ad *netlink.AttributeDecoder) { e.packets = ad.Uint64() })
			})
		case unix.NFTA_SET_ELEM_USERDATA:
			e.note = ad.Bytes()
		}
	}
	return e
}

// inside reads the attribute of a type within the current one.
func inside(ad *netlink.AttributeDecoder, typ uint16, read func(*netlink.AttributeDecoder)) {
	ad.Nested(func(ad *netlink.AttributeDecoder) error {
		for ad.Next() {
			if ad.Type() == typ {
				read(ad)
			}
		}
		return nil
	})
}
