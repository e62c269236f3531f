package ikev1_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/strongswan"
	"github.com/evergate/evergate/ike"
)

// ends are the gateway and a client that is strongSwan.
type ends struct {
	t       *testing.T
	gateway *gateway
	charon  *strongswan.Daemon
}

// set is how the two ends are set up, to begin with.
type set struct {
	ours     *ike.Connection
	theirs   strongswan.Connection
	settings strongswan.Settings
	pool     string // of ours
	theirsIP string // the pool of theirs
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func host(a string) []ipsec.TrafficSelector {
	return []ipsec.TrafficSelector{ipsec.SelectorOf(netip.MustParsePrefix(a + "/32"))}
}

func connect(t *testing.T, change ...func(*set)) *ends {
	t.Helper()
	t.Parallel()
	s := set{
		ours: &ike.Connection{
			Name: "home", Local: netip.MustParseAddr(gatewayAddr), Remote: netip.MustParseAddr(clientAddr),
			Proposals: []ipsec.Proposal{must(ipsec.ParseIKEProposal("aes128-sha256")).WithGroups(ipsec.GroupECP256)},
			LocalID:   ike.Identity{Type: ike.IDFQDN, Data: "gw.example"}, RemoteID: ike.Identity{Type: ike.IDText, Data: "client.example"},
			PSK: ipsec.CopyKey([]byte("correct horse")), DPD: ike.DPD{Mode: ike.DPDOff}, V1: &ike.IKEv1{},
			Children: []*ike.Child{{
				Name: "net", Proposals: []ipsec.Proposal{must(ipsec.ParseESPProposal("aes128-sha256"))},
				Selectors: ipsec.Selectors{Local: host(gatewayInner), Remote: host(clientInner)},
			}},
		},
		theirs: strongswan.Connection{
			Name: "home", Version: 1, LocalAddrs: []string{clientAddr}, RemoteAddrs: []string{gatewayAddr},
			Proposals: []string{"aes128-sha256-ecp256"}, PSK: "correct horse",
			Local:  strongswan.Auth{ID: strongswan.FQDN("client.example")},
			Remote: strongswan.Auth{ID: strongswan.FQDN("gw.example")},
			Children: []strongswan.Child{{
				Name: "net", LocalTS: []string{clientInner + "/32"}, RemoteTS: []string{gatewayInner + "/32"}, Proposals: []string{"aes128-sha256"},
			}},
		},
		settings: strongswan.Settings{LogKeys: true, RetransmitTimeout: time.Second},
	}
	for _, f := range change {
		f(&s)
	}
	lab := netlab.New(t)
	gateway, client := lab.Namespace("gateway"), lab.Namespace("client")
	lab.Link(gateway.Port("wan", gatewayAddr+"/24"), client.Port("wan", clientAddr+"/24"))
	client.Loopback(clientInner + "/32")
	e := &ends{t: t, charon: strongswan.Start(client, s.settings)}
	if s.theirsIP != "" {
		e.charon.LoadPool("inner", s.theirsIP)
	}
	e.charon.Load(s.theirs)
	e.gateway = startGateway(t, gateway, s.pool, s.ours)
	return e
}

// initiate has the client dial.
func (e *ends) initiate() {
	e.t.Helper()
	if err := e.charon.Initiate("net"); err != nil {
		e.t.Fatalf("The client does not get its tunnel: %v.", err)
	}
	e.gateway.waitUp(1)
	e.wantSameKeys()
}

// dial has the gateway dial.
func (e *ends) dial() {
	e.t.Helper()
	e.gateway.dial()
	e.gateway.waitUp(1)
	e.charon.WaitChild("net", patience)
	e.wantSameKeys()
}

// wantSameKeys checks that both ends have the same keys for the pair in use.
func (e *ends) wantSameKeys() {
	e.t.Helper()
	sa := e.charon.WaitChild("net", patience)
	ours := e.gateway.sas()
	keys := e.charon.ESPKeys()
	for _, spi := range []uint32{sa.SPIIn, sa.SPIOut} {
		our, ok := ours[ipsec.SPI(spi)]
		if !ok {
			e.t.Errorf("The client has an SA with SPI %08x, the gateway has not: %v.", spi, ours)
			continue
		}
		found := false
		for _, k := range keys {
			if k.SPI == spi {
				found = our.Encryption.Equal(ipsec.CopyKey(k.CipherKey)) && our.Integrity.Equal(ipsec.CopyKey(k.IntegrityKey))
			}
		}
		if !found {
			e.t.Errorf("The two ends do not have the same keys for SPI %08x.", spi)
		}
	}
}
