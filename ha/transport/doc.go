// Package transport carries frames and heartbeats between the members of a
// group, mutually authenticated and encrypted; there is no plaintext mode.
//
// A Mesh knows its peers by address. To each it keeps one TLS 1.3 stream, on
// which both ends show certificates of the group (package cert), and beside it
// UDP datagrams on the same port number, sealed with keys that come out of the
// stream's handshake. What is in a frame or a heartbeat is the caller's
// business.
//
//	mesh, err := transport.New(transport.Config{Identity: id, Local: local, Peers: peers, Receiver: engine})
//	go mesh.Run(ctx)
//	switch mesh.Send(2, transport.Frame{Type: 1, Class: transport.Record, Body: body}) {
//	case transport.Queued: // in order, unless PeerDown(2) comes first
//	case transport.Full:   // member 2 is slow; Room(2, Record) tells when to go on
//	case transport.Away:   // no session with member 2
//	}
//
// # Sessions
//
// A session is one authenticated stream with one member. The Receiver is told
// of its begin (PeerUp) and its end (PeerDown), always in turn: the next
// session of a member begins after the last one has ended. Within a session the
// frames of one class arrive in the order in which they were sent, none lost or
// doubled. At its end all that is queued or under way is lost, and neither end
// can tell how much of it had arrived: the caller starts over at PeerUp.
//
// Both members dial. When their streams cross, the member with the lower id
// decides which one lives: the one it has, unless the other member has started
// anew, or says that it lost exactly that one. So a stream that is dead at one
// end only does not block its successor.
//
// # Priorities and back-pressure
//
// Each peer has a queue per Class, bounded in frames and octets. A higher class
// leaves first, but every write takes at least one frame of each class that
// waits, so none starves. Little is given to the kernel ahead of time
// (TCP_NOTSENT_LOWAT): a claim waits for some 200 kB of a snapshot, not for
// megabytes. A peer that does not read fills its own queues, and no others; when
// it takes nothing for Config.Stall, its session ends. A Receiver that blocks in
// ReceiveFrame stops reading from that one peer, which the peer sees likewise.
//
// # Heartbeats and time
//
// Mesh.Heartbeat seals and sends in the caller's goroutine, with one system
// call that does not block: no queue, lock or goroutine that bulk could occupy
// is on the way. They go over all of Config.Links: a member is alive as long as one
// of these works, and its session moves to another one when its own is silent for
// Config.Stall. Heartbeats pass a stream that is stuck, and go on for as long as
// no new session has replaced the keys, also when the stream is cut. Datagrams
// are marked CS6, as routing protocols are.
//
// A heartbeat every 50 ms of which three may be missed means that a member is
// declared dead after 150 ms of silence, and all that delays the path from the
// caller's timer to the other's Receiver counts against that: the Go scheduler
// and garbage collector take well under a millisecond, a machine whose
// processors are all taken by others, a hypervisor that moves the machine, or a
// debugger take more than they should. So give the sender a goroutine that does
// nothing slow, and the process processors of its own. A receiver that was late
// itself (its timer fired an interval or more after it was due) has not heard
// silence: what came meanwhile waits in the socket, and it should let another
// interval pass before it judges.
//
// # What an outsider can do
//
// A connection from an address that is no peer's is closed before anything is
// read, and before TLS begins. Peers' addresses get a few handshakes at a time,
// each with a deadline. Before a certificate is checked nothing but the TLS
// handshake is parsed. Forged and replayed heartbeats are dropped and counted.
// Who can cut the link can silence the members, and who can delay datagrams can
// make a member look alive for as long as the delay.
package transport
