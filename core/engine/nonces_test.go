package engine

import (
	"testing"

	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/offload"
)

func TestNoncesOfADataplane(t *testing.T) { // B1
	for source, want := range map[offload.IVSource]ha.Nonces{
		offload.IVUnspecified: ha.UnknownNonces, offload.IVMember: ha.DistinctNonces,
		offload.IVRandomSalt: ha.DistinctNonces, offload.IVSequence: ha.SequenceNonces, 99: ha.UnknownNonces,
	} {
		if got := noncesOf(source); got != want {
			t.Errorf("A dataplane with IV source %d has nonces %d, not %d.", source, got, want)
		}
	}
}
