package ipsec_test

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/evergate/evergate/core/ipsec"
)

const secret = "SECRET-0123456789"

// forms are the ways in which the secret could show.
func forms() []string {
	decimal := strings.Trim(fmt.Sprint([]byte(secret)), "[]")
	return []string{
		"SECRET", hex.EncodeToString([]byte(secret[:6])), strings.ToUpper(hex.EncodeToString([]byte(secret[:6]))),
		base64.StdEncoding.EncodeToString([]byte(secret))[:12], decimal[:12], strings.ReplaceAll(decimal, " ", ",")[:12],
		fmt.Sprintf("%#v", []byte(secret))[8:24], fmt.Sprintf("% x", secret[:6]), fmt.Sprintf("%o", []byte(secret[:4]))[1:12],
	}
}

// hiding checks output for every form.
type hiding struct {
	*testing.T
	forms []string
}

func (t hiding) want(how, out string) {
	t.Helper()
	for _, f := range t.forms {
		if strings.Contains(out, f) {
			t.Errorf("%s shows the key as %q in %q.", how, f, out)
		}
	}
}

// A search that finds nothing in a bare secret would prove nothing.
func TestBareSecretIsFound(t *testing.T) {
	for _, verb := range []string{"%v", "%d", "%s", "%q", "%x", "%X", "% x", "%#v", "%o"} {
		out := fmt.Sprintf(verb, []byte(secret))
		if !slices.ContainsFunc(forms(), func(f string) bool { return strings.Contains(out, f) }) {
			t.Errorf("%s of bare bytes, %s, was not found.", verb, out)
		}
	}
}

// The places where a key may stand. fmt does not call the methods of unexported
// fields.
type (
	shown  struct{ Key ipsec.Key }
	hidden struct{ key ipsec.Key }
	deep   struct {
		inner hidden
		ptr   *hidden
		many  []ipsec.Key
		named map[string]ipsec.Key
		any   any
	}
)

func places() map[string]any {
	k := ipsec.CopyKey([]byte(secret))
	return map[string]any{
		"a key": k, "a pointer to a key": &k, "an exported field": shown{k}, "an unexported field": hidden{k},
		"a pointer to a struct": &hidden{k}, "a slice": []ipsec.Key{k}, "a map": map[string]ipsec.Key{"psk": k},
		"a struct of structs": deep{hidden{k}, &hidden{k}, []ipsec.Key{k}, map[string]ipsec.Key{"psk": k}, hidden{k}},
		"an SA":               ipsec.SA{Encryption: k, Integrity: k},
		"an error":            fmt.Errorf("install %v: %w", hidden{k}, fmt.Errorf("key %v", k)),
	}
}

func TestKeyIsNotPrinted(t *testing.T) {
	check := hiding{t, forms()}
	for where, v := range places() {
		for verb := rune(' '); verb <= '~'; verb++ {
			for _, flags := range []string{"", "+", "#", " ", "-40", "0", ".3", "+#"} {
				format := "%" + flags + string(verb)
				check.want(format+" of "+where, fmt.Sprintf(format, v))
			}
		}
		check.want("Sprint of "+where, fmt.Sprint(v))
		check.want("Sprintln of "+where, fmt.Sprintln(v))
	}
	if got := fmt.Sprintf("%v %s %x %#v", ipsec.NewKey([]byte(secret)), ipsec.Key{}, ipsec.NewKey([]byte(secret)), ipsec.Key{}); strings.Count(got, "[redacted]") != 4 {
		t.Errorf("A key prints as %q, want [redacted], empty or not.", got)
	}
}

func TestKeyIsNotLogged(t *testing.T) {
	check := hiding{t, forms()}
	for where, v := range places() {
		var out bytes.Buffer
		for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			log := slog.New(h)
			log.Info("installed", "value", v, slog.Group("group", "value", v))
			log.With("value", v).Info("installed")
		}
		check.want("slog of "+where, out.String())
	}
}

func TestKeyIsNotMarshalled(t *testing.T) {
	check := hiding{t, forms()}
	for where, v := range places() {
		if b, err := json.Marshal(v); err == nil {
			check.want("json of "+where, string(b))
		}
		if b, err := xml.Marshal(v); err == nil {
			check.want("xml of "+where, string(b))
		}
		if b, err := yaml.Marshal(v); err == nil {
			check.want("yaml of "+where, string(b))
		}
		var out bytes.Buffer
		if err := gob.NewEncoder(&out).Encode(v); err == nil {
			check.want("gob of "+where, out.String())
		}
	}
	for how, encode := range map[string]func(any) error{
		"json": func(v any) error { _, err := json.Marshal(v); return err },
		"xml":  func(v any) error { _, err := xml.Marshal(v); return err },
		"gob":  func(v any) error { return gob.NewEncoder(new(bytes.Buffer)).Encode(v) },
	} {
		if encode(shown{ipsec.NewKey([]byte(secret))}) == nil {
			t.Errorf("%s wrote a struct with a key and said nothing.", how)
		}
	}
}

func TestKeyBytes(t *testing.T) {
	raw := []byte(secret)
	k, c := ipsec.NewKey(raw), ipsec.CopyKey(raw)
	if string(k.Reveal()) != secret || k.Len() != len(secret) || !k.Equal(c) {
		t.Error("A key does not hold what it was made of.")
	}
	same := k
	k.Wipe()
	if same.Equal(c) || !bytes.Equal(raw, make([]byte, len(raw))) {
		t.Error("Wipe left a copy of the key.")
	}
	if string(c.Reveal()) != secret {
		t.Error("Wipe reached into a key that was made by CopyKey.")
	}
	if c.Equal(ipsec.NewKey([]byte(secret[1:]))) || c.Equal(ipsec.Key{}) {
		t.Error("Different keys are equal.")
	}
}

// TestKeysOfAllLengths: usual lengths are held in another way, which does not show.
func TestKeysOfAllLengths(t *testing.T) {
	for length := range 70 {
		raw := bytes.Repeat([]byte{7}, length)
		k := ipsec.NewKey(raw[:length:length])
		if !bytes.Equal(k.Reveal(), raw) || k.Len() != length {
			t.Errorf("A key of %d octets has %d: %x.", length, k.Len(), k.Reveal())
		}
		if k.Wipe(); !bytes.Equal(raw, make([]byte, length)) {
			t.Errorf("Wiped, %d octets are %x still.", length, raw)
		}
	}
}

func TestZeroKeyIsEmpty(t *testing.T) {
	for _, k := range []ipsec.Key{{}, ipsec.NewKey(nil), ipsec.CopyKey([]byte{})} {
		k.Wipe()
		if k.Len() != 0 || k.Reveal() != nil || !k.Equal(ipsec.Key{}) {
			t.Error("An empty key is not the zero key.")
		}
	}
}
