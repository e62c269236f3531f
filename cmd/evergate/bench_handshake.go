package main

import (
	"context"

	"github.com/spf13/pflag"

	"github.com/evergate/evergate/bench/handshake"
	"github.com/evergate/evergate/core/netlab/strongswan"
)

// handshakeFlags are those of handshake alone, besides the daemon and the tunnels.
func handshakeFlags(f *pflag.FlagSet, o *benchOptions) {
	withTunnels(f, o)
	h := &o.handshake
	f.StringSliceVar(&h.Methods, "methods", nil, "`names` of key exchange methods, of x25519,ecp256,modp2048 (all of them)")
	f.IntVar(&h.Handshakes, "handshakes", 0, "handshakes of each in a round (1000)")
	f.IntVar(&h.AtOnce, "at-once", 0, "how many clients dial at a time (16)")
	f.IntSliceVar(&h.Tunnels, "memory", nil, "`numbers` of tunnels with which the memory of both is looked at (1000,5000)")
	f.BoolVar(&h.StrongSwan, "strongswan", strongswan.Installed(), "measure strongSwan")
}

func runHandshake(ctx context.Context, o *benchOptions) (reporter, error) {
	h := o.handshake
	h.Daemon, h.Plugin, h.Rounds, h.Logf = o.daemon, o.plugin, o.rounds, o.logf
	switch {
	case o.tunnels > 0:
		h.Alone = []int{o.tunnels}
	case o.tunnels < 0:
		h.Alone = []int{}
	}
	return handshake.Run(ctx, h)
}
