// Package vici speaks the Versatile IKE Control Interface, the protocol with
// which strongSwan's charon is configured, controlled and watched.
//
// A Message is a tree of values, lists and sections; a Client sends one as a
// command and gets one back. Commands that stream name the event whose
// messages they want to see:
//
//	c, err := vici.Dial(ctx, path)
//	...
//	res, err := c.Stream(ctx, "list-sas", vici.Message{}, "list-sa", func(sa vici.Message) { ... })
//
// The package exists for the test networks of netlab: it trusts the daemon to
// be charon, yet bounds and checks what it reads.
package vici
