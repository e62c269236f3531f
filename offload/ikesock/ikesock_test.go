package ikesock_test

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/offload/ikesock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func socketPath(t *testing.T) string { return filepath.Join(t.TempDir(), "ike.sock") }

func listen(t *testing.T, path string) *ikesock.Server {
	t.Helper()
	s, err := ikesock.Listen(path)
	if err != nil {
		t.Fatalf("The daemon cannot listen: %v.", err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func dial(t *testing.T, path string) *ikesock.Conn {
	t.Helper()
	c, err := ikesock.Dial(t.Context(), path)
	if err != nil {
		t.Fatalf("The dataplane cannot connect: %v.", err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func message(text string) ikesock.Datagram {
	return ikesock.Datagram{
		Local:   netip.MustParseAddrPort("192.0.2.1:4500"),
		Remote:  netip.MustParseAddrPort("198.51.100.7:61000"),
		Payload: []byte(text),
	}
}

// reader is what both ends have.
type reader interface {
	ReadBatch([]ikesock.Datagram) (int, error)
}

func wantMessages(t *testing.T, r reader, want ...string) {
	t.Helper()
	ds := make([]ikesock.Datagram, 8)
	for len(want) > 0 {
		n, err := r.ReadBatch(ds)
		if err != nil {
			t.Fatalf("%q should have come, but: %v.", want[0], err)
		}
		for _, d := range ds[:n] {
			if len(want) == 0 || string(d.Payload) != want[0] {
				t.Fatalf("Got %q, want %q.", d.Payload, want)
			}
			if peer := message("").Remote; d.Remote != peer {
				t.Fatalf("%q came from %v, want %v.", d.Payload, d.Remote, peer)
			}
			want = want[1:]
		}
	}
}

func TestBothWays(t *testing.T) {
	path := socketPath(t)
	daemon := listen(t, path)
	plane := dial(t, path)

	if n := plane.WriteBatch([]ikesock.Datagram{message("init"), message("auth")}); n != 2 {
		t.Fatalf("The dataplane handed over %d messages, want 2.", n)
	}
	wantMessages(t, daemon, "init", "auth")

	keepalive := message("")
	keepalive.Keepalive = true
	if n := daemon.WriteBatch([]ikesock.Datagram{message("answer")}); n != 1 {
		t.Fatalf("The daemon handed over %d messages, want 1.", n)
	}
	wantMessages(t, plane, "answer")
	if n := daemon.WriteBatch([]ikesock.Datagram{keepalive}); n != 1 {
		t.Fatalf("The daemon handed over %d keepalives, want 1.", n)
	}
	ds := make([]ikesock.Datagram, 1)
	if n, err := plane.ReadBatch(ds); n != 1 || err != nil || !ds[0].Keepalive || len(ds[0].Payload) != 0 {
		t.Errorf("The keepalive came as %+v, error %v.", ds[:n], err)
	}
	if got, want := daemon.Stats(), (ikesock.Stats{Received: 2, Sent: 2}); got != want {
		t.Errorf("The daemon counted %+v, want %+v.", got, want)
	}
}

func TestNewDataplaneReplacesTheOldOne(t *testing.T) {
	path := socketPath(t)
	daemon := listen(t, path)
	if n := daemon.WriteBatch([]ikesock.Datagram{message("nobody")}); n != 0 {
		t.Errorf("Without a dataplane %d messages were handed over, want none.", n)
	}

	first := dial(t, path)
	first.WriteBatch([]ikesock.Datagram{message("first")})
	wantMessages(t, daemon, "first")

	second := dial(t, path)
	second.WriteBatch([]ikesock.Datagram{message("second")})
	wantMessages(t, daemon, "second")
	if n, err := first.ReadBatch(make([]ikesock.Datagram, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("The replaced dataplane read %d messages, error %v, want io.EOF.", n, err)
	}
	daemon.WriteBatch([]ikesock.Datagram{message("to the second")})
	wantMessages(t, second, "to the second")
	if n := first.WriteBatch([]ikesock.Datagram{message("late")}); n != 0 || first.Stats().DroppedGone != 1 {
		t.Errorf("The replaced dataplane handed over %d messages and counted %+v, want one DroppedGone.", n, first.Stats())
	}
	if got := daemon.Stats().DroppedGone; got != 1 {
		t.Errorf("The daemon counted %d messages to nobody, want 1.", got)
	}
}

func TestNewDaemonIsDialledAgain(t *testing.T) {
	path := socketPath(t)
	daemon := listen(t, path)
	plane := dial(t, path)
	if err := daemon.Close(); err != nil {
		t.Fatalf("The daemon cannot close: %v.", err)
	}
	if _, err := plane.ReadBatch(make([]ikesock.Datagram, 1)); !errors.Is(err, io.EOF) {
		t.Fatalf("The daemon is gone, the dataplane got error %v, want io.EOF.", err)
	}
	if _, err := daemon.ReadBatch(make([]ikesock.Datagram, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("A closed daemon reads with error %v, want net.ErrClosed.", err)
	}
	daemon = listen(t, path)
	dial(t, path).WriteBatch([]ikesock.Datagram{message("again")})
	wantMessages(t, daemon, "again")
}

func TestCloseWakesReaders(t *testing.T) {
	path := socketPath(t)
	daemon := listen(t, path)
	idle := make(chan error)
	go func() { // no dataplane yet
		_, err := daemon.ReadBatch(make([]ikesock.Datagram, 1))
		idle <- err
	}()
	daemon.Close()
	if err := <-idle; !errors.Is(err, net.ErrClosed) {
		t.Errorf("The waiting reader got error %v, want net.ErrClosed.", err)
	}
}

func TestFullQueueDropsAndCounts(t *testing.T) {
	path := socketPath(t)
	daemon := listen(t, path)
	plane := dial(t, path)
	ds := make([]ikesock.Datagram, 32)
	for i := range ds {
		ds[i] = message(strings.Repeat("x", 1200))
	}
	sent := 0
	for range 10_000 { // nobody reads: it must end by itself
		n := plane.WriteBatch(ds)
		sent += n
		if n < len(ds) {
			break
		}
	}
	stats := plane.Stats()
	if stats.DroppedFull == 0 || stats.Sent != uint64(sent) {
		t.Fatalf("Nobody reads, but the dataplane counted %+v after %d messages.", stats, sent)
	}
	if sent < 256 {
		t.Errorf("The queue took %d messages, want room for a burst of 256.", sent)
	}
	in := make([]ikesock.Datagram, 64)
	for read := 0; read < sent; {
		n, err := daemon.ReadBatch(in)
		if err != nil {
			t.Fatalf("After %d of %d messages: %v.", read, sent, err)
		}
		read += n
	}
	plane.WriteBatch([]ikesock.Datagram{message("after the burst")})
	wantMessages(t, daemon, "after the burst")
}

func TestMalformedFramesAreCountedNotFatal(t *testing.T) {
	path := socketPath(t)
	daemon := listen(t, path)
	raw, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatalf("The hostile dataplane cannot connect: %v.", err)
	}
	defer raw.Close()
	good, err := ikesock.AppendFrame(nil, message("good"))
	if err != nil {
		t.Fatalf("A good datagram makes no frame: %v.", err)
	}
	for _, b := range [][]byte{{0}, []byte("GET / HTTP/1.1"), make([]byte, 100_000), good[:len(good)-1], good} {
		if _, err := raw.Write(b); err != nil {
			t.Fatalf("The hostile dataplane cannot write: %v.", err)
		}
	}
	wantMessages(t, daemon, "good")
	if got := daemon.Stats().Malformed; got != 4 {
		t.Errorf("The daemon counted %d malformed frames, want 4.", got)
	}
}

func TestWhatCannotBeFramedIsCounted(t *testing.T) {
	path := socketPath(t)
	listen(t, path)
	plane := dial(t, path)
	if n := plane.WriteBatch([]ikesock.Datagram{{}, message("good")}); n != 1 || plane.Stats().DroppedInvalid != 1 {
		t.Errorf("Handed over %d datagrams, counted %+v, want one sent and one DroppedInvalid.", n, plane.Stats())
	}
}

func TestReadReusesPayloads(t *testing.T) {
	path := socketPath(t)
	daemon := listen(t, path)
	plane := dial(t, path)
	mine := make([]byte, 0, 100)
	plane.WriteBatch([]ikesock.Datagram{message("reused")})
	ds := []ikesock.Datagram{{Payload: mine}}
	if _, err := daemon.ReadBatch(ds); err != nil {
		t.Fatalf("The message did not come: %v.", err)
	}
	if string(mine[:6]) != "reused" {
		t.Errorf("The caller's buffer holds %q, want the payload.", mine[:6])
	}
}

func TestSocketIsPrivate(t *testing.T) {
	path := socketPath(t)
	old := unix.Umask(0)
	defer unix.Umask(old)
	listen(t, path)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatalf("There is no socket: %v.", err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("The socket's mode is %o even without a umask, want 600.", got)
	}
}

func TestListenErrors(t *testing.T) {
	dir := t.TempDir()
	open, file, stale, used := filepath.Join(dir, "open"), filepath.Join(dir, "file"), filepath.Join(dir, "stale"), filepath.Join(dir, "used")
	if err := errors.Join(os.Mkdir(open, 0o700), os.Chmod(open, 0o777), os.WriteFile(file, nil, 0o600)); err != nil {
		t.Fatalf("Set-up: %v.", err)
	}
	listen(t, used)
	for path, want := range map[string]string{
		filepath.Join(open, "ike.sock"):                "written to by others",
		filepath.Join(dir, "nowhere", "ike.sock"):      "no such file",
		filepath.Join(dir, strings.Repeat("long", 40)): "at most 107",
		file: "no socket",
		used: "another daemon",
	} {
		if _, err := ikesock.Listen(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Listening on %s: got error %v, want one that says %q.", path, err, want)
		}
	}

	crashed, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: stale, Net: "unixpacket"})
	if err != nil {
		t.Fatalf("Set-up: %v.", err)
	}
	crashed.SetUnlinkOnClose(false)
	crashed.Close()
	listen(t, stale)
	if _, err := ikesock.Dial(t.Context(), filepath.Join(dir, "absent")); err == nil {
		t.Error("A dataplane connected to a daemon that is not there.")
	}
}

// TestLockLastsAsLongAsTheDaemon: who stops takes it away, who crashed leaves one
// that the next may have, and of two who live one only has the name.
func TestLockLastsAsLongAsTheDaemon(t *testing.T) {
	path := socketPath(t)
	for range 3 {
		s := listen(t, path)
		if _, err := ikesock.Listen(path); err == nil {
			t.Fatal("Two daemons listen on one name.")
		}
		if _, err := os.Lstat(path + ".lock"); err != nil {
			t.Fatalf("Who was refused took the lock away: %v.", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{path, path + ".lock"} {
			if _, err := os.Lstat(name); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s is left behind: %v.", filepath.Base(name), err)
			}
		}
	}
	if err := os.WriteFile(path+".lock", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	listen(t, path)
}
