package ike

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// readRandom fills b. A source of randomness that fails leaves nothing safe to
// do; crypto/rand.Reader never does.
func readRandom(r io.Reader, b []byte) {
	if _, err := io.ReadFull(r, b); err != nil {
		panic(fmt.Sprintf("ike: read %d random octets: %v", len(b), err))
	}
}

func (e *Env) random64() uint64 {
	var b [8]byte
	readRandom(e.Rand, b[:])
	return binary.BigEndian.Uint64(b[:])
}

// nonce draws 32 octets.
//
// "Nonces used in IKEv2 MUST be randomly chosen, MUST be at least 128 bits in
// size, and MUST be at least half the key size of the negotiated pseudorandom
// function (PRF)." RFC 7296 section 2.10. 32 is half of the largest.
func (e *Env) nonce() []byte {
	b := make([]byte, 32)
	readRandom(e.Rand, b)
	return b
}

// ikeSPI draws an IKE SPI that the caller's shard accepts.
func (e *Env) ikeSPI() ipsec.IKESPI {
	for range maxSPIDraws {
		s := ipsec.NewIKESPI(e.Member, e.random64())
		if e.AcceptSPI == nil || e.AcceptSPI(s) {
			return s
		}
	}
	panic("ike: AcceptSPI rejects every SPI")
}

// spread returns a random duration in [0, d).
func (e *Env) spread(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(e.random64() % uint64(d))
}

// before returns v less up to a twentieth of it, so that the two ends of an SA,
// and the SAs of many tunnels, do not come to their limits together.
//
// RFC 7296 section 2.8: "If the two ends have the same lifetime policies, it is
// possible that both will initiate a rekeying at the same time (which will result
// in redundant SAs). To reduce the probability of this happening, the timing of
// rekeying requests SHOULD be jittered (delayed by a random amount of time after
// the need for rekeying is noticed)."
func (e *Env) before(v uint64) uint64 {
	if v < 20 {
		return v
	}
	return v - e.random64()%(v/20)
}
