package keymat_test

import (
	"encoding/hex"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/suite"
	"github.com/evergate/evergate/ike/v1/keymat"
)

// vector is a test vector of NIST for the key derivation of IKEv1, component testing of
// SP 800-135. Octets are in hexadecimal.
type vector struct {
	name             string
	prf              ipsec.PRFID
	integrity        ipsec.IntegrityID
	cookieI, cookieR ipsec.IKESPI
	ni, nr           string
	shared           string // g^xy
	psk              string // none where signatures authenticate
	id, d, a, e      string // SKEYID and what comes from it
}

// vectors are of the published samples of the Automated Cryptographic Validation Protocol
// (kdf-components, IKEv1: pre-shared keys of 8 bits, SHA2-256, nonces of 2048 bits, a
// shared secret of 224), and one of the program before it: ikev1_dsa with SHA-1, nonces of
// 64 bits and a shared secret of 1024.
func vectors() []vector {
	return []vector{
		{
			name: "pre-shared key, case 2189", prf: ipsec.PRFHMACSHA2_256, integrity: ipsec.AuthHMACSHA2_256_128,
			cookieI: 0xdc372fbccc311276, cookieR: 0x8d374ecaea6d4491,
			ni: "d9db51ab8598cf1477b0003f6bb92ff91e376841d5c5a887cccdce21a5b42ef459616922098f01477320c48e67ed474e" +
				"af4a8d8c439fc742fd5b3a87e042353b3f672db307df44abc4abe09d07a6e30755ae64daef6d5b871470014e3ac6f353" +
				"bdcb354af59cfd13257dfa9f26dcb3ffa9754dd396f30774b1224f04f36a28bf4a0679baa58c7ca282facef6e10daa64" +
				"75f5b863853e5a3786dad7713f7f0ef474dcacd04028f462d9d211f02a8d4e88948e83025e9c9bf7d7b9e39aee567593" +
				"ebf98430953ef2f9f71700203531f16a75c6c8b413faedf80d420f3322eb79d9f347221bf7c34e5c4397fc4b95a839e6" +
				"ec0586682f69db0e147cf4e49b3590f3",
			nr: "cf6d14f6e67039810cff7afa2309f78760125079ca74dd634ce5eefbabebae2b99917ffdcaa67ddeb0193fc8d19077ca" +
				"33dba87a5cab084e6bdf9c634eea9a4cc74b8a9bd42a63088cad25d2c34943e9493de646377576242c53282eae098cd5" +
				"ec0211147ac0071922e0f0d3d035a1930e4b6ddac0874ed85f055bdc4385e97c81f50764dc5135b617a6cd864ed62988" +
				"2f6cb498860dcbf467ed65af771fbff0663eaafabdd1ffc2e4f3e88b7bb5c6c4b5d2fb037550bb2bf0c536db1319a9ff" +
				"32493b159bdf5b2a7029e84239bbba9dc978c9201ef239a25445d919fc6febcd3521473552903d7ef31af5aff20f71c9" +
				"de324bfee6df21797f8da5d85d4f4565",
			shared: "b5912dc058a3461f6653a5704e55ff7ec22adeaeb19f6e760642456a",
			psk:    "0c",
			id:     "f8a59c9c1e3e6af466e04dbfea38b39aaf390481be12d552fc54b700db11114f", d: "50126e7057c85c726c2cde0f69a4734e358fe85a26b7054d200a6efaf8b3aee5",
			a: "82aba23730e8afd41017c7b21335fdcdc2e1ab1805aed8c80961a827f188a5e2", e: "a557ab6aa572fae92a3cee66900f32d1f5d9160c73e3e72f9cd0ba180352a559",
		},
		{
			name: "pre-shared key, case 2191", prf: ipsec.PRFHMACSHA2_256, integrity: ipsec.AuthHMACSHA2_256_128,
			cookieI: 0xd488e040e79a26ae, cookieR: 0xdefeb5294d451a7b,
			ni: "fdb0e5c4a42ff247bcdcadd3f89ce871600268cab63023d37aa12fd1d012f360dead0e07533cd4aea8ccbd3c65456cef" +
				"7d6df4a85cc27a0cb8380078dd9b1379191218648b66de54aac48c313cdb0c7b1a0d6ce48c0d73f7129a6d32907e7334" +
				"fdf91871c086fdea5180b5cfb98ca6266b91f750cf11723284d9eb895030d4609345bde301780d115e3cf5ff40f7d0fd" +
				"23be6365df0679bbdc1ae9cd985b27477ff5c6898acae4cef7d75749cc4f4c6ea784e5787854565ace48ade64604e9b6" +
				"85c24e8c6677820836dbba366148048a0030d28112ac0ace822d010cd31ba9b10db991d1da4d9e7906f7248222d987d0" +
				"558001f0b6f670179428da05f188005b",
			nr: "f9dfb1b7dce64a95031e162266af792ceba16214624f3fd5a47ed96bf4d8b9e12f316efa7e3a6a401217798d1abffaad" +
				"f3d418a17b56e067da2ff146275dac7cac31e2605d6c010442dd6a43b71a0596c500c8a05466121191cc677f3eac1d7d" +
				"5a31a82055bfaebb756d078e67723341af30f345da07ad5451371f0c2877714a6bd2b5eb5bb4c6b845a3a702ba6449b1" +
				"d88ff6b0f7894f101c03d41c78f45f1d70c2f2b1230cd1a6e0eace2a17ca58265397018895e10c5e83d9f82d5aa7a314" +
				"cdbfcc138b9d48d9178b9203e7d2e914302fc31b092ddc3cd57e4e6ce6e93272eeb6fd00de895617b30ab5711ee1dcd1" +
				"46de168c1991cacabfab9ce1b4fbe3cd",
			shared: "07eadbf14cabbac8edb3566024eca1f3205fd49bca0ccbbe81514ec8",
			psk:    "d1",
			id:     "5d4abd00a4dcf076708781a4990f32a947ec847ecdc8a7a3276228b7e96a79e7", d: "07b30dda8d898171b401289e1add3165460b4164598888cd3626aabae2425caa",
			a: "9e4f174aaab57874da588b6d73a76042dd6c198f7a9c6d3dee96110583f6b04d", e: "37f6e2d690ff6fa233d2cb9a59043009093123e86ddb78c0a772b5397f3fc82e",
		},
		{
			name: "signatures", prf: ipsec.PRFHMACSHA1, integrity: ipsec.AuthHMACSHA1_96,
			cookieI: 0x382e5c8b0a3fa307, cookieR: 0xba4b7616700a2413,
			ni: "ced5635da6796075", nr: "6244b427712fb776",
			shared: "2a2e0bbe8da3657a83f3d35826e49e2d38e557e912a1b9e6c30c63577b3eab71" +
				"5466202862027f2c26f3090743555579611771db0b92bef93834432a3a7762fc" +
				"8a0f4889fd281d6082770d10a40d7bad61e832f041e620d6787e7f62ab2861dd" +
				"fbe272e0d9d3cdec5f1bbf750e24b8b32d6d714968ad69ce5086c32ad2742ebc",
			id: "dc37ac99de6dcfbd1ee74af7fb36f9b4b0a7829d", d: "486293ed547adb562cefdaf43d3d8457b196f2b6",
			a: "f4053b5ca07e59bb41b8f401037ca90b72b3917e", e: "49a1d53a80fb77e663552964fbbcb450",
		},
	}
}

// TestPublishedKeySchedule holds the schedule to vectors of NIST.
func TestPublishedKeySchedule(t *testing.T) {
	for _, v := range vectors() {
		t.Run(v.name, func(t *testing.T) { v.check(t) })
	}
}

func (v vector) check(t *testing.T) {
	octets := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	shared := octets(v.shared)
	x := keymat.Exchange{
		PSK: ipsec.NewKey(octets(v.psk)), Ni: octets(v.ni), Nr: octets(v.nr), Shared: ipsec.CopyKey(shared),
		CookieI: v.cookieI, CookieR: v.cookieR,
	}
	if v.psk == "" {
		// Authentication with signatures differs in the inputs of SKEYID only:
		//
		//	For signatures:       SKEYID = prf(Ni_b | Nr_b, g^xy)
		//	For pre-shared keys:  SKEYID = prf(pre-shared-key, Ni_b | Nr_b )
		//
		// RFC 2409 section 5. So the nonces stand where the pre-shared key belongs, and
		// the shared secret stands where the nonces do, too.
		x.PSK, x.Ni, x.Nr = ipsec.NewKey(append(x.Ni, x.Nr...)), shared[:1], shared[1:]
	}
	k, err := keymat.Derive(suite.Suite{
		Encryption: ipsec.EncrAESCBC, KeyBits: 128, Integrity: v.integrity, PRF: v.prf, Group: ipsec.GroupMODP1024,
	}, x)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []struct {
		name string
		got  ipsec.Key
		want string
	}{
		{"SKEYID", k.ID, v.id},
		{"SKEYID_d", k.D, v.d},
		{"SKEYID_a", k.A, v.a},
		// The cipher's key is the beginning of SKEYID_e where that is long enough
		// (appendix B).
		{"the first 128 bits of SKEYID_e", k.E, v.e[:32]},
	} {
		if !key.got.Equal(ipsec.CopyKey(octets(key.want))) {
			t.Errorf("%s is %x, want %s.", key.name, key.got.Reveal(), key.want)
		}
	}
}
