package e2e_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/netlab"
)

// key returns n octets as ip(8) reads them.
func key(n int) string { return "0x" + strings.Repeat("5a", n) }

// TestTheKernelHasESP sends pings through SAs that were made by hand, with each
// algorithm, with and without extended sequence numbers.
func TestTheKernelHasESP(t *testing.T) {
	client, gateway, wan := connect(t)
	protect(t, client, clientInner, gatewayInner, clientAddr, gatewayAddr)
	protect(t, gateway, gatewayInner, clientInner, gatewayAddr, clientAddr)
	capture := wan.Capture("")
	algorithms := []struct{ name, arguments string }{
		{"AES-GCM", "replay-window 32 aead rfc4106(gcm(aes)) " + key(20) + " 128"},
		{"AES-GCM with ESN", "flag esn replay-window 256 aead rfc4106(gcm(aes)) " + key(36) + " 128"},
		{"AES-CBC with SHA-1", "replay-window 32 enc cbc(aes) " + key(16) + " auth hmac(sha1) " + key(20)},
		{
			"AES-CBC with SHA-256 and ESN",
			"flag esn replay-window 256 enc cbc(aes) " + key(32) + " auth-trunc hmac(sha256) " + key(32) + " 128",
		},
		{"ChaCha20-Poly1305", "replay-window 32 aead rfc7539esp(chacha20,poly1305) " + key(36) + " 128"},
	}
	for i, a := range algorithms {
		t.Run(a.name, func(t *testing.T) {
			for _, ns := range []*netlab.Namespace{client, gateway} {
				ip(t, ns, "xfrm", "state", "flush")
				install(t, ns, clientAddr, gatewayAddr, spi(1, i), a.arguments)
				install(t, ns, gatewayAddr, clientAddr, spi(2, i), a.arguments)
			}
			ping(t, client)
			if sas := ip(t, gateway, "-s", "xfrm", "state"); strings.Count(sas, "(bytes), 3(packets)") != 2 {
				t.Errorf("Each of the gateway's two SAs should have counted three packets:\n%s", sas)
			}
		})
	}

	passed, plain := map[string]int{}, 0
	for _, row := range capture.Query("esp || icmp", "esp.spi", "ip.src") {
		switch spi, src := row[0], row[1]; {
		case spi != "":
			passed[spi]++
		case src == clientInner:
			// What comes in is seen twice at its interface: as ESP, then as
			// what it held. What goes out is seen once.
			plain++
		}
	}
	for i, a := range algorithms {
		if there, back := passed[spi(1, i)], passed[spi(2, i)]; there != 3 || back != 3 {
			t.Errorf("With %s %d packets went out and %d came back, not three each.", a.name, there, back)
		}
	}
	if plain != 0 {
		t.Errorf("%d pings left in plaintext.", plain)
	}
}

// spi returns an SPI for a direction and an algorithm, as ip(8) and tshark
// write it.
func spi(direction, algorithm int) string { return fmt.Sprintf("0x%08x", direction<<8|algorithm) }

// install installs an SA; the arguments are its algorithms.
func install(t *testing.T, ns *netlab.Namespace, src, dst, spi, arguments string) {
	t.Helper()
	args := []string{"xfrm", "state", "add", "src", src, "dst", dst, "proto", "esp", "spi", spi, "mode", "tunnel"}
	ip(t, ns, append(args, strings.Fields(arguments)...)...)
}

// protect makes the namespace use the SAs between the outer addresses for what
// passes between the inner ones.
func protect(t *testing.T, ns *netlab.Namespace, inner, peerInner, outer, peerOuter string) {
	t.Helper()
	policy := func(direction, from, to, src, dst string) {
		ip(t, ns, "xfrm", "policy", "add", "src", from, "dst", to, "dir", direction,
			"tmpl", "src", src, "dst", dst, "proto", "esp", "mode", "tunnel")
	}
	policy("out", inner, peerInner, outer, peerOuter)
	policy("in", peerInner, inner, peerOuter, outer)
	ns.Route(peerInner+"/32", peerOuter)
}
