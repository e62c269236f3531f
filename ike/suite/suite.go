package suite

import (
	"fmt"

	"github.com/evergate/evergate/core/ipsec"
)

// Suite is the algorithms of one IKE SA, one of each type (RFC 7296 section
// 3.3). The zero Suite is invalid.
type Suite struct {
	Encryption ipsec.EncryptionID
	KeyBits    uint16            // of the encryption key; 0 where it has one length only
	Integrity  ipsec.IntegrityID // AuthNone for AEADs
	PRF        ipsec.PRFID
	Group      ipsec.GroupID
}

// FromProposal reads a chosen IKE proposal: one transform per type. An error
// says what is missing, doubled, unknown or contradictory.
func FromProposal(p ipsec.Proposal) (Suite, error) {
	one, err := single(p)
	if err != nil {
		return Suite{}, err
	}
	if len(p.OfType(ipsec.TypeESN)) > 0 {
		return Suite{}, fmt.Errorf("suite: IKE proposal %v has an ESN transform", p)
	}
	s := Suite{
		Encryption: ipsec.EncryptionID(one.encryption.ID),
		KeyBits:    one.encryption.KeyBits,
		Integrity:  ipsec.IntegrityID(one.integrity.ID),
		PRF:        ipsec.PRFID(one.prf.ID),
		Group:      ipsec.GroupID(one.ke.ID),
	}
	return s, s.Validate()
}

// Validate tells what keeps s from protecting an IKE SA, if anything.
func (s Suite) Validate() error {
	if s.Encryption == ipsec.EncrNull {
		// It is for ESP only: identities travel inside the IKE SA.
		return fmt.Errorf("suite: null encryption is not for IKE")
	}
	if err := validEncryption(s.Encryption, s.KeyBits, s.Integrity); err != nil {
		return err
	}
	if _, err := NewPRF(s.PRF); err != nil {
		return err
	}
	_, err := newGroup(s.Group)
	return err
}

// Proposal is s as a proposal with one transform per type.
func (s Suite) Proposal() ipsec.Proposal {
	p := ipsec.Proposal{Transforms: []ipsec.Transform{
		{Type: ipsec.TypeEncryption, ID: uint16(s.Encryption), KeyBits: s.KeyBits},
		{Type: ipsec.TypePRF, ID: uint16(s.PRF)},
	}}
	if s.Integrity != ipsec.AuthNone {
		p.Transforms = append(p.Transforms, ipsec.Transform{Type: ipsec.TypeIntegrity, ID: uint16(s.Integrity)})
	}
	return p.WithGroups(s.Group)
}

// String formats s as the configuration writes a proposal, with the key
// exchange method behind it, such as "aes128-sha1-prfsha1/modp1024 (2)".
func (s Suite) String() string {
	name := ipsec.EncryptionName(s.Encryption, s.KeyBits)
	if s.Integrity != ipsec.AuthNone {
		name += "-" + s.Integrity.String()
	}
	return fmt.Sprintf("%s-%v/%v", name, s.PRF, s.Group)
}

// algorithms is the protection of messages in the vocabulary of ESP, which
// knows the lengths.
func (s Suite) algorithms() ipsec.Algorithms {
	return ipsec.Algorithms{Encryption: s.Encryption, KeyBits: s.KeyBits, Integrity: s.Integrity}
}

// Child is the algorithms of one pair of Child SAs. Group is the key exchange
// method of its perfect forward secrecy, GroupNone for none.
type Child struct {
	ipsec.Algorithms
	Group ipsec.GroupID
}

// ChildFromProposal reads a chosen ESP proposal: one transform per type. A
// missing ESN transform means NoESN, see Select.
func ChildFromProposal(p ipsec.Proposal) (Child, error) {
	one, err := single(p)
	if err != nil {
		return Child{}, err
	}
	if len(p.OfType(ipsec.TypePRF)) > 0 {
		return Child{}, fmt.Errorf("suite: ESP proposal %v has a PRF transform", p)
	}
	c := Child{
		Algorithms: ipsec.Algorithms{
			Encryption: ipsec.EncryptionID(one.encryption.ID),
			KeyBits:    one.encryption.KeyBits,
			Integrity:  ipsec.IntegrityID(one.integrity.ID),
			ESN:        one.esn.ID == ipsec.UseESN,
		},
		Group: ipsec.GroupID(one.ke.ID),
	}
	if c.Group != ipsec.GroupNone {
		if _, err := newGroup(c.Group); err != nil {
			return Child{}, err
		}
	}
	return c, validEncryption(c.Encryption, c.KeyBits, c.Integrity)
}

// singles are the transforms of a chosen proposal; a type that it lacks is the
// zero Transform, whose ID 0 means "none" for integrity, key exchange and ESN,
// and is reserved for encryption and PRF.
type singles struct{ encryption, prf, integrity, ke, esn ipsec.Transform }

func single(p ipsec.Proposal) (singles, error) {
	var s singles
	seen := make(map[ipsec.TransformType]bool, len(p.Transforms))
	for _, t := range p.Transforms {
		if seen[t.Type] {
			return s, fmt.Errorf("suite: proposal %v has several transforms of type %d", p, t.Type)
		}
		seen[t.Type] = true
		switch t.Type {
		case ipsec.TypeEncryption:
			s.encryption = t
		case ipsec.TypePRF:
			s.prf = t
		case ipsec.TypeIntegrity:
			s.integrity = t
		case ipsec.TypeKE:
			s.ke = t
		case ipsec.TypeESN:
			s.esn = t
		default:
			return s, fmt.Errorf("suite: proposal %v has a transform of unknown type %d", p, t.Type)
		}
		if t.Type != ipsec.TypeEncryption && t.KeyBits != 0 {
			return s, fmt.Errorf("suite: proposal %v has a key length on %v, which has one length only", p, t)
		}
	}
	return s, nil
}

// validEncryption checks an encryption algorithm with its key length and the
// integrity algorithm beside it.
//
// "The Key Length attribute MUST NOT be used with transforms that use a
// fixed-length key." RFC 7296 section 3.3.5, which makes it mandatory for the
// others: AES without one has no default.
func validEncryption(e ipsec.EncryptionID, keyBits uint16, i ipsec.IntegrityID) error {
	if _, err := ipsec.EncryptionKeyLen(e, keyBits); err != nil {
		return fmt.Errorf("suite: %w", err)
	}
	if _, err := ipsec.EncryptionKeyLen(e, 0); err == nil && keyBits != 0 {
		return fmt.Errorf("suite: %v comes with a key length of %d bits, but has one length only", e, keyBits)
	}
	if _, err := i.KeyLen(); err != nil {
		return fmt.Errorf("suite: %w", err)
	}
	if e.AEAD() != (i == ipsec.AuthNone) {
		if e.AEAD() {
			return fmt.Errorf("suite: %v authenticates by itself, but comes with %v", e, i)
		}
		return fmt.Errorf("suite: %v comes without an integrity algorithm", e)
	}
	return nil
}

// Supported lists the transforms of one type that this package implements, what
// should be preferred first. Null encryption is for Child SAs only. The list of an
// unknown type is empty.
func Supported(t ipsec.TransformType) []ipsec.Transform {
	var out []ipsec.Transform
	add := func(id uint16, keyBits ...uint16) {
		if len(keyBits) == 0 {
			keyBits = []uint16{0}
		}
		for _, bits := range keyBits {
			out = append(out, ipsec.Transform{Type: t, ID: id, KeyBits: bits})
		}
	}
	switch t {
	case ipsec.TypeEncryption:
		add(uint16(ipsec.EncrAESGCM16), 256, 192, 128)
		add(uint16(ipsec.EncrChaCha20Poly1305))
		for _, e := range []ipsec.EncryptionID{ipsec.EncrAESGCM12, ipsec.EncrAESGCM8, ipsec.EncrAESCTR, ipsec.EncrAESCBC} {
			add(uint16(e), 256, 192, 128)
		}
		add(uint16(ipsec.Encr3DES))
		add(uint16(ipsec.EncrNull))
	case ipsec.TypePRF:
		for _, p := range []ipsec.PRFID{ipsec.PRFHMACSHA2_512, ipsec.PRFHMACSHA2_384, ipsec.PRFHMACSHA2_256, ipsec.PRFHMACSHA1} {
			add(uint16(p))
		}
	case ipsec.TypeIntegrity:
		for _, i := range []ipsec.IntegrityID{ipsec.AuthHMACSHA2_512_256, ipsec.AuthHMACSHA2_384_192, ipsec.AuthHMACSHA2_256_128, ipsec.AuthHMACSHA1_96} {
			add(uint16(i))
		}
	case ipsec.TypeKE:
		for _, g := range []ipsec.GroupID{
			ipsec.GroupX25519, ipsec.GroupECP521, ipsec.GroupECP384, ipsec.GroupECP256,
			ipsec.GroupMODP8192, ipsec.GroupMODP6144, ipsec.GroupMODP4096, ipsec.GroupMODP3072, ipsec.GroupMODP2048,
			ipsec.GroupMODP1536, ipsec.GroupMODP1024, ipsec.GroupMODP768,
		} {
			add(uint16(g))
		}
	case ipsec.TypeESN:
		add(ipsec.UseESN)
		add(ipsec.NoESN)
	}
	return out
}
