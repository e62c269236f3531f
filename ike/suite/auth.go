package suite

import (
	"crypto/hmac"

	"github.com/evergate/evergate/core/ipsec"
)

// SharedKeyAuth is the AUTH of a pre-shared key over signed octets (RFC 7296
// section 2.15).
//
//	AUTH = prf( prf(Shared Secret, "Key Pad for IKEv2"), <SignedOctets>)
func (p PRF) SharedKeyAuth(psk ipsec.Key, signed []byte) []byte {
	key := ipsec.NewKey(p.Sum(psk, []byte("Key Pad for IKEv2")))
	defer key.Wipe()
	return p.Sum(key, signed)
}

// CheckSharedKeyAuth tells whether a peer's AUTH proves that it holds psk. It
// takes the same time wherever the difference is. An empty psk is no secret:
// nobody can prove that he holds it.
func (p PRF) CheckSharedKeyAuth(psk ipsec.Key, signed, auth []byte) bool {
	return psk.Len() > 0 && hmac.Equal(p.SharedKeyAuth(psk, signed), auth)
}

// SignedOctets is what the AUTH of one side covers (RFC 7296 section 2.15).
// message is the whole IKE_SA_INIT message that this side sent, from the first
// octet of its header, in its last form (with the cookie, if there was one);
// peerNonce is the other side's nonce; id is this side's ID payload without the
// generic header; skp is this side's SK_p.
//
//	InitiatorSignedOctets = RealMessage1 | NonceRData | MACedIDForI
//	MACedIDForI = prf(SK_pi, RestOfInitIDPayload)
func (p PRF) SignedOctets(skp ipsec.Key, message, peerNonce, id []byte) []byte {
	out := make([]byte, 0, len(message)+len(peerNonce)+p.Len())
	out = append(out, message...)
	out = append(out, peerNonce...)
	return append(out, p.Sum(skp, id)...)
}
