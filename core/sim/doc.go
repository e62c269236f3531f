// Package sim plays whole clusters in one goroutine: 2 to 16 members, each with
// the machines of the daemon (engine.Shard, engine.Replica, ha.Node) over the
// reference dataplane offload/mem; clients that are machines of the same kind;
// routers that hash anew; and a network between them all that loses, delays,
// doubles and reorders. Time is virtual and everything follows from one seed.
//
// The clients speak IKEv2, or all of them IKEv1 (Dialect).
//
// What is played is the protocol itself: IKE messages are encrypted, SAs carry
// numbered packets through replay windows and leases, and the clients know
// nothing of the cluster. Only what core/engine/run.go does, goroutines and
// queues, is played by processes and actors, so that every order in which they
// may run can come up.
//
// # What goes wrong
//
// Members crash with and without their disk, freeze as a whole or without their
// dataplane, stop cleanly, restart one after the other; dataplanes die and come
// back empty; the members' network parts, in one direction or both; clocks jump;
// clients rekey, move, hang up and vanish; routers flap. See trouble.go.
//
// # What is checked
//
// The invariants I1 to I9 of package ha's documentation at the step at which they
// could break (ledger.go, numbers.go, check.go), that no queue grows without bound, and after
// everything has healed that the cluster comes to rest: every tunnel has one
// owner, all others stand by for it, no dataplane and no routing table holds what
// nobody needs, and every client's packets pass both ways (rest.go). A tunnel
// whose keys a member still has at the healing goes on without a new
// IKE_SA_INIT.
//
// With Config.Units members are joined into units of one primary each (ha.Unit): it alone
// is routed to. Links of members fail then, too, and operators tell them to step back; no
// two that hear each other are primary for long, and at rest each unit has one.
//
// With Config.Mixed dataplanes are of all sorts that the contract knows: some run over
// their ceilings, by a little or without an end, and some see no first packets.
//
// A Fault breaks one of the assumptions on purpose, so that a test can see that
// the checks find what they should.
package sim
