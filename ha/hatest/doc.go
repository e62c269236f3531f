// Package hatest plays whole clusters of ha.Node in one goroutine: a virtual
// clock, a network that loses, delays, doubles and reorders, members that crash,
// freeze, forget and return, dataplanes with roles, leases and first packets,
// clients that dial, send, rekey, ask and hang up, and routers that change their
// minds. One seed is one run, byte for byte.
//
// After every step it checks the invariants that ha's documentation argues for,
// and after everything has healed that every tunnel has one owner again, whose
// packets its client takes. A Fault breaks one of the assumptions on purpose, so
// that a test can see that the checks find what they should.
package hatest
