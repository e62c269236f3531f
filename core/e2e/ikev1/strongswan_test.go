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
