package config

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/evergate/evergate/core/ipsec"
)

// secretKind is what a secret is for, and how long it is, in octets.
type secretKind struct {
	noun string
	// least and most are the limits. wanted is what makes a good one: what is
	// shorter gets a warning that says why.
	least, wanted, most int
	why                 string
}

// preSharedKey is the kind of psksecret. RFC 7296 section 2.15 asks for "as much
// unpredictability as the strongest key being negotiated"; this much can be
// checked.
func preSharedKey() secretKind {
	return secretKind{
		noun: "the pre-shared key", least: 1, wanted: 12, most: 4096,
		why: "an impostor who answers a client once can search for it at leisure",
	}
}

// secretSource is where a secret comes from, one of them.
type secretSource struct{ file, env, literal *value }

func secretFields() []field[secretSource] {
	return []field[secretSource]{
		{"file", func(s *secretSource, v value) { s.file = &v }},
		{"env", func(s *secretSource, v value) { s.env = &v }},
		{"literal", func(s *secretSource, v value) { s.literal = &v }},
	}
}

// secret sets a secret: {file: path}, {env: NAME}, {literal: text}, or the text by
// itself. No message ever contains it.
func (v value) secret(dst *ipsec.Key, dir string, kind secretKind) {
	if v.node.Kind == yaml.ScalarNode {
		v.literalSecret(dst, kind)
		return
	}
	s, ok := sectionOf(v)
	if !ok {
		return
	}
	before := len(v.report.problems)
	var from secretSource
	decode(s, &from, secretFields())
	switch {
	case len(v.report.problems) > before:
	case len(s.keys) != 1:
		v.problem("want one of file, env, literal, got %d", len(s.keys))
	case from.file != nil:
		from.file.secretFile(dst, dir, kind)
	case from.env != nil:
		from.env.secretEnv(dst, kind)
	default:
		from.literal.literalSecret(dst, kind)
	}
}

func (v value) literalSecret(dst *ipsec.Key, kind secretKind) {
	if s, ok := v.scalar(); ok {
		v.setSecret(dst, []byte(s), kind)
	}
}

func (v value) secretEnv(dst *ipsec.Key, kind secretKind) {
	var name string
	v.text(&name)
	if name == "" {
		return
	}
	s, ok := os.LookupEnv(name)
	if !ok {
		v.problem("the environment has no variable %s", name)
		return
	}
	v.setSecret(dst, []byte(s), kind)
}

// secretFile reads a secret from a file. One line feed at its end, which editors put
// there, is not part of it.
func (v value) secretFile(dst *ipsec.Key, dir string, kind secretKind) {
	var path string
	v.file(&path, dir)
	if path == "" {
		return
	}
	b, err := readSecret(path, kind)
	if err != nil {
		v.problem("%v", err)
		return
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o007 != 0 {
		v.report.warning(v.at, v.path, "%s is open to everybody on this host (mode %v); chmod 600 it", path, info.Mode().Perm())
	}
	b = bytes.TrimSuffix(b, []byte("\n"))
	v.setSecret(dst, bytes.TrimSuffix(b, []byte("\r")), kind)
}

// readSecret reads a small regular file: a wrong path must not hang the gateway or
// fill its memory.
func readSecret(path string, kind secretKind) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no regular file", path)
	case info.Size() > int64(kind.most+len("\r\n")):
		return nil, fmt.Errorf("%s has %d octets; %s has at most %d", path, info.Size(), kind.noun, kind.most)
	default:
		return os.ReadFile(path)
	}
}

func (v value) setSecret(dst *ipsec.Key, b []byte, kind secretKind) {
	switch {
	case len(b) == 0:
		v.problem("%s is empty", kind.noun)
		return
	case strings.HasPrefix(string(b), "ENC "):
		v.problem("this is a key as a FortiGate encrypts it for itself; write the key in the clear, or better {file: ...}")
		return
	case len(b) < kind.least:
		v.problem("%s has %d octets and needs %d at least; openssl rand -base64 32 makes a good one", kind.noun, len(b), kind.least)
		return
	case len(b) > kind.most:
		v.problem("%s has %d octets; it has at most %d", kind.noun, len(b), kind.most)
		return
	case len(b) < kind.wanted:
		v.report.warning(v.at, v.path, "%s has only %d octets; %s", kind.noun, len(b), kind.why)
	}
	*dst = ipsec.NewKey(b)
}
