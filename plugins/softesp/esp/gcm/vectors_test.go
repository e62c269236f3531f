package gcm

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// vectorCase is a test case of "The Galois/Counter Mode of Operation" (McGrew and
// Viega), appendix B, whose nonce has 12 octets. NIST took them over.
type vectorCase struct {
	number                        int
	key, nonce, plain, additional string
	ciphertext, tag               string
}

const (
	zeroNonce = "000000000000000000000000"
	zeroBlock = "00000000000000000000000000000000"
	caseKey   = "feffe9928665731c6d6a8f9467308308"
	caseNonce = "cafebabefacedbaddecaf888"
	caseData  = "feedfacedeadbeeffeedfacedeadbeefabaddad2"
	casePlain = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72" +
		"1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
	case3Cipher = "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e" +
		"21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091"
	case9Cipher = "3980ca0b3c00e841eb06fac4872a2757859e1ceaa6efd984628593b40ca1e19c" +
		"7d773d00c144c525ac619d18c84a3f4718e2448b2fe324d9ccda2710"
	case15Cipher = "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa" +
		"8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
)

var vectorCases = []vectorCase{
	{number: 1, key: zeroBlock, nonce: zeroNonce, tag: "58e2fccefa7e3061367f1d57a4e7455a"},
	{
		number: 2, key: zeroBlock, nonce: zeroNonce, plain: zeroBlock,
		ciphertext: "0388dace60b6a392f328c2b971b2fe78", tag: "ab6e47d42cec13bdf53a67b21257bddf",
	},
	{
		number: 3, key: caseKey, nonce: caseNonce, plain: casePlain + "1aafd255",
		ciphertext: case3Cipher + "473f5985", tag: "4d5c2af327cd64a62cf35abd2ba6fab4",
	},
	{
		number: 4, key: caseKey, nonce: caseNonce, plain: casePlain, additional: caseData,
		ciphertext: case3Cipher, tag: "5bc94fbc3221a5db94fae95ae7121a47",
	},
	{number: 7, key: zeroBlock + zeroBlock[:16], nonce: zeroNonce, tag: "cd33b28ac773f74ba00ed1f312572435"},
	{
		number: 8, key: zeroBlock + zeroBlock[:16], nonce: zeroNonce, plain: zeroBlock,
		ciphertext: "98e7247c07f0fe411c267e4384b0f600", tag: "2ff58d80033927ab8ef4d4587514f0fb",
	},
	{
		number: 10, key: caseKey + caseKey[:16], nonce: caseNonce, plain: casePlain, additional: caseData,
		ciphertext: case9Cipher, tag: "2519498e80f1478f37ba55bd6d27618c",
	},
	{number: 13, key: zeroBlock + zeroBlock, nonce: zeroNonce, tag: "530f8afbc74536b9a963b4f1c4cb738b"},
	{
		number: 14, key: zeroBlock + zeroBlock, nonce: zeroNonce, plain: zeroBlock,
		ciphertext: "cea7403d4d606b6e074ec5d3baf39d18", tag: "d0d1c8a799996bf0265b98b5d48ab919",
	},
	{
		number: 15, key: caseKey + caseKey, nonce: caseNonce, plain: casePlain + "1aafd255",
		ciphertext: case15Cipher + "898015ad", tag: "b094dac5d93471bdec1a502270e3cc6c",
	},
	{
		number: 16, key: caseKey + caseKey, nonce: caseNonce, plain: casePlain, additional: caseData,
		ciphertext: case15Cipher, tag: "76fc6ece0f4e1768cddf8853bb2d551b",
	},
}

// TestPublishedVectors, both ways. Those of ESP are in package esp.
func TestPublishedVectors(t *testing.T) {
	for _, impl := range implementations(t) {
		for _, v := range vectorCases {
			a := impl.make(t, unhex(t, v.key), 16)
			nonce, plain, additional := unhex(t, v.nonce), unhex(t, v.plain), unhex(t, v.additional)
			want := unhex(t, v.ciphertext+v.tag)
			if got := a.Seal(nil, nonce, plain, additional); !bytes.Equal(got, want) {
				t.Errorf("Case %d should be sealed by %s to %x, got %x.", v.number, impl.name, want, got)
			}
			if got, err := a.Open(nil, nonce, want, additional); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("Case %d should be opened by %s to %x, got %x, %v.", v.number, impl.name, plain, got, err)
			}
		}
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatalf("The vector is no hexadecimal number: %v.", err)
	}
	return b
}
