package rig

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sync/errgroup"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/ike"
)

// Dialed is one tunnel as its client sees it.
type Dialed struct {
	Client int
	// In and Out are the client's own: what In receives, the gateway sends.
	In, Out ipsec.SA
	// Took is from the first message to the end of the handshake.
	Took time.Duration
}

// Clients are initiators on one host, each with an address and an identity of
// its own.
type Clients struct {
	ns   *netlab.Namespace
	call Call
	// Next is the client that dials next.
	Next int
}

// Call says what clients propose, and to whom.
type Call struct {
	Gateway netip.Addr
	// Groups are those that they propose, the first one's value in the first message.
	Groups []ipsec.GroupID
	// NATT is whether they look for a NAT: where there is one, they go on in UDP from
	// port 4500 on, as RFC 7296 section 2.23 has it.
	NATT ike.NATT
}

// Clients makes the clients of a Site; none has dialed yet.
func (s *Site) Clients() *Clients {
	return NewClients(s.Client, Call{
		Gateway: netip.MustParseAddr(gateway.GatewayAddr), Groups: []ipsec.GroupID{ipsec.GroupX25519}, NATT: ike.NATTOff,
	})
}

// NewClients makes clients on a host that AddClients has made theirs; none has
// dialed yet.
func NewClients(ns *netlab.Namespace, c Call) *Clients { return &Clients{ns: ns, call: c} }

// AddClients gives a host the addresses of all clients.
func AddClients(ns *netlab.Namespace) {
	// The kernel takes every address of a prefix on the loopback for its own.
	ns.Loopback(outer(1).String() + "/15")
}

// Dial has the next n clients dial in, atOnce of them at a time in each of
// workers threads. It returns their tunnels in the order of the clients, and an
// error when one of them does not come up.
func (c *Clients) Dial(ctx context.Context, n, workers, atOnce int) ([]Dialed, error) {
	if c.Next+n > MaxClients {
		return nil, fmt.Errorf("rig: %d clients are above %d", c.Next+n, MaxClients)
	}
	out := make([]Dialed, n)
	var g errgroup.Group
	for w := range workers {
		first, last := n*w/workers, n*(w+1)/workers
		g.Go(func() error {
			d, err := newDialer(ctx, c.ns, c.call)
			if err != nil {
				return err
			}
			defer d.conn.Close()
			return d.run(ctx, c.Next+first, atOnce, out[first:last])
		})
	}
	err := g.Wait()
	c.Next += n
	return out, err
}

// dialer drives the machines of some clients, one after the other on one socket.
type dialer struct {
	conn  *net.UDPConn
	batch *ipv4.PacketConn
	demux *ike.Demux
	call  Call
	calls map[*ike.Tunnel]*call

	connections map[string]*ike.Connection
	proposals   [2]ipsec.Proposal // phase 1 and 2
}

// call is a handshake under way.
type call struct {
	client int
	began  time.Time
	out    *Dialed
}

func newDialer(ctx context.Context, ns *netlab.Namespace, c Call) (*dialer, error) {
	d := &dialer{call: c, calls: make(map[*ike.Tunnel]*call), connections: make(map[string]*ike.Connection)}
	phase1, err1 := ipsec.ParseIKEProposal(ikeProposal)
	phase2, err2 := ipsec.ParseESPProposal(espProposal)
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("rig: %w", err)
	}
	phase2.Transforms = append(phase2.Transforms, ipsec.Transform{Type: ipsec.TypeESN, ID: ipsec.NoESN})
	d.proposals = [2]ipsec.Proposal{phase1.WithGroups(c.Groups...), phase2}
	err := ns.Do(func() error {
		var lc net.ListenConfig
		conn, err := lc.ListenPacket(ctx, "udp4", ":0")
		if err != nil {
			return err
		}
		udp, ok := conn.(*net.UDPConn)
		if !ok {
			return errors.Join(fmt.Errorf("%T is not a UDP socket", conn), conn.Close())
		}
		d.conn, d.batch = udp, ipv4.NewPacketConn(udp)
		return errors.Join(udp.SetReadBuffer(socketBuffer), d.batch.SetControlMessage(ipv4.FlagDst, true))
	})
	if err != nil {
		return nil, fmt.Errorf("rig: open the clients' socket: %w", err)
	}
	env := ike.Env{Rand: rand.Reader, Boot: 1, Log: slog.New(slog.DiscardHandler), Stats: &ike.Stats{}}
	d.demux = ike.NewDemux(env, d, ike.Limits{})
	return d, nil
}

const socketBuffer = 4 << 20

// portNATT is where IKE goes on when there is a NAT; nonESPMarker is before each
// message there (RFC 3948 section 2.2).
const portNATT = 4500

var nonESPMarker [4]byte

// ForAddresses implements ike.Policy: nobody dials the clients.
func (d *dialer) ForAddresses(netip.Addr, netip.Addr) []*ike.Connection { return nil }

// Named implements ike.Policy.
func (d *dialer) Named(name string) *ike.Connection { return d.connections[name] }

// run dials for out, from client first on.
func (d *dialer) run(ctx context.Context, first, atOnce int, out []Dialed) error {
	defer context.AfterFunc(ctx, func() { _ = d.conn.SetReadDeadline(time.Unix(1, 0)) })()
	in := make([]byte, 1<<16)
	for next := 0; next < len(out) || len(d.calls) > 0; {
		for next < len(out) && len(d.calls) < atOnce {
			if err := d.begin(first+next, &out[next]); err != nil {
				return err
			}
			next++
		}
		if err := d.receive(ctx, in); err != nil {
			return err
		}
	}
	return nil
}

func (d *dialer) begin(client int, out *Dialed) error {
	c := d.connection(client)
	d.connections[c.Name] = c
	now := time.Now()
	t := d.demux.Initiate(now, c)
	d.calls[t] = &call{client: client, began: now, out: out}
	return d.step(now, t, ike.Initiate{Child: "lan"})
}

func (d *dialer) connection(client int) *ike.Connection {
	return &ike.Connection{
		Name: strconv.Itoa(client), Local: outer(client), Remote: d.call.Gateway, NATT: d.call.NATT,
		LocalID:   ike.Identity{Type: ike.IDFQDN, Data: fmt.Sprintf("client%d", client)},
		Proposals: []ipsec.Proposal{d.proposals[0]}, PSK: ipsec.CopyKey([]byte(psk)),
		Lifetime: ipsec.Lifetime{Hard: ipsec.Limits{Time: 25 * time.Hour}}, DPD: ike.DPD{Mode: ike.DPDOff},
		Children: []*ike.Child{{
			Name: "lan", Proposals: []ipsec.Proposal{d.proposals[1]},
			Selectors: ipsec.Selectors{
				Local:  []ipsec.TrafficSelector{ipsec.SelectorOf(netip.PrefixFrom(inner(client), 32))},
				Remote: []ipsec.TrafficSelector{ipsec.SelectorOf(netip.PrefixFrom(serverAddr, 32))},
			},
			Lifetime: ipsec.Lifetime{Hard: ipsec.Limits{Time: 24 * time.Hour}},
		}},
	}
}

// receive takes one message, or does what is due.
func (d *dialer) receive(ctx context.Context, b []byte) error {
	due, at := d.due()
	if err := d.conn.SetReadDeadline(at); err != nil {
		return fmt.Errorf("rig: wait for an answer: %w", err)
	}
	n, cm, from, err := d.batch.ReadFrom(b)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	now := time.Now()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return d.step(now, due, ike.Timeout{})
	}
	remote, ok := from.(*net.UDPAddr)
	if err != nil || !ok || cm == nil {
		return fmt.Errorf("rig: receive an answer: %w", err)
	}
	local, _ := netip.AddrFromSlice(cm.Dst.To4())
	dg := ike.Datagram{Local: netip.AddrPortFrom(local, uint16(remote.Port)), Remote: remote.AddrPort(), Payload: append([]byte(nil), b[:n]...)}
	if remote.Port == portNATT {
		var marked bool
		if dg.Payload, marked = bytes.CutPrefix(dg.Payload, nonESPMarker[:]); !marked {
			return nil // ESP, or a keepalive
		}
	}
	r := d.demux.Route(now, dg)
	if r.Tunnel == nil || d.calls[r.Tunnel] == nil {
		return nil // late, or nothing for us
	}
	return d.step(now, r.Tunnel, ike.Received{Datagram: dg})
}

// due is the call whose timeout comes first.
func (d *dialer) due() (first *ike.Tunnel, at time.Time) {
	for t := range d.calls {
		if n := t.NextTimeout(); first == nil || cmp.Compare(n.UnixNano(), at.UnixNano()) < 0 {
			first, at = t, n
		}
	}
	return first, at
}

// step gives an input to a client's machine. Once its tunnel is up nothing of it
// is kept but the SAs.
func (d *dialer) step(now time.Time, t *ike.Tunnel, in ike.Input) error {
	c := d.calls[t]
	rd := d.demux.Step(now, t, in)
	for _, dg := range rd.Send {
		cm := &ipv4.ControlMessage{Src: dg.Local.Addr().AsSlice()}
		if dg.Remote.Port() == portNATT {
			dg.Payload = append(nonESPMarker[:], dg.Payload...)
		}
		if _, err := d.batch.WriteTo(dg.Payload, cm, net.UDPAddrFromAddrPort(dg.Remote)); err != nil {
			return fmt.Errorf("rig: client %d: send: %w", c.client, err)
		}
	}
	if rd.Done {
		return fmt.Errorf("rig: client %d was not let in: %w", c.client, rd.Why)
	}
	if len(rd.Install) < 2 {
		return nil
	}
	*c.out = Dialed{Client: c.client, In: rd.Install[0], Out: rd.Install[1], Took: now.Sub(c.began)}
	delete(d.calls, t)
	delete(d.connections, strconv.Itoa(c.client))
	d.demux.Forget(t)
	return nil
}
