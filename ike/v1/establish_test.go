package v1_test

import (
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/iketest/v1test"
	"github.com/evergate/evergate/ike/v1"
)

func TestEstablish(t *testing.T) {
	for _, tt := range []struct {
		name    string
		options []v1test.Option
	}{
		{"main mode", nil},
		{"aggressive mode", []v1test.Option{v1test.Aggressive()}},
		{"with PFS", []v1test.Option{v1test.PFS(ipsec.GroupMODP2048)}},
		{"behind a NAT", []v1test.Option{v1test.BehindNAT()}},
		{"aggressive behind a NAT", []v1test.Option{v1test.Aggressive(), v1test.BehindNAT()}},
		{"3DES and SHA-1", []v1test.Option{v1test.Suite("3des-sha1", "3des-sha1", ipsec.GroupMODP1024)}},
		{"AES-256 and SHA-512", []v1test.Option{v1test.Suite("aes256-sha512", "aes256gcm", ipsec.GroupMODP2048)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := v1test.Establish(t, append(tt.options, v1test.Twins(v1.Resume))...)
			p.WantPairs(1)
			p.WantSameIKE()
			if n := len(p.B.Established); n != 1 {
				t.Errorf("B announced %d peers, want 1", n)
			}
			if got := p.B.Established[0].Remote; got != (ike.Identity{Type: ike.IDFQDN, Data: "a.example"}) {
				t.Errorf("B's peer is %v, want a.example", got)
			}
		})
	}
}
