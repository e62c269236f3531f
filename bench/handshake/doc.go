// Package handshake measures IKE responders: how many tunnels they make for how much
// processor time, how long the clients wait, and how much memory a tunnel takes that
// is there.
//
// The clients are the project's own initiators, the same for each responder: many
// hosts with a pre-shared key that dial in at once, each for one IKE SA and one pair
// of Child SAs, in two exchanges. They look for a NAT, and the gateways answer in UDP
// on port 4500 where they want it. The responders are evergated with its dataplane,
// and strongSwan's charon with kernel-libipsec, which has ESP in the process: both
// are complete gateways with ESP in user space, so nothing is left to a kernel whose
// time would not be seen. Neither writes a log of what goes well, and neither asks
// for cookies.
//
//   - Each key exchange method is measured in rounds, in which the responders take
//     turns, in the order of the names and then in the other order: what the machine
//     has to do besides hits both.
//   - Processor time is that of all processes of a responder, user and system mode,
//     over a round; for evergated it is also given without the dataplane, since a
//     charon with ESP in the kernel would leave that to somebody else too.
//   - Handshakes per second are as the clients count them, who share the machine with
//     the responders.
//   - A client's wait is from its first message to the end of the handshake, while
//     others dial as well.
//   - Memory per tunnel is the resident set of a responder with all tunnels, less
//     that with its first few, each after time to settle.
package handshake
