package esp

import (
	"fmt"

	"github.com/evergate/evergate/core/ipsec"
)

// The layout of member-unique IVs, see the package's documentation.
const (
	counterBits = 40
	bootBits    = 20

	// MaxBoot is the last boot counter that fits into an IV.
	MaxBoot = 1<<bootBits - 1
	// MaxCounter is the last packet counter that fits into an IV.
	MaxCounter = 1<<counterBits - 1
)

// IVPrefix is the part of an IV that sets apart members and their boots.
type IVPrefix uint64

// NewIVPrefix joins a member and a boot counter; the error names the one that
// has no room.
func NewIVPrefix(m ipsec.MemberID, boot uint32) (IVPrefix, error) {
	if m >= ipsec.MaxMembers {
		return 0, fmt.Errorf("esp: member %d does not fit into an IV, want one below %d", m, ipsec.MaxMembers)
	}
	if boot > MaxBoot {
		return 0, fmt.Errorf("esp: boot counter %d does not fit into an IV, the last one is %d", boot, MaxBoot)
	}
	return IVPrefix(uint64(m)<<(counterBits+bootBits) | uint64(boot)<<counterBits), nil
}

// IV is the IV of packet number counter, which is at most MaxCounter.
func (p IVPrefix) IV(counter uint64) uint64 { return uint64(p) | counter&MaxCounter }
