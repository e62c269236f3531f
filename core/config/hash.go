package config

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// digest identifies a phase 1 with its phase 2 entries. The users whom it lets in
// are not part of it: they change while others' tunnels stay.
func digest(p *Phase1, children []*Phase2) string {
	h := hmac.New(sha256.New, p.PSK.Reveal())
	e := json.NewEncoder(h)
	// Encoding cannot fail: the types hold nothing that JSON has no form for,
	// which a test sees to, and a hash takes everything.
	_ = e.Encode(p)
	_ = e.Encode(children)
	_, _ = h.Write(p.Password.Reveal())
	return hex.EncodeToString(h.Sum(nil))
}

// shared is p without what each member has for itself.
func (p *Phase1) shared() *Phase1 {
	s := *p
	s.Interface, s.Priority = "", 0
	return &s
}
