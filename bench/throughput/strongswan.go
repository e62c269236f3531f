package throughput

import (
	"fmt"
	"strings"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/strongswan"
	"github.com/evergate/evergate/core/netlab/vici"
)

const strongSwan = "strongswan kernel-libipsec"

// openStrongSwan starts charon at both ends and brings a tunnel up.
func openStrongSwan(tb netlab.TB, proposal string) (*pair, error) {
	p := newPair(tb, strongSwan, 0)
	connection := func(local, remote, localTS, remoteTS string) strongswan.Connection {
		return strongswan.Connection{
			Name: "peer", LocalAddrs: []string{local}, RemoteAddrs: []string{remote},
			Proposals: []string{"aes128-sha256-x25519"}, PSK: "a secret of this benchmark",
			Local: strongswan.Auth{ID: strongswan.FQDN(local)}, Remote: strongswan.Auth{ID: strongswan.FQDN(remote)},
			Children: []strongswan.Child{{
				Name: "net", LocalTS: []string{localTS}, RemoteTS: []string{remoteTS}, Proposals: []string{strongSwanProposal(proposal)},
			}},
		}
	}
	one := clientAddr(0).String() + "/32"
	gateway := strongswan.Start(p.gateway.ns, strongswan.Settings{})
	client := strongswan.Start(p.client.ns, strongswan.Settings{})
	gateway.Load(connection(gatewayOuter, clientOuter, senderAddr+"/32", one))
	client.Load(connection(clientOuter, gatewayOuter, one, senderAddr+"/32"))
	p.gateway.pid, p.client.pid = gateway.Process().PID(), client.Process().PID()
	if err := gateway.Initiate("net"); err != nil {
		return nil, fmt.Errorf("throughput: %w", err)
	}
	version, err := gateway.Call("version", vici.Message{})
	if err != nil {
		return nil, fmt.Errorf("throughput: ask strongSwan for its version: %w", err)
	}
	p.version = version.Get("version")
	return p, nil
}

// strongSwanProposal turns a proposal into strongSwan's words, which name the
// length of the ICV of an AEAD.
func strongSwanProposal(ours string) string {
	if strings.HasSuffix(ours, "gcm") {
		return ours + "16"
	}
	return ours
}
