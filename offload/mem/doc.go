// Package mem is a dataplane without packets: the reference for the contract of
// package offload, and the plane under simulations and engine tests.
//
// It keeps SAs, roles, groups, epochs, leases, replay windows and lifetimes as
// the contract says, places SAs in NPUs that it is told of, and sends every
// event. Traffic is played by Inbound and Outbound. Inject makes the next calls
// fail, hang or lie; LoseEvents and Reset do what hardware does.
//
// It is deterministic: time comes from Options.Now, nothing is random, Export
// follows the order of installation, and there are no goroutines. A simulation
// takes events with Drain instead of reading the stream.
package mem
