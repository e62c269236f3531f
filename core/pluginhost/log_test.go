package pluginhost

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
)

// bridged returns what f makes of a log at the given level.
func bridged(level slog.Level, f func(l hclog.Logger)) string {
	var out bytes.Buffer
	f(newBridge(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))))
	return strings.TrimSuffix(out.String(), "\n")
}

func TestBridge(t *testing.T) {
	for name, c := range map[string]struct {
		say  func(l hclog.Logger)
		want string
	}{
		"a plugin's warning": {
			func(l hclog.Logger) { l.Named("softesp").Warn("queue full", "queue", 3, "timestamp", "now") },
			`level=WARN msg="queue full" queue=3`,
		},
		"a plugin's error with what it was made with": {
			func(l hclog.Logger) { l.Named("softesp").With("tun", "evg0").Error("gone") },
			`level=ERROR msg=gone tun=evg0`,
		},
		"a plugin's trace": {
			func(l hclog.Logger) { l.Named("softesp").Trace("packet") },
			`level=DEBUG msg=packet`,
		},
		"a line without a level": {
			func(l hclog.Logger) { l.ResetNamed("softesp").Log(hclog.NoLevel, "hello") },
			`level=INFO msg=hello`,
		},
		"a key without a value": {
			func(l hclog.Logger) { l.Named("softesp").Info("odd", "key") },
			`level=INFO msg=odd extra=key`,
		},
		"go-plugin's own affairs": {
			func(l hclog.Logger) { l.Error("plugin process exited", "id", "7") },
			`level=DEBUG msg="plugin process exited" id=7`,
		},
		"what is written as to a file": {
			func(l hclog.Logger) { l.Named("softesp").StandardLogger(nil).Print("a line") },
			`level=INFO msg="a line"`,
		},
	} {
		if got := bridged(slog.LevelDebug, c.say); got != c.want {
			t.Errorf("%s became %q, want %q.", name, got, c.want)
		}
	}
}

func TestBridgeKnowsTheLevel(t *testing.T) {
	bridged(slog.LevelWarn, func(l hclog.Logger) {
		if l.IsTrace() || l.IsDebug() || l.IsInfo() || !l.IsWarn() || !l.IsError() || l.GetLevel() != hclog.Warn {
			t.Errorf("A log of warnings says its level is %v.", l.GetLevel())
		}
		with := l.With("a", 1)
		if args := with.ImpliedArgs(); len(args) != 2 || with.Name() != "" {
			t.Errorf("The implied arguments are %v, want a and 1.", args)
		}
	})
	bridged(slog.LevelError+1, func(l hclog.Logger) {
		if l.GetLevel() != hclog.Off {
			t.Errorf("A log of nothing says its level is %v.", l.GetLevel())
		}
	})
}
