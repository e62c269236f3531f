package sealed

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/ipsec"
)

// slack is by how many octets a file may outgrow what it holds before it is written
// anew; it may double in any case.
const slack = 1 << 20

// Config of a Store.
type Config struct {
	// File is the path of the sealed file, Anchor that of its anchor. Their
	// directories are there, and nobody else may write to them.
	File, Anchor string
	Key          ipsec.Key
}

// StaleError says that there is a file that must not be used.
type StaleError struct {
	Path string
	Why  error
}

// Error names the file and says why.
func (e *StaleError) Error() string {
	return fmt.Sprintf("sealed: %s is not used: %v", e.Path, e.Why)
}

// Unwrap returns the reason.
func (e *StaleError) Unwrap() error { return e.Why }

// Value is one value of a Store.
type Value struct {
	Set  uint64
	Name string
	Data []byte
	// Age is the time since it was written.
	Age time.Duration
}

// Change is one change of a Store. Data of nil deletes the value, and with an empty
// Name the whole set.
type Change struct {
	Set  uint64
	Name string
	Data []byte
}

// Store is an open file. It is safe for concurrent use.
type Store struct {
	config Config
	kernel string

	mu     sync.Mutex
	file   *os.File
	anchor *os.File
	seal   *seal
	gen    uint64
	count  uint64
	size   int64 // of the file
	live   int64 // of what it holds
	sets   map[uint64]map[string]place
	broken error
}

// place is where the newest entry of a value is.
type place struct {
	number uint64
	at     int64
	size   int
}

// Load returns what an earlier life has left, in the order in which it was written,
// nil when there is no file. It changes nothing. The error is a *StaleError where
// there is one that must not be used.
func Load(c Config) ([]Value, error) {
	b, err := os.ReadFile(c.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("sealed: read the file: %w", err)
	}
	values, err := load(c, b)
	if err != nil {
		return nil, &StaleError{Path: c.File, Why: err}
	}
	return values, nil
}

func load(c Config, b []byte) ([]Value, error) {
	h, err := parseHeader(b)
	if err != nil {
		return nil, err
	}
	s, err := newSeal(c.Key, h)
	if err != nil {
		return nil, err
	}
	least, err := readAnchor(c, s)
	if err != nil {
		return nil, err
	}
	entries, err := s.parse(b[headerSize:], least)
	if err != nil {
		return nil, err
	}
	now, err := sinceBoot()
	if err != nil {
		return nil, err
	}
	return fold(entries, now), nil
}

// readAnchor returns how many entries the file has at least.
func readAnchor(c Config, s *seal) (uint64, error) {
	mark, err := os.ReadFile(c.Anchor)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("there is no anchor %s: the machine was started anew, or the last life could not write", c.Anchor)
	}
	if err != nil {
		return 0, err
	}
	kernel, err := kernelLife()
	if err != nil {
		return 0, err
	}
	// Two marks are there while a file takes the place of another.
	why := errors.New("the anchor is empty")
	for part := range slices.Chunk(mark, markSize) {
		count, err := s.counted(part, kernel)
		if err == nil {
			return count, nil
		}
		why = err
	}
	return 0, why
}

// parse opens all entries, of which there are least or more.
func (s *seal) parse(b []byte, least uint64) ([]entry, error) {
	var out []entry
	for len(b) > 0 {
		e, n, err := s.parseEntry(b, uint64(len(out)))
		if err != nil && uint64(len(out)) >= least {
			break // the last one, cut off; nothing had come of it
		}
		if err != nil {
			return nil, err
		}
		out, b = append(out, e), b[n:]
	}
	if uint64(len(out)) < least {
		return nil, fmt.Errorf("it has %d entries of %d: it was cut off, or is an older copy", len(out), least)
	}
	return out, nil
}

// fold leaves the newest of each value, in the order in which they came to be.
func fold(entries []entry, now time.Duration) []Value {
	// known is where a value came to be, and where its newest entry is.
	type known struct{ first, newest int }
	sets := make(map[uint64]map[string]known)
	for i, e := range entries {
		switch {
		case e.value != nil:
			if sets[e.set] == nil {
				sets[e.set] = make(map[string]known)
			}
			k, there := sets[e.set][e.name]
			if !there {
				k.first = i
			}
			k.newest = i
			sets[e.set][e.name] = k
		case e.name != "":
			delete(sets[e.set], e.name)
		default:
			delete(sets, e.set)
		}
	}
	var left []known
	for _, set := range sets {
		left = slices.AppendSeq(left, maps.Values(set))
	}
	slices.SortFunc(left, func(a, b known) int { return cmp.Compare(a.first, b.first) })
	out := make([]Value, len(left))
	for i, k := range left {
		e := entries[k.newest]
		out[i] = Value{Set: e.set, Name: e.name, Data: e.value, Age: max(0, now-e.stamp)}
	}
	return out
}

// Create begins a file of its own for this life, with values in it, in place of the
// one that was there. Close it.
func Create(c Config, values []Value) (*Store, error) {
	kernel, err := kernelLife()
	if err != nil {
		return nil, err
	}
	s := &Store{config: c, kernel: kernel, gen: lastGeneration(c.File)}
	now, err := sinceBoot()
	if err != nil {
		return nil, err
	}
	entries := make([]entry, len(values))
	for i, v := range values {
		entries[i] = entry{stamp: now - v.Age, set: v.Set, name: v.Name, value: v.Data}
	}
	if err := s.rewrite(entries); err != nil {
		return nil, errors.Join(err, s.Discard())
	}
	return s, nil
}

// lastGeneration is that of the file that is there, 0 without one.
func lastGeneration(path string) uint64 {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	b := make([]byte, headerSize)
	if _, err := f.ReadAt(b, 0); err != nil {
		return 0
	}
	h, err := parseHeader(b)
	if err != nil {
		return 0
	}
	return h.generation
}

// rewrite begins another generation, with these entries. The caller holds mu, or
// has s for himself.
func (s *Store) rewrite(entries []entry) error {
	h, err := newHeader(s.gen + 1)
	if err != nil {
		return err
	}
	seal, err := newSeal(s.config.Key, h)
	if err != nil {
		return err
	}
	b, sets := h.marshal(), make(map[uint64]map[string]place)
	for i, e := range entries {
		before := len(b)
		if b, err = seal.appendEntry(b, uint64(i), e); err != nil {
			return err
		}
		put(sets, e.set, e.name, place{uint64(i), int64(before), len(b) - before})
	}
	mark := seal.mark(uint64(len(entries)), s.kernel)
	if s.anchor != nil { // it speaks of both files until the new one is there
		if _, err := s.anchor.WriteAt(mark, markSize); err != nil {
			return fmt.Errorf("sealed: write the anchor: %w", err)
		}
	}
	file, err := replace(s.config.File, b)
	if err != nil {
		return err
	}
	anchor, err := replace(s.config.Anchor, mark)
	if err != nil {
		return errors.Join(err, file.Close())
	}
	s.closeFiles()
	s.file, s.anchor, s.seal, s.gen, s.sets = file, anchor, seal, h.generation, sets
	s.count, s.size = uint64(len(entries)), int64(len(b))
	s.live = s.size - int64(headerSize)
	return nil
}

// replace makes a new file in the place of an older one, in one step.
func replace(path string, content []byte) (*os.File, error) {
	next := path + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("sealed: replace %s: %w", path, err)
	}
	f, err := os.OpenFile(next, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("sealed: replace %s: %w", path, err)
	}
	if _, err = f.Write(content); err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("sealed: replace %s: %w", path, err), f.Close())
	}
	return f, nil
}

func put(sets map[uint64]map[string]place, set uint64, name string, p place) (before place) {
	if sets[set] == nil {
		sets[set] = make(map[string]place)
	}
	before = sets[set][name]
	sets[set][name] = p
	return before
}

// Write makes changes, in their order: all of them, or none that a later Load would
// accept. After an error the Store writes no more, and nothing of it is used again.
func (s *Store) Write(changes ...Change) error {
	if len(changes) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return s.broken
	}
	if err := s.write(changes); err != nil {
		s.broken = err
		return errors.Join(err, s.discard())
	}
	return nil
}

func (s *Store) write(changes []Change) error {
	now, err := sinceBoot()
	if err != nil {
		return err
	}
	var b []byte
	for _, c := range changes {
		before := len(b)
		if b, err = s.seal.appendEntry(b, s.count, entry{now, c.Set, c.Name, c.Data}); err != nil {
			return err
		}
		s.note(c, place{s.count, s.size + int64(before), len(b) - before})
		s.count++
	}
	if _, err := s.file.WriteAt(b, s.size); err != nil {
		return fmt.Errorf("sealed: write: %w", err)
	}
	s.size += int64(len(b))
	if _, err := s.anchor.WriteAt(s.seal.mark(s.count, s.kernel), 0); err != nil {
		return fmt.Errorf("sealed: write the anchor: %w", err)
	}
	if s.size > 2*s.live+slack {
		return s.compact()
	}
	return nil
}

// note keeps the index.
func (s *Store) note(c Change, p place) {
	switch {
	case c.Data != nil:
		before := put(s.sets, c.Set, c.Name, p)
		s.live += int64(p.size - before.size)
	case c.Name != "":
		s.live -= int64(s.sets[c.Set][c.Name].size)
		delete(s.sets[c.Set], c.Name)
		if len(s.sets[c.Set]) == 0 {
			delete(s.sets, c.Set)
		}
	default:
		for _, gone := range s.sets[c.Set] {
			s.live -= int64(gone.size)
		}
		delete(s.sets, c.Set)
	}
}

// compact writes what the file holds into another one.
func (s *Store) compact() error {
	var places []place
	for _, set := range s.sets {
		for _, p := range set {
			places = append(places, p)
		}
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Compare(a.number, b.number) })
	entries := make([]entry, len(places))
	for i, p := range places {
		b := make([]byte, p.size)
		if _, err := s.file.ReadAt(b, p.at); err != nil {
			return fmt.Errorf("sealed: read entry %d: %w", p.number, err)
		}
		e, _, err := s.seal.parseEntry(b, p.number)
		if err != nil {
			return fmt.Errorf("sealed: read what was written: %w", err)
		}
		entries[i] = e
	}
	return s.rewrite(entries)
}

// Discard makes sure that nothing of the file is used again.
func (s *Store) Discard() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		s.broken = errors.New("sealed: the file was given up")
	}
	return s.discard()
}

func (s *Store) discard() error { return Remove(s.config) }

// Remove removes a file and its anchor, if they are there: the anchor first.
func Remove(c Config) error {
	var failed []error
	for _, path := range []string{c.Anchor, c.File} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, fmt.Errorf("sealed: give up %s: %w", path, err))
		}
	}
	return errors.Join(failed...)
}

// Close lets go of the file, which stays for the next life.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		s.broken = fs.ErrClosed
	}
	s.closeFiles()
	return nil
}

func (s *Store) closeFiles() {
	for _, f := range []*os.File{s.file, s.anchor} {
		if f != nil {
			_ = f.Close() // every write was checked
		}
	}
}

// kernelLife is another one after each start of the machine.
func kernelLife() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("sealed: name the kernel's life: %w", err)
	}
	return string(bytes.TrimSpace(b)), nil
}
