package examplenpu

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// settings are those of dataplane.settings in the gateway's configuration.
type settings struct {
	tunName string // tun-name
	tunMTU  int    // tun-mtu
	slots   int    // npu-slots
	// directions that the NPU takes: npu-directions is both, in, out or none.
	inbound, outbound bool
}

// defaults leave room in 1500 octets for the largest ESP header and trailer of
// ours, also within UDP and over IPv6.
func defaults() settings {
	return settings{tunName: "npu0", tunMTU: 1400, slots: 64, inbound: true, outbound: true}
}

// takes tells whether the NPU may have SAs of this direction.
func (s settings) takes(d ipsec.Direction) bool {
	if d == ipsec.Inbound {
		return s.inbound
	}
	return s.outbound
}

// parseSettings wraps offload.ErrInvalid and names what is wrong.
func parseSettings(from map[string]string) (settings, error) {
	s := defaults()
	for _, key := range slices.Sorted(maps.Keys(from)) {
		if err := s.set(key, from[key]); err != nil {
			return settings{}, fmt.Errorf("%w: setting %s: %w", offload.ErrInvalid, key, err)
		}
	}
	return s, nil
}

func (s *settings) set(key, value string) (err error) {
	switch key {
	case "tun-name":
		if len(value) == 0 || len(value) > 15 || strings.ContainsAny(value, "/% \t") {
			return fmt.Errorf("%q is no name of an interface", value)
		}
		s.tunName = value
	case "tun-mtu":
		s.tunMTU, err = number(value, 1280, 65535) // 1280: RFC 8200 section 5
	case "npu-slots":
		s.slots, err = number(value, 0, maxSAs)
	case "npu-directions":
		if !slices.Contains([]string{"both", "in", "out", "none"}, value) {
			return fmt.Errorf("%q, want both, in, out or none", value)
		}
		s.inbound, s.outbound = value == "both" || value == "in", value == "both" || value == "out"
	default:
		return fmt.Errorf("unknown, want npu-directions, npu-slots, tun-mtu or tun-name")
	}
	return err
}

func number(value string, low, high int) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("%q, want a number from %d to %d", value, low, high)
	}
	return n, nil
}
