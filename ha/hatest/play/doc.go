// Package play is what simulations of whole clusters stand on, that of ha.Node alone
// (package hatest) and that of the whole gateway: a virtual clock, the cuts of the
// members' network, frames that go through their encoding, and the runner of tests
// that play very many seeds.
//
// A run is one goroutine's, and so is all that it takes from here. Only Seeds plays
// several runs at a time.
package play
