package ike

func (t *Tunnel) Snapshot() []byte { return nil }
