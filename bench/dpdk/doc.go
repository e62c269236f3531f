//go:build dpdk

// Command dpdk measures what one worker of the DPDK dataplane encrypts and decrypts, next
// to what the cipher alone can do, and to DPDK's own gateway.
//
// A virtual port plays packets of one size without end. One worker finds their SA,
// encrypts them in tunnel mode, and gives them to a port that drops them. What counts
// are the SA's own counters, for each second in which the worker had a processor; it
// never rests.
//
// Inbound, the packets are sealed when the worker takes them, as each needs a number
// that none had before, and pass the replay window. The worker's own thread does that,
// whose time is counted without it: of each burst, one look at its clock is all of it
// that counts. Packets are as warm in caches then as buffers of the limit are.
// Decrypted ones leave by a second port that drops them, where the host's routes lead.
//
// The limit: in the same run, dpdk-test-crypto-perf has the same library do the same
// algorithm on buffers of that size, on one core and without any packet around them.
// For this comparison the port is net_null, whose buffers get their headers only: as
// with a network card, the packets are in memory when the worker meets them.
//
// The gateway: ipsec-secgw, an example that DPDK comes with in source, encrypts the
// same packets with one core. Nobody can write headers for it, so both get theirs from
// a capture file, by net_pcap, which has the worker copy each packet. Its SAs are the
// ones that hand packets to the library as to a device: it is faster so than with
// CPU_CRYPTO. It is measured outbound only: a capture file cannot have new numbers.
//
// In a round all that is compared is measured right after each other, as the clock of a
// processor goes up and down with what its neighbours do. Ratios are medians of those of
// each round.
//
// It needs root, for a namespace of its own, and no hardware or hugepages.
package main
