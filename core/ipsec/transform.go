package ipsec

import "fmt"

// TransformType is IANA's "Transform Type Values" (RFC 7296 section 3.3.2).
type TransformType uint8

// The transform types.
const (
	TypeEncryption TransformType = 1 // ENCR
	TypePRF        TransformType = 2
	TypeIntegrity  TransformType = 3 // INTEG
	TypeKE         TransformType = 4 // key exchange method, formerly D-H group
	TypeESN        TransformType = 5 // extended sequence numbers
)

// EncryptionID is IANA's "Transform Type 1 - Encryption Algorithm".
type EncryptionID uint16

// The encryption algorithms that Evergate knows.
const (
	Encr3DES             EncryptionID = 3
	EncrNull             EncryptionID = 11
	EncrAESCBC           EncryptionID = 12
	EncrAESCTR           EncryptionID = 13
	EncrAESGCM8          EncryptionID = 18
	EncrAESGCM12         EncryptionID = 19
	EncrAESGCM16         EncryptionID = 20
	EncrChaCha20Poly1305 EncryptionID = 28
)

// AEAD tells whether e authenticates by itself, so that no integrity algorithm
// goes with it (RFC 5282).
func (e EncryptionID) AEAD() bool {
	switch e {
	case EncrAESGCM8, EncrAESGCM12, EncrAESGCM16, EncrChaCha20Poly1305:
		return true
	default:
		return false
	}
}

// CounterMode tells whether a (key, nonce) pair used twice breaks e.
func (e EncryptionID) CounterMode() bool { return e.AEAD() || e == EncrAESCTR }

// IntegrityID is IANA's "Transform Type 3 - Integrity Algorithm".
type IntegrityID uint16

// The integrity algorithms that Evergate knows.
const (
	AuthNone             IntegrityID = 0
	AuthHMACSHA1_96      IntegrityID = 2
	AuthHMACSHA2_256_128 IntegrityID = 12
	AuthHMACSHA2_384_192 IntegrityID = 13
	AuthHMACSHA2_512_256 IntegrityID = 14
)

// PRFID is IANA's "Transform Type 2 - Pseudorandom Function".
type PRFID uint16

// The pseudorandom functions that Evergate knows.
const (
	PRFHMACSHA1     PRFID = 2
	PRFHMACSHA2_256 PRFID = 5
	PRFHMACSHA2_384 PRFID = 6
	PRFHMACSHA2_512 PRFID = 7
)

// GroupID is IANA's "Transform Type 4 - Key Exchange Method".
type GroupID uint16

// The key exchange methods that Evergate knows. 1, 2 and 5 are weak and offered
// or accepted only where the configuration names them.
const (
	GroupNone     GroupID = 0
	GroupMODP768  GroupID = 1
	GroupMODP1024 GroupID = 2
	GroupMODP1536 GroupID = 5
	GroupMODP2048 GroupID = 14
	GroupMODP3072 GroupID = 15
	GroupMODP4096 GroupID = 16
	GroupMODP6144 GroupID = 17
	GroupMODP8192 GroupID = 18
	GroupECP256   GroupID = 19
	GroupECP384   GroupID = 20
	GroupECP521   GroupID = 21
	GroupX25519   GroupID = 31
)

// ESN values of transform type 5.
const (
	NoESN  uint16 = 0
	UseESN uint16 = 1
)

// Transform is one algorithm in a proposal (RFC 7296 section 3.3.2).
type Transform struct {
	Type TransformType
	ID   uint16
	// KeyBits is the Key Length attribute in bits, 0 where the transform has a
	// fixed key length.
	KeyBits uint16
}

// Proposal is one set of acceptable algorithms (RFC 7296 section 3.3.1). Within
// a type the order of Transforms is the order of preference.
type Proposal struct {
	Transforms []Transform
}

// OfType returns the transforms of type t in order of preference.
func (p Proposal) OfType(t TransformType) []Transform {
	var out []Transform
	for _, tr := range p.Transforms {
		if tr.Type == t {
			out = append(out, tr)
		}
	}
	return out
}

// Algorithms are those of one ESP SA: what Proposal selection left.
type Algorithms struct {
	Encryption EncryptionID
	// KeyBits is the length of the encryption key in bits, without the salt
	// of counter modes; 0 where the algorithm has one length only.
	KeyBits   uint16
	Integrity IntegrityID // AuthNone for AEADs
	ESN       bool
}

// Combinations lists all algorithms of an ESP SA that make sense together, with and
// without ESN. A cipher with one length of key is there with 0 and with that length
// for KeyBits, as both mean the same.
func Combinations() []Algorithms {
	aes := []uint16{128, 192, 256}
	none := []IntegrityID{AuthNone}
	macs := []IntegrityID{AuthHMACSHA1_96, AuthHMACSHA2_256_128, AuthHMACSHA2_384_192, AuthHMACSHA2_512_256}
	var all []Algorithms
	for _, c := range []struct {
		cipher EncryptionID
		bits   []uint16
		macs   []IntegrityID
	}{
		{EncrAESGCM16, aes, none},
		{EncrAESGCM12, aes, none},
		{EncrAESGCM8, aes, none},
		{EncrChaCha20Poly1305, []uint16{0, 256}, none},
		{EncrAESCBC, aes, macs},
		{EncrAESCTR, aes, macs},
		{Encr3DES, []uint16{0, 192}, macs},
		{EncrNull, []uint16{0}, macs},
	} {
		for _, bits := range c.bits {
			for _, mac := range c.macs {
				for _, esn := range []bool{false, true} {
					all = append(all, Algorithms{Encryption: c.cipher, KeyBits: bits, Integrity: mac, ESN: esn})
				}
			}
		}
	}
	return all
}

// EncryptionKeyLen is the octets of KEYMAT that the encryption algorithm takes:
// the key, and the salt of counter modes behind it (RFC 4106 section 8.1: 4
// octets for GCM; RFC 3686 section 5.1: 4 for CTR; RFC 7634 section 2: 4 for
// ChaCha20-Poly1305). An error names an unknown algorithm or key length.
func (a Algorithms) EncryptionKeyLen() (int, error) {
	return EncryptionKeyLen(a.Encryption, a.KeyBits)
}

// EncryptionKeyLen is as Algorithms.EncryptionKeyLen.
func EncryptionKeyLen(e EncryptionID, keyBits uint16) (int, error) {
	aes := func(salt int) (int, error) {
		switch keyBits {
		case 128, 192, 256:
			return int(keyBits)/8 + salt, nil
		default:
			return 0, fmt.Errorf("ipsec: %v has no key length of %d bits", e, keyBits)
		}
	}
	fixed := func(n int, bits ...uint16) (int, error) {
		for _, b := range append(bits, 0) {
			if keyBits == b {
				return n, nil
			}
		}
		return 0, fmt.Errorf("ipsec: %v has no key length of %d bits", e, keyBits)
	}
	switch e {
	case EncrAESCBC:
		return aes(0)
	case EncrAESCTR, EncrAESGCM8, EncrAESGCM12, EncrAESGCM16:
		return aes(4)
	case EncrChaCha20Poly1305:
		return fixed(32+4, 256)
	case Encr3DES:
		return fixed(24, 192)
	case EncrNull:
		return fixed(0)
	default:
		return 0, fmt.Errorf("ipsec: unknown encryption algorithm %d", uint16(e))
	}
}

// KeyLen is the key of the integrity algorithm in octets, 0 for AuthNone. An
// error names an unknown algorithm.
func (i IntegrityID) KeyLen() (int, error) {
	switch i {
	case AuthNone:
		return 0, nil
	case AuthHMACSHA1_96:
		return 20, nil
	case AuthHMACSHA2_256_128:
		return 32, nil
	case AuthHMACSHA2_384_192:
		return 48, nil
	case AuthHMACSHA2_512_256:
		return 64, nil
	default:
		return 0, fmt.Errorf("ipsec: unknown integrity algorithm %d", uint16(i))
	}
}

// ICVLen is the length of the integrity check value in octets: of the integrity
// algorithm, or of the AEAD's tag. It is 0 for an unknown algorithm.
func (a Algorithms) ICVLen() int {
	switch a.Encryption {
	case EncrAESGCM8:
		return 8
	case EncrAESGCM12:
		return 12
	case EncrAESGCM16, EncrChaCha20Poly1305:
		return 16
	default: // the integrity algorithm says it
	}
	switch a.Integrity {
	case AuthHMACSHA1_96:
		return 12
	case AuthHMACSHA2_256_128:
		return 16
	case AuthHMACSHA2_384_192:
		return 24
	case AuthHMACSHA2_512_256:
		return 32
	default:
		return 0
	}
}

// IVLen is the explicit initialization vector in each packet, in octets.
func (a Algorithms) IVLen() int {
	switch a.Encryption {
	case EncrAESCBC:
		return 16
	case Encr3DES, EncrAESCTR, EncrAESGCM8, EncrAESGCM12, EncrAESGCM16, EncrChaCha20Poly1305:
		return 8
	default:
		return 0
	}
}

// BlockLen is what the encrypted part is padded to, in octets, without the
// 4-octet alignment that ESP asks for in any case.
func (a Algorithms) BlockLen() int {
	switch a.Encryption {
	case EncrAESCBC:
		return 16
	case Encr3DES:
		return 8
	default:
		return 1
	}
}
