package suite_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"hash"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/suite"
)

// RFC 2202 section 3 and RFC 4231 section 4: keys shorter, and longer, than a
// block.
func TestPRFVectors(t *testing.T) {
	long, what := strings.Repeat("aa", 131), []byte("Test Using Larger Than Block-Size Key - Hash Key First")
	vectors := []struct {
		name string
		id   ipsec.PRFID
		key  string
		data []byte
		want string
	}{
		{"RFC 2202, case 1", ipsec.PRFHMACSHA1, strings.Repeat("0b", 20), []byte("Hi There"), "b617318655057264e28bc0b6fb378c8ef146be00"},
		{"RFC 2202, case 2", ipsec.PRFHMACSHA1, "4a656665", []byte("what do ya want for nothing?"), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"},
		{"RFC 2202, case 6", ipsec.PRFHMACSHA1, strings.Repeat("aa", 80), what, "aa4ae5e15272d00e95705637ce8a3b55ed402112"},
		{
			"RFC 4231, case 1", ipsec.PRFHMACSHA2_256, strings.Repeat("0b", 20), []byte("Hi There"),
			"b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
		},
		{
			"RFC 4231, case 2", ipsec.PRFHMACSHA2_256, "4a656665", []byte("what do ya want for nothing?"),
			"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
		},
		{
			"RFC 4231, case 6", ipsec.PRFHMACSHA2_256, long, what,
			"60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
		},
		{
			"RFC 4231, case 2", ipsec.PRFHMACSHA2_384, "4a656665", []byte("what do ya want for nothing?"),
			"af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
		},
		{
			"RFC 4231, case 6", ipsec.PRFHMACSHA2_384, long, what,
			"4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f3cd11f05033ac4c60c2ef6ab4030fe8296248df163f44952",
		},
		{
			"RFC 4231, case 2", ipsec.PRFHMACSHA2_512, "4a656665", []byte("what do ya want for nothing?"),
			"164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
		},
		{
			"RFC 4231, case 6", ipsec.PRFHMACSHA2_512, long, what,
			"80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f3526b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598",
		},
	}
	for _, v := range vectors {
		p := prf(t, v.id)
		want := unhex(t, v.want)
		if got := p.Sum(key(t, v.key), v.data); !bytes.Equal(got, want) {
			t.Errorf("%s: %v is %x, want %x.", v.name, v.id, got, want)
		}
		if got := p.Sum(key(t, v.key), v.data[:3], nil, v.data[3:]); !bytes.Equal(got, want) {
			t.Errorf("%s: %v of the data in parts differs from that of the whole.", v.name, v.id)
		}
		if p.Len() != len(want) || p.ID() != v.id {
			t.Errorf("%v says that it is %v with %d octets.", v.id, p.ID(), p.Len())
		}
	}
}

// TestPRFIsHMAC compares with the standard library's HMAC, around the lengths where
// something changes: a block of the hash, and what there is room for on the stack.
func TestPRFIsHMAC(t *testing.T) {
	for id, hash := range map[ipsec.PRFID]func() hash.Hash{
		ipsec.PRFHMACSHA1: sha1.New, ipsec.PRFHMACSHA2_256: sha256.New, ipsec.PRFHMACSHA2_384: sha512.New384, ipsec.PRFHMACSHA2_512: sha512.New,
	} {
		p, data := prf(t, id), random(1, 1<<12)
		for _, k := range []int{0, 1, 63, 64, 65, 127, 128, 129, 1000} {
			for _, n := range []int{0, 1, 895, 896, 897, 959, 960, 961, 1 << 12} {
				h := hmac.New(hash, data[:k])
				h.Write(data[:n])
				if got, want := p.Sum(ipsec.CopyKey(data[:k]), data[:n/3], data[n/3:n]), h.Sum(nil); !bytes.Equal(got, want) {
					t.Errorf("%v of %d octets with a key of %d is %x, want %x.", id, n, k, got, want)
				}
			}
		}
	}
}

// RFC 7296 section 2.13: T1 = prf(K, S | 0x01), T2 = prf(K, T1 | S | 0x02), ...
func TestPRFPlus(t *testing.T) {
	p, k, seed := prf(t, ipsec.PRFHMACSHA2_256), ipsec.NewKey([]byte("key")), []byte("nonces and SPIs")
	var want, last []byte
	for i := range 255 {
		last = p.Sum(k, last, seed, []byte{byte(i + 1)})
		want = append(want, last...)
	}
	for _, n := range []int{0, 1, 31, 32, 33, 64, 100, 255 * 32} {
		got, err := p.Plus(k, n, seed[:5], seed[5:])
		if err != nil {
			t.Fatalf("prf+ refused %d octets: %v.", n, err)
		}
		if !bytes.Equal(got, want[:n]) {
			t.Errorf("The first %d octets of prf+ are wrong.", n)
		}
		if cap(got) != n {
			t.Errorf("prf+ hands out %d octets behind the %d that were asked for.", cap(got)-n, n)
		}
	}
	for _, n := range []int{-1, 255*32 + 1} {
		if _, err := p.Plus(k, n, seed); err == nil {
			t.Errorf("prf+ derived %d octets, but is defined for 0 to %d.", n, 255*32)
		}
	}
}

func TestNonceLength(t *testing.T) { // RFC 7296 section 2.10
	for _, tr := range suite.Supported(ipsec.TypePRF) {
		p := prf(t, ipsec.PRFID(tr.ID))
		least := max(16, p.Len()/2)
		for _, n := range []int{least, suite.NonceLen, 256} {
			if err := p.CheckNonce(make([]byte, n)); err != nil {
				t.Errorf("A nonce of %d octets was refused for %v: %v.", n, tr, err)
			}
		}
		for _, n := range []int{0, least - 1, 257} {
			if p.CheckNonce(make([]byte, n)) == nil {
				t.Errorf("A nonce of %d octets was accepted for %v.", n, tr)
			}
		}
	}
}

func TestUnknownPRF(t *testing.T) {
	if _, err := suite.NewPRF(4); err == nil || !strings.Contains(err.Error(), "unknown PRF 4") {
		t.Errorf("PRF 4, AES-XCBC, is not implemented, but the answer was %v.", err)
	}
}
