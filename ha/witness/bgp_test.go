package witness_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/evergate/evergate/ha/witness"
)

func TestFitMembersShareTheGateway(t *testing.T) { // F4, F9
	s := newSite(t, 2, session4)
	a, b := s.start(1, s.config(1)), s.start(2, s.config(2))
	a.do("fit", "")
	s.wantRoute("one fit member gets all traffic", gateway4, 1)
	b.do("fit", "")
	s.wantRoute("two fit members share it", gateway4, 1, 2)
	a.do("unfit", "")
	s.wantRoute("a member that is not fit gets none", gateway4, 2)
	b.stop()
	s.wantRoute("a member that stops takes its routes with it", gateway4)
	a.stop()
}

func TestOwnerAloneGetsItsClientsTraffic(t *testing.T) { // F12
	const network = "10.99.1.0/24"
	s := newSite(t, 2, session4)
	a, b := s.start(1, s.config(1)), s.start(2, s.config(2))
	for _, m := range []*member{a, b} {
		m.do("fit", "")
	}
	a.do("own", "vpn1_1", network)
	b.do("stand by", "vpn1_1", network)
	s.wantRoute("the owner gets the client's traffic", network, 1)
	s.wantRoute("while both get the gateway's", gateway4, 1, 2)

	b.do("own", "vpn1_1", network)
	s.wantRoute("the new owner is known before the old one steps back", network, 1, 2)
	a.do("disown", "vpn1_1")
	s.wantRoute("the tunnel has moved", network, 2)
	b.do("disown", "vpn1_1")
	s.wantRoute("the client is gone", network)
}

func TestHiddenGatewaysAreNotAnnounced(t *testing.T) {
	const network = "10.99.1.0/24"
	s := newSite(t, 1, session4)
	c := s.config(1)
	c.Hide = true
	m := s.start(1, c)
	m.do("fit", "")
	m.do("own", "vpn1_1", network)
	s.wantRoute("the client's network is announced", network, 1)
	s.wantRoute("the gateway's address is not", gateway4)
	refused := m.order("own", "vpn1_2", gateway4)
	if got := m.process.WaitLog(refused, limit)[1]; !strings.Contains(got, "is an address of the gateways") {
		t.Errorf("A client may have the gateway's hidden address announced: %s.", got)
	}
}

func TestStandbyIsTheNextPath(t *testing.T) {
	const network = "10.99.1.0/24"
	s := newSite(t, 2, session4)
	var members []*member
	for k := 1; k <= 2; k++ {
		c := s.config(k)
		c.BGP.AnnounceStandby = true
		members = append(members, s.start(k, c))
		members[k-1].do("fit", "")
	}
	members[0].do("own", "vpn1_1", network)
	members[1].do("stand by", "vpn1_1", network)
	s.wantRoute("both members have their sessions", gateway4, 1, 2)
	s.wantRoute("the router prefers the owner", network, 1)
	if routes := s.bird.Show("route for " + network + " all"); strings.Count(routes, "BGP.med") != 2 {
		t.Fatalf("The router knows no second path:\n%s", routes)
	}
	members[0].process.Kill()
	s.wantRoute("the standby takes over when the owner dies", network, 2)
}

func TestDeadMemberLosesItsRoutes(t *testing.T) { // F4
	s := newSite(t, 2, session4)
	a, b := s.start(1, s.config(1)), s.start(2, s.config(2))
	a.do("fit", "")
	b.do("fit", "")
	s.wantRoute("both are fit", gateway4, 1, 2)

	a.process.Signal(syscall.SIGSTOP)
	s.wantRoute("the hold timer finds a frozen member", gateway4, 2)
	a.process.Signal(syscall.SIGCONT)
	s.wantRoute("one that goes on is back by itself", gateway4, 1, 2)
	lost := wantState(a, "the member knows what happened", func(n witness.NeighborStatus) bool { return n.Lost > 0 })
	if lost.LastError == "" || lost.LastErrorAt.IsZero() {
		t.Errorf("The member does not say why it lost its session: %+v.", lost)
	}

	b.process.Kill()
	s.wantRoute("a process that dies is found at once", gateway4, 1)
	s.links[0].Down()
	s.wantRoute("a member without a link is gone", gateway4)
	s.links[0].Up()
	s.wantRoute("and is back with it", gateway4, 1)
}

func TestThousandsOfPrefixesConverge(t *testing.T) { // F11
	const count = 3000
	s := newSite(t, 1, session4)
	m := s.start(1, s.config(1))
	for i := range count / 100 {
		var networks []string
		for j := range 100 {
			networks = append(networks, fmt.Sprintf("100.%d.%d.0/24", 64+(i*100+j)>>8, (i*100+j)&0xff))
		}
		m.do("own", fmt.Sprintf("vpn1_%d", i), networks...)
	}
	m.do("fit", "")
	s.wantRoutes("the router has all prefixes", count+1)
	wantState(m, "and the member knows", func(n witness.NeighborStatus) bool { return n.Announced == count+1 })
	s.wantRoute("and uses them", "100.75.183.0/24", 1)

	announced := m.status().Announced
	m.do("own", "vpn1_7", "100.66.188.0/24") // one of those it had
	m.do("fit", "")
	s.wantRoute("what is left is as it was", "100.66.188.0/24", 1)
	s.wantRoute("what was left out is gone", "100.66.189.0/24")
	if got := m.status(); got.Announced != announced || got.Withdrawn != 99 {
		t.Errorf("Giving up 99 prefixes made %d announcements and %d withdrawals.", got.Announced-announced, got.Withdrawn)
	}
	m.do("unfit", "")
	s.wantRoutes("an unfit member takes all back", 0)
	wantState(m, "and knows that none is left", func(n witness.NeighborStatus) bool { return n.Announced == 0 })
}
