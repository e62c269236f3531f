package suite_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/suite"
	"github.com/evergate/evergate/ike/wire"
)

// What package wire asks of a suite.
var (
	_ wire.Sealer = (*suite.Sealer)(nil)
	_ wire.Opener = (*suite.Opener)(nil)
)

// pair returns the sealer of one side and the opener of the other.
func pair(t testing.TB, s suite.Suite, k suite.DirectionKeys, iv suite.IV) (*suite.Sealer, *suite.Opener) {
	t.Helper()
	seal, err := suite.NewSealer(s, k, iv, seeded(42))
	if err != nil {
		t.Fatalf("%v: no sealer: %v.", s, err)
	}
	open, err := suite.NewOpener(s, k)
	if err != nil {
		t.Fatalf("%v: no opener: %v.", s, err)
	}
	return seal, open
}

// lengths are common to wire.Sealer and suite.Opener.
type lengths interface {
	IVLen() int
	BlockLen() int
	ICVLen() int
}

// layout puts header and plaintext, a whole number of blocks, into a message.
func layout(l lengths, header, plain []byte) []byte {
	msg := make([]byte, len(header)+l.IVLen()+len(plain)+l.ICVLen())
	copy(msg, header)
	copy(msg[len(header)+l.IVLen():], plain)
	return msg
}

func sealed(t testing.TB, s *suite.Sealer, header, plain []byte) []byte {
	t.Helper()
	msg := layout(s, header, plain)
	if err := s.Seal(msg, len(header)); err != nil {
		t.Fatalf("The message was not sealed: %v.", err)
	}
	return msg
}

// ivOf is the state in which the next IV of a counter mode is iv.
func ivOf(iv []byte) suite.IV {
	v := binary.BigEndian.Uint64(iv)
	return suite.IV{Member: ipsec.MemberID(v >> 60), Epoch: uint32(v>>32) & suite.MaxIVEpoch, Counter: v & 0xffffffff}
}

// McGrew and Viega's test cases 3, 4, 9 and 16 of GCM, their nonces cut into the
// salt and IV of RFC 4106; RFC 7634 appendix B, an IKEv2 message.
func TestAEADVectors(t *testing.T) {
	const (
		iv    = "facedbaddecaf888"
		plain = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
		aad   = "feedfacedeadbeeffeedfacedeadbeefabaddad2"
		c128  = "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091"
	)
	vectors := []struct {
		name                                string
		e                                   ipsec.EncryptionID
		bits                                uint16
		key, iv, aad, plain, cipher, wantIC string
	}{
		{"GCM case 4", ipsec.EncrAESGCM16, 128, "feffe9928665731c6d6a8f9467308308cafebabe", iv, aad, plain, c128, "5bc94fbc3221a5db94fae95ae7121a47"},
		{"GCM case 4, 12 octets", ipsec.EncrAESGCM12, 128, "feffe9928665731c6d6a8f9467308308cafebabe", iv, aad, plain, c128, "5bc94fbc3221a5db94fae95a"},
		{"GCM case 4, 8 octets", ipsec.EncrAESGCM8, 128, "feffe9928665731c6d6a8f9467308308cafebabe", iv, aad, plain, c128, "5bc94fbc3221a5db"},
		{"GCM case 3", ipsec.EncrAESGCM16, 128, "feffe9928665731c6d6a8f9467308308cafebabe", iv, "", plain + "1aafd255", c128 + "473f5985", "4d5c2af327cd64a62cf35abd2ba6fab4"},
		{"GCM case 3, 8 octets", ipsec.EncrAESGCM8, 128, "feffe9928665731c6d6a8f9467308308cafebabe", iv, "", plain + "1aafd255", c128 + "473f5985", "4d5c2af327cd64a6"},
		{
			"GCM case 9", ipsec.EncrAESGCM16, 192, "feffe9928665731c6d6a8f9467308308feffe9928665731ccafebabe", iv, "", plain + "1aafd255",
			"3980ca0b3c00e841eb06fac4872a2757859e1ceaa6efd984628593b40ca1e19c7d773d00c144c525ac619d18c84a3f4718e2448b2fe324d9ccda2710acade256",
			"9924a7c8587336bfb118024db8674a14",
		},
		{
			"GCM case 16", ipsec.EncrAESGCM16, 256, "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308cafebabe", iv, aad, plain,
			"522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
			"76fc6ece0f4e1768cddf8853bb2d551b",
		},
		{
			"RFC 7634, appendix B", ipsec.EncrChaCha20Poly1305, 0, "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3", "1011121314151617",
			"c0c1c2c3c4c5c6c7d0d1d2d3d4d5d6d72e202500000000090000004529000029", "0000000c000040010000000a00",
			"610394701f8d017f7c12924889", "6b71bfe25236efd7cdc67066906315b2",
		},
	}
	for _, v := range vectors {
		s := suite.Suite{Encryption: v.e, KeyBits: v.bits, PRF: ipsec.PRFHMACSHA2_256, Group: ipsec.GroupX25519}
		seal, open := pair(t, s, suite.DirectionKeys{Encryption: key(t, v.key)}, ivOf(unhex(t, v.iv)))
		header := unhex(t, v.aad)
		msg := sealed(t, seal, header, unhex(t, v.plain))
		if want := unhex(t, v.aad+v.iv+v.cipher+v.wantIC); !bytes.Equal(msg, want) {
			t.Errorf("%s: the message is\n%x, want\n%x.", v.name, msg, want)
		}
		if got, err := open.Open(msg, len(header)); err != nil || !bytes.Equal(got, unhex(t, v.plain)) {
			t.Errorf("%s: opened as %x (%v), want %s.", v.name, got, err, v.plain)
		}
	}
}

// RFC 3686 section 6 (CTR), RFC 3602 section 4 and NIST SP 800-38A (CBC). The
// checksum is HMAC-SHA1-96 over the whole message.
func TestCipherVectors(t *testing.T) {
	mac := random(8, 20)
	vectors := []struct {
		name                   string
		e                      ipsec.EncryptionID
		bits                   uint16
		key, iv, plain, cipher string
	}{
		{"RFC 3686, vector 1", ipsec.EncrAESCTR, 128, "ae6852f8121067cc4bf7a5765577f39e00000030", "0000000000000000", "53696e676c6520626c6f636b206d7367", "e4095d4fb7a7b3792d6175a3261311b8"},
		{"RFC 3686, vector 3", ipsec.EncrAESCTR, 128, "7691be035e5020a8ac6e618529f9a0dc00e0017b", "27777f3f4a1786f0", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223", "c1cf48a89f2ffdd9cf4652e9efdb72d74540a42bde6d7836d59a5ceaaef3105325b2072f"},
		{"RFC 3686, vector 5", ipsec.EncrAESCTR, 192, "7c5cb2401b3dc33c19e7340819e0f69c678c3db8e6f6a91a0096b03b", "020c6eadc2cb500d", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", "453243fc609b23327edfaafa7131cd9f8490701c5ad4a79cfc1fe0ff42f4fb00"},
		{"RFC 3686, vector 9", ipsec.EncrAESCTR, 256, "ff7a617ce69148e4f1726e2f43581de2aa62d9f805532edff1eed687fb54153d001cc5b7", "51a51d70a1c11148", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223", "eb6c52821d0bbbf7ce7594462aca4faab407df866569fd07f48cc0b583d6071f1ec0e6b8"},
		{"RFC 3602, case 1", ipsec.EncrAESCBC, 128, "06a9214036b8a15b512e03d534120006", "3dafba429d9eb430b422da802c9fac41", "53696e676c6520626c6f636b206d7367", "e353779c1079aeb82708942dbe77181a"},
		{"RFC 3602, case 2", ipsec.EncrAESCBC, 128, "c286696d887c9aa0611bbb3e2025a45a", "562e17996d093d28ddb3ba695a2e6f58", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", "d296cd94c2cccf8a3a863028b5e1dc0a7586602d253cfff91b8266bea6d61ab1"},
		{"SP 800-38A, F.2.5", ipsec.EncrAESCBC, 256, "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4", "000102030405060708090a0b0c0d0e0f", "6bc1bee22e409f96e93d7e117393172a", "f58c4c04d6e5f1ba779eabfb5f7bfbd6"},
	}
	for _, v := range vectors {
		s := suite.Suite{Encryption: v.e, KeyBits: v.bits, Integrity: ipsec.AuthHMACSHA1_96, PRF: ipsec.PRFHMACSHA1, Group: ipsec.GroupMODP1024}
		k := suite.DirectionKeys{Encryption: key(t, v.key), Integrity: ipsec.CopyKey(mac)}
		iv := unhex(t, v.iv)
		state := suite.IV{}
		if v.e.CounterMode() {
			state = ivOf(iv)
		}
		seal, err := suite.NewSealer(s, k, state, bytes.NewReader(iv))
		if err != nil {
			t.Fatalf("%s: no sealer: %v.", v.name, err)
		}
		header := []byte("a header of an IKE message")
		msg := sealed(t, seal, header, unhex(t, v.plain))
		h := hmac.New(sha1.New, mac)
		want := append(append([]byte(nil), header...), unhex(t, v.iv+v.cipher)...)
		h.Write(want)
		if want = append(want, h.Sum(nil)[:12]...); !bytes.Equal(msg, want) {
			t.Errorf("%s: the message is\n%x, want\n%x.", v.name, msg, want)
		}
	}
}

// With three equal keys 3DES is DES: the CBC example of FIPS 81.
func TestTripleDESVector(t *testing.T) {
	s := suite.Suite{Encryption: ipsec.Encr3DES, Integrity: ipsec.AuthHMACSHA1_96, PRF: ipsec.PRFHMACSHA1, Group: ipsec.GroupMODP1024}
	k := suite.DirectionKeys{Encryption: key(t, "0123456789abcdef0123456789abcdef0123456789abcdef"), Integrity: ipsec.NewKey(random(8, 20))}
	seal, err := suite.NewSealer(s, k, suite.IV{}, bytes.NewReader(unhex(t, "1234567890abcdef")))
	if err != nil {
		t.Fatalf("No sealer: %v.", err)
	}
	msg := sealed(t, seal, nil, []byte("Now is the time for all "))
	if want := unhex(t, "e5c7cdde872bf27c43e934008c389c0f683788499a7c05f6"); !bytes.Equal(msg[8:32], want) {
		t.Errorf("FIPS 81's CBC example is %x, want %x.", msg[8:32], want)
	}
}

func TestEverySuiteSealsAndOpens(t *testing.T) {
	for _, s := range everySuite() {
		k := keysOf(t, s, 1)
		rapid.Check(t, func(t *rapid.T) {
			seal, err := suite.NewSealer(s, k.From(true), suite.IV{Member: 3, Epoch: 7}, seeded(1))
			if err != nil {
				t.Fatalf("%v: no sealer: %v.", s, err)
			}
			open, err := suite.NewOpener(s, k.From(true))
			if err != nil {
				t.Fatalf("%v: no opener: %v.", s, err)
			}
			header := rapid.SliceOfN(rapid.Byte(), 0, 64).Draw(t, "header")
			blocks := rapid.IntRange(1, 2000/seal.BlockLen()).Draw(t, "blocks")
			plain := rapid.SliceOfN(rapid.Byte(), blocks*seal.BlockLen(), blocks*seal.BlockLen()).Draw(t, "plain")
			msg := layout(seal, header, plain)
			if err := seal.Seal(msg, len(header)); err != nil {
				t.Fatalf("%v: not sealed: %v.", s, err)
			}
			was := bytes.Clone(msg)
			bit := rapid.IntRange(0, 8*len(msg)-1).Draw(t, "bit")
			msg[bit/8] ^= 1 << (bit % 8)
			flipped := bytes.Clone(msg)
			if _, err := open.Open(msg, len(header)); !errors.Is(err, suite.ErrAuthentication) {
				t.Fatalf("%v: a message with bit %d flipped gave %v.", s, bit, err)
			}
			if !bytes.Equal(msg, flipped) {
				t.Fatalf("%v: a message that is not authentic was changed.", s)
			}
			got, err := open.Open(bytes.Clone(was), len(header))
			if err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("%v: opened as %x (%v), want %x.", s, got, err, plain)
			}
		})
	}
}

func TestEveryBitAndPrefixIsAuthenticated(t *testing.T) {
	for _, s := range everySuite() {
		seal, open := pair(t, s, keysOf(t, s, 2).From(false), suite.IV{})
		header := random(3, 32)
		msg := sealed(t, seal, header, make([]byte, 2*seal.BlockLen()))
		for bit := range 8 * len(msg) {
			msg[bit/8] ^= 1 << (bit % 8)
			if _, err := open.Open(msg, len(header)); err == nil {
				t.Fatalf("%v: bit %d is not authenticated.", s, bit)
			}
			msg[bit/8] ^= 1 << (bit % 8)
		}
		for n := range msg {
			if _, err := open.Open(msg[:n:n], len(header)); err == nil {
				t.Fatalf("%v: the first %d octets of %d were accepted.", s, n, len(msg))
			}
		}
		if _, err := open.Open(append(msg, 0), len(header)); err == nil {
			t.Fatalf("%v: a message with an octet behind it was accepted.", s)
		}
		for _, body := range []int{-1, len(msg), len(msg) + 1} {
			if _, err := open.Open(msg, body); err == nil {
				t.Fatalf("%v: a body at %d of %d octets was accepted.", s, body, len(msg))
			}
		}
		if got, err := open.Open(msg, len(header)); err != nil || len(got) != 2*seal.BlockLen() {
			t.Fatalf("%v: the message itself was refused after all this: %v.", s, err)
		}
	}
}

// A message that the peer reflects, or that belongs to another SA, is refused.
func TestDirectionsHaveTheirOwnKeys(t *testing.T) {
	for _, s := range everySuite() {
		k := keysOf(t, s, 4)
		seal, _ := pair(t, s, k.From(true), suite.IV{})
		_, other := pair(t, s, k.From(false), suite.IV{})
		msg := sealed(t, seal, random(3, 32), make([]byte, seal.BlockLen()))
		if _, err := other.Open(msg, 32); !errors.Is(err, suite.ErrAuthentication) {
			t.Errorf("%v: our own message came back and gave %v.", s, err)
		}
	}
}

// Whole messages through the codec: layout, padding and fragments are wire's.
func TestMessagesThroughTheCodec(t *testing.T) {
	for _, s := range everySuite() {
		seal, open := pair(t, s, keysOf(t, s, 5).From(true), suite.IV{})
		for _, n := range []int{16, 17, 31, 32, 33, 255} {
			m := wire.Message{
				Header:   wire.Header{SPIi: 1, SPIr: 2, Exchange: wire.Informational, MessageID: 7},
				Payloads: []wire.Payload{&wire.Nonce{Data: random(6, n)}},
			}
			b, err := m.Seal(nil, seal)
			if err != nil {
				t.Fatalf("%v: the codec could not seal: %v.", s, err)
			}
			got, err := wire.Decode(b)
			if err != nil {
				t.Fatalf("%v: the codec refused its own message: %v.", s, err)
			}
			sk, ok := got.Payloads[0].(*wire.SK)
			if !ok {
				t.Fatalf("%v: the message has a %T where its Encrypted payload should be.", s, got.Payloads[0])
			}
			plain, err := sk.Open(open)
			if err != nil {
				t.Fatalf("%v: the message was not opened: %v.", s, err)
			}
			inner, err := wire.DecodePayloads(sk.First, plain)
			if err != nil || len(inner) != 1 {
				t.Fatalf("%v: %d payloads inside (%v), want one.", s, len(inner), err)
			}
			if nonce, ok := inner[0].(*wire.Nonce); !ok || !bytes.Equal(nonce.Data, random(6, n)) {
				t.Errorf("%v: a nonce of %d octets came back as %v.", s, n, inner[0])
			}
		}
	}
}
