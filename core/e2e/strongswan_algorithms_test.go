package e2e_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/strongswan"
)

// The seed's tunnel: phase 1 and phase 2 as FortiOS's example has them. Without
// nattraversal disable, because this client has ESP in UDP only.
const seedConfig = `
dataplane: {plugin: softesp}
phase1:
  - name: vpn1
    type: dynamic
    interface: port2
    ike-version: 2
    local-gw: ` + gateway.GatewayAddr + `
    keylife: 90000
    peertype: one
    peerid: Nokia_Peer
    net-device: disable
    proposal: [aes128-sha1]
    dhgrp: [2]
    dpd: on-idle
    dpd-retryinterval: 60
    fgsp-sync: enable
    psksecret: "` + secret + `"
phase2:
  - name: vpn1
    phase1name: vpn1
    proposal: [aes128-sha1]
    keylifeseconds: 10800
`

func TestStrongSwanDialsInToTheSeedsServer(t *testing.T) { // F14, F15, C10
	t.Parallel()
	c := client()
	c.Proposals, c.Children[0].Proposals = []string{"aes128-sha1-modp1024"}, []string{"aes128-sha1"}
	c.Local.ID, c.Remote.ID = strongswan.FQDN("Nokia_Peer"), strongswan.IPv4(gateway.GatewayAddr)
	d := dialIn(t, seedConfig, strongswan.Settings{}, c)
	capture := d.WAN.Capture("")
	d.up("net")
	d.ping()
	tunnel := d.evergate.Tunnel("vpn1_0")
	if tunnel.Phase1 != "vpn1" || tunnel.RemoteID != "Nokia_Peer" || tunnel.Role != "primary" || !tunnel.Dialup || tunnel.Index != 0 {
		t.Errorf("the tunnel is %+v, want the first instance of vpn1, with Nokia_Peer, primary", tunnel)
	}
	if tunnel.DPD.Mode != "on-idle" || tunnel.DPD.Interval.Seconds() != 60 || tunnel.DPD.Retries != 3 {
		t.Errorf("dead peer detection is %+v, want on-idle, 60 s, 3 retries", tunnel.DPD)
	}
	sa := pair(t, tunnel)
	if sa.Dec.Cipher != "aes" || sa.Dec.KeyLen != 16 || !strings.HasPrefix(sa.Dec.Hash, "sha1") || sa.Hard.Seconds() != 10800 || sa.NPU.Flag != 0 {
		t.Errorf("the SA is %+v, want aes128-sha1 for 10800 s, and no NPU", sa)
	}
	if !d.Gateway.HasRoute(gateway.ClientNet) {
		t.Errorf("the gateway has no route to %s", gateway.ClientNet)
	}
	if n := capture.Count("!esp && ip.addr == " + gateway.ClientNet); n != 0 {
		t.Errorf("%d packets passed the wire in plaintext", n)
	}
}

// algorithm is one in the words of both ends: Evergate's YAML, charon's
// proposals, and charon's list of SAs.
type algorithm struct{ yaml, proposal, listed string }

func ciphers() []algorithm {
	return []algorithm{
		{"3des", "3des", "3DES_CBC"},
		{"aes128", "aes128", "AES_CBC-128"},
		{"aes192", "aes192", "AES_CBC-192"},
		{"aes256", "aes256", "AES_CBC-256"},
		{"aes128ctr", "aes128ctr", "AES_CTR-128"},
		{"aes192ctr", "aes192ctr", "AES_CTR-192"},
		{"aes256ctr", "aes256ctr", "AES_CTR-256"},
		{"aes128gcm", "aes128gcm16", "AES_GCM_16-128"},
		{"aes192gcm", "aes192gcm16", "AES_GCM_16-192"},
		{"aes256gcm", "aes256gcm16", "AES_GCM_16-256"},
		{"aes128gcm12", "aes128gcm12", "AES_GCM_12-128"},
		{"aes192gcm12", "aes192gcm12", "AES_GCM_12-192"},
		{"aes256gcm12", "aes256gcm12", "AES_GCM_12-256"},
		{"aes128gcm8", "aes128gcm8", "AES_GCM_8-128"},
		{"aes192gcm8", "aes192gcm8", "AES_GCM_8-192"},
		{"aes256gcm8", "aes256gcm8", "AES_GCM_8-256"},
		{"chacha20poly1305", "chacha20poly1305", "CHACHA20_POLY1305"},
		{"null", "null", "NULL"}, // of ESP only
	}
}

func hashes() []algorithm {
	return []algorithm{
		{"sha1", "sha1", "HMAC_SHA1_96"},
		{"sha256", "sha256", "HMAC_SHA2_256_128"},
		{"sha384", "sha384", "HMAC_SHA2_384_192"},
		{"sha512", "sha512", "HMAC_SHA2_512_256"},
	}
}

func prfs() []algorithm {
	return []algorithm{
		{"prfsha1", "prfsha1", "PRF_HMAC_SHA1"},
		{"prfsha256", "prfsha256", "PRF_HMAC_SHA2_256"},
		{"prfsha384", "prfsha384", "PRF_HMAC_SHA2_384"},
		{"prfsha512", "prfsha512", "PRF_HMAC_SHA2_512"},
	}
}

func groups() []algorithm {
	return []algorithm{
		{"1", "modp768", "MODP_768"},
		{"2", "modp1024", "MODP_1024"},
		{"5", "modp1536", "MODP_1536"},
		{"14", "modp2048", "MODP_2048"},
		{"15", "modp3072", "MODP_3072"},
		{"16", "modp4096", "MODP_4096"},
		{"17", "modp6144", "MODP_6144"},
		{"18", "modp8192", "MODP_8192"},
		{"19", "ecp256", "ECP_256"},
		{"20", "ecp384", "ECP_384"},
		{"21", "ecp521", "ECP_521"},
		{"31", "x25519", "CURVE_25519"},
	}
}

// combination is what one client asks for. An AEAD has no hash.
type combination struct{ ike, hash, prf, group, esp, espHash, pfs algorithm }

// combinations has every algorithm at least once in each of its places.
func combinations() []combination {
	ciphers, hashes, prfs, groups := ciphers(), hashes(), prfs(), groups()
	out := make([]combination, len(ciphers))
	ike := ciphers[:len(ciphers)-1]
	for i := range out {
		out[i] = combination{
			ike: ike[i%len(ike)], prf: prfs[(i+1)%4], group: groups[i%len(groups)],
			esp: ciphers[(i+5)%len(ciphers)], pfs: groups[(i+6)%len(groups)],
		}
		if !out[i].ike.aead() {
			out[i].hash = hashes[i%4]
		}
		if !out[i].esp.aead() {
			out[i].espHash = hashes[(i+2)%4]
		}
	}
	return out
}

func (a algorithm) aead() bool {
	return strings.Contains(a.yaml, "gcm") || a.yaml == "chacha20poly1305"
}

// dash joins what is not empty.
func dash(words ...string) string {
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), "-")
}

func TestStrongSwanAgreesOnEveryAlgorithm(t *testing.T) {
	t.Parallel()
	var phase1, phase2, dhgrp []string
	for _, c := range combinations() {
		phase1 = append(phase1, dash(c.ike.yaml, c.hash.yaml, c.prf.yaml))
		phase2 = append(phase2, dash(c.esp.yaml, c.espHash.yaml))
	}
	for _, g := range groups() {
		dhgrp = append(dhgrp, g.yaml)
	}
	all := "[" + strings.Join(dhgrp, ", ") + "]"
	d := dialIn(t, config(
		[]entry{server1().with(entry{"proposal": "[" + strings.Join(phase1, ", ") + "]", "dhgrp": all})},
		[]entry{server2().with(entry{"proposal": "[" + strings.Join(phase2, ", ") + "]", "dhgrp": all, "pfs": "enable"})},
	), strongswan.Settings{})
	for _, c := range combinations() {
		ike := dash(c.ike.proposal, c.hash.proposal, c.prf.proposal, c.group.proposal)
		esp := dash(c.esp.proposal, c.espHash.proposal, c.pfs.proposal)
		t.Run(ike+" "+esp, func(t *testing.T) {
			conn := client()
			conn.Proposals, conn.Children[0].Proposals = []string{ike}, []string{esp}
			d.charon.Load(conn)
			d := d.within(t)
			d.up("net")
			d.ping()
			d.wantAgreed(c)
			// The first keys of a child come from IKE_SA_INIT: the group for
			// perfect forward secrecy is used by CREATE_CHILD_SA only.
			if err := d.charon.RekeyChild("net"); err != nil {
				t.Fatal(err)
			}
			d.ping()
			if got := d.charon.Child("net").DH; got != c.pfs.listed {
				t.Errorf("the new keys of the child come from %s, want %s", got, c.pfs.listed)
			}
			if err := d.charon.TerminateIKE("home"); err != nil {
				t.Fatal(err)
			}
			d.wantGone("vpn1")
		})
	}
}

// wantAgreed compares what charon says it agreed on with what it asked for.
func (d *ends) wantAgreed(c combination) {
	d.t.Helper()
	sa := d.charon.IKE("home")
	got := []string{sa.Encryption, sa.Integrity, sa.PRF, sa.DH, sa.Children[0].Encryption, sa.Children[0].Integrity}
	want := []string{c.ike.listed, c.hash.listed, c.prf.listed, c.group.listed, c.esp.listed, c.espHash.listed}
	if !slices.Equal(got, want) {
		d.t.Errorf("charon agreed on %v, want %v", got, want)
	}
}
