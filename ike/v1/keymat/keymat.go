package keymat

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des" //nolint:gosec // 3DES is used only where the configuration names it
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // what the oldest peers speak; HMAC does not need collision resistance
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"hash"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/suite"
)

// Exchange is what an ISAKMP SA is keyed from.
type Exchange struct {
	PSK              ipsec.Key
	Shared           ipsec.Key // g^xy, of suite.KE.Shared
	Ni, Nr           []byte
	CookieI, CookieR ipsec.IKESPI
	PublicI, PublicR []byte // g^xi and g^xr
}

// Keys are the secrets of one ISAKMP SA with its algorithms. The zero Keys are
// invalid; Derive and Restore make them.
type Keys struct {
	Suite suite.Suite
	// ID is SKEYID. It serves until phase 1 is authenticated.
	ID ipsec.Key
	D  ipsec.Key // SKEYID_d: derives the keys of ESP SAs
	A  ipsec.Key // SKEYID_a: authenticates messages of phase 2
	E  ipsec.Key // the key of the cipher, made from SKEYID_e

	prf   suite.PRF
	block cipher.Block
}

// Derive makes the keys of an ISAKMP SA that a pre-shared key authenticates (RFC
// 2409 section 5).
//
//	SKEYID   = prf(pre-shared-key, Ni_b | Nr_b)
//	SKEYID_d = prf(SKEYID, g^xy | CKY-I | CKY-R | 0)
//	SKEYID_a = prf(SKEYID, SKEYID_d | g^xy | CKY-I | CKY-R | 1)
//	SKEYID_e = prf(SKEYID, SKEYID_a | g^xy | CKY-I | CKY-R | 2)
func Derive(s suite.Suite, x Exchange) (*Keys, error) {
	prf, err := suite.NewPRF(s.PRF)
	if err != nil {
		return nil, fmt.Errorf("keymat: %w", err)
	}
	if x.PSK.Len() == 0 || x.Shared.Len() == 0 || len(x.Ni) == 0 || len(x.Nr) == 0 {
		return nil, fmt.Errorf("keymat: derive keys: a secret or a nonce is missing")
	}
	cookies := cookies(x.CookieI, x.CookieR)
	k := &Keys{Suite: s, prf: prf, ID: ipsec.NewKey(prf.Sum(x.PSK, x.Ni, x.Nr))}
	g := x.Shared.Reveal()
	k.D = ipsec.NewKey(prf.Sum(k.ID, g, cookies, []byte{0}))
	k.A = ipsec.NewKey(prf.Sum(k.ID, k.D.Reveal(), g, cookies, []byte{1}))
	e := ipsec.NewKey(prf.Sum(k.ID, k.A.Reveal(), g, cookies, []byte{2}))
	defer e.Wipe()
	if k.E, err = stretch(prf, e, s); err != nil {
		return nil, err
	}
	k.block, err = newBlock(s, k.E)
	return k, err
}

// Restore makes the keys that an earlier Keys had, on another member perhaps. It
// keeps its arguments. SKEYID is not among them: only half-open SAs need it, and
// those derive again.
func Restore(s suite.Suite, d, a, e ipsec.Key) (*Keys, error) {
	prf, err := suite.NewPRF(s.PRF)
	if err != nil {
		return nil, fmt.Errorf("keymat: %w", err)
	}
	if d.Len() != prf.Len() || a.Len() != prf.Len() {
		return nil, fmt.Errorf("keymat: restore keys: %d and %d octets, want %d", d.Len(), a.Len(), prf.Len())
	}
	block, err := newBlock(s, e)
	if err != nil {
		return nil, err
	}
	return &Keys{Suite: s, D: d, A: a, E: e, prf: prf, block: block}, nil
}

// Wipe overwrites all keys with zeros.
func (k *Keys) Wipe() {
	if k == nil {
		return
	}
	for _, key := range []ipsec.Key{k.ID, k.D, k.A, k.E} {
		key.Wipe()
	}
}

// stretch makes the key of the cipher from SKEYID_e (RFC 2409 appendix B).
//
//	Ka = K1 | K2 | K3
//	K1 = prf(SKEYID_e, 0)
//	K2 = prf(SKEYID_e, K1)
//
// "and the 0 is represented by a single octet."
func stretch(prf suite.PRF, e ipsec.Key, s suite.Suite) (ipsec.Key, error) {
	want, err := ipsec.EncryptionKeyLen(s.Encryption, s.KeyBits)
	if err != nil {
		return ipsec.Key{}, fmt.Errorf("keymat: %w", err)
	}
	if e.Len() >= want {
		return ipsec.CopyKey(e.Reveal()[:want]), nil
	}
	last, out := []byte{0}, []byte(nil)
	for len(out) < want {
		last = prf.Sum(e, last)
		out = append(out, last...)
	}
	clear(out[want:])
	return ipsec.NewKey(out[:want:want]), nil
}

func newBlock(s suite.Suite, key ipsec.Key) (cipher.Block, error) {
	switch s.Encryption {
	case ipsec.EncrAESCBC:
		return aes.NewCipher(key.Reveal())
	case ipsec.Encr3DES:
		return des.NewTripleDESCipher(key.Reveal())
	default:
		return nil, fmt.Errorf("keymat: %v is no cipher for IKEv1", s.Encryption)
	}
}

// NewHash returns the negotiated hash function: the one inside the PRF.
func NewHash(id ipsec.PRFID) (hash.Hash, error) {
	switch id {
	case ipsec.PRFHMACSHA1:
		return sha1.New(), nil
	case ipsec.PRFHMACSHA2_256:
		return sha256.New(), nil
	case ipsec.PRFHMACSHA2_384:
		return sha512.New384(), nil
	case ipsec.PRFHMACSHA2_512:
		return sha512.New(), nil
	default:
		return nil, fmt.Errorf("keymat: unknown hash %d", uint16(id))
	}
}

func cookies(i, r ipsec.IKESPI) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(i)), uint64(r))
}

// Proof is what HASH_I and HASH_R cover. SA is the body of the initiator's SA
// payload, IDi and IDr those of the Identification payloads.
type Proof struct {
	Exchange
	SA       []byte
	IDi, IDr []byte
}

// HashI is the initiator's proof (RFC 2409 section 5).
//
//	HASH_I = prf(SKEYID, g^xi | g^xr | CKY-I | CKY-R | SAi_b | IDii_b )
func (k *Keys) HashI(p Proof) []byte {
	return k.prf.Sum(k.ID, p.PublicI, p.PublicR, cookies(p.CookieI, p.CookieR), p.SA, p.IDi)
}

// HashR is the responder's proof (RFC 2409 section 5).
//
//	HASH_R = prf(SKEYID, g^xr | g^xi | CKY-R | CKY-I | SAi_b | IDir_b )
func (k *Keys) HashR(p Proof) []byte {
	return k.prf.Sum(k.ID, p.PublicR, p.PublicI, cookies(p.CookieR, p.CookieI), p.SA, p.IDr)
}

// Hash1 authenticates a message of phase 2: HASH(1) of quick mode (RFC 2409
// section 5.5), of informational exchanges (section 5.7) and of mode config. rest
// is the encoding of all payloads behind the HASH. HASH(2) is the same with the
// initiator's nonce in front of rest.
//
//	HASH(1) = prf(SKEYID_a, M-ID | SA | Ni [ | KE ] [ | IDci | IDcr )
//	HASH(2) = prf(SKEYID_a, M-ID | Ni_b | SA | Nr [ | KE ] [ | IDci | IDcr )
func (k *Keys) Hash1(id uint32, rest ...[]byte) []byte {
	return k.prf.Sum(k.A, append([][]byte{binary.BigEndian.AppendUint32(nil, id)}, rest...)...)
}

// Hash3 ends quick mode (RFC 2409 section 5.5).
//
//	HASH(3) = prf(SKEYID_a, 0 | M-ID | Ni_b | Nr_b)
func (k *Keys) Hash3(id uint32, ni, nr []byte) []byte {
	return k.prf.Sum(k.A, []byte{0}, binary.BigEndian.AppendUint32(nil, id), ni, nr)
}

// Equal compares two hashes in constant time.
func Equal(a, b []byte) bool { return hmac.Equal(a, b) }

// HashLen is the length of the hashes in octets.
func (k *Keys) HashLen() int { return k.prf.Len() }

// FirstIV is the IV of the first encrypted message of phase 1: a hash of the
// public values, initiator's first (RFC 2409 appendix B).
func (k *Keys) FirstIV(publicI, publicR []byte) []byte {
	return k.iv(publicI, publicR)
}

// ExchangeIV is the IV of the first message of an exchange of phase 2: a hash of
// the last block of phase 1 and the message ID (RFC 2409 appendix B).
func (k *Keys) ExchangeIV(last []byte, id uint32) []byte {
	return k.iv(last, binary.BigEndian.AppendUint32(nil, id))
}

func (k *Keys) iv(parts ...[]byte) []byte {
	h, err := NewHash(k.Suite.PRF)
	if err != nil {
		panic(fmt.Sprintf("keymat: keys without a hash: %v", err))
	}
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)[:k.block.BlockSize()]
}

// BlockLen is the length of the cipher's blocks, and of IVs, in octets.
func (k *Keys) BlockLen() int { return k.block.BlockSize() }

// Encrypt pads plain and encrypts it, and returns the IV of the exchange's next
// message.
//
// RFC 2409 appendix B pads with zeros to a multiple of the block.
func (k *Keys) Encrypt(iv, plain []byte) (sealed, next []byte) {
	n := k.block.BlockSize()
	sealed = make([]byte, (len(plain)+n-1)/n*n)
	copy(sealed, plain)
	cipher.NewCBCEncrypter(k.block, iv).CryptBlocks(sealed, sealed)
	return sealed, append([]byte(nil), sealed[len(sealed)-n:]...)
}

// Decrypt decrypts into memory of its own, and returns the IV of the exchange's
// next message. Nothing is authenticated yet: the HASH inside does that. An error
// means that sealed is not made of blocks.
func (k *Keys) Decrypt(iv, sealed []byte) (plain, next []byte, err error) {
	n := k.block.BlockSize()
	if len(sealed) == 0 || len(sealed)%n != 0 || len(iv) != n {
		return nil, nil, fmt.Errorf("keymat: decrypt %d octets with an IV of %d: want blocks of %d", len(sealed), len(iv), n)
	}
	plain = make([]byte, len(sealed))
	cipher.NewCBCDecrypter(k.block, iv).CryptBlocks(plain, sealed)
	return plain, append([]byte(nil), sealed[len(sealed)-n:]...), nil
}

// Child is what the keys of one ESP SA come from.
type Child struct {
	Algorithms ipsec.Algorithms
	Protocol   uint8     // of RFC 2407 section 4.4.1
	SPI        ipsec.SPI // of this direction: the one that its receiver chose
	Shared     ipsec.Key // g(qm)^xy with perfect forward secrecy, else empty
	Ni, Nr     []byte    // of the quick mode
}

// Child derives the keys of one direction (RFC 2409 section 5.5).
//
//	KEYMAT = prf(SKEYID_d, [ g(qm)^xy | ] protocol | SPI | Ni_b | Nr_b )
//	KEYMAT = K1 | K2 | K3 | ...
//	K2 = prf(SKEYID_d, K1 | [ g(qm)^xy | ] protocol | SPI | Ni_b | Nr_b)
//
// The encryption key comes first, the integrity key behind it (RFC 2409 leaves
// the order to the protocol; RFC 4303 and all peers take this one).
func (k *Keys) Child(c Child) (suite.DirectionKeys, error) {
	encLen, err := c.Algorithms.EncryptionKeyLen()
	if err != nil {
		return suite.DirectionKeys{}, fmt.Errorf("keymat: %w", err)
	}
	intLen, err := c.Algorithms.Integrity.KeyLen()
	if err != nil {
		return suite.DirectionKeys{}, fmt.Errorf("keymat: %w", err)
	}
	seed := append([][]byte{nil}, c.Shared.Reveal(), []byte{c.Protocol}, binary.BigEndian.AppendUint32(nil, uint32(c.SPI)), c.Ni, c.Nr)
	var mat []byte
	for len(mat) < encLen+intLen {
		seed[0] = k.prf.Sum(k.D, seed...)
		mat = append(mat, seed[0]...)
	}
	defer clear(mat)
	return suite.DirectionKeys{
		Encryption: ipsec.CopyKey(mat[:encLen]),
		Integrity:  ipsec.CopyKey(mat[encLen : encLen+intLen]),
	}, nil
}
