package e2e_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
)

// TestTransportMode protects what two gateways send each other themselves.
func TestTransportMode(t *testing.T) {
	t.Parallel()
	for _, o := range outers() {
		t.Run(o.name, func(t *testing.T) { transport(t, o) })
	}
}

func transport(t *testing.T, o outer) {
	t.Parallel()
	site := gateway.NewSite(netlab.New(t))
	singles(site)
	server := startGateway(site.Gateway, transportConfig("server", o.remote, o.local, o.nattraversal, ""))
	client := startGateway(site.Client, transportConfig("client", o.local, o.remote, o.nattraversal, ", auto-negotiate: enable"))
	server.WaitUp("server", 1)
	if mode := client.WaitUp("client", 1).Proxies[0].Mode; mode != "transport" {
		t.Errorf("the list of the client shows mode %q, want transport", mode)
	}
	capture := site.WAN.Capture("")
	wantPing(t, site.Client, o.local, o.remote, "between the gateways")
	_, err := netlab.Transfer{From: site.Client, Source: o.local, To: site.Gateway, Dest: o.remote, Bytes: 256 << 10}.Run(t.Context())
	if err != nil {
		t.Errorf("move 256 KiB between the gateways: %v", err)
	}
	var keys []netlab.ESPKey
	for _, sa := range sas(listWithKeys(t, client)[0]) {
		for _, half := range []struct{ spi, key string }{{sa.Enc.SPI, sa.Enc.Key}, {sa.Dec.SPI, sa.Dec.Key}} {
			keys = append(keys, netlab.ESPKey{SPI: spi(t, half.spi), Cipher: netlab.AESGCM16, CipherKey: octets(t, half.key)})
		}
	}
	found := make(map[string]int)
	for _, p := range capture.Decrypt("", keys...) {
		found[fmt.Sprintf("protocol %d from %v", p.Protocol, p.Src)]++
	}
	for _, addr := range []string{o.local, o.remote} {
		icmp := 1
		if netip.MustParseAddr(addr).Is6() {
			icmp = 58
		}
		for _, protocol := range []int{icmp, 6} {
			if want := fmt.Sprintf("protocol %d from %s", protocol, addr); found[want] == 0 {
				t.Errorf("on the wire inside ESP were %v, but not %s", found, want)
			}
		}
	}
	if plain := capture.Count("tcp && !esp || icmp.type == 8 && !esp || icmpv6.type == 128 && !esp"); plain > 0 {
		t.Errorf("%d packets between the gateways crossed the network in plaintext", plain)
	}
}

func transportConfig(name, local, remote, nattraversal, more string) string {
	return fmt.Sprintf(`
phase1:
  - {name: %[1]s, type: static, local-gw: %[2]q, remote-gw: %[3]q, nattraversal: %[4]s, add-route: enable, proposal: aes128-sha256, dhgrp: 31, psksecret: %[5]s}
phase2:
  - {name: %[1]s, phase1name: %[1]s, proposal: aes256gcm, esn: disable, encapsulation: transport-mode, src-subnet: %[2]q, dst-subnet: %[3]q%[6]s}
`, name, local, remote, nattraversal, secret, more)
}
