package sealed_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/sealed"
)

func config(t *testing.T) sealed.Config {
	t.Helper()
	return sealed.Config{
		File: filepath.Join(t.TempDir(), "tunnels"), Anchor: filepath.Join(t.TempDir(), "tunnels.anchor"),
		Key: ipsec.NewKey([]byte("a key of the operator's own")),
	}
}

func create(t *testing.T, c sealed.Config, values ...sealed.Value) *sealed.Store {
	t.Helper()
	s, err := sealed.Create(c, values)
	if err != nil {
		t.Fatalf("No store: %v.", err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func write(t *testing.T, s *sealed.Store, changes ...sealed.Change) {
	t.Helper()
	if err := s.Write(changes...); err != nil {
		t.Fatalf("The store does not write: %v.", err)
	}
}

func put(set uint64, name, data string) sealed.Change {
	return sealed.Change{Set: set, Name: name, Data: []byte(data)}
}

// wantValues compares what a next life finds, as "set name=data".
func wantValues(t *testing.T, c sealed.Config, want ...string) {
	t.Helper()
	values, err := sealed.Load(c)
	if err != nil {
		t.Fatalf("The next life finds nothing: %v.", err)
	}
	var got []string
	for _, v := range values {
		got = append(got, fmt.Sprintf("%d %s=%s", v.Set, v.Name, v.Data))
	}
	if !slices.Equal(got, want) {
		t.Errorf("The next life finds %q, want %q.", got, want)
	}
}

// wantStale expects that nothing is used, and why.
func wantStale(t *testing.T, c sealed.Config, what, why string) {
	t.Helper()
	values, err := sealed.Load(c)
	var stale *sealed.StaleError
	if !errors.As(err, &stale) || len(values) > 0 || !strings.Contains(err.Error(), why) {
		t.Errorf("%s: %d values and error %v, want none because %q.", what, len(values), err, why)
	}
}

func TestTheNextLifeFindsTheNewestValues(t *testing.T) { // B6
	c := config(t)
	wantValues(t, c)
	s := create(t, c)
	wantValues(t, c)
	write(t, s, put(1, "ike", "one"), put(1, "child", "a"), put(2, "ike", "two"), put(3, "ike", "three"))
	write(t, s, put(1, "ike", "newer"))
	write(t, s, sealed.Change{Set: 1, Name: "child"}, sealed.Change{Set: 3})
	write(t, s, put(2, "empty", ""))
	wantValues(t, c, "1 ike=newer", "2 ike=two", "2 empty=")
	write(t, s) // nothing

	values, err := sealed.Load(c)
	if err != nil {
		t.Fatalf("The next life finds nothing: %v.", err)
	}
	second := create(t, c, values...)
	wantValues(t, c, "1 ike=newer", "2 ike=two", "2 empty=")
	write(t, second, sealed.Change{Set: 2})
	wantValues(t, c, "1 ike=newer")
}

func TestWhatIsOnDiskShowsNothing(t *testing.T) { // B6
	c := config(t)
	s := create(t, c)
	write(t, s, put(1, "vpn1_0", "the keys of a tunnel"))
	b, err := os.ReadFile(c.File)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"vpn1_0", "the keys"} {
		if bytes.Contains(b, []byte(secret)) {
			t.Errorf("The file shows %q.", secret)
		}
	}
	for _, path := range []string{c.File, c.Anchor} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, error %v.", path, info.Mode(), err)
		}
	}
}

// TestAFileThatIsNotTheNewestIsRefused: numbers that were used since would be used
// again (I1, I2).
func TestAFileThatIsNotTheNewestIsRefused(t *testing.T) { // B6, B1
	c := config(t)
	s := create(t, c)
	write(t, s, put(1, "ike", "one"))
	read := func(path string) []byte {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	restore := func(path string, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	older := read(c.File)
	write(t, s, put(1, "ike", "two"))
	newest, anchor := read(c.File), read(c.Anchor)

	restore(c.File, older)
	wantStale(t, c, "an older copy", "older copy")
	for cut := 48; cut < len(newest); cut += 7 {
		restore(c.File, newest[:cut])
		wantStale(t, c, fmt.Sprintf("the first %d octets", cut), "")
	}
	for i := range newest {
		damaged := bytes.Clone(newest)
		damaged[i] ^= 0x40
		restore(c.File, damaged)
		wantStale(t, c, fmt.Sprintf("octet %d changed", i), "")
	}
	restore(c.File, newest)
	other := c
	other.Key = ipsec.NewKey([]byte("the key of somebody else"))
	wantStale(t, other, "another key", "another key")
	if err := os.Remove(c.Anchor); err != nil {
		t.Fatal(err)
	}
	wantStale(t, c, "no anchor", "the machine was started anew")
	restore(c.Anchor, anchor)
	wantValues(t, c, "1 ike=two")
	restore(c.File, append(newest, 0, 0, 1)) // a death while the next entry was written
	wantValues(t, c, "1 ike=two")

	create(t, c)
	restore(c.File, newest)
	wantStale(t, c, "the file of an earlier life", "another file")
}

func TestAFileThatGrowsIsWrittenAnew(t *testing.T) {
	c := config(t)
	s := create(t, c)
	big := strings.Repeat("x", 100<<10)
	for i := range 100 {
		write(t, s, put(uint64(i%3), "ike", fmt.Sprint(i, big)), put(9, strconv.Itoa(i), "child"), sealed.Change{Set: 9, Name: strconv.Itoa(i - 1)})
	}
	info, err := os.Stat(c.File)
	if err != nil || info.Size() > 3<<20 {
		t.Errorf("A file that holds 300 KiB has %d octets after 10 MiB were written (%v).", info.Size(), err)
	}
	values, err := sealed.Load(c)
	var got []string
	for _, v := range values {
		got = append(got, fmt.Sprintf("%d %s %.2s", v.Set, v.Name, v.Data))
	}
	slices.Sort(got)
	if want := []string{"0 ike 99", "1 ike 97", "2 ike 98", "9 99 ch"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("The next life finds %q, want %q (%v).", got, want, err)
	}
}

// TestManySetsThatEnded: a gateway may have seen many tunnels end, and is to start all
// the same.
func TestManySetsThatEnded(t *testing.T) { // B6
	const sets = 100_000
	c := config(t)
	s := create(t, c)
	long := strings.Repeat("x", 200) // so that what is left outweighs what has ended
	changes := make([]sealed.Change, 0, sets*3/2)
	for i := range uint64(sets) {
		data := "short"
		if i%2 == 0 {
			data = long
		}
		changes = append(changes, put(i, "ike", data))
	}
	for i := uint64(1); i < sets; i += 2 {
		changes = append(changes, sealed.Change{Set: i})
	}
	write(t, s, changes...)
	values, err := sealed.Load(c)
	if err != nil || len(values) != sets/2 {
		t.Fatalf("The next life finds %d values, want %d (%v).", len(values), sets/2, err)
	}
	for i, v := range values {
		if v.Set != uint64(2*i) || string(v.Data) != long {
			t.Fatalf("Value %d is %.5s of set %d, want that of set %d.", i, v.Data, v.Set, 2*i)
		}
	}
}

func TestAStoreThatCannotWriteLeavesNothingToUse(t *testing.T) { // B6
	c := config(t)
	s := create(t, c)
	write(t, s, put(1, "ike", "one"))
	if err := s.Write(put(1, "ike", strings.Repeat("x", 2<<20))); err == nil {
		t.Fatal("An entry of 2 MiB was written.")
	}
	if err := s.Write(put(1, "ike", "two")); err == nil {
		t.Error("A store that has failed goes on.")
	}
	wantValues(t, c)
}

func TestAShortKeyIsRefused(t *testing.T) {
	c := config(t)
	c.Key = ipsec.NewKey([]byte("short"))
	if _, err := sealed.Create(c, nil); err == nil || !strings.Contains(err.Error(), "16 at least") {
		t.Errorf("A key of 5 octets: %v.", err)
	}
}
