package suite

import (
	"crypto/ecdh"
	"errors"
	"io"

	"github.com/evergate/evergate/core/ipsec"
)

// curve is an elliptic curve group over crypto/ecdh, which checks that a peer's
// point is on the curve.
type curve struct {
	curve ecdh.Curve
	// scalar is the length of a private value, and coordinate that of x or y,
	// in octets.
	scalar int
	// top masks the first octet of a drawn scalar to the bits of the order.
	top byte
	// prefix is what crypto/ecdh puts before a point and a KE payload does not:
	// 4 for "uncompressed" (SEC 1 section 2.3.3).
	prefix []byte
	point  int // length of the KE payload's data in octets
}

func newCurve(id ipsec.GroupID) (curve, bool) {
	switch id {
	case ipsec.GroupECP256:
		return curve{ecdh.P256(), 32, 0xff, []byte{4}, 64}, true
	case ipsec.GroupECP384:
		return curve{ecdh.P384(), 48, 0xff, []byte{4}, 96}, true
	case ipsec.GroupECP521:
		return curve{ecdh.P521(), 66, 0x01, []byte{4}, 132}, true
	default:
		return curve{}, false
	}
}

func (c curve) publicLen() int { return c.point }

// scalarTries bounds the draws for one scalar. A draw for P-256, the worst
// case, is at or above the order once in 2^32; only a broken rand needs more.
const scalarTries = 32

// draw draws the scalar itself: crypto/ecdh's GenerateKey promises nothing about
// how much it reads.
func (c curve) draw(rand io.Reader) ([]byte, keyPair, error) {
	b := make([]byte, c.scalar)
	for range scalarTries {
		if _, err := io.ReadFull(rand, b); err != nil {
			return nil, nil, err
		}
		b[0] &= c.top
		if p, err := c.pair(b); err == nil {
			return b, p, nil
		}
	}
	return nil, nil, errors.New("random source yields no valid scalar")
}

func (c curve) pair(private []byte) (keyPair, error) {
	k, err := c.curve.NewPrivateKey(private)
	if err != nil {
		return nil, err
	}
	return &curvePair{c, k}, nil
}

// curvePair is a scalar with its point. The standard library makes the point with
// the scalar, whether or not it is asked for.
type curvePair struct {
	curve curve
	key   *ecdh.PrivateKey
}

func (p *curvePair) public() []byte { return p.key.PublicKey().Bytes()[len(p.curve.prefix):] }

// shared is the x coordinate (RFC 5903 section 7).
func (p *curvePair) shared(peer []byte) ([]byte, error) {
	point, err := p.curve.curve.NewPublicKey(append(append([]byte(nil), p.curve.prefix...), peer...))
	if err != nil {
		return nil, err
	}
	return p.key.ECDH(point)
}
