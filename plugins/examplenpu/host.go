package examplenpu

import (
	"context"

	"github.com/evergate/evergate/offload"
)

// A host is where packets come from and go to: the machine that we run on, or a
// test. It calls Engine.fromHost and Engine.fromNetwork, and is called with
// Engine.mu held, but for configure and close.
type host interface {
	// configure opens what c and s ask for, and closes what they no longer do.
	// After an error all is as before.
	configure(ctx context.Context, c offload.Config, s settings) error
	// send sends an ESP packet.
	send(outgoing) error
	// deliver gives the host a decrypted packet.
	deliver(packet []byte) error
	// close ends what configure began, and waits for it.
	close() error
}
