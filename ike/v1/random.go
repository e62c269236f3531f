package v1

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
)

// readRandom fills b. A source of randomness that fails leaves nothing safe to
// do; crypto/rand.Reader never does.
func readRandom(env *ike.Env, b []byte) {
	if _, err := io.ReadFull(env.Rand, b); err != nil {
		panic(fmt.Sprintf("ike/v1: read %d random octets: %v", len(b), err))
	}
}

func random64(env *ike.Env) uint64 {
	var b [8]byte
	readRandom(env, b[:])
	return binary.BigEndian.Uint64(b[:])
}

// nonce draws 32 octets: RFC 2409 section 5 allows 8 to 256.
func nonce(env *ike.Env) []byte {
	b := make([]byte, 32)
	readRandom(env, b)
	return b
}

// cookie draws a cookie that the caller's shard accepts. It has the member in its
// top four bits, as SPIs do, and nothing else that could be told: RFC 2408
// section 2.5.3 wants it unique, and not to be made by others.
func cookie(env *ike.Env) ipsec.IKESPI {
	for range maxSPIDraws {
		s := ipsec.NewIKESPI(env.Member, random64(env))
		if env.AcceptSPI == nil || env.AcceptSPI(s) {
			return s
		}
	}
	panic("ike/v1: AcceptSPI rejects every cookie")
}

// spread returns a random duration in [0, d).
func spread(env *ike.Env, d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(random64(env) % uint64(d))
}

// messageID draws the ID of a new exchange, which must be free on sa.
//
// "The message ID in the ISAKMP header identifies a Quick Mode in progress for a
// particular ISAKMP SA which itself is identified by the cookies in the ISAKMP
// header." RFC 2409 section 5.5. The IVs come from it too. It is never 0, that of
// phase 1.
func (t *Tunnel) messageID(sa *isakmpSA) uint32 {
	for range maxSPIDraws {
		id := uint32(random64(t.env))
		if id != 0 && t.exchange(sa, id) == nil {
			return id
		}
	}
	panic("ike/v1: no message ID is free")
}
