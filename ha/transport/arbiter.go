package transport

import (
	"errors"
	"fmt"
	"time"
)

// hello is what we tell a peer first.
func (m *Mesh) hello(p *peer) hello {
	m.mu.Lock()
	defer m.mu.Unlock()
	return hello{
		Name: m.us, Min: m.cfg.MinProtocol, Max: m.cfg.MaxProtocol,
		Capabilities: m.cfg.Capabilities, Start: m.start, Lost: p.lost,
	}
}

// decides tells whether it is for us to say which connection lives.
func (m *Mesh) decides(s *session) bool { return m.us.Member < s.info.Member }

// admit makes s the session with its member, or says why not. Every session
// that was admitted must run.
func (m *Mesh) admit(s *session) *Refusal {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := s.peer
	if err := s.welcome(); err != nil {
		return err
	}
	holder := m.sessions[s.info.Member]
	if holder != nil && holder.peer != p && !holder.ended() {
		return p.refusal(ReasonDuplicate, fmt.Errorf("it is member %d, which is connected from %v", s.info.Member, holder.peer.addr.Addr()))
	}
	if now := p.current; now != nil && !now.ended() {
		if !now.begun {
			return p.refusal(ReasonBusy, errors.New("another connection is about to begin"))
		}
		if m.decides(s) && !s.supersedes(now) {
			return p.refusal(ReasonCrossed, errors.New("another connection with it lives"))
		}
	}
	for _, before := range []*session{p.current, holder} {
		if before != nil {
			before.end(errReplaced)
			s.after = append(s.after, before.finished)
		}
	}
	p.current, m.sessions[s.info.Member] = s, s
	return nil
}

// configured checks a session's member against what is configured now.
func (m *Mesh) configured(s *session) *Refusal {
	m.mu.Lock()
	defer m.mu.Unlock()
	return s.welcome()
}

// welcome checks what SetPeers and SetIdentity can change while hands are
// shaken. The caller holds mesh.mu.
func (s *session) welcome() *Refusal {
	p := s.peer
	switch {
	case p.removed:
		return p.refusal(ReasonMember, errors.New("it is no longer configured"))
	case p.pin != nil && *p.pin != s.info.Member:
		return p.refusal(ReasonMember, fmt.Errorf("it is member %d, and %d is configured for its address", s.info.Member, *p.pin))
	}
	if now := p.mesh.identity.Load(); now != s.trust {
		if _, err := now.Verify(s.chain, s.info.Via, time.Now()); err != nil {
			return p.tlsRefusal(err)
		}
	}
	return nil
}

// supersedes tells whether the peer has lost the session that we have with it:
// by a new start, by another identity, or as it says itself.
func (s *session) supersedes(now *session) bool {
	return s.hello.Start != now.hello.Start || s.info.Member != now.info.Member || s.hello.Lost == now.info.ID
}

// lose notes that the other end may think that it has a session.
func (m *Mesh) lose(s *session, err error) {
	if _, refused := errors.AsType[*refusedError](err); refused {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s.peer.lost = s.info.ID
}

// begin lets callers send.
func (m *Mesh) begin(s *session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s.begun = true
	m.open[s.info.Member].Store(s)
	m.beats[s.info.Member].Store(s.peer)
}

// release is begin's end.
func (m *Mesh) release(s *session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := s.peer
	m.open[s.info.Member].CompareAndSwap(s, nil)
	if m.sessions[s.info.Member] == s {
		m.sessions[s.info.Member] = nil
	}
	if p.current == s {
		p.current = nil
	}
	p.lost = s.info.ID
}
