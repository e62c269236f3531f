//go:build dpdk

package dpdk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/evergate/evergate/offload"
)

// The layout of explicit IVs: member, boot, counter, from the top.
const (
	counterBits = 40
	bootBits    = 20
	maxBoot     = 1<<bootBits - 1
)

// Configure starts EAL, takes over the ports and starts the workers. Called again it
// changes addresses and the MTU of the TUN device; installed SAs stay.
func (e *Engine) Configure(_ context.Context, c offload.Config) (offload.Info, error) {
	s, err := checkConfig(c)
	if err != nil {
		return offload.Info{}, fmt.Errorf("dpdk: configure: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.usable(); errors.Is(err, offload.ErrDown) {
		return offload.Info{}, fmt.Errorf("dpdk: configure: %w", err)
	}
	if err := e.mayFollow(c, s); err != nil {
		return offload.Info{}, fmt.Errorf("dpdk: configure: %w: %w", offload.ErrInvalid, err)
	}
	if err := e.open(c, s); err != nil {
		return offload.Info{}, fmt.Errorf("dpdk: configure: %w", err)
	}
	e.config, e.settings = c, s
	e.log.Info("dataplane configured", slog.Int("workers", s.workers), slog.Any("ports", s.hostInterfaces), slog.Any("addresses", c.Addresses))
	return e.info(), nil
}

func checkConfig(c offload.Config) (settings, error) {
	if err := offload.CheckConfig(c); err != nil {
		return settings{}, err
	}
	if c.Boot > maxBoot {
		return settings{}, fmt.Errorf("%w: boot %d does not fit into an iv, want at most %d", offload.ErrInvalid, c.Boot, maxBoot)
	}
	return parseSettings(c.Settings)
}

// mayFollow tells why c cannot come after what was configured before.
func (e *Engine) mayFollow(c offload.Config, s settings) error {
	switch {
	case c.Boot < e.config.Boot:
		// A key could meet an IV of before (invariant I1).
		return fmt.Errorf("boot %d after boot %d", c.Boot, e.config.Boot)
	case e.network != nil && s.fixed() != e.settings.fixed():
		return errors.New("settings: all but tun-mtu change with a restart of the plugin only")
	default:
		return nil
	}
}

// open opens the network if it is not open, and adjusts it.
func (e *Engine) open(c offload.Config, s settings) error {
	if e.network != nil {
		return e.network.adjust(c, s)
	}
	found, err := e.eal.start(s)
	if err != nil {
		return err
	}
	n, err := openNetwork(e, s, found)
	if err != nil {
		return err
	}
	if err := n.adjust(c, s); err != nil {
		return errors.Join(err, n.abandon())
	}
	e.network, e.devices = n, cryptodevsOf(found, s)
	e.cards = e.openCards(n, s, len(npusOf(e.devices, nil)))
	return nil
}
