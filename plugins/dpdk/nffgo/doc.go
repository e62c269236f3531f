// Package nffgo runs ports by a flow graph of nff-go, which brings all packets to one
// function. It is there with the build tags dpdk and nffgo: what nff-go v0.9.2 needs
// besides DPDK 22.11 is arranged by plugins/dpdk/compat/run.
//
//	port 0    -> receiver \
//	port 1    -> receiver  > merger -> burst function
//	the host  -> generator/
//
// The graph owns the ports, which it sets up, starts and stops, the pools that their
// packets come from, and the rings between the threads. The burst function owns what
// it gets: it takes every packet out of the vector that nff-go would pass on. It
// sends by itself on the one transmit queue of each port, and has no sender of
// nff-go's behind it: whoever stops an SA must know that nothing of it waits in a ring
// ("stops sending before it returns", package offload on Demote).
//
// Each receiver, the generator, the burst function and nff-go's scheduler with its
// stopper want a processor of their own: Processors tells how many.
//
// nff-go's state is the process's: there is one graph at a time.
package nffgo
