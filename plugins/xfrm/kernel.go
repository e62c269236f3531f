package xfrm

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/plugins/xfrm/gate"
	"github.com/evergate/evergate/plugins/xfrm/nl"
	"github.com/evergate/evergate/plugins/xfrm/xfrmnl"
)

// kernel is all that is open to it, in one network namespace.
type kernel struct {
	conn    *xfrmnl.Conn
	monitor *nl.Socket // what XFRM says by itself
	gate    *gate.Gate
	links   *netlink.Handle // rtnetlink
	npus    []*npu
	// statFile is /proc/net/xfrm_stat of the namespace; nil where the kernel does
	// not count.
	statFile *os.File
	natt     []net.PacketConn // see standIn
}

// openKernel opens everything in the network namespace of the calling thread.
// Errors say what is missing.
func openKernel(s settings) (k *kernel, err error) {
	k = new(kernel)
	defer func() {
		if err != nil {
			err = errors.Join(explain(err), k.close())
			k = nil
		}
	}()
	if k.conn, err = xfrmnl.Open(); err != nil {
		return k, err
	}
	if k.monitor, err = nl.Open(unix.NETLINK_XFRM); err != nil {
		return k, err
	}
	for _, group := range []xfrmnl.Group{xfrmnl.GroupAcquire, xfrmnl.GroupExpire, xfrmnl.GroupMapping} {
		if err := k.monitor.Join(uint32(group)); err != nil {
			return k, fmt.Errorf("listen to XFRM events: %w", err)
		}
	}
	if k.gate, err = gate.Open(s.table, s.logGroup); err != nil {
		return k, err
	}
	if k.links, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return k, fmt.Errorf("open rtnetlink: %w", err)
	}
	return k, k.gate.Build()
}

func (k *kernel) close() error {
	var failed []error
	if k.conn != nil {
		failed = append(failed, k.conn.Close())
	}
	if k.monitor != nil {
		failed = append(failed, k.monitor.Close())
	}
	if k.gate != nil {
		failed = append(failed, k.gate.Close())
	}
	if k.links != nil {
		k.links.Close()
	}
	for _, c := range k.natt {
		failed = append(failed, c.Close())
	}
	if k.statFile != nil {
		failed = append(failed, k.statFile.Close())
	}
	return errors.Join(failed...)
}

// explain says of an error what to do about it.
func explain(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w: the dataplane needs the capability CAP_NET_ADMIN", err)
	}
	return err
}
