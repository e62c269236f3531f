// Package strongswan drives strongSwan's charon as a real peer inside a
// namespace of netlab. ESP is that of its kernel-libipsec plugin, in user
// space over a TUN interface named ipsec0 with an MTU of 1400 octets, so no
// kernel support is needed; its SAs are always UDP-encapsulated, and it has no
// extended sequence numbers. Settings.KernelESP makes it the kernel's instead,
// which package vm has.
//
//	d := strongswan.Start(client, strongswan.Settings{})
//	d.Load(strongswan.Connection{
//		Name: "gw", RemoteAddrs: []string{"192.0.2.2"}, Proposals: []string{"aes128-sha256-x25519"},
//		Local:  strongswan.Auth{ID: strongswan.FQDN("client.example")},
//		Remote: strongswan.Auth{ID: strongswan.FQDN("gw.example")},
//		PSK:    "secret",
//		Children: []strongswan.Child{{Name: "net", RemoteTS: []string{"10.1.0.0/16"}}},
//	})
//	if err := d.Initiate("net"); err != nil { ... } // with charon's own account of it
//
// Everything goes over VICI; the connection is rendered in the notation of
// swanctl.conf where a person has to see it.
package strongswan
