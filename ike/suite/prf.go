package suite

import (
	"fmt"

	"github.com/evergate/evergate/core/ipsec"
)

// PRF is a negotiated pseudorandom function. All of ours are HMACs, whose key
// may have any length: the rules of RFC 7296 section 2.14 for PRFs with a key of
// fixed size (only a part of each nonce counts) concern none of them. NewPRF
// makes one; the zero PRF is invalid.
type PRF struct {
	id   ipsec.PRFID
	hash digest
}

// NewPRF returns the PRF with IANA's number id. An error names an unknown one.
func NewPRF(id ipsec.PRFID) (PRF, error) {
	switch id {
	case ipsec.PRFHMACSHA1:
		return PRF{id, digestSHA1}, nil
	case ipsec.PRFHMACSHA2_256:
		return PRF{id, digestSHA256}, nil
	case ipsec.PRFHMACSHA2_384:
		return PRF{id, digestSHA384}, nil
	case ipsec.PRFHMACSHA2_512:
		return PRF{id, digestSHA512}, nil
	default:
		return PRF{}, fmt.Errorf("suite: unknown PRF %d", uint16(id))
	}
}

// ID is IANA's number of p.
func (p PRF) ID() ipsec.PRFID { return p.id }

// Len is the length of the output and the preferred length of a key, in octets:
// that of SK_d, SK_pi and SK_pr.
func (p PRF) Len() int { return p.hash.size() }

// Sum is prf(key, data), where data are joined. The result is the caller's.
func (p PRF) Sum(key ipsec.Key, data ...[]byte) []byte {
	return p.hash.appendHMAC(make([]byte, 0, p.Len()), key.Reveal(), data...)
}

// Plus is the first n octets of prf+(key, seed), where the parts of seed are
// joined. The result is the caller's.
//
//	prf+ (K,S) = T1 | T2 | T3 | T4 | ...
//	T1 = prf (K, S | 0x01)
//	T2 = prf (K, T1 | S | 0x02)
//
// The counter at the end is one octet, so prf+ ends after 255 outputs of prf
// (RFC 7296 section 2.13). More is an error.
func (p PRF) Plus(key ipsec.Key, n int, seed ...[]byte) ([]byte, error) {
	size := p.Len()
	if n < 0 || n > 255*size {
		return nil, fmt.Errorf("suite: derive %d octets with %v: prf+ yields at most %d", n, p.id, 255*size)
	}
	counter := []byte{0}
	all := append(make([][]byte, 1, len(seed)+2), seed...) // T of the turn before | S | counter
	all = append(all, counter)
	out := make([]byte, 0, (n+size-1)/size*size)
	for len(out) < n {
		counter[0]++
		out = p.hash.appendHMAC(out, key.Reveal(), all...)
		all[0] = out[len(out)-size:]
	}
	clear(out[n:])
	return out[:n:n], nil
}

// Limits of a nonce in octets (RFC 7296 section 3.9).
const (
	MinNonceLen = 16
	MaxNonceLen = 256
)

// NonceLen is the length of our own nonces in octets. It serves every PRF.
//
// "Nonces used in IKEv2 MUST be randomly chosen, MUST be at least 128 bits in
// size, and MUST be at least half the key size of the negotiated pseudorandom
// function (PRF)." RFC 7296 section 2.10.
const NonceLen = 32

// CheckNonce tells what is wrong with a nonce of the peer, if anything.
func (p PRF) CheckNonce(nonce []byte) error {
	if least := max(MinNonceLen, p.Len()/2); len(nonce) < least || len(nonce) > MaxNonceLen {
		return fmt.Errorf("suite: nonce has %d octets, want %d to %d for %v", len(nonce), least, MaxNonceLen, p.id)
	}
	return nil
}
