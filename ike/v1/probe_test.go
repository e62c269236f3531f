package v1_test

import (
	"testing"
	"time"

	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/iketest"
	"github.com/evergate/evergate/ike/iketest/v1test"
	"github.com/evergate/evergate/ike/v1"
)

func TestTakeoverAsksThePeer(t *testing.T) {
	iketest.TestProbes(t, func(t *testing.T, mode ike.DPDMode, slot time.Duration) *iketest.Network[*v1test.End] {
		t.Helper()
		p := v1test.Establish(t, v1test.Both(iketest.DPD(mode)), v1test.Twins(v1.Resume))
		p.B.Succeed(ike.Takeover{Probe: p.Now.Add(slot), Behind: true})
		return &p.Network
	})
}
