package sealed

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/ipsec"
)

// Version of the format. Another one is not read.
const Version = 1

const (
	magic      = "EVGSEAL"
	saltSize   = 32
	headerSize = len(magic) + 1 + 8 + saltSize
	lengthSize = 4
	tagSize    = 16
	// maxEntry bounds one entry: an IKE SA with its fragments has some ten KiB.
	maxEntry = 1 << 20
	// entryHead is stamp, set and the length of the name.
	entryHead = 8 + 8 + 2
	// MinKey is how long an operator's key must be, in octets.
	MinKey = 16
	// markSize is the size of an anchor.
	markSize = 8 + sha256.Size
)

// header is what stands in the clear at the beginning of a file.
type header struct {
	generation uint64
	salt       [saltSize]byte
}

func newHeader(generation uint64) (header, error) {
	h := header{generation: generation}
	if _, err := rand.Read(h.salt[:]); err != nil {
		return h, fmt.Errorf("sealed: draw a salt: %w", err)
	}
	return h, nil
}

func (h header) marshal() []byte {
	b := append(make([]byte, 0, headerSize), magic...)
	b = append(b, Version)
	b = binary.BigEndian.AppendUint64(b, h.generation)
	return append(b, h.salt[:]...)
}

func parseHeader(b []byte) (header, error) {
	var h header
	if len(b) < headerSize || !bytes.HasPrefix(b, []byte(magic)) {
		return h, errors.New("it does not begin as a sealed file does")
	}
	if v := b[len(magic)]; v != Version {
		return h, fmt.Errorf("it has version %d of the format, and this is %d", v, Version)
	}
	h.generation = binary.BigEndian.Uint64(b[len(magic)+1:])
	copy(h.salt[:], b[len(magic)+9:])
	return h, nil
}

// seal makes and opens the entries of one file.
type seal struct {
	header []byte
	aead   cipher.AEAD
	// anchor authenticates the file's anchor.
	anchor []byte
}

func newSeal(key ipsec.Key, h header) (*seal, error) {
	if key.Len() < MinKey {
		return nil, fmt.Errorf("sealed: the key has %d octets, and needs %d at least", key.Len(), MinKey)
	}
	entries, err := hkdf.Key(sha256.New, key.Reveal(), h.salt[:], "evergate sealed entries", 32)
	if err != nil {
		return nil, fmt.Errorf("sealed: derive a key: %w", err)
	}
	anchor, err := hkdf.Key(sha256.New, key.Reveal(), h.salt[:], "evergate sealed anchor", 32)
	if err != nil {
		return nil, fmt.Errorf("sealed: derive a key: %w", err)
	}
	block, err := aes.NewCipher(entries)
	if err != nil {
		return nil, fmt.Errorf("sealed: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("sealed: %w", err)
	}
	return &seal{header: h.marshal(), aead: aead, anchor: anchor}, nil
}

func nonceOf(number uint64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 4, 12), number)
}

// entry is a change of one value, or the end of a whole set.
type entry struct {
	stamp time.Duration // since the kernel began
	set   uint64
	name  string // empty for the whole set
	value []byte // nil where it is deleted
}

// appendEntry appends e, as the number-th of its file.
func (s *seal) appendEntry(b []byte, number uint64, e entry) ([]byte, error) {
	size := entryHead + len(e.name) + 1 + len(e.value)
	if size > maxEntry || len(e.name) > 0xffff {
		return b, fmt.Errorf("sealed: an entry of %d octets, at most %d", size, maxEntry)
	}
	plain := make([]byte, 0, size)
	plain = binary.BigEndian.AppendUint64(plain, uint64(e.stamp))
	plain = binary.BigEndian.AppendUint64(plain, e.set)
	plain = binary.BigEndian.AppendUint16(plain, uint16(len(e.name)))
	plain = append(plain, e.name...)
	if e.value == nil {
		plain = append(plain, 0)
	} else {
		plain = append(append(plain, 1), e.value...)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(size+tagSize))
	return s.aead.Seal(b, nonceOf(number), plain, s.header), nil
}

// errTorn says that a file ends within an entry.
var errTorn = errors.New("it ends within an entry")

// parseEntry opens the number-th entry, with which b begins, and returns its size.
func (s *seal) parseEntry(b []byte, number uint64) (e entry, size int, err error) {
	if len(b) < lengthSize {
		return e, 0, errTorn
	}
	n := int(binary.BigEndian.Uint32(b))
	if n > maxEntry+tagSize || n < entryHead+1+tagSize {
		return e, 0, fmt.Errorf("entry %d has %d octets", number, n)
	}
	if len(b) < lengthSize+n {
		return e, 0, errTorn
	}
	plain, err := s.aead.Open(nil, nonceOf(number), b[lengthSize:lengthSize+n], s.header)
	if err != nil {
		return e, 0, fmt.Errorf("entry %d does not open: another key, or a damaged file", number)
	}
	name := int(binary.BigEndian.Uint16(plain[16:]))
	rest := plain[entryHead:]
	if len(rest) < name+1 {
		return e, 0, fmt.Errorf("entry %d is too short for its name", number)
	}
	e = entry{
		stamp: time.Duration(binary.BigEndian.Uint64(plain)), set: binary.BigEndian.Uint64(plain[8:]),
		name: string(rest[:name]),
	}
	switch kind := rest[name]; {
	case kind == 1:
		e.value = rest[name+1:]
	case kind != 0 || len(rest) > name+1:
		return entry{}, 0, fmt.Errorf("entry %d is neither a value nor the end of one", number)
	}
	return e, lengthSize + n, nil
}

// mark is the content of an anchor.
func (s *seal) mark(count uint64, kernel string) []byte {
	mac := hmac.New(sha256.New, s.anchor)
	mac.Write(s.header)
	head := binary.BigEndian.AppendUint64(nil, count)
	mac.Write(head)
	mac.Write([]byte(kernel))
	return mac.Sum(head)
}

// counted is how many entries an anchor speaks of.
func (s *seal) counted(mark []byte, kernel string) (uint64, error) {
	if len(mark) != markSize {
		return 0, errors.New("the anchor has another size")
	}
	count := binary.BigEndian.Uint64(mark)
	if !hmac.Equal(mark, s.mark(count, kernel)) {
		return 0, errors.New("the anchor is of another file, another key, or another life of the machine")
	}
	return count, nil
}

// sinceBoot is the time since the kernel began, sleep included. Unlike the time of
// day nobody sets it.
func sinceBoot() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0, fmt.Errorf("sealed: read the clock: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}
