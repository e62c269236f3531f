//go:build dpdk

// Command dpdk measures what one worker of the
// DPDK dataplane encrypts, next to what the cipher alone can do.
//
// A virtual port plays packets of one size from memory, without end. One worker finds
// their SA, encrypts them in tunnel mode, and gives them to a port that drops them.
// What counts are the SA's own counters, for each second in which the worker had a
// processor; it never rests.
// Next to it, in the same run, dpdk-test-crypto-perf has the same library do the same
// algorithm on buffers of that size, on one core and without any packet around them:
// the limit. The best of several rounds is shown of either, because what disturbs a
// round makes it slower only.
//
// It needs root, for a namespace of its own, and no hardware or hugepages.
package main
