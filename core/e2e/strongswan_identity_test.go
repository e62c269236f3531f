package e2e_test

import (
	"testing"

	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/strongswan"
)

// TestEveryTypeOfIdentity dials in under each type of identity of RFC 7296
// section 3.5 to a gateway that has one of the same type. Every pair has a
// pre-shared key of its own, so a tunnel shows that each side took the other for
// whom it is.
func TestEveryTypeOfIdentity(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name        string
		client      strongswan.ID
		peer        entry // how phase 1 knows the client
		server      strongswan.ID
		us          entry  // who phase 1 says we are
		shown, back string // the client by the gateway, the gateway by charon
	}{
		{
			"address", strongswan.IPv4("198.51.100.7"),
			entry{"peertype": "one", "peerid": "198.51.100.7"},
			strongswan.IPv4(gateway.GatewayAddr),
			entry{"localid": ""},
			"198.51.100.7", gateway.GatewayAddr,
		},
		{
			"address6", strongswan.IPv6("2001:db8::7"),
			entry{"peertype": "one", "peerid": `"2001:db8::7"`},
			strongswan.IPv6("2001:db8::31"),
			entry{"localid": `"2001:db8::31"`, "localid-type": "address"},
			"2001:db8::7", "2001:db8::31",
		},
		{
			"fqdn", strongswan.FQDN("Branch.Example"),
			entry{"peertype": "one", "peerid": "branch.example"},
			strongswan.FQDN("gw.example"),
			entry{"localid": "gw.example", "localid-type": "fqdn"},
			"Branch.Example", "gw.example",
		},
		{
			"user", strongswan.RFC822("branch@example.com"),
			entry{"peertype": "one", "peerid": "branch@example.com"},
			strongswan.RFC822("gw@example.com"),
			entry{"localid": "gw@example.com", "localid-type": "user-fqdn"},
			"branch@example.com", "gw@example.com",
		},
		{
			"keyid", strongswan.KeyID([]byte("Branch/7")),
			entry{"peertype": "one", "peerid": "Branch/7"},
			strongswan.KeyID([]byte("gw-key")),
			entry{"localid": "gw-key", "localid-type": "keyid"},
			"Branch/7", "gw-key",
		},
		{
			"name", strongswan.DN("C=CH, O=Example, CN=branch"),
			entry{"peertype": "any"},
			strongswan.DN("C=CH, O=Example, CN=gw"),
			entry{"localid": `"C=CH, O=Example, CN=gw"`, "localid-type": "asn1dn"},
			"C=CH,O=Example,CN=branch", "C=CH, O=Example, CN=gw",
		},
	}
	var phase1, phase2 []entry
	for _, row := range rows {
		phase1 = append(phase1, server1().with(entry{"name": row.name, "psksecret": "key-of-" + row.name}).with(row.peer).with(row.us))
		phase2 = append(phase2, server2().with(entry{"name": row.name, "phase1name": row.name}))
	}
	d := dialIn(t, config(phase1, phase2), strongswan.Settings{})
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			d := d.within(t)
			c := client()
			c.Name, c.Children[0].Name = row.name, row.name
			c.Local.ID, c.Remote.ID, c.PSK = row.client, row.server, "key-of-"+row.name
			d.charon.Load(c)
			d.up(row.name)
			d.ping()
			tunnel := d.evergate.Tunnel(row.name + "_0")
			if tunnel.RemoteID != row.shown {
				t.Errorf("the gateway shows its peer as %q, want %q", tunnel.RemoteID, row.shown)
			}
			if got := d.charon.IKE(row.name).RemoteID; got != row.back {
				t.Errorf("charon shows the gateway as %q, want %q", got, row.back)
			}
			if err := d.charon.TerminateIKE(row.name); err != nil {
				t.Fatal(err)
			}
			d.wantGone(row.name)
		})
	}
}
