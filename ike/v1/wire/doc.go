// Package wire is the codec of IKEv1: ISAKMP messages (RFC 2408 section 3) with
// the payloads that the IPsec DOI (RFC 2407), IKE (RFC 2409), NAT traversal (RFC
// 3947), mode config and the common fragmentation extension put into them. It
// keeps no state and judges syntax only.
//
// # Receiving
//
// ParseHeader tells whose a datagram is. Decode reads the payloads of a message
// in the clear; of an encrypted one it returns the ciphertext, and DecodeChain
// reads what was inside:
//
//	m, err := wire.Decode(message)
//	chain, err := wire.DecodeChain(m.Header.Next, decrypted)
//	hash, covered := wire.Find[*wire.Hash](chain.Payloads), chain.AfterFirst
//
// # Sending
//
// Message.Append encodes in the clear. AppendChain encodes payloads by
// themselves, for what is hashed and encrypted, and Header.Append goes in front.
//
// # Ownership and limits
//
// Decoded byte slices alias the input, which the caller must not change while it
// uses them. Encoders copy. All that the network can make large has a named
// limit. Decoding never panics, and what Append accepts Decode accepts.
package wire
