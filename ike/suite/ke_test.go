package suite_test

import (
	"bytes"
	"fmt"
	"io"
	"math/big"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/suite"
)

// groups are all key exchange methods, with the length of their KE payloads'
// data and whether they are modulo a prime.
func groups() map[ipsec.GroupID]struct {
	len  int
	modp bool
} {
	type g = struct {
		len  int
		modp bool
	}
	return map[ipsec.GroupID]g{
		ipsec.GroupMODP768: {96, true}, ipsec.GroupMODP1024: {128, true}, ipsec.GroupMODP1536: {192, true},
		ipsec.GroupMODP2048: {256, true}, ipsec.GroupMODP3072: {384, true}, ipsec.GroupMODP4096: {512, true},
		ipsec.GroupMODP6144: {768, true}, ipsec.GroupMODP8192: {1024, true},
		ipsec.GroupECP256: {64, false}, ipsec.GroupECP384: {96, false}, ipsec.GroupECP521: {132, false},
		ipsec.GroupX25519: {32, false},
	}
}

func newKE(t testing.TB, g ipsec.GroupID, rand io.Reader) *suite.KE {
	t.Helper()
	k, err := suite.NewKE(g, rand)
	if err != nil {
		t.Fatalf("No private value for %v: %v.", g, err)
	}
	return k
}

func TestBothSidesAgree(t *testing.T) {
	for id, g := range groups() {
		a, b := newKE(t, id, seeded(1)), newKE(t, id, seeded(2))
		ours, err := a.Shared(b.Public())
		if err != nil {
			t.Fatalf("%v: the initiator refused the responder's value: %v.", id, err)
		}
		theirs, err := b.Shared(a.Public())
		if err != nil {
			t.Fatalf("%v: the responder refused the initiator's value: %v.", id, err)
		}
		if !ours.Equal(theirs) {
			t.Errorf("%v: both sides have different secrets.", id)
		}
		if a.Group() != id || len(a.Public()) != g.len || suite.PublicLen(id) != g.len {
			t.Errorf("%v: the value has %d octets, PublicLen says %d, want %d.", id, len(a.Public()), suite.PublicLen(id), g.len)
		}
		if g.modp && ours.Len() != g.len {
			t.Errorf("%v: the secret has %d octets; leading zeros must stay (RFC 7296 section 2.14).", id, ours.Len())
		}
	}
}

func TestExchangeRepeatsFromItsSeed(t *testing.T) {
	for id := range groups() {
		s1, s2 := seeded(9), seeded(9)
		a, b := newKE(t, id, s1), newKE(t, id, s2)
		if !bytes.Equal(a.Public(), b.Public()) {
			t.Errorf("%v: the same seed made two different values.", id)
		}
		var next1, next2 [8]byte
		_, _ = s1.Read(next1[:])
		_, _ = s2.Read(next2[:])
		if next1 != next2 {
			t.Errorf("%v: the same seed was read to different places.", id)
		}
	}
}

// An exchange in flight is part of the replicated state.
func TestRestoredExchangeGoesOn(t *testing.T) { // B2
	for id := range groups() {
		a, peer := newKE(t, id, seeded(3)), newKE(t, id, seeded(4))
		b, err := suite.RestoreKE(id, ipsec.CopyKey(a.Private().Reveal()))
		if err != nil {
			t.Fatalf("%v: a standby could not restore the exchange: %v.", id, err)
		}
		s1, err1 := a.Shared(peer.Public())
		s2, err2 := b.Shared(peer.Public())
		if err1 != nil || err2 != nil || !s1.Equal(s2) || !bytes.Equal(a.Public(), b.Public()) {
			t.Errorf("%v: the standby's exchange differs from the owner's (%v, %v).", id, err1, err2)
		}
		if _, err := suite.RestoreKE(id, ipsec.NewKey(make([]byte, a.Private().Len()+1))); err == nil {
			t.Errorf("%v: a private value of the wrong length was restored.", id)
		}
		a.Wipe()
		if !bytes.Equal(a.Private().Reveal(), make([]byte, a.Private().Len())) {
			t.Errorf("%v: the private value is still there after Wipe.", id)
		}
	}
}

// pi is the first bits bits of pi's fraction and its 3, by Machin's formula:
// floor(2^bits * pi).
func pi(bits uint) *big.Int {
	const guard = 64
	one := new(big.Int).Lsh(big.NewInt(1), bits+guard)
	arctan := func(inverse int64) *big.Int {
		x, square := new(big.Int).Div(one, big.NewInt(inverse)), big.NewInt(inverse*inverse)
		sum := new(big.Int)
		for n := int64(1); x.Sign() != 0; n += 2 {
			term := new(big.Int).Div(x, big.NewInt(n))
			if n%4 == 1 {
				sum.Add(sum, term)
			} else {
				sum.Sub(sum, term)
			}
			x.Div(x, square)
		}
		return sum
	}
	v := new(big.Int).Mul(arctan(5), big.NewInt(4))
	v.Sub(v, arctan(239))
	return v.Rsh(v.Lsh(v, 2), guard)
}

// primeOf is a prime by its definition in RFC 2409 section 6 or RFC 3526:
// 2^n - 2^(n-64) - 1 + 2^64 * ( [2^(n-130) pi] + k ).
func primeOf(id ipsec.GroupID) *big.Int {
	def := map[ipsec.GroupID]struct {
		n uint
		k int64
	}{
		ipsec.GroupMODP768: {768, 149686}, ipsec.GroupMODP1024: {1024, 129093}, ipsec.GroupMODP1536: {1536, 741804},
		ipsec.GroupMODP2048: {2048, 124476}, ipsec.GroupMODP3072: {3072, 1690314}, ipsec.GroupMODP4096: {4096, 240904},
		ipsec.GroupMODP6144: {6144, 929484}, ipsec.GroupMODP8192: {8192, 4743158},
	}[id]
	power := func(n uint) *big.Int { return new(big.Int).Lsh(big.NewInt(1), n) }
	p := new(big.Int).Add(pi(def.n-130), big.NewInt(def.k))
	p.Lsh(p, 64)
	p.Add(p, power(def.n))
	p.Sub(p, power(def.n-64))
	return p.Sub(p, big.NewInt(1))
}

// A second implementation, math/big over the primes' definition, must agree.
func TestModpAgainstDefinition(t *testing.T) {
	for id, g := range groups() {
		if !g.modp {
			continue
		}
		p := primeOf(id)
		a, b := newKE(t, id, seeded(5)), newKE(t, id, seeded(6))
		x := new(big.Int).SetBytes(a.Private().Reveal())
		if want := new(big.Int).Exp(big.NewInt(2), x, p).FillBytes(make([]byte, g.len)); !bytes.Equal(a.Public(), want) {
			t.Errorf("%v: the public value is not 2^x mod p.", id)
		}
		want := new(big.Int).Exp(new(big.Int).SetBytes(b.Public()), x, p).FillBytes(make([]byte, g.len))
		if got, err := a.Shared(b.Public()); err != nil || !bytes.Equal(got.Reveal(), want) {
			t.Errorf("%v: the shared secret is not y^x mod p (%v).", id, err)
		}
	}
}

// One value in 256 has a leading zero octet. It keeps the length of the prime.
func TestModpKeepsLeadingZeros(t *testing.T) {
	id, p := ipsec.GroupMODP768, primeOf(ipsec.GroupMODP768)
	stream := seeded(11)
	for range 20000 {
		private := make([]byte, 32)
		_, _ = stream.Read(private)
		if new(big.Int).Exp(big.NewInt(2), new(big.Int).SetBytes(private), p).BitLen() > 760 {
			continue
		}
		k, err := suite.RestoreKE(id, ipsec.NewKey(private))
		if err != nil || len(k.Public()) != 96 || k.Public()[0] != 0 {
			t.Errorf("A value with a leading zero octet came out as %x (%v).", k.Public(), err)
		}
		return
	}
	t.Fatal("No value with a leading zero octet was found in 20000.")
}

// RFC 6989 section 2.1, RFC 7296 section 3.4.
func TestModpRefusesValuesOutsideOfTheGroup(t *testing.T) {
	for id, g := range groups() {
		if !g.modp {
			continue
		}
		k, p := newKE(t, id, seeded(1)), primeOf(id)
		at := func(v *big.Int) []byte { return v.FillBytes(make([]byte, g.len)) }
		plus := func(d int64) []byte { return at(new(big.Int).Add(p, big.NewInt(d))) }
		bad := map[string][]byte{
			"0": at(big.NewInt(0)), "1": at(big.NewInt(1)), "p-1": plus(-1), "p": plus(0), "p+1": plus(1),
			"all ones": bytes.Repeat([]byte{0xff}, g.len), "nothing": nil,
			"a value without its leading zero": at(big.NewInt(4))[1:],
			"a value with one zero too many":   append([]byte{0}, at(big.NewInt(4))...),
		}
		for name, value := range bad {
			if _, err := k.Shared(value); err == nil {
				t.Errorf("%v: %s was accepted.", id, name)
			}
		}
		for _, good := range [][]byte{at(big.NewInt(2)), plus(-2)} {
			if _, err := k.Shared(good); err != nil {
				t.Errorf("%v: a value at the edge of what is allowed was refused: %v.", id, err)
			}
		}
	}
}

// RFC 5903 section 8.1, RFC 5114 appendix A.6 to A.8, RFC 7748 section 6.1.
func TestCurveVectors(t *testing.T) {
	vectors := []struct {
		name               string
		group              ipsec.GroupID
		i, gi, r, gr, both string
	}{
		{
			"RFC 5903, 8.1", ipsec.GroupECP256,
			"C88F01F5 10D9AC3F 70A292DA A2316DE5 44E9AAB8 AFE84049 C62A9C57 862D1433",
			"DAD0B653 94221CF9 B051E1FE CA5787D0 98DFE637 FC90B9EF 945D0C37 72581180 5271A046 1CDB8252 D61F1C45 6FA3E59A B1F45B33 ACCF5F58 389E0577 B8990BB3",
			"C6EF9C5D 78AE012A 011164AC B397CE20 88685D8F 06BF9BE0 B283AB46 476BEE53",
			"D12DFB52 89C8D4F8 1208B702 70398C34 2296970A 0BCCB74C 736FC755 4494BF63 56FBF3CA 366CC23E 8157854C 13C58D6A AC23F046 ADA30F83 53E74F33 039872AB",
			"D6840F6B 42F6EDAF D13116E0 E1256520 2FEF8E9E CE7DCE03 812464D0 4B9442DE",
		},
		{
			"RFC 5114, A.6", ipsec.GroupECP256,
			"814264145f2f56f2e96a8e337a1284993faf432a5abce59e867b7291d507a3af",
			"2af502f3be8952f2c9b5a8d4160d09e97165be50bc42ae4a5e8d3b4ba83aeb15 eb0faf4ca986c4d38681a0f9872d79d56795bd4bff6e6de3c0f5015ece5efd85",
			"2ce1788ec197e096db95a200cc0ab26a19ce6bccad562b8eee1b593761cf7f41",
			"b120de4aa36492795346e8de6c2c8646ae06aaea279fa775b3ab0715f6ce51b0 9f1b7eece20d7b5ed8ec685fa3f071d83727027092a8411385c34dde5708b2b6",
			"dd0f5396219d1ea393310412d19a08f1f5811e9dc8ec8eea7f80d21c820c2788",
		},
		{
			"RFC 5114, A.7", ipsec.GroupECP384,
			"d27335ea71664af244dd14e9fd1260715dfd8a7965571c48d709ee7a7962a156d706a90cbcb5df2986f05feadb9376f1",
			"793148f1787634d5da4c6d9074417d05e057ab62f82054d10ee6b0403d6279547e6a8ea9d1fd77427d016fe27a8b8c66 c6c41294331d23e6f480f4fb4cd40504c947392e94f4c3f06b8f398bb29e42368f7a685923de3b67baced214a1a1d128",
			"52d1791fdb4b70f89c0f00d456c2f7023b6125262c36a7df1f80231121cce3d39be52e00c194a4132c4a6c768bcd94d2",
			"5cd42ab9c41b5347f74b8d4efb708b3d5b36db65915359b44abc17647b6b9999789d72a84865ae2f223f12b5a1abc120 e171458feaa939aaa3a8bfac46b404bd8f6d5b348c0fa4d80ceca16356ca933240bde8723415a8ece035b0edf36755de",
			"5ea1fc4af7256d2055981b110575e0a8cae53160137d904c59d926eb1b8456e427aa8a4540884c37de159a58028abc0e",
		},
		{
			"RFC 5114, A.8", ipsec.GroupECP521,
			"0113f82da825735e3d97276683b2b74277bad27335ea71664af2430cc4f33459b9669ee78b3ffb9b8683015d344dcbfef6fb9af4c6c470be254516cd3c1a1fb47362",
			"01ebb34dd75721abf8adc9dbed17889cbb9765d90a7c60f2cef007bb0f2b26e14881fd4442e689d61cb2dd046ee30e3ffd20f9a45bbdf6413d583a2dbf59924fd35c 00f6b632d194c0388e22d8437e558c552ae195adfd153f92d74908351b2f8c4eda94edb0916d1b53c020b5eecaed1a5fc38a233e4830587bb2ee3489b3b42a5a86a4",
			"00cee3480d8645a17d249f2776d28bae616952d1791fdb4b70f7c3378732aa1b22928448bcd1dc2496d435b01048066ebe4f72903c361b1a9dc1193dc2c9d0891b96",
			"010ebfafc6e85e08d24bfffcc1a4511db0e634beeb1b6dec8c5939ae44766201af6200430ba97c8ac6a0e9f08b33ce7e9feeb5ba4ee5e0d81510c24295b8a08d0235 00a4a6ec300df9e257b0372b5e7abfef093436719a77887ebb0b18cf8099b9f4212b6e30a1419c18e029d36863cc9d448f4dba4d2a0e60711be572915fbd4fef2695",
			"00cdea89621cfa46b132f9e4cfe2261cde2d4368eb5656634c7cc98c7a00cde54ed1866a0dd3e6126c9d2f845daff82ceb1da08f5d87521bb0ebeca77911169c20cc",
		},
		{
			"RFC 7748, 6.1", ipsec.GroupX25519,
			"77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
			"8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
			"5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
			"de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
			"4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
		},
	}
	for _, v := range vectors {
		for _, side := range []struct{ private, public, peer string }{{v.i, v.gi, v.gr}, {v.r, v.gr, v.gi}} {
			k, err := suite.RestoreKE(v.group, key(t, side.private))
			if err != nil {
				t.Fatalf("%s: the private value was refused: %v.", v.name, err)
			}
			if want := unhex(t, side.public); !bytes.Equal(k.Public(), want) {
				t.Errorf("%s: the public value is %x, want %x.", v.name, k.Public(), want)
			}
			if got, err := k.Shared(unhex(t, side.peer)); err != nil || !got.Equal(key(t, v.both)) {
				t.Errorf("%s: the shared secret is %x (%v), want %s.", v.name, got.Reveal(), err, v.both)
			}
		}
	}
}

// RFC 5903 section 9 asks for the check; RFC 8031 section 3.2 for the one of
// the all-zero result, which these points of small order would give.
func TestCurvesRefuseBadPoints(t *testing.T) {
	for id, g := range groups() {
		if g.modp {
			continue
		}
		k, peer := newKE(t, id, seeded(1)), newKE(t, id, seeded(2)).Public()
		bad := map[string][]byte{
			"nothing": nil, "a short value": peer[:g.len-1], "a long value": append(bytes.Clone(peer), 0),
			"zeros": make([]byte, g.len),
		}
		if id == ipsec.GroupX25519 {
			bad["the point of order 8"] = unhex(t, "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")
			bad["one"] = append([]byte{1}, make([]byte, 31)...)
		} else {
			off := bytes.Clone(peer)
			off[g.len-1] ^= 1
			bad["a point beside the curve"] = off
			bad["coordinates above the prime"] = bytes.Repeat([]byte{0xff}, g.len)
		}
		for name, value := range bad {
			if _, err := k.Shared(value); err == nil {
				t.Errorf("%v: %s was accepted.", id, name)
			}
		}
	}
}

// A scalar at or above the order is drawn again, not folded.
func TestScalarOutOfRangeIsDrawnAgain(t *testing.T) {
	for _, id := range []ipsec.GroupID{ipsec.GroupECP256, ipsec.GroupECP384, ipsec.GroupECP521} {
		size := newKE(t, id, seeded(1)).Private().Len()
		k := newKE(t, id, io.MultiReader(bytes.NewReader(bytes.Repeat([]byte{0xff}, size)), bytes.NewReader(make([]byte, size)), seeded(1)))
		if !k.Private().Equal(newKE(t, id, seeded(1)).Private()) {
			t.Errorf("%v: the first valid draw was not taken.", id)
		}
		ones := io.MultiReader(bytes.NewReader(bytes.Repeat([]byte{0xff}, 1000*size)))
		if _, err := suite.NewKE(id, ones); err == nil {
			t.Errorf("%v: a broken source of randomness was not noticed.", id)
		}
	}
}

func TestKENeedsRandomness(t *testing.T) {
	for id := range groups() {
		if _, err := suite.NewKE(id, strings.NewReader("too short")); err == nil || !strings.Contains(err.Error(), fmt.Sprint(id)) {
			t.Errorf("%v: a source that ran dry gave %v.", id, err)
		}
	}
	if _, err := suite.NewKE(22, seeded(1)); err == nil || suite.PublicLen(22) != 0 {
		t.Error("Key exchange method 22 is not implemented, but was started.")
	}
}
