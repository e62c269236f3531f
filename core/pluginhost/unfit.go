package pluginhost

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/hashicorp/go-plugin"

	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/pluginrpc"
)

// ErrUnfit says that no other attempt starts a plugin as it is: its file is not what it
// should be, or not for this machine, or it does not speak our version of the protocol.
// That takes another file or another configuration. A plugin that dies is not unfit,
// however soon: what ails its device may pass.
var ErrUnfit = errors.New("the plugin does not fit")

// unfit is a failure that is an ErrUnfit too, in its own words.
type unfit struct{ error }

func (unfit) Is(target error) bool { return target == ErrUnfit }

func (u unfit) Unwrap() error { return u.error }

// runnable tells whether a program that could not be started may start another time.
func runnable(err error) bool {
	for _, never := range []error{syscall.ENOENT, syscall.EACCES, syscall.ENOEXEC} {
		if errors.Is(err, never) {
			return false
		}
	}
	return true
}

// maxGreeting bounds what is kept of what a program says first: go-plugin's line with
// a certificate is below that.
const maxGreeting = 16 << 10

// greeting overhears the first line that a program writes to its standard output. A
// plugin's begins with the version of go-plugin's protocol, that of ours, the kind of
// its socket and where that is, with bars between them.
type greeting struct {
	mu   sync.Mutex
	line []byte
	over bool
}

func (g *greeting) hear(b []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		return
	}
	line, _, over := bytes.Cut(b, []byte("\n"))
	g.line = append(g.line, line[:min(len(line), maxGreeting-len(g.line))]...)
	g.over = over || len(g.line) == maxGreeting
}

// strange tells whether what was said is not the greeting of a plugin that we can
// speak to. Who has said nothing may do so another time.
func (g *greeting) strange() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	fields := strings.Split(strings.TrimSpace(string(g.line)), "|")
	return g.over && (len(fields) < 4 ||
		fields[0] != strconv.Itoa(plugin.CoreProtocolVersion) ||
		fields[1] != strconv.FormatUint(uint64(pluginrpc.Handshake().ProtocolVersion), 10))
}

// overheard is a program's standard output.
type overheard struct {
	io.ReadCloser
	greeting *greeting
}

// Read implements io.Reader.
func (o overheard) Read(b []byte) (int, error) {
	n, err := o.ReadCloser.Read(b)
	o.greeting.hear(b[:n])
	return n, err
}

// unavailable is what calls fail with while there is no process.
func (s *Status) unavailable(doing string) error {
	err := fmt.Errorf("pluginhost: %s: %w: plugin %s is %s", doing, offload.ErrDown, s.Name, s.State)
	switch {
	case s.LastError == "":
		return err
	case s.Unfit:
		return fmt.Errorf("%w; %w: %s", err, ErrUnfit, s.LastError)
	default:
		return fmt.Errorf("%w; last error: %s", err, s.LastError)
	}
}
