// Package scale measures what very many tunnels cost a group: how fast a member
// that joins gets them, what they take of memory, and whether members that hold
// them still answer each other in time.
//
// Everything is real. Two evergated processes, each with the softesp dataplane
// behind gRPC in a process of its own, synchronize over TLS between namespaces;
// every tunnel is the outcome of a handshake over UDP with the project's own
// initiator. The clients forget their tunnels once these are up.
//
//   - A join is from the start of a member's process to the word of the one that
//     owns all tunnels that the other has every SA in its dataplane. Installed SAs
//     per second are the SAs of all tunnels by the time from the first heartbeat
//     between the two on: what comes before does not depend on their number. The
//     dataplane itself is counted afterwards, and must hold all, in both directions.
//   - Memory per tunnel is the resident set of a process with all tunnels, less
//     that of one that has just started, as the kernel counts it: the garbage
//     that Go has not given back is in it.
//   - The longest silence is the longest time between two heartbeats of a member
//     on the wire while nothing happens. What stalls a member shows there; at
//     150 ms others would take it for dead.
//   - Adoption is from the owner's death to the other member's going on with all
//     of its tunnels although no packet came for any. The first 10 s of it are
//     the wait for such packets, and one more that for heartbeats: members are more
//     patient here, so that a machine that is busy does not divide the group.
package scale
