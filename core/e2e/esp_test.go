package e2e_test

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/diag"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
)

// outer is how the packets of a tunnel travel.
type outer struct {
	name          string
	local, remote string // addresses of client and gateway
	nattraversal  string
	net           int // tells the inner addresses of the outer ways apart
	encapsulated  bool
}

func outers() []outer {
	return []outer{
		{"raw-v4", gateway.ClientAddr, gateway.GatewayAddr, "disable", 20, false},
		{"udp-v4", gateway.ClientAddr, gateway.GatewayAddr, "forced", 21, true},
		{"raw-v6", gateway.ClientAddr6, gateway.GatewayAddr6, "disable", 22, false},
		{"udp-v6", gateway.ClientAddr6, gateway.GatewayAddr6, "forced", 23, true},
	}
}

// host4 and host6 are the inner addresses of the client for one cipher.
func (o outer) host4(row int) string { return fmt.Sprintf("10.%d.%d.1", o.net, row) }
func (o outer) host6(row int) string { return fmt.Sprintf("fd00:%d::%d", o.net, row) }

// espProposals are all that a phase 2 can have, AEAD and not, strong and weak.
func espProposals() []string {
	return []string{
		"aes128-sha1", "aes192-sha256", "aes256-sha512", "aes128-sha384", "aes256-sha256",
		"aes128ctr-sha1", "aes256ctr-sha256", "aes128gcm", "aes192gcm", "aes256gcm", "aes128gcm12", "aes256gcm8",
		"chacha20poly1305", "3des-sha1", "null-sha256",
	}
}

// esn tells which of them are used with extended sequence numbers here, one of
// each kind.
func esn(row int) bool {
	return slices.Contains([]string{"aes256-sha512", "aes192gcm", "aes128gcm12", "chacha20poly1305", "null-sha256"}, espProposals()[row])
}

// TestESP moves data through every cipher, raw and in UDP, over and of IPv4 and
// IPv6, and has other implementations decrypt what was on the wire with the keys
// that the operator's tool shows.
func TestESP(t *testing.T) {
	t.Parallel()
	site := gateway.NewSite(netlab.New(t))
	singles(site)
	server := startGateway(site.Gateway, espServer())
	client := startGateway(site.Client, espClient(site))
	for _, o := range outers() {
		client.WaitUp(o.name, len(espProposals()))
		server.WaitUp(o.name, len(espProposals()))
	}
	capture := site.WAN.Capture("")
	for _, o := range outers() {
		for row, proposal := range espProposals() {
			t.Run(o.name+"/"+proposal, func(t *testing.T) { carry(t, site, o, row) })
		}
	}
	keys := espKeys(t, listWithKeys(t, client))
	checkWire(t, capture, keys)
}

func espServer() string {
	var b strings.Builder
	b.WriteString("phase1:\n")
	for _, o := range outers() {
		fmt.Fprintf(&b, "  - {name: %s, type: dynamic, local-gw: %q, peertype: one, peerid: %s, nattraversal: enable, proposal: aes128-sha256, dhgrp: 31, psksecret: %s}\n",
			o.name, o.remote, o.name, secret)
	}
	b.WriteString("phase2:\n")
	for _, o := range outers() {
		fmt.Fprintf(&b, "  - {name: %s, phase1name: %s, proposal: [%s], src-subnet: [0.0.0.0/0, \"::/0\"], dst-subnet: [0.0.0.0/0, \"::/0\"]}\n",
			o.name, o.name, strings.Join(espProposals(), ", "))
	}
	return b.String()
}

// espClient has a phase 2 for each cipher, with addresses of its own.
func espClient(site *gateway.Site) string {
	var b strings.Builder
	b.WriteString("phase1:\n")
	for _, o := range outers() {
		fmt.Fprintf(&b, "  - {name: %s, type: static, local-gw: %q, remote-gw: %q, localid: %s, nattraversal: %s, add-route: enable, proposal: aes128-sha256, dhgrp: 31, psksecret: %s}\n",
			o.name, o.local, o.remote, o.name, o.nattraversal, secret)
	}
	b.WriteString("phase2:\n")
	for _, o := range outers() {
		for row, proposal := range espProposals() {
			site.Client.Loopback(o.host4(row)+"/32", o.host6(row)+"/128")
			fmt.Fprintf(&b, "  - {name: %s-%d, phase1name: %s, proposal: %s, esn: %s, src-subnet: [%s, %q], dst-subnet: [%s, %q], auto-negotiate: enable}\n",
				o.name, row, o.name, proposal, map[bool]string{true: "require", false: "disable"}[esn(row)],
				o.host4(row), o.host6(row), gateway.ServerNet, gateway.ServerNet6)
		}
	}
	return b.String()
}

// carry moves data of both inner families.
func carry(t *testing.T, site *gateway.Site, o outer, row int) {
	for source, dest := range map[string]string{o.host4(row): gateway.ServerHost, o.host6(row): gateway.ServerHost6} {
		_, err := netlab.Transfer{From: site.Client, Source: source, To: site.Server, Dest: dest, Bytes: 64 << 10, Seed: uint64(row)}.Run(t.Context())
		if err != nil {
			t.Errorf("move 64 KiB from %s to %s: %v", source, dest, err)
		}
	}
}

// espKey is one direction of an SA.
type espKey struct {
	outer          outer
	proposal       string
	esn            bool
	src, dst       []netip.Addr // inner addresses, IPv4 and IPv6
	spi            uint32
	key, integrity []byte
}

// espKeys reads the tunnel list of the client: both directions of all SAs.
func espKeys(t *testing.T, tunnels []diag.Tunnel) map[uint32]espKey {
	t.Helper()
	keys := make(map[uint32]espKey)
	for _, tunnel := range tunnels {
		o := outers()[slices.IndexFunc(outers(), func(o outer) bool { return o.name == tunnel.Phase1 })]
		if tunnel.NATT.Mode == "none" == o.encapsulated {
			t.Errorf("tunnel %s has natt mode %q", tunnel.Name, tunnel.NATT.Mode)
		}
		for _, p := range tunnel.Proxies {
			row, err := strconv.Atoi(strings.TrimPrefix(p.Name, o.name+"-"))
			if err != nil || len(p.SAs) != 1 {
				t.Fatalf("tunnel %s has a proxy %s with %d SAs, want one for each cipher", tunnel.Name, p.Name, len(p.SAs))
			}
			if p.SAs[0].ESN != esn(row) {
				t.Errorf("%s of %s: extended sequence numbers are %t, want %t", espProposals()[row], o.name, p.SAs[0].ESN, esn(row))
			}
			here := []netip.Addr{netip.MustParseAddr(o.host4(row)), netip.MustParseAddr(o.host6(row))}
			there := []netip.Addr{netip.MustParseAddr(gateway.ServerHost), netip.MustParseAddr(gateway.ServerHost6)}
			for i, half := range []diag.Half{p.SAs[0].Enc, p.SAs[0].Dec} {
				k := espKey{outer: o, proposal: espProposals()[row], esn: esn(row), src: here, dst: there, spi: spi(t, half.SPI)}
				if i == 1 {
					k.src, k.dst = there, here
				}
				k.key, k.integrity = octets(t, half.Key), octets(t, half.HashKey)
				keys[k.spi] = k
			}
		}
	}
	return keys
}

func spi(t *testing.T, s string) uint32 {
	t.Helper()
	n, err := strconv.ParseUint(s, 16, 32)
	if err != nil {
		t.Fatalf("the list shows SPI %q: %v", s, err)
	}
	return uint32(n)
}

func octets(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatalf("the list shows a key that is not hexadecimal: %v", err)
	}
	return b
}

// checkWire decrypts a capture without Evergate's help.
func checkWire(t *testing.T, c *netlab.Capture, keys map[uint32]espKey) {
	t.Helper()
	inside := make(map[uint32]map[netip.Addr]int) // packets by source
	found := func(spi uint32, src, dst netip.Addr) {
		k := keys[spi]
		i := slices.Index(k.src, src)
		if i < 0 || k.dst[i] != dst {
			t.Errorf("%s over %s: a packet from %v to %v was inside ESP with SPI %08x, which is not for them", k.proposal, k.outer.name, src, dst, spi)
		}
		if inside[spi] == nil {
			inside[spi] = make(map[netip.Addr]int)
		}
		inside[spi][src]++
	}
	var table []netlab.ESPKey
	for _, k := range keys {
		if cipher, integrity := tsharkNames(k.proposal); !k.second() {
			table = append(table, netlab.ESPKey{SPI: k.spi, Cipher: cipher, CipherKey: k.key, Integrity: integrity, IntegrityKey: k.integrity})
		}
	}
	for _, p := range c.Decrypt("", table...) {
		found(p.SPI, p.Src, p.Dst)
	}
	for _, p := range espOf(t, c) {
		k, ok := keys[p.spi]
		if !ok {
			t.Fatalf("ESP with SPI %08x was on the wire, which no tunnel lists", p.spi)
		}
		if k.second() {
			src, dst := k.open(t, p)
			found(p.spi, src, dst)
		}
	}
	for spi, k := range keys {
		for _, src := range k.src {
			if inside[spi][src] == 0 {
				t.Errorf("%s over %s: no packet from %v was found inside ESP with SPI %08x", k.proposal, k.outer.name, src, spi)
			}
		}
	}
	if plain := c.Count("tcp && !esp"); plain > 0 {
		t.Errorf("%d packets of TCP crossed the network in plaintext", plain)
	}
}

// tsharkNames are tshark's words for a proposal.
func tsharkNames(proposal string) (netlab.Cipher, netlab.Integrity) {
	cipher, hash, _ := strings.Cut(proposal, "-")
	integrity := map[string]netlab.Integrity{
		"": netlab.NoIntegrity, "sha1": netlab.HMACSHA1, "sha256": netlab.HMACSHA256, "sha384": netlab.HMACSHA384, "sha512": netlab.HMACSHA512,
	}[hash]
	switch {
	case cipher == "null":
		return netlab.NullCipher, integrity
	case cipher == "3des":
		return netlab.TripleDES, integrity
	case strings.HasSuffix(cipher, "ctr"):
		return netlab.AESCTR, integrity
	case strings.HasSuffix(cipher, "gcm"):
		return netlab.AESGCM16, integrity
	case strings.HasSuffix(cipher, "gcm12"):
		return netlab.AESGCM12, integrity
	case strings.HasSuffix(cipher, "gcm8"):
		return netlab.AESGCM8, integrity
	default:
		return netlab.AESCBC, integrity
	}
}
