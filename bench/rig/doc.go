// Package rig is what the measurements of failover and scale stand on: a group
// of real evergated processes with their dataplanes between namespaces (Site),
// clients that dial in with the project's own IKE machine over real UDP
// (Clients), packets with the kernel's time stamps (Tap), what processes cost
// (Usage), and under what it was measured (Conditions).
//
//	site := rig.NewSite(lab, 3)
//	owner := site.Start(0, rig.Settings{Daemon: "bin/evergated", Sync: true})
//	site.Lead(0)
//	dialed, err := site.Clients().Dial(ctx, 1000, 16)
//
// It needs root, for namespaces, and nothing else.
package rig
