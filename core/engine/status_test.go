package engine

import "testing"

func TestSAOnItsWayIntoTheDataplaneIsNotListed(t *testing.T) { // C10: the name is there before the SA
	p := newPair(t)
	p.server.hold = true
	p.client.step(Reload{p.client.shard.policy.Policy})
	p.deliver()
	if tunnel := p.server.shard.Tunnels(p.now)[0]; tunnel.Name != "vpn1_0" || len(tunnel.Children) != 0 {
		t.Errorf("while the dataplane installs its SAs, tunnel %q is listed with %d pairs, want vpn1_0 with none", tunnel.Name, len(tunnel.Children))
	}
	p.server.release()
	p.deliver()
	if n := len(p.server.only().Children); n != 1 {
		t.Errorf("the tunnel is listed with %d pairs, want one", n)
	}
}
