package rig

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
)

// MaxClients is how many clients a Site has addresses for.
const MaxClients = 1 << 17

// The networks of the clients: outer addresses, and the one inner address that
// each of them has.
const (
	outerNet = "10.20.0.0/15"
	innerNet = "10.128.0.0/15"
)

// outer and inner are the addresses of client i.
func outer(i int) netip.Addr { return nth(10, 20, i) }
func inner(i int) netip.Addr { return nth(10, 128, i) }

func nth(a, b byte, i int) netip.Addr {
	return netip.AddrFrom4([4]byte{a, b + byte(i>>16), byte(i >> 8), byte(i)})
}

// Settings say how a member is run.
type Settings struct {
	// Daemon is the path of evergated.
	Daemon string
	// Plugin is the name or the path of the dataplane's plugin; "" for softesp.
	Plugin string
	// Sync is fgsp-sync; MinAcks is sync.min-acks, 0 for the default.
	Sync    bool
	MinAcks int
	// AckTimeout is sync.ack-timeout, 0 for the default.
	AckTimeout time.Duration
	// Lost is hb-lost-threshold, 0 for the default.
	Lost int
}

// Site is a group of members between clients and a server.
type Site struct {
	*gateway.GroupSite
	tb netlab.TB
}

// NewSite builds a Site of n members. Nothing runs in it yet.
func NewSite(lab *netlab.Lab, n int) *Site {
	s := &Site{GroupSite: gateway.NewGroupSite(lab, n), tb: lab.TB()}
	AddClients(s.Client)
	s.Router.Route(outerNet, gateway.ClientAddr)
	for _, m := range s.Members {
		m.Host.Route(outerNet, fmt.Sprintf("192.168.%d.1", 124+m.ID))
	}
	return s
}

// Start starts member i, and returns when it answers its operator.
func (s *Site) Start(i int, settings Settings) *gateway.Daemon {
	return gateway.Start(s.Members[i].Host, gateway.Settings{Binary: settings.Daemon, Config: s.config(i, settings)})
}

// Lead leads the clients' packets, and the server's, to one member.
func (s *Site) Lead(i int) {
	m := s.Members[i]
	s.LeadUp(m)
	s.Server.Route(innerNet, fmt.Sprintf("172.31.%d.254", 124+m.ID))
}

// config is a dialup server that asks nothing of its clients while they are
// measured: no dead peer detection, no rekeying.
func (s *Site) config(i int, settings Settings) string {
	var peers strings.Builder
	for _, o := range s.Members {
		if o != s.Members[i] {
			fmt.Fprintf(&peers, "    - {peerip: %s, member-id: %d}\n", o.SyncAddr(), o.ID)
		}
	}
	sync, lost := "", ""
	if settings.Lost > 0 {
		lost = fmt.Sprintf("  hb-lost-threshold: %d\n", settings.Lost)
	}
	if settings.MinAcks > 0 {
		sync += fmt.Sprintf("    min-acks: %d\n", settings.MinAcks)
	}
	if settings.AckTimeout > 0 {
		sync += fmt.Sprintf("    ack-timeout: %d\n", settings.AckTimeout.Milliseconds())
	}
	if sync != "" {
		sync = "  sync:\n" + sync
	}
	plugin := ""
	if settings.Plugin != "" {
		plugin = fmt.Sprintf("dataplane: {plugin: %q}\n", settings.Plugin)
	}
	return plugin + fmt.Sprintf(`
standalone-cluster:
  standalone-group-id: 1
  group-member-id: %d
  interface: port4
  secret: {literal: the members of this rig share it}
%s  cluster-peers:
%s%s%s`, s.Members[i].ID, lost, peers.String(), sync, Dialup(gateway.GatewayAddr, ipsec.GroupX25519, settings.Sync))
}

// Peer is what a member knows of another one, by its index.
type Peer struct{ Alive, Synced, Complete bool }

// PeerOf asks a member about another one; the zero value is for one that it has not met
// yet.
func (s *Site) PeerOf(d *gateway.Daemon, i int) (Peer, error) {
	p, err := d.StandalonePeers()
	if err != nil {
		return Peer{}, err
	}
	for _, p := range p.Peers {
		if p.Member != nil && int(*p.Member) == s.Members[i].ID {
			return Peer{Alive: p.Detected, Synced: p.Synced, Complete: p.Complete}, nil
		}
	}
	return Peer{}, nil
}

// askEvery is how often a member is asked about another one: its answer, with the
// state of all of its interfaces, takes half a millisecond of what is measured.
const askEvery = 25 * time.Millisecond

// Wait polls a member about another one until it is as it should be.
func (s *Site) Wait(ctx context.Context, d *gateway.Daemon, i int, limit time.Duration, want func(Peer) bool) error {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	return netlab.Poll(ctx, limit, func() error {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		p, err := s.PeerOf(d, i)
		if err == nil && !want(p) {
			err = fmt.Errorf("rig: member %d is %+v", s.Members[i].ID, p)
		}
		return err
	})
}

// WaitSynced waits until all members hold each other's tunnels.
func (s *Site) WaitSynced(ctx context.Context, daemons ...*gateway.Daemon) error {
	for i, d := range daemons {
		for j := range daemons {
			if i == j {
				continue
			}
			if err := s.Wait(ctx, d, j, 2*time.Minute, func(p Peer) bool { return p.Synced && p.Complete }); err != nil {
				return fmt.Errorf("rig: wait until the members are synced: %w", err)
			}
		}
	}
	return nil
}
