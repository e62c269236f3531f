package cert

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// maxFile is far above any chain of certificates, in octets: a wrong path must
// not fill the memory.
const maxFile = 1 << 20

// Load reads an Identity from PEM files, as New does. A key that everybody on
// this host may read is an error.
func Load(authorities, cert, key string, now time.Time) (*Identity, error) {
	ca, err := readFile(authorities)
	if err != nil {
		return nil, fmt.Errorf("cert: read the authority: %w", err)
	}
	c, err := readFile(cert)
	if err != nil {
		return nil, fmt.Errorf("cert: read the member's certificate: %w", err)
	}
	k, err := readKey(key)
	if err != nil {
		return nil, err
	}
	i, err := New(ca, c, k, now)
	if err != nil {
		return nil, fmt.Errorf("%w (from %s, %s and %s)", err, authorities, cert, key)
	}
	return i, nil
}

// LoadAuthority reads an Authority from PEM files.
func LoadAuthority(cert, key string) (*Authority, error) {
	c, err := readFile(cert)
	if err != nil {
		return nil, fmt.Errorf("cert: read the authority: %w", err)
	}
	k, err := readKey(key)
	if err != nil {
		return nil, err
	}
	return ParseAuthority(c, k)
}

// Save writes a certificate and its key into new files: it overwrites nothing,
// for a lost key of an authority is a lost group. The key's file is its
// owner's only.
func Save(certFile string, cert []byte, keyFile string, key ipsec.Key) error {
	if err := create(keyFile, 0o600, key.Reveal()); err != nil {
		return fmt.Errorf("cert: write the key: %w", err)
	}
	if err := create(certFile, 0o644, cert); err != nil {
		return errors.Join(fmt.Errorf("cert: write the certificate: %w", err), os.Remove(keyFile))
	}
	return nil
}

func create(name string, mode os.FileMode, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no regular file", name)
	case info.Size() > maxFile:
		return nil, fmt.Errorf("%s has %d octets, more than %d", name, info.Size(), maxFile)
	}
	return io.ReadAll(io.LimitReader(f, maxFile))
}

func readKey(name string) (ipsec.Key, error) {
	b, err := readFile(name)
	if err != nil {
		return ipsec.Key{}, fmt.Errorf("cert: read the key: %w", err)
	}
	if info, err := os.Stat(name); err == nil && info.Mode().Perm()&0o007 != 0 {
		return ipsec.Key{}, fmt.Errorf("cert: read the key: %s is open to everybody on this host (mode %v); chmod 600 it", name, info.Mode().Perm())
	}
	return ipsec.NewKey(b), nil
}
