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
//
//	d := ike.NewDemux(env, policy, limits)
//	r := d.Route(now, datagram)               // Reply goes out, Tunnel gets it:
//	ready := d.Step(now, r.Tunnel, ike.Received{Datagram: datagram})
//	...                                       // carry out ready, in its order
//	d.Step(now, tunnel, ike.Timeout{})        // when tunnel.NextTimeout has come
//
// # What happens where
//
// init.go and auth.go set the first IKE SA up. task.go queues the exchanges of an
// established one, of which one at a time is under way (msgid.go); create.go,
// rekey.go and info.go are those exchanges, offer.go what the payloads of a Child
// SA say, and collide.go what happens when the two ends' exchanges cross. recv.go
// is the way in: nothing is trusted before it is known to be authentic and fresh.
//
// # Rekeying without loss
//
// The responder of a child rekey receives on the new pair at once and sends on
// it when the old pair's Delete comes, which proves that the peer has the new
// one; either end goes on receiving on the old pair for five seconds after that.
// The responder of an IKE rekey goes over to the new IKE SA when the peer has
// used it, or has deleted the old one: what it says until then still reaches a
// peer that did not get the response.
//
// # Failover
//
// State is published before the messages that follow from it are sent, so a
// standby repeats the last response, and our request in flight, octet by octet.
// Times in a snapshot are ages. The IVs of counter modes carry the member and an
// epoch of boot and takeover, so two owners of the same keys never use one
// twice (invariant I1).
//
// That makes a takeover exact. Where it could not be, because the last owner went
// on alone, the Message IDs and replay counters are synchronized with a peer that
// can do that (RFC 6311; resync.go, and resync_answer.go for the peer's side).
//
// A new owner asks the peer at once whether it is there, as it may have died with
// the last one. The answer that ended a tunnel outlives it for some minutes
// (Farewell, Departed), here and with those who stood by.
package ike
