// Package dpdk is the dataplane on DPDK: network ports, ciphers and devices that
// bypass the kernel. It implements offload.Engine. Its packet path is C (package
// loop); the control side is Go, in the same process. Without the build tag dpdk
// only this text is there.
//
// # Ports and the host
//
// Setting ports names the devices, separated by semicolons: addresses of PCI
// devices, or virtual devices with their arguments, as "net_af_packet0,iface=wire".
// What arrives there and is not ESP for one of Config.Addresses goes to the host: to
// a TAP device for each port (setting host-interfaces, evgx0 and so on by default)
// with the port's hardware address. What the host sends there leaves by the port. So
// the host's own interface is the TAP device: it has the addresses, answers ARP and
// neighbour discovery, and carries IKE on UDP 500 and 4500 to the daemon's sockets.
// A TAP device that exists is used as it is, with addresses and routes.
//
// With several workers a port spreads packets over its queues by address: a card by
// RSS, net_af_packet by a hash, net_memif as its peer does. Workers who poll a port with
// fewer queues hand the others their share. All packets of a flow pass one worker, so that they keep their order, unless the kernel moves them to another
// queue of net_af_packet because one is full; those of several flows of one SA may
// change places within the anti-replay window. Statistics worker0 and so on show who
// gets how much.
//
// An interface of the kernel under a virtual device still hears the packets that the
// device takes. It must be made deaf, without addresses of its own and with an
// ingress filter that drops everything, and its peer must compute its checksums.
//
// Inner packets reach us through a TUN device (setting tun-name, evg0 by default), to
// which the routes of the peers' networks point, or at a port, where what a policy
// selects is encrypted at once. Decrypted packets come out of the TUN device, or leave
// by a port at once: the first ones between two addresses go to the host, which is
// asked what it does with them (a route, from the TUN device, so that its rules,
// forwarding and source validation count). When it would send them by a port of ours,
// to a neighbour that it knows, those that follow are sent there, with one hop less to
// live. Whatever the host has to answer for stays with it: packets that are too long
// or too old, its own addresses, other interfaces. Up to 4096 pairs of addresses are
// remembered, and asked for again whenever something changes.
//
// Packets that pass from port to port do not pass the host's firewall. Setting forward
// (ports; or host) keeps decrypted ones on its way. Statistics passed-on and to-tun
// tell how many went where.
//
// Outer packets go where the host's routes say. The next hop's hardware address is
// the host's, too; it is asked for when an SA is installed and watched from then on.
// Packets for a hop that nobody knows are dropped and counted.
//
// # Engines
//
// Setting engine says who brings packets to the loop. With native, workers of the
// loop's own poll the ports: each packet stays on one thread from its arrival to its
// end. With nffgo a flow graph of nff-go owns the ports and the buffers (package
// nffgo), and hands bursts to the same loop. It is for those who build on nff-go: it
// wants three processors and one for each port, which never rest, and has one burst
// function. Both keep the same contract. nffgo needs a plugin that was built with the
// tag nffgo, as `make dpdk` builds it, and says so otherwise.
//
// # Cryptodevs and NPUs
//
// An SA gets its session at the first of these that takes its algorithms and has
// room: the port to its peer, where that encrypts (INLINE_CRYPTO of rte_security); a
// cryptodev that is hardware; else one of the libraries of setting cryptodevs, in
// their order. The first two are NPUs. Placement says which it is, and why none was an
// NPU; an SA whose peer moves behind another port moves, too, and is reported.
//
// A port that encrypts has the loop's numbers and IVs, and a second session at a
// library does what the port does not see whole: fragments, and what passes elsewhere.
// It takes AEADs without extended sequence numbers, because in CBC mode the IV has to
// be encrypted first, and only who has the window knows the upper half of a number.
// Outbound ones in UDP over IPv6 stay with the loop, as their checksum is that of
// ciphertext. Statistics card-out and card-in count its packets. With engine nffgo,
// whose ports are set up by nff-go, there are none.
//
// Ports and cryptodevs that do all of ESP (INLINE_PROTOCOL, LOOKASIDE_PROTOCOL) are
// found and named, but get no SA. Inline, packets leave unseen, with numbers that
// Export cannot read, and "For inline cases, IV generation would always need to be
// handled by the PMD" (DPDK, rte_security_ipsec_sa_options). Lookaside, a device to
// prove it on is missing. Such an SA is in no NPU for its mode
// (core/adr/0016-esp-in-cards.md).
//
// With setting npu-emulation the libraries that it names count as NPUs of npu-slots
// SAs each, and the ports that it names get a card played by software, with as many
// slots and what npu-offload says. Info says that they are emulated.
//
// An SA with AES-GCM, or AES-CBC with an HMAC, whose session is at crypto_aesni_gcm or
// crypto_aesni_mb, has its packets encrypted by their library itself, IPsec-MB, and not
// by way of the session, because that takes less time (core/adr/0018-ipsec-mb.md).
// Placement is the same: that of the session, which is made nevertheless.
//
// A cryptodev that works apart and gives nothing back for 50 ms gets nothing for a second.
// What it kept is dropped, and counted for its SA (Queue) and by the statistic cipher-lost.
// Neither packet nor session is used again until it comes after all, even when the SA is
// deleted. When it never does, Close says so.
//
// # IVs
//
// Explicit IVs are made in the loop and hold member, boot and a counter of the key
// (offload.IVMember), whatever device encrypts. In CBC mode such a block is encrypted
// to become the IV.
//
// # Settings
//
//	engine           native; or nffgo
//	ports            required                         workers      1; where ports have the queues, each has one
//	host-interfaces  evgx0,evgx1,...                  cpus         any; a list, one for each worker
//	tun-name         evg0                             idle         sleep; or spin
//	tun-mtu          1500                             buffers      8192 packets
//	forward          ports; or host
//	frame            2048 octets                      max-sas      8192
//	cryptodevs       crypto_aesni_gcm,crypto_aesni_mb,crypto_openssl
//	npu-emulation    none; libraries and ports        npu-slots    1024
//	npu-offload      inline-crypto; inline-protocol
//	eal              --no-huge --no-pci -m 256
//
// With engine nffgo, workers is 1 and idle is spin, cpus are those of the scheduler, of
// a receiver for each port, of the host and of the burst function, frame is at most
// 2048, and buffers, which each pool has, at least 3200 for one port and 2048 more for
// each other.
//
// All but tun-mtu are those of the first Configure, as long as the process lives.
//
// # What is not there
//
// Transport mode. Frames of several buffers: frame has to cover what ports receive.
package dpdk
