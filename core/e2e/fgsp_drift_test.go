package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
)

// TestPhase1ThatDiffersIsNotSynchronized: a member whose phase 1 says something else
// holds no tunnel of it, operators see that on both, and the owner goes on. It is a
// standby again as soon as both say the same.
func TestPhase1ThatDiffersIsNotSynchronized(t *testing.T) { // F2, F6, B7
	t.Parallel()
	f := newFGSP(t, 2, 0)
	one, two := f.members[0], f.members[1]
	w := f.connect(two)
	same := f.site.Config(f.site.Members[1], "    fgsp-sync: enable", "")
	other := strings.Replace(same, "dpd-retryinterval: 60", "dpd-retryinterval: 30", 1)
	f.reload(two, other)
	two.WaitGone("vpn1", limit)
	f.waitRole(one, "vpn1_1", "primary")
	f.waitTrouble("differ", one, two)
	w.flows()

	f.reload(two, same)
	f.waitRole(two, "vpn1_1", "standby")
	f.waitRole(one, "vpn1_1", "sync-primary")
	f.waitTrouble("", one, two)
	w.flows()
	w.unbroken()
}

func (f *fgsp) reload(d *gateway.Daemon, config string) {
	f.t.Helper()
	d.Write(config)
	if _, err := d.Reload(); err != nil {
		f.t.Fatal(err)
	}
}

// waitTrouble waits until each of these members shows such trouble with its peer,
// none when it is empty.
func (f *fgsp) waitTrouble(with string, members ...*gateway.Daemon) {
	f.t.Helper()
	for _, d := range members {
		netlab.Eventually(f.t, time.Minute, fmt.Sprintf("the trouble with the other member is %q", with), func() error {
			p, err := d.StandalonePeers()
			if err != nil {
				return err
			}
			for _, peer := range p.Peers {
				shown := slices.ContainsFunc(peer.Trouble, func(s string) bool { return strings.Contains(s, with) })
				if with == "" && len(peer.Trouble) > 0 || with != "" && !shown {
					return fmt.Errorf("it is %q", peer.Trouble)
				}
			}
			return nil
		})
	}
}
