package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Save writes v as JSON under a name of letters, digits and hyphens. It is on
// disk when Save returns.
func (d *Dir) Save(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("state: encode %s: %w", name, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return replace(filepath.Join(d.path, name), string(b)+"\n")
}

// Load reads what Save wrote; v stays as it is when nothing was. A file that
// does not hold a value of v's type is an error, because to begin again from
// nothing could break a promise.
func (d *Dir) Load(name string, v any) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	path := filepath.Join(d.path, name)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("state: read %s: %w", name, err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("state: %s is damaged: %w", path, err)
	}
	return nil
}
