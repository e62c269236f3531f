package wire_test

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/evergate/evergate/ike/wire"
)

// TestSyncNotificationsAreAsTheRFCSays: the layouts of RFC 6311 sections 6.3 and
// 6.4, with Protocol ID and SPI Size zero.
func TestSyncNotificationsAreAsTheRFCSays(t *testing.T) { // C17
	for _, tt := range []struct {
		name   string
		notify *wire.Notify
		want   string // the whole payload
	}{
		{"message ids", wire.MessageIDs{Nonce: [4]byte{0xde, 0xad, 0xbe, 0xef}, Send: 17, Recv: 0x01020304}.Notify(), "0000001400004026" + "deadbeef" + "00000011" + "01020304"},
		{"a 32-bit delta", wire.ReplayCounters{Delta: 0x400000}.Notify(), "0000000c00004027" + "00400000"},
		{"a 64-bit delta", wire.ReplayCounters{Delta: 1 << 40, Extended: true}.Notify(), "0000001000004027" + "0000010000000000"},
	} {
		_, b, err := wire.AppendPayloads(nil, []wire.Payload{tt.notify})
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if got := hex.EncodeToString(b); got != tt.want {
			t.Errorf("%s: the payload is %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestSyncNotificationsComeBack(t *testing.T) {
	ids := wire.MessageIDs{Nonce: [4]byte{1, 2, 3, 4}, Send: 1 << 31, Recv: 7}
	if got, err := wire.ParseMessageIDs(ids.Notify().Data); err != nil || got != ids {
		t.Errorf("%+v comes back as %+v, %v", ids, got, err)
	}
	for _, c := range []wire.ReplayCounters{{Delta: 1<<32 - 1}, {Delta: 1<<64 - 1, Extended: true}} {
		if got, err := wire.ParseReplayCounters(c.Notify().Data); err != nil || got != c {
			t.Errorf("%+v comes back as %+v, %v", c, got, err)
		}
	}
}

func TestSyncNotificationsOfOtherLengthsAreRefused(t *testing.T) {
	for n := range 20 {
		data := bytes.Repeat([]byte{1}, n)
		if _, err := wire.ParseMessageIDs(data); (err == nil) != (n == 12) {
			t.Errorf("message ids in %d octets: error %v", n, err)
		}
		if _, err := wire.ParseReplayCounters(data); (err == nil) != (n == 4 || n == 8) {
			t.Errorf("replay counters in %d octets: error %v", n, err)
		}
	}
}
