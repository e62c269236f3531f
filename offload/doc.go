// Package offload is the contract between Evergate and a dataplane: what a
// plugin must do so that tunnels work, fail over and never reuse a nonce.
//
// A dataplane holds SAs (RFC 4301 section 4.4.2), encrypts, decrypts, checks
// replay and selectors, and reports where it put each SA. It knows nothing of
// IKE or of other members. Packets never cross this interface.
package offload
