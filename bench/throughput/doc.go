// Package throughput measures how fast dataplanes carry packets, and what that
// costs, side by side in one run:
//
//   - a dataplane plugin of Evergate (Options.Plugin) at both ends, with ESP in
//     UDP and, if asked for, with ESP as protocol 50;
//   - wireguard-go, which is a VPN in user space in Go, too;
//   - strongSwan with kernel-libipsec, which is an IPsec in user space.
//
// Each has a gateway and a client, in namespaces of their own, with a cable (veth)
// between them:
//
//	sender 10.64.0.1 -- gateway =198.51.100.1===198.51.100.2= client -- 10.128.x.y
//
// A plugin is started as the daemon would start it, and gets its SAs from the
// benchmark in the daemon's place: what is measured is the dataplane alone, and
// thousands of SAs need no handshakes.
//
// All of them are set up at once and then take turns, test by test and round by
// round, so that what else the machine does meets all alike. Every test sends from
// the gateway to the client. Datagrams have a number and the time in them: what
// is lost, comes out of order or comes late shows. Processor time is that of the
// processes at either end, as the kernel counts it, without what the benchmark
// itself takes to send and to receive.
//
// On a machine that is shared the absolute figures say little. Ratios say more:
// each is of two measurements that followed each other in one round.
package throughput
