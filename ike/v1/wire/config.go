package wire

import (
	"encoding/binary"
	"fmt"
)

// ConfigType is the Type of a Config payload (mode config draft section 3.2).
type ConfigType uint8

// The types.
const (
	CFGRequest ConfigType = 1
	CFGReply   ConfigType = 2
	CFGSet     ConfigType = 3
	CFGAck     ConfigType = 4
)

// Attributes of mode config (draft section 3.4) and of XAUTH (draft section
// 6.2).
const (
	InternalIP4Address uint16 = 1
	InternalIP4Netmask uint16 = 2
	InternalIP4DNS     uint16 = 3
	InternalIP4NBNS    uint16 = 4
	InternalIP4Subnet  uint16 = 13

	XAuthType         uint16 = 16520
	XAuthUserName     uint16 = 16521
	XAuthUserPassword uint16 = 16522
	XAuthPasscode     uint16 = 16523
	XAuthMessage      uint16 = 16524
	XAuthChallenge    uint16 = 16525
	XAuthDomain       uint16 = 16526
	XAuthStatus       uint16 = 16527
)

// Config is the Attribute payload of mode config and XAUTH (mode config draft
// section 3.2).
type Config struct {
	Kind       ConfigType
	Identifier uint16
	Attributes []Attribute
}

// Type is PayloadConfig.
func (*Config) Type() PayloadType { return PayloadConfig }

// Get returns the first attribute of a type; false when there is none.
func (p *Config) Get(t uint16) (Attribute, bool) {
	for _, a := range p.Attributes {
		if a.Type == t {
			return a, true
		}
	}
	return Attribute{}, false
}

func (p *Config) appendBody(dst []byte) ([]byte, error) {
	dst = append(dst, byte(p.Kind), 0)
	return appendAttributes(binary.BigEndian.AppendUint16(dst, p.Identifier), p.Attributes)
}

func (p *Config) decode(b []byte) error {
	if len(b) < 4 {
		return fmt.Errorf("%d octets, want at least 4", len(b))
	}
	p.Kind, p.Identifier = ConfigType(b[0]), binary.BigEndian.Uint16(b[2:])
	var err error
	p.Attributes, err = decodeAttributes(b[4:])
	return err
}
