package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/evergate/evergate/core/admin"
	"github.com/evergate/evergate/core/diag"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// working is a gateway that works, for those that are asked for one thing only.
type working struct{ admin.Gateway }

func (working) Ready() error { return nil }

// member is a gateway that is asked for its group and for nothing else.
type member struct {
	working
	peers diag.StandalonePeers
	err   error
}

func (m member) StandalonePeers(context.Context) (diag.StandalonePeers, error) { return m.peers, m.err }

// serve answers for g until the test ends, on the socket that it returns.
func serve(t *testing.T, g admin.Gateway) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "admin.sock")
	ctx, cancel := context.WithCancel(t.Context())
	l, err := admin.Listen(ctx, socket, "")
	if err != nil {
		t.Fatalf("The admin socket cannot be opened: %v.", err)
	}
	served := make(chan error, 1)
	go func() { served <- admin.NewServer(g, slog.New(slog.DiscardHandler)).Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("The admin socket was not served: %v.", err)
		}
	})
	return socket
}

func TestStandalonePeersInFortiOSsWords(t *testing.T) { // F16
	socket := serve(t, member{peers: diag.StandalonePeers{Group: 1, Member: 1, Peers: []diag.StandalonePeer{
		{Address: netip.MustParseAddrPort("172.31.1.2:708"), Detected: true},
	}}})
	text, err := evergate(t, "--socket", socket, "diagnose", "sys", "ha", "standalone-peers")
	if err != nil || !strings.HasPrefix(text, "Group=1, ID=1\nDetected-peers=1\n") {
		t.Errorf("The command printed %q (%v), it should begin with the group, our id and how many peers are there.", text, err)
	}
	text, err = evergate(t, "--socket", socket, "diagnose", "sys", "ha", "standalone-peers", "--json")
	var got diag.StandalonePeers
	if err := errors.Join(err, json.Unmarshal([]byte(text), &got)); err != nil || len(got.Peers) != 1 {
		t.Errorf("With --json the command printed %q (%v), it should be the members.", text, err)
	}
}

func TestGatewayOnItsOwnHasNoPeers(t *testing.T) {
	socket := serve(t, member{err: errors.New("this gateway is in no standalone-cluster")})
	text, err := evergate(t, "--socket", socket, "diagnose", "sys", "ha", "standalone-peers")
	if err == nil || err.Error() != "this gateway is in no standalone-cluster" || text != "" {
		t.Errorf("The command printed %q and ended with %v, it should say that there is no group.", text, err)
	}
}
