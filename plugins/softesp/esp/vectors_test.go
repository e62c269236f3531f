package esp_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/plugins/softesp/esp"
	"github.com/evergate/evergate/plugins/softesp/esptest"
)

// aeadVector is a published ESP packet.
type aeadVector struct {
	name    string
	a       ipsec.Algorithms
	key     string // with the salt
	spi     ipsec.SPI
	seq, iv uint64
	payload string
	next    uint8
	sealed  string // ciphertext and ICV
}

var aeadVectors = []aeadVector{
	{
		name: "RFC 7634 appendix A", a: ipsec.Algorithms{Encryption: ipsec.EncrChaCha20Poly1305, KeyBits: 256},
		key: "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f" + "a0a1a2a3",
		spi: 0x01020304, seq: 5, iv: 0x1011121314151617, next: 4,
		payload: "45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec10" +
			"0007362708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223" +
			"2425262728292a2b2c2d2e2f3031323334353637",
		sealed: "24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c6" +
			"14ee8099d52844eb61aa95dfab4c02f72aa71e7c4c4f64c9befe2facc638e8f3" +
			"cbec163fac469b502773f6fb94e664da9165b82829f641e0" + "76aaa8266b7fb0f7b11b369907e1ad43",
	},
	{
		name: "draft-mcgrew-gcm-test-01 section 4, 128 bits, ESN",
		a:    ipsec.Algorithms{Encryption: ipsec.EncrAESGCM16, KeyBits: 128, ESN: true},
		key:  "4c80cdefbb5d10da906ac73c3613a634" + "2e443b68",
		spi:  0x4321, seq: 0x8765432100000000, iv: 0x4956ed7e3b244cfe, next: 1,
		payload: "45000048699a000080114db7c0a80102c0a801010a9bf15638d3010000010000" +
			"00000000045f736970045f756470037369700963796265726369747902646b00" + "00210001",
		sealed: "fecf537e729d5b07dc30df528dd22b768d1b98736696a6fd348509fa13ceac34" +
			"cfa2436f14a3f3cf65925bf1f4a13c5d15b21e1884f5ff6247aeabb786b93bce" +
			"61bc17d768fd9732" + "459018148f6cbe722fd04796562dfdb4",
	},
	{
		name: "draft-mcgrew-gcm-test-01 section 4, 192 bits",
		a:    ipsec.Algorithms{Encryption: ipsec.EncrAESGCM16, KeyBits: 192},
		key:  "feffe9928665731c6d6a8f9467308308feffe9928665731c" + "cafebabe",
		spi:  0xa5f8, seq: 10, iv: 0xfacedbaddecaf888, next: 1,
		payload: "45000028a4ad4000400678800a01038f0a010612802306b8cb712602dd6bb03e501016d07568",
		sealed: "a5b1f8066029aea40e598b8122de02420938b3ab33f828e687b8858b5bfbdbd0315b27452144cc77" +
			"95457b9652037f5318027b5b4cd7a636",
	},
}

// TestAEADVectors builds the published packets, bit for bit, and opens them.
func TestAEADVectors(t *testing.T) {
	for _, v := range aeadVectors {
		t.Run(v.name, func(t *testing.T) {
			c := newCipher(t, esptest.Keys{Algorithms: v.a, Encryption: unhex(t, v.key)})
			payload := unhex(t, v.payload)
			b := make([]byte, c.Len(len(payload)))
			copy(b[c.HeaderLen():], payload)
			c.Seal(b, len(payload), v.next, v.spi, v.seq, v.iv)
			want := binary.BigEndian.AppendUint32(nil, uint32(v.spi))
			want = binary.BigEndian.AppendUint32(want, uint32(v.seq))
			want = binary.BigEndian.AppendUint64(want, v.iv)
			want = append(want, unhex(t, v.sealed)...)
			if !bytes.Equal(b, want) {
				t.Fatalf("The packet should be\n%x, got\n%x.", want, b)
			}
			got, next, err := c.Open(b, v.seq)
			if err != nil || next != v.next || !bytes.Equal(got, payload) {
				t.Errorf("The packet should open to %x, got %x, %d, %v.", payload, got, next, err)
			}
		})
	}
}

// TestCBCVector opens case 5 of RFC 3602 section 4, which has no ICV: it gets one.
func TestCBCVector(t *testing.T) {
	k := keysFor(t, ipsec.Algorithms{Encryption: ipsec.EncrAESCBC, KeyBits: 128, Integrity: ipsec.AuthHMACSHA1_96})
	k.Encryption = unhex(t, "90d382b410eeba7ad938c46cec1a82bf")
	published := unhex(t, "0000432100000001e96e8c08ab465763fd098d45dd3ff893"+
		"f663c25d325c18c6a9453e194e120849a4870b66cc6b9965330013b4898dc856"+
		"a4699e523a55db080b59ec3a8e4b7e52775b07d1db34ed9c538ab50c551b874a"+
		"a269add047ad2d5913ac19b7cfbad4a6")
	payload := unhex(t, "08000ebda70a00008e9c083db95b070008090a0b0c0d0e0f1011121314151617"+
		"18191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334353637")
	got, next, err := newCipher(t, k).Open(k.Sign(published, 1), 1)
	if err != nil || next != 1 || !bytes.Equal(got, payload) {
		t.Errorf("The packet should open to %x, got %x, %d, %v.", payload, got, next, err)
	}
}

// TestCBCIVsAreUnpredictable compares the IVs of consecutive packets, and of two
// processes: RFC 3602 section 3 wants neither to tell anything about the other.
func TestCBCIVsAreUnpredictable(t *testing.T) {
	for _, a := range []ipsec.Algorithms{
		{Encryption: ipsec.EncrAESCBC, KeyBits: 256, Integrity: ipsec.AuthHMACSHA1_96},
		{Encryption: ipsec.Encr3DES, Integrity: ipsec.AuthHMACSHA1_96},
	} {
		seen := make(map[string]bool)
		for range 2 {
			c := newCipher(t, keysFor(t, a))
			for i := range uint64(100) {
				iv := string(seal(c, nil, i+1, i)[8 : 8+a.IVLen()])
				if seen[iv] {
					t.Fatalf("%v used the IV %x twice.", a, iv)
				}
				seen[iv] = true
			}
		}
	}
}

func TestIVLayout(t *testing.T) { // B1
	p, err := esp.NewIVPrefix(0xa, 0x12345)
	if err != nil {
		t.Fatalf("Member 10 in boot 0x12345 should have IVs: %v.", err)
	}
	if got := p.IV(0x6789abcdef); got != 0xa123456789abcdef {
		t.Errorf("The IV should be member, boot and counter, got %#x.", got)
	}
	if _, err := esp.NewIVPrefix(1, esp.MaxBoot+1); err == nil {
		t.Error("A boot counter of 21 bits should be refused: it would reach into the member's bits.")
	}
	if _, err := esp.NewIVPrefix(16, 1); err == nil {
		t.Error("Member 16 should be refused: there are four bits.")
	}
}

func TestGeometry(t *testing.T) {
	for _, a := range allAlgorithms() {
		g := esp.GeometryOf(a)
		for room := range 200 {
			n := g.MaxPayload(room)
			if n >= 0 && g.Len(n) > room || n >= -1 && g.Len(n+1) <= room {
				t.Fatalf("%v: %d octets should hold at most %d, whose packet is %d long, and that of one more %d.", a, room, n, g.Len(n), g.Len(n+1))
			}
		}
		if over := g.Len(1499) - 1499; over > esp.MaxOverhead {
			t.Errorf("%v adds %d octets, more than MaxOverhead.", a, over)
		}
	}
}

func TestKeysOfWrongLengthAreRefused(t *testing.T) {
	for _, a := range allAlgorithms() {
		k := keysFor(t, a)
		if _, err := esp.New(a, ipsec.CopyKey(append(k.Encryption, 0)), ipsec.CopyKey(k.Integrity)); err == nil {
			t.Errorf("%v should refuse an encryption key with an octet too many.", a)
		}
		if _, err := esp.New(a, ipsec.CopyKey(k.Encryption), ipsec.CopyKey(append(k.Integrity, 0))); err == nil {
			t.Errorf("%v should refuse an integrity key with an octet too many.", a)
		}
	}
	if _, err := esp.New(ipsec.Algorithms{Encryption: 99}, ipsec.Key{}, ipsec.Key{}); err == nil {
		t.Error("An unknown cipher should be refused.")
	}
}

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatalf("A vector cannot be read: %v.", err)
	}
	return b
}
