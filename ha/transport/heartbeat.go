package transport

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// Heartbeat is one that came.
type Heartbeat struct {
	From ipsec.MemberID
	// Seq counts the heartbeats of one session, from 1. One that was overtaken
	// by a later one is delivered too, one that was delivered never again.
	Seq     uint64
	Payload []byte // belongs to the Receiver
	// At is when this process read it, with the monotonic clock.
	At time.Time
	// RTT is the round trip of the last heartbeat that From has from us, 0 when
	// it has none.
	RTT time.Duration
}

// A datagram: version, sender, two octets that are zero for now, the session's
// id and a sequence number, in the clear but authenticated; then, sealed, three
// times of eight octets and the payload.
const (
	beatVersion  = 1
	beatHeader   = 20
	beatTimes    = 24
	beatTag      = 16
	beatOverhead = beatHeader + beatTimes + beatTag
	// MaxHeartbeat is the longest payload in octets: the datagram then fits the
	// least MTU of IPv6, 1280, with room for a tunnel's header.
	MaxHeartbeat = 1100
	maxDatagram  = 1500
)

// beatStamps carry the round trip: when the sender sent this, and of the last
// heartbeat that it got, the time that was in it and how long ago that was. Each
// end counts nanoseconds from a point of its own, 0 means never.
type beatStamps struct{ sent, echo, held int64 }

var (
	errBeatFormat  = errors.New("transport: not a heartbeat")
	errBeatSession = errors.New("transport: heartbeat of a session that we do not have")
	errBeatForged  = errors.New("transport: heartbeat that was not sealed by the peer")
	errBeatReplay  = errors.New("transport: heartbeat that came before, or is too old")
)

// beatHead is the part in the clear.
type beatHead struct {
	from    ipsec.MemberID
	session uint64
	seq     uint64
}

func (h beatHead) append(b []byte) []byte {
	b = append(b, beatVersion, byte(h.from), 0, 0)
	b = binary.BigEndian.AppendUint64(b, h.session)
	return binary.BigEndian.AppendUint64(b, h.seq)
}

func parseBeatHead(b []byte) (beatHead, error) {
	if len(b) < beatOverhead || b[0] != beatVersion || b[1] >= ipsec.MaxMembers {
		return beatHead{}, errBeatFormat
	}
	return beatHead{
		from:    ipsec.MemberID(b[1]),
		session: binary.BigEndian.Uint64(b[4:]),
		seq:     binary.BigEndian.Uint64(b[12:]),
	}, nil
}

// beatKeys seal and open the heartbeats of one session. They are safe for
// concurrent use.
type beatKeys struct {
	session  uint64
	us, peer ipsec.MemberID
	out, in  cipher.AEAD
	sent     atomic.Uint64 // the last sequence number

	mu     sync.Mutex
	window window
	echo   int64     // sent, in the newest heartbeat that came
	echoAt time.Time // when it came
}

// newBeatKeys takes keys of 32 octets, one per direction: so a number is never
// used twice with one key, and a heartbeat cannot be reflected.
func newBeatKeys(session uint64, us, peer ipsec.MemberID, out, in []byte) (*beatKeys, error) {
	k := &beatKeys{session: session, us: us, peer: peer}
	var err error
	if k.out, err = newGCM(out); err != nil {
		return nil, fmt.Errorf("transport: make the key for heartbeats to member %d: %w", peer, err)
	}
	if k.in, err = newGCM(in); err != nil {
		return nil, fmt.Errorf("transport: make the key for heartbeats of member %d: %w", peer, err)
	}
	return k, nil
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func beatNonce(seq uint64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 4, 12), seq)
}

// seal makes the next datagram. since counts from a point of our own.
func (k *beatKeys) seal(now time.Time, since time.Duration, payload []byte) []byte {
	s := k.stamps(now, since)
	seq := k.sent.Add(1)
	b := beatHead{from: k.us, session: k.session, seq: seq}.append(make([]byte, 0, beatOverhead+len(payload)))
	plain := make([]byte, 0, beatTimes+len(payload))
	for _, t := range []int64{s.sent, s.echo, s.held} {
		plain = binary.BigEndian.AppendUint64(plain, uint64(t))
	}
	plain = append(plain, payload...)
	return k.out.Seal(b, beatNonce(seq), plain, b)
}

func (k *beatKeys) stamps(now time.Time, since time.Duration) beatStamps {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := beatStamps{sent: int64(since), echo: k.echo}
	if k.echo != 0 {
		s.held = int64(now.Sub(k.echoAt))
	}
	return s
}

// open checks a datagram with its parsed head. lost is how the count of lost
// heartbeats changes: up by those that this one passed over, down when it is
// one of them.
func (k *beatKeys) open(b []byte, h beatHead, now time.Time, since time.Duration) (beat Heartbeat, lost int64, err error) {
	if h.session != k.session || h.from != k.peer {
		return Heartbeat{}, 0, errBeatSession
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.window.fresh(h.seq) {
		return Heartbeat{}, 0, errBeatReplay
	}
	plain, err := k.in.Open(nil, beatNonce(h.seq), b[beatHeader:], b[:beatHeader])
	if err != nil {
		return Heartbeat{}, 0, errBeatForged
	}
	s := beatStamps{
		sent: int64(binary.BigEndian.Uint64(plain)),
		echo: int64(binary.BigEndian.Uint64(plain[8:])),
		held: int64(binary.BigEndian.Uint64(plain[16:])),
	}
	newest := h.seq > k.window.top
	lost = k.window.accept(h.seq)
	if newest {
		k.echo, k.echoAt = s.sent, now
	}
	return Heartbeat{From: h.from, Seq: h.seq, Payload: plain[beatTimes:], At: now, RTT: s.rtt(since)}, lost, nil
}

// rtt is 0 when nothing sensible comes out: the times are the peer's word.
func (s beatStamps) rtt(since time.Duration) time.Duration {
	if s.echo <= 0 || s.held < 0 || s.echo > int64(since) {
		return 0
	}
	return max(0, since-time.Duration(s.echo)-time.Duration(s.held))
}

// windowSize in numbers: of heartbeats that were overtaken by so many later
// ones nobody wants to hear.
const windowSize = 64

// window tells numbers that have come from those that have not, as that of
// RFC 4303 section 3.4.3 does. The zero window has seen none.
type window struct {
	top  uint64
	seen uint64 // bit i: top-i
}

func (w *window) fresh(seq uint64) bool {
	switch {
	case seq == 0:
		return false
	case seq > w.top:
		return true
	case w.top-seq >= windowSize:
		return false
	default:
		return w.seen&(1<<(w.top-seq)) == 0
	}
}

// accept notes a fresh number and returns the change in how many are missing.
func (w *window) accept(seq uint64) (lost int64) {
	if seq <= w.top {
		w.seen |= 1 << (w.top - seq)
		return -1
	}
	gap := seq - w.top
	if gap < windowSize {
		w.seen = w.seen<<gap | 1
	} else {
		w.seen = 1
	}
	w.top = seq
	return int64(gap - 1)
}
