package suite

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/bigmod"

	"github.com/evergate/evergate/core/ipsec"
)

// modp is a group modulo a safe prime p with generator 2 (RFC 2409 section 6,
// RFC 3526). 2 generates the subgroup of the large prime order (p-1)/2.
//
// Arithmetic is bigmod's, the one behind crypto/rsa: it takes the same time
// whatever the secret is, which math/big does not promise. It costs the same as
// math/big for group 14 and two to three times as much from group 15 on.
type modp struct {
	digits string // of p, hexadecimal
	len    int    // of p in octets
	// exponent is the length of a private value in octets. Short exponents of
	// at least twice the group's strength lose none of it in a safe-prime group
	// (RFC 7919 section 5.2), and cost a fraction. The lengths cover twice the
	// larger one of the two strengths that RFC 3526 section 8 gives.
	exponent int
}

func newModp(id ipsec.GroupID) (modp, bool) {
	switch id {
	case ipsec.GroupMODP768:
		return modp{prime768, 768 / 8, 32}, true
	case ipsec.GroupMODP1024:
		return modp{prime1024, 1024 / 8, 32}, true
	case ipsec.GroupMODP1536:
		return modp{prime1536, 1536 / 8, 32}, true // strength 90 to 120 bits
	case ipsec.GroupMODP2048:
		return modp{prime2048, 2048 / 8, 40}, true // 110 to 160
	case ipsec.GroupMODP3072:
		return modp{prime3072, 3072 / 8, 56}, true // 130 to 210
	case ipsec.GroupMODP4096:
		return modp{prime4096, 4096 / 8, 64}, true // 150 to 240
	case ipsec.GroupMODP6144:
		return modp{prime6144, 6144 / 8, 72}, true // 170 to 270
	case ipsec.GroupMODP8192:
		return modp{prime8192, 8192 / 8, 80}, true // 190 to 310
	default:
		return modp{}, false
	}
}

// publicLen is the length of the prime.
//
// "The length of the Diffie-Hellman public value for MODP groups MUST be equal
// to the length of the prime modulus over which the exponentiation was
// performed, prepending zero bits to the value if necessary." RFC 7296 section
// 3.4.
func (m modp) publicLen() int { return m.len }

func (m modp) draw(rand io.Reader) ([]byte, keyPair, error) {
	x := make([]byte, m.exponent)
	if _, err := io.ReadFull(rand, x); err != nil {
		return nil, nil, err
	}
	p, err := m.pair(x)
	return x, p, err
}

func (m modp) pair(private []byte) (keyPair, error) {
	two := make([]byte, m.len)
	two[m.len-1] = 2
	power, err := m.power(two, private)
	if err != nil {
		return nil, err
	}
	return &modpPair{m, private, power}, nil
}

// modpPair is an exponent, which belongs to the KE, with its power of 2.
type modpPair struct {
	group    modp
	exponent []byte
	power    []byte
}

func (p *modpPair) public() []byte { return p.power }

// shared refuses 0, 1, p-1 and all from p on, which is all that a safe prime
// needs (RFC 6989 section 2.1): no other small subgroup exists.
func (p *modpPair) shared(peer []byte) ([]byte, error) {
	m := p.group
	one := make([]byte, m.len)
	one[m.len-1] = 1
	last := m.prime() // p-1, as p is odd
	last[m.len-1]--
	if bytes.Compare(peer, one) <= 0 || bytes.Compare(peer, last) >= 0 {
		return nil, errors.New("not between 1 and p-1")
	}
	return m.power(peer, p.exponent)
}

// power is base^private mod p, as long as p.
func (m modp) power(base, private []byte) ([]byte, error) {
	if len(private) != m.exponent {
		return nil, fmt.Errorf("private value has %d octets, want %d", len(private), m.exponent)
	}
	p, err := bigmod.NewModulus(m.prime())
	if err != nil {
		return nil, err
	}
	b, err := bigmod.NewNat().SetBytes(base, p)
	if err != nil {
		return nil, err
	}
	return bigmod.NewNat().Exp(b, private, p).Bytes(p), nil
}

// prime is p, a copy.
func (m modp) prime() []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(m.digits), ""))
	if err != nil || len(b) != m.len {
		panic(fmt.Sprintf("suite: the constant of a %d-bit prime is spoilt", m.len*8))
	}
	return b
}
