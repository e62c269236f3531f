package suite

import (
	"fmt"
	"io"

	"github.com/evergate/evergate/core/ipsec"
)

// KE is our half of one key exchange. It is used for one exchange, whatever
// happens to it: a retried IKE_SA_INIT (cookie, INVALID_KE_PAYLOAD for another
// group) sends the same value or none, and a finished exchange drops it.
type KE struct {
	group   group
	id      ipsec.GroupID
	private ipsec.Key
	pair    keyPair
}

// group is one key exchange method. Private and public values have a fixed
// length each; publicLen is that of KE payloads.
type group interface {
	publicLen() int
	// draw draws a private value from rand, reading always the same octets from the
	// same stream.
	draw(rand io.Reader) (private []byte, p keyPair, err error)
	// pair makes the pair of a private value, which it checks and keeps.
	pair(private []byte) (keyPair, error)
}

// keyPair is a private value with its public one. To make it is as much work as
// what it is for, so it is made once.
type keyPair interface {
	// public is the caller's to read.
	public() []byte
	// shared is g^ir in the form that the key schedule takes.
	shared(peer []byte) ([]byte, error)
}

// NewKE draws a private value from rand. From equal streams come equal values.
func NewKE(id ipsec.GroupID, rand io.Reader) (*KE, error) {
	g, err := newGroup(id)
	if err != nil {
		return nil, err
	}
	private, pair, err := g.draw(rand)
	if err != nil {
		return nil, fmt.Errorf("suite: draw a private value for %v: %w", id, err)
	}
	return &KE{group: g, id: id, private: ipsec.NewKey(private), pair: pair}, nil
}

// RestoreKE is the KE whose Private this was, on another member perhaps: an
// exchange in flight is part of the replicated state. It keeps private.
func RestoreKE(id ipsec.GroupID, private ipsec.Key) (*KE, error) {
	g, err := newGroup(id)
	if err != nil {
		return nil, err
	}
	pair, err := g.pair(private.Reveal())
	if err != nil {
		return nil, fmt.Errorf("suite: restore the private value of %v: %w", id, err)
	}
	return &KE{group: g, id: id, private: private, pair: pair}, nil
}

// Group is the key exchange method.
func (k *KE) Group() ipsec.GroupID { return k.id }

// Public is the Key Exchange Data of our KE payload. The slice is k's.
func (k *KE) Public() []byte { return k.pair.public() }

// Private is what RestoreKE takes. It is k's.
func (k *KE) Private() ipsec.Key { return k.private }

// Wipe overwrites the private value, for RestoreKE's caller too. A copy that the
// standard library made of the scalar of a NIST curve is left to the garbage collector.
func (k *KE) Wipe() { k.private.Wipe() }

// Shared is g^ir, from the Key Exchange Data of the peer's KE payload. An error
// means that the peer sent a value that must not be used: one of the wrong
// length, outside of the group, or of a subgroup that gives our secret away
// (RFC 6989 section 2; RFC 7296 section 3.4; RFC 8031 section 3.2).
func (k *KE) Shared(peer []byte) (ipsec.Key, error) {
	if want := k.group.publicLen(); len(peer) != want {
		return ipsec.Key{}, fmt.Errorf("suite: the peer's key exchange value for %v has %d octets, want %d", k.id, len(peer), want)
	}
	shared, err := k.pair.shared(peer)
	if err != nil {
		return ipsec.Key{}, fmt.Errorf("suite: the peer's key exchange value for %v: %w", k.id, err)
	}
	return ipsec.NewKey(shared), nil
}

// PublicLen is the length of the Key Exchange Data of a group in octets, 0 for
// an unknown one.
func PublicLen(id ipsec.GroupID) int {
	g, err := newGroup(id)
	if err != nil {
		return 0
	}
	return g.publicLen()
}

func newGroup(id ipsec.GroupID) (group, error) {
	if g, ok := newModp(id); ok {
		return g, nil
	}
	if g, ok := newCurve(id); ok {
		return g, nil
	}
	if id == ipsec.GroupX25519 {
		return curve25519{}, nil
	}
	return nil, fmt.Errorf("suite: unknown key exchange method %d", uint16(id))
}
