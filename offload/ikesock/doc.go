// Package ikesock is the local packet socket between the daemon and a dataplane
// that owns UDP port 4500: IKE messages that arrive there go up to the daemon,
// the daemon's answers go down and leave from that port.
//
// The daemon listens (Server), a dataplane dials in its Configure call (Conn).
// The newest dataplane replaces the one before it, so a restarted process needs
// no registration. When the daemon goes away the dataplane's Conn ends; it dials
// again when the next daemon calls Configure.
//
// The socket is of type SOCK_SEQPACKET, in Go "unixpacket", not SOCK_DGRAM: it
// keeps the borders of messages as datagrams do, and besides it tells each side
// at once that the other is gone, is bounded by the sender's buffer instead of
// the ten messages of net.unix.max_dgram_qlen, and needs no second name in the
// file system. It is made with mode 0600.
//
// It loses like UDP: writing never waits, and what does not fit is dropped and
// counted. IKE retransmits (RFC 7296 section 2.1).
//
// # Frames
//
// One packet carries one frame, numbers in network byte order:
//
//	octet  0      version, 1
//	       1      kind: 1 IKE message, 2 NAT keepalive
//	       2      address family: 4 or 6
//	       3      reserved, sent as 0, ignored on receipt
//	       4-5    length of the payload in octets
//	       6-7    local port
//	       8-9    remote port
//	      10-     local address, 4 or 16 octets
//	              remote address, 4 or 16 octets
//	              payload
//
// The payload of an IKE message starts with the IKE header: the dataplane takes
// the non-ESP marker (RFC 3948 section 2.2) off and puts it on. A keepalive has
// no payload here; the dataplane sends the single octet 0xFF to the remote
// address (RFC 3948 section 2.3). Keepalives go from the daemon to the dataplane
// only: received ones end in the dataplane.
package ikesock
