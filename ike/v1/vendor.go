package v1

import (
	"bytes"

	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/v1/wire"
)

// features are what the peer announced by its vendor ids.
type features struct {
	dpd, natt, fragmentation, xauth bool
}

// The vendor ids. Each is what a specification says, or the MD5 of a text.
const (
	vendorDPD           = "\xaf\xca\xd7\x13\x68\xa1\xf1\xc9\x6b\x86\x96\xfc\x77\x57\x01\x00" // RFC 3706 section 5.1
	vendorNATT          = "\x4a\x13\x1c\x81\x07\x03\x58\x45\x5c\x57\x28\xf2\x0e\x95\x45\x2f" // "RFC 3947"
	vendorXAuth         = "\x09\x00\x26\x89\xdf\xd6\xb7\x12"                                 // XAUTH draft section 5
	vendorFragmentation = "\x40\x48\xb7\xd5\x6e\xbc\xe8\x85\x25\xe7\xde\x7f\x00\xd6\xc2\xd3" // "FRAGMENTATION"
	// capabilities follow vendorFragmentation: fragments are understood in both
	// modes.
	capabilities = "\x80\x00\x00\x00"
)

// vendors are the vendor ids of our first message.
func vendors(c *ike.Connection) []wire.Payload {
	out := []wire.Payload{&wire.VendorID{Data: []byte(vendorDPD)}}
	if c.NATT != ike.NATTOff {
		out = append(out, &wire.VendorID{Data: []byte(vendorNATT)})
	}
	if !c.NoFragmentation {
		out = append(out, &wire.VendorID{Data: []byte(vendorFragmentation + capabilities)})
	}
	if usesXAuth(c) {
		out = append(out, &wire.VendorID{Data: []byte(vendorXAuth)})
	}
	return out
}

// announced adds what the vendor ids of a message say.
func (f *features) announced(payloads []wire.Payload) {
	for _, v := range wire.All[*wire.VendorID](payloads) {
		switch {
		case bytes.HasPrefix(v.Data, []byte(vendorDPD[:14])): // major and minor version follow
			f.dpd = true
		case string(v.Data) == vendorNATT:
			f.natt = true
		case string(v.Data) == vendorXAuth:
			f.xauth = true
		case bytes.HasPrefix(v.Data, []byte(vendorFragmentation)):
			f.fragmentation = true
		}
	}
}
