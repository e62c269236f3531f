// Package gcm is AES-GCM (NIST SP 800-38D) for the packet path: with four blocks
// per instruction where an amd64 processor has VAES, VPCLMULQDQ and AVX-512, else
// that of the standard library, whose instructions take one. Which one it is,
// nobody can see but by the time that it takes.
//
// # How
//
// A packet is taken in steps of 16 blocks. A step encrypts 16 counter blocks while
// GHASH takes the 16 blocks of ciphertext before it (of the same step where it
// decrypts): each is multiplied with another power of H, H^16 to H^1, and the sum is
// reduced once. What is left at the end is a step with masks: no octet outside of
// the packet is read or written, and there is no slower code for short ends.
//
// Nonces have 12 octets, so the block of counter 1 makes the tag, data begin with
// counter 2, and the 32 bits of the counter cannot wrap within what Seal and Open
// take (SP 800-38D sections 5.2.1.1 and 7.1).
//
// Nothing depends on secrets but the contents of vector registers: no branch, no
// address. The processor's instructions take the same time for all data.
//
// # How it is held
//
// Tests compare it with the standard library octet by octet at all lengths and
// ends, with published vectors, with buffers between pages that cannot be read, and
// by a fuzz target. They run both implementations; where the processor has but one,
// they say so.
package gcm
