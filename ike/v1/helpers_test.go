package v1_test

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/iketest"
	"github.com/evergate/evergate/ike/iketest/v1test"
)

func addrPort(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }

func addrFrom4(a [4]byte) netip.Addr { return netip.AddrFrom4(a) }

func rekeyChild(e *v1test.End) { iketest.RekeyChild(e) }

// children changes the children of both ends.
func children(change func(*ike.Child)) v1test.Option {
	return v1test.Both(func(c *ike.Connection) {
		for _, child := range c.Children {
			change(child)
		}
	})
}

func selector(prefix string) ipsec.TrafficSelector {
	return ipsec.SelectorOf(netip.MustParsePrefix(prefix))
}

// logged collects the log of both ends.
func logged(to *bytes.Buffer) v1test.Option {
	return func(c *v1test.Config) { c.Log = slog.New(slog.NewTextHandler(to, nil)) }
}

func wantLogged(t *testing.T, log *bytes.Buffer, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(log.String(), w) {
			t.Errorf("the log does not say %q:\n%s", w, log)
		}
	}
}
