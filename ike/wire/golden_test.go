package wire_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/suite"
	"github.com/evergate/evergate/ike/wire"
)

// conversation is one file of testdata/strongswan.
type conversation struct {
	name     string
	suite    suite.Suite
	messages []captured
}

// captured is one message, in several datagrams when it is fragmented.
type captured struct {
	log       string // what strongSwan wrote about it
	datagrams [][]byte
	keys      suite.Keys
}

// TestStrongSwan reads what strongSwan sent, finds in it what strongSwan's own
// log says, and encodes it to the same octets.
func TestStrongSwan(t *testing.T) {
	for _, c := range conversations(t) {
		t.Run(c.name, func(t *testing.T) {
			for _, m := range c.messages {
				header, payloads := read(t, c.suite, m)
				if got := describe(header, payloads); got != m.log {
					t.Errorf("a message reads as\n%s, strongSwan logged\n%s", got, m.log)
				}
			}
		})
	}
}

// read decodes a message, decrypts it where it is encrypted, and checks that
// both layers encode to what they were.
func read(t testing.TB, s suite.Suite, m captured) (wire.Header, []wire.Payload) {
	t.Helper()
	header, cleartext, first, plain := decrypt(t, s, m)
	if cleartext != nil {
		return header, cleartext
	}
	payloads, err := wire.DecodePayloads(first, plain)
	if err != nil {
		t.Fatalf("%s: %v", m.log, err)
	}
	if _, again, err := wire.AppendPayloads(nil, payloads); err != nil || !bytes.Equal(again, plain) {
		t.Fatalf("%s: its contents encoded again are\n%x, %v, want\n%x", m.log, again, err, plain)
	}
	return header, payloads
}

// decrypt returns the header, and either the payloads in the clear or the
// decrypted contents.
func decrypt(t testing.TB, s suite.Suite, m captured) (header wire.Header, cleartext []wire.Payload, first wire.PayloadType, plain []byte) {
	t.Helper()
	for i, d := range m.datagrams {
		msg, err := wire.Decode(bytes.Clone(d))
		if err != nil {
			t.Fatalf("%s: %v", m.log, err)
		}
		if again, err := msg.Append(nil); err != nil || !bytes.Equal(again, d) {
			t.Fatalf("%s: encoded again it is\n%x, %v, want\n%x", m.log, again, err, d)
		}
		header = msg.Header
		opener, err := suite.NewOpener(s, m.keys.From(header.Flags.Initiator()))
		switch p := msg.Payloads[len(msg.Payloads)-1].(type) {
		case *wire.SK:
			first, plain = p.First, open(t, p, opener, err)
		case *wire.SKF:
			if int(p.Number) != i+1 || int(p.Total) != len(m.datagrams) {
				t.Fatalf("%s: datagram %d of %d is fragment %d of %d", m.log, i+1, len(m.datagrams), p.Number, p.Total)
			}
			if i == 0 {
				first = p.First
			}
			plain = append(plain, open(t, p, opener, err)...)
		default:
			return header, msg.Payloads, first, nil
		}
	}
	return header, nil, first, plain
}

func open(t testing.TB, p interface {
	Open(wire.Opener) ([]byte, error)
}, o *suite.Opener, err error,
) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	plain, err := p.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// TestStrongSwanOffer looks into the details of an IKE_SA_INIT and an IKE_AUTH
// request whose configuration is known.
func TestStrongSwanOffer(t *testing.T) {
	c := find(t, "gcm")
	_, init := read(t, c.suite, c.messages[0])
	_, auth := read(t, c.suite, c.messages[2])

	ike := wire.Find[*wire.SA](init).Proposals
	wantOffer(t, ike, 0, wire.ProtocolIKE, 0, "aes128gcm/prfsha256/x25519 (31)")
	wantOffer(t, ike, 1, wire.ProtocolIKE, 0, "aes256/sha256/prfsha256/modp2048 (14)")
	if ke := wire.Find[*wire.KE](init); ke.Group != ipsec.GroupX25519 || len(ke.Data) != 32 {
		t.Errorf("the key exchange is %v with %d octets, want x25519 with 32", ke.Group, len(ke.Data))
	}

	esp := wire.Find[*wire.SA](auth).Proposals
	wantOffer(t, esp, 0, wire.ProtocolESP, 4, "aes128gcm/no-esn")
	wantOffer(t, esp, 1, wire.ProtocolESP, 4, "aes128/sha1/no-esn")
	if _, ok := esp[0].ESPSPI(); !ok {
		t.Errorf("an ESP proposal has no SPI")
	}
	id := wire.Find[*wire.IDi](auth)
	if want := append([]byte{2, 0, 0, 0}, "client.example"...); !bytes.Equal(id.Octets(), want) {
		t.Errorf("the initiator's ID is %q, want %q", id.Octets(), want)
	}
	if a := wire.Find[*wire.Auth](auth); a.Method != wire.AuthSharedKey || len(a.Data) != 32 {
		t.Errorf("AUTH is a %v of %d octets, want a shared key's with 32", a.Method, len(a.Data))
	}
	wantSelectors(t, wire.Find[*wire.TSi](auth).TS, "0:10.88.0.2-10.88.0.2:0", "0:fd00:88::2-fd00:88::2:0")
	wantSelectors(t, wire.Find[*wire.TSr](auth).TS, "6:10.88.0.0-10.88.0.255:80", "0:10.88.1.0-10.88.1.255:0",
		"17:fd00:88::-fd00:88::ffff:ffff:ffff:ffff:1000-2000")
}

// TestStrongSwanRekey reads the notification of a Child SA's rekey, its Delete
// and that of the IKE SA.
func TestStrongSwanRekey(t *testing.T) {
	c := find(t, "gcm")
	_, auth := read(t, c.suite, c.messages[2])
	_, rekey := read(t, c.suite, c.messages[4])
	_, child := read(t, c.suite, c.messages[6])
	_, ike := read(t, c.suite, c.messages[10])

	old, _ := wire.Find[*wire.SA](auth).Proposals[0].ESPSPI()
	n := wire.FindNotify(rekey, wire.RekeySA)
	if spi, ok := n.ESPSPI(); !ok || spi != old || n.Protocol != wire.ProtocolESP {
		t.Errorf("REKEY_SA is for %v %v, want ESP %v", n.Protocol, spi, old)
	}
	if d := wire.Find[*wire.Delete](child); d.Protocol != wire.ProtocolESP || len(d.SPIs) != 1 || d.SPIs[0] != old {
		t.Errorf("the child's Delete is for %v %v, want ESP %v", d.Protocol, d.SPIs, old)
	}
	if d := wire.Find[*wire.Delete](ike); d.Protocol != wire.ProtocolIKE || len(d.SPIs) != 0 {
		t.Errorf("the IKE SA's Delete is for %v %v, want IKE without SPIs", d.Protocol, d.SPIs)
	}
	if _, ok := wire.Find[*wire.SA](auth).Proposals[0].IKESPI(); ok {
		t.Errorf("an ESP SPI reads as an IKE SPI")
	}
}

// TestStrongSwanIKERekey finds the new IKE SPI in the proposal (RFC 7296
// section 1.3.2) and sees the next exchange use it.
func TestStrongSwanIKERekey(t *testing.T) {
	c := find(t, "gcm")
	_, rekey := read(t, c.suite, c.messages[8])
	header, _ := read(t, c.suite, c.messages[12])
	if spi, ok := wire.Find[*wire.SA](rekey).Proposals[0].IKESPI(); !ok || spi != header.SPIi {
		t.Errorf("the rekey announced SPI %v (%v), the next exchange has %v", spi, ok, header.SPIi)
	}
}

// TestStrongSwanAsksForAddresses reads a Configuration payload and its answer.
func TestStrongSwanAsksForAddresses(t *testing.T) {
	c := find(t, "eap")
	_, request := read(t, c.suite, c.messages[2])
	_, reply := read(t, c.suite, c.messages[7])
	for _, a := range wire.Find[*wire.CP](request).Attributes {
		if len(a.Value) != 0 {
			t.Errorf("attribute %d of the request is %x, want nothing", a.Type, a.Value)
		}
	}
	want := map[uint16]string{1: "0a580701", 8: "fd000088000000000000000000070001" + "40", 3: "0a580035"}
	for _, a := range wire.Find[*wire.CP](reply).Attributes {
		if got := hex.EncodeToString(a.Value); got != want[a.Type] {
			t.Errorf("attribute %d of the reply is %s, want %s", a.Type, got, want[a.Type])
		}
	}
}

func wantOffer(t *testing.T, got []wire.Proposal, i int, p wire.ProtocolID, spi int, want string) {
	t.Helper()
	if len(got) <= i {
		t.Fatalf("%d proposals, want more than %d", len(got), i)
	}
	offer, ok := got[i].Offer()
	if sorted(offer) != want || !ok || int(got[i].Number) != i+1 || got[i].Protocol != p || len(got[i].SPI) != spi {
		t.Errorf("proposal %d offers %v for %v with an SPI of %d octets (%v), want %s for %v with %d",
			got[i].Number, sorted(offer), got[i].Protocol, len(got[i].SPI), ok, want, p, spi)
	}
}

// sorted formats a proposal in the order of encryption, integrity, PRF, key
// exchange, ESN.
func sorted(p ipsec.Proposal) string {
	var out ipsec.Proposal
	for _, t := range []ipsec.TransformType{
		ipsec.TypeEncryption, ipsec.TypeIntegrity, ipsec.TypePRF, ipsec.TypeKE, ipsec.TypeESN,
	} {
		out.Transforms = append(out.Transforms, p.OfType(t)...)
	}
	return out.String()
}

func wantSelectors(t *testing.T, got wire.TS, want ...string) {
	t.Helper()
	var words []string
	for _, s := range got.Selectors {
		words = append(words, s.String())
	}
	if strings.Join(words, " ") != strings.Join(want, " ") || len(got.Unknown) != 0 {
		t.Errorf("selectors are %q and %d unknown ones, want %q", words, len(got.Unknown), want)
	}
}

// describe formats a message as strongSwan's log does.
func describe(h wire.Header, payloads []wire.Payload) string {
	direction := "request"
	if h.Flags.Response() {
		direction = "response"
	}
	words := []string{h.Exchange.String(), direction, fmt.Sprint(h.MessageID), "["}
	for _, p := range payloads {
		words = append(words, word(p))
	}
	return strings.Join(append(words, "]"), " ")
}

func word(p wire.Payload) string {
	switch p := p.(type) {
	case *wire.Nonce:
		return "No"
	case *wire.Delete:
		return "D"
	case *wire.VendorID:
		return "V"
	case *wire.Notify:
		return "N(" + notifyWords[p.Type] + ")"
	case *wire.CP:
		var attrs []string
		for _, a := range p.Attributes {
			attrs = append(attrs, map[uint16]string{1: "ADDR", 3: "DNS", 8: "ADDR6"}[a.Type])
		}
		return map[wire.CFGType]string{wire.CFGRequest: "CPRQ", wire.CFGReply: "CPRP"}[p.Type] + "(" + strings.Join(attrs, " ") + ")"
	case *wire.EAP:
		if len(p.Message) == 4 {
			return map[byte]string{3: "EAP/SUCC"}[p.Message[0]]
		}
		return map[byte]string{1: "EAP/REQ/", 2: "EAP/RES/"}[p.Message[0]] + map[byte]string{4: "MD5"}[p.Message[4]]
	default:
		return p.PayloadType().String()
	}
}

// notifyWords are strongSwan's abbreviations; the numbers are those that have
// no name here.
var notifyWords = map[wire.NotifyType]string{
	wire.InvalidKEPayload:          "INVAL_KE",
	wire.InitialContact:            "INIT_CONTACT",
	wire.NATDetectionSourceIP:      "NATD_S_IP",
	wire.NATDetectionDestinationIP: "NATD_D_IP",
	wire.RekeySA:                   "REKEY_SA",
	wire.MessageIDSyncSupported:    "MSG_ID_SYN_SUP",
	wire.FragmentationSupported:    "FRAG_SUP",
	16404:                          "MULT_AUTH",
	16406:                          "REDIR_SUP",
	16417:                          "EAP_ONLY",
	16418:                          "CHDLESS_SUP",
	16431:                          "HASH_ALG",
}

func find(t *testing.T, name string) conversation {
	t.Helper()
	for _, c := range conversations(t) {
		if c.name == name {
			return c
		}
	}
	t.Fatalf("testdata has no conversation %q", name)
	return conversation{}
}

// conversations reads all files of testdata/strongswan.
func conversations(t testing.TB) []conversation {
	t.Helper()
	paths, err := filepath.Glob("testdata/strongswan/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("testdata has no conversations: %v", err)
	}
	var all []conversation
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		c := conversation{name: strings.TrimSuffix(filepath.Base(path), ".txt")}
		var keys suite.Keys
		for line := range strings.Lines(string(text)) {
			kind, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
			switch kind {
			case "suite":
				p, err := ipsec.ParseIKEProposal(rest)
				if err != nil {
					t.Fatal(err)
				}
				if c.suite, err = suite.FromProposal(p.WithGroups(ipsec.GroupX25519)); err != nil {
					t.Fatal(err)
				}
			case "keys":
				keys = parseKeys(t, rest)
			case "message":
				c.messages = append(c.messages, captured{log: rest, keys: keys})
			case "datagram":
				m := &c.messages[len(c.messages)-1]
				m.datagrams = append(m.datagrams, unhex(t, rest))
			}
		}
		all = append(all, c)
	}
	return all
}

func parseKeys(t testing.TB, s string) suite.Keys {
	t.Helper()
	k := map[string]ipsec.Key{}
	for _, f := range strings.Fields(s) {
		name, value, _ := strings.Cut(f, "=")
		k[name] = ipsec.NewKey(unhex(t, value))
	}
	return suite.Keys{Ei: k["ei"], Er: k["er"], Ai: k["ai"], Ar: k["ar"]}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatalf("bad hexadecimal in the test's data: %v", err)
	}
	return b
}

// firstDatagram is strongSwan's IKE_SA_INIT request of the "gcm" conversation.
func firstDatagram(t testing.TB) []byte {
	t.Helper()
	for _, c := range conversations(t) {
		if c.name == "gcm" {
			return c.messages[0].datagrams[0]
		}
	}
	t.Fatal("testdata has no conversation gcm")
	return nil
}

// put16 overwrites two octets of a copy of b.
func put16(b []byte, at int, v uint16) []byte {
	b = bytes.Clone(b)
	binary.BigEndian.PutUint16(b[at:], v)
	return b
}
