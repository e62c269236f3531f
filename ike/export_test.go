package ike

import "time"

// Resume makes a tunnel that goes on exactly where the snapshot was made, as if
// nothing had happened; Restore makes a silent one.
func Resume(env Env, p Policy, snapshot []byte, now time.Time) (*Tunnel, error) {
	return restore(&env, p, snapshot, now)
}
