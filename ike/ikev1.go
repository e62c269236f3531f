package ike

import (
	"net/netip"

	"github.com/evergate/evergate/core/ipsec"
)

// IKEv1 is what a connection of version 1 says besides. Proposals then name one
// hash for both the PRF and the integrity of phase 1, and no AEAD in it.
type IKEv1 struct {
	// Aggressive initiates in aggressive mode, and accepts it. It shows the
	// identities, and a hash that lets whoever sees it try out keys.
	Aggressive bool
	// Commit sets the commit bit as the responder of a quick mode: the peer does
	// not send before it hears CONNECTED (RFC 2408 section 3.1).
	Commit bool
	XAuth  XAuth
	Config ModeConfig
}

// XAuth is the extended authentication that follows phase 1. The zero XAuth has
// none.
type XAuth struct {
	// Users are those whom we let in; not empty makes us the server.
	Users []User
	// As is whom we say we are when the peer is the server, nil when it is not.
	As *User
}

// User is a name with its password.
type User struct {
	Name     string
	Password ipsec.Key
}

// ModeConfig is how an internal address goes from the server to the client. The
// zero ModeConfig assigns none.
type ModeConfig struct {
	Role ModeConfigRole
	// Push: the server sets the address unasked; else the client asks.
	Push bool
	// First and Last bound the addresses that the server assigns, IPv4 ones.
	First, Last netip.Addr
	// DNS servers that the server names.
	DNS []netip.Addr
	// Subnets behind the server, which it names.
	Subnets []netip.Prefix
}

// ModeConfigRole is who we are in mode config.
type ModeConfigRole uint8

// The roles.
const (
	ModeConfigNone ModeConfigRole = iota
	ModeConfigServer
	ModeConfigClient
)
