// Package ikev1 holds the tests of package ike/v1 against a real peer, strongSwan's
// charon: the machine between two UDP sockets in one namespace, charon in another.
// There is no dataplane; the keys of both ends are compared instead.
package ikev1
