package ikev1_test

import (
	"testing"

	"github.com/evergate/evergate/core/ipsec"
)

// suiteOf replaces the proposals of both ends.
func suiteOf(ours1, theirs1 string, g ipsec.GroupID, ours2, theirs2 string) func(*set) {
	return func(s *set) {
		s.ours.Proposals = []ipsec.Proposal{must(ipsec.ParseIKEProposal(ours1)).WithGroups(g)}
		s.ours.Children[0].Proposals = []ipsec.Proposal{must(ipsec.ParseESPProposal(ours2))}
		s.theirs.Proposals = []string{theirs1}
		s.theirs.Children[0].Proposals = []string{theirs2}
	}
}

func aggressive(s *set) {
	s.ours.V1.Aggressive = true
	s.theirs.Aggressive = true
	s.settings.More = map[string]string{"i_dont_care_about_security_and_use_aggressive_mode_psk": "yes"}
}

func pfs(s *set) {
	s.ours.Children[0].Proposals = []ipsec.Proposal{must(ipsec.ParseESPProposal("aes128-sha256")).WithGroups(ipsec.GroupMODP2048)}
	s.theirs.Children[0].Proposals = []string{"aes128-sha256-modp2048"}
}

func TestClientDialsIn(t *testing.T) {
	for name, change := range map[string]func(*set){
		"main mode":        func(*set) {},
		"aggressive mode":  aggressive,
		"with PFS":         pfs,
		"FortiOS's oldest": suiteOf("aes128-sha1", "aes128-sha1-modp1024", ipsec.GroupMODP1024, "aes128-sha1", "aes128-sha1"),
		"long keys":        suiteOf("aes256-sha512", "aes256-sha512-modp4096", ipsec.GroupMODP4096, "aes256-sha512", "aes256-sha512"),
		"3DES":             suiteOf("3des-sha1", "3des-sha1-modp2048", ipsec.GroupMODP2048, "aes128-sha1", "aes128-sha1"),
	} {
		t.Run(name, func(t *testing.T) {
			connect(t, change).initiate()
		})
	}
}

// TestClientBehindNAT: a client that says it is behind a NAT moves to port 4500, and ESP
// travels inside of UDP (RFC 3947).
func TestClientBehindNAT(t *testing.T) {
	for name, change := range map[string]func(*set){
		"main mode":       func(*set) {},
		"aggressive mode": aggressive,
	} {
		t.Run(name, func(t *testing.T) {
			e := connect(t, change, func(s *set) { s.theirs.ForceEncap = true })
			e.initiate()
			if s := e.gateway.waitUp(1); !s.NATRemote || !s.Encap || s.Local.Port() != 4500 || s.Remote.Port() != 4500 {
				t.Errorf("The gateway has %v with %v, NAT at the peer's %v, ESP in UDP %v; want port 4500 and both.", s.Local, s.Remote, s.NATRemote, s.Encap)
			}
			for spi, sa := range e.gateway.sas() {
				if sa.Encap == nil {
					t.Errorf("The SA %08x is not encapsulated in UDP.", uint32(spi))
				}
			}
		})
	}
}

// TestCommitBit: a gateway that sets the commit bit, and says CONNECTED when its pair is
// ready, has a tunnel with charon as others have.
func TestCommitBit(t *testing.T) {
	connect(t, func(s *set) { s.ours.V1.Commit = true }).initiate()
}

func TestGatewayDials(t *testing.T) {
	for name, change := range map[string]func(*set){
		"main mode":       func(*set) {},
		"aggressive mode": aggressive,
		"with PFS":        pfs,
		"many proposals": func(s *set) {
			s.ours.Proposals = append([]ipsec.Proposal{must(ipsec.ParseIKEProposal("aes256-sha512")).WithGroups(ipsec.GroupMODP3072, ipsec.GroupMODP2048)}, s.ours.Proposals...)
			s.ours.Children[0].Proposals = append([]ipsec.Proposal{must(ipsec.ParseESPProposal("aes256gcm"))}, s.ours.Children[0].Proposals...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			connect(t, change).dial()
		})
	}
}
