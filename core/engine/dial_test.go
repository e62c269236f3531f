package engine

import (
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/mem"
)

// newCallingPair is a pair whose server can call its client, and does so when it is
// told to.
func newCallingPair(t *testing.T, change ...func(*Connection)) *pair {
	p := newPair(t)
	server := caller()
	server.AutoNegotiate = nil
	server.Children[0].Selectors = ipsec.Selectors{
		Local:  []ipsec.TrafficSelector{ipsec.SelectorOf(serverNet)},
		Remote: []ipsec.TrafficSelector{ipsec.SelectorOf(clientNet)},
	}
	p.server = p.gateway("server", 1, changed(server, change))
	p.client = p.gateway("client", 2, changed(dialupClient(), change))
	return p
}

// serverCalls has the server bring the tunnel up, which it may have taken down.
func (p *pair) serverCalls() TunnelStatus {
	p.t.Helper()
	p.server.step(Up{Name: "vpn1"})
	p.deliver()
	called := p.client.only()
	if called.IKE.Initiator {
		p.t.Fatalf("the client initiated %v, want the server to", called.ID)
	}
	return called
}

// wantKept checks that the client has the tunnel that the server called it with and no
// other, and that it dials when the server ends that.
func (p *pair) wantKept(called TunnelStatus) {
	p.t.Helper()
	p.pass(10 * time.Second)
	if now := p.client.only(); now.ID != called.ID {
		p.t.Errorf("the client has %v, want %v, which the server called it with", now.ID, called.ID)
	}
	p.server.only()
	p.server.step(Down{Name: "vpn1"})
	p.deliver()
	p.pass(2 * firstRedial)
	if again := p.client.only(); !again.IKE.Initiator {
		p.t.Errorf("the client did not dial when the server had ended %v", called.ID)
	}
}

// dialects are what a connection may speak.
var dialects = map[string][]func(*Connection){"IKEv2": nil, "main mode": {speakV1}, "aggressive mode": {speakV1, aggressively}}

// TestPeerThatCallsFirstIsNotCalled: a client loses its tunnel and plans to dial, and the
// server calls it before that.
func TestPeerThatCallsFirstIsNotCalled(t *testing.T) {
	for name, change := range dialects {
		t.Run(name, func(t *testing.T) {
			p := newCallingPair(t, change...)
			p.dial()
			p.server.step(Down{Name: "vpn1"})
			p.deliver()
			if d := p.client.shard.dial["office"]; d == nil || d.at.IsZero() {
				t.Fatal("the client does not plan to dial again")
			}
			p.wantKept(p.serverCalls())
		})
	}
}

// TestOperatorBringsUpWhatIsUp: a client's operator hangs up, the server calls, and the
// operator asks for the tunnel that is there.
func TestOperatorBringsUpWhatIsUp(t *testing.T) {
	for name, change := range dialects {
		t.Run(name, func(t *testing.T) {
			p := newCallingPair(t, change...)
			p.dial()
			p.client.step(Down{Name: "office"})
			p.deliver()
			called := p.serverCalls()
			p.client.step(Up{Name: "office"})
			p.deliver()
			p.wantKept(called)
		})
	}
}

// TestPacketOfATunnelThatThePeerBroughtUpStartsNoOther: a dataplane asks for SAs that the
// server has brought up before anybody dialed.
func TestPacketOfATunnelThatThePeerBroughtUpStartsNoOther(t *testing.T) {
	p := newCallingPair(t)
	called := p.serverCalls()
	p.client.plane.Acquire(ipsec.SelectorOf(clientNet), ipsec.SelectorOf(serverNet))
	p.deliver()
	if now := p.client.only(); now.ID != called.ID {
		t.Errorf("the client has %v, want %v, which the server called it with", now.ID, called.ID)
	}
}

// TestChildThatATunnelOfThePeersLacksIsAskedFor: the child that the server called with
// could not be made. A client that is to keep it up asks for it in the tunnel that is
// there.
func TestChildThatATunnelOfThePeersLacksIsAskedFor(t *testing.T) {
	p := newCallingPair(t)
	p.client.plane.Inject(mem.CallInstall, mem.Fail(offload.ErrExhausted))
	p.server.step(Up{Name: "vpn1"})
	p.deliver()
	called := p.client.shard.Tunnels(p.now)
	if len(called) != 1 || len(called[0].Children) != 0 {
		t.Fatalf("the client has %+v, want one tunnel without a child", called)
	}
	p.client.step(Reload{p.client.shard.policy.Policy})
	p.deliver()
	if now := p.client.only(); now.ID != called[0].ID {
		t.Error("the client has another tunnel, want the child in the one that was up")
	}
}
