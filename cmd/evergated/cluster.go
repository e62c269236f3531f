package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/evergate/evergate/core/config"
	"github.com/evergate/evergate/core/diag"
	"github.com/evergate/evergate/core/engine"
	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/state"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/ha/transport"
	"github.com/evergate/evergate/ha/transport/cert"
	hawire "github.com/evergate/evergate/ha/wire"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/offload/ikesock"
)

// The types of frames between members.
const (
	frameHA    = 1 // ha.Frame
	frameIKE   = 2 // an IKE message for its owner, as ikesock frames it
	frameLinks = 3 // diag.Link values as JSON
	frameLink  = 4 // engine.LinkNews
)

// groupState is the file of ha.HardState.
const groupState = "group"

// linksEvery is how often members tell each other of their interfaces.
const linksEvery = 5 * time.Second

// cluster is a member's part in its group: it carries frames between the
// replication machine and the transport.
type cluster struct {
	cfg    *config.StandaloneCluster
	log    *slog.Logger
	state  *state.Dir
	node   *ha.Node
	mesh   *transport.Mesh
	engine *engine.Engine
	// owner names our memory, to those who hold our SAs.
	owner string
	// local is our address on the members' network.
	local netip.Addr

	mu    sync.Mutex
	links [ipsec.MaxMembers][]diag.Link
}

// newCluster makes the machine and its transport. Nothing runs yet.
func newCluster(all *config.Config, st *state.Dir, log *slog.Logger) (*cluster, error) {
	cfg := all.Group()
	c := &cluster{cfg: cfg, log: log, state: st}
	var hard ha.HardState
	if err := st.Load(groupState, &hard); err != nil {
		return nil, err
	}
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, fmt.Errorf("name the disk: %w", err)
	}
	disk := cmp.Or(hard.Disk, ha.DiskID(binary.BigEndian.Uint64(random[:])|1))
	c.owner = fmt.Sprintf("member %d of group %d, disk %x", cfg.Member, cfg.Group, disk)
	members := ha.Members(1<<ipsec.MaxMembers - 1)
	var peers []transport.Peer
	for _, p := range cfg.Peers {
		peers = append(peers, transport.Peer{Addr: p.IP, Member: p.Member})
	}
	if known := knownMembers(cfg); known != 0 {
		members = known
	}
	links, err := heartbeatLinks(all, peers)
	if err != nil {
		return nil, err
	}
	adoptAfter := time.Duration(0) // the default
	if u := all.Unit(); u != nil {
		adoptAfter = u.RouteTTL
	}
	c.node, err = ha.New(ha.Config{
		Unit: unitOf(all), AdoptAfter: adoptAfter,
		Group: cfg.Group, Member: cfg.Member, Members: members,
		Heartbeat: cfg.Heartbeat, Lost: cfg.Lost, MinAcks: cfg.Sync.MinAcks, AckTimeout: cfg.Sync.AckTimeout,
		Nonces:  ha.UnknownNonces, // until the dataplane is there
		NewDisk: disk, Journal: keeps(all),
	}, hard)
	if err != nil {
		return nil, err
	}
	identity, err := identityOf(cfg)
	if err != nil {
		return nil, err
	}
	if c.local, err = cfg.LocalAddress(); err != nil {
		return nil, err
	}
	c.mesh, err = transport.New(transport.Config{
		Identity: identity, Local: netip.AddrPortFrom(c.local, cfg.Port), Interface: cfg.Interface,
		Links: links, Peers: peers, Receiver: c, MinProtocol: ha.MinProtocol, MaxProtocol: ha.MaxProtocol, Log: log,
	})
	return c, err
}

// knownMembers are the members by their ids, none when a peer's is not in the
// configuration.
func knownMembers(cfg *config.StandaloneCluster) ha.Members {
	known := ha.MembersOf(cfg.Member)
	for _, p := range cfg.Peers {
		if p.Member == nil {
			return 0
		}
		known = known.With(*p.Member)
	}
	return known
}

func identityOf(cfg *config.StandaloneCluster) (*cert.Identity, error) {
	name := cert.Name{Group: cfg.Group, Member: cfg.Member}
	if cfg.Secret.Len() > 0 {
		return cert.FromSecret(cfg.Secret, name)
	}
	id, err := cert.Load(cfg.CA, cfg.Cert, cfg.Key, time.Now())
	if err != nil {
		return nil, err
	}
	if id.Name() != name {
		return nil, fmt.Errorf("standalone-cluster.cert: %s is of %v, and the configuration is of %v", cfg.Cert, id.Name(), name)
	}
	return id, nil
}

// Save implements engine.HardStore.
func (c *cluster) Save(h ha.HardState) error { return c.state.Save(groupState, h) }

// run runs the transport until ctx ends.
func (c *cluster) run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { c.tellLinks(ctx) })
	return c.mesh.Run(ctx)
}

// Send implements engine.Mesh. Heartbeats go by themselves, past whatever waits.
func (c *cluster) Send(f ha.Frame) {
	body, err := hawire.Marshal(f)
	if err != nil {
		c.log.Error("frame for a member could not be encoded", "member", f.To, "error", err)
		return
	}
	if len(f.Records) == 0 {
		c.mesh.Heartbeat(f.To, body)
		return
	}
	c.mesh.Send(f.To, transport.Frame{Type: frameHA, Class: transport.Record, Body: body})
}

// Relay implements engine.Mesh.
func (c *cluster) Relay(to ipsec.MemberID, dg ike.Datagram) {
	body, err := ikesock.AppendFrame(nil, ikesock.Datagram(dg))
	if err != nil {
		c.log.Debug("ike message was not relayed", "member", to, "error", err)
		return
	}
	c.mesh.Send(to, transport.Frame{Type: frameIKE, Class: transport.Packet, Body: body})
}

// Export implements engine.LinkMesh.
func (c *cluster) Export(with ipsec.MemberID, label string, context []byte, n int) (ipsec.Key, uint64, error) {
	return c.mesh.Export(with, label, context, n)
}

// Tell implements engine.LinkMesh.
func (c *cluster) Tell(to ipsec.MemberID, n engine.LinkNews) {
	c.mesh.Send(to, transport.Frame{Type: frameLink, Class: transport.Control, Body: n.AppendTo(nil)})
}

// linkOptions join us to the others; each life of ours has SPIs of its own.
func (c *cluster) linkOptions() (*engine.LinkOptions, error) {
	var first [4]byte
	if _, err := rand.Read(first[:]); err != nil {
		return nil, fmt.Errorf("draw an SPI: %w", err)
	}
	return &engine.LinkOptions{Local: c.local, Mesh: c, First: binary.BigEndian.Uint32(first[:])}, nil
}

// PeerUp implements transport.Receiver.
func (c *cluster) PeerUp(s transport.Session) {
	c.log.Info("member connected", "member", s.Member, "addr", s.Addr)
	c.engine.PeerUp(engine.LinkSession{Member: s.Member, ID: s.ID, Remote: s.Addr.Addr().Unmap()})
	c.sendLinks(s.Member)
}

// PeerDown implements transport.Receiver.
func (c *cluster) PeerDown(s transport.Session, err error) {
	c.log.Warn("member disconnected", "member", s.Member, "addr", s.Addr, "error", err)
	c.engine.PeerDown(s.Member)
}

// ReceiveFrame implements transport.Receiver.
func (c *cluster) ReceiveFrame(from ipsec.MemberID, f transport.Frame) {
	switch f.Type {
	case frameHA:
		c.receive(from, f.Body)
	case frameIKE:
		dg, err := ikesock.ParseFrame(f.Body)
		if err != nil {
			c.log.Warn("relayed ike message was not understood", "member", from, "error", err)
			return
		}
		c.engine.ReceiveRelayed(ike.Datagram(dg))
	case frameLink:
		news, err := engine.ParseLinkNews(f.Body)
		if err != nil {
			c.log.Warn("news of a member's link were not understood", "member", from, "error", err)
			return
		}
		c.engine.ReceiveLinkNews(from, news)
	case frameLinks:
		links, err := diag.ParseLinks(f.Body)
		if err != nil {
			c.log.Warn("interfaces of a member were not understood", "member", from, "error", err)
			return
		}
		c.mu.Lock()
		c.links[from] = links
		c.mu.Unlock()
	}
}

// ReceiveHeartbeat implements transport.Receiver.
func (c *cluster) ReceiveHeartbeat(h transport.Heartbeat) { c.receive(h.From, h.Payload) }

// receive takes a frame from a member that the transport has proved. What the
// frame says of its sender must agree.
func (c *cluster) receive(from ipsec.MemberID, body []byte) {
	f, err := hawire.Unmarshal(body)
	if err != nil || f.From != from {
		c.log.Warn("frame of a member was not understood", "member", from, "says", f.From, "error", err)
		return
	}
	c.engine.ReceiveFrame(f)
}

// Room implements transport.Receiver. Whatever was dropped is sent again by the
// replication machine, in its time.
func (c *cluster) Room(ipsec.MemberID, transport.Class) {}

// tellLinks tells the others of our interfaces, again and again.
func (c *cluster) tellLinks(ctx context.Context) {
	tick := time.NewTicker(linksEvery)
	defer tick.Stop()
	for {
		for _, p := range c.mesh.Peers() {
			if p.Session != nil {
				c.sendLinks(p.Session.Member)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (c *cluster) sendLinks(to ipsec.MemberID) {
	links, err := diag.LocalLinks()
	if err != nil {
		c.log.Debug("own interfaces were not read", "error", err)
		return
	}
	body, err := json.Marshal(links)
	if err != nil {
		c.log.Debug("own interfaces have no JSON form", "error", err)
		return
	}
	c.mesh.Send(to, transport.Frame{Type: frameLinks, Class: transport.Bulk, Body: body})
}

// peers describes the group as this member sees it.
func (c *cluster) peers(ctx context.Context) (diag.StandalonePeers, error) {
	_, members, _, err := c.engine.Group(ctx)
	if err != nil {
		return diag.StandalonePeers{}, err
	}
	s := diag.StandalonePeers{Group: c.cfg.Group, Member: c.cfg.Member}
	c.mu.Lock()
	s.Links = c.links
	c.mu.Unlock()
	if own, err := diag.LocalLinks(); err == nil {
		s.Links[c.cfg.Member] = own
	}
	linked, err := c.memberLinks(ctx)
	if err != nil {
		return diag.StandalonePeers{}, err
	}
	byMember := make(map[ipsec.MemberID]ha.PeerStatus)
	for _, m := range members {
		byMember[m.Member] = m
	}
	for _, p := range c.mesh.Peers() {
		peer := diag.StandalonePeer{Address: p.Addr, Member: p.Member}
		peer.Sessions.Sent, peer.Sessions.Received = p.SessionType()
		peer.Packets.Sent, peer.Packets.Received = p.PacketType()
		for _, full := range p.Full {
			peer.Queue.Dropped += full
		}
		if p.Member != nil {
			joinMember(&peer, byMember[*p.Member])
			joinLink(&peer, linked[*p.Member])
		}
		if p.LastError != nil && !peer.Detected {
			peer.Trouble = append(peer.Trouble, p.LastError.Error())
		}
		s.Peers = append(s.Peers, peer)
	}
	return s, nil
}

// joinMember adds what the replication machine knows of a peer.
func joinMember(peer *diag.StandalonePeer, m ha.PeerStatus) {
	peer.Detected, peer.Synced, peer.Complete, peer.Protocol = m.Alive, m.Synced, m.Complete, m.Protocol
	q := &peer.Queue
	q.Records, q.Octets, q.Lag, q.FellOut = m.Queued, m.QueuedOctets, m.Lag, m.FellOut
	if m.DriftedClass > 0 {
		peer.Trouble = append(peer.Trouble, fmt.Sprintf("%d phase1 entries with fgsp-sync differ from ours or are missing there", m.DriftedClass))
	}
	if t := q.Trouble(); t != "" && m.Alive {
		peer.Trouble = append(peer.Trouble, t)
	}
}

// memberLinks are the links to the members that we have met.
func (c *cluster) memberLinks(ctx context.Context) (map[ipsec.MemberID]*diag.MemberLink, error) {
	links, _, err := c.engine.Links(ctx)
	out := make(map[ipsec.MemberID]*diag.MemberLink)
	for _, l := range links {
		described := diag.FromLink(l, time.Now())
		out[l.Member] = &described
	}
	return out, err
}

// joinLink adds what a peer's link has carried. Without a link to a member that is
// there, packets for its tunnels get lost when they come to us.
func joinLink(peer *diag.StandalonePeer, l *diag.MemberLink) {
	if l == nil {
		return
	}
	peer.Link = l
	peer.Packets.Sent += l.Sent
	peer.Packets.Received += l.Received
	if l.Trouble != "" && peer.Detected {
		peer.Trouble = append(peer.Trouble, "no link: "+l.Trouble)
	}
}
