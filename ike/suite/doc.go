// Package suite is the cryptography of IKEv2 (RFC 7296): which algorithms two
// peers agree on, the key exchange, the key schedule, the AUTH of a shared key,
// and the protection of messages by the Encrypted payload.
//
// The path of an exchange through the package:
//
//	chosen, index, err := suite.Select(ours, offered) // section 2.7; Verify on the initiator
//	s, err := suite.FromProposal(chosen)              // the algorithms of an IKE SA
//	ke, err := suite.NewKE(s.Group, rand)             // section 2.7, 3.4
//	shared, err := ke.Shared(peerPublic)
//	keys, err := s.Keys(suite.Exchange{...})          // section 2.14; Rekeyed for 2.18
//	out, err := suite.NewSealer(s, keys.From(true), iv, rand)  // section 3.14
//	in, err := suite.NewOpener(s, keys.From(false))
//
// and for each Child SA:
//
//	c, err := suite.ChildFromProposal(chosen)
//	childKeys, err := prf.ChildKeys(keys.D, c.Algorithms, pfsShared, ni, nr) // section 2.17
//
// Everything here is pure: randomness is passed in and consumed in a fixed
// order, so that a simulation repeats from its seed. Nothing is safe for
// concurrent use except values that are only read.
//
// # Message IVs and invariant I1
//
// AES-CTR, AES-GCM and ChaCha20-Poly1305 break when a (key, IV) pair is used
// twice, and a standby that takes an IKE SA over sends with the very keys that
// its predecessor used. The 8-octet IV of these modes is therefore
//
//	4 bits member | 28 bits epoch | 32 bits counter
//
// The member bits keep two members apart that both believe they own the SA.
// The epoch is the caller's: one that this member never used before with these
// keys, whenever it starts to send with them (a new SA, a takeover, a restart).
// The counter is part of the replicated state (Sealer.IV) and only grows. CBC
// modes need an unpredictable IV instead and draw it from rand.
package suite
