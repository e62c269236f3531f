package softesp

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/evergate/evergate/offload"
)

const (
	defaultTUN = "evg0"
	// defaultMTU of the TUN device is what Ethernet hosts send, so that it is the
	// tunnels that limit packets, each by its own path and cipher, and not the
	// device.
	defaultMTU = 1500
	minMTU     = 1280 // every IPv6 link has it (RFC 8200 section 5)
	maxMTU     = 65535
	// maxQueues bounds the queues, each with a goroutine per direction.
	maxQueues = 16
	// nattPort is where ESP in UDP and IKE arrive (RFC 3948, RFC 7296 section 2).
	nattPort = 4500
)

// settings are those of dataplane.settings in the configuration.
type settings struct {
	tunName string
	mtu     int
	queues  int
	// mark is set on outer packets, so that routing rules can tell them from
	// those that shall enter the TUN device.
	mark uint32
}

// parseSettings reads the settings; the error wraps offload.ErrInvalid and names
// all that is wrong.
func parseSettings(from map[string]string) (settings, error) {
	s := settings{tunName: defaultTUN, mtu: defaultMTU, queues: 1, mark: offload.OuterMark}
	var wrong []string
	number := func(key, value string, low, high int) int {
		n, err := strconv.ParseInt(value, 0, 64)
		if err != nil || n < int64(low) || n > int64(high) {
			wrong = append(wrong, fmt.Sprintf("%s is %q, want a number from %d to %d", key, value, low, high))
			return low
		}
		return int(n)
	}
	for _, key := range slices.Sorted(maps.Keys(from)) {
		value := from[key]
		switch key {
		case "tun-name":
			if s.tunName = value; len(value) == 0 || len(value) > 15 || strings.ContainsAny(value, "/% \t") {
				wrong = append(wrong, fmt.Sprintf("tun-name is %q, want an interface name of 1 to 15 characters", value))
			}
		case "tun-mtu":
			s.mtu = number(key, value, minMTU, maxMTU)
		case "queues":
			s.queues = number(key, value, 1, maxQueues)
		case "fwmark":
			s.mark = uint32(number(key, value, 0, 1<<32-1))
		default:
			wrong = append(wrong, fmt.Sprintf("%s is unknown, want one of fwmark, queues, tun-mtu, tun-name", key))
		}
	}
	if len(wrong) > 0 {
		return settings{}, fmt.Errorf("%w: settings: %s", offload.ErrInvalid, strings.Join(wrong, "; "))
	}
	return s, nil
}
