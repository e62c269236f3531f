package throughput

import (
	"bufio"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/evergate/evergate/core/netlab"
)

const (
	wireGuard     = "wireguard-go"
	wireGuardPort = 51820
	wireGuardTUN  = "wg0"
)

// wireGuardOverhead is what its protocol adds to a packet at most, in octets.
const wireGuardOverhead = 80

// openWireGuard starts wireguard-go at both ends. The mtu is as newPair has it.
func openWireGuard(tb netlab.TB, path string, mtu int) (*pair, error) {
	p := newPair(tb, wireGuard, mtu)
	var err error
	if p.version, err = wireGuardVersion(tb.Context(), path); err != nil {
		return nil, err
	}
	gateway, err1 := ecdh.X25519().GenerateKey(rand.Reader)
	client, err2 := ecdh.X25519().GenerateKey(rand.Reader)
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("throughput: make keys: %w", err)
	}
	err = p.gateway.startWireGuard(tb, path, gateway, client.PublicKey(), clientOuter, clientsNet)
	if err == nil {
		err = p.client.startWireGuard(tb, path, client, gateway.PublicKey(), gatewayOuter, senderAddr+"/32")
	}
	if err == nil && mtu > 0 {
		err = errors.Join(p.gateway.setMTU(wireGuardTUN, mtu-wireGuardOverhead), p.client.setMTU(wireGuardTUN, mtu-wireGuardOverhead))
	}
	return p, err
}

// wireGuardVersion is the second word of what it says of itself.
func wireGuardVersion(ctx context.Context, path string) (string, error) {
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("throughput: ask wireguard-go for its version: %w", err)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimPrefix(line, wireGuard+" "), nil
}

// startWireGuard starts wireguard-go in e, configures it and leads the traffic to it.
func (e *end) startWireGuard(tb netlab.TB, path string, key *ecdh.PrivateKey, peer *ecdh.PublicKey, outer, behind string) error {
	cmd := exec.CommandContext(context.WithoutCancel(tb.Context()), path, "--foreground", wireGuardTUN) // the lab's clean-up ends it
	cmd.Env = append(os.Environ(), "LOG_LEVEL=error")
	process := e.ns.StartPrivate(cmd, "/run") // its control socket has a fixed place
	e.pid = process.PID()
	// Nobody waits for a handshake or a timer in the middle of a measurement.
	settings := fmt.Sprintf("set=1\nprivate_key=%x\nlisten_port=%d\npublic_key=%x\nendpoint=%v\nallowed_ip=%s\npersistent_keepalive_interval=5\n\n",
		key.Bytes(), wireGuardPort, peer.Bytes(), netip.AddrPortFrom(netip.MustParseAddr(outer), wireGuardPort), behind)
	err := netlab.Poll(tb.Context(), startLimit, func() error {
		return tell(tb.Context(), fmt.Sprintf("/proc/%d/root/run/wireguard/%s.sock", e.pid, wireGuardTUN), settings)
	})
	if err != nil {
		return fmt.Errorf("throughput: configure wireguard-go: %w; its log ends:\n%s", err, process.Log().Tail(10))
	}
	err = e.ns.Do(func() error {
		link, err := netlink.LinkByName(wireGuardTUN)
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(link)
	})
	if err != nil {
		return fmt.Errorf("throughput: bring %s up: %w", wireGuardTUN, err)
	}
	return e.lead(wireGuardTUN, behind)
}

// tell makes an operation of WireGuard's cross-platform interface.
func tell(ctx context.Context, socket, operation string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(operation)); err != nil {
		return err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && strings.TrimSpace(answer) != "errno=0" {
		err = fmt.Errorf("it answers %q", answer)
	}
	return err
}
