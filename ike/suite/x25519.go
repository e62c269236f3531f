package suite

import (
	"errors"
	"fmt"
	"io"

	"github.com/cloudflare/circl/dh/x25519"
)

// curve25519 is the method of RFC 8031 for Curve25519. Half of what a responder does
// for a tunnel is this function, twice; the library has it in assembly with a table
// for the base point, and takes little more than half the time of crypto/ecdh.
type curve25519 struct{}

func (curve25519) publicLen() int { return x25519.Size }

func (g curve25519) draw(rand io.Reader) ([]byte, keyPair, error) {
	private := make([]byte, x25519.Size)
	if _, err := io.ReadFull(rand, private); err != nil {
		return nil, nil, err
	}
	p, err := g.pair(private)
	return private, p, err
}

func (curve25519) pair(private []byte) (keyPair, error) {
	if len(private) != x25519.Size {
		return nil, fmt.Errorf("a scalar of %d octets, want %d", len(private), x25519.Size)
	}
	p := &pair25519{private: (*x25519.Key)(private)}
	x25519.KeyGen(&p.point, p.private)
	return p, nil
}

// pair25519 is a scalar, which is KE.private's, with its point.
type pair25519 struct {
	private *x25519.Key
	point   x25519.Key
}

func (p *pair25519) public() []byte { return p.point[:] }

// shared refuses the points of small order, whatever the scalar is.
//
// "Both MAY check, without leaking extra information about the value of K, whether K
// is the all-zero value and abort if so". RFC 7748 section 6.1.
func (p *pair25519) shared(peer []byte) ([]byte, error) {
	var shared, point x25519.Key
	copy(point[:], peer)
	if !x25519.Shared(&shared, p.private, &point) {
		return nil, errors.New("a point of small order")
	}
	return shared[:], nil
}
