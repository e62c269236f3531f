package config

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/evergate/evergate/core/ipsec"
)

// shortSecret is the length in octets below which a secret gets a warning. RFC
// 7296 section 2.15 asks for "as much unpredictability as the strongest key being
// negotiated"; this much can be checked.
const shortSecret = 12

// maxSecret is the longest pre-shared key in octets.
const maxSecret = 4096

// secretSource is where a pre-shared key comes from, one of them.
type secretSource struct{ file, env, literal *value }

func secretFields() []field[secretSource] {
	return []field[secretSource]{
		{"file", func(s *secretSource, v value) { s.file = &v }},
		{"env", func(s *secretSource, v value) { s.env = &v }},
		{"literal", func(s *secretSource, v value) { s.literal = &v }},
	}
}

// secret sets a pre-shared key: {file: path}, {env: NAME}, {literal: text}, or the
// text by itself. No message ever contains it.
func (v value) secret(dst *ipsec.Key, dir string) {
	if v.node.Kind == yaml.ScalarNode {
		v.literalSecret(dst)
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
		from.file.secretFile(dst, dir)
	case from.env != nil:
		from.env.secretEnv(dst)
	default:
		from.literal.literalSecret(dst)
	}
}

func (v value) literalSecret(dst *ipsec.Key) {
	if s, ok := v.scalar(); ok {
		v.setSecret(dst, []byte(s))
	}
}

func (v value) secretEnv(dst *ipsec.Key) {
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
	v.setSecret(dst, []byte(s))
}

// secretFile reads a key from a file. One line feed at its end, which editors put
// there, is not part of the key.
func (v value) secretFile(dst *ipsec.Key, dir string) {
	var path string
	v.file(&path, dir)
	if path == "" {
		return
	}
	b, err := readSecret(path)
	if err != nil {
		v.problem("%v", err)
		return
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o007 != 0 {
		v.report.warning(v.at, v.path, "%s is open to everybody on this host (mode %v); chmod 600 it", path, info.Mode().Perm())
	}
	b = bytes.TrimSuffix(b, []byte("\n"))
	v.setSecret(dst, bytes.TrimSuffix(b, []byte("\r")))
}

// readSecret reads a small regular file: a wrong path must not hang the gateway or
// fill its memory.
func readSecret(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no regular file", path)
	case info.Size() > maxSecret:
		return nil, fmt.Errorf("%s has %d octets; a pre-shared key has at most %d", path, info.Size(), maxSecret)
	default:
		return os.ReadFile(path)
	}
}

func (v value) setSecret(dst *ipsec.Key, b []byte) {
	switch {
	case len(b) == 0:
		v.problem("the pre-shared key is empty")
		return
	case strings.HasPrefix(string(b), "ENC "):
		v.problem("this is a key as a FortiGate encrypts it for itself; write the key in the clear, or better {file: ...}")
		return
	case len(b) < shortSecret:
		v.report.warning(v.at, v.path, "the pre-shared key has only %d octets; an impostor who answers a client once can search for it at leisure", len(b))
	}
	*dst = ipsec.NewKey(b)
}
