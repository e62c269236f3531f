// Package wire is the codec of IKEv2 messages: RFC 7296 section 3, with the
// fragments of RFC 7383 and the notifications of RFC 6311. It keeps no state
// and judges syntax only; what a message means is the business of package ike.
//
// # Receiving
//
// ParseHeader is cheap and tells whose a datagram is. Decode reads the payloads
// that are not encrypted. Where the last one is an SK or SKF payload, its Open
// authenticates and decrypts, and DecodePayloads reads what was inside:
//
//	msg, err := wire.Decode(datagram)      // err: answer or drop, see Error
//	sk := wire.Find[*wire.SK](msg.Payloads)
//	plain, err := sk.Open(opener)          // err: not authentic, drop
//	inner, err := wire.DecodePayloads(sk.First, plain)
//
// The fragments of one message are opened one by one; their plaintexts in the
// order of SKF.Number, joined, go to DecodePayloads with the First of number 1.
//
// # Sending
//
// Message.Append encodes in the clear; Message.Seal encodes the same payloads
// inside one SK payload, and Message.SealFragments inside several SKF payloads.
// They lay out headers, IV, padding and ICV, and let a Sealer encrypt in place.
//
// # Ownership and limits
//
// Decoded byte slices alias the input, which the caller must not change while
// it uses them. Encoders copy. All that the network can make large has a named
// limit, so what a message costs is proportional to its length. Reserved bits
// are ignored on receipt and sent as zero (RFC 7296 section 2.5), with one
// exception: those of ID payloads, because AUTH covers them.
//
// Decoding never panics. What Append accepts Decode accepts, other versions and
// unknown critical payloads apart.
package wire
