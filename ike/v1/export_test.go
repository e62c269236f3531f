package v1

import (
	"time"

	"github.com/evergate/evergate/ike"
)

// Resume makes a tunnel that goes on exactly where the snapshot was made, for
// v1test.Twins.
func Resume(env ike.Env, p ike.Policy, snapshot []byte, now time.Time) (*Tunnel, error) {
	return restore(&env, p, snapshot, now)
}
