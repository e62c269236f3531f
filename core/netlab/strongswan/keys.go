package strongswan

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/evergate/evergate/core/netlab"
)

// ESPKeys returns the keys of all ESP SAs since charon's start, for a capture
// to decrypt. It needs Settings.LogKeys.
func (d *Daemon) ESPKeys() []netlab.ESPKey {
	d.tb.Helper()
	log := d.readKeys()
	if len(log.esp) == 0 {
		d.tb.Fatalf("strongswan: the log holds no ESP keys (is Settings.LogKeys set?)")
	}
	return log.esp
}

// IKEKeys returns the keys of the present IKE SAs, for a capture to decrypt.
// It needs Settings.LogKeys. An SA that came from a rekeying is not among them.
func (d *Daemon) IKEKeys() []netlab.IKEKey {
	d.tb.Helper()
	log := d.readKeys()
	var out []netlab.IKEKey
	for _, sa := range d.SAs() {
		if key, ok := log.ike[sa.ID]; ok {
			key.InitiatorSPI, key.ResponderSPI = sa.InitiatorSPI, sa.ResponderSPI
			out = append(out, key)
		}
	}
	return out
}

func (d *Daemon) readKeys() *keyLog {
	d.tb.Helper()
	log, err := parseKeys(d.log.Text())
	if err != nil {
		d.tb.Fatalf("strongswan: read keys from the log: %v", err)
	}
	return log
}

// keyLog collects what charon's log says about keys. Charon logs from many
// threads, so what belongs together is what one thread says.
type keyLog struct {
	threads   map[string]*keyThread
	proposals map[string][]string // of IKE SAs, by charon's id
	// selectedESP is the last ESP proposal of each IKE SA, by charon's id.
	selectedESP map[string][]string
	esp         []netlab.ESPKey
	ike         map[uint32]netlab.IKEKey // by charon's id of the IKE SA
}

// keyThread is what one thread of charon has said so far.
type keyThread struct {
	response bool              // the last message parsed: we initiated its exchange
	inbound  bool              // the ESP SA that it is adding
	esp      []string          // algorithms of the last selected proposal
	dump     string            // the name of the dump that the next lines hold
	keys     map[string][]byte // dumps by name
}

var (
	keyLine     = regexp.MustCompile(`^(\d+)\[(\w+)\] (?:<(?:[^|>]*\|)?(\d+)> )?(.*)$`)
	keyParsed   = regexp.MustCompile(`^parsed (?:IKE_AUTH|CREATE_CHILD_SA|QUICK_MODE|IKE_SA_INIT) (request|response) `)
	keyProposal = regexp.MustCompile(`^selected proposal: (ESP|IKE):(\S+)$`)
	keyDump     = regexp.MustCompile(`^(Sk_\w+ secret|(?:encryption|integrity) (?:initiator|responder) key) => \d+ bytes`)
	keyOctets   = regexp.MustCompile(`^ *\d+: ((?:[0-9A-F]{2} ){1,16})`)
	keySPI      = regexp.MustCompile(`^  SPI 0x([0-9a-f]{8}), src `)
)

// dumpLine is a line of a dump, or announces one.
var dumpLine = regexp.MustCompile(`(?m)^\d+\[\w+\].*(?: => \d+ bytes @ | \d+: (?:[0-9A-F]{2} ){1,16} ).*\n?`)

// withoutDumps leaves out of a log what is for programs to read.
func withoutDumps(log string) string { return dumpLine.ReplaceAllString(log, "") }

func parseKeys(text string) (*keyLog, error) {
	log := &keyLog{threads: map[string]*keyThread{}, proposals: map[string][]string{}, selectedESP: map[string][]string{}, ike: map[uint32]netlab.IKEKey{}}
	for line := range strings.Lines(text) {
		// A dump of 16 octets on the line ends with them, so keep a blank.
		m := keyLine.FindStringSubmatch(strings.TrimRight(line, "\r\n") + " ")
		if m == nil {
			continue
		}
		t := log.threads[m[1]]
		if t == nil {
			t = &keyThread{keys: map[string][]byte{}}
			log.threads[m[1]] = t
		}
		if err := log.line(t, m[3], strings.TrimSuffix(m[4], " "), m[4]); err != nil {
			return nil, fmt.Errorf("line %q: %w", strings.TrimSpace(line), err)
		}
	}
	return log, nil
}

// line takes what one thread says; padded is said with a blank at its end.
func (log *keyLog) line(t *keyThread, sa, said, padded string) error {
	if t.dump != "" {
		if m := keyOctets.FindStringSubmatch(padded); m != nil {
			octets, err := hex.DecodeString(strings.ReplaceAll(m[1], " ", ""))
			t.keys[t.dump] = append(t.keys[t.dump], octets...)
			return err
		}
		finished := t.dump
		t.dump = ""
		if err := log.dumped(t, sa, finished); err != nil {
			return err
		}
	}
	switch {
	case said == "adding inbound ESP SA":
		t.inbound = true
	case said == "registering outbound ESP SA", said == "adding outbound ESP SA":
		t.inbound = false
	}
	if m := keyParsed.FindStringSubmatch(padded); m != nil {
		t.response = m[1] == "response"
		// The third message of an IKEv1 quick mode brings the keys of what was
		// selected with the first, often in another thread.
		t.esp = log.selectedESP[sa]
	}
	if m := keyProposal.FindStringSubmatch(said); m != nil {
		log.selected(t, sa, m[1], strings.Split(m[2], "/"))
	}
	if m := keyDump.FindStringSubmatch(said); m != nil {
		t.dump = m[1]
		t.keys[t.dump] = nil
	}
	if m := keySPI.FindStringSubmatch(said); m != nil {
		return log.addESP(t, m[1])
	}
	return nil
}

// selected notes a proposal; the keys that follow are for it. That of an IKE
// SA belongs to the SA, because a responder derives the keys only when the
// first encrypted message comes, in whichever thread.
func (log *keyLog) selected(t *keyThread, sa, protocol string, algorithms []string) {
	clear(t.keys)
	if protocol == "ESP" {
		t.esp, log.selectedESP[sa] = algorithms, algorithms
	} else {
		log.proposals[sa] = algorithms
	}
}

// addESP notes the key of the SA that the thread is adding.
//
// "All keys for SAs carrying data from the initiator to the responder are
// taken before SAs going from the responder to the initiator." RFC 7296
// section 2.17, where the initiator is that of the exchange.
func (log *keyLog) addESP(t *keyThread, spi string) error {
	n, err := strconv.ParseUint(spi, 16, 32)
	if err != nil {
		return err
	}
	for _, known := range log.esp {
		// The responder of a rekeying registers an SA with its keys, and
		// adds it when the old one is deleted, often from another thread.
		if known.SPI == uint32(n) {
			return nil
		}
	}
	side := "initiator"
	if t.inbound == t.response {
		side = "responder"
	}
	cipher, integrity, err := espAlgorithms(t.esp)
	if err != nil {
		return err
	}
	log.esp = append(log.esp, netlab.ESPKey{
		SPI: uint32(n), Cipher: cipher, CipherKey: t.keys["encryption "+side+" key"],
		Integrity: integrity, IntegrityKey: t.keys["integrity "+side+" key"],
	})
	return nil
}

// dumped looks whether the IKE SA's keys are complete.
func (log *keyLog) dumped(t *keyThread, sa, dump string) error {
	// Charon logs SK_ai, SK_ar, SK_ei, SK_er in this order.
	if dump != "Sk_er secret" {
		return nil
	}
	id, err := strconv.ParseUint(sa, 10, 32)
	if err != nil {
		return fmt.Errorf("keys without an IKE SA: %w", err)
	}
	if _, known := log.ike[uint32(id)]; known {
		return nil // of the SA that replaces this one
	}
	key, err := ikeAlgorithms(log.proposals[sa])
	if err != nil {
		return err
	}
	key.SKei, key.SKer = t.keys["Sk_ei secret"], t.keys["Sk_er secret"]
	key.SKai, key.SKar = t.keys["Sk_ai secret"], t.keys["Sk_ar secret"]
	log.ike[uint32(id)] = key
	return nil
}

// espAlgorithms translates a proposal of charon ("AES_CBC_128",
// "HMAC_SHA1_96", ...).
func espAlgorithms(proposal []string) (netlab.Cipher, netlab.Integrity, error) {
	ciphers := map[string]netlab.Cipher{
		"NULL": netlab.NullCipher, "AES_CBC": netlab.AESCBC, "AES_CTR": netlab.AESCTR,
		"AES_GCM_16": netlab.AESGCM16, "AES_GCM_12": netlab.AESGCM12, "AES_GCM_8": netlab.AESGCM8,
	}
	integrities := map[string]netlab.Integrity{
		"HMAC_SHA1_96": netlab.HMACSHA1, "HMAC_SHA2_256_128": netlab.HMACSHA256,
		"HMAC_SHA2_384_192": netlab.HMACSHA384, "HMAC_SHA2_512_256": netlab.HMACSHA512,
	}
	var cipher netlab.Cipher
	integrity := netlab.NoIntegrity
	for _, name := range proposal {
		if i, ok := integrities[name]; ok {
			integrity = i
		} else if c, ok := ciphers[withoutKeySize(name)]; ok {
			cipher = c
		}
	}
	if cipher == "" {
		return "", "", fmt.Errorf("tshark cannot decrypt ESP with %s", strings.Join(proposal, "/"))
	}
	return cipher, integrity, nil
}

// withoutKeySize turns AES_CBC_128 into AES_CBC.
func withoutKeySize(name string) string {
	for _, bits := range []string{"_128", "_192", "_256"} {
		if base, ok := strings.CutSuffix(name, bits); ok {
			return base
		}
	}
	return name
}

func ikeAlgorithms(proposal []string) (netlab.IKEKey, error) {
	ciphers := map[string]string{"3DES_CBC": "3DES [RFC2451]"}
	for _, bits := range []string{"128", "192", "256"} {
		ciphers["AES_CBC_"+bits] = "AES-CBC-" + bits + " [RFC3602]"
		ciphers["AES_CTR_"+bits] = "AES-CTR-" + bits + " [RFC5930]"
		for _, octets := range []string{"8", "12", "16"} {
			ciphers["AES_GCM_"+octets+"_"+bits] = "AES-GCM-" + bits + " with " + octets + " octet ICV [RFC5282]"
		}
	}
	integrities := map[string]string{
		"HMAC_SHA1_96": "HMAC_SHA1_96 [RFC2404]", "HMAC_SHA2_256_128": "HMAC_SHA2_256_128 [RFC4868]",
		"HMAC_SHA2_384_192": "HMAC_SHA2_384_192 [RFC4868]", "HMAC_SHA2_512_256": "HMAC_SHA2_512_256 [RFC4868]",
	}
	key := netlab.IKEKey{Integrity: "NONE [RFC4306]"}
	for _, name := range proposal {
		if c, ok := ciphers[name]; ok {
			key.Cipher = c
		} else if i, ok := integrities[name]; ok {
			key.Integrity = i
		}
	}
	if key.Cipher == "" {
		return key, fmt.Errorf("tshark cannot decrypt IKE with %s", strings.Join(proposal, "/"))
	}
	return key, nil
}
