package esptest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des" //nolint:gosec // the peer may speak it
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // likewise
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/evergate/evergate/core/ipsec"
)

// Keys are those of one SA.
type Keys struct {
	Algorithms            ipsec.Algorithms
	Encryption, Integrity []byte
}

// KeysOf returns the keys of an SA.
func KeysOf(sa ipsec.SA) Keys {
	return Keys{Algorithms: sa.Algorithms, Encryption: sa.Encryption.Reveal(), Integrity: sa.Integrity.Reveal()}
}

// Packet is an ESP packet in the clear.
type Packet struct {
	SPI     ipsec.SPI
	Seq     uint64
	IV      []byte
	Payload []byte
	Next    uint8
}

// Seal returns the ESP packet of p. Without an IV it is the sequence number,
// repeated to the length that the cipher wants.
func (k Keys) Seal(p Packet) ([]byte, error) {
	a := k.Algorithms
	if p.IV == nil {
		seq := binary.BigEndian.AppendUint64(nil, p.Seq)
		p.IV = append(seq, seq...)[:a.IVLen()]
	}
	plain := bytes.Clone(p.Payload)
	align := max(a.BlockLen(), 4)
	padding := (align - (len(plain)+2)%align) % align
	for i := range padding {
		plain = append(plain, byte(i+1))
	}
	plain = append(plain, byte(padding), p.Next)
	head := k.header(p)
	if a.Encryption.AEAD() {
		body, err := k.sealAEAD(p, plain)
		return append(append(head, p.IV...), body...), err
	}
	body, err := k.crypt(p.IV, plain, true)
	if err != nil {
		return nil, err
	}
	return k.Sign(append(append(head, p.IV...), body...), p.Seq), nil
}

// Sign appends the ICV to a packet without one. It is for ciphers that have an
// integrity algorithm beside them.
func (k Keys) Sign(b []byte, seq uint64) []byte { return append(b, k.icv(b, seq)...) }

// Open returns what is in an ESP packet; seqHigh are the bits of the sequence
// number that are not sent, or with ESN one less: a stream may wrap.
func (k Keys) Open(b []byte, seqHigh uint32) (Packet, error) {
	p, err := k.open(b, seqHigh)
	if err != nil && k.Algorithms.ESN {
		if next, again := k.open(b, seqHigh+1); again == nil {
			return next, nil
		}
	}
	return p, err
}

func (k Keys) open(b []byte, seqHigh uint32) (Packet, error) {
	a := k.Algorithms
	if len(b) < 8+a.IVLen()+a.ICVLen()+4 {
		return Packet{}, fmt.Errorf("esptest: packet of %d octets is too short", len(b))
	}
	p := Packet{
		SPI: ipsec.SPI(binary.BigEndian.Uint32(b)),
		Seq: uint64(seqHigh)<<32 | uint64(binary.BigEndian.Uint32(b[4:])),
		IV:  bytes.Clone(b[8 : 8+a.IVLen()]),
	}
	body := b[8+a.IVLen():]
	var plain []byte
	var err error
	if a.Encryption.AEAD() {
		plain, err = k.openAEAD(p, body)
	} else {
		cut := len(b) - a.ICVLen()
		if !hmac.Equal(k.icv(b[:cut], p.Seq), b[cut:]) {
			return Packet{}, errors.New("esptest: wrong icv")
		}
		plain, err = k.crypt(p.IV, body[:len(body)-a.ICVLen()], false)
	}
	if err != nil {
		return Packet{}, err
	}
	padding := int(plain[len(plain)-2])
	if padding > len(plain)-2 {
		return Packet{}, fmt.Errorf("esptest: %d octets of padding in %d", padding, len(plain))
	}
	p.Next = plain[len(plain)-1]
	p.Payload = plain[:len(plain)-2-padding]
	return p, nil
}

func (k Keys) header(p Packet) []byte {
	head := binary.BigEndian.AppendUint32(nil, uint32(p.SPI))
	return binary.BigEndian.AppendUint32(head, uint32(p.Seq))
}

// additional is the AAD of combined modes: RFC 4106 section 5.
func (k Keys) additional(p Packet) []byte {
	if !k.Algorithms.ESN {
		return k.header(p)
	}
	aad := binary.BigEndian.AppendUint32(nil, uint32(p.SPI))
	return binary.BigEndian.AppendUint64(aad, p.Seq)
}

// aead returns the combined mode with its full tag, and the nonce.
func (k Keys) aead(p Packet) (cipher.AEAD, []byte, error) {
	n := len(k.Encryption) - 4
	nonce := append(bytes.Clone(k.Encryption[n:]), p.IV...)
	if k.Algorithms.Encryption == ipsec.EncrChaCha20Poly1305 {
		a, err := chacha20poly1305.New(k.Encryption[:n])
		return a, nonce, err
	}
	block, err := aes.NewCipher(k.Encryption[:n])
	if err != nil {
		return nil, nil, err
	}
	a, err := cipher.NewGCM(block)
	return a, nonce, err
}

func (k Keys) sealAEAD(p Packet, plain []byte) ([]byte, error) {
	a, nonce, err := k.aead(p)
	if err != nil {
		return nil, err
	}
	full := a.Seal(nil, nonce, plain, k.additional(p))
	return full[:len(plain)+k.Algorithms.ICVLen()], nil
}

// openAEAD decrypts by hand and then compares as much of the tag as was sent.
func (k Keys) openAEAD(p Packet, body []byte) ([]byte, error) {
	a, nonce, err := k.aead(p)
	if err != nil {
		return nil, err
	}
	if k.Algorithms.ICVLen() == a.Overhead() {
		return a.Open(nil, nonce, body, k.additional(p))
	}
	block, err := aes.NewCipher(k.Encryption[:len(k.Encryption)-4])
	if err != nil {
		return nil, err
	}
	plain := make([]byte, len(body)-k.Algorithms.ICVLen())
	counter := binary.BigEndian.AppendUint32(bytes.Clone(nonce), 2)
	cipher.NewCTR(block, counter).XORKeyStream(plain, body[:len(plain)])
	again, err := k.sealAEAD(p, plain)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, body) {
		return nil, errors.New("esptest: wrong tag")
	}
	return plain, nil
}

func (k Keys) crypt(iv, b []byte, encrypt bool) ([]byte, error) {
	out := make([]byte, len(b))
	var block cipher.Block
	var err error
	switch k.Algorithms.Encryption {
	case ipsec.EncrNull:
		copy(out, b)
		return out, nil
	case ipsec.EncrAESCTR:
		n := len(k.Encryption) - 4
		if block, err = aes.NewCipher(k.Encryption[:n]); err != nil {
			return nil, err
		}
		counter := append(bytes.Clone(k.Encryption[n:]), iv...)
		cipher.NewCTR(block, binary.BigEndian.AppendUint32(counter, 1)).XORKeyStream(out, b)
		return out, nil
	case ipsec.Encr3DES:
		block, err = des.NewTripleDESCipher(k.Encryption)
	default:
		block, err = aes.NewCipher(k.Encryption)
	}
	switch {
	case err != nil:
		return nil, err
	case len(b)%block.BlockSize() != 0:
		return nil, fmt.Errorf("esptest: %d octets are no whole blocks", len(b))
	case encrypt:
		cipher.NewCBCEncrypter(block, iv).CryptBlocks(out, b)
	default:
		cipher.NewCBCDecrypter(block, iv).CryptBlocks(out, b)
	}
	return out, nil
}

func (k Keys) icv(b []byte, seq uint64) []byte {
	hashes := map[ipsec.IntegrityID]func() hash.Hash{
		ipsec.AuthHMACSHA1_96:      sha1.New,
		ipsec.AuthHMACSHA2_256_128: sha256.New,
		ipsec.AuthHMACSHA2_384_192: sha512.New384,
		ipsec.AuthHMACSHA2_512_256: sha512.New,
	}
	h := hmac.New(hashes[k.Algorithms.Integrity], k.Integrity)
	h.Write(b)
	if k.Algorithms.ESN {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(seq>>32)))
	}
	return h.Sum(nil)[:k.Algorithms.ICVLen()]
}
