// Package ike is IKEv2 (RFC 7296) as a pure machine, initiator and responder.
//
// A Tunnel is the IKE SA with one peer, its Child SAs and their successors by
// rekeying. It takes an Input and the time, and returns a Ready: what must be
// done, in the order in which it must be done. It holds no socket, clock,
// goroutine or lock, so that a cluster of them runs in one goroutine,
// repeatable from a seed, and so that its whole state can be copied to a
// standby (Snapshot, Restore).
//
// Demux stands in front: it finds the tunnel that a datagram belongs to, and
// answers without state where it can (cookies, wrong versions).
package ike
