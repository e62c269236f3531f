// Package v1 is IKEv1 (RFC 2407 to 2409) as a pure machine, initiator and
// responder, with dead peer detection (RFC 3706), NAT traversal (RFC 3947),
// fragmentation, XAUTH and mode config.
//
// A Tunnel is the ISAKMP SA with one peer, its ESP SAs and their successors by
// rekeying. It takes the inputs of package ike and returns its Ready, so that one
// engine drives both versions:
//
//	if v1.IsV1(datagram.Payload) {
//		r := d.Route(now, datagram)
//		ready := d.Step(now, r.Tunnel, ike.Received{Datagram: datagram})
//		for _, t := range d.Woken() { d.Step(now, t, ike.Timeout{}) }
//	}
//
// The settings are those of ike.Connection with V1 set. Cookies are what SPIs are
// in IKEv2: ours carry the member in their top four bits, and the first one names
// the tunnel.
//
// # What happens where
//
// phase1.go, mainmode.go and aggressive.go set an ISAKMP SA up; transaction.go is
// what may follow, XAUTH and mode config; quick.go makes pairs of ESP SAs, and
// offer.go and childoffer.go are what the proposals say. exchange.go sends,
// repeats and gives up; recv.go is the way in, with all that is informational.
//
// # Rekeying
//
// A new quick mode with the same selectors replaces a pair. The responder receives
// on the new pair before it answers, the initiator before it confirms, and both go
// on receiving on the old one for a while; who made the new pair deletes the old
// one.
//
// A new phase 1 with the same peer replaces the ISAKMP SA, and the ESP SAs stay.
// One that we begin is a part of the tunnel. One that the peer begins is a tunnel
// of its own until the peer has proven who it is; then the older tunnel takes its
// ISAKMP SA (rekey.go) and is Woken, and the younger one is done. Where the peer answers
// nothing on the new ISAKMP SA and speaks on the old one, it has lost the new one with a
// member that died, and the old one is used again.
//
// # Failover
//
// A snapshot holds all: the last block of phase 1, from which the IVs of later
// exchanges come, the IV and the last message of each exchange, and quick modes
// half done. State is published before the messages that follow from it are sent.
package v1
