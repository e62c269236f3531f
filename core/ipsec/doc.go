// Package ipsec is the vocabulary that ike, ha, offload, the engine and the
// dataplane plugins share: the nouns of RFC 4301 (IPsec architecture), RFC
// 4303 (ESP) and RFC 7296 (IKEv2) as plain values.
//
// It imports the standard library only and does no I/O. Algorithms are named
// by the numbers of IANA's "IKEv2 Parameters" registry, so that no third
// numbering exists between the wire, the configuration and a dataplane.
//
// Values are immutable by convention: whoever receives one may keep it, and
// copies what it wants to change.
package ipsec
