// Package softesp is the dataplane in pure Go: ESP (RFC 4303) between a TUN
// device and sockets, without help from the kernel's IPsec or from hardware. It
// implements offload.Engine.
//
// # The way of a packet
//
// Each queue has a goroutine per direction, which carries a batch from one end to the
// other and hands it to nobody.
//
//	transmitter  TUN device, super-packets of up to 64 KiB -> SA by policy ->
//	             segments, side by side in one piece of memory -> ESP in place ->
//	             trains of datagrams (UDP GSO), or packets of protocol 50
//	receiver     datagrams of UDP 4500 in trains (GRO), packets of protocol 50 ->
//	             SA by SPI -> replay check, ESP in place, replay window ->
//	             selectors, ECN -> joined to super-packets -> TUN device
//
// Nothing on this way allocates, locks per packet, logs or waits for a control
// call. The tables of SAs are replaced, not changed, behind atomic pointers. A
// goroutine holds a mutex of its own during a batch, which nobody else wants
// except to wait for the batch's end: Demote, Delete and closing a socket do.
//
// Each of them has a second one (turns.go), where there are more processors than
// queues. It sleeps until the first has found its batches full, and more behind them;
// then they take turns. A batch has three parts:
//
//	              take, one at a time       both at once   give away, in the order of taking
//	transmitter   TUN device, SA, numbers   encrypt        sockets
//	receiver      sockets                   decrypt        replay window, selectors, join,
//	                                                       TUN device
//
// So a number is taken in the order in which packets leave, and marked in the replay
// window in the order in which they arrived. When the input runs dry the second one
// sleeps again.
//
// What consecutive packets have in common, the SA of their flow and what they
// count, is looked up and noted once, and forgotten when the batch ends.
//
// With several queues (setting queues) the TUN device spreads flows over them,
// and arriving packets go to the queue of their SPI, so that all packets of an SA
// keep their order.
//
// # Policy
//
// A packet from the TUN device leaves through the newest SA of the longest prefix
// of remote selectors that matches it; where the SAs of that prefix do not match
// in address, protocol or port, the next shorter prefix is tried. "Newest" is by
// the order of first installation, so the replacement of a rekeying takes over at
// once. Packets that no SA selects are reported by Acquire, once a second for a
// flow. An inbound packet must lie within the selectors of its SA (RFC 4301
// section 5.2). Fragments that are not the first show no ports and match
// selectors of all ports, or of OPAQUE, only.
//
// # Addresses, ports and routes
//
// Config.Addresses get sockets for UDP port 4500 and for protocol 50 each. An
// address need not be there yet. IKE messages on port 4500 go to the daemon and
// back through package ikesock; NAT keepalives end here.
//
// Routes for the peers' networks point to the TUN device (Info.PlaintextInterface).
//
// # MTU
//
// Each SA knows the MTU of its outer path: that of the first hop, which the kernel
// is asked for when an SA begins to send or moves and once a minute, what ICMP or
// the interface says about packets on their way, and what the core told. The least
// counts. A standby reports only what it was told: it sends nothing on its path.
//
// What remains of it for an inner packet depends on the cipher: of 1500 octets,
// 1438 with AES-CBC and HMAC-SHA1, 1446 with AES-GCM. So the MTU of the TUN device
// (setting tun-mtu, 1500 by default) is not the place for that limit: one device
// stands for all tunnels, and a value with room for the worst of them would have
// the kernel tell senders too little for all others. Packets enter it as large as
// Ethernet hosts make them, and who sends too much with DF hears from us, by ICMP,
// what its own tunnel takes. Packets without DF leave in outer fragments. Where
// hosts and paths have jumbo frames the setting is raised to theirs.
//
// Transport mode is for traffic of the gateway itself. Its packets reach the
// TUN device through a routing rule: outer packets carry a firewall mark (setting
// fwmark, offload.OuterMark by default), and what does not is routed to the peers
// through a table whose routes point to the TUN device. Arriving packets appear on
// the TUN device too, so its reverse path filter must be loose or off. Fragments
// are not for transport mode (RFC 4303 section 3.3.4).
//
// # Links between members
//
// A packet that a standby SA selects leaves through the link to its owner, if there
// is one, by the transmitter that read it. At the owner, the receiver that opens it
// has a transmitter of its own, without a goroutine, which encrypts it anew and
// sends it at the end of the same batch: no queue is in between whose length would
// have to be bounded, and packets of a flow keep their order, as all that one link
// carries goes to one queue. Arriving packets of a batch make trains as those from
// the TUN device do.
//
// # Headers
//
// DSCP is copied to the outer header or set by the SA's policy; inner DSCP stays.
// ECN follows RFC 6040, normal mode. The inner TTL is decremented where the
// kernel forwards, before the packet comes here and after it left; the outer one
// starts anew. DF follows the SA's policy; without DF the kernel fragments the
// outer packet.
//
// # Drops
//
// Every packet that goes no further is counted with its reason: in
// offload.Counters.Drops where it belongs to an SA, in Stats where it does not (the
// fields of counters, in stats.go, say what each name means).
// Stats are logged once a minute when they have changed.
//
// # Failover
//
// IVs are unique per member and boot (package esp); sequence numbers stop at the
// ceiling of the lease exactly. A standby SA decrypts and forwards what arrives,
// reports the first authentic packet, and sends nothing. Once its group is armed,
// the first packet of a tunnel in either direction makes all of its SAs active
// right there.
//
// An SA that is taken over without a number left keeps its packets for its successor
// (hold.go): up to 512 in a tunnel, 16 MiB in all of them, for 30 seconds. They are
// copied, one by one, and the goroutine of the first queue sends them as soon as the
// successor is there.
package softesp
