package netlab

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
)

// echoLimit bounds the wait for one reply, which takes milliseconds on an idle
// machine.
const echoLimit = time.Minute

// Echo sends echo requests one by one, each when the one before it is answered,
// and returns an error when a reply does not come. from is an address of the
// namespace, "" for the one that routing chooses.
//
// Ping is for what ping(8) can tell besides; but ping waits for its last reply
// only twice as long as for those before, and on a busy machine takes late for
// lost.
func (n *Namespace) Echo(ctx context.Context, to, from string, count int) error {
	dst, err := netip.ParseAddr(to)
	if err != nil {
		return fmt.Errorf("netlab: echo: %w", err)
	}
	// The types are those of RFC 792 and of RFC 4443 section 4.
	e := echo{to: dst, request: 8, reply: 0}
	rand.Read(e.id[:]) // never fails
	network := "ip4:icmp"
	if dst.Is6() {
		e.request, e.reply, network = 128, 129, "ip6:ipv6-icmp"
	}
	err = n.Do(func() (err error) {
		var config net.ListenConfig
		e.conn, err = config.ListenPacket(ctx, network, from)
		return err
	})
	if err != nil {
		return fmt.Errorf("netlab: echo: %w", err)
	}
	defer e.conn.Close()
	defer context.AfterFunc(ctx, func() { e.conn.Close() })()
	for i := range count {
		if err := e.once(i + 1); err != nil {
			return fmt.Errorf("netlab: echo request %d of %d from %s to %s: %w", i+1, count, from, to, err)
		}
	}
	return nil
}

// echo is one series of Echo.
type echo struct {
	conn           net.PacketConn
	to             netip.Addr
	id             [2]byte
	request, reply byte
}

// once sends one request and waits for its reply; what else arrives is passed
// over.
func (e *echo) once(sequence int) error {
	request := e.message(e.request, uint16(sequence))
	if e.to.Is4() { // the kernel does it for IPv6, whose addresses count
		binary.BigEndian.PutUint16(request[2:], checksum(request))
	}
	if _, err := e.conn.WriteTo(request, &net.IPAddr{IP: e.to.AsSlice()}); err != nil {
		return err
	}
	if err := e.conn.SetReadDeadline(time.Now().Add(echoLimit)); err != nil {
		return err
	}
	reply, in := e.message(e.reply, uint16(sequence)), make([]byte, 1<<16)
	for {
		n, _, err := e.conn.ReadFrom(in)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("no reply within %v", echoLimit)
		}
		if err != nil {
			return err
		}
		if n == len(reply) && in[0] == reply[0] && bytes.Equal(in[4:n], reply[4:]) {
			return nil
		}
	}
}

// message returns an echo message without its checksum: type, code, checksum,
// identifier, sequence number, and data as long as that of ping(8).
func (e *echo) message(kind byte, sequence uint16) []byte {
	b := make([]byte, 8+56)
	b[0] = kind
	copy(b[4:], e.id[:])
	binary.BigEndian.PutUint16(b[6:], sequence)
	return b
}
