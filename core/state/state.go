package state

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

const bootFile = "boot"

// MaxBoot is the highest boot number: it shares an IV with the member id and a
// packet counter (offload.Config).
const MaxBoot = 1<<20 - 1

// Dir is a directory with state. It is safe for concurrent use within one
// process; two processes must not share one.
type Dir struct {
	mu   sync.Mutex
	path string
}

// Open makes the directory when it is missing, for its owner only.
func Open(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("state: make directory: %w", err)
	}
	return &Dir{path: path}, nil
}

// maxFirstBoot bounds where a new directory begins, well below the 16 bits of a boot
// number that IKE has in its IVs.
const maxFirstBoot = 1 << 15

// NextBoot returns a number above all that earlier calls on this directory have
// returned. It is on disk before it is returned. A new directory begins at a number
// drawn at random: a gateway that lost the one before hardly repeats what the IVs of
// SAs have held that other members still have.
func (d *Dir) NextBoot() (uint32, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name := filepath.Join(d.path, bootFile)
	last, err := readNumber(name)
	if errors.Is(err, fs.ErrNotExist) {
		last, err = rand.N(uint64(maxFirstBoot)), nil //nolint:gosec // it need not be secret
	}
	if err != nil {
		return 0, err
	}
	if last >= MaxBoot {
		return 0, fmt.Errorf("state: %s: the boot numbers have come to their end at %d: remove the file once all tunnels have been re-keyed", name, last)
	}
	next := last + 1
	if err := replace(name, strconv.FormatUint(next, 10)+"\n"); err != nil {
		return 0, err
	}
	return uint32(next), nil
}

func readNumber(name string) (uint64, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return 0, fmt.Errorf("state: read the boot number: %w", err)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("state: %s does not hold a boot number: %w", name, err)
	}
	return n, nil
}

// replace writes a file so that a crash leaves the old content or the new one.
func replace(name, content string) error {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return fmt.Errorf("state: replace %s: %w", name, err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone already when all went well
	_, err = f.WriteString(content)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err == nil {
		err = syncDir(filepath.Dir(name))
	}
	if err != nil {
		return fmt.Errorf("state: replace %s: %w", name, err)
	}
	return nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
