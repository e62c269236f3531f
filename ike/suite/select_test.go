package suite_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/suite"
)

// ike reads phase 1 proposals with their groups.
func ike(t testing.TB, groups []ipsec.GroupID, names ...string) []ipsec.Proposal {
	t.Helper()
	var out []ipsec.Proposal
	for _, name := range names {
		p, err := ipsec.ParseIKEProposal(name)
		if err != nil {
			t.Fatalf("The test's own proposal: %v.", err)
		}
		out = append(out, p.WithGroups(groups...))
	}
	return out
}

// esp reads phase 2 proposals and puts transforms behind each.
func esp(t testing.TB, more []ipsec.Transform, names ...string) []ipsec.Proposal {
	t.Helper()
	var out []ipsec.Proposal
	for _, name := range names {
		p, err := ipsec.ParseESPProposal(name)
		if err != nil {
			t.Fatalf("The test's own proposal: %v.", err)
		}
		p.Transforms = append(p.Transforms, more...)
		out = append(out, p)
	}
	return out
}

func transforms(ts ...ipsec.Transform) []ipsec.Transform { return ts }

func esn(id uint16) ipsec.Transform { return ipsec.Transform{Type: ipsec.TypeESN, ID: id} }

func ke(g ipsec.GroupID) ipsec.Transform { return ipsec.Transform{Type: ipsec.TypeKE, ID: uint16(g)} }

func integrity(i ipsec.IntegrityID) ipsec.Transform {
	return ipsec.Transform{Type: ipsec.TypeIntegrity, ID: uint16(i)}
}

func wantChoice(t *testing.T, ours, offered []ipsec.Proposal, want string, index int) {
	t.Helper()
	p, i, err := suite.Select(ours, offered)
	if err != nil {
		t.Errorf("Nothing was chosen from %v: %v.", offered, err)
		return
	}
	if p.String() != want || i != index {
		t.Errorf("%v was chosen from proposal %d, want %s from %d.", p, i, want, index)
	}
	if err := suite.Verify(offered, i, p); err != nil {
		t.Errorf("The peer would refuse the choice %v: %v.", p, err)
	}
}

func wantNone(t *testing.T, ours, offered []ipsec.Proposal, want string) {
	t.Helper()
	p, _, err := suite.Select(ours, offered)
	if err == nil {
		t.Errorf("%v was chosen, want an error: %s.", p, want)
		return
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("The operator reads %q, want %q in it.", err, want)
	}
}

func TestSelectPrefersOurOrder(t *testing.T) { // RFC 7296 section 2.7
	groups := []ipsec.GroupID{ipsec.GroupX25519, ipsec.GroupMODP2048}
	ours := ike(t, groups, "aes256gcm-prfsha384", "aes128-sha256", "aes128-sha1")
	swapped := []ipsec.GroupID{ipsec.GroupMODP2048, ipsec.GroupX25519}
	wantChoice(t, ours, ike(t, swapped, "aes128-sha1", "aes128-sha256"), "aes128/prfsha256/sha256/x25519 (31)", 1)
	wantChoice(t, ours, ike(t, groups[1:], "aes256gcm-prfsha384"), "aes256gcm/prfsha384/modp2048 (14)", 0)
}

// A peer may put many transforms of a type into one proposal.
func TestSelectFromOneLongProposal(t *testing.T) {
	offer := ipsec.Proposal{Transforms: []ipsec.Transform{
		{Type: ipsec.TypeEncryption, ID: uint16(ipsec.EncrAESCBC), KeyBits: 256},
		{Type: ipsec.TypeEncryption, ID: uint16(ipsec.EncrAESCBC), KeyBits: 128},
		{Type: ipsec.TypeEncryption, ID: 9999},
		integrity(ipsec.AuthHMACSHA1_96), integrity(ipsec.AuthHMACSHA2_512_256),
		{Type: ipsec.TypePRF, ID: uint16(ipsec.PRFHMACSHA2_512)},
		{Type: ipsec.TypePRF, ID: uint16(ipsec.PRFHMACSHA1)},
		ke(ipsec.GroupMODP8192), ke(ipsec.GroupMODP1024),
	}}
	ours := ike(t, []ipsec.GroupID{ipsec.GroupMODP1024}, "aes128-sha1") // F14
	wantChoice(t, ours, []ipsec.Proposal{offer}, "aes128/prfsha1/sha1/modp1024 (2)", 0)
}

func TestSelectTellsTheOperatorWhatDiffers(t *testing.T) { // B7
	groups := []ipsec.GroupID{ipsec.GroupMODP2048}
	ours := ike(t, groups, "aes128-sha1")
	wantNone(t, ours, ike(t, groups, "aes256-sha1"), "no common proposal: encryption: peer offered aes256, we accept aes128")
	wantNone(t, ours, ike(t, groups, "aes128-sha256"), "prf: peer offered prfsha256, we accept prfsha1; integrity: peer offered sha256, we accept sha1")
	wantNone(t, ours, ike(t, []ipsec.GroupID{ipsec.GroupMODP1024, ipsec.GroupX25519}, "aes128-sha1"),
		"key exchange: peer offered modp1024 (2), x25519 (31), we accept modp2048 (14)")
	wantNone(t, ours, nil, "the peer offered none")
	wantNone(t, ike(t, groups, "aes128-sha1", "aes256-sha256"), ike(t, groups, "aes256-sha1", "aes128-sha256"), "no combination fits: peer offered aes256")
	wantNone(t, ours, esp(t, nil, "aes128-sha1"), "prf: peer offered nothing, we accept prfsha1")
	wantNone(t, esp(t, nil, "aes128-sha1"), ours, "we accept nothing")

	var many []ipsec.Transform
	for id := range uint16(400) {
		many = append(many, ipsec.Transform{Type: ipsec.TypeEncryption, ID: 1000 + id})
	}
	_, _, err := suite.Select(ours, []ipsec.Proposal{{Transforms: many}})
	if err == nil || len(err.Error()) > 1000 || !strings.Contains(err.Error(), "and 384 more") {
		t.Errorf("An offer of 400 ciphers made the error %v.", err)
	}
}

// "The Key Length attribute MUST NOT be used with transforms that use a
// fixed-length key", and AES has no default length: RFC 7296 section 3.3.5.
func TestSelectWantsTheExactKeyLength(t *testing.T) {
	ours := esp(t, nil, "aes128-sha1", "chacha20poly1305")
	offer := func(e ipsec.EncryptionID, bits uint16, more ...ipsec.Transform) []ipsec.Proposal {
		return []ipsec.Proposal{{Transforms: append([]ipsec.Transform{{Type: ipsec.TypeEncryption, ID: uint16(e), KeyBits: bits}}, more...)}}
	}
	wantNone(t, ours, offer(ipsec.EncrAESCBC, 0, integrity(ipsec.AuthHMACSHA1_96)), "peer offered ENCR_AES_CBC without a key length")
	wantNone(t, ours, offer(ipsec.EncrChaCha20Poly1305, 256), "peer offered ENCR_CHACHA20_POLY1305-256, we accept aes128, chacha20poly1305")
	wantNone(t, ours, offer(ipsec.EncrAESCBC, 128, ipsec.Transform{Type: ipsec.TypeIntegrity, ID: uint16(ipsec.AuthHMACSHA1_96), KeyBits: 160}), "integrity: ")
	wantChoice(t, ours, offer(ipsec.EncrChaCha20Poly1305, 0), "chacha20poly1305", 0)
}

// RFC 5282 section 8 and RFC 7296 section 3.3: combined modes and integrity.
func TestSelectAEAD(t *testing.T) {
	none, sha1 := integrity(ipsec.AuthNone), integrity(ipsec.AuthHMACSHA1_96)
	ours := esp(t, nil, "aes128gcm")
	wantChoice(t, ours, esp(t, nil, "aes128gcm"), "aes128gcm", 0)
	wantChoice(t, ours, esp(t, transforms(none), "aes128gcm"), "aes128gcm/none", 0)
	wantNone(t, ours, esp(t, transforms(sha1), "aes128gcm"), "integrity: peer offered sha1, we accept none")
	wantNone(t, esp(t, nil, "aes128-sha1"), []ipsec.Proposal{{Transforms: transforms(
		ipsec.Transform{Type: ipsec.TypeEncryption, ID: uint16(ipsec.EncrAESCBC), KeyBits: 128})}}, "integrity: peer offered none, we accept sha1")

	mixed := []ipsec.Proposal{{Transforms: transforms(
		ipsec.Transform{Type: ipsec.TypeEncryption, ID: uint16(ipsec.EncrAESGCM16), KeyBits: 128},
		ipsec.Transform{Type: ipsec.TypeEncryption, ID: uint16(ipsec.EncrAESCBC), KeyBits: 128}, sha1, none)}}
	wantChoice(t, mixed, mixed, "aes128gcm/none", 0)
	wantChoice(t, esp(t, nil, "aes128-sha1"), mixed, "aes128/sha1", 0)
	wantNone(t, []ipsec.Proposal{{Transforms: transforms(mixed[0].Transforms[1], none)}},
		[]ipsec.Proposal{{Transforms: transforms(mixed[0].Transforms[1], none)}}, "no combination fits")
}

// RFC 7296 section 3.3.3: NONE and absent are the same.
func TestSelectPFS(t *testing.T) {
	none, g14, g31 := ke(ipsec.GroupNone), ke(ipsec.GroupMODP2048), ke(ipsec.GroupX25519)
	without, with, either := esp(t, nil, "aes128-sha1"), esp(t, transforms(g14), "aes128-sha1"), esp(t, transforms(g31, g14, none), "aes128-sha1")
	wantChoice(t, without, without, "aes128/sha1", 0)
	wantChoice(t, without, either, "aes128/sha1/none (0)", 0)
	wantChoice(t, either, without, "aes128/sha1", 0)
	wantChoice(t, either, with, "aes128/sha1/modp2048 (14)", 0)
	wantNone(t, with, without, "key exchange: peer offered none (0), we accept modp2048 (14)")
	wantNone(t, without, with, "key exchange: peer offered modp2048 (14), we accept none (0)")
	// The first Child SA has no exchange of its own: RFC 7296 section 1.2.
	wantChoice(t, suite.WithoutKE(with), without, "aes128/sha1", 0)
	if len(with[0].OfType(ipsec.TypeKE)) != 1 {
		t.Error("WithoutKE changed its argument.")
	}
}

func TestSelectESN(t *testing.T) {
	no, use, both := transforms(esn(ipsec.NoESN)), transforms(esn(ipsec.UseESN)), transforms(esn(ipsec.UseESN), esn(ipsec.NoESN))
	wantChoice(t, esp(t, both, "aes128-sha1"), esp(t, both, "aes128-sha1"), "aes128/sha1/esn", 0)
	wantChoice(t, esp(t, both, "aes128-sha1"), esp(t, no, "aes128-sha1"), "aes128/sha1/no-esn", 0)
	wantChoice(t, esp(t, both, "aes128-sha1"), esp(t, nil, "aes128-sha1"), "aes128/sha1", 0)
	wantChoice(t, esp(t, nil, "aes128-sha1"), esp(t, both, "aes128-sha1"), "aes128/sha1/no-esn", 0)
	wantNone(t, esp(t, use, "aes128-sha1"), esp(t, nil, "aes128-sha1"), "sequence numbers: peer offered no-esn, we accept esn")
	wantNone(t, ike(t, []ipsec.GroupID{14}, "aes128-sha1"), []ipsec.Proposal{{Transforms: append(slices.Clone(ike(t, []ipsec.GroupID{14}, "aes128-sha1")[0].Transforms), no...)}}, "no combination fits")
}

// A transform type from the future spoils its proposal only.
func TestSelectUnknownType(t *testing.T) { // RFC 7296 section 3.3.6
	strange := esp(t, transforms(ipsec.Transform{Type: 6, ID: 36}), "aes128-sha1")
	wantNone(t, esp(t, nil, "aes128-sha1"), strange, "no combination fits")
	wantChoice(t, esp(t, nil, "aes128-sha1"), append(strange, esp(t, nil, "aes128-sha1")...), "aes128/sha1", 1)
}

func TestVerifyRefusesWhatWasNotOffered(t *testing.T) { // RFC 7296 section 3.3.6
	sent := ike(t, []ipsec.GroupID{ipsec.GroupMODP2048}, "aes128-sha1", "aes256-sha256")
	if err := suite.Verify(sent, 1, sent[1]); err != nil {
		t.Errorf("An answer that repeats our proposal was refused: %v.", err)
	}
	for what, answer := range map[string]ipsec.Proposal{
		"another of our proposals":       sent[0],
		"a cipher that we did not offer": ike(t, []ipsec.GroupID{ipsec.GroupMODP2048}, "3des-sha256")[0],
		"a group that we did not offer":  ike(t, []ipsec.GroupID{ipsec.GroupMODP768}, "aes256-sha256")[0],
		"no group":                       ike(t, nil, "aes256-sha256")[0],
		"two groups":                     ike(t, []ipsec.GroupID{ipsec.GroupMODP2048, ipsec.GroupMODP2048}, "aes256-sha256")[0],
		"nothing":                        {},
	} {
		if err := suite.Verify(sent, 1, answer); err == nil {
			t.Errorf("A responder may answer with %s.", what)
		}
	}
	for _, index := range []int{-1, 2} {
		if err := suite.Verify(sent, index, sent[0]); err == nil {
			t.Errorf("A responder may name proposal %d of 2.", index+1)
		}
	}
}

// Whatever is offered, a choice is in both sides' proposals, has one transform
// per type and passes the initiator's own check.
func TestSelectLaws(t *testing.T) {
	proposal := func(t *rapid.T, label string) ipsec.Proposal {
		id := rapid.SampledFrom([]uint16{0, 1, 2, 3, 12, 13, 14, 19, 20, 28, 31})
		bits := rapid.SampledFrom([]uint16{0, 128, 256})
		one := rapid.Custom(func(t *rapid.T) ipsec.Transform {
			tr := ipsec.Transform{Type: rapid.SampledFrom([]ipsec.TransformType{1, 1, 2, 3, 3, 4, 5, 6}).Draw(t, "type"), ID: id.Draw(t, "id")}
			if tr.Type == ipsec.TypeEncryption {
				tr.KeyBits = bits.Draw(t, "bits")
			}
			return tr
		})
		return ipsec.Proposal{Transforms: rapid.SliceOfN(one, 0, 12).Draw(t, label)}
	}
	rapid.Check(t, func(t *rapid.T) {
		ours, offer := proposal(t, "ours"), proposal(t, "offer")
		if rapid.Bool().Draw(t, "overlap") {
			offer.Transforms = append(offer.Transforms, ours.Transforms...)
		}
		chosen, index, err := suite.Select([]ipsec.Proposal{ours}, []ipsec.Proposal{{}, offer})
		if err != nil {
			return
		}
		if index != 1 {
			t.Fatalf("The empty proposal was chosen.")
		}
		for _, tr := range chosen.Transforms {
			if !slices.Contains(offer.Transforms, tr) {
				t.Fatalf("%v was chosen, but not offered.", tr)
			}
			absent := tr.ID == 0 && tr.Type >= ipsec.TypeIntegrity
			if !slices.Contains(ours.Transforms, tr) && !absent {
				t.Fatalf("%v was chosen, but is not ours.", tr)
			}
			if len(chosen.OfType(tr.Type)) != 1 {
				t.Fatalf("%v has two transforms of a type.", chosen)
			}
		}
		if err := suite.Verify([]ipsec.Proposal{{}, offer}, index, chosen); err != nil {
			t.Fatalf("The initiator refuses %v: %v.", chosen, err)
		}
	})
}
