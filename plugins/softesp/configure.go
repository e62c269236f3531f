package softesp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/softesp/esp"
)

// Configure opens the TUN device and the sockets. When it is called again the
// TUN device stays, with the routes that point to it, unless its name, the number
// of queues or the mark is another, or somebody removed it; installed SAs stay in
// any case.
func (e *Engine) Configure(ctx context.Context, c offload.Config) (offload.Info, error) {
	c.Addresses = unique(c.Addresses)
	s, err := checkConfig(c)
	if err != nil {
		return offload.Info{}, fmt.Errorf("softesp: configure: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.usable(); errors.Is(err, offload.ErrDown) {
		return offload.Info{}, fmt.Errorf("softesp: configure: %w", err)
	}
	if c.Boot < e.config.Boot {
		// A key could meet an IV of before (invariant I1).
		return offload.Info{}, fmt.Errorf("softesp: configure: %w: boot %d after boot %d", offload.ErrInvalid, c.Boot, e.config.Boot)
	}
	if err := e.reopen(ctx, c, s); err != nil {
		return offload.Info{}, fmt.Errorf("softesp: configure: %w", err)
	}
	e.config, e.settings = c, s
	select {
	case e.resurvey <- struct{}{}:
	default:
	}
	e.log.Info("dataplane configured", slog.String("network", e.network.describe()), slog.Int("tun_mtu", s.mtu))
	return e.info(), nil
}

func checkConfig(c offload.Config) (settings, error) {
	if err := offload.CheckConfig(c); err != nil {
		return settings{}, err
	}
	if _, err := esp.NewIVPrefix(c.Member, c.Boot); err != nil {
		return settings{}, fmt.Errorf("%w: boot: %w", offload.ErrInvalid, err)
	}
	return parseSettings(c.Settings)
}

// reopen brings the network from what it is to what c and s say.
func (e *Engine) reopen(ctx context.Context, c offload.Config, s settings) error {
	keep := e.network != nil && !e.network.broken.Load() && s.tunName == e.settings.tunName && s.queues == e.settings.queues && s.mark == e.settings.mark
	if keep {
		return e.adjust(ctx, e.network, c, s)
	}
	if e.network != nil {
		err := e.network.close()
		e.network = nil
		if err != nil {
			return err
		}
	}
	n, err := openNetwork(e, s)
	if err != nil {
		return err
	}
	if err := e.adjust(ctx, n, c, s); err != nil {
		return errors.Join(err, n.close())
	}
	e.network = n
	return nil
}

func (e *Engine) adjust(ctx context.Context, n *network, c offload.Config, s settings) error {
	if err := n.tun.Up(s.mtu); err != nil {
		return err
	}
	if err := n.setAddresses(c.Addresses, s.mark); err != nil {
		return err
	}
	return n.setIKE(ctx, c.IKESocket)
}

// unique returns the addresses without repetitions, IPv4 ones as such.
func unique(addrs []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range addrs {
		if a = a.Unmap(); !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}
