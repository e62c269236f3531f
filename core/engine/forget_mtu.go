package engine

import (
	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
)

// FortiOS tells other members nothing of path MTUs: "This means that after HA
// failover if the first packet [...] is larger than the default MTU of 1024 then the
// FortiGate unit sends back an ICMP fragmentation required. However, as soon as
// routing is re-established then the MTU will be corrected and traffic will flow."
// Replication.ForgetMTU does likewise.

// coldMTU is the largest inner packet, in octets, of a standby that has been told
// nothing.
const coldMTU = 1024

// cold is the path MTU that leaves room for an inner packet of coldMTU octets, but
// not for one that is longer by a cipher's block.
func cold(sa ipsec.SA) uint16 {
	outer := 20
	if sa.Remote.Is6() {
		outer = 40
	}
	if sa.Encap != nil {
		outer += 8
	}
	const espHeader, trailer = 8, 2
	block := max(4, sa.Algorithms.BlockLen())
	inner := coldMTU + trailer
	inner += (block - inner%block) % block
	return uint16(outer + espHeader + sa.Algorithms.IVLen() + inner + sa.Algorithms.ICVLen())
}

// chill makes what is about to stand by know no path.
func (r *Replica) chill(orders []ha.Order) {
	if !r.forgetMTU {
		return
	}
	for _, o := range orders {
		for i, sa := range o.SAs {
			if sa.Direction == ipsec.Outbound {
				o.SAs[i].PathMTU = cold(sa)
			}
		}
	}
}

// warm lets a tunnel that is at work again find out about its path.
func (r *Replica) warm(restored ha.Restored) {
	if !r.forgetMTU {
		return
	}
	o := ha.Order{Kind: ha.Update, Epoch: r.node.Epoch()}
	unknown := uint16(0)
	for _, c := range restored.Children {
		o.Changes = append(o.Changes, ha.Change{ID: c.Out.ID, MTU: &unknown})
	}
	if len(o.Changes) > 0 {
		r.rd.Orders = append(r.rd.Orders, o)
		r.rd.Serial = max(r.rd.Serial, r.ordered)
	}
}
