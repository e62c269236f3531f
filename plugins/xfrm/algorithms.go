package xfrm

import (
	"fmt"
	"slices"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/xfrm/xfrmnl"
)

// encryptionName is what the kernel's cryptography calls a cipher.
func encryptionName(e ipsec.EncryptionID) (string, bool) {
	switch e {
	case ipsec.EncrAESCBC:
		return "cbc(aes)", true
	case ipsec.EncrAESCTR:
		return "rfc3686(ctr(aes))", true
	case ipsec.Encr3DES:
		return "cbc(des3_ede)", true
	case ipsec.EncrNull:
		return "ecb(cipher_null)", true
	case ipsec.EncrAESGCM8, ipsec.EncrAESGCM12, ipsec.EncrAESGCM16:
		return "rfc4106(gcm(aes))", true
	case ipsec.EncrChaCha20Poly1305:
		return "rfc7539esp(chacha20,poly1305)", true
	default:
		return "", false
	}
}

func integrityName(i ipsec.IntegrityID) (string, bool) {
	switch i {
	case ipsec.AuthHMACSHA1_96:
		return "hmac(sha1)", true
	case ipsec.AuthHMACSHA2_256_128:
		return "hmac(sha256)", true
	case ipsec.AuthHMACSHA2_384_192:
		return "hmac(sha384)", true
	case ipsec.AuthHMACSHA2_512_256:
		return "hmac(sha512)", true
	default:
		return "", false
	}
}

// setAlgorithms fills in what a state encrypts and authenticates with.
func setAlgorithms(s *xfrmnl.State, a ipsec.Algorithms, encryption, integrity ipsec.Key) error {
	cipher, ok := encryptionName(a.Encryption)
	if !ok {
		return fmt.Errorf("%w: %v", offload.ErrUnsupported, a)
	}
	icv := uint32(8 * a.ICVLen())
	if a.ESN {
		s.Flags |= xfrmnl.FlagESN
	}
	if a.Encryption.AEAD() {
		s.AEAD = &xfrmnl.Algorithm{Name: cipher, Key: encryption, ICVBits: icv}
		return nil
	}
	hash, ok := integrityName(a.Integrity)
	if !ok {
		return fmt.Errorf("%w: %v", offload.ErrUnsupported, a)
	}
	s.Crypt = &xfrmnl.Algorithm{Name: cipher, Key: encryption}
	s.Auth = &xfrmnl.Algorithm{Name: hash, Key: integrity, ICVBits: icv}
	return nil
}

// building lists sets of algorithms whose parts are those of all combinations. The
// kernel puts a cipher and a hash together by itself, so what has both has their
// combination.
func building() []ipsec.Algorithms {
	var all []ipsec.Algorithms
	for _, c := range ipsec.Combinations() {
		for _, part := range parts(c) {
			if !slices.Contains(all, part) {
				all = append(all, part)
			}
		}
	}
	return all
}

// parts are the sets of algorithms that a kernel with a has, and without a has not
// all of: of the same cipher, of the same hash, and of extended numbers.
func parts(a ipsec.Algorithms) []ipsec.Algorithms {
	with := func(e ipsec.EncryptionID, bits uint16, i ipsec.IntegrityID, esn bool) ipsec.Algorithms {
		return ipsec.Algorithms{Encryption: e, KeyBits: bits, Integrity: i, ESN: esn}
	}
	bits := a.KeyBits
	switch a.Encryption {
	case ipsec.EncrAESCBC, ipsec.EncrAESCTR, ipsec.EncrAESGCM8, ipsec.EncrAESGCM12, ipsec.EncrAESGCM16:
		bits = 256
	case ipsec.Encr3DES, ipsec.EncrNull, ipsec.EncrChaCha20Poly1305:
		bits = 0
	}
	if a.Encryption.AEAD() {
		return []ipsec.Algorithms{with(a.Encryption, bits, ipsec.AuthNone, false)}
	}
	out := []ipsec.Algorithms{
		with(a.Encryption, bits, ipsec.AuthHMACSHA2_256_128, false),
		with(ipsec.EncrAESCBC, 256, a.Integrity, false),
	}
	if a.ESN {
		out = append(out, with(ipsec.EncrAESCBC, 256, ipsec.AuthHMACSHA2_256_128, true))
	}
	return out
}
