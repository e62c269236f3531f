package ipsec

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
)

// Key is secret key material. It cannot be printed, logged or marshalled by
// accident: the bytes sit behind a func, because fmt ignores the methods of
// unexported fields and prints what it finds, and a func prints as an address,
// whatever the verb. A func also makes == a compile error.
//
// The zero Key is empty.
type Key struct{ bytes func() []byte }

// NewKey wraps b and owns it from then on: the caller must not touch b again.
func NewKey(b []byte) Key {
	// There are a dozen keys in a tunnel. Where the length is a usual one the func need
	// not hold it: it takes half of the memory of one that holds a slice.
	switch len(b) {
	case 0:
		return Key{}
	case 16: // AES-128
		p := (*[16]byte)(b)
		return Key{func() []byte { return p[:] }}
	case 20: // AES-128 in GCM, HMAC-SHA1
		p := (*[20]byte)(b)
		return Key{func() []byte { return p[:] }}
	case 32: // AES-256, HMAC-SHA2-256
		p := (*[32]byte)(b)
		return Key{func() []byte { return p[:] }}
	case 36: // AES-256 in GCM
		p := (*[36]byte)(b)
		return Key{func() []byte { return p[:] }}
	}
	return Key{func() []byte { return b }}
}

// CopyKey wraps a copy of b.
func CopyKey(b []byte) Key { return NewKey(append([]byte(nil), b...)) }

// Reveal returns the bytes, nil for an empty key. They belong to k: the caller
// must not change or keep them.
func (k Key) Reveal() []byte {
	if k.bytes == nil {
		return nil
	}
	return k.bytes()
}

// Len is the length in octets.
func (k Key) Len() int { return len(k.Reveal()) }

// Equal compares in constant time.
func (k Key) Equal(o Key) bool {
	return subtle.ConstantTimeCompare(k.Reveal(), o.Reveal()) == 1
}

// Wipe overwrites the bytes with zeros, for every copy of k.
func (k Key) Wipe() { clear(k.Reveal()) }

// LogValue hides the key from slog.
func (k Key) LogValue() slog.Value { return slog.StringValue(redacted) }

// Format hides the key from fmt, whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalText refuses, so that no encoder writes a key by accident.
func (k Key) MarshalText() ([]byte, error) { return nil, errKeyMarshal }

// MarshalBinary refuses, as MarshalText does (encoding/gob would use it).
func (k Key) MarshalBinary() ([]byte, error) { return nil, errKeyMarshal }

const redacted = "[redacted]"

var errKeyMarshal = errors.New("ipsec: a key is not marshalled")
