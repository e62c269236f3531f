package keymat_test

import (
	"encoding/hex"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/suite"
	"github.com/evergate/evergate/ike/v1/keymat"
)

// TestPublishedKeySchedule holds the schedule to a test vector of NIST: Cryptographic
// Algorithm Validation Program, component testing of SP 800-135, ikev1_dsa with SHA-1,
// nonces of 64 bits and a shared secret of 1024.
//
// The vector is of authentication with signatures, which differs from that with a
// pre-shared key in the inputs of SKEYID only:
//
//	For signatures:       SKEYID = prf(Ni_b | Nr_b, g^xy)
//	For pre-shared keys:  SKEYID = prf(pre-shared-key, Ni_b | Nr_b )
//
// RFC 2409 section 5. So the vector's nonces stand where the pre-shared key belongs,
// and its shared secret stands where the nonces do, too.
func TestPublishedKeySchedule(t *testing.T) {
	bytes := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	gxy := bytes("2a2e0bbe8da3657a83f3d35826e49e2d38e557e912a1b9e6c30c63577b3eab71" +
		"5466202862027f2c26f3090743555579611771db0b92bef93834432a3a7762fc" +
		"8a0f4889fd281d6082770d10a40d7bad61e832f041e620d6787e7f62ab2861dd" +
		"fbe272e0d9d3cdec5f1bbf750e24b8b32d6d714968ad69ce5086c32ad2742ebc")
	ni, nr := bytes("ced5635da6796075"), bytes("6244b427712fb776")
	k, err := keymat.Derive(
		suite.Suite{Encryption: ipsec.EncrAESCBC, KeyBits: 128, Integrity: ipsec.AuthHMACSHA1_96, PRF: ipsec.PRFHMACSHA1, Group: ipsec.GroupMODP1024},
		keymat.Exchange{
			PSK: ipsec.NewKey(append(ni, nr...)), Ni: gxy[:1], Nr: gxy[1:], Shared: ipsec.CopyKey(gxy),
			CookieI: 0x382e5c8b0a3fa307, CookieR: 0xba4b7616700a2413,
		})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []struct {
		name string
		got  ipsec.Key
		want string
	}{
		{"SKEYID", k.ID, "dc37ac99de6dcfbd1ee74af7fb36f9b4b0a7829d"},
		{"SKEYID_d", k.D, "486293ed547adb562cefdaf43d3d8457b196f2b6"},
		{"SKEYID_a", k.A, "f4053b5ca07e59bb41b8f401037ca90b72b3917e"},
		// The cipher's key is the beginning of SKEYID_e where that is long enough
		// (appendix B).
		{"the first 128 bits of SKEYID_e", k.E, "49a1d53a80fb77e663552964fbbcb450"},
	} {
		if !key.got.Equal(ipsec.CopyKey(bytes(key.want))) {
			t.Errorf("%s is %x, want %s.", key.name, key.got.Reveal(), key.want)
		}
	}
}
