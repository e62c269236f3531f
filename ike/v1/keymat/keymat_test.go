package keymat_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/suite"
	"github.com/evergate/evergate/ike/v1/keymat"
	"github.com/evergate/evergate/ike/v1/wire"
)

// conversation is a main mode and a quick mode that strongSwan 5.9.8 began, with
// what it logged about them.
type conversation struct {
	PSK, Shared             octets
	SKEYID, D, A, Ka, IV    octets
	HashI, HashR            octets
	Hash1, Hash2, Hash3     octets
	EncryptionI, IntegrityI octets // of the SA that carries what the initiator sends
	EncryptionR, IntegrityR octets
	Messages                []octets
}

// octets are hexadecimal in a file.
type octets []byte

func (o *octets) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	d, err := hex.DecodeString(s)
	*o = d
	return err
}

// TestConversation: from the pre-shared key, the shared secret and what was on the
// wire, the same keys, IVs and hashes come out as strongSwan has.
func TestConversation(t *testing.T) {
	for _, tt := range []struct {
		file  string
		suite suite.Suite
		child ipsec.Algorithms
	}{
		{ // a key longer than SKEYID_e
			"strongswan-sha1.json",
			suite.Suite{Encryption: ipsec.EncrAESCBC, KeyBits: 256, Integrity: ipsec.AuthHMACSHA1_96, PRF: ipsec.PRFHMACSHA1, Group: ipsec.GroupMODP1024},
			ipsec.Algorithms{Encryption: ipsec.EncrAESCBC, KeyBits: 256, Integrity: ipsec.AuthHMACSHA1_96},
		},
		{
			"strongswan-sha256.json",
			suite.Suite{Encryption: ipsec.Encr3DES, Integrity: ipsec.AuthHMACSHA2_256_128, PRF: ipsec.PRFHMACSHA2_256, Group: ipsec.GroupMODP1024},
			ipsec.Algorithms{Encryption: ipsec.EncrAESCBC, KeyBits: 256, Integrity: ipsec.AuthHMACSHA2_256_128},
		},
	} {
		t.Run(tt.file, func(t *testing.T) {
			r := &reader{t: t, c: load(t, tt.file)}
			x := r.phase1(tt.suite)
			r.phase2(x, tt.child)
		})
	}
}

func load(t *testing.T, file string) conversation {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(b, &raw); err != nil {
		t.Fatal(err)
	}
	var c conversation
	for name, to := range map[string]any{
		"psk": &c.PSK, "shared": &c.Shared, "skeyid": &c.SKEYID, "skeyid_d": &c.D, "skeyid_a": &c.A, "ka": &c.Ka, "iv": &c.IV,
		"hash_i": &c.HashI, "hash_r": &c.HashR, "hash1": &c.Hash1, "hash2": &c.Hash2, "hash3": &c.Hash3,
		"encryption_i": &c.EncryptionI, "integrity_i": &c.IntegrityI, "encryption_r": &c.EncryptionR, "integrity_r": &c.IntegrityR,
		"messages": &c.Messages,
	} {
		if err := json.Unmarshal(raw[name], to); err != nil {
			t.Fatalf("read %s of %s: %v", name, file, err)
		}
	}
	return c
}

// reader goes through a conversation.
type reader struct {
	t    *testing.T
	c    conversation
	keys *keymat.Keys
	last []byte // last block of phase 1
}

func (r *reader) same(what string, got, want []byte) {
	r.t.Helper()
	if !keymat.Equal(got, want) {
		r.t.Errorf("%s is %x, strongSwan has %x", what, got, want)
	}
}

func (r *reader) clear(i int) wire.Message {
	r.t.Helper()
	m, err := wire.Decode(r.c.Messages[i])
	if err != nil {
		r.t.Fatalf("message %d: %v", i+1, err)
	}
	return m
}

// open decrypts message i, and returns the IV of the next one.
func (r *reader) open(i int, iv []byte) (wire.Chain, []byte) {
	r.t.Helper()
	m := r.clear(i)
	plain, next, err := r.keys.Decrypt(iv, m.Sealed)
	if err != nil {
		r.t.Fatalf("message %d: %v", i+1, err)
	}
	chain, err := wire.DecodeChain(m.Header.Next, plain)
	if err != nil {
		r.t.Fatalf("message %d: %v", i+1, err)
	}
	// Encrypted again, it is the same: strongSwan pads with zeros too.
	if sealed, _ := r.keys.Encrypt(iv, plain); !keymat.Equal(sealed, m.Sealed) {
		r.t.Errorf("message %d is encrypted to other octets", i+1)
	}
	return chain, next
}

func body(t *testing.T, p wire.Payload) []byte {
	t.Helper()
	b, err := wire.Body(p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (r *reader) phase1(s suite.Suite) keymat.Exchange {
	r.t.Helper()
	first, third, fourth := r.clear(0), r.clear(2), r.clear(3)
	x := keymat.Exchange{
		PSK: ipsec.CopyKey(r.c.PSK), Shared: ipsec.CopyKey(r.c.Shared),
		Ni: wire.Find[*wire.Nonce](third.Payloads).Data, Nr: wire.Find[*wire.Nonce](fourth.Payloads).Data,
		CookieI: third.Header.CookieI, CookieR: third.Header.CookieR,
		PublicI: wire.Find[*wire.KE](third.Payloads).Data, PublicR: wire.Find[*wire.KE](fourth.Payloads).Data,
	}
	var err error
	if r.keys, err = keymat.Derive(s, x); err != nil {
		r.t.Fatal(err)
	}
	r.same("SKEYID", r.keys.ID.Reveal(), r.c.SKEYID)
	r.same("SKEYID_d", r.keys.D.Reveal(), r.c.D)
	r.same("SKEYID_a", r.keys.A.Reveal(), r.c.A)
	r.same("the key of the cipher", r.keys.E.Reveal(), r.c.Ka)
	iv := r.keys.FirstIV(x.PublicI, x.PublicR)
	r.same("the first IV", iv, r.c.IV)

	fifth, iv := r.open(4, iv)
	sixth, iv := r.open(5, iv)
	proof := keymat.Proof{
		Exchange: x, SA: wire.Find[*wire.SA](first.Payloads).Raw,
		IDi: body(r.t, wire.Find[*wire.ID](fifth.Payloads)), IDr: body(r.t, wire.Find[*wire.ID](sixth.Payloads)),
	}
	r.same("HASH_I", r.keys.HashI(proof), r.c.HashI)
	r.same("HASH_I on the wire", wire.Find[*wire.Hash](fifth.Payloads).Data, r.c.HashI)
	r.same("HASH_R", r.keys.HashR(proof), r.c.HashR)
	r.last = iv
	return x
}

func (r *reader) phase2(x keymat.Exchange, a ipsec.Algorithms) {
	r.t.Helper()
	restored, err := keymat.Restore(r.keys.Suite, r.keys.D, r.keys.A, r.keys.E)
	if err != nil {
		r.t.Fatal(err)
	}
	r.keys = restored // all that phase 2 needs
	id := r.clear(6).Header.MessageID
	request, iv := r.open(6, r.keys.ExchangeIV(r.last, id))
	answer, iv := r.open(7, iv)
	confirmation, _ := r.open(8, iv)
	ni, nr := wire.Find[*wire.Nonce](request.Payloads).Data, wire.Find[*wire.Nonce](answer.Payloads).Data
	r.same("HASH(1)", r.keys.Hash1(id, nil, request.AfterFirst), r.c.Hash1)
	r.same("HASH(2)", r.keys.Hash1(id, ni, answer.AfterFirst), r.c.Hash2)
	r.same("HASH(3)", r.keys.Hash3(id, ni, nr), r.c.Hash3)
	r.same("HASH(3) on the wire", wire.Find[*wire.Hash](confirmation.Payloads).Data, r.c.Hash3)

	for _, d := range []struct {
		from                  wire.Chain // the receiver's message, with its SPI
		encryption, integrity []byte
	}{{answer, r.c.EncryptionI, r.c.IntegrityI}, {request, r.c.EncryptionR, r.c.IntegrityR}} {
		spi, _ := wire.ParseSPI(wire.Find[*wire.SA](d.from.Payloads).Proposals[0].SPI)
		k, err := r.keys.Child(keymat.Child{Algorithms: a, Protocol: uint8(wire.ProtocolESP), SPI: spi, Ni: ni, Nr: nr})
		if err != nil {
			r.t.Fatal(err)
		}
		r.same("an encryption key", k.Encryption.Reveal(), d.encryption)
		r.same("an integrity key", k.Integrity.Reveal(), d.integrity)
	}
	if x.PSK.Len() == 0 {
		r.t.Error("Restore has wiped what is not its own")
	}
}

func TestDeriveNeedsSecrets(t *testing.T) {
	s := suite.Suite{Encryption: ipsec.EncrAESCBC, KeyBits: 128, Integrity: ipsec.AuthHMACSHA1_96, PRF: ipsec.PRFHMACSHA1, Group: ipsec.GroupMODP1024}
	full := keymat.Exchange{PSK: ipsec.CopyKey([]byte("k")), Shared: ipsec.CopyKey([]byte("s")), Ni: []byte("i"), Nr: []byte("r")}
	for name, change := range map[string]func(*keymat.Exchange){
		"a pre-shared key":      func(x *keymat.Exchange) { x.PSK = ipsec.Key{} },
		"a shared secret":       func(x *keymat.Exchange) { x.Shared = ipsec.Key{} },
		"the initiator's nonce": func(x *keymat.Exchange) { x.Ni = nil },
		"the responder's nonce": func(x *keymat.Exchange) { x.Nr = nil },
	} {
		x := full
		change(&x)
		if _, err := keymat.Derive(s, x); err == nil {
			t.Errorf("keys come without %s", name)
		}
	}
	k, err := keymat.Derive(s, full)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, 15, 17} {
		if _, _, err := k.Decrypt(make([]byte, k.BlockLen()), make([]byte, n)); err == nil {
			t.Errorf("%d octets are decrypted, want blocks only", n)
		}
	}
	s.Encryption = ipsec.EncrAESGCM16
	if _, err := keymat.Derive(s, full); err == nil {
		t.Error("an AEAD protects IKEv1")
	}
}
