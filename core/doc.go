// Package core is the map of Evergate; it holds no code.
//
// Evergate is an IPsec gateway whose tunnels outlive the gateway. One daemon,
// evergated, speaks IKE and will synchronize SAs with other members; packets are
// the business of a dataplane plugin in its own process.
//
// # The house
//
//	core/ipsec       vocabulary, standard library only: SPI, SA, selectors, algorithms, keys
//	core/engine      where ike and offload meet: shards (pure) and what runs them
//	core/netio       UDP 500 and 4500                core/route     kernel routes of tunnels
//	core/pluginhost  find, start, supervise, replace dataplane plugins
//	core/config      YAML to connections             core/state     what must survive on disk
//	core/admin       the operator's unix socket      core/diag      the diagnose views
//	core/heap        memory close to what is needed
//	core/sealed      the state of tunnels on disk, for the next life
//	core/telemetry   logging and metrics             core/netlab    real networks for tests
//	core/e2e         the whole gateway against real peers
//	core/sim         whole clusters in one goroutine, from a seed
//	ike              IKEv2 as a pure machine; wire (codec), suite (cryptography), iketest
//	ike/v1           IKEv1 as a pure machine; wire (codec), keymat (cryptography), iketest/v1test
//	ha               replication between members as a pure machine; hatest (simulation), wire (codec),
//	                 transport (TLS between members), witness (what routers are told, and
//	                 where the addresses of a unit are)
//	offload          the contract with dataplanes; proto, pluginrpc, mem, offloadtest, ikesock
//	plugins/softesp  the pure Go dataplane           plugins/xfrm   Linux's own ESP
//	plugins/dpdk     ports and ciphers of DPDK, behind the build tag dpdk: loop is the packet path, in C;
//	                 nffgo brings it packets by a flow graph, in place of its own workers (adr/0015)
//	plugins/examplenpu  a vendor's plugin to start from, in a module of its own
//	cmd              evergated, evergate, evergate-plugin-softesp, evergate-plugin-xfrm, offload-probe, evergate-demo
//	configs          configurations to start from, each loaded by a test
//	bench            how to measure, and last results
//
// # Who may import whom
//
// core/ipsec imports the standard library only. ike, ha and offload import
// core/ipsec and never each other. plugins import offload and core/ipsec.
// core/engine imports the three siblings; cmd wires. ike, ha and the pure files
// of core/engine do no I/O and read no clock. arch_test.go fails when this is
// broken.
//
// # Pure machines, thin shell
//
// ike.Tunnel and engine.Shard take an input and the time, and return a Ready:
// the work, in the order in which it must be done. That order is the safety
// argument (see ike.Ready): the peer never learns of an SA that is not in the
// dataplane yet. They hold no socket, clock, goroutine or lock, so whole
// gateways run in one goroutine, repeatable from a seed.
//
// # A dialup client connects
//
// netio reads a batch; the engine finds the shard by our own SPI in the header;
// ike.Demux, or v1.Demux, finds the tunnel, or answers without state, or makes one;
// Tunnel.Step returns Ready{Install, Send, ...}; the shard asks the dataplane to
// install, and the tunnel waits while the others go on; the answer comes back,
// routes are added, and only then does the response leave.
//
// # Its gateway dies
//
// A shard publishes what a step of a synchronized tunnel means (publish.go); the
// Replica (standby.go) hands it to ha.Node and holds the messages for the peer
// back until other members have it in their dataplanes, as standby. Heartbeat
// silence makes every survivor arm the dead member's group with one call; the
// first packet of a tunnel, in either direction, starts it inside the dataplane.
// Activated comes up, the node claims the tunnel, and the shard brings its IKE SA
// to life from the last snapshot, and asks the client whether it is there: one that
// died with its gateway is flushed everywhere. IKE messages that reach another
// member than the owner are relayed to it. Requests that the dead member had
// answered find the same answer, octet by octet, those that ended a tunnel too.
// Where it had gone on alone before it died, Message IDs and replay counters are
// synchronized with the client (RFC 6311).
//
// # A packet comes to another member
//
// Routers may hand a packet for a client to a member that stands by. Its dataplane
// gives it to the owner's over a link, a pair of SAs between the members' own
// addresses; Links (engine, link.go) makes and replaces them, with keys from the
// members' session. A member that leaves gives each tunnel to a successor, and goes
// on sending what it is given until all others know of it (adr/0009).
//
// # The primary of a unit dies
//
// Members of a unit choose a primary, who has all tunnels and the unit's addresses;
// the others rest. The next primary promotes every SA with one call; then its shards
// end their rest, and the addresses come and are announced (adr/0011-units.md).
//
// # A dataplane dies
//
// pluginhost starts another process with the next boot number, which goes into
// its IVs, configures it, and reports Reset; every shard compares the inventory
// with what should be there and installs what is missing: outbound SAs above
// their last lease, inbound ones from the last checkpoint of the replay window.
// No IKE SA is touched, and the peer sees a jump in sequence numbers. Where it dies
// before the gateway has ever worked, the gateway waits for it, and tells its status and
// metrics meanwhile; a plugin that does not fit, or does not take its settings, ends the
// start.
//
// # The daemon dies, or is upgraded
//
// A gateway that stands alone may keep the state of its tunnels (adr/0014-restart.md).
// Its dataplane goes on; the next daemon reattaches to it, restores the IKE SAs from
// the sealed journal that was written before the peers heard of them, and compares
// the inventory. The peers are asked whether they are there, and notice nothing
// else. Members of a group give their tunnels to each other before a planned stop.
// Where a member's daemon dies, its dataplane goes on; the next life has its tunnels
// back from the others, or from its own journal where all have died, unless another
// member has taken them: those fall silent here (ha, estate.go).
//
// Decisions and their reasons are in adr/.
package core
