package e2e_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"slices"
	"testing"

	"github.com/evergate/evergate/core/netlab"
)

// seen is a packet of ESP as it was on the wire.
type seen struct {
	spi, seq uint32
	esp      []byte // from the SPI on
	frame    []byte // Ethernet's
}

// iv is the explicit IV of a counter mode.
func (s seen) iv() [8]byte { return [8]byte(s.esp[8:16]) }

const (
	etherLen     = 14
	protoESP     = 50
	protoUDP     = 17
	portIKE      = 500
	portNATT     = 4500
	portNATTSize = 8 // octets of a UDP header
)

// espOf returns the ESP packets of a capture, in order; fragments of IP are left
// out.
func espOf(t *testing.T, c *netlab.Capture) []seen {
	t.Helper()
	var out []seen
	for _, frame := range frames(t, c) {
		proto, payload := ipPayload(frame)
		if proto == protoUDP && len(payload) > portNATTSize {
			if !slices.Contains(udpPorts(payload), portNATT) || binary.BigEndian.Uint32(payload[portNATTSize:]) == 0 {
				continue // IKE, behind its non-ESP marker
			}
			proto, payload = protoESP, payload[portNATTSize:]
		}
		if proto != protoESP || len(payload) < 16 {
			continue
		}
		out = append(out, seen{
			spi: binary.BigEndian.Uint32(payload), seq: binary.BigEndian.Uint32(payload[4:]), esp: payload, frame: frame,
		})
	}
	return out
}

func udpPorts(udp []byte) []uint16 {
	return []uint16{binary.BigEndian.Uint16(udp), binary.BigEndian.Uint16(udp[2:])}
}

// ikeOf returns the UDP payloads of the IKE messages of a capture, in order,
// without non-ESP markers.
func ikeOf(t *testing.T, c *netlab.Capture) [][]byte {
	t.Helper()
	var out [][]byte
	for _, frame := range frames(t, c) {
		proto, payload := ipPayload(frame)
		if proto != protoUDP || len(payload) < portNATTSize+28 {
			continue
		}
		switch ports, data := udpPorts(payload), payload[portNATTSize:]; {
		case slices.Contains(ports, portIKE):
			out = append(out, data)
		case slices.Contains(ports, portNATT) && binary.BigEndian.Uint32(data) == 0:
			out = append(out, data[4:])
		}
	}
	return out
}

// ipPayload returns the protocol of an unfragmented packet and what is behind
// its IP header; 0 for others.
func ipPayload(frame []byte) (proto byte, payload []byte) {
	if len(frame) < etherLen+20 {
		return 0, nil
	}
	switch ip := frame[etherLen:]; ip[0] >> 4 {
	case 4:
		if fragment := binary.BigEndian.Uint16(ip[6:]) & 0x3fff; fragment != 0 {
			return 0, nil
		}
		length, header := int(binary.BigEndian.Uint16(ip[2:])), int(ip[0]&15)*4
		if length < header || length > len(ip) {
			return 0, nil
		}
		return ip[9], ip[header:length]
	case 6:
		length := 40 + int(binary.BigEndian.Uint16(ip[4:]))
		if length > len(ip) {
			return 0, nil
		}
		return ip[6], ip[40:length]
	default:
		return 0, nil
	}
}

// frames reads a capture's file: a header of 24 octets, and one of 16 before each
// frame, whose third field is the length.
func frames(t *testing.T, c *netlab.Capture) [][]byte {
	t.Helper()
	c.Stop()
	file, err := os.ReadFile(c.Path())
	if err != nil || len(file) < 24 {
		t.Fatalf("read the capture: %d octets, %v", len(file), err)
	}
	if link := binary.LittleEndian.Uint32(file[20:]); link != 1 {
		t.Fatalf("the capture is of link type %d, not of Ethernet", link)
	}
	var out [][]byte
	for r := bytes.NewReader(file[24:]); ; {
		var header [4]uint32
		err := binary.Read(r, binary.LittleEndian, &header)
		if errors.Is(err, io.EOF) {
			return out
		}
		frame := make([]byte, header[2])
		if err == nil {
			_, err = io.ReadFull(r, frame)
		}
		if err != nil {
			t.Fatalf("read frame %d of the capture: %v", len(out), err)
		}
		out = append(out, frame)
	}
}
