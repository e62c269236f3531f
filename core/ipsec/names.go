package ipsec

import (
	"fmt"
	"slices"
	"strings"
)

// Names are FortiOS's, because operators transcribe its configurations:
// aes128-sha1, aes256gcm-prfsha384, chacha20poly1305.

type encryptionName struct {
	name string
	id   EncryptionID
	bits uint16
}

var encryptionNames = [...]encryptionName{
	{"aes128", EncrAESCBC, 128},
	{"aes192", EncrAESCBC, 192},
	{"aes256", EncrAESCBC, 256},
	{"aes128ctr", EncrAESCTR, 128},
	{"aes192ctr", EncrAESCTR, 192},
	{"aes256ctr", EncrAESCTR, 256},
	{"aes128gcm", EncrAESGCM16, 128},
	{"aes192gcm", EncrAESGCM16, 192},
	{"aes256gcm", EncrAESGCM16, 256},
	{"aes128gcm12", EncrAESGCM12, 128},
	{"aes192gcm12", EncrAESGCM12, 192},
	{"aes256gcm12", EncrAESGCM12, 256},
	{"aes128gcm8", EncrAESGCM8, 128},
	{"aes192gcm8", EncrAESGCM8, 192},
	{"aes256gcm8", EncrAESGCM8, 256},
	{"chacha20poly1305", EncrChaCha20Poly1305, 0},
	{"3des", Encr3DES, 0},
	{"null", EncrNull, 0},
}

type hashName struct {
	name  string
	integ IntegrityID
	prf   PRFID
}

var hashNames = [...]hashName{
	{"sha1", AuthHMACSHA1_96, PRFHMACSHA1},
	{"sha256", AuthHMACSHA2_256_128, PRFHMACSHA2_256},
	{"sha384", AuthHMACSHA2_384_192, PRFHMACSHA2_384},
	{"sha512", AuthHMACSHA2_512_256, PRFHMACSHA2_512},
}

var groups = [...]GroupID{
	GroupMODP768, GroupMODP1024, GroupMODP1536, GroupMODP2048, GroupMODP3072, GroupMODP4096,
	GroupMODP6144, GroupMODP8192, GroupECP256, GroupECP384, GroupECP521, GroupX25519,
}

// ParseIKEProposal reads a phase 1 proposal in FortiOS's words, such as
// "aes128-sha1" or "aes128gcm-prfsha256". The key exchange methods are a setting
// of their own and are added by WithGroups.
func ParseIKEProposal(s string) (Proposal, error) {
	e, rest, err := parseEncryption(s)
	if err != nil {
		return Proposal{}, err
	}
	if e.id == EncrNull {
		return Proposal{}, fmt.Errorf("ipsec: proposal %q: null encryption is not for IKE", s)
	}
	p := Proposal{Transforms: []Transform{{Type: TypeEncryption, ID: uint16(e.id), KeyBits: e.bits}}}
	if e.id.AEAD() {
		h, ok := lookupHash(strings.TrimPrefix(rest, "prf"))
		if !ok || !strings.HasPrefix(rest, "prf") {
			return Proposal{}, fmt.Errorf("ipsec: proposal %q: want a PRF after %s-, one of prf%s", s, e.name, joinHashes(", prf"))
		}
		p.Transforms = append(p.Transforms, Transform{Type: TypePRF, ID: uint16(h.prf)})
		return p, nil
	}
	auth, prf, separate := strings.Cut(rest, "-")
	h, ok := lookupHash(auth)
	if !ok {
		return Proposal{}, fmt.Errorf("ipsec: proposal %q: want a hash after %s-, one of %s", s, e.name, joinHashes(", "))
	}
	f := h
	if separate {
		if f, ok = lookupHash(strings.TrimPrefix(prf, "prf")); !ok || !strings.HasPrefix(prf, "prf") {
			return Proposal{}, fmt.Errorf("ipsec: proposal %q: want a PRF after %s-, one of prf%s", s, auth, joinHashes(", prf"))
		}
	}
	p.Transforms = append(p.Transforms,
		Transform{Type: TypePRF, ID: uint16(f.prf)},
		Transform{Type: TypeIntegrity, ID: uint16(h.integ)})
	return p, nil
}

// ParseESPProposal reads a phase 2 proposal in FortiOS's words, such as
// "aes128-sha1" or "aes128gcm". It has no ESN and no key exchange transform:
// those are settings of their own.
func ParseESPProposal(s string) (Proposal, error) {
	e, rest, err := parseEncryption(s)
	if err != nil {
		return Proposal{}, err
	}
	p := Proposal{Transforms: []Transform{{Type: TypeEncryption, ID: uint16(e.id), KeyBits: e.bits}}}
	if e.id.AEAD() {
		if rest != "" {
			return Proposal{}, fmt.Errorf("ipsec: proposal %q: %s authenticates by itself, nothing goes behind it", s, e.name)
		}
		return p, nil
	}
	h, ok := lookupHash(rest)
	if !ok {
		return Proposal{}, fmt.Errorf("ipsec: proposal %q: want a hash after %s-, one of %s", s, e.name, joinHashes(", "))
	}
	p.Transforms = append(p.Transforms, Transform{Type: TypeIntegrity, ID: uint16(h.integ)})
	return p, nil
}

// WithGroups returns p with key exchange methods behind its other transforms.
func (p Proposal) WithGroups(gs ...GroupID) Proposal {
	out := Proposal{Transforms: slices.Clone(p.Transforms)}
	for _, g := range gs {
		out.Transforms = append(out.Transforms, Transform{Type: TypeKE, ID: uint16(g)})
	}
	return out
}

// ParseGroup reads a dhgrp number; an error lists those that exist.
func ParseGroup(n int) (GroupID, error) {
	for _, g := range groups {
		if int(g) == n {
			return g, nil
		}
	}
	return 0, fmt.Errorf("ipsec: no key exchange method %d, want one of %v", n, groups)
}

// Weak tells whether g is below what RFC 8247 section 2.4 lets one use without
// being told to: 1, 2 and 5.
func (g GroupID) Weak() bool {
	return g == GroupMODP768 || g == GroupMODP1024 || g == GroupMODP1536
}

func parseEncryption(s string) (encryptionName, string, error) {
	name, rest, _ := strings.Cut(strings.ToLower(strings.TrimSpace(s)), "-")
	for _, e := range encryptionNames {
		if e.name == name {
			return e, rest, nil
		}
	}
	known := make([]string, len(encryptionNames))
	for i, e := range encryptionNames {
		known[i] = e.name
	}
	return encryptionName{}, "", fmt.Errorf("ipsec: proposal %q: unknown encryption %q, want one of %s", s, name, strings.Join(known, ", "))
}

func lookupHash(name string) (hashName, bool) {
	for _, h := range hashNames {
		if h.name == name {
			return h, true
		}
	}
	return hashName{}, false
}

func joinHashes(sep string) string {
	names := make([]string, len(hashNames))
	for i, h := range hashNames {
		names[i] = h.name
	}
	return strings.Join(names, sep)
}

// EncryptionName is the configuration's word for an algorithm and key length,
// such as "aes128gcm"; the IANA name where the configuration has no word for
// the two, as for AES without a key length.
func EncryptionName(e EncryptionID, keyBits uint16) string {
	for _, n := range encryptionNames {
		if n.id == e && n.bits == keyBits {
			return n.name
		}
	}
	if keyBits == 0 {
		return e.String()
	}
	return fmt.Sprintf("%v-%d", e, keyBits)
}

// String is the IANA name.
func (e EncryptionID) String() string {
	switch e {
	case Encr3DES:
		return "ENCR_3DES"
	case EncrNull:
		return "ENCR_NULL"
	case EncrAESCBC:
		return "ENCR_AES_CBC"
	case EncrAESCTR:
		return "ENCR_AES_CTR"
	case EncrAESGCM8:
		return "ENCR_AES_GCM_8"
	case EncrAESGCM12:
		return "ENCR_AES_GCM_12"
	case EncrAESGCM16:
		return "ENCR_AES_GCM_16"
	case EncrChaCha20Poly1305:
		return "ENCR_CHACHA20_POLY1305"
	default:
		return fmt.Sprintf("ENCR(%d)", uint16(e))
	}
}

// String is the configuration's word, such as "sha256".
func (i IntegrityID) String() string {
	for _, h := range hashNames {
		if h.integ == i {
			return h.name
		}
	}
	if i == AuthNone {
		return "none"
	}
	return fmt.Sprintf("AUTH(%d)", uint16(i))
}

// String is the configuration's word, such as "prfsha256".
func (p PRFID) String() string {
	for _, h := range hashNames {
		if h.prf == p {
			return "prf" + h.name
		}
	}
	return fmt.Sprintf("PRF(%d)", uint16(p))
}

// String is the usual name with the number, such as "modp2048 (14)".
func (g GroupID) String() string {
	names := map[GroupID]string{
		GroupNone: "none", GroupMODP768: "modp768", GroupMODP1024: "modp1024", GroupMODP1536: "modp1536",
		GroupMODP2048: "modp2048", GroupMODP3072: "modp3072", GroupMODP4096: "modp4096",
		GroupMODP6144: "modp6144", GroupMODP8192: "modp8192", GroupECP256: "ecp256",
		GroupECP384: "ecp384", GroupECP521: "ecp521", GroupX25519: "x25519",
	}
	n, ok := names[g]
	if !ok {
		n = "KE"
	}
	return fmt.Sprintf("%s (%d)", n, uint16(g))
}

// String formats a transform for people: "aes128", "sha1", "modp1024 (2)".
func (t Transform) String() string {
	switch t.Type {
	case TypeEncryption:
		return EncryptionName(EncryptionID(t.ID), t.KeyBits)
	case TypePRF:
		return PRFID(t.ID).String()
	case TypeIntegrity:
		return IntegrityID(t.ID).String()
	case TypeKE:
		return GroupID(t.ID).String()
	case TypeESN:
		switch t.ID {
		case NoESN:
			return "no-esn"
		case UseESN:
			return "esn"
		default:
			return fmt.Sprintf("esn(%d)", t.ID)
		}
	default:
		return fmt.Sprintf("transform(type %d, id %d)", uint8(t.Type), t.ID)
	}
}

// String joins the transforms with slashes.
func (p Proposal) String() string {
	words := make([]string, len(p.Transforms))
	for i, t := range p.Transforms {
		words[i] = t.String()
	}
	return strings.Join(words, "/")
}

// String formats the algorithms as the configuration writes them, such as
// "aes128-sha1" or "aes256gcm/esn".
func (a Algorithms) String() string {
	s := EncryptionName(a.Encryption, a.KeyBits)
	if a.Integrity != AuthNone {
		s += "-" + a.Integrity.String()
	}
	if a.ESN {
		s += "/esn"
	}
	return s
}
