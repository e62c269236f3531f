package strongswan

import (
	"bytes"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/netlab"
)

// keyText is what a responder logs that is rekeyed while another thread talks.
const keyText = `09[CFG] <home|1> selected proposal: ESP:AES_CBC_128/HMAC_SHA1_96/NO_EXT_SEQ
09[ENC] <home|1> parsed CREATE_CHILD_SA request 2 [ N(REKEY_SA) SA No TSi TSr ]
09[CHD] <home|1> encryption initiator key => 16 bytes @ 0x1000
11[ENC] <other|2> parsed INFORMATIONAL response 1 [ ]
09[CHD] <home|1>    0: 00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F  ................
09[CHD] <home|1> encryption responder key => 16 bytes @ 0x1000
09[CHD] <home|1>    0: 10 11 12 13 14 15 16 17 18 19 1A 1B 1C 1D 1E 1F  ................
09[CHD] <home|1> integrity initiator key => 20 bytes @ 0x1000
09[CHD] <home|1>    0: 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20                  
09[CHD] <home|1>   16: 20 20 20 20                                                      
09[CHD] <home|1> integrity responder key => 20 bytes @ 0x1000
09[CHD] <home|1>    0: 30 30 30 30 30 30 30 30 30 30 30 30 30 30 30 30  0000000000000000
09[CHD] <home|1>   16: 30 30 30 30                                      0000
09[CHD] <home|1> adding inbound ESP SA
09[CHD] <home|1>   SPI 0x00000011, src 192.0.2.1 dst 192.0.2.2
09[CHD] <home|1> registering outbound ESP SA
09[CHD] <home|1>   SPI 0x00000022, src 192.0.2.2 dst 192.0.2.1
12[CHD] <home|1> adding outbound ESP SA
12[CHD] <home|1>   SPI 0x00000022, src 192.0.2.2 dst 192.0.2.1
`

func TestLogIsShownWithoutDumps(t *testing.T) {
	const want = `09[CFG] <home|1> selected proposal: ESP:AES_CBC_128/HMAC_SHA1_96/NO_EXT_SEQ
09[ENC] <home|1> parsed CREATE_CHILD_SA request 2 [ N(REKEY_SA) SA No TSi TSr ]
11[ENC] <other|2> parsed INFORMATIONAL response 1 [ ]
09[CHD] <home|1> adding inbound ESP SA
09[CHD] <home|1>   SPI 0x00000011, src 192.0.2.1 dst 192.0.2.2
09[CHD] <home|1> registering outbound ESP SA
09[CHD] <home|1>   SPI 0x00000022, src 192.0.2.2 dst 192.0.2.1
12[CHD] <home|1> adding outbound ESP SA
12[CHD] <home|1>   SPI 0x00000022, src 192.0.2.2 dst 192.0.2.1
`
	if got := withoutDumps(keyText); got != want {
		t.Errorf("of the log is shown\n%s\nwant\n%s", got, want)
	}
}

func TestKeysAreThoseOfTheirDirection(t *testing.T) {
	log, err := parseKeys(keyText)
	if err != nil {
		t.Fatalf("read the keys: %v", err)
	}
	if len(log.esp) != 2 {
		t.Fatalf("%d ESP SAs were found, want 2: %+v", len(log.esp), log.esp)
	}
	// The peer started the exchange, so what comes in has the initiator's keys.
	for i, want := range []struct {
		spi               uint32
		cipher, integrity byte // the first octets
	}{{0x11, 0x00, 0x20}, {0x22, 0x10, 0x30}} {
		key := log.esp[i]
		if key.SPI != want.spi || key.Cipher != netlab.AESCBC || key.Integrity != netlab.HMACSHA1 {
			t.Errorf("SA %d is %+v, want SPI %#x with AES-CBC and HMAC-SHA1", i, key, want.spi)
		}
		if len(key.CipherKey) != 16 || key.CipherKey[0] != want.cipher || !bytes.Equal(key.IntegrityKey, bytes.Repeat([]byte{want.integrity}, 20)) {
			t.Errorf("SA %#x has the keys % x and % x, want those that begin with %02x and %02x", key.SPI, key.CipherKey, key.IntegrityKey, want.cipher, want.integrity)
		}
	}
}

func TestKeysThatTsharkCannotUseAreRefused(t *testing.T) {
	text := strings.Replace(keyText, "AES_CBC_128/HMAC_SHA1_96", "CHACHA20_POLY1305", 1)
	if _, err := parseKeys(text); err == nil || !strings.Contains(err.Error(), "CHACHA20_POLY1305") {
		t.Fatalf("the error is %v, want the algorithm in it", err)
	}
}
