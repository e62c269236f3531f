// Package failover measures what the death of a member costs its clients, and
// what it costs beforehand that it costs so little.
//
// Everything that is measured is real: evergated processes with the softesp
// dataplane behind gRPC, TLS between members, IKE and ESP over UDP and raw IP in
// namespaces. Only the clients are not whole gateways: they are the project's
// own IKE initiators, and packets sealed with what those agreed on. Times are
// the kernel's, taken where packets pass an interface (rig.Tap).
//
//   - The takeover gap is from the first packet of a tunnel at the survivor to
//     the moment when it leaves again, decrypted or encrypted. All tunnels of the
//     dead member meet one survivor. The same packets sent once more, through
//     tunnels that are active by then, tell what of it is the takeover.
//   - The handshake's time at the gateway is from an IKE_AUTH request to its
//     response, without a group, with one acknowledgement by a standby, and with
//     those of all: the response waits for them, so it is no sooner than the SAs
//     in all dataplanes.
package failover
