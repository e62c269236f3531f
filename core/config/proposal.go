package config

import (
	"fmt"
	"strconv"

	"github.com/evergate/evergate/core/ipsec"
)

// allowedGroups is what dhgrp takes.
const allowedGroups = "1, 2, 5, 14-21, 31"

// parseGroup reads a number of dhgrp.
func parseGroup(s string) (ipsec.GroupID, error) {
	n, err := strconv.Atoi(s)
	if err == nil {
		var g ipsec.GroupID
		if g, err = ipsec.ParseGroup(n); err == nil {
			return g, nil
		}
	}
	return 0, fmt.Errorf("%s is not a group; allowed: %s", s, allowedGroups)
}

// defaultGroups are strong, the cheap ones first; what a peer lacks it refuses by
// naming the one that it wants.
func defaultGroups() []ipsec.GroupID {
	return []ipsec.GroupID{ipsec.GroupX25519, ipsec.GroupECP256, ipsec.GroupECP384, ipsec.GroupMODP2048}
}

// defaultIKEProposals are AEADs, then what every peer has (RFC 8247 section 2).
func defaultIKEProposals() []ipsec.Proposal {
	return []ipsec.Proposal{
		proposal(ipsec.EncrAESGCM16, 256, ipsec.PRFHMACSHA2_384, ipsec.AuthNone),
		proposal(ipsec.EncrAESGCM16, 128, ipsec.PRFHMACSHA2_256, ipsec.AuthNone),
		proposal(ipsec.EncrAESCBC, 256, ipsec.PRFHMACSHA2_256, ipsec.AuthHMACSHA2_256_128),
		proposal(ipsec.EncrAESCBC, 128, ipsec.PRFHMACSHA2_256, ipsec.AuthHMACSHA2_256_128),
	}
}

// defaultESPProposals are likewise (RFC 8221 section 5).
func defaultESPProposals() []ipsec.Proposal {
	return []ipsec.Proposal{
		proposal(ipsec.EncrAESGCM16, 256, 0, ipsec.AuthNone),
		proposal(ipsec.EncrAESGCM16, 128, 0, ipsec.AuthNone),
		proposal(ipsec.EncrAESCBC, 256, 0, ipsec.AuthHMACSHA2_256_128),
		proposal(ipsec.EncrAESCBC, 128, 0, ipsec.AuthHMACSHA2_256_128),
	}
}

// proposal has one transform of each type that is not zero.
func proposal(e ipsec.EncryptionID, bits uint16, prf ipsec.PRFID, integ ipsec.IntegrityID) ipsec.Proposal {
	p := ipsec.Proposal{Transforms: []ipsec.Transform{{Type: ipsec.TypeEncryption, ID: uint16(e), KeyBits: bits}}}
	if prf != 0 {
		p.Transforms = append(p.Transforms, ipsec.Transform{Type: ipsec.TypePRF, ID: uint16(prf)})
	}
	if integ != ipsec.AuthNone {
		p.Transforms = append(p.Transforms, ipsec.Transform{Type: ipsec.TypeIntegrity, ID: uint16(integ)})
	}
	return p
}
