package netlab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"
)

// Listen opens a TCP listener in the namespace; address is a literal with a
// port, 0 for any.
func (n *Namespace) Listen(address string) (ln net.Listener, err error) {
	err = n.Do(func() error {
		var config net.ListenConfig
		ln, err = config.Listen(n.lab.tb.Context(), "tcp", address)
		return err
	})
	return ln, err
}

// ListenUDP opens a UDP socket in the namespace; address is a literal with a
// port, 0 for any.
func (n *Namespace) ListenUDP(address string) (conn *net.UDPConn, err error) {
	err = n.Do(func() error {
		local, err := net.ResolveUDPAddr("udp", address)
		if err != nil {
			return err
		}
		conn, err = net.ListenUDP("udp", local)
		return err
	})
	return conn, err
}

// Dial opens a connection from the namespace. The address is a literal; so is
// from, the source address, "" for the one that routing chooses.
func (n *Namespace) Dial(ctx context.Context, network, from, address string) (conn net.Conn, err error) {
	var d net.Dialer
	if from != "" {
		ip := net.ParseIP(from)
		if ip == nil {
			return nil, fmt.Errorf("netlab: dial from %q, which is no address", from)
		}
		d.LocalAddr = &net.TCPAddr{IP: ip}
		if network == "udp" {
			d.LocalAddr = &net.UDPAddr{IP: ip}
		}
	}
	err = n.Do(func() error {
		conn, err = d.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Transfer describes bytes to move over TCP.
type Transfer struct {
	From   *Namespace
	Source string // address of From, "" for the one that routing chooses
	To     *Namespace
	Dest   string // address of To
	Bytes  int64
	Seed   uint64 // chooses the contents
	// Rate is in octets per second, 0 for as fast as it goes.
	Rate int64
	// Arrived gets what arrives, as it does; nil for nobody.
	Arrived io.Writer
}

// Run moves the bytes and compares SHA-256 of what was sent and what arrived.
// It returns the time that it took, from the first byte to the digest's
// arrival. The end of ctx aborts it.
func (t Transfer) Run(ctx context.Context) (time.Duration, error) {
	ln, err := t.To.Listen(net.JoinHostPort(t.Dest, "0"))
	if err != nil {
		return 0, fmt.Errorf("netlab: transfer: %w", err)
	}
	served := make(chan error, 1)
	go func() { served <- t.serveDigest(ctx, ln) }()
	took, err := t.send(ctx, ln.Addr().String())
	if err != nil {
		ln.Close() // nobody may have come
	}
	return took, errors.Join(err, <-served)
}

// serveDigest answers one connection with the digest of what it carried.
func (t Transfer) serveDigest(ctx context.Context, ln net.Listener) error {
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	conn, err := ln.Accept()
	stop()
	ln.Close()
	if err != nil {
		return fmt.Errorf("netlab: transfer: accept: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	digest := sha256.New()
	arrived := io.Writer(digest)
	if t.Arrived != nil {
		arrived = io.MultiWriter(digest, t.Arrived)
	}
	if _, err := io.Copy(arrived, conn); err != nil {
		return fmt.Errorf("netlab: transfer: receive: %w", err)
	}
	if _, err := conn.Write(digest.Sum(nil)); err != nil {
		return fmt.Errorf("netlab: transfer: return the digest: %w", err)
	}
	return nil
}

func (t Transfer) send(ctx context.Context, address string) (time.Duration, error) {
	conn, err := t.From.Dial(ctx, "tcp", t.Source, address)
	if err != nil {
		return 0, fmt.Errorf("netlab: transfer: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	begin := time.Now()
	digest := sha256.New()
	contents := io.LimitReader(rand.NewChaCha8(sha256.Sum256(fmt.Append(nil, t.Seed))), t.Bytes)
	sink := io.MultiWriter(conn, digest)
	if t.Rate > 0 {
		sink = io.MultiWriter(conn, digest, &pacer{ctx: ctx, begin: begin, rate: t.Rate})
	}
	if _, err := io.CopyBuffer(sink, contents, make([]byte, chunk)); err != nil {
		return 0, fmt.Errorf("netlab: transfer: send: %w", err)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		if err := tcp.CloseWrite(); err != nil {
			return 0, fmt.Errorf("netlab: transfer: end the stream: %w", err)
		}
	}
	got, err := io.ReadAll(io.LimitReader(conn, sha256.Size))
	if err != nil {
		return 0, fmt.Errorf("netlab: transfer: receive the digest: %w", err)
	}
	if want := digest.Sum(nil); !bytes.Equal(got, want) {
		return 0, fmt.Errorf("netlab: transfer: %d bytes arrived with digest %x, sent with %x", t.Bytes, got, want)
	}
	return time.Since(begin), nil
}

// chunk is what a transfer writes at once, in octets.
const chunk = 16 << 10

// pacer is a writer that is no faster than its rate.
type pacer struct {
	ctx   context.Context //nolint:containedctx // io.Writer has no place for it
	begin time.Time
	rate  int64 // octets per second
	sent  int64
}

func (p *pacer) Write(b []byte) (int, error) {
	p.sent += int64(len(b))
	due := p.begin.Add(time.Duration(float64(p.sent) / float64(p.rate) * float64(time.Second)))
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-timer.C:
		return len(b), nil
	case <-p.ctx.Done():
		return 0, context.Cause(p.ctx)
	}
}
