package netlab

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Cipher is an encryption algorithm of ESP as tshark names it.
type Cipher string

// What tshark can decrypt. It has no ChaCha20-Poly1305.
const (
	NullCipher Cipher = "NULL"
	TripleDES  Cipher = "TripleDES-CBC [RFC2451]"
	AESCBC     Cipher = "AES-CBC [RFC3602]"
	AESCTR     Cipher = "AES-CTR [RFC3686]"
	AESGCM16   Cipher = "AES-GCM with 16 octet ICV [RFC4106]"
	AESGCM12   Cipher = "AES-GCM with 12 octet ICV [RFC4106]"
	AESGCM8    Cipher = "AES-GCM with 8 octet ICV [RFC4106]"
)

// Integrity is an integrity algorithm of ESP as tshark names it.
type Integrity string

// What tshark can verify. An AEAD cipher goes with NoIntegrity.
const (
	NoIntegrity Integrity = "NULL"
	HMACSHA1    Integrity = "HMAC-SHA-1-96 [RFC2404]"
	HMACSHA256  Integrity = "HMAC-SHA-256-128 [RFC4868]"
	HMACSHA384  Integrity = "HMAC-SHA-384-192 [RFC4868]"
	HMACSHA512  Integrity = "HMAC-SHA-512-256 [RFC4868]"
)

// ESPKey is what tshark needs to open the packets of one SA.
type ESPKey struct {
	SPI          uint32
	Cipher       Cipher
	CipherKey    []byte // with the salt or nonce at its end, as KEYMAT has it
	Integrity    Integrity
	IntegrityKey []byte
}

// IKEKey is what tshark needs to open the encrypted payloads of one IKE SA.
type IKEKey struct {
	InitiatorSPI, ResponderSPI uint64
	Cipher                     string // as tshark names it: "AES-CBC-128 [RFC3602]"
	SKei, SKer                 []byte
	Integrity                  string // "HMAC_SHA2_256_128 [RFC4868]", "NONE [RFC4306]"
	SKai, SKar                 []byte
}

// InnerPacket is what an independent implementation found inside ESP.
type InnerPacket struct {
	SPI, Sequence uint32
	Src, Dst      netip.Addr // in transport mode those of the packet itself
	Protocol      uint8      // 1 ICMP, 17 UDP, ...
}

// espPreferences make tshark decrypt ESP and check every ICV.
const espPreferences = "esp.enable_encryption_decode: TRUE\nesp.enable_authentication_check: TRUE\n"

// Decrypt opens the ESP packets of the keys' SAs with tshark, and returns
// those that match a display filter (empty for all), which sees the inner
// packets, too. A packet whose ICV tshark finds wrong ends the test.
func (c *Capture) Decrypt(filter string, keys ...ESPKey) []InnerPacket {
	lab := c.at.ns.lab
	lab.tb.Helper()
	settings := lab.settings(map[string]string{"esp_sa": espTable(keys), "preferences": espPreferences})
	if bad := c.query(settings, "esp.icv_bad == 1", "f", "esp.spi", "esp.sequence"); len(bad) > 0 {
		lab.tb.Fatalf("tshark finds the ICV of %d packets wrong, the first with SPI %s and sequence number %s", len(bad), bad[0][0], bad[0][1])
	}
	rows := c.query(settings, join("esp.protocol", filter), "a", "esp.spi", "esp.sequence", "esp.protocol", "frame.protocols",
		"ip.src", "ip.dst", "ip.proto", "ipv6.src", "ipv6.dst", "ipv6.nxt")
	out := make([]InnerPacket, 0, len(rows))
	for _, row := range rows {
		p, err := parseInner(row)
		c.check(err)
		out = append(out, p)
	}
	return out
}

// DecryptIKE answers a Query with the encrypted payloads of the keys' IKE SAs
// opened: "isakmp.notify.msgtype" of messages that hide it.
func (c *Capture) DecryptIKE(keys []IKEKey, filter string, fields ...string) []Row {
	lab := c.at.ns.lab
	lab.tb.Helper()
	return c.query(lab.settings(map[string]string{"ikev2_decryption_table": ikeTable(keys)}), filter, "a", fields...)
}

// espTable writes the keys in the form of tshark's table of that name.
func espTable(keys []ESPKey) string {
	var b strings.Builder
	for _, family := range []string{"IPv4", "IPv6"} {
		for _, k := range keys {
			cipher, integrity := k.Cipher, k.Integrity
			if cipher == "" {
				cipher = NullCipher
			}
			if integrity == "" {
				integrity = NoIntegrity
			}
			fmt.Fprintf(&b, "%q,\"*\",\"*\",\"0x%08x\",%q,%q,%q,%q,\"32-bit\",\"0\"\n",
				family, k.SPI, cipher, hexKey(k.CipherKey), integrity, hexKey(k.IntegrityKey))
		}
	}
	return b.String()
}

func hexKey(key []byte) string {
	if len(key) == 0 {
		return ""
	}
	return fmt.Sprintf("0x%x", key)
}

func ikeTable(keys []IKEKey) string {
	var b strings.Builder
	for _, k := range keys {
		fmt.Fprintf(&b, "%016x,%016x,%x,%x,%q,%x,%x,%q\n",
			k.InitiatorSPI, k.ResponderSPI, k.SKei, k.SKer, k.Cipher, k.SKai, k.SKar, k.Integrity)
	}
	return b.String()
}

// parseInner reads a row of Decrypt, whose values are lists: one item for
// every header of that kind in the packet, the outer ones first.
func parseInner(row Row) (InnerPacket, error) {
	r := reader{row: row}
	p := InnerPacket{SPI: uint32(r.number(32)), Sequence: uint32(r.number(32))}
	next := r.number(8)
	layers := strings.Split(r.next(), ":")
	v4 := [3][]string{r.list(), r.list(), r.list()}
	v6 := [3][]string{r.list(), r.list(), r.list()}
	if r.err != nil {
		return p, r.err
	}
	outer := layers[:max(0, slices.Index(layers, "esp"))]
	depth, header := count(outer, "ip"), v4
	switch {
	case next == 4: // tunnel mode, an IPv4 packet inside
	case next == 41: // tunnel mode, an IPv6 packet inside
		depth, header = count(outer, "ipv6"), v6
	case depth > 0: // transport mode: the inner packet has no addresses
		depth--
	default:
		depth, header = count(outer, "ipv6")-1, v6
	}
	if depth < 0 || len(header[0]) <= depth || len(header[1]) <= depth || len(header[2]) <= depth {
		return p, fmt.Errorf("no header for next header %d in %v", next, row)
	}
	in := reader{row: Row{header[0][depth], header[1][depth], header[2][depth]}}
	p.Src, p.Dst, p.Protocol = in.addr(), in.addr(), uint8(in.number(8))
	if next != 4 && next != 41 {
		p.Protocol = uint8(next)
	}
	return p, in.err
}

func (r *reader) list() []string { return strings.Split(r.next(), ",") }

func (r *reader) addr() netip.Addr {
	addr, err := netip.ParseAddr(r.next())
	r.keep(err)
	return addr
}

func count(layers []string, name string) int {
	n := 0
	for _, layer := range layers {
		if layer == name {
			n++
		}
	}
	return n
}
