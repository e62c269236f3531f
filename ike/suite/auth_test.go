package suite_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
)

func mac(key []byte, data ...[]byte) []byte {
	h := hmac.New(sha256.New, key)
	for _, d := range data {
		h.Write(d)
	}
	return h.Sum(nil)
}

// AUTH = prf( prf(Shared Secret, "Key Pad for IKEv2"), <SignedOctets>), and
// SignedOctets = RealMessage | NonceData | prf(SK_p, RestOfIDPayload): RFC 7296
// section 2.15.
func TestSharedKeyAuth(t *testing.T) {
	p := prf(t, ipsec.PRFHMACSHA2_256)
	psk, skp := []byte("secret of both"), random(1, 32)
	message, nonce, id := []byte("IKE_SA_INIT"), random(2, 32), []byte("\x02\x00\x00\x00client.example")

	signed := p.SignedOctets(ipsec.CopyKey(skp), message, nonce, id)
	want := append(append([]byte("IKE_SA_INIT"), nonce...), mac(skp, id)...)
	if !bytes.Equal(signed, want) {
		t.Errorf("The signed octets are %x, want %x.", signed, want)
	}
	auth := p.SharedKeyAuth(ipsec.CopyKey(psk), signed)
	if want := mac(mac(psk, []byte("Key Pad for IKEv2")), signed); !bytes.Equal(auth, want) {
		t.Errorf("AUTH is %x, want %x.", auth, want)
	}
	if !p.CheckSharedKeyAuth(ipsec.CopyKey(psk), signed, auth) {
		t.Error("A peer with our key was refused.")
	}
	if p.CheckSharedKeyAuth(ipsec.NewKey([]byte("another secret")), signed, auth) {
		t.Error("A peer with another key was accepted.")
	}
	if p.CheckSharedKeyAuth(ipsec.CopyKey(psk), signed, auth[:31]) || p.CheckSharedKeyAuth(ipsec.CopyKey(psk), signed, nil) {
		t.Error("A part of an AUTH was accepted.")
	}
	if p.CheckSharedKeyAuth(ipsec.Key{}, signed, p.SharedKeyAuth(ipsec.Key{}, signed)) {
		t.Error("A connection without a secret let somebody in.")
	}
	signed[0] ^= 1
	if p.CheckSharedKeyAuth(ipsec.CopyKey(psk), signed, auth) {
		t.Error("An AUTH over another IKE_SA_INIT was accepted.")
	}
}
