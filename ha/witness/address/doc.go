// Package address moves the addresses of a unit: its primary has them, and nobody
// else, and everybody around learns at once where they are.
//
//	m, err := address.New(address.Config{Addresses: addresses})
//	go m.Run(ctx)
//	m.Hold(true)  // we are the primary, and the tunnels are at work
//	m.Hold(false) // another member is
//
// # Who has them
//
// A member that gives way takes the addresses off its interfaces. One that is
// killed cannot, and its kernel would go on answering for them. So they have a
// lifetime of some seconds in the kernel, which a Mover that lives renews, as
// netdevice(7) addresses of IPv6 and, since Linux 3.9, of IPv4 may.
//
// # Who learns of it
//
// A new holder announces each address several times: those of IPv4 by an ARP
// announcement (RFC 5227 section 2.3), those of IPv6 by an unsolicited neighbour
// advertisement (RFC 4861 section 7.2.6). With Config.VirtualMAC the addresses are
// on an interface of their own (macvlan) whose hardware address is the same at all
// members: then only switches have to learn.
//
// # What else depends on them
//
// The kernel forgets routes through a network when its last address there goes. A
// member should have an address of its own in each of these networks; the unit's
// ones come and go beside it.
package address
