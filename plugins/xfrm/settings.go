package xfrm

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/evergate/evergate/offload"
)

const (
	defaultInterface = "evg0"
	// defaultIfID tells our policies from those of others (XFRMA_IF_ID).
	defaultIfID  = 0x45560001
	defaultTable = "evergate"
	// defaultLogGroup is the NFLOG group of first packets.
	defaultLogGroup = 4553
	// defaultMTU of the interface is what Ethernet hosts send: each tunnel then
	// limits packets by its own path and cipher.
	defaultMTU = 1500
	minMTU     = 1280 // every IPv6 link has it (RFC 8200 section 5)
	maxMTU     = 65535
)

// noInterface is the setting that makes policies divert the traffic.
const noInterface = "none"

// settings are those of dataplane.settings in the configuration.
type settings struct {
	// link is the XFRM interface; empty where policies divert the traffic.
	link     string
	ifID     uint32
	mtu      int
	table    string
	logGroup uint16
	// offload is for devices without an entry of their own in devices.
	offload offloadMode
	devices map[string]offloadMode
}

// offloadTo is what of ESP goes to a device.
func (s settings) offloadTo(device string) offloadMode {
	if m, ok := s.devices[device]; ok {
		return m
	}
	return s.offload
}

// offloadPrefix begins the settings of single devices: offload-eth0.
const offloadPrefix = "offload-"

func (s settings) equal(o settings) bool {
	return s.link == o.link && s.ifID == o.ifID && s.mtu == o.mtu && s.table == o.table && s.logGroup == o.logGroup &&
		s.offload == o.offload && maps.Equal(s.devices, o.devices)
}

// parseSettings reads the settings; the error wraps offload.ErrInvalid and names
// all that is wrong.
func parseSettings(from map[string]string) (settings, error) {
	s := settings{
		link: defaultInterface, ifID: defaultIfID, mtu: defaultMTU, table: defaultTable, logGroup: defaultLogGroup,
		offload: offloadAuto, devices: make(map[string]offloadMode),
	}
	var wrong []string
	number := func(key, value string, low, high uint64) uint64 {
		n, err := strconv.ParseUint(value, 0, 64)
		if err != nil || n < low || n > high {
			wrong = append(wrong, fmt.Sprintf("%s is %q, want a number from %d to %d", key, value, low, high))
			return low
		}
		return n
	}
	name := func(key, value string, longest int) string {
		if value == "" || len(value) > longest || strings.ContainsAny(value, "/% \t") {
			wrong = append(wrong, fmt.Sprintf("%s is %q, want a name of 1 to %d characters", key, value, longest))
		}
		return value
	}
	mode := func(key, value string) offloadMode {
		if !offloadMode(value).valid() {
			wrong = append(wrong, fmt.Sprintf("%s is %q, want auto, crypto, off or packet", key, value))
		}
		return offloadMode(value)
	}
	for _, key := range slices.Sorted(maps.Keys(from)) {
		value := from[key]
		if device, ok := strings.CutPrefix(key, offloadPrefix); ok && device != "" {
			s.devices[device] = mode(key, value)
			continue
		}
		switch key {
		case "offload":
			s.offload = mode(key, value)
		case "interface":
			s.link = name(key, value, 15)
		case "if-id":
			s.ifID = uint32(number(key, value, 1, 1<<32-1))
		case "interface-mtu":
			s.mtu = int(number(key, value, minMTU, maxMTU))
		case "nft-table":
			s.table = name(key, value, 64)
		case "nflog-group":
			s.logGroup = uint16(number(key, value, 0, 1<<16-1))
		default:
			wrong = append(wrong, fmt.Sprintf("%s is unknown, want one of if-id, interface, interface-mtu, nflog-group, nft-table, offload, offload-DEVICE", key))
		}
	}
	if len(wrong) > 0 {
		return settings{}, fmt.Errorf("%w: settings: %s", offload.ErrInvalid, strings.Join(wrong, "; "))
	}
	if s.link == noInterface {
		s.link, s.ifID = "", 0
	}
	return s, nil
}
