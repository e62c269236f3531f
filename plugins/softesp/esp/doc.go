// Package esp builds and opens ESP packets (RFC 4303) in place: ciphers with
// their IVs, padding and trailer, extended sequence numbers and the anti-replay
// window. It does no I/O and knows nothing of addresses, tunnels or policy.
//
// # The packet
//
//	SPI(4) sequence number(4) IV(0,8,16) | payload, padding, pad length, next header | ICV(8..32)
//	<------- HeaderLen octets ---------->  <------------ encrypted ---------------->
//
// Seal and Open work on whole packets where they lie and allocate nothing. AES-GCM
// is package gcm's, AES-CBC is here where the processor has AES instructions, and
// the other ciphers are those of the standard library and golang.org/x/crypto.
//
// # IVs
//
// All ciphers here but CBC fail when a key meets the same IV twice (invariant
// I1), and a standby goes on with the keys of the member that died. So the IV of
// eight octets is not the sequence number, which two members may both use in a
// split brain; it is unique by construction (the idea of RFC 6054 section 4):
//
//	 4 bits  member that sends
//	20 bits  boot counter of the dataplane on this member
//	40 bits  packet counter of the SA in this process
//
// 2^40 packets are 12 days at a million a second, and the SA stops there. 2^20
// boots are a hundred a day for 28 years, and Configure refuses the next one.
//
// CBC needs an unpredictable IV instead ("The IV MUST be chosen at random, and
// MUST be unpredictable", RFC 3602 section 3): it is the same number, encrypted
// with a random key that lives and dies with the process.
package esp
