// Package xfrm is the dataplane that Linux has: its ESP (XFRM), programmed over
// netlink. It implements offload.Engine.
//
// # What is where
//
// An SA is a state of the kernel, and its traffic selectors are policies; package
// xfrmnl speaks to it of both. Which SAs must not carry packets is the business of
// a table of nftables (package gate), which also notices first packets. The
// dataplane itself sees no packet. It listens to what the kernel says, and takes in
// all that was said before it answers a call; a call's answer is thus never older
// than what happened before it.
//
// # Interface, addresses and routes
//
// Tunnels are route-based: routes for the peers' networks point to an XFRM interface
// (Info.PlaintextInterface, setting interface, evg0 by default), whose if_id
// (setting if-id) is that of our policies and states, so that those of others do not
// mix with ours. Outer packets carry the mark offload.OuterMark, by which routing
// rules lead them past routes that contain the peer. With "interface: none" policies
// divert what matches them wherever it is routed, which is what transport mode needs;
// Info says then that there is such a mode.
//
// UDP port 4500 is the daemon's: the kernel takes ESP out of what arrives on its
// socket, for which the socket needs the option UDP_ENCAP (Info.SocketOptions). While the
// daemon restarts, a socket of the dataplane stands in, which is bound to no address and
// so gets only what no other does.
//
// # Sequence numbers and limits
//
// The kernel sends the number after the last one (XFRMA_REPLAY_ESN_VAL) and counts
// packets, and both rise together. So the ceiling of a lease is a hard limit of
// packets, exactly: Info.CeilingMargin is 0. Segments of a super-packet would take
// several numbers for one packet; they leave the interface one by one (gso_max_segs
// 1). With "interface: none" they do not, so there the limit is what even large
// packets surely leave of the lease, moved on as it is used: such an SA may stop short
// of its ceiling, and never beyond it. Half a lease is a soft limit, as are those of SA.Lifetime; the kernel notices
// either with the packet after it.
//
// At a hard limit the kernel removes the state. The dataplane puts it back, behind a
// shut gate that drops and counts; packets in between count in Stats (out-no-sa,
// in-unknown-spi), and the kernel asks for an SA that nobody needs to make. An
// outbound SA whose lease is raised goes on. An inbound one has lost its replay
// window with the state, so it never opens again.
//
// What the kernel cannot change in a state, such as our own address, makes a new state
// out of the old one: it is taken out, its last sequence number or its replay window
// is in the kernel's report of that, and the new one goes on from there. A peer that
// moves costs no packet: an inbound SA stays as it is, and an outbound one is there
// twice for a moment, with numbers apart.
//
// # IVs
//
// The kernel makes IVs from the sequence number and a random salt of 64 bits, which
// each state has its own of (seqiv; for CBC echainiv, which encrypts that):
// Info.IVSource is IVRandomSalt. Leases keep the numbers of members apart, so two
// members with one key meet in an IV only where the difference of their salts is the
// difference of two numbers that they used: of SAs without ESN, for one of 2^32
// salts.
//
// # Roles
//
// A standby's states are in the kernel like active ones. The gate drops and counts
// what would be sent on them, and tells of the first packet in each direction. Arm
// opens the gate for a group with one change, whatever the number of its SAs: the
// first packet passes, and what the kernel tells of it makes the tunnel active here.
// Demote returns when no packet is left that found the gate open. Cryptography that
// the kernel does in the background (cryptd) may still end after it, on packets that
// had their numbers before.
//
// # Links
//
// A packet whose SA stands by for a member that we have a link to is sent into the
// interface once more, as a copy with a mark (nftables' dup: the kernel has chosen the
// packet's SA when the gate sees it, and has no other way to choose again). By that
// mark a policy leads it to the link. What comes over a link gets the reqid of the
// link's SA as its mark: only such packets may be forwarded as what came by that SA,
// they go to no link again, and where no SA selects one it meets a policy of its own
// before it could ask for an SA. Marks within the host are the price: rules of others
// that change the marks of such packets on the way keep them from their links. Links
// need the interface; without nft_dup_ipv4 and nft_dup_ipv6 there are none, and
// Info.Links says so.
//
// # Restarts
//
// Everything stays in the kernel when the process ends, and goes on: active SAs up
// to their ceilings, standby ones behind the gate. The next process finds its states
// by their reqids (0x45 in the upper octet) and the gate's notes, which hold what the
// kernel does not know: tunnel, group, generation, lease and limits. Groups are
// disarmed, and epochs forgotten, as the contract has it for every new process. What
// is not ours is never touched, and nothing is flushed. ESP in UDP arrives as long as
// one of the two processes has a socket for it, the daemon or the dataplane.
//
// # Devices
//
// A device that does ESP gets the cryptography of SAs whose peers are reached over it
// (settings offload, offload-DEVICE: auto, crypto, off), and with "packet" whole packets,
// policies included. What became of an SA is read back from the kernel. A device that
// refuses whole packets, or a kernel before 6.2, gets the cryptography, and the log says
// why. Whole packets have not been tried on hardware: no kernel of Debian 12 has them.
//
// # Not here
//
// Packets do not wait for a successor of their SA (adr/0010-standby-in-the-kernel.md).
// DF set on the outer header, a DSCP other than 0 in the place of a hidden one, OPAQUE
// ports and ranges of ICMP types: such SAs are refused with offload.ErrUnsupported. Inbound packets outside of their SA's
// selectors are dropped by policy and count in Stats (in-no-policy,
// in-template-mismatch), as the kernel does not say whose they were.
package xfrm
