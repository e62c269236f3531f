package ike_test

import (
	"testing"
	"time"

	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/iketest"
)

const dpdInterval = iketest.DPDInterval

func withDPD(mode ike.DPDMode) iketest.Option { return iketest.Both(iketest.DPD(mode)) }

func TestTakeoverAsksThePeer(t *testing.T) {
	iketest.TestProbes(t, func(t *testing.T, mode ike.DPDMode, slot time.Duration) *iketest.Network[*iketest.End] {
		t.Helper()
		p := iketest.Establish(t, withDPD(mode), iketest.Twins(ike.Resume))
		p.B.Demux.Forget(p.B.Tunnel)
		p.B.Tunnel = standby(p, p.B)
		p.B.Demux.Adopt(p.B.Tunnel)
		p.B.Do(ike.Takeover{Probe: p.Now.Add(slot)})
		return &p.Network
	})
}
