// Package keymat is the cryptography of IKEv1 (RFC 2409) beside what IKEv2 has
// too: key exchanges and pseudorandom functions are those of package suite.
//
//	k, err := keymat.Derive(s, keymat.Exchange{...}) // SKEYID and its children, section 5
//	hashI, err := k.HashI(...)                       // proof of the pre-shared key
//	iv := k.FirstIV()                                // appendix B
//	sealed, next := k.Encrypt(iv, plain)             // next is the IV of the next message
//	iv = k.ExchangeIV(last, messageID)               // of a new exchange of phase 2
//	k.Hash1(messageID, rest...)                      // HASH(1), HASH(2), HASH(3)
//	child, err := k.Child(...)                       // KEYMAT, section 5.5
//
// Everything here is pure. Ciphers are in CBC mode; the IV of a message is the
// last block of the one before it in the same exchange, so it belongs to the
// state that a standby gets.
package keymat
