package wire

import (
	"encoding/binary"
	"fmt"
)

// MessageIDs is the data of an IKEV2_MESSAGE_ID_SYNC notification, RFC 6311
// section 6.3. Send and Recv are as its sender sees them, in the request as in
// the response.
type MessageIDs struct {
	// Nonce is chosen by who asks, and comes back unchanged.
	Nonce [4]byte
	// Send is EXPECTED_SEND_REQ_MESSAGE_ID, the Message ID of the sender's next
	// request.
	Send uint32
	// Recv is EXPECTED_RECV_REQ_MESSAGE_ID, that of the next request that it
	// expects.
	Recv uint32
}

// messageIDsLen is the only length of that data.
const messageIDsLen = 12

// Notify is the notification of m.
func (m MessageIDs) Notify() *Notify {
	b := append(make([]byte, 0, messageIDsLen), m.Nonce[:]...)
	b = binary.BigEndian.AppendUint32(b, m.Send)
	return &Notify{Type: MessageIDSync, Data: binary.BigEndian.AppendUint32(b, m.Recv)}
}

// ParseMessageIDs reads the data of an IKEV2_MESSAGE_ID_SYNC notification.
func ParseMessageIDs(data []byte) (MessageIDs, error) {
	if len(data) != messageIDsLen {
		return MessageIDs{}, fmt.Errorf("wire: IKEV2_MESSAGE_ID_SYNC of %d octets, want %d", len(data), messageIDsLen)
	}
	m := MessageIDs{Send: binary.BigEndian.Uint32(data[4:]), Recv: binary.BigEndian.Uint32(data[8:])}
	copy(m.Nonce[:], data)
	return m, nil
}

// ReplayCounters is the data of an IPSEC_REPLAY_COUNTER_SYNC notification, RFC
// 6311 section 6.4: by how much the peer is to raise the sequence numbers of
// what it sends on all Child SAs.
type ReplayCounters struct {
	Delta uint64
	// Extended tells that the Child SAs have extended sequence numbers: Delta has
	// 64 bits then, otherwise 32.
	Extended bool
}

// Notify is the notification of c. Without Extended, Delta is below 2^32.
func (c ReplayCounters) Notify() *Notify {
	if c.Extended {
		return &Notify{Type: IPsecReplayCounterSync, Data: binary.BigEndian.AppendUint64(nil, c.Delta)}
	}
	return &Notify{Type: IPsecReplayCounterSync, Data: binary.BigEndian.AppendUint32(nil, uint32(c.Delta))}
}

// ParseReplayCounters reads the data of an IPSEC_REPLAY_COUNTER_SYNC
// notification.
func ParseReplayCounters(data []byte) (ReplayCounters, error) {
	switch len(data) {
	case 4:
		return ReplayCounters{Delta: uint64(binary.BigEndian.Uint32(data))}, nil
	case 8:
		return ReplayCounters{Delta: binary.BigEndian.Uint64(data), Extended: true}, nil
	default:
		return ReplayCounters{}, fmt.Errorf("wire: IPSEC_REPLAY_COUNTER_SYNC of %d octets, want 4 or 8", len(data))
	}
}
