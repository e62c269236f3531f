package ipsec_test

import (
	"strings"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
)

// ciphers are the configuration's words, and the octets of KEYMAT that each
// takes, salts included: RFC 3602, 3686, 4106, 7634, 2451.
func ciphers() map[string]int {
	return map[string]int{
		"aes128": 16, "aes192": 24, "aes256": 32, "aes128ctr": 20, "aes192ctr": 28, "aes256ctr": 36,
		"aes128gcm": 20, "aes192gcm": 28, "aes256gcm": 36, "aes128gcm12": 20, "aes192gcm12": 28, "aes256gcm12": 36,
		"aes128gcm8": 20, "aes192gcm8": 28, "aes256gcm8": 36, "chacha20poly1305": 36, "3des": 24, "null": 0,
	}
}

func hashes() []string { return []string{"sha1", "sha256", "sha384", "sha512"} }

// algorithms reads a chosen ESP proposal, one transform per type.
func algorithms(p ipsec.Proposal) ipsec.Algorithms {
	var a ipsec.Algorithms
	for _, t := range p.Transforms {
		if t.Type == ipsec.TypeEncryption {
			a.Encryption, a.KeyBits = ipsec.EncryptionID(t.ID), t.KeyBits
		}
		if t.Type == ipsec.TypeIntegrity {
			a.Integrity = ipsec.IntegrityID(t.ID)
		}
	}
	return a
}

func TestESPProposalNamesComeBack(t *testing.T) { // F15
	for cipher, keyLen := range ciphers() {
		names := []string{cipher}
		if p, err := ipsec.ParseESPProposal(cipher); err != nil || !algorithms(p).Encryption.AEAD() {
			names = nil
			for _, h := range hashes() {
				names = append(names, cipher+"-"+h)
			}
		}
		for _, name := range names {
			p, err := ipsec.ParseESPProposal(strings.ToUpper(" " + name))
			if err != nil {
				t.Errorf("%s is not understood: %v.", name, err)
				continue
			}
			a := algorithms(p)
			if a.String() != name || p.String() != strings.ReplaceAll(name, "-", "/") {
				t.Errorf("%s came back as %v and %v.", name, a, p)
			}
			if n, err := a.EncryptionKeyLen(); err != nil || n != keyLen {
				t.Errorf("%s takes %d octets of key (%v), want %d.", name, n, err, keyLen)
			}
		}
	}
}

func TestIKEProposalNames(t *testing.T) { // F14
	for name, want := range map[string]string{
		"aes128-sha1":                "aes128/prfsha1/sha1",
		"aes256-sha512":              "aes256/prfsha512/sha512",
		"aes128-sha1-prfsha384":      "aes128/prfsha384/sha1",
		"aes128gcm-prfsha256":        "aes128gcm/prfsha256",
		"chacha20poly1305-prfsha256": "chacha20poly1305/prfsha256",
		"3des-sha1":                  "3des/prfsha1/sha1",
	} {
		p, err := ipsec.ParseIKEProposal(name)
		if err != nil || p.String() != want {
			t.Errorf("%s was read as %v (%v), want %s.", name, p, err, want)
		}
		if p = p.WithGroups(ipsec.GroupMODP1024, ipsec.GroupX25519); p.String() != want+"/modp1024 (2)/x25519 (31)" {
			t.Errorf("With its groups %s is %v.", name, p)
		}
	}
}

func TestProposalErrorsNameWhatIsAllowed(t *testing.T) {
	for name, want := range map[string]string{
		"":                        "unknown encryption \"\", want one of aes128, ",
		"des-md5":                 "unknown encryption \"des\", want one of aes128, ",
		"aes128":                  "want a hash after aes128-, one of sha1, sha256, sha384, sha512",
		"aes128-md5":              "want a hash after aes128-, one of sha1",
		"aes128-sha1-sha256":      "want a PRF after sha1-, one of prfsha1, prfsha256",
		"aes128-sha1-prfsha256-x": "want a PRF after sha1-",
		"aes128gcm":               "want a PRF after aes128gcm-, one of prfsha1",
		"aes128gcm-sha256":        "want a PRF after aes128gcm-",
		"null-sha1":               "null encryption is not for IKE",
	} {
		if p, err := ipsec.ParseIKEProposal(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Phase 1 proposal %q became %v with the error %v, want %q in it.", name, p, err, want)
		}
	}
	for name, want := range map[string]string{
		"aes128":              "want a hash after aes128-",
		"aes128gcm-sha1":      "aes128gcm authenticates by itself, nothing goes behind it",
		"aes128-sha1-prfsha1": "want a hash after aes128-",
		"blowfish-sha1":       "unknown encryption \"blowfish\"",
	} {
		if p, err := ipsec.ParseESPProposal(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Phase 2 proposal %q became %v with the error %v, want %q in it.", name, p, err, want)
		}
	}
}

func TestGroups(t *testing.T) {
	known := map[int]bool{1: true, 2: true, 5: true, 14: true, 15: true, 16: true, 17: true, 18: true, 19: true, 20: true, 21: true, 31: true}
	for n := -1; n < 70000; n++ {
		g, err := ipsec.ParseGroup(n)
		if known[n] != (err == nil) || err == nil && int(g) != n {
			t.Fatalf("dhgrp %d became %v (%v).", n, g, err)
		}
		if err == nil && g.Weak() != (n < 14) {
			t.Errorf("dhgrp %d: weak is %v (RFC 8247 section 2.4).", n, g.Weak())
		}
	}
	if _, err := ipsec.ParseGroup(3); err == nil || !strings.Contains(err.Error(), "modp1024 (2)") {
		t.Errorf("The error %v does not list the groups that exist.", err)
	}
}

// What a peer offers is printed even where we do not know it.
func TestUnknownTransformsPrint(t *testing.T) {
	for want, tr := range map[string]ipsec.Transform{
		"ENCR(9999)":                 {Type: ipsec.TypeEncryption, ID: 9999},
		"ENCR(9999)-128":             {Type: ipsec.TypeEncryption, ID: 9999, KeyBits: 128},
		"ENCR_AES_CBC":               {Type: ipsec.TypeEncryption, ID: 12},
		"ENCR_AES_GCM_16-64":         {Type: ipsec.TypeEncryption, ID: 20, KeyBits: 64},
		"ENCR_CHACHA20_POLY1305-256": {Type: ipsec.TypeEncryption, ID: 28, KeyBits: 256},
		"PRF(4)":                     {Type: ipsec.TypePRF, ID: 4},
		"AUTH(5)":                    {Type: ipsec.TypeIntegrity, ID: 5},
		"none":                       {Type: ipsec.TypeIntegrity},
		"KE (22)":                    {Type: ipsec.TypeKE, ID: 22},
		"none (0)":                   {Type: ipsec.TypeKE},
		"esn":                        {Type: ipsec.TypeESN, ID: 1},
		"no-esn":                     {Type: ipsec.TypeESN},
		"esn(7)":                     {Type: ipsec.TypeESN, ID: 7},
		"transform(type 6, id 36)":   {Type: 6, ID: 36},
	} {
		if tr.String() != want {
			t.Errorf("%+v prints as %q, want %q.", struct{ T, ID, Bits uint16 }{uint16(tr.Type), tr.ID, tr.KeyBits}, tr, want)
		}
	}
}
