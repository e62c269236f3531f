package state

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestBootNumberIsNeverReturnedTwice(t *testing.T) {
	path := t.TempDir()
	seen := make(map[uint32]bool)
	for range 3 { // three processes, one after the other
		d, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				n, err := d.NextBoot()
				mu.Lock()
				defer mu.Unlock()
				if err != nil || seen[n] {
					t.Errorf("NextBoot returned %d, %v; it was returned before: %v", n, err, seen[n])
				}
				seen[n] = true
			})
		}
		wg.Wait()
	}
	if len(seen) != 24 {
		t.Errorf("24 calls returned %d numbers", len(seen))
	}
}

func TestBootNumberRefusesADamagedFile(t *testing.T) {
	path := t.TempDir()
	name := filepath.Join(path, bootFile)
	for content, want := range map[string]string{
		"":          "does not hold a boot number",
		"seven\n":   "does not hold a boot number",
		"1048575\n": "have come to their end",
	} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := d.NextBoot(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("with %q in the file NextBoot returned %d, %v; want an error with %q", content, n, err, want)
		}
	}
}
