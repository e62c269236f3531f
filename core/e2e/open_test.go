package e2e_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"hash"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"
)

// second tells whether open is to decrypt instead of tshark, which has no
// ChaCha20-Poly1305 and finds the ICV of extended sequence numbers wrong.
func (k espKey) second() bool { return k.esn || k.proposal == "chacha20poly1305" }

// open decrypts a packet as RFC 4303 section 3.4 says and returns the addresses
// of the packet inside. The upper half of extended sequence numbers is 0: the
// tunnel is young.
func (k espKey) open(t *testing.T, p seen) (src, dst netip.Addr) {
	t.Helper()
	plain, err := k.decrypt(p)
	if err != nil || len(plain) < 2 {
		t.Fatalf("%s over %s: packet %d of SPI %08x has %d octets inside: %v", k.proposal, k.outer.name, p.seq, p.spi, len(plain), err)
	}
	last := len(plain) - 2
	padding, next := int(plain[last]), plain[last+1]
	want := make([]byte, padding)
	for i := range want {
		want[i] = byte(i + 1) // RFC 4303 section 2.4
	}
	if padding > last || !bytes.Equal(plain[last-padding:last], want) {
		t.Fatalf("%s over %s: packet %d of SPI %08x ends with %x, want a padding of 1, 2, 3", k.proposal, k.outer.name, p.seq, p.spi, plain[max(0, last-padding):])
	}
	switch {
	case next == 4 && last >= 20:
		src, _ = netip.AddrFromSlice(plain[12:16])
		dst, _ = netip.AddrFromSlice(plain[16:20])
	case next == 41 && last >= 40:
		src, _ = netip.AddrFromSlice(plain[8:24])
		dst, _ = netip.AddrFromSlice(plain[24:40])
	default:
		t.Fatalf("%s over %s: packet %d of SPI %08x has next header %d", k.proposal, k.outer.name, p.seq, p.spi, next)
	}
	return src, dst
}

// decrypt returns what ESP protected: packet, padding and trailer.
func (k espKey) decrypt(p seen) ([]byte, error) {
	switch k.proposal {
	case "null-sha256":
		return k.authentic(p.esp, sha256.New, 16)
	case "aes256-sha512":
		body, err := k.authentic(p.esp, sha512.New, 32)
		if err != nil {
			return nil, err
		}
		block, err := aes.NewCipher(k.key)
		if err != nil || len(body)%block.BlockSize() != 0 {
			return nil, fmt.Errorf("%d octets of AES-CBC: %w", len(body), err)
		}
		iv, text := body[:block.BlockSize()], body[block.BlockSize():]
		plain := make([]byte, len(text))
		cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, text)
		return plain, nil
	default:
		aead, err := k.aead()
		if err != nil {
			return nil, err
		}
		iv := p.iv()
		salt := k.key[len(k.key)-aead.NonceSize()+len(iv):]
		return aead.Open(nil, slices.Concat(salt, iv[:]), p.esp[16:], k.additional(p))
	}
}

// authentic checks the ICV, which covers the upper half of an extended sequence
// number behind the packet (RFC 4303 section 2.2.1), and returns what is between
// header and ICV.
func (k espKey) authentic(esp []byte, hash func() hash.Hash, size int) ([]byte, error) {
	covered, icv := esp[:len(esp)-size], esp[len(esp)-size:]
	mac := hmac.New(hash, k.integrity)
	mac.Write(covered)
	mac.Write(make([]byte, 4))
	if !hmac.Equal(mac.Sum(nil)[:size], icv) {
		return nil, fmt.Errorf("the ICV %x is wrong", icv)
	}
	return covered[8:], nil
}

// aead is the cipher of a proposal; the salt stands behind its key.
func (k espKey) aead() (cipher.AEAD, error) {
	const salt = 4
	key := k.key[:len(k.key)-salt]
	if k.proposal == "chacha20poly1305" {
		return chacha20poly1305.New(key)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	if k.proposal == "aes128gcm12" {
		return cipher.NewGCMWithTagSize(block, 12)
	}
	return cipher.NewGCM(block)
}

// additional is the additional authenticated data of RFC 4106 section 5: the SPI
// and the whole sequence number.
func (k espKey) additional(p seen) []byte {
	aad := binary.BigEndian.AppendUint32(nil, p.spi)
	if k.esn {
		aad = binary.BigEndian.AppendUint32(aad, 0)
	}
	return binary.BigEndian.AppendUint32(aad, p.seq)
}
