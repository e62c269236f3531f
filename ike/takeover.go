package ike

// takeOver makes a restored tunnel ours.
//
// Requests in flight go on where the last owner left them: the same octets, at
// the times that were set. The sealers move to a new epoch, because the last
// owner may have sealed more than the snapshot knows of (invariant I1).
func (t *Tunnel) takeOver() {
	t.standby = false
	t.takeovers++
	t.env.Stats.Takeovers++
	if t.state == StateUp {
		t.env.Stats.Tunnels++
	}
	for _, sa := range append([]*ikeSA{t.sa}, t.others...) {
		if sa.sealer == nil {
			continue
		}
		if err := sa.protect(t.env, t.ivStart()); err != nil {
			t.log.Error("ike sa could not be taken over", "error", err)
			t.finish(err)
			return
		}
	}
	t.log.Info("tunnel taken over", "remote", t.remote)
	t.publish()
}
