package transport

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/evergate/evergate/ha/transport/cert"
)

const (
	// readBuffer in octets: some TLS records, so that small frames cost no call
	// each.
	readBuffer = 64 << 10
	// farewell is how long, and farewellOctets how much, we go on reading from
	// a connection that we refuse: a socket that is closed with data unread
	// resets the connection, and the peer never sees why.
	farewell       = 500 * time.Millisecond
	farewellOctets = 64 << 10
)

// handshake makes a session of a connection, or says why not. It ends with
// ctx. The caller closes conn after all.
func (p *peer) handshake(ctx context.Context, conn net.Conn, dialed bool) (*session, error) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	s, err := p.secure(ctx, conn, dialed)
	if err == nil {
		err = p.greet(s)
	}
	if err == nil && !stop() {
		s.end(context.Cause(ctx)) // in the last moment: run will find it so
	}
	if err == nil {
		return s, nil
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil, p.refusal(ReasonTimeout, fmt.Errorf("no session after %v: %w", p.mesh.cfg.Handshake, err))
	}
	sayFarewell(conn)
	return nil, err
}

// sayFarewell lets what we wrote last arrive.
func sayFarewell(conn net.Conn) {
	if half, ok := conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil &&
		conn.SetReadDeadline(time.Now().Add(farewell)) == nil {
		io.CopyN(io.Discard, conn, farewellOctets) //nolint:errcheck // whatever comes
	}
}

// secure shakes hands in TLS and finds out which member is there.
func (p *peer) secure(ctx context.Context, conn net.Conn, dialed bool) (*session, error) {
	m := p.mesh
	via := remoteOf(conn, p)
	c := m.tlsConfig(via)
	wrapped := stalling{conn, m.cfg.Stall}
	t := tls.Server(wrapped, c)
	if dialed {
		t = tls.Client(wrapped, c)
	}
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, p.tlsRefusal(err)
	}
	state := t.ConnectionState()
	trust := m.identity.Load()
	name, err := trust.Verify(state.PeerCertificates, via, time.Now())
	if err != nil {
		return nil, p.tlsRefusal(err)
	}
	s := &session{
		peer: p, raw: conn, tls: t, state: state, chain: state.PeerCertificates, trust: trust,
		in: bufio.NewReaderSize(t, readBuffer), out: newOutbox(m.cfg.Limits),
		done: make(chan struct{}), finished: make(chan struct{}),
		info: Session{Member: name.Member, Addr: p.addr, Via: via},
	}
	id, err := s.export("session", nil, 8)
	if err != nil {
		return nil, p.refusal(ReasonTLS, err)
	}
	s.info.ID = binary.BigEndian.Uint64(id)
	return s, nil
}

// remoteOf is the address of the other end.
func remoteOf(conn net.Conn, p *peer) netip.Addr {
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return p.addr.Addr()
}

// tlsConfig allows TLS 1.3 between two certificates of the group, and nothing
// else: no older version, no tickets, so no 0-RTT and no resumption without a
// look at the certificates.
func (m *Mesh) tlsConfig(via netip.Addr) *tls.Config {
	id := m.identity.Load()
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		MaxVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{id.TLS()},
		NextProtos:   []string{alpn},
		ClientAuth:   tls.RequireAnyClientCert,
		// Members have no host names. VerifyConnection does the verification, on
		// both ends, against the group's authority only.
		InsecureSkipVerify:          true, //nolint:gosec // see above
		SessionTicketsDisabled:      true,
		DynamicRecordSizingDisabled: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			if s.Version != tls.VersionTLS13 || s.NegotiatedProtocol != alpn {
				return fmt.Errorf("it does not speak %s over TLS 1.3", alpn)
			}
			_, err := id.Verify(s.PeerCertificates, via, time.Now())
			return err
		},
	}
}

// tlsRefusal classifies what ended a handshake.
func (p *peer) tlsRefusal(err error) *Refusal {
	switch {
	case errors.Is(err, cert.ErrGroup):
		return p.refusal(ReasonGroup, err)
	case errors.Is(err, cert.ErrUntrusted), errors.Is(err, cert.ErrUnnamed), errors.Is(err, cert.ErrAddress):
		return p.refusal(ReasonCertificate, err)
	}
	if alert := remoteAlert(err); alert != nil {
		return p.refusal(ReasonRemote, fmt.Errorf("it refused our certificate or our TLS: %w", alert))
	}
	return p.refusal(ReasonTLS, fmt.Errorf("no TLS 1.3 handshake: %w", err))
}

// greet exchanges hellos and finds, with the other end, that this connection is
// the one.
func (p *peer) greet(s *session) error {
	m := p.mesh
	ours := m.hello(p)
	if err := s.writeNow(ours.frame()); err != nil {
		return p.helloRefusal(err)
	}
	f, err := readFrame(s.in, maxControl)
	if err != nil {
		return p.helloRefusal(err)
	}
	s.hello, err = parseHello(f)
	if err != nil {
		return p.reject(s, p.refusal(ReasonHello, err))
	}
	if err := p.recognize(s, ours); err != nil {
		return p.reject(s, err)
	}
	if !m.decides(s) {
		f, err := readFrame(s.in, maxControl)
		if err == nil {
			err = parseVerdict(f)
		}
		if err != nil {
			m.lose(s, err)
			return p.helloRefusal(err)
		}
	}
	if err := m.admit(s); err != nil {
		return p.reject(s, err)
	}
	return nil
}

// recognize checks who says hello.
func (p *peer) recognize(s *session, ours hello) *Refusal {
	theirs := s.hello.Name
	switch {
	case theirs.Group != ours.Name.Group:
		return p.refusal(ReasonGroup, fmt.Errorf("it says that it is of group %d, and this is group %d", theirs.Group, ours.Name.Group))
	case theirs.Member != s.info.Member:
		return p.refusal(ReasonMember, fmt.Errorf("it says that it is member %d, with the certificate of member %d", theirs.Member, s.info.Member))
	case theirs.Member == ours.Name.Member:
		return p.refusal(ReasonMember, fmt.Errorf("it has our own member id, %d", theirs.Member))
	}
	if err := p.mesh.configured(s); err != nil {
		return err
	}
	var err error
	s.info.Capabilities = s.hello.Capabilities
	if s.info.Protocol, err = ours.common(s.hello); err != nil {
		return p.refusal(ReasonProtocol, err)
	}
	if s.keys, err = s.beatKeys(ours.Name.Member); err != nil {
		return p.refusal(ReasonTLS, err)
	}
	return nil
}

// reject tells the other end why.
func (p *peer) reject(s *session, r *Refusal) error {
	if err := s.writeNow(r.Reason.frame(r.Err.Error())); err != nil {
		p.log.Debug("reason for a refusal not delivered", "err", err)
	}
	return r
}

// helloRefusal classifies what ended the exchange of hellos.
func (p *peer) helloRefusal(err error) *Refusal {
	if said, ok := errors.AsType[*refusedError](err); ok {
		return p.refusal(said.reason, said)
	}
	if alert := remoteAlert(err); alert != nil { // TLS 1.3 tells a client late
		return p.refusal(ReasonRemote, fmt.Errorf("it refused our certificate: %w", alert))
	}
	return p.refusal(ReasonHello, fmt.Errorf("no hello: %w", err))
}

// remoteAlert is the alert that the peer sent, nil when that is not what err is
// about. crypto/tls has no type for it.
func remoteAlert(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		return op.Err
	}
	return nil
}

// export derives keys from the handshake (RFC 8446 section 7.5).
func (s *session) export(label string, context []byte, n int) ([]byte, error) {
	return s.state.ExportKeyingMaterial("EXPERIMENTAL evergate "+label, context, n)
}
