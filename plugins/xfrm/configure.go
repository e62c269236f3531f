package xfrm

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/xfrm/xfrmnl"
)

// Configure opens the kernel's side the first time, in the network namespace of the
// calling thread, and adopts the SAs that an earlier process left there. Later ones
// may change the addresses only, which the kernel need not know.
func (e *Engine) Configure(_ context.Context, c offload.Config) (offload.Info, error) {
	s, err := parseSettings(c.Settings)
	if err == nil {
		err = offload.CheckConfig(c)
	}
	if err != nil {
		return offload.Info{}, fmt.Errorf("xfrm: configure: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch err := e.usable(); {
	case errors.Is(err, offload.ErrDown):
		return offload.Info{}, fmt.Errorf("xfrm: configure: %w", err)
	case err != nil:
		if err := e.start(s); err != nil {
			return offload.Info{}, fmt.Errorf("xfrm: configure: %w", err)
		}
	case c.Boot < e.config.Boot:
		return offload.Info{}, fmt.Errorf("xfrm: configure: %w: boot %d, want at least %d", offload.ErrInvalid, c.Boot, e.config.Boot)
	case !s.equal(e.settings):
		return offload.Info{}, fmt.Errorf("xfrm: configure: %w: settings change with the next start of the dataplane only", offload.ErrInvalid)
	}
	e.config = c
	return e.info(), nil
}

// start opens the kernel's side and adopts what is there.
func (e *Engine) start(s settings) (err error) {
	k, err := openKernel(s)
	if err != nil {
		return err
	}
	e.settings, e.kernel, e.policies = s, k, make(policyTable)
	defer func() {
		if err != nil {
			err = errors.Join(err, k.close())
			e.kernel = nil
		}
	}()
	if err := e.probe(); err != nil {
		return err
	}
	if err := e.prepare(); err != nil {
		return explain(err)
	}
	e.shortenAcquires()
	// Networks of clients are many and ours are few, so the former find a policy.
	if err := k.conn.SetThresholds(xfrmnl.Thresholds{Remote4: 24, Remote6: 56}); err != nil {
		return explain(err)
	}
	if err := k.findNPUs(s); err != nil {
		return explain(err)
	}
	for _, n := range k.npus {
		e.ask(n)
	}
	if e.stats.first, err = readStats(k.statFile); err != nil {
		return err
	}
	if err := e.adopt(); err != nil {
		return explain(fmt.Errorf("adopt the sas of an earlier process: %w", err))
	}
	if err := errors.Join(e.setAcquire(), e.setBypass()); err != nil {
		return explain(err)
	}
	if k.natt, err = standIn(); err != nil {
		e.log.Warn("esp in udp is lost while the daemon restarts", "reason", err)
	}
	e.listen(k)
	return nil
}

// probe finds out which algorithms the kernel has. Both families have the same, so one
// of them is asked for all.
func (e *Engine) probe() error {
	has := make(map[ipsec.Algorithms]bool)
	var last, over6 error
	found := false
	for _, a := range building() {
		err := e.try(a, netip.AddrFrom4([4]byte{192, 0, 0, 8}))
		if has[a] = err == nil; err != nil {
			last = err
		} else if !found {
			found, over6 = true, e.try(a, netip.MustParseAddr("100::8"))
		}
	}
	switch {
	case errors.Is(last, unix.EPROTONOSUPPORT):
		return fmt.Errorf("there is no ESP over IPv4 (CONFIG_INET_ESP, module esp4): %w", last)
	case errors.Is(over6, unix.EPROTONOSUPPORT):
		return fmt.Errorf("there is no ESP over IPv6 (CONFIG_INET6_ESP, module esp6): %w", over6)
	case over6 != nil:
		return fmt.Errorf("try an sa over IPv6: %w", explain(over6))
	}
	e.transforms = nil
	for _, a := range ipsec.Combinations() {
		if !slices.ContainsFunc(parts(a), func(part ipsec.Algorithms) bool { return !has[part] }) {
			e.transforms = append(e.transforms, offload.Capability{Algorithms: a})
		}
	}
	if len(e.transforms) == 0 {
		return fmt.Errorf("the kernel takes no ESP SA at all: %w", explain(last))
	}
	return nil
}

// try installs an SA that nothing uses, and removes it again.
func (e *Engine) try(a ipsec.Algorithms, at netip.Addr) error {
	s, err := e.trial(a, at)
	if err != nil {
		return err
	}
	err = e.kernel.conn.AddState(s)
	if errors.Is(err, unix.EEXIST) { // an earlier process ended in between
		err = nil
	}
	if err == nil {
		err = e.kernel.conn.DeleteState(s)
	}
	return err
}

// trial is a state that no packet uses.
func (e *Engine) trial(a ipsec.Algorithms, at netip.Addr) (xfrmnl.State, error) {
	s := xfrmnl.State{
		SPI: ipsec.MinSPI, Dst: at, Src: at, Proto: ipsec.ESP, Mode: xfrmnl.ModeTunnel, ReqID: acquireReqID, IfID: e.settings.ifID,
		Flags: xfrmnl.FlagAnyFamily, Lifetime: xfrmnl.NoLimits(), Replay: xfrmnl.NewReplay(0),
	}
	encryption, err := a.EncryptionKeyLen()
	if err != nil {
		return s, err
	}
	integrity, err := a.Integrity.KeyLen()
	if err != nil {
		return s, err
	}
	return s, setAlgorithms(&s, a, testKey(encryption), testKey(integrity))
}

// testKey is of octets that differ: Triple DES takes no others.
func testKey(octets int) ipsec.Key {
	b := make([]byte, octets)
	for i := range b {
		b[i] = byte(2*i + 1)
	}
	return ipsec.NewKey(b)
}

// prepare makes the interface and what else belongs to the network namespace.
func (e *Engine) prepare() error {
	k, dir := e.kernel, filepath.Join("/proc/self/task", strconv.Itoa(unix.Gettid()))
	f, err := os.Open(filepath.Join(dir, "net/xfrm_stat"))
	if err == nil {
		k.statFile = f
	} else if !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("open the kernel's counters: %w", err)
	}
	if e.settings.link == "" {
		return nil
	}
	device, err := k.makeInterface(e.settings)
	if err != nil {
		return err
	}
	return e.prepareLinks(device)
}

// shortenAcquires makes the kernel ask again soon: a packet without an SA makes it
// ask, and then wait without asking for any other packet. A second is what the
// contract merges.
func (e *Engine) shortenAcquires() {
	if err := sysctl("net/core/xfrm_acq_expires", "1"); err != nil {
		e.log.Warn("kernel asks for sas at its own pace", "error", err)
	}
}

// sysctl sets a parameter of the calling thread's network namespace.
func sysctl(name, value string) error {
	return os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0)
}

// makeInterface makes the XFRM interface, or adopts one of that name and if_id.
//
// Its segments leave one by one, as then each packet takes one number, and the
// kernel's limit of packets is that of numbers.
//
// It returns the interface's number.
func (k *kernel) makeInterface(s settings) (int, error) {
	h := k.links
	attrs := netlink.NewLinkAttrs()
	attrs.Name = s.link
	link, err := h.LinkByName(s.link)
	var missing netlink.LinkNotFoundError
	switch {
	case errors.As(err, &missing):
		if err := h.LinkAdd(&netlink.Xfrmi{LinkAttrs: attrs, Ifid: s.ifID}); err != nil {
			if errors.Is(err, unix.EOPNOTSUPP) {
				return 0, fmt.Errorf("make interface %s: the kernel has no xfrm interfaces (CONFIG_XFRM_INTERFACE, module xfrm_interface); setting interface: none does without: %w", s.link, err)
			}
			return 0, fmt.Errorf("make interface %s with if-id %#x: %w", s.link, s.ifID, err)
		}
		if link, err = h.LinkByName(s.link); err != nil {
			return 0, fmt.Errorf("find interface %s: %w", s.link, err)
		}
	case err != nil:
		return 0, fmt.Errorf("find interface %s: %w", s.link, err)
	}
	if x, ok := link.(*netlink.Xfrmi); !ok || x.Ifid != s.ifID {
		return 0, fmt.Errorf("interface %s is there already, and no xfrm interface with if-id %#x", s.link, s.ifID)
	}
	if err := h.LinkSetGSOMaxSegs(link, 1); err != nil {
		return 0, fmt.Errorf("make interface %s send single segments: %w", s.link, err)
	}
	if err := h.LinkSetMTU(link, s.mtu); err != nil {
		return 0, fmt.Errorf("set mtu %d of interface %s: %w", s.mtu, s.link, err)
	}
	if err := h.LinkSetUp(link); err != nil {
		return 0, fmt.Errorf("start interface %s: %w", s.link, err)
	}
	return link.Attrs().Index, nil
}
