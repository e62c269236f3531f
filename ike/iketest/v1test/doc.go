// Package v1test joins two ends of IKEv1 by a network in which everything can be
// arranged, as package iketest does for IKEv2: what is lost, doubled, overtaken or
// crosses, and when. Time is virtual and randomness comes from a seed.
//
//	p := v1test.Establish(t)
//	p.A.Do(ike.RekeyIKE{})
//	p.Deliver()
//	p.WantUp()
//
// After every Deliver that leaves the network empty the harness checks that what
// each end has installed is what its machine says.
package v1test
