package rig

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/plugins/softesp/esp"
)

var serverAddr = netip.MustParseAddr(gateway.ServerLoopback)

// echoPort is where the server answers with what it gets.
const echoPort = 7

// Sender sends packets through tunnels as their clients would.
type Sender struct {
	conn *net.IPConn
	sent map[int]*outbound
}

// outbound is a client's sending half.
type outbound struct {
	cipher *esp.Cipher
	spi    ipsec.SPI
	seq    uint64
}

// NewSender opens the clients' side for ESP. Close it.
func (s *Site) NewSender(ctx context.Context) (*Sender, error) {
	o := &Sender{sent: make(map[int]*outbound)}
	err := s.Client.Do(func() error {
		var lc net.ListenConfig
		conn, err := lc.ListenPacket(ctx, "ip4:50", outer(1).String())
		if err != nil {
			return err
		}
		raw, ok := conn.(*net.IPConn)
		if !ok {
			return errors.Join(fmt.Errorf("%T is not a raw socket", conn), conn.Close())
		}
		o.conn = raw
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("rig: open the clients' raw socket: %w", err)
	}
	return o, nil
}

// Close lets go of the socket.
func (o *Sender) Close() error { return o.conn.Close() }

// Send sends one datagram through each tunnel to the server's echo, one every
// interval.
func (o *Sender) Send(ctx context.Context, tunnels []Dialed, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for _, t := range tunnels {
		if err := o.send(t); err != nil {
			return fmt.Errorf("rig: client %d: %w", t.Client, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (o *Sender) send(t Dialed) error {
	out := o.sent[t.Client]
	if out == nil {
		c, err := esp.New(t.Out.Algorithms, t.Out.Encryption, t.Out.Integrity)
		if err != nil {
			return err
		}
		out = &outbound{cipher: c, spi: t.Out.ID.SPI}
		o.sent[t.Client] = out
	}
	out.seq++
	inside := datagram(inner(t.Client), serverAddr, echoPort, []byte("evergate"))
	b := make([]byte, out.cipher.Len(len(inside)))
	copy(b[out.cipher.HeaderLen():], inside)
	n := out.cipher.Seal(b, len(inside), 4, out.spi, out.seq, out.seq) // 4: IPv4
	_, err := o.conn.WriteTo(b[:n], &net.IPAddr{IP: t.Out.Remote.AsSlice()})
	return err
}

// datagram is an IPv4 packet with UDP inside. UDP goes without a checksum, which
// "an all zero transmitted checksum value" says (RFC 768).
func datagram(src, dst netip.Addr, port uint16, payload []byte) []byte {
	b := make([]byte, 28, 28+len(payload))
	b[0], b[8], b[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(b[2:], uint16(28+len(payload)))
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	sum = sum&0xffff + sum>>16
	binary.BigEndian.PutUint16(b[10:], ^uint16(sum+sum>>16))
	binary.BigEndian.PutUint16(b[20:], port)
	binary.BigEndian.PutUint16(b[22:], port)
	binary.BigEndian.PutUint16(b[24:], uint16(8+len(payload)))
	return append(b, payload...)
}

// Echo has the server answer with what it gets, until stop is called.
func (s *Site) Echo(ctx context.Context) (stop func(), err error) {
	var conn net.PacketConn
	err = s.Server.Do(func() (err error) {
		var lc net.ListenConfig
		conn, err = lc.ListenPacket(ctx, "udp4", netip.AddrPortFrom(serverAddr, echoPort).String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("rig: open the server's echo: %w", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFrom(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_, _ = conn.WriteTo(b[:n], from) // lost packets are the measurement's to find
			}
		}
	}()
	return func() { conn.Close(); <-done }, nil
}
