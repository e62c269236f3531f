package suite

import (
	"encoding/binary"
	"fmt"

	"github.com/evergate/evergate/core/ipsec"
)

// Keys are the seven secrets of an IKE SA (RFC 7296 section 2.14).
type Keys struct {
	D      ipsec.Key // SK_d: derives the keys of Child SAs and of the next IKE SA
	Ai, Ar ipsec.Key // SK_a: integrity; empty for AEADs
	Ei, Er ipsec.Key // SK_e: encryption, with the salt of counter modes behind it
	Pi, Pr ipsec.Key // SK_p: AUTH
}

// DirectionKeys protect what one side sends: messages of the IKE SA, or packets
// of one Child SA.
type DirectionKeys struct {
	Encryption ipsec.Key // with the salt of counter modes behind it
	Integrity  ipsec.Key // empty for AEADs
}

// From returns the keys of messages that the original initiator of the IKE SA
// sends, or of those that it receives.
func (k Keys) From(initiator bool) DirectionKeys {
	if initiator {
		return DirectionKeys{k.Ei, k.Ai}
	}
	return DirectionKeys{k.Er, k.Ar}
}

// P returns SK_pi or SK_pr, the key of the AUTH payload that this side sends.
func (k Keys) P(initiator bool) ipsec.Key {
	if initiator {
		return k.Pi
	}
	return k.Pr
}

// Proven forgets SK_pi and SK_pr, which nothing needs after IKE_AUTH.
func (k *Keys) Proven() {
	k.Pi.Wipe()
	k.Pr.Wipe()
	k.Pi, k.Pr = ipsec.Key{}, ipsec.Key{}
}

// Wipe overwrites all keys with zeros.
func (k Keys) Wipe() {
	for _, key := range []ipsec.Key{k.D, k.Ai, k.Ar, k.Ei, k.Er, k.Pi, k.Pr} {
		key.Wipe()
	}
}

// Exchange is what an IKE SA is keyed from. Nonces and SPIs are those of the
// exchange that makes the SA: IKE_SA_INIT, or the CREATE_CHILD_SA that rekeys
// its predecessor, whose initiator then is "i".
type Exchange struct {
	Shared     ipsec.Key // g^ir, of KE.Shared
	Ni, Nr     []byte    // without payload headers
	SPIi, SPIr ipsec.IKESPI
}

// Keys derives the keys of an IKE SA that IKE_SA_INIT made (RFC 7296 section
// 2.14).
//
//	SKEYSEED = prf(Ni | Nr, g^ir)
func (s Suite) Keys(x Exchange) (Keys, error) {
	prf, err := s.keyed(x)
	if err != nil {
		return Keys{}, err
	}
	nonces := ipsec.NewKey(append(append([]byte(nil), x.Ni...), x.Nr...))
	seed := ipsec.NewKey(prf.Sum(nonces, x.Shared.Reveal()))
	return s.expand(prf, seed, x)
}

// Rekeyed derives the keys of an IKE SA that succeeds another (RFC 7296 section
// 2.18). s is the suite of the new SA; oldPRF and oldD, SK_d, are the old one's.
//
//	SKEYSEED = prf(SK_d (old), g^ir (new) | Ni | Nr)
//
// Both SAs may have different PRFs. The rekeying exchange belongs to the old one,
// so SKEYSEED is made with the old PRF and expanded with the new one.
func (s Suite) Rekeyed(oldPRF ipsec.PRFID, oldD ipsec.Key, x Exchange) (Keys, error) {
	prf, err := s.keyed(x)
	if err != nil {
		return Keys{}, err
	}
	old, err := NewPRF(oldPRF)
	if err != nil {
		return Keys{}, fmt.Errorf("suite: rekey an IKE SA: %w", err)
	}
	if oldD.Len() != old.Len() {
		return Keys{}, fmt.Errorf("suite: rekey an IKE SA: SK_d has %d octets, want %d for %v", oldD.Len(), old.Len(), oldPRF)
	}
	seed := ipsec.NewKey(old.Sum(oldD, x.Shared.Reveal(), x.Ni, x.Nr))
	return s.expand(prf, seed, x)
}

func (s Suite) keyed(x Exchange) (PRF, error) {
	if err := s.Validate(); err != nil {
		return PRF{}, err
	}
	prf, err := NewPRF(s.PRF)
	if err != nil {
		return PRF{}, err
	}
	if x.Shared.Len() == 0 || len(x.Ni) == 0 || len(x.Nr) == 0 {
		return PRF{}, fmt.Errorf("suite: derive IKE keys: shared secret or nonces are missing")
	}
	return prf, nil
}

// expand cuts the keys out of prf+ and wipes SKEYSEED.
//
//	{SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr}
//	                = prf+ (SKEYSEED, Ni | Nr | SPIi | SPIr)
func (s Suite) expand(prf PRF, skeyseed ipsec.Key, x Exchange) (Keys, error) {
	defer skeyseed.Wipe()
	encLen, err := s.algorithms().EncryptionKeyLen()
	if err != nil {
		return Keys{}, err
	}
	// It is zero for combined modes: they have no SK_ai and SK_ar (RFC 5282
	// section 7).
	intLen, err := s.Integrity.KeyLen()
	if err != nil {
		return Keys{}, err
	}
	var spis [16]byte
	binary.BigEndian.PutUint64(spis[:8], uint64(x.SPIi))
	binary.BigEndian.PutUint64(spis[8:], uint64(x.SPIr))
	mat, err := prf.Plus(skeyseed, 3*prf.Len()+2*intLen+2*encLen, x.Ni, x.Nr, spis[:])
	if err != nil {
		return Keys{}, err
	}
	var k Keys
	cut(mat,
		part{&k.D, prf.Len()}, part{&k.Ai, intLen}, part{&k.Ar, intLen},
		part{&k.Ei, encLen}, part{&k.Er, encLen}, part{&k.Pi, prf.Len()}, part{&k.Pr, prf.Len()})
	return k, nil
}

// ChildKeys are the keys of a pair of Child SAs. Initiator and Responder are
// the roles in the exchange that made the pair, not in the IKE SA.
type ChildKeys struct {
	Initiator DirectionKeys // of the SA that carries data from the initiator
	Responder DirectionKeys // of the SA that carries data from the responder
}

// ChildKeys derives the keys of a pair of Child SAs (RFC 7296 section 2.17).
// d is SK_d of the IKE SA whose exchange makes the pair, and p its PRF. shared
// is g^ir (new) of an exchange with perfect forward secrecy, else empty. The
// nonces are those of that exchange; for the first pair, of IKE_SA_INIT.
//
//	KEYMAT = prf+(SK_d, Ni | Nr)
//	KEYMAT = prf+(SK_d, g^ir (new) | Ni | Nr)
//
// The keys from the initiator to the responder come first, and within a
// direction the encryption key comes before the integrity key.
func (p PRF) ChildKeys(d ipsec.Key, a ipsec.Algorithms, shared ipsec.Key, ni, nr []byte) (ChildKeys, error) {
	if p.Len() == 0 || d.Len() != p.Len() || len(ni) == 0 || len(nr) == 0 {
		return ChildKeys{}, fmt.Errorf("suite: derive Child SA keys: SK_d has %d octets, nonces %d and %d; want %d for %v",
			d.Len(), len(ni), len(nr), p.Len(), p.id)
	}
	if err := validEncryption(a.Encryption, a.KeyBits, a.Integrity); err != nil {
		return ChildKeys{}, err
	}
	encLen, err := a.EncryptionKeyLen()
	if err != nil {
		return ChildKeys{}, err
	}
	intLen, err := a.Integrity.KeyLen()
	if err != nil {
		return ChildKeys{}, err
	}
	mat, err := p.Plus(d, 2*(encLen+intLen), shared.Reveal(), ni, nr)
	if err != nil {
		return ChildKeys{}, err
	}
	var k ChildKeys
	cut(mat,
		part{&k.Initiator.Encryption, encLen}, part{&k.Initiator.Integrity, intLen},
		part{&k.Responder.Encryption, encLen}, part{&k.Responder.Integrity, intLen})
	return k, nil
}

// part is one key in derived material.
type part struct {
	key *ipsec.Key
	len int
}

// cut makes keys of mat in order. They own it from then on, each its part: they are
// wiped together, and one object among all that passes takes less room than seven.
func cut(mat []byte, parts ...part) {
	for _, p := range parts {
		*p.key = ipsec.NewKey(mat[:p.len:p.len])
		mat = mat[p.len:]
	}
}
