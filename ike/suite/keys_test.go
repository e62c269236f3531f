package suite_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/suite"
)

// cavp is a vector of NIST's validation program for the IKEv2 key derivation
// (SP 800-135): the "ikev2" components of CAVP and ACVP.
type cavp struct {
	name                          string
	suite                         suite.Suite
	ni, nr, shared, spii, spir    string
	dkm                           string // SK_d | SK_ai | ..., or its beginning
	child                         ipsec.Algorithms
	childDKM                      string // without a new key exchange
	newShared, childDH, rekeySeed string
}

func vectors() []cavp {
	const (
		ni        = "3651fef5c9c35e93"
		nr        = "c09a8b90a3f04d59"
		spii      = "8e5c3ae507221684"
		spir      = "b1f201bb155c3acd"
		shared    = "d084a30166a50fb7325c3960874a839449ef9741c2f4f947d0201dd8c1269273d79509f37e3ca3eb4fa2fe2a28254e289cd3f34dad4eb4df1a07685a4b8a94fa61e2491f7598b3ce65547ff133b3f63d1ac4175eaa695033f3cedb026a6873a36455172a8540b8a5d23a0143bed0390ee49b168269d75fffee9fb62be965993c"
		newShared = "52f00ab174c25d5b7139ae5ff4e8e9eddee5992d2e36adf8a559ffd90dab1442e4fbe429d320c0f33552a17d1557fa41ea70e8fb916c4fa27ed52b5f8ebd8461afa78f1159159a64055ac5f6319e29c28eae58cbc6847770f32c3fed1d04750484f854790f95e9ec01bc5bc461f24966462e359511329305038e94deb6dd42c2"
	)
	return []cavp{
		{
			name:  "HMAC-SHA1",
			suite: suite.Suite{Encryption: ipsec.EncrAESCBC, KeyBits: 128, Integrity: ipsec.AuthHMACSHA1_96, PRF: ipsec.PRFHMACSHA1, Group: ipsec.GroupMODP1024},
			ni:    ni, nr: nr, shared: shared, spii: spii, spir: spir,
			dkm:       "6f1b12cad3cbe097b35430356d869d54cddb0198ec859174d53ceb92dddedbe2436db69f60977c58fa63bbb667f8d36920b109baae8f6c61a9ac49feda01843225d080ec5539d5881a25521ffb2a0a91874a9c0a27fcc2d717eb8963a9e3a89c7ab264757284c28cf8c3ca40576f4220b052b1fb8e9ad60ba3c80557323331a8cbb89f20",
			child:     ipsec.Algorithms{Encryption: ipsec.EncrAESCBC, KeyBits: 128, Integrity: ipsec.AuthHMACSHA1_96},
			childDKM:  "4727dc0ef94eb326ce131cf282fb652faa638ad0ddae3786a11bcc0309876009f8c485de011ad962c5b1ca8a41ff8145445749079c5686e26ffebbc342f06981f3da745e11ca0976424d1f8caec623d59dc7186deb20a27b411d1dcb70a365440bf7de905088b0692e8addc094e18d1939bdb67e89798ca6b239e2ccb81c2409dac0106c",
			newShared: newShared,
			childDH:   "b109c21ad4c0797768c1cec9e63554681e48f224bca7f23c20c4ea7041983451e9aa1d5408656c8a975ff1b9d9a12c75ffeb64bdecb30174664cccb4e14f1c377b7f6d1525af77c7092aac3e47f917ebae8297fb5539d2008ce830823a09cc197361d4a289c72745f6ce9fefe812be5bf55b3200fbb82e41a4a40877d3fe106db909707b",
			rekeySeed: "3b03bce748c96d5e8306918d2ff89b68f0648da3",
		},
		{
			name:  "HMAC-SHA2-256",
			suite: suite.Suite{Encryption: ipsec.EncrAESCBC, KeyBits: 256, Integrity: ipsec.AuthHMACSHA2_256_128, PRF: ipsec.PRFHMACSHA2_256, Group: ipsec.GroupMODP1024},
			ni:    ni, nr: nr, shared: shared, spii: spii, spir: spir,
			dkm:       "462B9DD525D4FD71169174272779E704BAF62C6231779AE9EFE8C58B21916B42010164AF2111EBD762F6916CA9A6F0EE05C8B320E4EE27705521DE2589ADEA1878F1A551738AF7C88DC4F0BB0C096A3F7D1F1A670FC79F49F678D60D665BB3710C8657F03BA9F62B9A818D7A228968C506E237AE9502AA6DB395C61EA6A3E79504F86B7368BFB5423DF79E48809BBCCD49FD826D024F63D7C2A5566400A12E736AA034510428F5EA008FE2FC16886FA388274EA6C2B4FCFC6141BF04F8207EF8AFC224EA1059CB220DC0B23AC0E4CCDA495A4E131B1D56E223ABA5A48E8ED1F5",
			child:     ipsec.Algorithms{Encryption: ipsec.EncrAESCBC, KeyBits: 256, Integrity: ipsec.AuthHMACSHA2_256_128},
			childDKM:  "23647677E7D403FA1E3006F19840AEE18AD9FECC4215814C4131BDEBA98433D8B0E31BFBBDDF822ABCCE5E06486AA388022B75E27E1E68AA5983028B65282C730C5D49EF7606770376CFDEC41F7CC435D816029989BC353D3B67B9FD1168DDCB8978850DA9B752AEE6A30D0086D2C4D74EC0E03648A0DAD334FAF5FE88084E67B0F3E8FEE8B5E1BD3850DB540F1FB8CFFE23C9E92CDA209373F354880C246C753E2A0ECA9CB73B9910A8531C4010E6768FA29F909E60AF777FED6E739C3CFDA03467E915D6F03FCE9C41F5F9D578F8912D66A75457E79EE1D5BCC2BE5C2F9BAE",
			newShared: newShared,
			childDH:   "6A919387A5FA2835FE8A8237E4A14845BD2B9930DB87EFF7ADF268F62186004902DBA9AA942D0259A0EDC4120B932A503865B57BA8FB88117EF5DF7B26799CD8BA37AA5438108CB1A4FE117907C9D0597B708C3F11151FEFD624D2317202B7C81430600E6FCBB6E1A8DF2B4861EF2363D53DE1BE69057B0CF6634A7E7BFA97B3C2810623E2BD6757738777177036E9C3A39794456954BD41FC444A12507AB9CAC69A0540D13C29DB8510F566A691691BAA2D9569DACC990D56A454BB444BCBBE8751B0550A5278812FC5AB4F28990DD6D608538D7DDDE24DC81BDAACA7751FDE",
			rekeySeed: "90722C42BD849E9B72D240FC254174270FA8295DE6F0338DAFC303A9EC104F12",
		},
		{
			name:  "HMAC-SHA2-512, longest nonces, AEAD",
			suite: suite.Suite{Encryption: ipsec.EncrAESGCM16, KeyBits: 256, PRF: ipsec.PRFHMACSHA2_512, Group: ipsec.GroupMODP2048},
			ni:    "834EA4753E9A06832072FA15E89E799035A1285CE241CAF3B5C724ECE8ECD0D2D1AC46FAB3D9D86BF2EBF4CC8F93E06C5342415E14DFCBC949574E1606F96F143E8AA8C80BCCD376FF3D3BAE0B134A04DD2AE557010E5D7A7552C6864FD8A82D99FFDFDA97BE97389A426D7259411B10DD9EEFAE2709141E654087A2056EB86DAF95EF262328A2CDD90C61152DC2BBFCF4CCF4084557C3892603023A8B7045FC589A35143E10DCD1A73406EA923B21687A12134B6A1007E4AA2E37FFFA4901DFF6F3514E2B350F08175E194D3C6DB75E03FD838D503CEFA9E9604A4E18F330C08142574A992465FEA063875ABAF144F47C50F32A0A83224E3EEA739033AF6B9F",
			nr:    "F833709DE457FB58ABE1D26E8DECC8FE889D503954C4812AC0F41271394AF7C148B15A241C2D6D6502C3C57DAE854A97BFB3CCDCEC650153578CCB51BDFE1C715E81F3D78488B1547A3C9E5617D9B78B46D06F56BB56423C88DEACCD82E7A2A11ADD56651091682F0987332EA28A32045A4D39609F364EB5E70468ECB7BBDCAD6B41E04ADD11D97F300E8D0A0C2941F1CB64885F940EE2FA273477E910983E96913F58E37BFD68E3ADCD6E813176E95FEE7985F5526EEDC3245C4746F5864D9E90BF80F6882F6A505ADACD81D106576F7A6C705E37CE551235E012E64EC3BE7B4F3F8889E664CC5ED7BCC4A88022A437439609B3019CDE1948665A548E420D1E",
			spii:  "6E5F49D279F4FBBB", spir: "FF7AE472AA4DD7AF",
			shared:   "9566A04BF95F433C6497B3AE8CB0F600043F8438EB2B9E97E912AF1C5ACE9A73A8884BF1FF80A895EB97A6F5494B6CEA5B1C3123C3A9CBE057A0CBA2F52FD40A8DFDF9F99B521D356347E2B70CF637B5B4A44C2ED92770A281E6431CB50BDDCE4FB2EC8100218FA84B0A4A344C4DC79BBC81ADD2FD23BC797EFA1B2AFA6840AD7B2E04D391F33662774A5296A0EF9C9C113E84F5B958FD54857E75378406F29DA1EB23E9E9D9D94177672BFA7742F7F4319F31ED06E1999E17EEAC6B35ADC9A245CAD998E3CE3C422B8AD752F7144332E9AAE44EA837677A8406B7261C04CB4EB9230FBA75E09E16EEDA246D5B1DA5CF14C96F00FC83C555854E7982E52A1D4F",
			dkm:      "2BD66826C397A19618E3133ACE96F6168A04EF9AFA53F2F07CECDA9E0F6139C37CC6512551F523006B74D501C5DD1AE502689ECE8A43CE7B3D866C7372176B1D5BC4A0B863F642351FD4822C79F0A8D97B03B09FA1393679149432798BEA545F70C663675E751A68AEEB7B238CA790229C7775E6A074BECDFAAD324AC546EEB5D0A9480B1AA06B6F225CBFAC7447DE3D8D292B0BEB7D9A5B709C02946A10F8799DD4E4B18C6D10CEDA39A82B9DAE01EFEBE6C31735590EF7D44E1C8DBBAD98DAFE620843065E5141D7C57770234128599E3223139656DBB3D0C494FABA482AE9740FAA3D3957EFD9D90FD24144BC9B317C7955722426A6719D0095D068FD0B63469140D1EF9DDEFC43B2BCFFF971A08A7E67E75B8F0DED8C4737175ABF04C32B906FE7D53E8C3B11B3829DB0082B73F44C042C285F079A3BD6C33F91559F31043E23BB0A79B83C93AAF1CFEAF6C5996E717869C2D7F6528C8ACAE6656A8430164886385441484107261DE0D9A9B6B39A24812CCFA24C1F964AEAC69CE6D00541",
			child:    ipsec.Algorithms{Encryption: ipsec.EncrAESGCM16, KeyBits: 256, ESN: true},
			childDKM: "0B0D01A13515AC0727F7D90456D3D2FD9C1172096CDED4A20BDA43FC796184BAEB3A7F34FFC09C584DD9BEEBC7629A36A5D143DFB1C2931F369E6702769B6A01AA20B7B955C30481D7894DF2AEBAB0DD669C3E1E168BE5F122F8A9D8A589F3C6C48EFC031129481E2DEA1F6FC10E07F3E39A1FCC3D660E289778458E752802501DBDE1EB0EDE3D2227DE7FAE3F265D66986B1AE4CF407EDC3A5168A6179ED8CA",
		},
	}
}

func (v cavp) exchange(t *testing.T) suite.Exchange {
	return suite.Exchange{
		Shared: key(t, v.shared), Ni: unhex(t, v.ni), Nr: unhex(t, v.nr),
		SPIi: ipsec.IKESPI(binary.BigEndian.Uint64(unhex(t, v.spii))),
		SPIr: ipsec.IKESPI(binary.BigEndian.Uint64(unhex(t, v.spir))),
	}
}

// joined puts the keys together again, in the order of RFC 7296 section 2.14.
func joined(k suite.Keys) []byte {
	var out []byte
	for _, part := range []ipsec.Key{k.D, k.Ai, k.Ar, k.Ei, k.Er, k.Pi, k.Pr} {
		out = append(out, part.Reveal()...)
	}
	return out
}

// joinedChild puts the keys together again, in the order of RFC 7296 section
// 2.17.
func joinedChild(k suite.ChildKeys) []byte {
	var out []byte
	for _, part := range []ipsec.Key{k.Initiator.Encryption, k.Initiator.Integrity, k.Responder.Encryption, k.Responder.Integrity} {
		out = append(out, part.Reveal()...)
	}
	return out
}

func wantPrefix(t *testing.T, what string, got, of []byte, n int) {
	t.Helper()
	if len(got) != n {
		t.Errorf("%s: %d octets of keys, want %d.", what, len(got), n)
	}
	if !bytes.HasPrefix(of, got) {
		t.Errorf("%s: keys are\n%x, want the beginning of\n%x.", what, got, of)
	}
}

func TestIKEKeysOfCAVP(t *testing.T) { // RFC 7296 section 2.14
	lengths := []int{3*20 + 2*20 + 2*16, 3*32 + 2*32 + 2*32, 3*64 + 2*36}
	for i, v := range vectors() {
		k, err := v.suite.Keys(v.exchange(t))
		if err != nil {
			t.Fatalf("%s: the keys cannot be derived: %v.", v.name, err)
		}
		wantPrefix(t, v.name, joined(k), unhex(t, v.dkm), lengths[i])
		if v.suite.Encryption.AEAD() && k.Ai.Len()+k.Ar.Len() != 0 {
			t.Errorf("%s: an AEAD got integrity keys.", v.name) // RFC 5282 section 7
		}
		if !k.From(true).Encryption.Equal(k.Ei) || !k.From(false).Integrity.Equal(k.Ar) || !k.P(true).Equal(k.Pi) || !k.P(false).Equal(k.Pr) {
			t.Errorf("%s: From or P mixes up the sides.", v.name)
		}
	}
}

func TestChildKeysOfCAVP(t *testing.T) { // RFC 7296 section 2.17
	lengths := []int{2 * (16 + 20), 2 * (32 + 32), 2 * 36}
	for i, v := range vectors() {
		x := v.exchange(t)
		k, err := v.suite.Keys(x)
		if err != nil {
			t.Fatalf("%s: the keys cannot be derived: %v.", v.name, err)
		}
		child, err := prf(t, v.suite.PRF).ChildKeys(k.D, v.child, ipsec.Key{}, x.Ni, x.Nr)
		if err != nil {
			t.Fatalf("%s: the keys of a Child SA cannot be derived: %v.", v.name, err)
		}
		wantPrefix(t, v.name+", child", joinedChild(child), unhex(t, v.childDKM), lengths[i])
		if v.newShared == "" {
			continue
		}
		child, err = prf(t, v.suite.PRF).ChildKeys(k.D, v.child, key(t, v.newShared), x.Ni, x.Nr)
		if err != nil {
			t.Fatalf("%s: the keys of a Child SA with PFS cannot be derived: %v.", v.name, err)
		}
		wantPrefix(t, v.name+", child with PFS", joinedChild(child), unhex(t, v.childDH), lengths[i])
	}
}

// The old PRF makes SKEYSEED, the new one expands it: RFC 7296 section 2.18.
func TestRekeyedKeysOfCAVP(t *testing.T) {
	for _, v := range vectors() {
		if v.rekeySeed == "" {
			continue
		}
		x := v.exchange(t)
		k, err := v.suite.Keys(x)
		if err != nil {
			t.Fatalf("%s: the keys cannot be derived: %v.", v.name, err)
		}
		next := v.suite
		next.PRF = ipsec.PRFHMACSHA2_512
		x.Shared = key(t, v.newShared)
		got, err := next.Rekeyed(v.suite.PRF, k.D, x)
		if err != nil {
			t.Fatalf("%s: the keys of the next IKE SA cannot be derived: %v.", v.name, err)
		}
		want, err := prf(t, next.PRF).Plus(key(t, v.rekeySeed), len(joined(got)), x.Ni, x.Nr, unhex(t, v.spii), unhex(t, v.spir))
		if err != nil || !bytes.Equal(joined(got), want) {
			t.Errorf("%s: rekeying made other keys than SKEYSEED %s does (%v).", v.name, v.rekeySeed, err)
		}
	}
}

func TestKeysRefuseWhatIsMissing(t *testing.T) {
	s := vectors()[0].suite
	whole := suite.Exchange{Shared: ipsec.NewKey([]byte{1}), Ni: []byte{1}, Nr: []byte{2}}
	p := prf(t, s.PRF)
	d := ipsec.NewKey(make([]byte, p.Len()))
	esp := ipsec.Algorithms{Encryption: ipsec.EncrAESCBC, KeyBits: 128, Integrity: ipsec.AuthHMACSHA1_96}

	without := func(cut func(*suite.Exchange)) suite.Exchange { x := whole; cut(&x); return x }
	for what, x := range map[string]suite.Exchange{
		"the shared secret": without(func(x *suite.Exchange) { x.Shared = ipsec.Key{} }),
		"Ni":                without(func(x *suite.Exchange) { x.Ni = nil }),
		"Nr":                without(func(x *suite.Exchange) { x.Nr = nil }),
	} {
		if _, err := s.Keys(x); err == nil {
			t.Errorf("Keys were derived without %s.", what)
		}
		if _, err := s.Rekeyed(s.PRF, d, x); err == nil {
			t.Errorf("Keys of a rekeyed SA were derived without %s.", what)
		}
	}
	if _, err := (suite.Suite{}).Keys(whole); err == nil {
		t.Error("The zero suite derived keys.")
	}
	if _, err := s.Rekeyed(s.PRF, ipsec.Key{}, whole); err == nil {
		t.Error("Keys of a rekeyed SA were derived without the old SK_d.")
	}
	if _, err := p.ChildKeys(ipsec.Key{}, esp, ipsec.Key{}, []byte{1}, []byte{2}); err == nil {
		t.Error("Child keys were derived without SK_d.")
	}
	if _, err := p.ChildKeys(d, esp, ipsec.Key{}, nil, []byte{2}); err == nil {
		t.Error("Child keys were derived without Ni.")
	}
	if _, err := p.ChildKeys(d, ipsec.Algorithms{Encryption: ipsec.EncrAESCBC, KeyBits: 128}, ipsec.Key{}, []byte{1}, []byte{2}); err == nil {
		t.Error("Child keys were derived for a cipher without integrity.")
	}
	if _, err := (suite.PRF{}).ChildKeys(ipsec.Key{}, esp, ipsec.Key{}, []byte{1}, []byte{2}); err == nil {
		t.Error("The zero PRF derived child keys.")
	}
}

func TestChildKeysOfNullEncryption(t *testing.T) {
	p := prf(t, ipsec.PRFHMACSHA2_256)
	k, err := p.ChildKeys(ipsec.NewKey(random(1, 32)), ipsec.Algorithms{Encryption: ipsec.EncrNull, Integrity: ipsec.AuthHMACSHA1_96}, ipsec.Key{}, []byte{1}, []byte{2})
	if err != nil {
		t.Fatalf("ESP with null encryption got no keys: %v.", err)
	}
	if k.Initiator.Encryption.Len() != 0 || k.Initiator.Integrity.Len() != 20 || k.Responder.Integrity.Equal(k.Initiator.Integrity) {
		t.Error("Null encryption takes an integrity key per direction and nothing else.")
	}
}

func TestWipeErasesEveryKey(t *testing.T) {
	k := keysOf(t, everySuite()[0], 7)
	k.Wipe()
	for _, b := range joined(k) {
		if b != 0 {
			t.Fatal("A wiped key still has octets that are not zero.")
		}
	}
}

// TestKeysOfOneExchangeAreWipedApart: they lie side by side, and have no room for each
// other.
func TestKeysOfOneExchangeAreWipedApart(t *testing.T) {
	s := vectors()[0].suite
	for i := range 7 {
		k, left := keysOf(t, s, 1), keysOf(t, s, 1)
		of := func(k *suite.Keys) []*ipsec.Key { return []*ipsec.Key{&k.D, &k.Ai, &k.Ar, &k.Ei, &k.Er, &k.Pi, &k.Pr} }
		of(&k)[i].Wipe()
		for j, key := range of(&k) {
			if same := key.Equal(*of(&left)[j]); same != (j != i || key.Len() == 0) {
				t.Errorf("Key %d was wiped, and key %d is as before: %v.", i, j, same)
			}
			if b := key.Reveal(); cap(b) != len(b) {
				t.Errorf("Key %d of %d octets reaches %d octets into what follows.", j, len(b), cap(b)-len(b))
			}
		}
	}
}
