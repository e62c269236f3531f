package ike

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// cookieLifetime is how long a secret makes cookies; it is accepted as long
// again.
const cookieLifetime = 30 * time.Second

// cookies makes and checks stateless cookies.
//
// "A good way to do this is to set the responder cookie to be: Cookie =
// <VersionIDofSecret> | Hash(Ni | IPi | SPIi | <secret>)" RFC 7296 section 2.6.
// The hash is HMAC-SHA-256 with the secret as its key.
type cookies struct {
	version uint32 // of current
	current [32]byte
	last    [32]byte
	lastOK  bool
	until   time.Time
}

// rotate replaces the secret when its time is over.
func (c *cookies) rotate(now time.Time, rand io.Reader) {
	if now.Before(c.until) {
		return
	}
	c.lastOK = c.version > 0 && now.Before(c.until.Add(cookieLifetime))
	c.last = c.current
	readRandom(rand, c.current[:])
	c.version++
	c.until = now.Add(cookieLifetime)
}

func (c *cookies) make(nonce []byte, from netip.Addr, spi ipsec.IKESPI) []byte {
	return makeCookie(c.version, c.current, nonce, from, spi)
}

func (c *cookies) valid(cookie, nonce []byte, from netip.Addr, spi ipsec.IKESPI) bool {
	if len(cookie) < 4 {
		return false
	}
	switch v := binary.BigEndian.Uint32(cookie); {
	case v == c.version:
		return hmac.Equal(cookie, makeCookie(v, c.current, nonce, from, spi))
	case c.lastOK && v == c.version-1:
		return hmac.Equal(cookie, makeCookie(v, c.last, nonce, from, spi))
	default:
		return false
	}
}

func makeCookie(version uint32, secret [32]byte, nonce []byte, from netip.Addr, spi ipsec.IKESPI) []byte {
	h := hmac.New(sha256.New, secret[:])
	h.Write(nonce)
	h.Write(from.AsSlice())
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(spi)))
	return h.Sum(binary.BigEndian.AppendUint32(nil, version))
}
