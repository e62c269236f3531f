package witness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"
)

// maxBatch is how many routes the speaker takes at once: it serves nobody else
// meanwhile.
const maxBatch = 1024

// maxReceived bounds the routes that a neighbor may send per family. We use
// none, and the library keeps them all. A neighbor above it is cut off until
// the next revival.
const maxReceived = 10_000

// connectRetry is after how many seconds an attempt to connect is given up and
// repeated.
const connectRetry = 5

// stopLimit bounds the wait for the library's goroutines to end.
const stopLimit = 10 * time.Second

// speaker is a BGP speaker that only speaks.
type speaker struct {
	cfg     BGP
	log     *slog.Logger
	server  *server.BgpServer
	unwatch context.CancelFunc
	// came is signaled when a session has come up. Its capacity is one.
	came   chan struct{}
	served sync.WaitGroup

	mu       sync.Mutex
	sessions map[netip.Addr]*session
}

// session is what is known of a neighbor beside the library's own account.
type session struct {
	up, came   bool
	ipv4, ipv6 bool // the neighbor takes, while up
	lost       uint64
	trouble    string
	at         time.Time // of the trouble
}

// startSpeaker returns with the sessions still to come up.
func startSpeaker(ctx context.Context, cfg BGP, log *slog.Logger) (*speaker, error) {
	s := &speaker{cfg: cfg, log: log, sessions: make(map[netip.Addr]*session), came: make(chan struct{}, 1)}
	for _, n := range cfg.Neighbors {
		s.sessions[n.Address] = &session{}
	}
	library := slog.New(libraryLog{next: log.Handler(), note: s.note})
	s.server = server.NewBgpServer(server.LoggerOption(library, nil))
	s.served.Go(s.server.Serve)
	// The watch outlives ctx: the end of the sessions is worth a word, too.
	watch, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.unwatch = cancel
	if err := s.start(ctx, watch); err != nil {
		return nil, errors.Join(fmt.Errorf("start bgp: %w", err), s.stop())
	}
	return s, nil
}

func (s *speaker) start(ctx, watch context.Context) error {
	if err := s.server.StartBgp(ctx, &api.StartBgpRequest{Global: s.global()}); err != nil {
		return err
	}
	if err := s.rejectRoutes(ctx); err != nil {
		return fmt.Errorf("reject what neighbors send: %w", err)
	}
	callbacks := server.WatchEventMessageCallbacks{OnPeerUpdate: s.onPeer}
	if err := s.server.WatchEvent(watch, callbacks, server.WatchPeer()); err != nil {
		return fmt.Errorf("watch the sessions: %w", err)
	}
	for _, n := range s.cfg.Neighbors {
		if err := s.server.AddPeer(ctx, &api.AddPeerRequest{Peer: s.peer(n)}); err != nil {
			return fmt.Errorf("add neighbor %v: %w", n.Address, err)
		}
	}
	return nil
}

// rejectRoutes lets routes of our own only into the table: what neighbors send
// is of no use here, and must not reach the other neighbors.
func (s *speaker) rejectRoutes(ctx context.Context) error {
	local := &api.Policy{Name: "local", Statements: []*api.Statement{{
		Name:       "local",
		Conditions: &api.Conditions{RouteType: api.Conditions_ROUTE_TYPE_LOCAL},
		Actions:    &api.Actions{RouteAction: api.RouteAction_ROUTE_ACTION_ACCEPT},
	}}}
	if err := s.server.AddPolicy(ctx, &api.AddPolicyRequest{Policy: local}); err != nil {
		return err
	}
	return s.server.SetPolicyAssignment(ctx, &api.SetPolicyAssignmentRequest{Assignment: &api.PolicyAssignment{
		Name:          "global", // the library's name of the table
		Direction:     api.PolicyDirection_POLICY_DIRECTION_IMPORT,
		Policies:      []*api.Policy{local},
		DefaultAction: api.RouteAction_ROUTE_ACTION_REJECT,
	}})
}

// global listens on nothing unless a neighbor is passive.
func (s *speaker) global() *api.Global {
	g := &api.Global{Asn: s.cfg.AS, RouterId: s.cfg.RouterID.String(), ListenPort: -1}
	for _, n := range s.cfg.Neighbors {
		if n.Passive && !slices.Contains(g.ListenAddresses, n.Source.String()) {
			g.ListenPort = int32(s.cfg.ListenPort)
			g.ListenAddresses = append(g.ListenAddresses, n.Source.String())
		}
	}
	return g
}

// peer is n in the library's words.
func (s *speaker) peer(n Neighbor) *api.Peer {
	p := &api.Peer{
		Conf: &api.PeerConf{
			NeighborAddress: n.Address.String(),
			PeerAsn:         n.AS,
			AuthPassword:    string(n.Password.Reveal()),
		},
		Timers: &api.Timers{Config: &api.TimersConfig{
			HoldTime:          uint64(s.cfg.HoldTime / time.Second),
			KeepaliveInterval: uint64(s.cfg.Keepalive / time.Second),
			ConnectRetry:      connectRetry,
		}},
		Transport:   &api.Transport{RemotePort: uint32(n.Port), PassiveMode: n.Passive},
		TtlSecurity: &api.TtlSecurity{Enabled: n.TTLSecurity},
		EbgpMultihop: &api.EbgpMultihop{
			Enabled: n.MultihopTTL > 0, MultihopTtl: uint32(n.MultihopTTL),
		},
	}
	if n.Source.IsValid() {
		p.Transport.LocalAddress = n.Source.String()
	}
	if n.IPv4 {
		p.AfiSafis = append(p.AfiSafis, family(api.Family_AFI_IP))
	}
	if n.IPv6 {
		p.AfiSafis = append(p.AfiSafis, family(api.Family_AFI_IP6))
	}
	return p
}

func family(afi api.Family_Afi) *api.AfiSafi {
	f := &api.Family{Afi: afi, Safi: api.Family_SAFI_UNICAST}
	return &api.AfiSafi{
		Config:       &api.AfiSafiConfig{Family: f, Enabled: true},
		PrefixLimits: &api.PrefixLimit{Family: f, MaxPrefixes: maxReceived},
	}
}

// stop closes the sessions and waits for everything that start began.
func (s *speaker) stop() error {
	defer s.unwatch()
	stopped := make(chan struct{})
	go func() {
		s.server.Stop()
		s.served.Wait()
		close(stopped)
	}()
	timer := time.NewTimer(stopLimit)
	defer timer.Stop()
	select {
	case <-stopped:
		return nil
	case <-timer.C:
		return fmt.Errorf("stop bgp: it has not ended after %v", stopLimit)
	}
}

// tell announces and withdraws, in that order.
func (s *speaker) tell(pl plan) error {
	for batch := range slices.Chunk(pl.announce, maxBatch) {
		paths, err := s.paths(batch)
		if err == nil {
			_, err = s.server.AddPath(apiutil.AddPathRequest{Paths: paths})
		}
		if err != nil {
			return fmt.Errorf("announce %d routes from %v on: %w", len(batch), batch[0].prefix, err)
		}
	}
	for batch := range slices.Chunk(pl.withdraw, maxBatch) {
		paths, err := s.paths(batch)
		if err == nil {
			err = s.server.DeletePath(apiutil.DeletePathRequest{Paths: paths})
		}
		if err != nil {
			return fmt.Errorf("withdraw %d routes from %v on: %w", len(batch), batch[0].prefix, err)
		}
	}
	return nil
}

// repeat tells neighbors whose session has come up everything once more: the
// library loses what is announced while it reads its table for a new session.
func (s *speaker) repeat(ctx context.Context) {
	var came []netip.Addr
	s.mu.Lock()
	for address, session := range s.sessions {
		if session.came {
			session.came = false
			came = append(came, address)
		}
	}
	s.mu.Unlock()
	for _, address := range came {
		err := s.server.ResetPeer(ctx, &api.ResetPeerRequest{
			Address: address.String(), Soft: true, Direction: api.ResetPeerRequest_DIRECTION_OUT,
		})
		if err != nil {
			s.log.Warn("routes were not repeated", "neighbor", address, "error", err)
		}
	}
}

// revive lets neighbors that were cut off for sending too much try again.
func (s *speaker) revive(ctx context.Context) {
	err := s.server.ListPeer(ctx, &api.ListPeerRequest{}, func(p *api.Peer) {
		if p.GetState().GetAdminState() != api.PeerState_ADMIN_STATE_PFX_CT {
			return
		}
		address := p.GetConf().GetNeighborAddress()
		if err := s.server.EnablePeer(ctx, &api.EnablePeerRequest{Address: address}); err != nil {
			s.log.Warn("bgp neighbor was not enabled again", "neighbor", address, "error", err)
		}
	})
	if err != nil {
		s.log.Warn("bgp neighbors were not listed", "error", err)
	}
}

// onPeer hears of every change of a session's state.
func (s *speaker) onPeer(e *apiutil.WatchEventMessage_PeerEvent, _ time.Time) {
	if e.Type != apiutil.PEER_EVENT_STATE {
		return
	}
	address := e.Peer.State.NeighborAddress
	up := e.Peer.State.SessionState == bgp.BGP_FSM_ESTABLISHED
	s.mu.Lock()
	defer s.mu.Unlock()
	session, ok := s.sessions[address]
	if !ok || session.up == up {
		return
	}
	session.up, session.came = up, up
	if up {
		select {
		case s.came <- struct{}{}:
		default:
		}
		session.ipv4, session.ipv6 = families(e.Peer.State.RemoteCap)
		s.log.Info("bgp session established", "neighbor", address)
		return
	}
	reason := e.Peer.State.DisconnectMessage
	if e.Peer.State.AdminState == api.PeerState_ADMIN_STATE_PFX_CT {
		reason = fmt.Sprintf("it sent more than %d routes", maxReceived)
	}
	session.lost++
	session.trouble, session.at = "session lost: "+reason, time.Now()
	s.log.Warn("bgp session lost", "neighbor", address, "reason", reason)
}

// families returns which families a neighbor with these capabilities takes.
func families(caps []bgp.ParameterCapabilityInterface) (ipv4, ipv6 bool) {
	multiprotocol := false
	for _, c := range caps {
		if c, ok := c.(*bgp.CapMultiProtocol); ok {
			multiprotocol = true
			ipv4 = ipv4 || c.CapValue == bgp.RF_IPv4_UC
			ipv6 = ipv6 || c.CapValue == bgp.RF_IPv6_UC
		}
	}
	return ipv4 || !multiprotocol, ipv6 // a speaker without RFC 4760 takes IPv4
}

// note keeps what the library's log says of a neighbor's trouble.
func (s *speaker) note(neighbor netip.Addr, trouble string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if session, ok := s.sessions[neighbor]; ok {
		session.trouble, session.at = trouble, time.Now()
	}
}

// established tells whether any neighbor listens.
func (s *speaker) established() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, session := range s.sessions {
		if session.up {
			return true
		}
	}
	return false
}
