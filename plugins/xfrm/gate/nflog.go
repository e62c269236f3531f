package gate

import (
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// NFLOG (linux/netfilter/nfnetlink_log.h).
const (
	logPacket, logConfig                    = 0, 1
	logCommand, logMode, logTimeout, logMax = 1, 2, 4, 5
	logBind                                 = 1
	logMeta                                 = 1 // no payload
	logMark                                 = 2
)

// bind makes the kernel send us what is logged into our group, without waiting for
// more of it.
func (g *Gate) bind() error {
	data, err := encode(func(ae *attributes) {
		ae.Uint8(logCommand, logBind)
		ae.Bytes(logMode, []byte{0, 0, 0, 0, logMeta, 0})
		ae.Uint32(logTimeout, 1)
		ae.Uint32(logMax, 1)
	})
	if err != nil {
		return fmt.Errorf("gate: bind to NFLOG group %d: %w", g.group, err)
	}
	_, err = g.tells.Exchange(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_ULOG<<8 | logConfig, Flags: netlink.Request | netlink.Acknowledge},
		Data:   append([]byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, byte(g.group >> 8), byte(g.group)}, data...),
	})
	switch {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("gate: bind to NFLOG group %d: the kernel has no nfnetlink_log (CONFIG_NETFILTER_NETLINK_LOG): %w", g.group, err)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("gate: bind to NFLOG group %d: another program uses it: %w", g.group, err)
	case err != nil:
		return fmt.Errorf("gate: bind to NFLOG group %d: %w", g.group, err)
	default:
		return nil
	}
}

// Read gives the reqids of SAs that saw a packet to handle, and tells whether some
// were lost. It does not wait.
func (g *Gate) Read(handle func(reqID uint32)) (overrun bool, err error) {
	overrun, err = g.tells.Read(func(m netlink.Message) {
		if uint16(m.Header.Type) != unix.NFNL_SUBSYS_ULOG<<8|logPacket {
			return
		}
		each(m.Data, func(ad *netlink.AttributeDecoder) {
			if ad.Type() == logMark {
				handle(ad.Uint32())
			}
		})
	})
	if err != nil {
		return overrun, fmt.Errorf("gate: read first packets: %w", err)
	}
	return overrun, nil
}
