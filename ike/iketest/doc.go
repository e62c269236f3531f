// Package iketest joins two ends of IKE by a network in which everything can be
// arranged: what is lost, doubled, overtaken or crosses, and when. Time is
// virtual and randomness comes from a seed, so that every run is the same.
//
// A test reads as a conversation:
//
//	p := iketest.Establish(t)
//	p.A.Do(ike.RekeyIKE{})
//	p.B.Do(ike.RekeyIKE{}) // both requests are on their way
//	p.Deliver()
//	p.WantUp()
//
// After every Deliver that leaves the network empty the harness itself checks
// that what each end has installed is what its machine says, and WantUp and
// WantMirrored that the two ends agree: what one encrypts with, the other
// decrypts with.
//
// Network, Gateway and what they want to see are those of package v1test too.
package iketest
