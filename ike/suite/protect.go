package suite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/evergate/evergate/core/ipsec"
)

// IV is where the initialization vectors of a counter mode stand: see the
// package documentation. The caller answers for Epoch: a value that this member
// never used before with these keys. The zero IV is that of a member that
// stands alone and starts.
type IV struct {
	Member  ipsec.MemberID
	Epoch   uint32 // at most MaxIVEpoch
	Counter uint64 // messages sealed so far, at most MaxIVCounter
}

// Limits of an IV.
const (
	MaxIVEpoch   = 1<<28 - 1
	MaxIVCounter = 1 << 32
)

// ErrIVExhausted says that no IV is left: the IKE SA must be rekeyed.
var ErrIVExhausted = errors.New("suite: no initialization vector is left")

// ErrAuthentication says that a message was not sealed with our keys, or was
// changed on its way.
var ErrAuthentication = errors.New("suite: message is not authentic")

// messageCipher encrypts and authenticates whole messages in place: msg[:body]
// is associated, then come IV, plaintext and ICV.
type messageCipher interface {
	seal(msg []byte, body int)
	// open leaves msg as it was when it is not authentic.
	open(msg []byte, body int) bool
}

// protection is what Sealer and Opener share. An IKE SA lives for hours and
// speaks for a moment, so what is made of the keys is made for one message and
// forgotten: expanded, they are some hundred octets each way, for every tunnel.
type protection struct {
	algorithms ipsec.Algorithms
	keys       DirectionKeys
}

// IVLen is the length of the initialization vector in octets.
func (p *protection) IVLen() int { return p.algorithms.IVLen() }

// BlockLen is what plaintext, padding and Pad Length together are a multiple
// of, in octets; 1 where the cipher needs no padding.
func (p *protection) BlockLen() int { return p.algorithms.BlockLen() }

// ICVLen is the length of the Integrity Check Value in octets.
func (p *protection) ICVLen() int { return p.algorithms.ICVLen() }

// cipher makes what protects one message.
func (p *protection) cipher() (messageCipher, error) {
	if p.algorithms.Encryption.AEAD() {
		return newCombined(p.algorithms, p.keys.Encryption)
	}
	return newComposed(p.algorithms, p.keys)
}

// check tells whether IV, at least one block and ICV fit behind body.
func (p *protection) check(msg []byte, body int) error {
	iv, block, icv := p.IVLen(), p.BlockLen(), p.ICVLen()
	if body < 0 || len(msg)-body < iv+block+icv {
		return fmt.Errorf("suite: encrypted payload has %d octets, want at least %d", len(msg)-body, iv+block+icv)
	}
	if (len(msg)-body-iv-icv)%block != 0 {
		return fmt.Errorf("suite: encrypted payload is not whole blocks of %d octets", block)
	}
	return nil
}

// Sealer protects the messages that we send on one IKE SA (RFC 7296 section
// 3.14; RFC 5282 for AEADs).
type Sealer struct {
	protection
	next IV
	rand io.Reader
}

// NewSealer takes the keys of our direction. iv counts for counter modes, rand
// for CBC.
func NewSealer(s Suite, k DirectionKeys, iv IV, rand io.Reader) (*Sealer, error) {
	if iv.Member >= ipsec.MaxMembers || iv.Epoch > MaxIVEpoch || iv.Counter > MaxIVCounter {
		return nil, fmt.Errorf("suite: initialization vector out of range: member %d, epoch %d, counter %d", iv.Member, iv.Epoch, iv.Counter)
	}
	p, err := newProtection(s, k)
	if err != nil {
		return nil, err
	}
	return &Sealer{protection: p, next: iv, rand: rand}, nil
}

// IV is the state after the last Seal. A standby that knows it can tell how far
// we are; whoever continues with the same keys needs another Epoch or Member.
func (s *Sealer) IV() IV { return s.next }

// Seal protects a whole message in place. At body there is room for the IV,
// then follows the padded plaintext, and the last ICVLen octets are room for
// the ICV. All before body is complete, lengths included: it is authenticated.
// ErrIVExhausted, a failing rand or a wrong layout leave msg not fit to send.
func (s *Sealer) Seal(msg []byte, body int) error {
	if err := s.check(msg, body); err != nil {
		return err
	}
	cipher, err := s.cipher()
	if err != nil {
		return err
	}
	iv := msg[body : body+s.IVLen()]
	if s.algorithms.Encryption.CounterMode() {
		if s.next.Counter >= MaxIVCounter {
			return ErrIVExhausted
		}
		binary.BigEndian.PutUint64(iv, uint64(s.next.Member)<<60|uint64(s.next.Epoch)<<32|s.next.Counter)
		s.next.Counter++
	} else if _, err := io.ReadFull(s.rand, iv); err != nil {
		// "Senders MUST select a new unpredictable IV for every message;
		// recipients MUST accept any value." RFC 7296 section 3.14, for CBC.
		return fmt.Errorf("suite: draw an initialization vector: %w", err)
	}
	cipher.seal(msg, body)
	return nil
}

// Opener undoes what the peer's Sealer did.
type Opener struct{ protection }

// NewOpener takes the keys of the peer's direction.
func NewOpener(s Suite, k DirectionKeys) (*Opener, error) {
	p, err := newProtection(s, k)
	if err != nil {
		return nil, err
	}
	return &Opener{p}, nil
}

// Open authenticates a whole message, then decrypts it in place, and returns
// the padded plaintext, a part of msg. With an error, ErrAuthentication or one
// about the length, msg is as it was.
func (o *Opener) Open(msg []byte, body int) ([]byte, error) {
	if err := o.check(msg, body); err != nil {
		return nil, err
	}
	cipher, err := o.cipher()
	if err != nil {
		return nil, err
	}
	if !cipher.open(msg, body) {
		return nil, ErrAuthentication
	}
	return msg[body+o.IVLen() : len(msg)-o.ICVLen()], nil
}

func newProtection(s Suite, k DirectionKeys) (protection, error) {
	if err := s.Validate(); err != nil {
		return protection{}, err
	}
	a := s.algorithms()
	encLen, err := a.EncryptionKeyLen()
	if err != nil {
		return protection{}, err
	}
	intLen, err := a.Integrity.KeyLen()
	if err != nil {
		return protection{}, err
	}
	if k.Encryption.Len() != encLen || k.Integrity.Len() != intLen {
		return protection{}, fmt.Errorf("suite: keys for %v have %d and %d octets, want %d and %d",
			s, k.Encryption.Len(), k.Integrity.Len(), encLen, intLen)
	}
	return protection{a, k}, nil
}
