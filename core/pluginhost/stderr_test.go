package pluginhost

import (
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
)

func TestLogLinesThatWouldEndTheDaemonBecomeText(t *testing.T) {
	in := `{"@level":"info","@message":"fine","@timestamp":"2026-01-01T00:00:00.000000Z","n":1}
{"@message":5}
{"@level":null}
{"@timestamp":["x"], "@message":"late"}
[1, 2]
{"@message": "cut off
plain words

{}
no end`
	want := strings.NewReplacer(
		`{"@message":5}`, notALogLine+`{"@message":5}`,
		`{"@level":null}`, notALogLine+`{"@level":null}`,
		`{"@timestamp":[`, notALogLine+`{"@timestamp":[`,
	).Replace(in)
	for name, r := range map[string]io.Reader{
		"at once":        strings.NewReader(in),
		"octet by octet": iotest.OneByteReader(strings.NewReader(in)),
	} {
		got, err := io.ReadAll(newLogLines(io.NopCloser(r)))
		if err != nil || string(got) != want {
			t.Errorf("%s: read %q, %v; want %q", name, got, err, want)
		}
	}
}

func TestLongLogLinesPassInPieces(t *testing.T) {
	in := strings.Repeat("x", 300_000) + "\n" + `{"@message":1}` + "\n"
	got, err := io.ReadAll(newLogLines(io.NopCloser(strings.NewReader(in))))
	if err != nil || len(got) != len(in)+len(notALogLine) {
		t.Errorf("%d octets came through (%v), want %d", len(got), err, len(in)+len(notALogLine))
	}
}

func TestAnEndThatWeClosedIsNoError(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	lines := newLogLines(r)
	read := make(chan error)
	go func() {
		_, err := io.ReadAll(lines)
		read <- err
	}()
	lines.Close()
	if err := <-read; err != nil {
		t.Errorf("Our own end of the pipe was closed, which reads as %v.", err)
	}
}
