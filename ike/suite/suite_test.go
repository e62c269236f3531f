package suite_test

import (
	"strings"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/suite"
)

func TestSuiteOfAProposalAndBack(t *testing.T) {
	for _, s := range everySuite() {
		got, err := suite.FromProposal(s.Proposal())
		if err != nil || got != s {
			t.Errorf("%v became %v by way of its proposal (%v).", s, got, err)
		}
	}
}

func TestSuiteNames(t *testing.T) {
	for _, name := range []string{"aes128-sha1-prfsha1/modp1024 (2)", "aes256gcm-prfsha384/modp1024 (2)", "3des-sha1-prfsha1/modp1024 (2)"} {
		words, _, _ := strings.Cut(name, "/")
		s, err := suite.FromProposal(ike(t, []ipsec.GroupID{ipsec.GroupMODP1024}, words)[0])
		if err != nil || s.String() != name {
			t.Errorf("%s is called %v (%v).", name, s, err)
		}
	}
}

func TestFromProposalRefuses(t *testing.T) {
	good := ike(t, []ipsec.GroupID{ipsec.GroupX25519}, "aes128-sha256")[0].Transforms
	with := func(ts ...ipsec.Transform) ipsec.Proposal {
		return ipsec.Proposal{Transforms: append(append([]ipsec.Transform(nil), good...), ts...)}
	}
	for want, p := range map[string]ipsec.Proposal{
		"several transforms of type 1": with(good[0]),
		"unknown type 6":               with(ipsec.Transform{Type: 6}),
		"ESN transform":                with(esn(ipsec.NoESN)),
		"unknown key exchange method":  {Transforms: good[:3]},
		"unknown encryption algorithm": {Transforms: good[1:]},
		"unknown PRF 0":                {Transforms: append([]ipsec.Transform{good[0]}, good[2:]...)},
		"without an integrity":         {Transforms: append([]ipsec.Transform{good[0], good[1]}, good[3:]...)},
		"authenticates by itself": {Transforms: append([]ipsec.Transform{
			{Type: ipsec.TypeEncryption, ID: uint16(ipsec.EncrAESGCM16), KeyBits: 128},
		}, good[1:]...)},
		"no key length of 0 bits": {Transforms: append([]ipsec.Transform{{Type: ipsec.TypeEncryption, ID: uint16(ipsec.EncrAESCBC)}}, good[1:]...)},
		"has one length only": {Transforms: append([]ipsec.Transform{
			{Type: ipsec.TypeEncryption, ID: uint16(ipsec.Encr3DES), KeyBits: 192},
		}, good[1:]...)},
		"null encryption": {Transforms: append([]ipsec.Transform{{Type: ipsec.TypeEncryption, ID: uint16(ipsec.EncrNull)}}, good[1:]...)},
		"key length on":   {Transforms: append([]ipsec.Transform{{Type: ipsec.TypeKE, ID: 31, KeyBits: 8}}, good[:3]...)},
	} {
		if s, err := suite.FromProposal(p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v became %v with the error %v, want %q in it.", p, s, err, want)
		}
	}
}

func TestChildFromProposal(t *testing.T) {
	for want, p := range map[string]ipsec.Proposal{
		"aes128-sha1/esn": esp(t, transforms(esn(ipsec.UseESN), ke(ipsec.GroupMODP2048)), "aes128-sha1")[0],
		"aes128gcm":       esp(t, transforms(integrity(ipsec.AuthNone), ke(ipsec.GroupNone)), "aes128gcm")[0],
		"null-sha256":     esp(t, nil, "null-sha256")[0],
	} {
		c, err := suite.ChildFromProposal(p)
		if err != nil || c.String() != want {
			t.Errorf("%v became %v (%v), want %s.", p, c, err, want)
		}
		if pfs := len(p.OfType(ipsec.TypeESN)) > 0; pfs != (c.Group == ipsec.GroupMODP2048) {
			t.Errorf("%v has the group %v.", p, c.Group)
		}
	}
	for what, p := range map[string]ipsec.Proposal{
		"a PRF":              ike(t, nil, "aes128-sha1")[0],
		"an unknown group":   esp(t, transforms(ke(22)), "aes128-sha1")[0],
		"a doubled ESN":      esp(t, transforms(esn(0), esn(1)), "aes128-sha1")[0],
		"nothing":            {},
		"null and integrity": {Transforms: transforms(ipsec.Transform{Type: ipsec.TypeEncryption, ID: uint16(ipsec.EncrNull)})},
	} {
		if c, err := suite.ChildFromProposal(p); err == nil {
			t.Errorf("An ESP proposal with %s became %v.", what, c)
		}
	}
}

// Every algorithm that the configuration can name is implemented, and the other
// way round.
func TestSupportedIsWhatTheConfigurationNames(t *testing.T) {
	for _, typ := range []ipsec.TransformType{ipsec.TypeEncryption, ipsec.TypePRF, ipsec.TypeIntegrity, ipsec.TypeKE} {
		for _, tr := range suite.Supported(typ) {
			name := tr.String()
			var err error
			switch typ {
			case ipsec.TypeEncryption:
				if ipsec.EncryptionID(tr.ID).AEAD() {
					_, err = ipsec.ParseESPProposal(name)
				} else {
					_, err = ipsec.ParseESPProposal(name + "-sha1")
				}
			case ipsec.TypePRF:
				_, err = ipsec.ParseIKEProposal("aes128-sha1-" + name)
			case ipsec.TypeIntegrity:
				_, err = ipsec.ParseESPProposal("aes128-" + name)
			default:
				_, err = ipsec.ParseGroup(int(tr.ID))
			}
			if err != nil {
				t.Errorf("%s is supported, but cannot be configured: %v.", name, err)
			}
		}
	}
	if n := len(suite.Supported(ipsec.TypeEncryption)); n != 18 {
		t.Errorf("%d ciphers with their key lengths are supported, the configuration names 18.", n)
	}
	if n := len(suite.Supported(ipsec.TypeKE)); n != len(groups()) {
		t.Errorf("%d groups are supported, want %d.", n, len(groups()))
	}
	if len(suite.Supported(ipsec.TypeESN)) != 2 || suite.Supported(99) != nil {
		t.Error("ESN has two values, and an unknown type none.")
	}
}
