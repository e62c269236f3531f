// Package packet knows the packets that go through tunnels: it reads IPv4, IPv6,
// TCP, UDP and ICMP headers, cuts the super-packets of a TUN device into
// segments, joins segments into super-packets, computes checksums, follows the
// ECN rules of tunnels and writes the ICMP messages of path MTU discovery.
//
// It does no I/O, and nothing in it allocates per packet.
package packet
