package e2e_test

import (
	"strings"
	"testing"

	"github.com/evergate/evergate/core/netlab/strongswan"
)

// TestStrongSwanUsesTheKernelsESP brings up a tunnel between two charons with
// extended sequence numbers, raw and in UDP, which kernel-libipsec cannot.
func TestStrongSwanUsesTheKernelsESP(t *testing.T) {
	for name, inUDP := range map[string]bool{"raw ESP": false, "ESP in UDP": true} {
		t.Run(name, func(t *testing.T) {
			client, gateway, wan := connect(t)
			dialer := strongswan.Start(client, strongswan.Settings{KernelESP: true})
			server := strongswan.Start(gateway, strongswan.Settings{KernelESP: true})
			connection := func(peer, inner, peerInner string) strongswan.Connection {
				return strongswan.Connection{
					Name: "home", RemoteAddrs: []string{peer}, Proposals: []string{"aes128-sha256-x25519"},
					PSK: "correct horse", ForceEncap: inUDP,
					Children: []strongswan.Child{{
						Name: "net", Proposals: []string{"aes128gcm16-esn"},
						LocalTS: []string{inner + "/32"}, RemoteTS: []string{peerInner + "/32"},
					}},
				}
			}
			dialer.Load(connection(gatewayAddr, clientInner, gatewayInner))
			server.Load(connection(clientAddr, gatewayInner, clientInner))
			capture := wan.Capture("")
			if err := dialer.Initiate("net"); err != nil {
				t.Fatalf("The client does not get its tunnel: %v", err)
			}
			ping(t, client)

			if state := ip(t, client, "xfrm", "state"); strings.Count(state, "flag af-unspec esn") != 2 {
				t.Errorf("The kernel should have two SAs with extended sequence numbers:\n%s", state)
			}
			if in := server.Child("net"); in.PacketsIn != 3 || in.Encap != inUDP {
				t.Errorf("The gateway has %+v, want three packets, in UDP: %v.", in, inUDP)
			}
			packets := capture.ESP("")
			for _, p := range packets {
				if p.Encapsulated != inUDP {
					t.Errorf("ESP passed the wire as %+v, want it in UDP: %v.", p, inUDP)
				}
			}
			if len(packets) != 6 {
				t.Errorf("%d packets of ESP passed the wire, not 3 each way.", len(packets))
			}
		})
	}
}
