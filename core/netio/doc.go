// Package netio moves IKE datagrams between the engine and the network.
//
// A Conn is one UDP socket of the daemon, bound to one local address and port.
// A Mux holds the sockets of all local addresses and the local socket to a
// dataplane that owns port 4500 (package ikesock), and makes of them one stream
// in, one call out, chosen by each datagram's local address.
//
// # Choices
//
// One socket per address: "the IP source address of the response MUST be the
// destination address of the request" follows from RFC 7296 section 2.11, and
// members that share one address must never answer from another. A bound socket
// cannot get that wrong; no packet info has to be carried along.
//
// IP_FREEBIND: an address may be bound before the interface has it, because
// nobody orders the start of daemons, interfaces and routing, and an address of
// a cluster comes and goes.
//
// IP_MTU_DISCOVER is IP_PMTUDISC_DONT: the Don't Fragment bit of IKE packets is
// clear. A large IKE_AUTH that meets a narrow link is fragmented instead of
// lost; where fragments are dropped, IKE fragments by itself (RFC 7383). A
// learned path MTU is still honoured, for IPv6 it has to be.
//
// On port 4500 IKE stands behind four zero octets (RFC 3948 section 2.2), here
// called the marker. Conn takes it off and puts it on.
//
// Errors of the network, such as an unreachable host, say nothing about a
// socket: they are counted and the socket goes on. IKE retransmits.
package netio
