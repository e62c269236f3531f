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

func TestSavedStateComesBackAndDamageIsNoticed(t *testing.T) {
	type promise struct{ Count uint64 }
	path := t.TempDir()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	var p promise
	if err := d.Load("group", &p); err != nil || p.Count != 0 {
		t.Errorf("an empty directory holds %+v, %v", p, err)
	}
	if err := d.Save("group", promise{1 << 60}); err != nil {
		t.Fatal(err)
	}
	again, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Load("group", &p); err != nil || p.Count != 1<<60 {
		t.Errorf("what was saved comes back as %+v, %v", p, err)
	}
	for _, damage := range []string{"", "{", `{"Count": -1}`, `[]`} {
		if err := os.WriteFile(filepath.Join(path, "group"), []byte(damage), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := d.Load("group", &p); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("a file with %q loads with %v, want an error that says it is damaged", damage, err)
		}
	}
}

// TestNewDirectoryBeginsAnywhere: a gateway that lost its directory does not count
// from where it began before.
func TestNewDirectoryBeginsAnywhere(t *testing.T) { // B1
	first := make(map[uint32]bool)
	for range 8 {
		d, err := Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		n, err := d.NextBoot()
		if err != nil || n == 0 || n > maxFirstBoot {
			t.Errorf("a new directory begins at %d, %v; want 1 to %d", n, err, maxFirstBoot)
		}
		first[n] = true
	}
	if len(first) == 1 {
		t.Error("eight new directories begin at the same number")
	}
}
