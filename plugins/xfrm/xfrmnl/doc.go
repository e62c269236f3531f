// Package xfrmnl speaks XFRM netlink, by which Linux is told of security
// associations and policies (linux/xfrm.h). It is complete where a gateway needs
// it to be exact: sequence numbers of 64 bits and replay windows of any size are
// written and read back as they are, and keys stay in ipsec.Key.
//
// State is an entry of the SAD, Policy one of the SPD (RFC 4301 sections 4.4.2 and
// 4.4.1). A Conn makes requests; what the kernel notices by itself comes as Event
// from the messages of a socket that joined the groups (Groups).
//
// Everything is in the kernel's own layout and byte order, network byte order
// where the kernel has it. Decoders return errors for what is too short and
// ignore attributes that they do not know, as newer kernels send more.
package xfrmnl
