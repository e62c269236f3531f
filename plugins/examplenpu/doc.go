// Package examplenpu is a dataplane to learn from: what a vendor of a network
// processor writes, complete and short. It implements offload.Engine with the
// model of an NPU in front and software that forwards packets behind it, and
// depends on Evergate through package offload and its vocabulary alone.
//
// # What is where
//
// The contract, and nothing that a product would do differently:
//
//	engine.go  Configure, Info, a firmware reset    calls.go   Install, Update, Delete
//	groups.go  epochs, Arm, Promote, Demote         export.go  Export, Stats
//	events.go  a bounded queue, Overrun             sa.go      one SA: merging, leases, limits
//	table.go   how SAs are found                    window.go  anti-replay
//
// The device, where a product has its driver:
//
//	npu.go     slots, what the NPU refuses, when an SA moves in
//
// The slow path, which carries every packet here:
//
//	path.go    a packet of either direction         esp.go     AES-GCM, AES-CBC with HMAC
//	flow.go    inner headers, ECN                   machine.go TUN device and sockets
//
// # The NPU
//
// It has few slots (setting npu-slots), knows AES-GCM without ESN only, takes
// active SAs in tunnel mode without UDP, and maybe one direction only (setting
// npu-directions). Each direction of a tunnel moves in with its own first packet,
// if a slot is free, and out when it becomes standby; Placed tells. The model
// carries nothing, so Info calls it emulated.
//
// # One lock
//
// A packet holds Engine.mu from the look-up of its SA until it has left. That is
// slow, and it makes the promises of the contract easy to see: no packet leaves
// after Demote returned, the packet that starts an armed tunnel is sent by it, no
// number and no IV is used twice. A fast path keeps the promises and not the lock.
//
// # What it leaves out
//
// Transport mode; discovery of path MTUs, as outer packets have no DF and inner
// ones are limited by the MTU of the TUN device (setting tun-mtu), so HeaderPolicy.DF
// and SA.PathMTU change nothing; ICMP to senders.
package examplenpu
