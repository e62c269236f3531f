package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/offloadtest"
	"github.com/evergate/evergate/plugins/softesp/esptest"
)

// inNamespace in the environment says that the process has a network of its own.
const inNamespace = "OFFLOAD_PROBE_NAMESPACE"

// again runs the same command line in a network namespace of its own, within a
// user namespace for who is not root, and returns its exit status as an error.
func again(cmd *cobra.Command) error {
	child := exec.CommandContext(cmd.Context(), "/proc/self/exe", os.Args[1:]...) //nolint:gosec // what our own user asked for, once more
	child.Env = append(os.Environ(), inNamespace+"=yes")
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	child.Cancel = func() error { return child.Process.Signal(unix.SIGTERM) }
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if os.Geteuid() != 0 {
		child.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		child.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		child.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	err := child.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == 1:
		return errBroken
	case errors.As(err, &exit):
		return errSaid
	case err != nil:
		return fmt.Errorf("make a network namespace: %w", err)
	}
	return nil
}

// errSaid: the process in the namespace has said what went wrong.
var errSaid = errors.New("the probe in the namespace failed")

// suiteInner is the address behind the gateway, within the local network of the
// suite's SAs, and suitePort that of its packets.
var suiteInner = netip.AddrFrom4([4]byte{198, 18, 0, 1})

const suitePort = 9

// withPackets makes the planes of open carry packets: between the plaintext
// interface that the plugin names, and a socket that plays the peer. Both ends of
// a tunnel are on the loopback of the namespace.
func withPackets(ctx context.Context, open offloadtest.Open) (offloadtest.Open, error) {
	if err := ifreq("lo", unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP); return nil }); err != nil {
		return nil, err
	}
	probe, err := open(ctx)
	if err != nil {
		return nil, err
	}
	probe.Config.Boot, probe.Config.Addresses = 1, []netip.Addr{probe.Local}
	info, err := probe.Engine.Configure(ctx, probe.Config)
	if err = errors.Join(err, probe.Close()); err != nil {
		return nil, err
	}
	if info.PlaintextInterface == "" {
		return nil, errors.New("the plugin names no plaintext interface that packets could pass through")
	}
	return func(ctx context.Context) (*offloadtest.Harness, error) {
		h, err := open(ctx)
		if err != nil {
			return nil, err
		}
		w := &wire{Engine: h.Engine, local: h.Local, remote: h.Remote}
		end := h.Close
		h.Engine, h.Traffic = w, w
		h.Close = func() error { return errors.Join(w.close(), end()) }
		return h, nil
	}, nil
}

// wire is a plugin between two sockets.
type wire struct {
	offload.Engine
	local, remote netip.Addr
	plain         *net.UDPConn // behind the gateway
	esp           *net.IPConn  // the peer's
}

// Configure is the plugin's; afterwards there are interfaces to open sockets on.
func (w *wire) Configure(ctx context.Context, c offload.Config) (offload.Info, error) {
	info, err := w.Engine.Configure(ctx, c)
	if err == nil && w.plain == nil {
		err = w.open(ctx, info.PlaintextInterface)
	}
	return info, err
}

func (w *wire) open(ctx context.Context, device string) error {
	err := ifreq(device, unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(suiteInner.AsSlice()) })
	if err != nil {
		return err
	}
	onDevice := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var bound error
		err := c.Control(func(fd uintptr) { bound = unix.BindToDevice(int(fd), device) })
		return errors.Join(err, bound)
	}}
	plain, err := onDevice.ListenPacket(ctx, "udp4", netip.AddrPortFrom(suiteInner, suitePort).String())
	if err != nil {
		return fmt.Errorf("open a socket behind %s: %w", device, err)
	}
	var isUDP bool
	if w.plain, isUDP = plain.(*net.UDPConn); !isUDP {
		return errors.Join(fmt.Errorf("open a socket behind %s: got a %T", device, plain), plain.Close())
	}
	if w.esp, err = net.ListenIP("ip4:50", &net.IPAddr{IP: w.remote.AsSlice()}); err != nil {
		return fmt.Errorf("open the peer's socket: %w", err)
	}
	return nil
}

func (w *wire) close() error {
	var errs []error
	if w.plain != nil {
		errs = append(errs, w.plain.Close())
	}
	if w.esp != nil {
		errs = append(errs, w.esp.Close())
	}
	return errors.Join(errs...)
}

// ifreq makes one request about a network interface.
func ifreq(device string, request uint, prepare func(*unix.Ifreq) error) error {
	r, err := unix.NewIfreq(device)
	if err == nil {
		err = prepare(r)
	}
	if err != nil {
		return fmt.Errorf("prepare interface %s: %w", device, err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("prepare interface %s: %w", device, err)
	}
	if err := errors.Join(unix.IoctlIfreq(fd, request, r), unix.Close(fd)); err != nil {
		return fmt.Errorf("prepare interface %s: %w", device, err)
	}
	return nil
}

const (
	// patience bounds the wait for packets that were given to the plugin.
	patience = 10 * time.Second
	// pollInterval is between looks at its counters.
	pollInterval = 2 * time.Millisecond
	// flight is how many packets are under way at a time, so that no socket's
	// buffer is the reason of a loss.
	flight = 64
)

// Send implements offloadtest.Traffic.
func (w *wire) Send(ctx context.Context, sa ipsec.SA, n int) ([]offloadtest.Sent, error) {
	var sent []offloadtest.Sent
	for n > 0 {
		some := min(n, flight)
		n -= some
		passed, err := w.settled(ctx, sa.ID, some, func(int) error {
			_, err := w.plain.WriteToUDPAddrPort([]byte("inner"), netip.AddrPortFrom(sa.Selectors.Remote[0].Min, suitePort))
			return err
		})
		if err != nil {
			return sent, err
		}
		for range passed {
			p, err := w.receive(sa)
			if err != nil {
				return sent, err
			}
			sent = append(sent, offloadtest.Sent{SPI: p.SPI, Seq: p.Seq, IV: p.IV})
		}
	}
	return sent, nil
}

// receive opens the next ESP packet as the peer does.
func (w *wire) receive(sa ipsec.SA) (esptest.Packet, error) {
	b := make([]byte, 2048)
	if err := w.esp.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return esptest.Packet{}, err
	}
	n, _, err := w.esp.ReadFromIP(b)
	if err != nil {
		return esptest.Packet{}, fmt.Errorf("the plugin counted a packet that did not arrive: %w", err)
	}
	return esptest.KeysOf(sa).Open(b[:n], uint32(sa.Sequence.Next>>32))
}

// Deliver implements offloadtest.Traffic.
func (w *wire) Deliver(ctx context.Context, sa ipsec.SA, seqs ...uint64) (int, error) {
	inner := udpPacket(sa.Selectors.Remote[0].Min, suiteInner, []byte("inner"))
	passed, err := w.settled(ctx, sa.ID, len(seqs), func(i int) error {
		b, err := esptest.KeysOf(sa).Seal(esptest.Packet{SPI: sa.ID.SPI, Seq: seqs[i], Payload: inner, Next: 4})
		if err == nil {
			_, err = w.esp.WriteToIP(b, &net.IPAddr{IP: w.local.AsSlice()})
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	b := make([]byte, 64)
	for range passed {
		if err := w.plain.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return 0, err
		}
		if _, err := w.plain.Read(b); err != nil {
			return 0, fmt.Errorf("the plugin counted a packet that did not come out: %w", err)
		}
	}
	return passed, nil
}

// settled gives the plugin n packets of an SA, waits until it has counted each as
// carried or as dropped, and returns how many it carried.
func (w *wire) settled(ctx context.Context, id ipsec.SAID, n int, give func(int) error) (int, error) {
	before, err := w.counters(ctx, id)
	if err != nil {
		return 0, err
	}
	for i := range n {
		if err := give(i); err != nil {
			return 0, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for tick := time.NewTicker(pollInterval); ; {
		now, err := w.counters(ctx, id)
		if err != nil {
			tick.Stop()
			return 0, err
		}
		if counted(now)-counted(before) >= uint64(n) {
			tick.Stop()
			return int(now.Packets - before.Packets), nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			tick.Stop()
			return 0, fmt.Errorf("of %d packets for %v the plugin has counted %d: %w", n, id, counted(now)-counted(before), ctx.Err())
		}
	}
}

func (w *wire) counters(ctx context.Context, id ipsec.SAID) (offload.Counters, error) {
	for c, err := range w.Export(ctx, offload.AllGroups) {
		if err != nil || c.ID == id {
			return c, err
		}
	}
	return offload.Counters{}, fmt.Errorf("%v is not installed", id)
}

// counted is how many packets an SA has dealt with.
func counted(c offload.Counters) uint64 {
	d := c.Drops
	return c.Packets + c.Relayed + c.Held + d.Replayed + d.Authentication + d.Malformed + d.Selector + d.Lifetime + d.Ceiling + d.Standby + d.TooBig + d.Queue
}

// udpPacket makes an IPv4 packet of UDP, without a UDP checksum.
func udpPacket(from, to netip.Addr, payload []byte) []byte {
	b := make([]byte, 28, 28+len(payload))
	b[0], b[8], b[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(b[2:], uint16(cap(b)))
	copy(b[12:], from.AsSlice())
	copy(b[16:], to.AsSlice())
	binary.BigEndian.PutUint16(b[20:], suitePort)
	binary.BigEndian.PutUint16(b[22:], suitePort)
	binary.BigEndian.PutUint16(b[24:], uint16(8+len(payload)))
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(b[10:], ^uint16(sum>>16+sum))
	return append(b, payload...)
}
