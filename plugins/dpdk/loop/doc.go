// Package loop is the packet path of the DPDK dataplane: C that runs to completion
// on the threads of a Plane, and the Go that programs it. Without the build tag
// dpdk it is empty.
//
// # A turn
//
// A worker has one queue of each port, of the host's end of each port and of the TUN
// device, and an inbox where ports have fewer queues. In a turn it takes a burst from
// each and carries it to its end:
//
//	port        ESP for us -> SA by SPI -> window -> cipher -> selectors, ECN -> port or TUN device
//	            what a policy selects -> SA -> number, IV, cipher -> port
//	            the rest -> host
//	host        -> port
//	TUN device  -> SA by policy -> number, IV, cipher -> port
//
// Packets of one SA that stand side by side are one call to the cipher. Where the port
// is a card that encrypts, there is none: the card has done it before, or does it when
// the packet leaves.
//
// # What is shared
//
// Workers never wait for control calls. Tables, descriptions, paths and lists are
// replaced, not changed, and freed after Drain: once every worker has begun another
// turn, none can look at what was taken out before. What a packet changes is atomic,
// but for the anti-replay window, which a worker locks for a run of packets; where a
// port spreads packets by address, nobody else wants it.
//
// Files: types.h is what a plane is made of; eal.c and crypto.c start what a process
// has once; ipsecmb_amd64.c calls the library behind two cryptodevs; lookaside.c hands
// work to those that give it back later; security.c is what cards do, card.c one that
// software plays; plane.c makes and ends planes; worker.c is the turn, flow.c how
// frames of ports begin it, open.c, seal.c and tx.c the ways in it, frame.c what is put
// around inner packets, onward.c which port inner packets leave by, spread.c how
// workers share a queue; sa.c, window.c and table.c are SAs and how they are found;
// icmp.c and event.c what is told to others.
package loop
